"""Partial files: resumed if they are of the same file, else emptied; never mixed, never shared by two writers."""

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
    """The path of half a file that an earlier process left behind."""
    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    part.etag = '"v1"'
    part.write(DATA[:HALF])
    part.close(keep=True)
    return part.path


def test_a_partial_file_is_resumed(folder, left):
    """The next process has the bytes, the ETag and, at the end, the digest of the whole file."""
    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    begun = part.size, part.etag, part.path
    part.write(DATA[HALF:])

    assert begun == (HALF, '"v1"', left)
    assert part.sync() == sha256(DATA)
    assert part.head == DATA[: len(part.head)]
    part.close()
    assert names(folder) == []


def test_bytes_after_the_last_saved_progress_are_cut_off(folder, left):
    """Bytes that were written after `x.part.json` are dropped when the file is resumed."""
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
def test_a_doubtful_partial_file_is_emptied(folder, left, change):
    """Damaged, cut, or without an `x.part.json` that fits: no byte of it is used."""
    change(left)

    part = PartialFile(folder, "a")
    part.resume(ADDRESS)

    assert (part.size, part.etag, part.path.stat().st_size) == (0, "", 0)
    part.close()
    assert names(folder) == []


def test_a_partial_file_of_another_address_is_emptied(folder, left):
    """Bytes from another address are not kept."""
    part = PartialFile(folder, "a")
    part.resume("https://cdn.example/b.png")

    assert part.size == 0
    part.close()


def test_two_writers_never_share_a_partial_file(folder, left):
    """The second writer begins a file of its own; each finishes with its own bytes."""
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


def test_like_names_have_partial_files_of_their_own(folder):
    """Outputs whose names give the same file name differ in a digest."""
    one, other = PartialFile(folder, "a b"), PartialFile(folder, "a/b")

    assert one.path != other.path
    one.close()
    other.close()


def test_a_whole_file_linked_to_its_partial_file_is_not_cut(folder, left):
    """If a process was killed between linking the whole file and removing the partial name, the file stays whole."""
    whole = folder / "a.png"
    os.link(left, whole)

    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    part.write(b"new")
    part.close()

    assert whole.read_bytes() == DATA[:HALF]


def test_a_symbolic_link_at_the_path_is_not_followed(folder, left):
    """A symbolic link at the path of a partial file stays, and what it points to is not written."""
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


def test_old_partial_files_are_removed(folder, left):
    """Partial files that have not changed for a week are removed, of any output; younger ones stay."""
    old = PartialFile(folder, "b")
    old.etag = '"v"'
    old.write(b"x")
    old.close(keep=True)
    for path in folder.glob("b-*"):
        os.utime(path, (1, 1))

    PartialFile(folder, "c").close()

    assert names(folder) == sorted([left.name, f"{left.name}.json"])


def test_without_a_strong_etag_no_partial_file_is_kept(folder):
    """A partial file that cannot be resumed is removed when it is closed."""
    part = PartialFile(folder, "a")
    part.resume(ADDRESS)
    part.write(DATA[:HALF])
    part.close(keep=True)

    assert names(folder) == []


@pytest.mark.parametrize(("tag", "strong"), [('"a"', True), ('W/"a"', False), ("", False)])
def test_only_a_strong_etag_promises_the_same_bytes(tag, strong):
    """RFC 9110: files of the same weak ETag mean the same and may differ in bytes."""
    assert is_strong(tag) is strong


def test_bytes_in_a_reply_resume_no_partial_file(tmp_path):
    """Bytes that came in a reply are written whole, also where a partial file is left."""
    place = TaskFolder.of(tmp_path, "mill", "x", "1")
    place.make()
    part = PartialFile(place.path, "a")
    part.etag = '"v"'
    part.write(DATA[:HALF])
    part.close(keep=True)

    saved = save_bytes(place, Output(name="a", data=b"whole"))

    assert saved.sha256 == sha256(b"whole")
    assert len(names(place.path)) == 1
