"""Texts that are nearly the same, each kept as what it has beside another: some dozen bytes instead of some hundred."""

from __future__ import annotations

import zlib

_WINDOW = -13
"""No header, and eight kilobytes to look back on: what stands further away is not found again."""


def told_from(like: bytes, text: str) -> bytes:
    """A text as bytes that only say something together with another one."""
    machine = zlib.compressobj(6, zlib.DEFLATED, _WINDOW, 1, zlib.Z_DEFAULT_STRATEGY, like)
    return machine.compress(text.encode("utf-8", "surrogatepass")) + machine.flush()


def text_of(like: bytes, told: bytes) -> str:
    """The text that `told_from` was given."""
    return zlib.decompressobj(_WINDOW, like).decompress(told).decode("utf-8", "surrogatepass")
