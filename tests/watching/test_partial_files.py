"""Half a file: gone on with where it is the same one, begun anew where that is not sure, never mixed, never shared."""

import json
import os
import time

import pytest
from support.mill import DONE, png, sha256
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh
from nbhelper._network.downloads import TaskFolder, save_bytes
from nbhelper._network.partial_file import PartialFile, is_strong
from nbhelper.types import Output

DATA = png(200_000)
HALF = 100_000
TAG = {"etag": '"v1"', "accept-ranges": "bytes"}
ADDRESS = "https://cdn.example/a.png"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "parts"
    made.mkdir()
    return made


@pytest.fixture
def left(folder):
    """Half a file that a process left behind; the path."""
    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    part.etag = '"v1"'
    part.write(DATA[:HALF])
    part.close(keep=True)
    return part.path


def test_what_came_is_gone_on_with(folder, left):
    """The next one has the bytes, the ETag and, at the end, the digest of the whole."""
    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    begun = part.size, part.etag, part.path
    part.write(DATA[HALF:])

    assert begun == (HALF, '"v1"', left)
    assert part.sync() == sha256(DATA)
    assert part.head == DATA[: len(part.head)]
    part.close()
    assert names(folder) == []


def test_bytes_after_the_last_note_are_not_trusted(folder, left):
    """What was written and not noted when the process died is cut off."""
    with left.open("ab") as file:
        file.write(b"garbage")

    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    part.write(DATA[HALF:])

    assert part.sync() == sha256(DATA)
    part.close()


def _damaged(left):
    with left.open("r+b") as file:
        file.seek(5000)
        file.write(b"\0" * 100)


def _short(left):
    os.truncate(left, HALF - 1)


def _note(**changes):
    def change(left):
        beside = left.with_name(left.name + ".json")
        beside.write_text(json.dumps(json.loads(beside.read_text()) | changes))

    return change


def _torn(left):
    beside = left.with_name(left.name + ".json")
    beside.write_text(beside.read_text()[:-9])


def _no_note(left):
    left.with_name(left.name + ".json").unlink()


