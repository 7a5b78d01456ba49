"""Saved pictures, opened with Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def load_pictures(paths: Iterable[Path]) -> list[Image]:
    """The pictures among some files, decoded from memory; other files, and deleted ones, are left out."""
    from PIL import Image, UnidentifiedImageError

    opened: list[Image.Image] = []
    for path in paths:
        if path.suffix not in {".png", ".jpg", ".webp", ".gif", ".avif"}:
            continue
        with suppress(FileNotFoundError):
            content = io.BytesIO(path.read_bytes())
            with suppress(UnidentifiedImageError):
                picture = Image.open(content, formats=("PNG", "JPEG", "WEBP", "GIF", "AVIF"))
                picture.filename = str(path)
                opened.append(picture)
    return opened
