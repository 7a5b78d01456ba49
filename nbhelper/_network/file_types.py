"""The type and pixel size of a file from its first bytes, never from a name or header that a server chose."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

HEAD: Final = 4096
"""Bytes from the start of a file that are enough to tell its type."""


@dataclass(frozen=True, slots=True)
class Type:
    """A kind of file.

    Attributes:
        suffix: With its dot.
        kind: `image`, `video`, `model`, `audio` or `file`.
        mime: For uploads.
    """

    suffix: str
    kind: str
    mime: str


UNKNOWN = Type(".bin", "file", "application/octet-stream")
_MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", Type(".png", "image", "image/png")),
    (0, b"\xff\xd8\xff", Type(".jpg", "image", "image/jpeg")),
    (0, b"GIF87a", Type(".gif", "image", "image/gif")),
    (0, b"GIF89a", Type(".gif", "image", "image/gif")),
    (0, b"glTF", Type(".glb", "model", "model/gltf-binary")),
    (0, b"Kaydara FBX Binary", Type(".fbx", "model", "application/octet-stream")),
    (0, b"PXR-USDC", Type(".usdc", "model", "application/octet-stream")),
    (0, b"\x1aE\xdf\xa3", Type(".webm", "video", "video/webm")),
    (0, b"OggS", Type(".ogg", "audio", "audio/ogg")),
    (0, b"fLaC", Type(".flac", "audio", "audio/flac")),
    (0, b"ID3", Type(".mp3", "audio", "audio/mpeg")),
    (0, b"%PDF-", Type(".pdf", "file", "application/pdf")),
    (0, b"II*\x00", Type(".tif", "image", "image/tiff")),
    (0, b"MM\x00*", Type(".tif", "image", "image/tiff")),
    (0, b"BM", Type(".bmp", "image", "image/bmp")),
    (0, b"PK\x03\x04", Type(".zip", "file", "application/zip")),
    (0, b"\x1f\x8b\x08", Type(".gz", "file", "application/gzip")),
)
_BRANDS = {
    b"avif": Type(".avif", "image", "image/avif"),
    b"avis": Type(".avif", "image", "image/avif"),
    b"heic": Type(".heic", "image", "image/heic"),
    b"mif1": Type(".heic", "image", "image/heic"),
    b"qt  ": Type(".mov", "video", "video/quicktime"),
    b"M4A ": Type(".m4a", "audio", "audio/mp4"),
}
_BY_NAME = {
    # Formats without a signature: the link's suffix decides, and only among these.
    ".obj": Type(".obj", "model", "text/plain"),
    ".mtl": Type(".mtl", "file", "text/plain"),
    ".stl": Type(".stl", "model", "model/stl"),
    ".ply": Type(".ply", "model", "text/plain"),
    ".gltf": Type(".gltf", "model", "model/gltf+json"),
    ".usda": Type(".usda", "model", "text/plain"),
    ".txt": Type(".txt", "file", "text/plain"),
    ".json": Type(".json", "file", "application/json"),
}
_ZIPPED = {".usdz": Type(".usdz", "model", "model/vnd.usdz+zip"), ".3mf": Type(".3mf", "model", "model/3mf")}


def sniff(head: bytes, suffix: str = "") -> Type:
    """The type of a file from its first bytes.

    Args:
        head: Up to `HEAD` bytes.
        suffix: The link's, a hint for formats that have no signature. A page of HTML never passes as one of them.
    """
    for offset, magic, file_type in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return _ZIPPED.get(suffix, file_type) if file_type.suffix == ".zip" else file_type
    if head[:4] == b"RIFF":
        form = head[8:12]
        if form == b"WEBP":
            return Type(".webp", "image", "image/webp")
        if form == b"WAVE":
            return Type(".wav", "audio", "audio/wav")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], Type(".mp4", "video", "video/mp4"))
    if head[:2] in {b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"}:
        return Type(".mp3", "audio", "audio/mpeg")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg", b"<error")):
        # Saved, and never shown as a picture: SVG and HTML can hold scripts.
        return Type(".svg", "file", "image/svg+xml") if b"<svg" in text else UNKNOWN
    return _BY_NAME.get(suffix, UNKNOWN)


def pixels(head: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF, WebP or JPEG from its header alone; no decoder sees the bytes."""
    try:
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            return struct.unpack(">II", head[16:24])
        if head[:4] == b"GIF8":
            return struct.unpack("<HH", head[6:10])
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _webp(head)
        if head[:3] == b"\xff\xd8\xff":
            return _jpeg(head)
    except struct.error:
        return None
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    form = head[12:16]
    if form == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if form == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if form == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + int(struct.unpack(">H", head[at + 2 : at + 4])[0])
    return None
