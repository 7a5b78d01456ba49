"""Results are real files."""

from __future__ import annotations

import io
import json
import struct
import wave

import pytest
from PIL import Image

from nbhelper._emulator.media import Asset, make
from nbhelper._emulator.pictures import words_of


@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_pictures_are_what_their_ending_says(form, kind):
    """Pillow opens each form at the size asked for."""
    with Image.open(io.BytesIO(make(Asset("a", "image", form, 800, 640), 5, "a cat"))) as picture:
        picture.load()

        assert (picture.format, picture.size) == (kind, (800, 640))


def test_pictures_differ_by_seed_prompt_and_place():
    """The same call gives the same bytes, anything else others."""
    one = make(Asset("a", "image", "png"), 1, "a cat")

    assert one == make(Asset("a", "image", "png"), 1, "a cat")
    assert len({one, *(make(Asset(*rest), s, p) for rest, s, p in [
        (("a", "image", "png"), 2, "a cat"), (("a", "image", "png"), 1, "a dog"), (("b", "image", "png"), 1, "a cat"),
    ])}) == 4  # fmt: skip


def test_captions_leave_directives_out():
    """The picture shows the words of the prompt, as far as the font has them."""
    assert words_of("a cat emu:fail=3 on a green 沙发 sofa today") == "a cat on a green"


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "glb", "mp4"])
def test_padding_leaves_a_file_valid(form):
    """A huge result is the same result with bytes every reader skips."""
    kind = {"glb": "model", "mp4": "video"}.get(form, "image")
    data = make(Asset("a", kind, form, extra=1 << 20), 1, "a cat")

    assert len(data) > 1 << 20
    if kind == "image":
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()


def test_a_model_is_valid_glb():
    """Header, JSON and BIN chunks agree with each other and with the buffer they describe."""
    data = make(Asset("a", "model", "glb"), 3, "a cat")
    magic, version, length = struct.unpack_from("<4sII", data)
    n_json, kind = struct.unpack_from("<I4s", data, 12)
    scene = json.loads(data[20 : 20 + n_json])
    n_bin, bin_kind = struct.unpack_from("<I4s", data, 20 + n_json)

    assert (magic, version, length) == (b"glTF", 2, len(data))
    assert (kind, bin_kind) == (b"JSON", b"BIN\0")
    assert n_json % 4 == n_bin % 4 == 0
    assert 28 + n_json + n_bin == len(data)
    assert scene["buffers"][0]["byteLength"] == n_bin
    views, accessors = scene["bufferViews"], scene["accessors"]
    assert sum(view["byteLength"] for view in views) <= n_bin
    start = 28 + n_json + views[3]["byteOffset"]
    indices = struct.unpack_from(f"<{accessors[3]['count']}H", data, start)
    assert max(indices) == accessors[0]["count"] - 1


def test_a_video_has_its_boxes_in_order():
    """ISO-BMFF: type, table of contents, data; the first sample begins where the table says."""
    data = make(Asset("a", "video", "mp4"), 3, "a cat")
    boxes, place = [], 0
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        boxes.append((kind, place))
        place += size
    first = struct.unpack_from(">I", data, data.index(b"stco") + 12)[0]

    assert [kind for kind, _ in boxes] == [b"ftyp", b"moov", b"mdat"]
    assert first == boxes[2][1] + 8
    assert data[first + 4] & 0x1F == 5  # an IDR slice


def test_meshes_in_other_forms():
    """OBJ and binary STL describe the same number of triangles."""
    obj, stl = make(Asset("a", "model", "obj"), 3, ""), make(Asset("a", "model", "stl"), 3, "")

    n = struct.unpack_from("<I", stl, 80)[0]
    assert obj.count(b"\nf ") == n
    assert len(stl) == 84 + 50 * n


def test_sound_is_a_wave_file():
    """One second, mono."""
    with wave.open(io.BytesIO(make(Asset("a", "audio", "wav"), 3, ""))) as sound:
        assert sound.getnframes() / sound.getframerate() == 1
