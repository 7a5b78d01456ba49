"""JSON as servers really send it: size, depth and repeated keys bounded, and one error type for all that is wrong."""

from __future__ import annotations

import json
from typing import Any

from .._model.json_text import dumps

DEEPEST = 64
"""Levels of nesting; no API here goes beyond ten, and Python's own stack ends near a thousand."""

MOST = 100_000
"""Values in one reply; ten thousand links are a tenth of it, and two megabytes of `{}` would take up 200."""


LARGE = 1_000_000
"""Characters: what is longer, such as a result in base64, has few keys for its size, and is not copied once more."""


class NotJson(ValueError):
    """The bytes are not JSON that we accept; the text says why."""


def loads(body: bytes) -> Any:
    """The value of `parse`."""
    return parse(body)[0]


def parse(body: bytes) -> tuple[Any, str | None]:
    """A reply's body as a value and as text; UTF-8, UTF-16 and a byte order mark are understood.

    NaN and Infinity become None. The text is that of the value as `dumps` writes it, None where it is not at hand.

    Raises:
        NotJson: Empty, not JSON, too deep, too many values, a number of thousands of digits, or one key twice with two
            values.
    """
    if not body.strip():
        raise NotJson("the reply is empty")
    nests = body.count(b"[") + body.count(b"{")
    if nests + body.count(b",") > MOST:
        raise NotJson(f"the reply holds more than {MOST:,} values")
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        value = _decode(text)
        if nests > DEEPEST:
            _check_depth(value)
        written = _written(text, value)
        if written is None:
            value = _decode_pairs(text)
    except NotJson:
        raise
    except (ValueError, RecursionError) as error:
        # ValueError covers JSONDecodeError, UnicodeDecodeError and integers beyond Python's digit limit.
        raise NotJson(f"the reply is not JSON ({type(error).__name__})") from None
    return value, written


def _written(text: str, value: Any) -> str | None:
    """The text that `dumps` makes of this value of a JSON text, where it shows that no key is repeated; else None.

    A repeated key takes its quotes with it. All other quotes stand in the value's own text as well, except that one
    written as a number becomes a quote there.
    """
    if len(text) > LARGE or "\\u0022" in text:
        return None
    try:
        written = dumps(value)
    except ValueError:  # a number beyond all bounds
        return None
    return written if text.count('"') == written.count('"') else None


def _nothing(_: str) -> None:
    return None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        # Python keeps the last of two, another reader the first: where they differ, neither can be believed.
        for key, item in pairs:
            if value[key] != item:
                raise NotJson(f'the reply has "{key[:40]}" twice with different values')
    return value


_decode = json.JSONDecoder(parse_constant=_nothing).decode
_decode_pairs = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_nothing).decode


def _check_depth(value: Any) -> None:
    nested = {dict, list}
    level = [value] if type(value) in nested else []
    for _ in range(DEEPEST):
        below = (node.values() if type(node) is dict else node for node in level)
        level = [child for children in below for child in children if type(child) in nested]
        if not level:
            return
    raise NotJson(f"the reply is nested more than {DEEPEST} levels deep")
