"""The worker that decodes pictures, a process of its own: a hostile picture can crash only this one.

It reads one JSON request a line and answers each with a JSON line and, after it, the thumbnail's bytes. It imports
nothing of nbhelper, so that it starts quickly and holds no key.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from typing import Any

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")
"""The formats that are decoded; Pillow's other decoders are never run on a server's file."""
MOST_PIXELS = 40_000_000
"""Pixels of the largest picture that is previewed: 40 megapixels take 160 MB decoded."""
MOST_MEMORY = 512 * 1024**2
LONGEST = 15
"""Seconds for one picture, after which the worker ends itself; the parent process, while it lives, kills it earlier."""


class TooLarge(Exception):
    """Raised for a picture of more than `MOST_PIXELS`; the text is for people."""


def thumbnail(path: str, side: int, n_bytes: int) -> tuple[dict[str, Any], bytes]:
    """A picture's thumbnail and its real size.

    Args:
        path: A local file.
        side: The thumbnail's longest side in pixels.
        n_bytes: Most bytes of the thumbnail; its quality is lowered first, then its size.

    Raises:
        TooLarge: It has too many pixels; the text says so.
        Exception: Whatever Pillow raises for a file it cannot read.
    """
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # checked below, with a text of our own
    with open(path, "rb") as file, Image.open(file, formats=FORMATS) as opened:  # noqa: PTH123  # no pathlib in here
        width, height = opened.size
        if width * height > MOST_PIXELS:
            raise TooLarge(f"{width:,} by {height:,} pixels are too many to preview")
        animated = bool(getattr(opened, "is_animated", False))
        if opened.format == "JPEG":
            opened.draft(None, (side, side))  # decodes at a fraction of the size, and no smaller than asked for
        opened.load()
        picture = ImageOps.exif_transpose(opened)
        if picture.size != opened.size and (picture.width > picture.height) != (width > height):
            width, height = height, width
        picture = to_rgb(picture)
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        mime, size, data = encode(picture, n_bytes)
    about = {"mime": mime, "size": size, "full": [width, height], "animated": animated}
    return about, data


def to_rgb(picture: Any) -> Any:
    """Convert any mode to RGB, or to RGBA where something is transparent; colours stay as they are meant."""
    if picture.mode in {"I;16", "I;16B", "I;16L", "I", "F"}:
        # convert() alone clips 16 bits to white; scale first.
        low, high = picture.getextrema()
        top = 65535.0 if picture.mode.startswith("I;16") or high > 255 else 255.0
        span = top if top >= high else float(high - low) or 1.0
        return picture.convert("F").point(lambda v: v * (255.0 / span)).convert("L").convert("RGB")
    if picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
        return picture.convert("RGBA")
    if picture.mode == "RGB":
        return picture
    if picture.mode == "CMYK" and picture.info.get("icc_profile"):
        profiled = convert_by_profile(picture)
        if profiled is not None:
            return profiled
    return picture.convert("RGB")


def convert_by_profile(picture: Any) -> Any:
    """Convert a CMYK picture to RGB by its own colour profile; None when the profile is broken."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def encode(picture: Any, n_bytes: int) -> tuple[str, tuple[int, int], bytes]:
    """Encode as JPEG, or WebP where transparent, lowering quality and size until it fits; type, size and bytes."""
    form, mime = ("WEBP", "image/webp") if picture.mode == "RGBA" else ("JPEG", "image/jpeg")
    while True:
        for quality in (84, 74, 62):
            buffer = io.BytesIO()
            options: dict[str, Any] = {"quality": quality}
            options |= {"method": 4} if form == "WEBP" else {"optimize": True, "progressive": False}
            picture.save(buffer, form, **options)
            data = buffer.getvalue()
            if len(data) <= n_bytes or max(picture.size) < 64:
                return mime, picture.size, data
        picture = picture.resize((max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4)))


def limit_memory() -> None:
    """Limit this process's memory by the system; what Python checks comes too late for a decompression bomb."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY * 2, MOST_MEMORY * 2))  # address space; about half is libraries
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Serve requests until standard input ends."""
    limit_memory()
    out = sys.stdout.buffer
    for line in sys.stdin.buffer:
        data = b""
        if hasattr(signal, "alarm"):  # not on Windows
            signal.alarm(LONGEST)
        try:
            request = json.loads(line)
            about, data = thumbnail(request["path"], request["side"], request["n_bytes"])
        except TooLarge as error:
            about = {"error": str(error)}
        except MemoryError:
            about = {"error": "the picture takes too much memory to preview"}
        except Exception as error:  # noqa: BLE001  # decoders raise what they like; each is one picture without a preview
            about = {"error": f"{type(error).__name__}: {error}"[:200]}
        about["n_bytes"] = len(data)
        out.write(json.dumps(about).encode() + b"\n" + data)
        out.flush()
        if hasattr(signal, "alarm"):
            signal.alarm(0)


if __name__ == "__main__":
    main()
