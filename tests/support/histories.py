"""Histories whose events have given times, and Hypothesis strategies for events (`SEEN`, `PAST`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from nbhelper._model.events import Mark, Output, Saved, Seen, Snapshot
from nbhelper._model.history import History
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, SaveState, State
from nbhelper._model.task import Task

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def at() -> Callable[[float], datetime]:
    """Seconds after a fixed noon, as a time."""
    return lambda seconds: NOON + timedelta(seconds=seconds)


@pytest.fixture
def history() -> Callable[..., History]:
    """Make a history of events, each a pair of seconds after noon and what was seen."""

    def make(*events: tuple[float, Seen], task: Task | None = None, **more: str) -> History:
        history = History(task or Task("kie", "t1"), **more)
        for seconds, seen in events:
            history = history.add(seen, NOON + timedelta(seconds=seconds))
        return history

    return make


def grown(*seen: Seen | float, begin: datetime = NOON, every: float = 1.0) -> History:
    """A history of these observations, `every` seconds apart; a number among them is a pause of so many seconds."""
    history, now = History(Task("mill", "x"), origin="http://mill"), begin
    for item in seen:
        if isinstance(item, int | float):
            now += timedelta(seconds=item)
            continue
        history = history.add(item, now)
        now += timedelta(seconds=every)
    return history


def state(word: str, **more: Any) -> Snapshot:
    """A snapshot whose state and word are the same."""
    return Snapshot(state=State(word), word=word, **more)


def mark(word: str) -> Mark:
    """A `Mark` with a note."""
    return Mark(word=MarkWord(word), note=f"because {word}")


def miss(kind: str) -> Miss:
    """A `Miss`: a look that failed."""
    return Miss(kind=MissKind(kind), message="words")


_TIMES = st.none() | st.integers(-50, 200).map(lambda seconds: NOON + timedelta(seconds=seconds))
SEEN = st.one_of(
    st.builds(
        Snapshot,
        state=st.sampled_from(State),
        word=st.sampled_from(["a", "b"]),
        progress=st.none() | st.floats(0, 1),
        queue_position=st.none() | st.integers(0, 5),
        seconds_left=st.none() | st.floats(0, 60),
        credits=st.none() | st.floats(0, 9),
        outputs=st.lists(st.builds(Output, name=st.sampled_from("xyz"), url=st.just("u")), max_size=2).map(tuple),
        model=st.sampled_from([None, "m", "n"]),
        params=st.dictionaries(st.sampled_from("pq"), st.integers(0, 3), max_size=2),
        resolution_s=st.none() | st.just(1.0),
        created_at=_TIMES, started_at=_TIMES, finished_at=_TIMES, replied_at=_TIMES,
    ),
    st.builds(Miss, kind=st.sampled_from(MissKind), replied_at=_TIMES),
    st.builds(Saved, name=st.sampled_from("xyz"), state=st.sampled_from(SaveState), file=st.just("/f")),
    st.builds(Mark, word=st.sampled_from(MarkWord)),
)  # fmt: skip
PAST = st.lists(st.tuples(SEEN, st.floats(0, 2000)), max_size=25)
"""Strategy: the observations of one task, as pairs of what was seen and the seconds since the one before."""
