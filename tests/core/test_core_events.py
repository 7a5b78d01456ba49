"""Packed events: whatever was seen comes back exactly as it was; looks that say nearly the same take little memory."""

import gc
import pickle
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhelper._events import Events
from nbhelper._json import JsonText
from nbhelper.types import Event, Mark, MarkWord, Miss, MissKind, Output, Saved, Snapshot, State, TaskError

T0 = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
HEAD, TAIL = '{"progress":', ',"state":"running"}'


class Word(str):
    """Text of a class of its own."""

    __slots__ = ()


NUMBERS = st.sampled_from([None, 0, 0.0, 1, 1.0, True, -2.5, 1e300, 10**30])
TEXTS = st.sampled_from([None, "", "a", "ä\ud800", Word("a")]) | st.text(max_size=9)
TIMES = st.sampled_from(
    [None, T0, T0 + timedelta(microseconds=1), datetime.max.replace(tzinfo=UTC), T0.replace(fold=1)]
)
REPLIES = st.sampled_from([None, JsonText("{}")]) | st.builds(
    JsonText, st.just(HEAD), st.text(max_size=3), st.just(TAIL)
)
SEEN = st.one_of(
    st.builds(
        Snapshot,
        state=st.sampled_from(State),
        word=TEXTS,
        progress=NUMBERS,
        queue_position=NUMBERS,
        outputs=st.sampled_from([(), (Output(name="a", data=b"x"),)]),
        error=st.sampled_from([None, TaskError("1", "no")]),
        created_at=TIMES,
        replied_at=TIMES | st.just(T0.astimezone(timezone(timedelta(hours=2)))),
        params=st.sampled_from([{}, {"n": 1}, {"n": 1.0}]),
        reply=REPLIES,
    ),
    st.builds(Miss, kind=st.sampled_from(MissKind), message=TEXTS, status=NUMBERS, retry_after=NUMBERS),
    st.builds(Saved, name=TEXTS),
    st.builds(Mark, word=st.sampled_from(MarkWord)),
)
PAST = st.lists(st.builds(lambda seen, s: (seen, s), SEEN, st.integers(0, 10**10)), max_size=20)


def numbered(past):
    return [Event(n, T0 + timedelta(microseconds=later), seen) for n, (seen, later) in enumerate(past, 1)]


def exact(event):
    """Everything of an event, with the types, which equality does not tell apart."""
    seen = event.seen
    told = [(f.name, getattr(seen, f.name)) for f in fields(seen)]
    return event.seq, repr(event.at), type(seen), [(name, type(value), repr(value), str(value)) for name, value in told]


@given(PAST)
def test_what_is_packed_comes_back(past):
    """Added one by one, or read back at once; from either end, by place and by slice."""
    whole = numbered(past)
    grown = Events()
    for event in whole:
        grown = grown.add(event)

    for events in (grown, Events.of(whole), pickle.loads(pickle.dumps(grown))):
        assert [*map(exact, events)] == [*map(exact, whole)]
        assert [*map(exact, reversed(events))] == [*map(exact, reversed(whole))]
        assert events == tuple(whole)
        assert len(events) == len(whole)
        assert events[1:-1] == tuple(whole[1:-1])
        assert [events[n] for n in range(-len(whole), len(whole))] == whole * 2


@given(PAST, SEEN)
def test_adding_changes_nothing(past, seen):
    """Whoever holds the shorter ones has them as before."""
    before = Events.of(numbered(past))
    told = [*map(exact, before)]

    longer = before.add(Event(99, T0, seen))

    assert [*map(exact, before)] == told
    assert longer[:-1] == before
    assert longer[-1].seen is seen
    assert longer != before


def looks(n):
    head, tail = HEAD * 9, TAIL * 9
    for k in range(1, n + 1):
        at = T0 + timedelta(seconds=k)
        reply = JsonText(head, str(k), tail)
        yield Event(k, at, Snapshot(state=State.RUNNING, word="running", progress=k / n, replied_at=at, reply=reply))


@pytest.mark.parametrize("n", [10, 300])
def test_a_look_that_says_nearly_the_same_is_a_few_bytes(n):
    """All but the first and the newest of a run of looks are packed, and nothing that a collector would go over."""
    events = Events.of(looks(n))

    packed = [item for item in events._items if isinstance(item, bytes)]
    assert len(packed) == n - 2
    assert max(map(len, packed)) < 80
    assert not any(map(gc.is_tracked, packed))


def test_they_cannot_be_written_over():
    """As a tuple cannot."""
    events = Events.of(looks(2))

    with pytest.raises(TypeError):
        events[0] = events[1]
    assert events.__eq__(1) is NotImplemented
    assert repr(events) == repr(tuple(events))