CHANGES = [
    _damaged,
    _short,
    _torn,
    _no_note,
    pytest.param(_note(etag='W/"v1"'), id="weak tag"),
    pytest.param(_note(etag=7), id="tag of another type"),
    pytest.param(_note(n=True), id="length of another type"),
    pytest.param(_note(n=-1), id="negative length"),
    pytest.param(_note(n=10**30), id="absurd length"),
    pytest.param(lambda left: left.with_name(left.name + ".json").write_text("[" * 100_000), id="deep"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_sure_is_begun_anew(folder, left, change):
    """Damaged, cut, or without a note that fits: nothing of it is used."""
    change(left)

    part = PartialFile(folder, "a")
    part.resume(ADDRESS)

    assert (part.size, part.etag, part.path.stat().st_size) == (0, "", 0)
    part.close()
    assert names(folder) == []


def test_another_file_is_not_glued_on(folder, left):
    """What came from another address is thrown away."""
    part = PartialFile(folder, "a")
    part.resume("https://cdn.example/b.png")

    assert part.size == 0
    part.close()


def test_two_writers_never_share_a_part(folder, left):
    """The second one begins its own; each finishes with its own bytes."""
    one, other = PartialFile(folder, "a"), PartialFile(folder, "a")
    one.resume(ADDRESS)
    other.resume(ADDRESS)
    one.write(DATA[HALF:])
    other.write(b"other")

    assert one.path != other.path
    assert (one.sync(), other.size) == (sha256(DATA), 5)
    one.close()
    other.close()
    assert names(folder) == []


def test_like_names_have_parts_of_their_own(folder):
    """Names that are alike as file names differ in their digest."""
    one, other = PartialFile(folder, "a b"), PartialFile(folder, "a/b")

    assert one.path != other.path
    one.close()
    other.close()


def test_a_finished_twin_is_not_cut(folder, left):
    """Killed between naming the whole file and dropping the part, the file stays whole when it is fetched again."""
    whole = folder / "a.png"
    os.link(left, whole)

    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    part.write(b"new")
    part.close()

    assert whole.read_bytes() == DATA[:HALF]


def test_a_link_in_the_way_is_not_followed(folder, left):
    """A symbolic link where the part should be is left alone, and so is what it points to."""
    victim = folder / "victim"
    victim.write_text("precious")
    left.unlink()
    left.symlink_to(victim)

    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    part.write(DATA)

    assert part.path != left
    part.close()
    assert victim.read_text() == "precious"


def test_old_parts_are_swept(folder, left):
    """What nobody went on with for a week goes, whichever output it was of; what is young stays."""
    old = PartialFile(folder, "b")
    old.etag = '"v"'
    old.write(b"x")
    old.close(keep=True)
    for path in folder.glob("b-*"):
        os.utime(path, (1, 1))

    PartialFile(folder, "c").close()

    assert names(folder) == sorted([left.name, f"{left.name}.json"])


def test_without_a_strong_tag_nothing_is_kept(folder):
    """A part that cannot be gone on with is removed."""
    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    part.write(DATA[:HALF])
    part.close(keep=True)

    assert names(folder) == []


@pytest.mark.parametrize(("tag", "strong"), [('"a"', True), ('W/"a"', False), ("", False)])
def test_only_a_strong_tag_promises_the_same_bytes(tag, strong):
    """RFC 9110: a weak tag says that two files mean the same, not that they are."""
    assert is_strong(tag) is strong


def test_bytes_of_a_reply_never_go_on(tmp_path):
    """What is delivered inside a reply is written whole, whatever part lies there."""
    folder = TaskFolder.of(tmp_path, "mill", "x", "1")
    folder.make()
    part = PartialFile(folder.path, "a")
    part.etag = '"v"'
    part.write(DATA[:HALF])
    part.close(keep=True)

    found = save_bytes(folder, Output(name="a", data=b"whole"))

    assert found.sha256 == sha256(b"whole")
    assert len(names(folder.path)) == 1


# A process that is killed in the middle


def broken(**headers):
    """Half of the file, and then nothing more."""

    async def act(conn, _asked):
        await conn.send(reply(DATA[:HALF], headers=headers, length=len(DATA)))
        await conn.gone()

    return act


async def rest(conn, asked):
    """What was asked for, as a server does that knows ranges."""
    span = asked.header("range")
    begin = int(span.removeprefix("bytes=").removesuffix("-")) if span and asked.header("if-range") == '"v1"' else 0
    told = {**TAG, "content-range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"}
    await conn.send(reply(DATA[begin:], 206, told) if begin else reply(DATA, headers=TAG))


OTHER = png(200_000, colour=1)
SERVERS = {
    "it knows ranges": (broken(**TAG), [rest], DATA, True),
    "it ignores the range": (broken(**TAG), [reply(DATA, headers=TAG)], DATA, True),
    "it has no tag": (broken(), [reply(DATA)], DATA, False),
    "its tag is weak": (broken(etag='W/"v1"'), [reply(DATA)], DATA, False),
    "the file is another now": (broken(**TAG), [reply(OTHER, headers={"etag": '"v2"'})], OTHER, True),
    "it continues another file": (
        broken(**TAG),
        [
            reply(OTHER[HALF:], 206, {"etag": '"v2"', "content-range": f"bytes {HALF}-{len(OTHER) - 1}/{len(OTHER)}"}),
            reply(OTHER, headers={"etag": '"v2"'}),
        ],
        OTHER,
        True,
    ),
    "it continues at the wrong place": (
        broken(**TAG),
        [
            reply(DATA[7:], 206, {**TAG, "content-range": f"bytes 7-{len(DATA) - 1}/{len(DATA)}"}),
            reply(DATA, headers=TAG),
        ],
        DATA,
        True,
    ),
}


def _went_on(mill, history, whole, asks):
    """Whether a resumed download has the right bytes, asked in the right way and left nothing behind."""
    second = mill.asked("/files")[1]
    assert [sha256(path.read_bytes()) for path in history.files] == [sha256(whole)]
    assert (second.header("range") is not None) is asks
    assert second.header("if-range") == ('"v1"' if asks else None)
    assert [path.name for path in history.files[0].parent.iterdir()] == ["files-0.png"]
    assert nbh.pending().empty


@pytest.mark.parametrize(("first", "then", "whole", "asks"), SERVERS.values(), ids=SERVERS)
def test_a_download_goes_on_or_begins_anew(mill, restart, tmp_path, first, then, whole, asks):
    """Broken off at half of a file, a task is resumed: the rest alone where that is sure, the same bytes always."""
    mill.job({**DONE, "files": [f"{mill.file(first, *then)}?sig=1"]}, ident="x")
    handle = nbh.watch("mill:x", block=False, display=False)
    until(lambda: any(path.stat().st_size == HALF for path in tmp_path.rglob("*.part")))
    restart()
    assert handle[0].files == ()
    assert list(nbh.pending()["pending"]) == ["results missing"]

    history = nbh.resume(block=False, display=False).result(30)[0]

    _went_on(mill, history, whole, asks)


@pytest.mark.parametrize("name", ["it knows ranges", "it has no tag"])
def test_a_download_outlives_the_process_that_began_it(mill, notebook, tmp_path, name):
    """The same when the process is killed without a chance to say anything."""
    first, then, whole, asks = SERVERS[name]
    mill.job({**DONE, "files": [mill.file(first, *then)]}, ident="x")
    process = notebook('nbh.watch("mill:x", display=False)')
    until(lambda: any(path.stat().st_size == HALF for path in tmp_path.rglob("*.part")))
    if asks:
        until(lambda: _noted(tmp_path) > 0)
    process.kill()
    process.wait(30)

    history = nbh.resume(block=False, display=False).result(30)[0]

    _went_on(mill, history, whole, asks)


def _noted(folder):
    """How far the last note says that the part is."""
    for path in folder.rglob("*.part.json"):
        return json.loads(path.read_text())["n"]
    return 0


def test_half_a_file_in_a_broken_connection_is_noted_at_once(mill, notebook, tmp_path):
    """Broken at half and killed while it waits to try again, the whole half is gone on with."""

    async def reset(conn, asked):
        await conn.send(reply(DATA[:HALF], headers=TAG, length=len(DATA)))
        until(lambda: any(path.stat().st_size == HALF for path in tmp_path.rglob("*.part")))
        await conn.reset()

    mill.job({**DONE, "files": [mill.file(reset, rest)]}, ident="x")
    process = notebook("""
    from nbhelper._network import downloads
    downloads._PAUSE = 60.0
    nbh.watch("mill:x", display=False)
    """)
    until(lambda: _noted(tmp_path) == HALF)
    process.kill()
    process.wait(30)
    kept = time.monotonic()

    history = nbh.resume(block=False, display=False).result(30)[0]

    asked = mill.asked("/files")[-1]
    assert asked.at > kept
    assert asked.header("range") == f"bytes={HALF}-"
    assert [sha256(path.read_bytes()) for path in history.files] == [sha256(DATA)]
