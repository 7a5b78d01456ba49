"""F: downloads of results: saved whole or not at all, under safe file names, requested without an API key."""

import asyncio
import string
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.mill import KEY, later, png, reset, sha256
from support.raw_server import always, reply
from support.watched import ended, sound

import nbhelper as nbh
from nbhelper._model.text import slug
from nbhelper._network import downloads
from nbhelper._network.download_queue import AT_ONCE, DownloadQueue
from nbhelper._network.downloads import TaskFolder, save_bytes
from nbhelper.types import Output, SaveState


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Downloads are retried after 0.02 seconds."""
    monkeypatch.setattr(downloads, "_PAUSE", 0.02)


@pytest.fixture
def hasty(monkeypatch):
    """Downloads give up after half a second, and after 0.3 seconds of 404."""
    monkeypatch.setattr(downloads, "_LAG", 0.3)
    monkeypatch.setattr(downloads, "_PATIENCE", 0.5)


def save_file(mill, *answers, name="a.png"):
    """Watch a task with one file whose requests get these answers; the file's Saved record."""
    history = ended(mill.job({"state": "done", "files": [mill.file(*answers, name=name)]}))
    assert sound(history, mill)
    assert history.succeeded
    return history.saves["files[0]"]


def part_files(folder):
    return [p.name for p in Path(folder).rglob("*.part")]


DATA = png(200_000)


TAG = {"etag": '"v1"', "accept-ranges": "bytes"}


def test_a_file_is_whole_and_known_by_its_bytes(mill, tmp_path):
    """Size, digest, kind and pixels come from the bytes, the file name from the output's name, the mode is private."""
    save = save_file(mill, reply(DATA, headers={"content-type": "text/html"}), name="evil%20name;.html")

    path = Path(save.file)
    assert path.read_bytes() == DATA
    assert (save.state, save.kind, save.n_bytes, save.sha256) == ("saved", "image", len(DATA), sha256(DATA))
    assert (save.width, save.height) == (32, 16)
    assert path.name == "files-0.png"
    assert path.stat().st_mode & 0o077 == 0
    assert part_files(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403, 410])
def test_f01_expired_link(mill, status, bound):
    """A refused link takes one more look for a new one; without any the file is EXPIRED and the task succeeded."""
    save = save_file(mill, reply(b"", status))

    assert save.state is SaveState.EXPIRED
    assert f"HTTP {status}" in save.message
    assert len(mill.requests_to("/files")) == 1
    bound(len(mill.looks["job-1"]), 2, "looks")


def test_f01_the_signature_is_kept_nowhere(mill, tmp_path):
    """Once a file is saved or expired, the signature of its link is in no file of the store."""
    links = [f"{mill.file(answer)}?signature=very-secret" for answer in (reply(b"", 403), reply(DATA))]

    history = ended(mill.job({"state": "done", "files": links}))

    assert sound(history, mill)
    assert [history.save_state(f"files[{n}]") for n in range(2)] == ["expired", "saved"]
    assert [request.target.endswith("?signature=very-secret") for request in mill.requests_to("/files")] == [True, True]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if b"very-secret" in path.read_bytes()] == []


def test_f01_fresh_link(mill):
    """After a refused link the file is fetched from the link of the next look."""
    data = png(5)
    ref = mill.job(
        {"state": "done", "files": [mill.file(reply(b"", 403))]},
        {"state": "done", "files": [mill.file(reply(data))]},
    )

    history = ended(ref)

    assert [sha256(f.read_bytes()) for f in history.files] == [sha256(data)]


def test_f02_file_that_comes_late(mill):
    """A file that is 404 at first (CDN lag) is retried and saved."""
    save = save_file(mill, reply(b"", 404), reply(b"", 404), reply(DATA))

    assert save.sha256 == sha256(DATA)


def test_f02_file_that_never_comes(mill, hasty):
    """A file that stays 404 takes one more look for a new link, then it is EXPIRED."""
    save = save_file(mill, reply(b"<Error/>", 404))

    assert (save.state, save.message) == (SaveState.EXPIRED, "the file is not there (HTTP 404)")
    assert len(mill.looks["job-1"]) == 2


def test_f02_a_file_that_waited_for_its_turn(mill, monkeypatch):
    """A file that is missing twice is not given up because other downloads held the queue for longer than the lag."""
    monkeypatch.setattr(downloads, "_LAG", 0.0)
    others = [mill.file(later(0.8, reply(png(n)))) for n in range(AT_ONCE)]
    late = mill.file(reply(b"", 404), reply(b""), reply(DATA))

    history = ended(mill.job({"state": "done", "files": [*others, late]}))

    assert sound(history, mill)
    assert history.save_state(f"files[{AT_ONCE}]") == "saved"
    assert sha256(history.files[-1].read_bytes()) == sha256(DATA)


