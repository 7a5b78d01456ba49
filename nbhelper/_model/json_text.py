"""JSON as it is stored: a writer of short text, and a reader that never raises."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def writer(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """`encoder.encode` with one C encoder for all values: `encode` makes one each time, at several times the cost."""
    try:
        encode = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, encoder.default, json.encoder.encode_basestring, None,
            encoder.key_separator, encoder.item_separator, encoder.sort_keys, encoder.skipkeys, encoder.allow_nan,
        )  # fmt: skip
        encode(None, 0)
    except (AttributeError, TypeError):  # another Python may do without
        return encoder.encode
    return lambda value: "".join(encode(value, 0))


dumps = writer(json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False))
"""Short JSON text, not escaped to ASCII; ValueError for NaN and infinite numbers."""


_decode = json.JSONDecoder().decode


def loads(text: Any) -> Any:
    """The value of a stored JSON text; None for what is none, so that one bad row does not hide the others."""
    try:
        return _decode(text)
    except (TypeError, ValueError, RecursionError):
        return None
