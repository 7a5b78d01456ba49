"""The events of a history. Looks at one task say nearly the same each time, so most of them are kept packed.

Of a run of looks that differ in nothing but what moves, the newest is kept as it came, and of each before it what it
said of that, as a few bytes. Whoever asks for one of those gets an equal event, made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Any, overload

from ._json import JsonText, loads, writer
from ._values import Event, Seen, Snapshot

_MOVING = ("progress", "queue_position", "seconds_left", "trace")
_moving = attrgetter(*_MOVING)
_STEADY = [f.name for f in fields(Snapshot) if f.name not in {*_MOVING, "replied_at", "reply"}]
_PLAIN = frozenset({int, float, str, type(None)})
"""What JSON gives back as it was."""
_dumps = writer(json.JSONEncoder(separators=(",", ":"), check_circular=False))
_LONGEST = 255
"""Bytes of one packed look: its length stands in one byte behind it."""
_FULL = 4000
"""Bytes of a run, after which another begins: each look copies its run once more."""
_MICROSECOND = timedelta(microseconds=1)


class Events(Sequence[Event]):
    """The events of a history, oldest first. It never changes, and equals the tuple of them."""

    __slots__ = ("_before", "_last", "_n", "_packed")

    def __init__(
        self,
        before: tuple[Event | bytes, ...] = (),
        packed: bytes = b"",
        last: Event | None = None,
        n: int = 0,
    ) -> None:
        self._before = before
        """What came before the run at the end; the bytes of an earlier run stand before the newest of it."""
        self._packed = packed
        self._last = last
        self._n = n

    @classmethod
    def of(cls, events: Iterable[Event]) -> Events:
        """Any events; these themselves when they are such."""
        if isinstance(events, Events):
            return events
        found = NO_EVENTS
        for event in events:
            found = found.and_one(event)
        return found

    def add(self, seen: Seen, at: datetime) -> Events:
        """These and one more, with the next number."""
        return self.and_one(Event(1 if self._last is None else self._last.seq + 1, at, seen))

    def and_one(self, event: Event) -> Events:
        """These and one more."""
        before, packed, last, n = self._before, self._packed, self._last, self._n + 1
        if last is None:
            return Events(last=event, n=n)
        if len(packed) < _FULL and _alike(last, event) and (run := _run(packed, last, event)) is not None:
            return Events(before, run, event, n)
        return Events((*before, packed, last) if packed else (*before, last), b"", event, n)

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Event, ...]: ...
    def __getitem__(self, index: int | slice) -> Event | tuple[Event, ...]:
        if self._last is not None and (index == -1 or index == self._n - 1):
            return self._last
        if not isinstance(index, slice):
            return tuple(self)[index]
        start, stop, step = index.indices(self._n)
        if step != 1:
            return tuple(self)[index]
        # What is new stands at the end, and nothing else has to be unpacked then.
        return tuple(islice(reversed(self), self._n - stop, max(self._n - start, self._n - stop)))[::-1]

    def __iter__(self) -> Iterator[Event]:
        if self._last is None:
            return
        packed = b""
        for part in (*self._before, self._packed, self._last):
            if isinstance(part, bytes):
                packed = part
            else:
                yield from [*_unpack(packed, part)][::-1]
                yield part
                packed = b""

    def __reversed__(self) -> Iterator[Event]:
        if self._last is None:
            return
        newest = self._last
        for part in (self._last, self._packed, *reversed(self._before)):
            if isinstance(part, bytes):
                yield from _unpack(part, newest)
            else:
                yield (newest := part)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return tuple(self) == tuple(other) if isinstance(other, Events | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Events.of, (tuple(self),)


NO_EVENTS = Events()


def _alike(last: Event, event: Event) -> bool:
    """Whether two looks differ in nothing but what moves: reading keeps the objects of the look before."""
    one, other = last.seen, event.seen
    return (
        type(one) is Snapshot
        and type(other) is Snapshot
        and one.state is other.state
        and one.word is other.word
        and one.credits is other.credits
        and one.outputs is other.outputs
        and one.error is other.error
        and one.created_at is other.created_at
        and one.started_at is other.started_at
        and one.finished_at is other.finished_at
        and one.resolution_s is other.resolution_s
        and one.model is other.model
        and one.params is other.params
        and last.seq + 1 == event.seq
        and type(last.at) is type(event.at) is datetime
        and last.at.tzinfo is event.at.tzinfo is UTC
    )


def _run(packed: bytes, last: Event, event: Event) -> bytes | None:
    """The run that ended with `last` as it stands before `event`; None where that cannot be told so."""
    more = _pack(last, event)
    if more is not None:
        return packed + more
    # The newest reply may be cut at other places than those before it, which can be cut there, too.
    looks, newer = [], event
    for one in (last, *_unpack(packed, last)):
        cut = _cut(one, event)
        if cut is None or (more := _pack(cut, newer)) is None:
            return None
        looks.append(more)
        newer = cut
    return b"".join(reversed(looks))


def _pack(event: Event, newer: Event) -> bytes | None:
    """What moved in a look, told from the one after it; None where that cannot be told in a few bytes."""
    seen, like, changed = event.seen, newer.seen, None
    assert isinstance(seen, Snapshot)
    assert isinstance(like, Snapshot)
    if seen.reply is not None or like.reply is not None:
        if seen.reply is None or like.reply is None:
            return None
        if seen.reply.head is not like.reply.head or seen.reply.tail is not like.reply.tail:
            return None
        changed = seen.reply.middle
    said = (_since(event.at, newer.at), _since(event.at, seen.replied_at), changed, *_moving(seen))
    if not _PLAIN.issuperset(map(type, said)):
        return None
    packed = _dumps(said).encode("utf-8", "surrogatepass")
    return packed + bytes((len(packed),)) if len(packed) <= _LONGEST else None


def _since(begin: datetime, at: datetime | None) -> Any:
    """Microseconds; a time of another kind stays, and is not packed."""
    return (at - begin) // _MICROSECOND if type(at) is datetime and at.tzinfo is UTC else at


def _unpack(packed: bytes, newest: Event) -> Iterator[Event]:
    """The looks of a run before its newest, newest first."""
    if not packed:
        return
    at, seq, end = newest.at, newest.seq, len(packed)
    assert isinstance(newest.seen, Snapshot)
    like, steady = newest.seen.reply, {name: getattr(newest.seen, name) for name in _STEADY}
    while end:
        begin = end - 1 - packed[end - 1]
        waited, replied, changed, *moved = loads(packed[begin : end - 1].decode("utf-8", "surrogatepass"))
        at, seq, end = at - waited * _MICROSECOND, seq - 1, begin
        seen = Snapshot(
            **steady,
            **dict(zip(_MOVING, moved, strict=True)),
            replied_at=None if replied is None else at + replied * _MICROSECOND,
            reply=None if like is None else JsonText(like.head, changed, like.tail),
        )
        yield Event(seq, at, seen)


def _cut(event: Event, newest: Event) -> Event | None:
    """A look with its reply cut as the newest one's is; None where it cannot be."""
    seen, like = event.seen, newest.seen
    if not isinstance(seen, Snapshot) or not isinstance(like, Snapshot) or seen.reply is None or like.reply is None:
        return None
    reply = seen.reply.cut_as(like.reply)
    return None if reply is None else replace(event, seen=replace(seen, reply=reply))