def test_f02_server_error(mill):
    """A 5xx or a reset of the file's host is retried, and the file saved."""
    save = save_file(mill, reply(b"", 503), reset, reply(DATA))

    assert save.sha256 == sha256(DATA)


def test_f03_no_key_for_the_files_host(mill):
    """A download has no API key, authorization or cookie, and asks for identity encoding."""
    save_file(mill, reply(DATA))

    request = mill.requests_to("/files")[0]

    assert b"mill-canary" not in request.raw
    assert request.header("authorization") is None
    assert request.header("cookie") is None
    assert request.header("accept-encoding") == "identity"


def test_f03_no_key_on_any_hop(mill, serve):
    """An allowed redirect of a file is followed, with no API key on any hop."""
    there = serve(always(reply(DATA)))
    save = save_file(mill, reply(b"", 302, {"location": f"{there.root}/there"}))

    assert save.sha256 == sha256(DATA)
    assert all(KEY.encode() not in request.raw for request in (*there.requests, *mill.requests_to("/files")))


def send_half(**headers):
    """An answer that sends half of the file with these headers, then a reset."""

    async def act(conn, _request):
        await conn.send(reply(DATA[:100_000], headers={**TAG, **headers}, length=len(DATA)))
        await asyncio.sleep(0.02)  # so that what was sent arrives before the reset
        await conn.reset()

    return act


def test_f04_broken_off(mill):
    """A broken download with an ETag is resumed with Range and If-Range, and the digest is that of the whole file."""

    async def rest(conn, request):
        begin = int(request.header("range").removeprefix("bytes=").removesuffix("-"))
        headers = {**TAG, "content-range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"}
        await conn.send(reply(DATA[begin:], 206, headers))

    save = save_file(mill, send_half(), rest)

    first, second = mill.requests_to("/files")
    assert first.header("range") is None
    assert int(second.header("range")[6:-1]) > 0
    assert second.header("if-range") == '"v1"'
    assert (save.state, save.sha256, save.n_bytes) == ("saved", sha256(DATA), len(DATA))


NO_RESUME = {
    "the range is ignored": reply(DATA, headers=TAG),
    "no tag to compare": None,
}


@pytest.mark.parametrize("second", NO_RESUME.values(), ids=NO_RESUME)
def test_f05_range_ignored(mill, second):
    """If a Range is ignored, or there is no ETag, a download starts again; nothing is appended to the first half."""
    first = send_half(etag="") if second is None else send_half()

    save = save_file(mill, first, second or reply(DATA))

    assert save.sha256 == sha256(DATA)


OTHER = png(200_000, colour=1)


WRONG_RANGES = {
    "another offset": reply(DATA[7:], 206, {**TAG, "content-range": f"bytes 7-{len(DATA) - 1}/{len(DATA)}"}),
    "no offset": reply(DATA[7:], 206, TAG),
    "another file": reply(OTHER[100_000:], 206, {"etag": '"v2"', "content-range": "bytes 100000-200033/200034"}),
    "range refused": reply(b"", 416, {"content-range": f"bytes */{len(DATA)}"}),
}


@pytest.mark.parametrize("answer", WRONG_RANGES.values(), ids=WRONG_RANGES)
def test_f06_wrong_rest(mill, answer):
    """A 206 or 416 for another offset or another ETag is dropped and the file fetched from the start."""
    save = save_file(mill, send_half(), answer, reply(DATA, headers=TAG))

    assert save.sha256 == sha256(DATA)
    assert mill.requests_to("/files")[2].header("range") is None


INCOMPLETE = {
    "less than announced": reply(DATA[:-13], length=len(DATA)),
    "chunk cut off": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n" + DATA[:16] + b"\r\n20\r\nabc",
    "no last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n" + DATA[:16] + b"\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
}


@pytest.mark.parametrize("answer", INCOMPLETE.values(), ids=INCOMPLETE)
def test_f07_never_whole(mill, answer, hasty, tmp_path):
    """A file shorter than announced is never renamed from `.part`: the save is FAILED, the task succeeded."""

    async def act(conn, _request):
        await conn.send(answer)
        conn._writer.close()

    save = save_file(mill, act)

    assert save.state is SaveState.FAILED
    assert save.file is None
    assert [p for p in tmp_path.rglob("*") if p.suffix in {".png", ".part", ".bin"}] == []


