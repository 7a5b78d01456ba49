"""Half a file: gone on with where it is the same one, begun anew where that is not sure, never mixed, never shared."""

import json
import os

import pytest
from support.mill import png, sha256

from nbhelper._network.downloads import TaskFolder, save_bytes
from nbhelper._network.partial_file import PartialFile, is_strong
from nbhelper.types import Output

DATA = png(200_000)


HALF = 100_000


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
    place = TaskFolder.of(tmp_path, "mill", "x", "1")
    place.make()
    part = PartialFile(place.path, "a")
    part.etag = '"v"'
    part.write(DATA[:HALF])
    part.close(keep=True)

    saved = save_bytes(place, Output(name="a", data=b"whole"))

    assert saved.sha256 == sha256(b"whole")
    assert len(names(place.path)) == 1
