"""A short video that any browser plays, written without a codec library.

H.264 allows a block of 16 x 16 pixels to be stored raw (I_PCM) and a block to be skipped (taken from the
frame before). With these two alone a still background and a light moving over it make a small, valid,
playable stream: no transform, no prediction, no entropy coder.
"""

from __future__ import annotations

import math
import random
import struct

from PIL import Image, ImageDraw

from nbhelper._emulator.pictures import caption, glow, gradient, mix, palette, words_of

WIDTH, HEIGHT, RATE, FRAMES = 320, 180, 12, 24
_COLUMNS, _ROWS = WIDTH // 16, -(-HEIGHT // 16)


class _Bits:
    """A writer of bits, most significant first."""

    def __init__(self) -> None:
        self.bits: list[str] = []

    def u(self, value: int, width: int) -> None:
        self.bits.append(format(value, f"0{width}b"))

    def ue(self, value: int) -> None:
        """Unsigned Exp-Golomb."""
        text = format(value + 1, "b")
        self.bits.append("0" * (len(text) - 1) + text)

    def align(self) -> bytes:
        """Everything so far, filled up with zeros."""
        text = "".join(self.bits)
        text += "0" * (-len(text) % 8)
        self.bits = []
        return int(text, 2).to_bytes(len(text) // 8, "big") if text else b""

    def stop(self) -> bytes:
        """Everything so far with the trailing bits of a NAL unit."""
        self.u(1, 1)
        return self.align()


def _sps() -> bytes:
    b = _Bits()
    b.u(66, 8)  # baseline
    b.u(0b11000000, 8)
    b.u(30, 8)  # level 3.0: enough for raw blocks at this size and rate
    b.ue(0)  # seq_parameter_set_id
    b.ue(4)  # log2_max_frame_num - 4
    b.ue(2)  # pictures come in display order
    b.ue(1)  # one reference frame
    b.u(0, 1)
    b.ue(_COLUMNS - 1)
    b.ue(_ROWS - 1)
    b.u(1, 1)  # frames, not fields
    b.u(1, 1)  # direct_8x8_inference
    b.u(1, 1)  # cropping, in units of two pixels
    for edge in (0, 0, 0, (_ROWS * 16 - HEIGHT) // 2):
        b.ue(edge)
    b.u(0, 1)  # no VUI
    return b"\x67" + b.stop()


def _pps() -> bytes:
    b = _Bits()
    b.ue(0)
    b.ue(0)
    b.u(0, 1)  # CAVLC
    b.u(0, 1)
    b.ue(0)
    b.ue(0)
    b.ue(0)
    b.u(0, 1)
    b.u(0, 2)
    for _ in range(3):  # three signed zeros
        b.ue(0)
    b.u(1, 1)  # deblocking is controlled by the slice, which switches it off
    b.u(0, 1)
    b.u(0, 1)
    return b"\x68" + b.stop()


def _slice(planes: tuple[bytes, bytes, bytes], blocks: list[int], number: int) -> bytes:
    """One frame as one slice: the blocks named are stored raw, all others are kept."""
    first = number == 0
    b = _Bits()
    b.ue(0)  # first_mb_in_slice
    b.ue(7 if first else 5)  # slice type: all I, or all P
    b.ue(0)
    b.u(number % 256, 8)
    if first:
        b.ue(0)  # idr_pic_id
    else:
        b.u(0, 1)
        b.u(0, 1)
    if first:
        b.u(0, 1)
        b.u(0, 1)
    else:
        b.u(0, 1)
    b.ue(0)  # slice_qp_delta 0
    b.ue(1)  # no deblocking
    luma, cb, cr = planes
    wide, half = _COLUMNS * 16, _COLUMNS * 8
    out, last = [b"\x65" if first else b"\x61"], -1
    for block in blocks:
        if not first:
            b.ue(block - last - 1)
        b.ue(25 if first else 30)  # I_PCM
        out.append(b.align())
        row, column = divmod(block, _COLUMNS)
        start, small = row * 16 * wide + column * 16, row * 8 * half + column * 8
        out += [luma[start + y * wide : start + y * wide + 16] for y in range(16)]
        for plane in (cb, cr):
            out += [plane[small + y * half : small + y * half + 8] for y in range(8)]
        last = block
    if not first and last < _COLUMNS * _ROWS - 1:
        b.ue(_COLUMNS * _ROWS - 1 - last)
    out.append(b.stop())
    # No start code can arise inside: samples are never zero, and between them stand at most two bytes.
    return b"".join(out)


def _planes(picture: Image.Image) -> tuple[bytes, bytes, bytes]:
    luma, cb, cr = picture.convert("YCbCr").split()
    half = (picture.width // 2, picture.height // 2)
    # Video range: black is 16 and white 235.
    y = luma.point([16 + round(v * 219 / 255) for v in range(256)])
    chroma = [16 + round(v * 224 / 255) for v in range(256)]
    return (
        y.tobytes(),
        cb.resize(half, Image.Resampling.BOX).point(chroma).tobytes(),
        cr.resize(half, Image.Resampling.BOX).point(chroma).tobytes(),
    )


def _frames(seed: int, prompt: str) -> list[bytes]:
    rng = random.Random(f"movie:{seed}:{prompt}")
    colours = palette(rng)
    tall = _ROWS * 16
    scene = gradient(WIDTH, tall, mix(colours[4], (0, 0, 0), 0.2), colours[2])
    draw = ImageDraw.Draw(scene)
    for layer in range(3):
        level, p = HEIGHT * (0.62 + 0.13 * layer), rng.uniform(0, math.tau)
        ridge = [(x, level + 9 * math.sin(x / (52 - 9 * layer) + p)) for x in range(0, WIDTH + 4, 4)]
        draw.polygon([*ridge, (WIDTH + 4, tall), (0, tall)], fill=mix(colours[3], colours[4], layer / 2))
    # The last rows of blocks lie outside the picture: the words belong above the crop.
    shown = scene.crop((0, 0, WIDTH, HEIGHT))
    caption(shown, words_of(prompt), colours[4])
    scene.paste(shown)
    radius, frames = 22, []
    before: tuple[float, float] | None = None
    for number in range(FRAMES):
        share = number / (FRAMES - 1)
        spot = (WIDTH * (0.14 + 0.72 * share), HEIGHT * (0.5 - 0.3 * math.sin(math.pi * share)))
        picture = scene.copy()
        glow(picture, spot, radius, colours[0], 1.0)
        pen = ImageDraw.Draw(picture)
        pen.ellipse([spot[0] - 9, spot[1] - 9, spot[0] + 9, spot[1] + 9], fill=mix(colours[0], (255, 255, 255), 0.5))
        if before is None:
            blocks = list(range(_COLUMNS * _ROWS))
        else:
            near = [
                (x // 16, y // 16)
                for cx, cy in (before, spot)
                for x in range(int(cx) - radius - 2, int(cx) + radius + 18, 16)
                for y in range(int(cy) - radius - 2, int(cy) + radius + 18, 16)
            ]
            blocks = sorted({y * _COLUMNS + x for x, y in near if 0 <= x < _COLUMNS and 0 <= y < _ROWS})
        frames.append(_slice(_planes(picture), blocks, number))
        before = spot
    return frames


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def mp4(seed: int, prompt: str, extra: int = 0) -> bytes:
    """Two seconds of a light crossing a landscape; `extra` bytes in a free box make it as large as asked."""
    samples = [struct.pack(">I", len(nal)) + nal for nal in _frames(seed, prompt)]
    sps, pps = _sps(), _pps()
    scale = RATE * 100
    length = FRAMES * 100
    config = _box(
        b"avcC",
        bytes([1, 66, 0xC0, 30, 0xFF, 0xE1]),
        struct.pack(">H", len(sps)) + sps,
        b"\x01" + struct.pack(">H", len(pps)) + pps,
    )
    entry = _box(
        b"avc1",
        bytes(6) + struct.pack(">H", 1) + bytes(16),
        struct.pack(">HHIIIH", WIDTH, HEIGHT, 0x480000, 0x480000, 0, 1),
        bytes(32) + struct.pack(">Hh", 24, -1),
        config,
    )
    head = _box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2avc1mp41")
    free = _box(b"free", bytes(extra)) if extra else b""

    def movie(offset: int) -> bytes:
        table = _box(
            b"stbl",
            _full(b"stsd", struct.pack(">I", 1), entry),
            _full(b"stts", struct.pack(">III", 1, FRAMES, 100)),
            _full(b"stss", struct.pack(">II", 1, 1)),
            _full(b"stsc", struct.pack(">IIII", 1, 1, FRAMES, 1)),
            _full(b"stsz", struct.pack(">II", 0, FRAMES), *(struct.pack(">I", len(s)) for s in samples)),
            _full(b"stco", struct.pack(">II", 1, offset)),
        )
        media = _box(
            b"mdia",
            _full(b"mdhd", struct.pack(">IIIIHH", 0, 0, scale, length, 0x55C4, 0)),
            _full(b"hdlr", struct.pack(">I4s", 0, b"vide"), bytes(12), b"VideoHandler\0"),
            _box(
                b"minf",
                _full(b"vmhd", bytes(8), flags=1),
                _box(b"dinf", _full(b"dref", struct.pack(">I", 1), _full(b"url ", flags=1))),
                table,
            ),
        )
        track = _full(
            b"tkhd",
            struct.pack(">IIIII", 0, 0, 1, 0, length),
            bytes(16),
            _MATRIX,
            struct.pack(">II", WIDTH << 16, HEIGHT << 16),
            flags=3,
        )
        return _box(
            b"moov",
            _full(
                b"mvhd",
                struct.pack(">IIIIIH", 0, 0, scale, length, 0x10000, 0x100),
                bytes(10),
                _MATRIX,
                bytes(24),
                struct.pack(">I", 2),
            ),
            _box(b"trak", track, media),
        )

    # The table of contents stands before the data, so that a browser can start before all is loaded.
    where = len(head) + len(movie(0)) + len(free) + 8
    return b"".join([head, movie(where), free, _box(b"mdat", *samples)])
