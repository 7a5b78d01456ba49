"""The bytes of result files: valid, different from result to result, padded when asked."""

from __future__ import annotations

import io
import json
import struct
import wave

import pytest
from PIL import Image

from nbhelper._emulator.media import VIDEO_SIZE, Asset, make
from nbhelper._emulator.pictures import words_of

KINDS = {
    "png": "image", "jpg": "image", "webp": "image",
    "glb": "model", "obj": "model", "stl": "model", "mp4": "video", "wav": "audio",
}  # fmt: skip


def boxes(data):
    """Return type and offset of each top-level box of an MP4."""
    mp4_boxes, offset = [], 0
    while offset < len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        mp4_boxes.append((kind, offset))
        offset += size
    assert offset == len(data)
    return mp4_boxes


def glb(data):
    """The JSON chunk of a GLB, decoded, and where its BIN chunk begins; lengths and alignment are checked."""
    magic, version, length = struct.unpack_from("<4sII", data)
    n_json, kind = struct.unpack_from("<I4s", data, 12)
    n_bin, bin_kind = struct.unpack_from("<I4s", data, 20 + n_json)
    scene = json.loads(data[20 : 20 + n_json])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    assert (kind, bin_kind) == (b"JSON", b"BIN\0")
    assert n_json % 4 == n_bin % 4 == 0
    assert 28 + n_json + n_bin == len(data)
    assert scene["buffers"][0]["byteLength"] == n_bin
    return scene, 28 + n_json


@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_pictures_are_what_their_ending_says(form, kind):
    """Pillow opens each picture format at the size asked for."""
    with Image.open(io.BytesIO(make(Asset("a", "image", form, 800, 640), 5, "a cat"))) as picture:
        picture.load()

        assert (picture.format, picture.size) == (kind, (800, 640))


@pytest.mark.parametrize(("form", "kind"), KINDS.items())
def test_bytes_differ_by_seed_prompt_and_name(form, kind):
    """The same arguments give the same bytes; another seed, prompt or name gives other bytes."""
    one = make(Asset("a", kind, form), 1, "a cat")
    others = [("a", 2, "a cat"), ("a", 1, "a dog"), ("b", 1, "a cat"), ("a", 1, "一只猫")]

    assert one == make(Asset("a", kind, form), 1, "a cat")
    assert len({one, *(make(Asset(name, kind, form), seed, prompt) for name, seed, prompt in others)}) == 5


def test_a_picture_of_a_model_differs_by_side_and_seed():
    """The four views of a 3D model are four pictures of the size asked for, in colours of the seed."""
    views = [make(Asset("a", "image", "jpg", 640, 480, view=n), seed, "a cat") for n in range(4) for seed in (1, 2)]

    assert len(set(views)) == 8
    with Image.open(io.BytesIO(views[0])) as picture:
        assert picture.size == (640, 480)


def test_captions_leave_directives_out():
    """A caption has the first words of the prompt, without directives and glyphs that the font lacks."""
    assert words_of("a cat emu:fail=3 on a green 沙发 sofa today") == "a cat on a green"


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "glb", "mp4", "wav"])
def test_padding_leaves_a_file_valid(form):
    """A padded result has the bytes asked for, and its reader skips them."""
    data = make(Asset("a", KINDS[form], form, extra=1 << 20), 1, "a cat")

    assert len(data) > 1 << 20
    if form == "glb":
        glb(data)
    elif form == "mp4":
        boxes(data)
    elif form == "wav":
        with wave.open(io.BytesIO(data)) as sound:
            assert sound.getnframes() == 8000
    else:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()


def test_a_model_is_valid_glb():
    """Header, JSON and BIN chunks agree with each other and with the buffer they describe."""
    data = make(Asset("a", "model", "glb"), 3, "a cat")
    scene, start = glb(data)
    views, accessors = scene["bufferViews"], scene["accessors"]
    indices = struct.unpack_from(f"<{accessors[3]['count']}H", data, start + views[3]["byteOffset"])

    assert scene["asset"]["version"] == "2.0"
    assert sum(view["byteLength"] for view in views) <= len(data) - start
    assert max(indices) == accessors[0]["count"] - 1


def test_a_video_has_its_boxes_in_order():
    """ISO-BMFF: type, index, data; the first sample is at the index's offset, and the mark is in a box at the end."""
    data = make(Asset("a", "video", "mp4"), 3, "a cat")
    mp4_boxes = boxes(data)
    first = struct.unpack_from(">I", data, data.index(b"stco") + 12)[0]

    assert [kind for kind, _ in mp4_boxes] == [b"ftyp", b"moov", b"free", b"mdat", b"free"]
    assert first == mp4_boxes[3][1] + 8
    assert data[first + 4] & 0x1F == 5  # an IDR slice
    assert data[mp4_boxes[4][1] + 8 :].startswith(b"nbhelper emulator ")


def test_a_video_is_h264_that_browsers_play():
    """H.264 baseline at level 3.0, of the width and height that replies state."""
    data = make(Asset("a", "video", "mp4"), 3, "a cat")
    entry = data.index(b"avc1", data.index(b"stsd"))
    config = data.index(b"avcC") + 4

    assert struct.unpack_from(">HH", data, entry + 28) == VIDEO_SIZE
    assert (data[config + 1], data[config + 3]) == (66, 30)


def test_obj_and_stl_have_the_same_triangles():
    """OBJ and binary STL describe the same number of triangles."""
    obj, stl = make(Asset("a", "model", "obj"), 3, ""), make(Asset("a", "model", "stl"), 3, "")

    n = struct.unpack_from("<I", stl, 80)[0]
    assert obj.count(b"\nf ") == n
    assert len(stl) == 84 + 50 * n


def test_sound_is_a_wave_file():
    """WAV of one second, mono."""
    with wave.open(io.BytesIO(make(Asset("a", "audio", "wav"), 3, ""))) as sound:
        assert (sound.getnframes() / sound.getframerate(), sound.getnchannels()) == (1, 1)
