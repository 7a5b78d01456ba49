"""Saving results: folders, bytes that came inside a reply, the download queue, and the types of files."""

import asyncio
import base64
import errno
import os
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mill import DONE, WORKING, png, sha256
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh
from nbhelper._network import downloads, partial_file
from nbhelper._network.download_queue import DownloadQueue
from nbhelper._network.file_types import pixels, sniff
from nbhelper.types import SaveState


def watch(what, **options):
    return nbh.watch(what, block=False, display=False, **options)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """A second attempt at a download follows the first after 0.02 seconds."""
    monkeypatch.setattr(downloads, "_PAUSE", 0.02)


def changed(monkeypatch, where, module, **replaced):
    """Replace names of `os` or `time` for one module alone."""
    monkeypatch.setattr(where, module.__name__, SimpleNamespace(**{**vars(module), **replaced}))


DATA = png(200_000)


# Where files go


def test_two_tasks_with_one_label_have_two_folders(mill):
    """A task's folder has a name that ends in a digest of its identity, so equal labels share none."""
    tasks = [
        nbh.Task("mill", mill.job({"state": "done", "files": [mill.file(reply(png(n)))]})[5:], label="owl")
        for n in range(2)
    ]

    histories = watch(tasks).result(30)

    folders = {h.files[0].parent.name for h in histories}
    assert len(folders) == 2
    assert all(name.startswith("owl-") for name in folders)


def test_a_watch_is_not_over_before_its_files_are(mill):
    """A watch ends when each output is saved or given up, not with the final state."""
    handle = watch(mill.job(WORKING, {"state": "done", "files": [mill.file(reply(b"", 503), reply(DATA))]}, DONE))
    until(lambda: handle[0].succeeded)

    history = handle.result(30)

    assert history.settled
    assert history.files


# The disk


def test_bytes_that_cannot_be_written_stay_in_memory(mill, monkeypatch):
    """Bytes from a reply, which no API delivers twice, stay in the history when the disk is full."""
    data = png(33)

    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    changed(monkeypatch, partial_file, os, write=full)
    history = watch(mill.job({"state": "done", "b64": base64.b64encode(data).decode()})).result(30)

    assert history.save_state("b64") is SaveState.FAILED
    assert history.outputs[0].data == data


def test_bytes_in_a_reply_are_on_disk_before_their_row(mill, monkeypatch):
    """When the store is given the reply's event, the file is on the disk already."""
    data, seen = png(44), []
    from nbhelper._session import session

    store = session.store()
    real = store.append

    def append(uid, events, *, summary, **more):
        seen.extend((type(e.seen).__name__, [f.exists() for f in summary.files]) for e in events)
        return real(uid, events, summary=summary, **more)

    monkeypatch.setattr(store, "append", append)
    history = watch(mill.job({"state": "done", "b64": base64.b64encode(data).decode()})).result(30)

    assert seen == [("Mark", []), ("Snapshot", [True]), ("Saved", [True])]
    assert history.outputs[0].data is None
    assert sha256(history.files[0].read_bytes()) == sha256(data)


# The queue


@given(st.lists(st.sampled_from(["come", "go", "give up"]), max_size=60), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_turns_are_neither_lost_nor_doubled(steps, slots):
    """However downloads come, end or are cancelled, at most `slots` run, and in the end all turns are free."""

    async def main():
        queue, inside, most = DownloadQueue(slots), 0, 0
        running = []

        async def hold(release):
            nonlocal inside, most
            async with queue.turn(0):
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
        return most, inside, queue._free

    most, inside, free = asyncio.run(main())

    assert most <= slots
    assert (inside, free) == (0, slots)


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
    """The type of a format with a signature is read from its first bytes, whatever the link's suffix."""
    assert sniff(head, ".obj" if suffix != ".bin" else "").suffix == suffix


def test_a_suffix_helps_only_formats_without_a_signature():
    """An `.obj` is believed, a `.exe` or a page called `.obj` is not."""
    assert sniff(b"v 0 0 0\n", ".obj").suffix == ".obj"
    assert sniff(b"PK\x03\x04", ".usdz").suffix == ".usdz"
    assert sniff(b"MZ", ".exe").suffix == ".bin"
    assert sniff(b"<html>", ".obj").suffix == ".bin"


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP", b"\xff\xd8\xff", b"GIF8"]))
def test_any_bytes_have_a_type(data, head):
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
