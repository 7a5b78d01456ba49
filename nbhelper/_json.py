"""JSON as it is kept: one writer, which makes short and readable text, one reader, which never raises, and the text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, eq=False)
class JsonText:
    """A JSON text; `str()` gives it whole.

    Looks at one task are answered with nearly the same text each time: `after` keeps once what two have in common.
    """

    head: str
    middle: str = ""
    tail: str = ""

    def __str__(self) -> str:
        return self.head + self.middle + self.tail

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, JsonText) and str(self) == str(other))

    def __hash__(self) -> int:
        return hash(str(self))

    def after(self, text: str) -> JsonText:
        """A text that came after this one; this one itself when it is the same."""
        whole = str(self)
        if text == whole:
            return self
        begin, end = len(self.head), len(self.tail)
        if len(text) / 2 <= begin + end <= len(text) and text.startswith(self.head) and text.endswith(self.tail):
            return JsonText(self.head, text[begin : len(text) - end], self.tail)
        shorter = min(len(text), len(whole))
        begin = _common(text, whole, shorter)
        end = _common(text[::-1], whole[::-1], shorter - begin)
        if self.middle or self.tail:  # nowhere further out than before, so that earlier texts can be cut so, too
            begin, end = min(begin, len(self.head)), min(end, len(self.tail))
        if begin + end < len(text) / 2:
            return JsonText(text)
        head = self.head if begin == len(self.head) else text[:begin]
        tail = self.tail if end == len(self.tail) else text[len(text) - end :]
        return JsonText(head, text[begin : len(text) - end], tail)

    def cut_as(self, other: JsonText) -> JsonText | None:
        """The same text, cut where another one is; None where they do not begin and end alike."""
        whole, head, tail = str(self), other.head, other.tail
        if len(head) + len(tail) > len(whole) or not whole.startswith(head) or not whole.endswith(tail):
            return None
        return JsonText(head, whole[len(head) : len(whole) - len(tail)], tail)


def _common(one: str, other: str, most: int) -> int:
    """With how many equal characters two texts begin."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
