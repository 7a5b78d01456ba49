"""Results on disk: whole or not at all, under names of ours, the most urgent first, and never with a key."""

import asyncio
import base64
import errno
import os
import string
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.mill import DONE, WORKING, png, reset, sha256
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh
from nbhelper import _parts, _save
from nbhelper._save import Place, Turns, save_bytes
from nbhelper._sniff import pixels, sniff
from nbhelper._text import slug
from nbhelper.types import Output, SaveState


def watch(what, **options):
    return nbh.watch(what, block=False, display=False, **options)


def saved(mill, *answers, name="a.png"):
    """What becomes of one file that is answered so."""
    history = watch(mill.job({"state": "done", "files": [mill.file(*answers, name=name)]})).result(20)
    assert history.succeeded
    return history.saves["files[0]"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """The first attempts follow each other at once."""
    monkeypatch.setattr(_save, "_PAUSE", 0.02)


def changed(monkeypatch, where, module, **replaced):
    """Let one module alone see another `os` or `time`."""
    monkeypatch.setattr(where, module.__name__, SimpleNamespace(**{**vars(module), **replaced}))


@pytest.fixture
def hasty(monkeypatch):
    """Patience of a second where there is a minute, so that giving up is quick."""
    monkeypatch.setattr(_save, "_LAG", 0.3)
    monkeypatch.setattr(_save, "_PATIENCE", 0.5)


def left_over(folder):
    return [p.name for p in Path(folder).rglob("*.part")]


DATA = png(200_000)
TAG = {"etag": '"v1"', "accept-ranges": "bytes"}


def test_a_file_is_whole_and_known_by_its_bytes(mill, tmp_path):
    """Size, digest, kind and pixels come from the bytes, the name from us, the mode is private."""
    found = saved(mill, reply(DATA, headers={"content-type": "text/html"}), name="evil%20name;.html")

    path = Path(found.file)
    assert path.read_bytes() == DATA
    assert (found.state, found.kind, found.n_bytes, found.sha256) == ("saved", "image", len(DATA), sha256(DATA))
    assert (found.width, found.height) == (32, 16)
    assert path.name == "files-0.png"
    assert path.stat().st_mode & 0o077 == 0
    assert left_over(tmp_path) == []


def test_the_key_never_goes_to_the_files_host(mill):
    """A download carries no key, no cookie and nothing of the API's."""
    saved(mill, reply(DATA))

    asked = mill.asked("/files")[0]

    assert b"mill-canary" not in asked.raw
    assert asked.header("authorization") is None
    assert asked.header("cookie") is None
    assert asked.header("accept-encoding") == "identity"


# A connection that breaks


def half(**headers):
    """Half of the file, then a reset."""

    async def act(conn, _asked):
        await conn.send(reply(DATA[:100_000], headers={**TAG, **headers}, length=len(DATA)))
        await asyncio.sleep(0.02)  # so that what was sent arrives before the reset
        await conn.reset()

    return act


def test_a_broken_download_goes_on_where_it_stopped(mill):
    """With an ETag the rest alone is asked for, only if the file is still the same, and the digest is the whole's."""

    async def rest(conn, asked):
        begin = int(asked.header("range").removeprefix("bytes=").removesuffix("-"))
        told = {**TAG, "content-range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"}
        await conn.send(reply(DATA[begin:], 206, told))

    found = saved(mill, half(), rest)

    first, second = mill.asked("/files")
    assert first.header("range") is None
    assert int(second.header("range")[6:-1]) > 0
    assert second.header("if-range") == '"v1"'
    assert (found.state, found.sha256, found.n_bytes) == ("saved", sha256(DATA), len(DATA))


AGAIN = {
    "the range is ignored": reply(DATA, headers=TAG),
    "no tag to compare": None,
}


@pytest.mark.parametrize("second", AGAIN.values(), ids=AGAIN)
def test_a_download_that_cannot_go_on_begins_again(mill, second):
    """What came before is thrown away, never glued to something else."""
    first = half(etag="") if second is None else half()

    found = saved(mill, first, second or reply(DATA))

    assert found.sha256 == sha256(DATA)


OTHER = png(200_000, colour=1)
WRONG = {
    "another offset": reply(DATA[7:], 206, {**TAG, "content-range": f"bytes 7-{len(DATA) - 1}/{len(DATA)}"}),
    "no offset": reply(DATA[7:], 206, TAG),
    "another file": reply(OTHER[100_000:], 206, {"etag": '"v2"', "content-range": "bytes 100000-200033/200034"}),
    "range refused": reply(b"", 416, {"content-range": f"bytes */{len(DATA)}"}),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_a_rest_that_does_not_fit_is_not_used(mill, answer):
    """A continuation at the wrong place, or of another file, is dropped and the file fetched anew."""
    found = saved(mill, half(), answer, reply(DATA, headers=TAG))

    assert found.sha256 == sha256(DATA)
    assert mill.asked("/files")[2].header("range") is None


CUT = {
    "less than announced": reply(DATA[:-13], length=len(DATA)),
    "chunk cut off": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n" + DATA[:16] + b"\r\n20\r\nabc",
    "no last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n" + DATA[:16] + b"\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
    "zipped unasked": reply(DATA, headers={"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
def test_a_part_never_passes_for_the_whole(mill, answer, hasty, tmp_path):
    """What is not as long as announced gets no name; the output failed, the task did not."""

    async def act(conn, _asked):
        await conn.send(answer)
        conn._writer.close()

    found = saved(mill, act)

    assert found.state is SaveState.FAILED
    assert found.file is None
    assert [p for p in tmp_path.rglob("*") if p.suffix in {".png", ".part", ".bin"}] == []


def test_an_empty_file_is_no_result(mill, hasty):
    """Nought bytes are asked for again, then given up by name."""
    found = saved(mill, reply(b""))

    assert (found.state, found.message) == (SaveState.FAILED, "the file is empty")
    assert len(mill.asked("/files")) > 1


def test_a_file_that_comes_late_is_waited_for(mill):
    """Not found at first is a lag of the network of stores, not the end."""
    found = saved(mill, reply(b"", 404), reply(b"", 404), reply(DATA))

    assert found.sha256 == sha256(DATA)


def test_a_file_that_never_comes_has_expired(mill, hasty):
    """Not found for long: the task is asked once for a newer link, then it is over."""
    found = saved(mill, reply(b"<Error/>", 404))

    assert (found.state, found.message) == (SaveState.EXPIRED, "the file is not there (HTTP 404)")
    assert len(mill.looks["job-1"]) == 2


@pytest.mark.parametrize("status", [401, 403, 410])
def test_an_expired_link_is_looked_up_once(mill, status):
    """One more look for a fresh link; there is none, so the result has expired and the task has not."""
    found = saved(mill, reply(b"", status))

    assert found.state is SaveState.EXPIRED
    assert f"HTTP {status}" in found.message
    assert len(mill.looks["job-1"]) == 2
    assert len(mill.asked("/files")) == 1


def test_a_fresh_link_replaces_the_expired_one(mill):
    """The link of the second look is the one that is fetched."""
    data = png(5)
    ref = mill.job(
        {"state": "done", "files": [mill.file(reply(b"", 403))]},
        {"state": "done", "files": [mill.file(reply(data))]},
    )

    history = watch(ref).result(10)

    assert [sha256(f.read_bytes()) for f in history.files] == [sha256(data)]


def test_a_server_error_is_tried_again(mill):
    """5xx of the file's host says nothing about the file."""
    found = saved(mill, reply(b"", 503), reset, reply(DATA))

    assert found.sha256 == sha256(DATA)


PAGES = {
    "html": (b"<!DOCTYPE html><html><body>Sign in</body></html>", ".bin", "file"),
    "html after blanks": (b"\xef\xbb\xbf\n  <html>", ".bin", "file"),
    "json": (b'{"error": "no"}', ".bin", "file"),
    "svg": (b"<svg xmlns='x'><script>alert(1)</script></svg>", ".svg", "file"),
    "jpeg called png": (b"\xff\xd8\xff\xe0" + bytes(30), ".jpg", "image"),
}


@pytest.mark.parametrize(("data", "suffix", "kind"), PAGES.values(), ids=PAGES)
def test_the_bytes_decide_what_a_file_is(mill, data, suffix, kind):
    """A page behind a picture's name is kept, as `.bin`, and never shown as a picture."""
    found = saved(mill, reply(data, headers={"content-type": "image/png"}))

    assert Path(found.file).suffix == suffix
    assert found.kind == kind


# Where files go


NAMES = st.text(st.characters(codec=None), max_size=120) | st.sampled_from(
    ["../../etc/passwd", "/etc/passwd", "C:\\x", "con", "NUL.png", "a\x00b", "..", ".", "", "-rf", "\u2215x", "x" * 300]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, label=NAMES, provider=NAMES)
@example(name="..", label="..", provider="..")
def test_a_file_stays_in_its_folder_whatever_it_is_called(tmp_path, name, label, provider):
    """No output name, label or provider leads out of the folder, into a hidden file or to a reserved name."""
    place = Place.of(tmp_path, provider, label, "identity")

    found = save_bytes(place, Output(name=name, data=b"some bytes"))

    path = Path(found.file)
    inside = path.relative_to(tmp_path)
    assert len(inside.parts) == 3
    assert path.resolve() == tmp_path.resolve() / inside
    assert all(set(p) <= set(string.ascii_letters + string.digits + "._-") for p in inside.parts)
    assert not any(p.startswith((".", "-")) for p in inside.parts)
    assert all(len(p) < 80 for p in inside.parts)


@given(st.text(st.characters(codec=None), max_size=80))
def test_a_slug_is_a_plain_name(text):
    """ASCII, never empty, no dot or dash first, no reserved name, and a slug of itself."""
    name = slug(text)

    assert name
    assert name.isascii()
    assert name[0] not in ".-"
    assert name.partition(".")[0].casefold() not in {"con", "nul", "aux", "prn", "com1", "lpt1"}
    assert slug(name) == name


def test_outputs_with_like_names_do_not_share_a_file(mill):
    """Names that differ only where file names cannot still give two files."""
    one, other = png(50_000, 1), png(50_000, 2)
    files = {"a b": mill.file(reply(one)), "a/b": mill.file(reply(other)), "a" * 60 + "1": mill.file(reply(png(9)))}

    history = watch(mill.job({"state": "done", "files": files})).result(5)

    assert len(history.files) == 3
    assert {sha256(f.read_bytes()) for f in history.files} == {sha256(one), sha256(other), sha256(png(9))}
    assert all(sha256(Path(s.file).read_bytes()) == s.sha256 for s in history.saves.values())


def test_equal_bytes_under_equal_names_are_one_file(tmp_path):
    """The same result saved again is the file that is there."""
    place = Place.of(tmp_path, "mill", "x", "1")
    output = Output(name="a", data=b"same")

    assert save_bytes(place, output).file == save_bytes(place, output).file


def test_other_content_is_never_overwritten(tmp_path):
    """A file of that name with other bytes stays, and ours gets a number."""
    place = Place.of(tmp_path, "mill", "x", "1")
    first = save_bytes(place, Output(name="a", data=b"mine, edited by hand"))

    second = save_bytes(place, Output(name="a", data=b"new"))

    assert Path(first.file).read_bytes() == b"mine, edited by hand"
    assert Path(second.file).name == "a-2.bin"


def test_a_link_in_the_way_is_not_followed(tmp_path):
    """A symbolic link with the file's name is left alone, and so is what it points to."""
    place = Place.of(tmp_path, "mill", "x", "1")
    place.make()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (place.folder / "a.bin").symlink_to(victim)

    found = save_bytes(place, Output(name="a", data=b"new"))

    assert victim.read_text() == "precious"
    assert Path(found.file).name == "a-2.bin"


@pytest.mark.parametrize("depth", ["task", "provider"])
def test_a_folder_that_is_a_link_is_refused(tmp_path, depth):
    """Results are not written through a link that somebody put where a folder should be."""
    outside = tmp_path / "outside"
    outside.mkdir()
    place = Place.of(tmp_path / "root", "mill", "x", "1")
    link = place.folder if depth == "task" else place.folder.parent
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)

    found = save_bytes(place, Output(name="a", data=b"new"))

    assert found.state is SaveState.FAILED
    assert "is a link" in found.message or "write" in found.message
    assert list(outside.rglob("*.bin")) == []


def test_two_tasks_with_one_label_have_two_folders(mill):
    """The folder's name ends in a digest of the task's identity."""
    tasks = [
        nbh.Task("mill", mill.job({"state": "done", "files": [mill.file(reply(png(n)))]})[5:], label="owl")
        for n in range(2)
    ]

    found = watch(tasks).result(5)

    folders = {h.files[0].parent.name for h in found}
    assert len(folders) == 2
    assert all(name.startswith("owl-") for name in folders)


# The disk


def test_a_full_disk_is_the_outputs_trouble_alone(mill, monkeypatch, tmp_path):
    """Without room the output failed at once, by name; the task succeeded and nothing half-written has a name."""

    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    link = mill.file(reply(DATA))
    changed(monkeypatch, _parts, os, write=full)
    history = watch(mill.job({"state": "done", "files": [link]})).result(10)

    found = history.saves["files[0]"]
    assert history.succeeded
    assert found.state is SaveState.FAILED
    assert "No space left" in found.message
    assert [p for p in tmp_path.rglob("*.p*") if "png" in p.name or "part" in p.name] == []


def test_bytes_that_cannot_be_written_stay_in_memory(mill, monkeypatch):
    """A result inside a reply is delivered once: with a full disk it is still in the history."""
    data = png(33)

    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    changed(monkeypatch, _parts, os, write=full)
    history = watch(mill.job({"state": "done", "b64": base64.b64encode(data).decode()})).result(5)

    assert history.save_state("b64") is SaveState.FAILED
    assert history.outputs[0].data == data


def test_bytes_in_a_reply_are_on_disk_before_their_row(mill, monkeypatch):
    """When the store hears of the reply, the file is there already."""
    data, seen = png(44), []
    from nbhelper import _session

    store = _session.store()
    real = store.append

    def append(uid, events, *, summary, **more):
        seen.extend((type(e.seen).__name__, [f.exists() for f in summary.files]) for e in events)
        return real(uid, events, summary=summary, **more)

    monkeypatch.setattr(store, "append", append)
    history = watch(mill.job({"state": "done", "b64": base64.b64encode(data).decode()})).result(5)

    assert seen == [("Mark", []), ("Snapshot", [True]), ("Saved", [True])]
    assert history.outputs[0].data is None
    assert sha256(history.files[0].read_bytes()) == sha256(data)


def test_a_file_too_large_is_refused_by_its_length(mill, monkeypatch):
    """20 GB are not begun: the length is read first."""

    async def huge(conn, _asked):
        await conn.send(reply(b"x" * 1000, length=20 * 1024**3))
        await conn.gone()

    found = saved(mill, huge)

    assert found.state is SaveState.FAILED
    assert "up to 2 GB are saved" in found.message


def test_an_endless_file_ends_at_the_limit(mill, monkeypatch):
    """Without a length the limit holds all the same."""
    monkeypatch.setattr(_save, "LARGEST", 300_000)

    async def endless(conn, _asked):
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(200):
            await conn.send(bytes(65_536))
        await conn.gone()

    found = saved(mill, endless)

    assert found.state is SaveState.FAILED
    assert "does not end" in found.message


def test_no_room_on_the_disk_is_seen_before_the_download(mill, monkeypatch, hasty):
    """Free space is looked at first; what does not fit is not begun."""
    monkeypatch.setattr(_save.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))

    found = saved(mill, reply(DATA))

    assert found.state is SaveState.FAILED
    assert "no room on the disk" in found.message


# Turns


def test_the_link_that_dies_first_goes_first():
    """Of those who wait, the most urgent is next; equal ones in the order they came."""
    order = []

    async def main():
        turns = Turns(1)
        blocked = asyncio.Event()

        async def first():
            async with turns.turn(0):
                await blocked.wait()

        async def other(name, deadline):
            async with turns.turn(deadline):
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


@given(st.lists(st.sampled_from(["come", "go", "give up"]), max_size=60), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_turns_are_neither_lost_nor_doubled(steps, slots):
    """Whoever comes, goes or gives up while waiting: never more at once than slots, and in the end all are free."""

    async def main():
        turns, inside, most = Turns(slots), 0, 0
        running = []

        async def hold(release):
            nonlocal inside, most
            async with turns.turn(0):
                inside += 1
                most = max(most, inside)
                try:
                    await release.wait()
                finally:
                    inside -= 1

        for step in steps:
            if step == "come":
                release = asyncio.Event()
                running.append((asyncio.create_task(hold(release)), release))
            elif running and step == "go":
                running.pop(0)[1].set()
            elif running:
                running.pop()[0].cancel()
            await asyncio.sleep(0)
        for task, _ in running:
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return most, inside, turns._free

    most, inside, free = asyncio.run(main())

    assert most <= slots
    assert (inside, free) == (0, slots)


def test_sixteen_files_come_at_once_and_the_rest_wait(mill):
    """Forty files of one task: sixteen connections at the most, all saved."""
    flying, most = [0], [0]

    async def act(conn, _asked):
        flying[0] += 1
        most[0] = max(most[0], flying[0])
        await asyncio.sleep(0.05)
        flying[0] -= 1
        await conn.send(reply(png(10)))

    files = [mill.file(act) for _ in range(40)]

    history = watch(mill.job({"state": "done", "files": files})).result(20)

    assert [s.state for s in history.saves.values()] == [SaveState.SAVED] * 40
    assert most[0] <= 16
    assert most[0] > 8


def test_a_dripping_file_is_given_up_and_taken_up_anew(mill, monkeypatch):
    """Less than a kilobyte a second is no connection to wait for; the next one brings the rest."""
    clock = [0.0]
    changed(monkeypatch, _save, time, monotonic=lambda: time.monotonic() + clock[0])

    async def drip(conn, _asked):
        await conn.send(reply(DATA[:50], headers=TAG, length=len(DATA)))
        await asyncio.sleep(0.1)
        clock[0] += 61
        await conn.send(DATA[50:60])
        await conn.gone()

    async def rest(conn, asked):
        begin = int(asked.header("range")[6:-1])
        await conn.send(reply(DATA[begin:], 206, {**TAG, "content-range": f"bytes {begin}-200033/200034"}))

    found = saved(mill, drip, rest)

    assert found.sha256 == sha256(DATA)


# What bytes are


SNIFFED = {
    "png": (png(), ".png"),
    "gif": (b"GIF89a" + bytes(10), ".gif"),
    "webp": (b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(20), ".webp"),
    "mp4": (b"\x00\x00\x00\x18ftypisom" + bytes(20), ".mp4"),
    "avif": (b"\x00\x00\x00\x18ftypavif" + bytes(20), ".avif"),
    "glb": (b"glTF\x02" + bytes(20), ".glb"),
    "wav": (b"RIFF\x00\x00\x00\x00WAVE", ".wav"),
    "zip": (b"PK\x03\x04", ".zip"),
    "nothing": (b"", ".bin"),
    "noise": (b"\x00\x01\x02", ".bin"),
}


@pytest.mark.parametrize(("head", "suffix"), SNIFFED.values(), ids=SNIFFED)
def test_a_file_is_known_by_its_beginning(head, suffix):
    """Formats with a signature are told by it, whatever the link's suffix."""
    assert sniff(head, ".obj" if suffix != ".bin" else "").suffix == suffix


def test_a_suffix_helps_only_formats_without_a_signature():
    """An `.obj` is believed, a `.exe` or a page called `.obj` is not."""
    assert sniff(b"v 0 0 0\n", ".obj").suffix == ".obj"
    assert sniff(b"PK\x03\x04", ".usdz").suffix == ".usdz"
    assert sniff(b"MZ", ".exe").suffix == ".bin"
    assert sniff(b"<html>", ".obj").suffix == ".bin"


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP", b"\xff\xd8\xff", b"GIF8"]))
def test_any_bytes_are_something(data, head):
    """Neither the type nor the pixels of hostile bytes are an exception."""
    assert sniff(head + data).suffix.startswith(".")
    size = pixels(head + data)
    assert size is None or all(n >= 0 for n in size)


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP", "JPEG"])
def test_pixels_come_from_the_header(form):
    """Width and height of real pictures, without a decoder."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (37, 21), "red").save(buffer, form)

    assert pixels(buffer.getvalue()[:4096]) == (37, 21)


def test_a_watch_is_not_over_before_its_files_are(mill):
    """The handle ends when each output is saved or given up, not with the state word."""
    handle = watch(mill.job(WORKING, {"state": "done", "files": [mill.file(reply(b"", 503), reply(DATA))]}, DONE))
    until(lambda: handle[0].succeeded)

    history = handle.result(10)

    assert history.settled
    assert history.files
