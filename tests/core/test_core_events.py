"""The events of a history are the tuple of them, however few bytes most of them take."""

import pickle
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhelper._events import NO_EVENTS, Events
from nbhelper._history import History
from nbhelper._json import JsonText
from nbhelper.types import Event, Mark, MarkWord, Miss, MissKind, Output, Snapshot, State, Task, TaskError

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
LONG = "an owl of carved wood " * 10
TEXTS = st.one_of(
    st.integers(0, 99).map(lambda n: f'{{"prompt":"{LONG}","progress":{n},"input":"{LONG}"}}'),
    st.integers(0, 99).map(lambda n: f'{{"left":{n},"prompt":"{LONG}","progress":{n},"input":"{LONG}"}}'),
    st.sampled_from(["", "{}", "ü\ud800" * 40, LONG]),
)
TIMES = st.integers(-(10**6), 10**13).map(lambda us: T0 + timedelta(microseconds=us))
ODD_TIMES = st.sampled_from([T0.replace(tzinfo=None), T0.astimezone(timezone(timedelta(hours=8)))])
PLAIN = st.builds(
    Snapshot,
    state=st.just(State.RUNNING),
    word=st.just("running"),
    progress=st.sampled_from([None, 0.0, -0.0, 0.25]),
    queue_position=st.sampled_from([None, 0, 7]),
    seconds_left=st.sampled_from([None, 9.0]),
    replied_at=st.none() | TIMES,
    trace=st.sampled_from([None, "", "t-1"]),
)
ODD = st.builds(
    Snapshot,
    state=st.sampled_from(State),
    word=st.sampled_from(["running", "x"]),
    progress=st.sampled_from([0, 1, True]),
    queue_position=st.sampled_from([10**30, 2.0]),
    seconds_left=st.sampled_from([9, float("inf")]),
    credits=st.sampled_from([None, 1.0, 1]),
    outputs=st.sampled_from([(), (Output(name="a", url="https://cdn.example/a"),)]),
    error=st.sampled_from([None, TaskError("1", "no")]),
    replied_at=ODD_TIMES,
    trace=st.sampled_from(["ü" * 300, "\ud800"]),
    params=st.sampled_from([{}, {"seed": 1}, {"seed": 1.0}]),
)
OTHERS = st.sampled_from([Miss(kind=MissKind.SERVER), Mark(word=MarkWord.WATCHING)])
LOOKS = st.lists(
    st.one_of(
        *[st.tuples(st.just(1), TIMES, PLAIN, TEXTS)] * 5,
        st.tuples(st.integers(1, 3), TIMES | ODD_TIMES, PLAIN | ODD, TEXTS | st.none()),
        st.tuples(st.just(1), TIMES, OTHERS, st.none()),
    ),
    max_size=40,
)


def came(looks):
    """Events as watching makes them: each reply is cut after the one before."""
    seq, told = 0, JsonText("")
    for step, at, seen, text in looks:
        seq += step
        if text is not None:
            told = told.after(text)
        yield Event(seq, at, seen if text is None else replace(seen, reply=told))


def exact(event):
    """An event with the type of each of its values: 1, 1.0 and true are equal, and not the same."""
    seen = [getattr(event.seen, name) for name in event.seen.__dataclass_fields__]
    return event, repr(event.at), [(type(value), repr(value)) for value in seen if not isinstance(value, JsonText)]


@given(LOOKS, st.integers(-45, 45), st.none() | st.integers(-45, 45))
def test_events_that_are_packed_are_those_that_came(looks, one, other):
    """In order, from behind, by place and by range, with the kinds of their values."""
    events = tuple(came(looks))
    kept = NO_EVENTS
    for event in events:
        kept = kept.and_one(event)

    assert [exact(event) for event in kept] == [exact(event) for event in events]
    assert kept == events == kept == Events.of(events)
    assert kept != (*events, Event(99, T0, Mark(word=MarkWord.LOST)))
    assert [*reversed(kept)] == [*reversed(events)]
    assert (len(kept), bool(kept), repr(kept)) == (len(events), bool(events), repr(events))
    assert kept[one:other] == events[one:other]
    assert kept[one::2] == events[one::2]
    assert [kept[n] for n in range(-len(events), len(events))] == [*events, *events]
    assert pickle.loads(pickle.dumps(kept)) == events
    assert not kept or kept[-1] is events[-1]


def test_a_place_without_an_event_is_an_index_error():
    """As with a tuple; a history that is empty has none at all."""
    history = History(Task("mill", "x")).add(Mark(word=MarkWord.WATCHING), T0)

    for events, place in ((NO_EVENTS, 0), (NO_EVENTS, -1), (history.events, 1), (history.events, -2)):
        with pytest.raises(IndexError):
            events[place]


def test_a_history_may_be_made_of_a_tuple():
    """It grows as any other does."""
    events = tuple(came([(1, T0, Snapshot(state=State.RUNNING), LONG)] * 3))

    history = History(Task("mill", "x"), events)

    assert history.events == events
    assert history.add(Mark(word=MarkWord.LOST), T0).events[:-1] == events


def test_a_history_does_not_change_when_it_grows():
    """What was packed for the longer one is whole in the shorter one still."""
    histories = [History(Task("mill", "x"))]
    looks = [
        (1, T0 + timedelta(seconds=n), Snapshot(state=State.RUNNING, progress=n / 9), f"{LONG}{n}") for n in range(9)
    ]
    for event in came(looks):
        histories.append(histories[-1].add(event.seen, event.at))

    assert [history.events for history in histories] == [tuple(came(looks))[:n] for n in range(10)]


def test_a_look_that_says_what_the_last_one_said_takes_a_few_bytes():
    """A thousand looks that differ by time and progress: a fraction of what as many events take."""
    looks = [
        (
            1,
            T0 + timedelta(seconds=n),
            Snapshot(state=State.RUNNING, progress=n / 1000, replied_at=T0),
            f"{LONG}{n}{LONG}",
        )
        for n in range(1000)
    ]
    tracemalloc.start()
    try:
        history = History(Task("mill", "x"))
        for event in came(looks):
            history = history.add(replace(event.seen), event.at)
        del event
        packed, _ = tracemalloc.get_traced_memory()
        whole = [*history.events]
        both, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(whole) == 1000
    assert packed < (both - packed) / 5
    assert packed < 100_000
