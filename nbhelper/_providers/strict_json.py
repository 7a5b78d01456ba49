"""A strict JSON parser for replies: limits on nesting and values, no key with two values, one exception type."""

from __future__ import annotations

import json
from typing import Any

from .._model.json_text import dumps

MAX_DEPTH = 64
"""Most levels of nesting; no API here goes beyond ten, and Python's stack ends near a thousand."""

MAX_VALUES = 100_000
"""Most values in one reply; ten thousand links are a tenth of it, and two megabytes of `{}` would take up 200."""

LARGE = 1_000_000
"""Characters from which on a JSON text is not copied for a check: texts with base64 have few keys for their size."""


class NotJson(ValueError):
    """Bytes that are no JSON, or JSON beyond the limits; the message says why."""


def loads(body: bytes) -> Any:
    """Parse a reply's body to a value, as `parse` does."""
    return parse(body)[0]


def parse(body: bytes) -> tuple[Any, str | None]:
    """Parse a reply's body; return the value, and its text as `dumps` writes it, or None where that was not made.

    UTF-8, UTF-16, UTF-32 and a byte order mark are understood. NaN and Infinity become None.

    Raises:
        NotJson: Empty, not JSON, too deep, too many values, a number of thousands of digits, or one key twice with two
            values.
    """
    if not body.strip():
        raise NotJson("the reply is empty")
    nests = body.count(b"[") + body.count(b"{")
    if nests + body.count(b",") > MAX_VALUES:
        raise NotJson(f"the reply holds more than {MAX_VALUES:,} values")
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        value = _decode(text)
        if nests > MAX_DEPTH:
            _check_depth(value)
        written = _dump_if_keys_differ(text, value)
        if written is None:
            value = _decode_pairs(text)
    except NotJson:
        raise
    except (ValueError, RecursionError) as error:
        # ValueError covers JSONDecodeError, UnicodeDecodeError and integers beyond Python's digit limit.
        raise NotJson(f"the reply is not JSON ({type(error).__name__})") from None
    return value, written


def _dump_if_keys_differ(text: str, value: Any) -> str | None:
    """Return `dumps(value)` where it proves that no key of the JSON text is repeated; else None.

    A repeated key is missing in the value, and so are its quotes; the number of quotes is equal only without one. A
    quote written as a `u0022` escape becomes a plain one and would spoil the count, so such texts give None.
    """
    if len(text) > LARGE or "\\u0022" in text:
        return None
    try:
        written = dumps(value)
    except ValueError:  # infinity, from a number such as 1e999
        return None
    return written if text.count('"') == written.count('"') else None


def _make_none(_: str) -> None:
    return None


def _make_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of an object's pairs; NotJson where one key has two values."""
    value = dict(pairs)
    if len(value) != len(pairs):
        # Python keeps the last of two values, another parser the first: where they differ, neither is reliable.
        for key, item in pairs:
            if value[key] != item:
                raise NotJson(f'the reply has "{key[:40]}" twice with different values')
    return value


_decode = json.JSONDecoder(parse_constant=_make_none).decode
_decode_pairs = json.JSONDecoder(object_pairs_hook=_make_dict, parse_constant=_make_none).decode


def _check_depth(value: Any) -> None:
    """Raise NotJson for a value nested more than `MAX_DEPTH` levels deep."""
    nested = {dict, list}
    level = [value] if type(value) in nested else []
    for _ in range(MAX_DEPTH):
        below = (node.values() if type(node) is dict else node for node in level)
        level = [child for children in below for child in children if type(child) in nested]
        if not level:
            return
    raise NotJson(f"the reply is nested more than {MAX_DEPTH} levels deep")
