"""The events of one history, packed: thousands of tasks are looked at again and again, and hardly anything changes.

A look that says nearly the same as one before is kept as a few bytes that name that one and what differs. It is as
complete as the event itself, and made into one again for whoever reads it. So it takes a quarter of the memory, and
Python's garbage collector, which would else go over each part of each look ever so often, finds nothing to go over.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, overload

from ._json import JsonText
from ._values import Event, Miss, Snapshot


class Events(Sequence[Event]):
    """Events, oldest first; equal to a tuple of the same ones. It never changes: `add` gives a longer one."""

    __slots__ = ("_items", "_models")

    def __init__(self, items: tuple[Event | bytes, ...] = (), models: tuple[int, int] = (-1, -1)) -> None:
        self._items = items
        self._models = models
        """Where the last whole `Snapshot` and the last whole `Miss` are."""

    @classmethod
    def of(cls, events: Iterable[Event]) -> Events:
        """Events that are there already."""
        if isinstance(events, Events):
            return events
        whole = tuple(events)
        items: list[Event | bytes] = list(whole)
        models = (-1, -1)
        for at, event in enumerate(whole[:-1]):
            items[at], models = _packed(items, at, event, models)
        return cls(tuple(items), models)

    def add(self, event: Event) -> Events:
        """These, and one more."""
        items = self._items
        if not items:
            return Events((event,))
        newest = items[-1]
        assert isinstance(newest, Event)
        before, models = _packed(items, len(items) - 1, newest, self._models)
        return Events((*items[:-1], before, event), models)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, at: int) -> Event: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Event, ...]: ...
    def __getitem__(self, at: int | slice) -> Event | tuple[Event, ...]:
        if isinstance(at, slice):
            return tuple(map(self._event, self._items[at]))
        return self._event(self._items[at])

    def __iter__(self) -> Iterator[Event]:
        return map(self._event, self._items)

    def __reversed__(self) -> Iterator[Event]:
        return map(self._event, reversed(self._items))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Events | tuple):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Events.of, (tuple(self),)

    def __repr__(self) -> str:
        return repr(tuple(self))

    def _event(self, item: Event | bytes) -> Event:
        if isinstance(item, Event):
            return item
        model, seq, at, *changes = marshal.loads(item)  # noqa: S302  # `_packed` made it
        like = self._items[model]
        assert isinstance(like, Event)
        return Event(seq, _moment(at), _changed(like.seen, changes))


def _packed(
    items: Sequence[Event | bytes], place: int, event: Event, models: tuple[int, int]
) -> tuple[Event | bytes, tuple[int, int]]:
    """The event as it is kept before another one, and where the last whole ones are from there on."""
    kind = _KINDS.get(type(event.seen))
    if kind is None:
        return event, models
    model = models[kind]
    if model >= 0:
        like = items[model]
        assert isinstance(like, Event)
        at, changes = _instant(event.at), _changes(like.seen, event.seen)
        if at is not None and changes is not None:
            return marshal.dumps((model, event.seq, at, *changes)), models
    return event, (place, models[1]) if kind == 0 else (models[0], place)


_KINDS: dict[type, int] = {Snapshot: 0, Miss: 1}
_NAMES: dict[type, tuple[str, ...]] = {kind: tuple(f.name for f in fields(kind)) for kind in _KINDS}
_VALUES: dict[type, Callable[[Any], tuple[Any, ...]]] = {kind: attrgetter(*names) for kind, names in _NAMES.items()}
_PLAIN = frozenset({str, int, float, bool, type(None)})
"""What marshal gives back as it was: of a class that is derived from one of these it would not."""


def _changes(old: Any, new: Any) -> list[Any] | None:
    """Places of fields and what stands there now, in turn; None where that cannot be packed."""
    values = _VALUES[type(new)]
    found: list[Any] = []
    for place, (was, now) in enumerate(zip(values(old), values(new), strict=True)):
        if now is was:
            continue
        kind = type(now)
        if kind in _PLAIN:
            if kind is type(was) and now == was:
                continue
            found += place, now
        elif kind is datetime:
            if (at := _instant(now)) is None:
                return None
            found += ~place, at
        elif kind is JsonText and type(was) is JsonText and now.head is was.head and now.tail is was.tail:
            found += place, now.middle
        else:
            return None
    return found


def _changed(old: Any, changes: list[Any]) -> Any:
    """What `_changes` was told of."""
    kind = type(old)
    values = dict(zip(_NAMES[kind], _VALUES[kind](old), strict=True))
    names = _NAMES[kind]
    for place, now in zip(changes[::2], changes[1::2], strict=True):
        if place < 0:
            values[names[~place]] = _moment(now)
        elif names[place] == "reply" and now is not None:
            values["reply"] = JsonText(old.reply.head, now, old.reply.tail)
        else:
            values[names[place]] = now
    return kind(**values)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _instant(at: datetime) -> int | None:
    """Microseconds since 1970; None for a time of another kind, which would not come back as it is."""
    return (at - _EPOCH) // _MICROSECOND if type(at) is datetime and at.tzinfo is UTC and not at.fold else None


def _moment(instant: int) -> datetime:
    return _EPOCH + timedelta(microseconds=instant)