def test_f08_drip(mill, monkeypatch):
    """A download below a kilobyte a second for a minute is cut, and the next request resumes it."""
    clock = [0.0]
    slow = SimpleNamespace(monotonic=lambda: time.monotonic() + clock[0], time=time.time)
    monkeypatch.setattr(downloads, "time", slow)

    async def drip(conn, _request):
        await conn.send(reply(DATA[:50], headers=TAG, length=len(DATA)))
        await asyncio.sleep(0.1)
        clock[0] += 61
        await conn.send(DATA[50:60])
        await conn.gone()

    async def rest(conn, request):
        begin = int(request.header("range")[6:-1])
        await conn.send(reply(DATA[begin:], 206, {**TAG, "content-range": f"bytes {begin}-200033/200034"}))

    save = save_file(mill, drip, rest)

    assert save.sha256 == sha256(DATA)


def test_f09_empty(mill, hasty):
    """An empty file is requested again, then its save is FAILED as empty."""
    save = save_file(mill, reply(b""))

    assert (save.state, save.message) == (SaveState.FAILED, "the file is empty")
    assert len(mill.requests_to("/files")) > 1


PAGES = {
    "html": (b"<!DOCTYPE html><html><body>Sign in</body></html>", ".bin", "file"),
    "html after blanks": (b"\xef\xbb\xbf\n  <html>", ".bin", "file"),
    "json": (b'{"error": "no"}', ".bin", "file"),
    "svg": (b"<svg xmlns='x'><script>alert(1)</script></svg>", ".svg", "file"),
    "jpeg called png": (b"\xff\xd8\xff\xe0" + bytes(30), ".jpg", "image"),
}


@pytest.mark.parametrize(("data", "suffix", "kind"), PAGES.values(), ids=PAGES)
def test_f10_another_type(mill, data, suffix, kind):
    """Suffix and kind of a file come from its bytes, not its Content-Type: a page is `.bin` and no image."""
    save = save_file(mill, reply(data, headers={"content-type": "image/png"}))

    assert Path(save.file).suffix == suffix
    assert save.kind == kind


NAMES = st.text(st.characters(codec=None), max_size=120) | st.sampled_from(
    ["../../etc/passwd", "/etc/passwd", "C:\\x", "con", "NUL.png", "a\x00b", "..", ".", "", "-rf", "\u2215x", "x" * 300]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, label=NAMES, provider=NAMES)
@example(name="..", label="..", provider="..")
def test_f23_any_name(tmp_path, name, label, provider):
    """No output name, label or provider leads out of the folder, into a hidden file or to a reserved name."""
    folder = TaskFolder.of(tmp_path, provider, label, "identity")

    save = save_bytes(folder, Output(name=name, data=b"some bytes"))

    path = Path(save.file)
    inside = path.relative_to(tmp_path)
    assert len(inside.parts) == 3
    assert path.resolve() == tmp_path.resolve() / inside
    assert all(set(p) <= set(string.ascii_letters + string.digits + "._-") for p in inside.parts)
    assert not any(p.startswith((".", "-")) for p in inside.parts)
    assert all(len(p) < 80 for p in inside.parts)


@given(st.text(st.characters(codec=None), max_size=80))
def test_f23_slug(text):
    """A slug is ASCII, not empty, without a leading dot or dash, no reserved name, and unchanged by slug()."""
    name = slug(text)

    assert name
    assert name.isascii()
    assert name[0] not in ".-"
    assert name.partition(".")[0].casefold() not in {"con", "nul", "aux", "prn", "com1", "lpt1"}
    assert slug(name) == name


def test_f23_like_names(mill):
    """Output names whose slugs are equal give two files."""
    one, other = png(50_000, 1), png(50_000, 2)
    files = {"a b": mill.file(reply(one)), "a/b": mill.file(reply(other)), "a" * 60 + "1": mill.file(reply(png(9)))}

    history = ended(mill.job({"state": "done", "files": files}))

    assert len(history.files) == 3
    assert {sha256(f.read_bytes()) for f in history.files} == {sha256(one), sha256(other), sha256(png(9))}
    assert all(sha256(Path(s.file).read_bytes()) == s.sha256 for s in history.saves.values())


def test_f24_other_content(tmp_path):
    """A file of the same name with other bytes is kept, and the new one gets a number."""
    folder = TaskFolder.of(tmp_path, "mill", "x", "1")
    first = save_bytes(folder, Output(name="a", data=b"mine, edited by hand"))

    second = save_bytes(folder, Output(name="a", data=b"new"))

    assert Path(first.file).read_bytes() == b"mine, edited by hand"
    assert Path(second.file).name == "a-2.bin"


