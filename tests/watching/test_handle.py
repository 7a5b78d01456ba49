"""The handle as a list of histories, as one line, as tables and as pictures."""

import io
import sys
from pathlib import Path

import pytest
from PIL import Image
from support import scripts
from support.mill import DONE, KEY
from support.raw_server import reply
from support.watched import watch


def test_a_handle_reads_as_one_line(mill):
    """`repr` says what and how far, for one and for many."""
    one, other = mill.job(), mill.job({"state": "error"})
    single, several = watch(one), watch([one, other])
    single.result(30)
    several.result(30)

    assert repr(single) == "<Watch mill:job-1 succeeded>"
    assert repr(several) == "<Watch 2 tasks: 1 succeeded, 1 failed>"
    assert [str(h.task) for h in several] == [one, other]


def test_part_of_a_watch_is_a_list_of_histories(mill):
    """A slice goes by the order that the tasks were given in, duplicates included."""
    refs = [mill.job(DONE) for _ in range(3)]
    handle = watch([*refs, refs[0]])
    handle.result(30)

    assert handle[0:2] == [handle[0], handle[1]]
    assert [str(h.task) for h in handle[::-1]] == [refs[0], *refs[::-1]]
    assert handle[4:] == []
    with pytest.raises(IndexError):
        handle[4]


def test_a_handle_tabulates_itself(mill):
    """`to_frame` and `summary` wait for the end and have one row per task, not per place."""
    one, other = mill.job(), mill.job({"state": "error"})
    handle = watch([one, other, one])

    frame = handle.to_frame()

    assert list(frame["task_id"]) == ["job-1", "job-2"]
    assert list(frame["outcome"]) == ["succeeded", "failed"]
    assert list(handle.summary(by="provider")["n"]) == [2]


def picture():
    """A whole PNG of 8 by 6 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_are_opened_and_other_files_left_out(mill):
    """`images()` gives pictures alone."""
    files = [mill.file(reply(picture())), mill.file(reply(b"glTF" + bytes(40)), name="b.glb")]
    handle = watch(mill.job({"state": "done", "files": files}))
    handle.result(30)

    pictures = handle.images()

    assert [p.size for p in pictures] == [(8, 6)]
    assert len(handle.files) == 2


IMAGES = """
import resource, sys
import nbhelper as nbh

nbh.register(nbh.Provider(
    name="mill", base_url=sys.argv[1], key_variable="MILL_API_KEY", poll="GET /jobs/{id}", state="state",
    words={"done": "succeeded"}, outputs="files",
))
handle = nbh.watch("mill:job-1", display=False)
resource.setrlimit(resource.RLIMIT_NOFILE, (48, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
pictures = handle.images()
print(len(handle.files), len(pictures), {image.convert('L').size for image in pictures})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of open files to lower")
def test_images_are_more_than_files_may_be_open(mill):
    """`images()` gives every picture, also where fewer files may be open at a time."""
    ref = mill.job({"state": "done", "files": [mill.file(reply(picture())) for _ in range(60)]})
    watch(ref).result(30)

    done = scripts.run(IMAGES, mill.root, cwd=Path.cwd(), MILL_API_KEY=KEY)

    assert done.stdout == "60 60 {(8, 6)}\n", done.stderr


def test_images_leave_out_what_is_gone_or_damaged(mill):
    """A saved file that was deleted, or is no whole picture any more, is left out."""
    ref = mill.job({"state": "done", "files": [mill.file(reply(picture())) for _ in range(3)]})
    handle = watch(ref)
    handle.result(30)
    gone, damaged, whole = handle.files

    gone.unlink()
    damaged.write_bytes(b"no picture")

    assert [image.filename for image in handle.images()] == [str(whole)]
