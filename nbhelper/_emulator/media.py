"""The bytes of a result file, made when it is first downloaded.

Pictures are painted for their prompt. Video, sound and 3D models are sample files (`samples/`) with a mark inside that
differs from result to result; they stay the same whatever duration or resolution a request asks for.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import struct
import zlib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from PIL import Image

from nbhelper._emulator import pictures

Kind = Literal["image", "model", "video", "audio"]

TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "glb": "model/gltf-binary",
    "obj": "model/obj",
    "stl": "model/stl",
    "mp4": "video/mp4",
    "wav": "audio/wav",
}

#: Width and height of every video.
VIDEO_SIZE = (320, 180)


@dataclass(frozen=True, slots=True)
class Asset:
    """One result that a task will have: its place in the reply, and its file format."""

    name: str  # key path in the reply, e.g. output.pbr_model
    kind: Kind
    form: str  # file ending without the dot
    width: int = 768  # of a picture
    height: int = 768
    view: int | None = None  # a picture of the 3D model, seen from this quarter turn
    extra: int = 0  # bytes of padding; OBJ and STL get none

    @property
    def file(self) -> str:
        """The file name in the result's link."""
        safe = "".join(c if c.isalnum() else "_" for c in self.name).strip("_")
        return f"{safe}.{self.form}"


def make(asset: Asset, seed: int, prompt: str) -> bytes:
    """Return the bytes of one result; the same arguments give the same bytes."""
    if asset.kind == "image":
        data = pictures.encode(_picture(asset, seed, prompt), asset.form)
        return _pad_picture(data, asset.form, asset.extra) if asset.extra else data
    digest = hashlib.sha256(f"{seed}:{asset.name}:{prompt}".encode("utf-8", "replace")).hexdigest()
    mark = f"nbhelper emulator {digest[:32]}".encode()
    if asset.form == "mp4":
        return _mark_mp4(_sample("sunset.mp4"), mark, asset.extra)
    if asset.form == "wav":
        return _append_riff_chunk(_sample("chime.wav"), mark + bytes(asset.extra))
    if asset.form == "glb":
        return _mark_glb(_sample("vessel.glb"), mark, asset.extra)
    if asset.form == "obj":
        return b"# " + mark + b"\n" + _sample("vessel.obj")
    return mark.ljust(80) + _sample("vessel.stl")[80:]  # binary STL begins with 80 bytes that no reader looks at


@functools.cache
def _sample(name: str) -> bytes:
    return (resources.files("nbhelper._emulator") / "samples" / name).read_bytes()


def _picture(asset: Asset, seed: int, prompt: str) -> Image.Image:
    if asset.view is None:
        # Several pictures of one task differ, as several takes of one prompt do.
        return pictures.paint(seed + zlib.crc32(asset.name.encode()), prompt, asset.width, asset.height)
    with Image.open(io.BytesIO(_sample(f"vessel-{asset.view}.webp"))) as vessel:
        return pictures.present(vessel, seed, prompt, asset.width, asset.height)


def _mark_mp4(movie: bytes, mark: bytes, extra: int) -> bytes:
    """Append a `free` box, which players skip; at the end of the file it moves no offset in `stco`."""
    return movie + struct.pack(">I4s", 8 + len(mark) + extra, b"free") + mark + bytes(extra)


def _mark_glb(model: bytes, mark: bytes, extra: int) -> bytes:
    """Write the mark into `asset.extras` of the JSON chunk, and append `extra` unused bytes to the buffer."""
    size = struct.unpack_from("<I", model, 12)[0]
    scene = json.loads(model[20 : 20 + size])
    scene["asset"]["extras"] = {"comment": mark.decode()}
    binary = model[28 + size :] + bytes(extra + -extra % 4)
    scene["buffers"][0]["byteLength"] = len(binary)
    text = json.dumps(scene, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)  # chunks are aligned to four bytes
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary)),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(binary), b"BIN\0"),
            binary,
        ]
    )


def _append_riff_chunk(file: bytes, content: bytes) -> bytes:
    """Append a chunk of an unknown type, which readers of WAV and WebP skip."""
    body = file[8:] + struct.pack("<4sI", b"EMUP", len(content)) + content + bytes(len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _pad_picture(picture: bytes, form: str, extra: int) -> bytes:
    """Insert at least `extra` bytes that every reader skips."""
    if form == "png":
        chunk = b"emUp" + bytes(extra)
        end = len(picture) - 12  # before IEND
        padding = struct.pack(">I", extra) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return picture[:end] + padding + picture[end:]
    if form == "webp":
        return _append_riff_chunk(picture, bytes(extra))
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    return picture[:2] + comment * -(-extra // len(comment)) + picture[2:]
