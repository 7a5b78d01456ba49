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
from operator import attrgetter, is_
from typing import Any, overload

from ._json import JsonText
from ._values import Event, Seen, Snapshot

_steady = attrgetter(
    "state", "word", "credits", "outputs", "error", "created_at", "started_at", "finished_at", "resolution_s", "model",
    "params",
)  # fmt: skip
"""What the looks of a run have in common: the same objects, since reading keeps those of the look before."""
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

    __slots__ = ("_kept", "_last", "_n")

    def __init__(self, kept: tuple[Event | bytes, ...] = (), last: Event | None = None, n: int = 0) -> None:
        self._kept = kept
        """All but the last: whole ones, and behind the first of a run the bytes of its others."""
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
        if self._last is None:
            return Events((), event, 1)
        return Events(_kept(self._kept, self._last), event, self._n + 1)

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
        for part in self._kept:
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
        for part in reversed(self._kept):
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


def _kept(kept: tuple[Event | bytes, ...], last: Event) -> tuple[Event | bytes, ...]:
    """What is kept when one that was the last is so no more."""
    if not kept or not isinstance(last.seen, Snapshot):
        return (*kept, last)
    whole, packed = _run(kept)
    if len(packed) < _FULL:
        before = kept[: -2 if packed else -1]
        if (more := _pack(whole, last)) is not None:
            return (*before, whole, packed + more)
        if (run := _cut_anew(whole, packed, last)) is not None:
            return (*before, *run)
    return (*kept, last)


def _run(kept: tuple[Event | bytes, ...]) -> tuple[Event, bytes]:
    """The run at the end: its first look, and its others packed."""
    end = kept[-1]
    if isinstance(end, Event):
        return end, b""
    whole = kept[-2]
    assert isinstance(whole, Event)
    return whole, end


def _pack(whole: Event, event: Event) -> bytes | None:
    """A look as what moved since the first one of its run; None where more than that differs."""
    first, seen = whole.seen, event.seen
    if type(first) is not Snapshot or type(seen) is not Snapshot or whole.at.tzinfo is not UTC:
        return None
    if not all(map(is_, _steady(first), _steady(seen))):
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


def _cut_anew(whole: Event, packed: bytes, event: Event) -> tuple[Event | bytes, ...] | None:
    """A run and one more look whose reply is cut at other places, which those of the run can be, too; else None."""
    run = []
    for one in (whole, *[*_unpack(whole, packed)][::-1]):
        seen, reply = one.seen, getattr(event.seen, "reply", None)
        if not isinstance(seen, Snapshot) or seen.reply is None or reply is None:
            return None
        cut = seen.reply.cut_as(reply)
        if cut is None:
            return None
        run.append(replace(one, seen=replace(seen, reply=cut)))
    looks = [_pack(run[0], one) for one in (*run[1:], event)]
    return None if None in looks else (run[0], b"".join(filter(None, looks)))
