"""Encode observations (`Seen`) as JSON, and decode them again.

Decoding is tolerant: a field with an unknown name or a value of a wrong type is left out, and an observation without
its required fields is None. Encoding is strict: no link keeps its query, no bytes are kept.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any

from .._model.events import Mark, Output, Saved, Seen, Snapshot, TaskError
from .._model.fields import field_types
from .._model.json_text import dumps
from .._model.misses import Miss
from .._model.states import State
from .._model.task import digest
from .._model.text import is_harmless, redact, storable
from .._model.times import iso, iso_cached, moment

# Plain values


def plain(value: Any) -> Any:
    """Any value as JSON: bytes as digest and size, links without queries, other objects as their text."""

    def walk(node: Any) -> Any:
        if isinstance(node, bytes | bytearray | memoryview):
            return digest(bytes(node))
        if isinstance(node, StrEnum):
            return str(node)
        if isinstance(node, Mapping):
            return {str(k): walk(v) for k, v in node.items()}
        if isinstance(node, list | tuple | set | frozenset):
            return [walk(v) for v in node]
        if node is None or isinstance(node, str | int | float):
            return node
        return iso(node) if isinstance(node, datetime) and node.tzinfo else str(node)

    return redact(walk(value))


def stored(value: Any) -> str:
    """The JSON text of `plain(value)`; a value that is JSON already and has no link is dumped without walking it."""
    try:
        text = dumps(value)
    except (TypeError, ValueError, RecursionError):  # bytes, times and the like; no finite number
        return dumps(plain(value))
    return text if is_harmless(text) else dumps(plain(value))


# Paths


def kept_path(file: str | Path, folder: Path) -> str:
    """A path as the store keeps it: relative with `/` inside the folder, so that the folder can move, else absolute."""
    absolute = Path(os.path.abspath(file))  # noqa: PTH100 - resolve() would follow the user's own links
    inside = absolute.is_relative_to(folder)
    return storable(absolute.relative_to(folder).as_posix() if inside else str(absolute))


def real_path(kept: str, folder: Path) -> str | None:
    """The absolute path for a result of `kept_path`; None for one with `..`, which this library never writes."""
    if PurePosixPath(kept).is_absolute() or PureWindowsPath(kept).is_absolute():
        return kept
    parts = PurePosixPath(kept).parts
    return None if not parts or ".." in parts else str(folder.joinpath(*parts))


# Observations


@dataclass(frozen=True, slots=True)
class Written:
    """One observation as the columns of `events`: kind, body as JSON text, and the raw reply (in table `replies`)."""

    kind: str
    body: str
    raw: str | None = None


def encode(seen: Seen, folder: Path) -> Written:
    """One observation as JSON. Fields with their default value are left out; so are bytes and the queries of links."""
    kind = _KIND[type(seen)]
    body = {"seen": kind, **_fields(seen)}
    if isinstance(seen, Saved) and seen.file:
        body["file"] = kept_path(seen.file, folder)
    reply = seen.reply if isinstance(seen, Snapshot) else None
    return Written(kind, stored(body), reply)


def decode(body: Any, folder: Path) -> Seen | None:
    """The observation of a body that `encode` wrote; None where its kind or a required field is unknown here."""
    if not isinstance(body, dict) or body.get("seen") not in _RECORDS:
        return None
    seen: Seen | None = _read(_RECORDS[body["seen"]], body)
    if isinstance(seen, Saved) and seen.file:
        seen = replace(seen, file=real_path(seen.file, folder))
    return seen


def _fields(value: Any) -> dict[str, Any]:
    body: dict[str, Any] = {}
    names, values_of, defaults = _layout(value.__class__)
    for name, item, default in zip(names, values_of(value), defaults, strict=True):
        if item is None or item is default or item == default:
            continue
        if isinstance(item, _SCALARS):
            body[name] = item
        elif isinstance(item, bytes):
            body["data"] = digest(item)
        elif isinstance(item, datetime):
            body[name] = iso_cached(item)
        elif isinstance(item, TaskError):
            body[name] = {"code": item.code, "message": item.message}
        elif name == "outputs":
            body[name] = [_fields(output) for output in item]
        elif isinstance(item, MappingProxyType):
            if item:
                body[name] = item.copy()
        else:
            body[name] = item
    return body


_SCALARS = (str, int, float)
_RECORDS: dict[Any, type[Any]] = {"snapshot": Snapshot, "miss": Miss, "saved": Saved, "mark": Mark}
_KIND = {cls: kind for kind, cls in _RECORDS.items()}


@functools.cache
def _layout(cls: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[Any, ...]]:
    """The names of a dataclass's fields but for `reply`, an `attrgetter` of them all, and their defaults."""
    kept = [f for f in fields(cls) if f.name != "reply"]
    names = tuple(f.name for f in kept)
    defaults = tuple(f.default_factory() if f.default_factory is not MISSING else f.default for f in kept)
    return names, operator.attrgetter(*names), defaults


_Reader = Callable[[Any], Any]


def _read(cls: Any, body: Mapping[str, Any]) -> Any:
    values = {name: read(body[name]) for name, read in _readers(cls).items() if name in body}
    try:
        return cls(**{name: value for name, value in values.items() if value is not None})
    except TypeError:  # a required field is missing
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_WHOLE = re.compile(r"-?\d{1,400}")


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and _WHOLE.fullmatch(value):  # beyond 2^63, numbers are kept as text
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _integer(value)


def _member(kind: type[StrEnum]) -> _Reader:
    def read(value: Any) -> Any:
        return kind(value) if value in kind.__members__.values() else None

    return read


def _state(value: Any) -> State | None:
    # A state that only a newer version of nbhelper has is UNKNOWN.
    return (_member(State)(value) or State.UNKNOWN) if isinstance(value, str) else None


def _error(value: Any) -> TaskError | None:
    if not isinstance(value, dict):
        return None
    return TaskError(_text(value.get("code")), _text(value.get("message")) or "")


def _params(value: Any) -> Mapping[str, Any] | None:
    return MappingProxyType(value) if isinstance(value, dict) else None


def _outputs(value: Any) -> tuple[Output, ...] | None:
    if not isinstance(value, list):
        return None
    read = (_read(Output, item) for item in value if isinstance(item, dict))
    return tuple(output for output in read if output is not None)


_BY_TYPE: dict[Any, _Reader] = {
    str: _text,
    int: _integer,
    float: _number,
    datetime: moment,
    State: _state,
    TaskError: _error,
    tuple[Output, ...]: _outputs,
    Mapping[str, Any]: _params,
}


@functools.cache
def _readers(cls: Any) -> dict[str, _Reader]:
    """The function that decodes each field of a dataclass, by the field's type; bytes are not kept, so have none."""
    return {name: _reader_of(kind) for name, kind in field_types(cls).items() if kind is not bytes}


def _reader_of(kind: Any) -> _Reader:
    read = _BY_TYPE.get(kind)
    return _member(kind) if read is None else read
