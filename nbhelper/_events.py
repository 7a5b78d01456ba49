"""The events of a history. Looks at one task say nearly the same each time, so most of them are kept packed.

Of a run of looks that differ in nothing but what moves, the first is kept as it came, and of each later one only what
moved, as a few bytes. Whoever asks for it gets an equal event, made anew. The newest is always kept as it came.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Any, overload

from ._json import JsonText
from ._values import Event, Seen, Snapshot

_moving = attrgetter("progress", "queue_position", "seconds_left", "trace")
_PLAIN = frozenset({int, float, str, type(None)})
"""What comes back from `marshal` as it was."""
_LONGEST = 255
"""Bytes of one packed look: its length stands in one byte behind it."""
_FULL = 4000
"""Bytes of a run, after which another begins: each look copies its run once more."""
_MICROSECOND = timedelta(microseconds=1)


class Events(Sequence[Event]):
    """The events of a history, oldest first. It never changes, and equals the tuple of them."""

    __slots__ = ("_before", "_first", "_last", "_n", "_packed")

    def __init__(
        self,
        before: tuple[Event | bytes, ...] = (),
        first: Event | None = None,
        packed: bytes = b"",
        last: Event | None = None,
        n: int = 0,
    ) -> None:
        self._before = before
        """What came before the run at the end; the bytes of an earlier run stand behind the first of it."""
        self._first = first
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
        before, first, packed, last, n = self._before, self._first, self._packed, self._last, self._n + 1
        if last is None:
            return Events(last=event, n=n)
        if first is None:
            return Events((), last, b"", event, n)
        if len(packed) < _FULL and _alike(first.seen, last.seen):
            if (more := _pack(first, last)) is not None:
                return Events(before, first, packed + more, event, n)
            if (run := _cut_anew(first, packed, last)) is not None:
                return Events(before, *run, event, n)
        return Events((*before, first, packed) if packed else (*before, first), last, b"", event, n)

    def _parts(self) -> tuple[Event | bytes, ...]:
        """All but the last."""
        return self._before if self._first is None else (*self._before, self._first, self._packed)

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
        whole: Any = None
        for part in self._parts():
            if isinstance(part, bytes):
                yield from [*_unpack(whole, part)][::-1]
            else:
                yield (whole := part)
        if self._last is not None:
            yield self._last

    def __reversed__(self) -> Iterator[Event]:
        if self._last is not None:
            yield self._last
        packed = b""
        for part in reversed(self._parts()):
            if isinstance(part, bytes):
                packed = part
            else:
                yield from _unpack(part, packed)
                yield part
                packed = b""

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


def _alike(one: Seen, other: Seen) -> bool:
    """Whether two looks differ in nothing but what moves: reading keeps the objects of the look before."""
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
    )


def _pack(whole: Event, event: Event) -> bytes | None:
    """A look as what moved since the first one of its run; None where that cannot be told in a few bytes."""
    first, seen = whole.seen, event.seen
    if not isinstance(first, Snapshot) or not isinstance(seen, Snapshot) or whole.at.tzinfo is not UTC:
        return None
    reply, like, changed = seen.reply, first.reply, None
    if reply is not like or reply is not None:
        if reply is None or like is None or reply.head is not like.head or reply.tail is not like.tail:
            return None
        changed = reply.middle
    times = _since(whole.at, event.at), _since(whole.at, seen.replied_at)
    said = (event.seq - whole.seq, *times, changed, *_moving(seen))
    if not _PLAIN.issuperset(map(type, said)):
        return None
    packed = marshal.dumps(said, 2)
    return packed + bytes((len(packed),)) if len(packed) <= _LONGEST else None


def _since(begin: datetime, at: datetime | None) -> Any:
    """Microseconds; a time of another kind stays, and is not packed."""
    return (at - begin) // _MICROSECOND if type(at) is datetime and at.tzinfo is UTC else at


def _unpack(whole: Event, packed: bytes) -> Iterator[Event]:
    """The later looks of a run, newest first."""
    first, end = whole.seen, len(packed)
    while end:
        assert isinstance(first, Snapshot)
        begin = end - 1 - packed[end - 1]
        number, at, replied, changed, *moved = marshal.loads(packed[begin : end - 1])  # noqa: S302  # we wrote it
        end = begin
        progress, queue_position, seconds_left, trace = moved
        reply = first.reply
        if reply is not None:
            reply = JsonText(reply.head, changed, reply.tail)
        seen = replace(
            first,
            progress=progress,
            queue_position=queue_position,
            seconds_left=seconds_left,
            trace=trace,
            replied_at=None if replied is None else whole.at + replied * _MICROSECOND,
            reply=reply,
        )
        yield Event(whole.seq + number, whole.at + at * _MICROSECOND, seen)


def _cut_anew(whole: Event, packed: bytes, event: Event) -> tuple[Event, bytes] | None:
    """A run and one more look whose reply is cut at other places, which those of the run can be, too; else None."""
    like = event.seen.reply if isinstance(event.seen, Snapshot) else None
    run = []
    for one in (whole, *[*_unpack(whole, packed)][::-1]):
        seen = one.seen
        if not isinstance(seen, Snapshot) or seen.reply is None or like is None:
            return None
        if (cut := seen.reply.cut_as(like)) is None:
            return None
        run.append(replace(one, seen=replace(seen, reply=cut)))
    looks = [_pack(run[0], one) for one in (*run[1:], event)]
    return None if None in looks else (run[0], b"".join(filter(None, looks)))