def test_f24_link_in_the_way(tmp_path):
    """A symlink with the file's name and its target are unchanged, and the new file gets a number."""
    folder = TaskFolder.of(tmp_path, "mill", "x", "1")
    folder.make()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder.path / "a.bin").symlink_to(victim)

    save = save_bytes(folder, Output(name="a", data=b"new"))

    assert victim.read_text() == "precious"
    assert Path(save.file).name == "a-2.bin"


@pytest.mark.parametrize("depth", ["task", "provider"])
def test_f24_folder_is_a_link(tmp_path, depth):
    """A symlink in place of the task's or provider's folder fails the save, and nothing is written through it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = TaskFolder.of(tmp_path / "root", "mill", "x", "1")
    link = folder.path if depth == "task" else folder.path.parent
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)

    save = save_bytes(folder, Output(name="a", data=b"new"))

    assert save.state is SaveState.FAILED
    assert "is a link" in save.message or "write" in save.message
    assert list(outside.rglob("*.bin")) == []


def test_f30_too_large(mill, monkeypatch):
    """A file of 20 GB by its Content-Length is refused."""

    async def huge(conn, _request):
        await conn.send(reply(b"x" * 1000, length=20 * 1024**3))
        await conn.gone()

    save = save_file(mill, huge)

    assert save.state is SaveState.FAILED
    assert "up to 2 GB are saved" in save.message


def test_f30_endless(mill, monkeypatch):
    """A body without a Content-Length is cut at LARGEST and its save FAILED."""
    monkeypatch.setattr(downloads, "LARGEST", 300_000)

    async def endless(conn, _request):
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(200):
            await conn.send(bytes(65_536))
        await conn.gone()

    save = save_file(mill, endless)

    assert save.state is SaveState.FAILED
    assert "does not end" in save.message


def test_f30_no_room(mill, monkeypatch, hasty):
    """A file larger than the free disk space is FAILED."""
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))

    save = save_file(mill, reply(DATA))

    assert save.state is SaveState.FAILED
    assert "no room on the disk" in save.message


def test_f31_equal_bytes(tmp_path):
    """The same bytes saved twice under one name are one file."""
    folder = TaskFolder.of(tmp_path, "mill", "x", "1")
    output = Output(name="a", data=b"same")

    assert save_bytes(folder, output).file == save_bytes(folder, output).file


def test_f31_equal_outputs_are_both_recorded(mill, tmp_path):
    """Outputs with equal bytes each have a row and a file, and no file name is used for different bytes."""
    contents = [DATA, DATA, png(5)]
    links = [mill.file(reply(data)) for data in contents]

    history = ended(mill.job({"state": "done", "files": links}))

    assert sound(history, mill)
    assert [history.saves[f"files[{n}]"].sha256 for n in range(3)] == [sha256(data) for data in contents]
    assert [Path(history.saves[f"files[{n}]"].file).read_bytes() for n in range(3)] == contents
    assert sorted(nbh.outputs()["sha256"]) == sorted(sha256(data) for data in contents)


def test_f33_shortest_lived_first():
    """The download queue serves the earliest deadline first, and equal deadlines in the order they came."""
    order = []

    async def main():
        queue = DownloadQueue(1)
        blocked = asyncio.Event()

        async def first():
            async with queue.turn(0):
                await blocked.wait()

        async def other(name, deadline):
            async with queue.turn(deadline):
                order.append(name)

        tasks = [asyncio.create_task(first())]
        await asyncio.sleep(0)
        for name, deadline in (("hour", 3600), ("minutes", 300), ("day", 86400), ("minutes too", 300)):
            tasks.append(asyncio.create_task(other(name, deadline)))
        await asyncio.sleep(0)
        blocked.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())

    assert order == ["minutes", "minutes too", "hour", "day"]


def test_f33_many_files(mill, bound):
    """Eighty files of one task are saved over at most 32 connections at a time."""
    flying, most = [0], [0]

    async def act(conn, _request):
        flying[0] += 1
        most[0] = max(most[0], flying[0])
        await asyncio.sleep(0.05)
        flying[0] -= 1
        await conn.send(reply(png(10)))

    files = [mill.file(act) for _ in range(80)]

    history = ended(mill.job({"state": "done", "files": files}))

    assert [s.state for s in history.saves.values()] == [SaveState.SAVED] * 80
    bound(most[0], 32, "files at a time")
    assert most[0] > 16
