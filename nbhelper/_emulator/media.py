"""The bytes of a result, made when first asked for."""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from dataclasses import dataclass
from typing import Literal

from nbhelper._emulator import meshes, movies, pictures

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


@dataclass(frozen=True, slots=True)
class Asset:
    """One result a task will have: where it stands in the reply, and what it is."""

    name: str  # key path in the reply, e.g. output.pbr_model
    kind: Kind
    form: str  # file ending without the dot
    width: int = 768
    height: int = 768
    view: int | None = None  # a picture of the mesh, seen from this quarter turn
    extra: int = 0  # bytes of padding

    @property
    def file(self) -> str:
        """The file's name in its link."""
        safe = "".join(c if c.isalnum() else "_" for c in self.name).strip("_")
        return f"{safe}.{self.form}"


def _chime(seed: int) -> bytes:
    """A second of two soft notes."""
    rate, low = 8000, 330 * 2 ** ((seed % 12) / 12)
    samples = bytearray()
    for i in range(rate):
        t = i / rate
        tone = math.sin(math.tau * low * t) + 0.6 * math.sin(math.tau * low * 1.5 * t) * (t > 0.25)
        samples += struct.pack("<h", round(9000 * tone * math.exp(-3 * t)))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(samples))
    return out.getvalue()


def _padded(picture: bytes, form: str, extra: int) -> bytes:
    """The same picture with bytes in it that every reader skips."""
    if form == "png":
        chunk = b"emUp" + bytes(extra)
        end = len(picture) - 12  # before IEND
        padding = struct.pack(">I", extra) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return picture[:end] + padding + picture[end:]
    if form == "webp":
        body = picture[8:] + struct.pack("<4sI", b"EMUP", extra) + bytes(extra + extra % 2)
        return b"RIFF" + struct.pack("<I", len(body)) + body
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    return picture[:2] + comment * -(-extra // len(comment)) + picture[2:]


def make(asset: Asset, seed: int, prompt: str) -> bytes:
    """The bytes of one result; the same arguments give the same bytes."""
    if asset.kind == "video":
        return movies.mp4(seed, prompt, asset.extra)
    if asset.kind == "audio":
        return _chime(seed)
    if asset.form == "obj":
        return meshes.obj(seed)
    if asset.form == "stl":
        return meshes.stl(seed)
    if asset.kind == "model":
        return meshes.glb(seed, asset.extra)
    if asset.view is not None:
        picture = meshes.portrait(seed, prompt, asset.width, asset.height, asset.view * math.pi / 2)
    else:
        # Several pictures of one task differ, as several takes of one prompt do.
        picture = pictures.paint(seed + zlib.crc32(asset.name.encode()), prompt, asset.width, asset.height)
    data = pictures.encode(picture, asset.form)
    return _padded(data, asset.form, asset.extra) if asset.extra else data
