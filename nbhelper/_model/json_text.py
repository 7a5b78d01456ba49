"""JSON as it is kept: one writer, which makes short and readable text, and one reader, which never raises."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def writer(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """`encoder.encode`, which makes a new machine for each value: that takes several times what a short one does."""
    try:
        machine = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, encoder.default, json.encoder.encode_basestring, None,
            encoder.key_separator, encoder.item_separator, encoder.sort_keys, encoder.skipkeys, encoder.allow_nan,
        )  # fmt: skip
        machine(None, 0)
    except (AttributeError, TypeError):  # another Python may do without
        return encoder.encode
    return lambda value: "".join(machine(value, 0))


dumps = writer(json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False))
"""JSON as it is stored: short, readable, and refused where it would not be JSON."""


_decode = json.JSONDecoder().decode


def loads(text: Any) -> Any:
    """The value of a stored JSON text; None for what is none, so that one bad row does not hide the others."""
    try:
        return _decode(text)
    except (TypeError, ValueError, RecursionError):
        return None
