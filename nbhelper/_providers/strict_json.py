"""JSON as servers really send it: size, depth and repeated keys bounded, and one error type for all that is wrong."""

from __future__ import annotations

import json
from sys import intern
from typing import Any

DEEPEST = 64
"""Levels of nesting; no API here goes beyond ten, and Python's own stack ends near a thousand."""

MOST = 100_000
"""Values in one reply; ten thousand links are a tenth of it, and two megabytes of `{}` would take up 200."""


class NotJson(ValueError):
    """The bytes are not JSON that we accept; the text says why."""


def loads(body: bytes) -> Any:
    """Parse a reply's body; UTF-8, UTF-16 and a byte order mark are understood, NaN and Infinity become None.

    Raises:
        NotJson: Empty, not JSON, too deep, too many values, a number of thousands of digits, or one key twice with two
            values.
    """
    if not body.strip():
        raise NotJson("the reply is empty")
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST:
        raise NotJson(f"the reply holds more than {MOST:,} values")
    try:
        value = json.loads(body, object_pairs_hook=_pairs, parse_constant=_nothing)
    except NotJson:
        raise
    except (ValueError, RecursionError) as error:
        # ValueError covers JSONDecodeError, UnicodeDecodeError and integers beyond Python's digit limit.
        raise NotJson(f"the reply is not JSON ({type(error).__name__})") from None
    if body.count(b"[") + body.count(b"{") > DEEPEST:
        _check_depth(value)
    return value


def _nothing(_: str) -> None:
    return None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = {intern(key): item for key, item in pairs}  # the same few words in thousands of kept replies
    if len(value) != len(pairs):
        # Python keeps the last of two, another reader the first: where they differ, neither can be believed.
        for key, item in pairs:
            if value[key] != item:
                raise NotJson(f'the reply has "{key[:40]}" twice with different values')
    return value


def _check_depth(value: Any) -> None:
    nested = {dict, list}
    level = [value] if type(value) in nested else []
    for _ in range(DEEPEST):
        below = (node.values() if type(node) is dict else node for node in level)
        level = [child for children in below for child in children if type(child) in nested]
        if not level:
            return
    raise NotJson(f"the reply is nested more than {DEEPEST} levels deep")
