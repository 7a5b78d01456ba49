"""The files of a create: from a path, bytes, a Pillow picture or an array to bytes with a name of ours.

Whatever an API would refuse of a file is refused here, before anything is sent.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._model.errors import BadInput
from .._model.text import clean, kind_of, size
from .._network.file_types import HEAD, pixels, sniff
from .._network.http import Upload
from .._providers.reply_parts import Endpoint

LARGEST_UPLOAD = 50_000_000
"""Bytes of one uploaded file; no API here takes more."""
_PIXELS_WITHIN = 1_000_000
"""Bytes of a file in which its pixel size is searched for: cameras write a preview before it."""
_PNG_MODES = frozenset({"1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"})


def is_file(value: object) -> bool:
    """Whether a parameter's value is something to upload: bytes, a path, a picture, an array, or a list of these."""
    if isinstance(value, list | tuple):
        return bool(value) and all(is_file(item) and not isinstance(item, list | tuple) for item in value)
    return isinstance(value, bytes | bytearray | Path) or _is_picture(value) or _is_array(value)


def uploads_of(
    request: Mapping[str, Any], files: Mapping[str, Any] | None, spec: Endpoint
) -> tuple[tuple[Upload, ...], dict[str, Any]]:
    """The files of a create, and its other parameters.

    A list of files is several files where they are uploaded before the create; a form takes one file a parameter.

    Raises:
        BadInput: A file that cannot be read, or that the API would refuse.
    """
    values = dict(files or {})
    body: dict[str, Any] = {}
    for key, value in request.items():
        if is_file(value):
            values.setdefault(key, value)
        else:
            body[key] = value
    uploads: list[Upload] = []
    for field, value in values.items():
        items = value if isinstance(value, list | tuple) and spec.encoding != "multipart" else [value]
        if not items:
            raise BadInput(f'The list of files for "{clean(field, 40)}" is empty.')
        uploads += [_upload(field, item, spec) for item in items]
    return tuple(uploads), body


def _upload(field: str, value: object, spec: Endpoint) -> Upload:
    """One file: its bytes are read and its type is told from them."""
    shown = f'The file for "{clean(field, 40)}"'
    if isinstance(value, str | Path):
        content = _read(shown, value)
    elif isinstance(value, bytes | bytearray):
        content = bytes(value)
    elif _is_picture(value):
        content = _png(shown, value)
    elif hasattr(value, "__array__") and not hasattr(value, "columns"):
        content = _png(shown, _picture_of(shown, value))
    else:
        raise BadInput(f"{shown} is a path, bytes, a Pillow picture or an array, not {kind_of(value)}.")
    _check_size(shown, len(content))
    file_type = sniff(content[:HEAD])
    if file_type.kind == "image":
        _check_picture(shown, content, spec)
    return Upload(field, f"{clean(field, 40)}{file_type.suffix}", content, file_type.mime)


def _read(shown: str, value: str | Path) -> bytes:
    try:
        path = Path(value).expanduser()
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is no ordinary file" if path.exists() else "does not exist"
            raise BadInput(f"{shown} {what}: {clean(path, 120)}.")
        _check_size(shown, path.stat().st_size)
        return path.read_bytes()
    except (RuntimeError, ValueError) as error:  # "~nobody", a NUL
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{shown} cannot be found: {clean(error, 120).rstrip('.')}.") from None
    except OSError as error:
        raise BadInput(f"{shown} cannot be read: {error.strerror}.") from None


def _check_size(shown: str, n_bytes: int) -> None:
    if n_bytes == 0:
        raise BadInput(f"{shown} is empty.")
    if n_bytes > LARGEST_UPLOAD:
        raise BadInput(f"{shown} has {n_bytes:,} bytes; at most {LARGEST_UPLOAD:,} are sent.")


def _check_picture(shown: str, content: bytes, spec: Endpoint) -> None:
    """Refuse a picture beyond the limits that the API's docs state."""
    if spec.file_bytes is not None and len(content) > spec.file_bytes:
        raise BadInput(
            f"{shown} has {size(len(content))}; the API takes pictures of at most {size(spec.file_bytes)}. "
            "Save it smaller, or as JPEG.",
        )
    width_height = pixels(content[:_PIXELS_WITHIN])
    if spec.file_pixels is not None and width_height is not None and max(width_height) > spec.file_pixels:
        raise BadInput(
            f"{shown} has {width_height[0]} by {width_height[1]} pixels; the API takes at most {spec.file_pixels} "
            f"on a side. Shrink it first: image.thumbnail(({spec.file_pixels}, {spec.file_pixels})).",
        )


# Pictures and arrays


def _is_picture(value: object) -> bool:
    """Whether a value is a Pillow picture; Pillow is not imported to tell."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def _is_array(value: object) -> bool:
    """Whether a value is an array of several dimensions, of NumPy or convertible to one of NumPy."""
    return hasattr(value, "__array__") and getattr(value, "ndim", 0) >= 2 and not hasattr(value, "columns")


def _png(shown: str, picture: Any) -> bytes:
    """The bytes of a PNG of a Pillow picture."""
    buffer = io.BytesIO()
    try:
        (picture if picture.mode in _PNG_MODES else picture.convert("RGB")).save(buffer, "PNG")
    except (OSError, ValueError, SyntaxError) as error:
        raise BadInput(f"{shown} is a picture that cannot be read: {clean(error, 100)}.") from None
    return buffer.getvalue()


def _picture_of(shown: str, value: Any) -> Any:
    """A Pillow picture of an array of height, width and 1, 3 or 4 channels, with integers to 255 or fractions to 1."""
    import numpy as np
    from PIL import Image

    array = np.asarray(value)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {3, 4}) or 0 in array.shape:
        raise BadInput(
            f"{shown} is an array of shape {tuple(array.shape)}; "
            "a picture has (height, width) or (height, width, 3 or 4).",
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise BadInput(f"{shown} is an array of fractions that are not all between 0 and 1.")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype.kind in "iu":
        if array.min() < 0 or array.max() > 255:
            raise BadInput(f"{shown} is an array of whole numbers that are not all between 0 and 255.")
        array = array.astype(np.uint8)
    else:
        raise BadInput(f"{shown} is an array of {clean(array.dtype, 40)}; a picture is made of numbers.")
    return Image.fromarray(np.ascontiguousarray(array))
