from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhelper._model.events import Mark, Saved, Snapshot
from nbhelper._model.history import History
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, SaveState, State
from nbhelper._model.task import Task
from nbhelper._model.timing import Timing, timing

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def t(seconds):
    return NOON + timedelta(seconds=seconds)


def mark(word):
    return Mark(word=MarkWord(word))


def look(state, **more):
    """A snapshot; times as seconds after noon."""
    times = ("created_at", "started_at", "finished_at", "replied_at")
    return Snapshot(state=State(state), **{k: t(v) if k in times else v for k, v in more.items()})


SUBMITTED = (0.0, mark("submitting")), (1.0, mark("submitted"))
SERVER = {"created_at": 2, "finished_at": 32, "resolution_s": 0.001}


def skewed(seconds, at):
    """A `Date` header in a reply at second `at` of a server whose clock is ahead by `seconds`."""
    return at + seconds - 0.5


CASES = {
    "nothing seen": ([], {}),
    "observed": (
        [*SUBMITTED, (5, look("running")), (11, look("running")), (15, look("succeeded"))],
        {
            "submitted_at": t(1), "first_seen_at": t(5), "finished_at": t(13), "finished_seen_at": t(15), "total_s": 12,
            "time_source": "observed", "uncertainty_s": 2 + 1,
        },
    ),
    "observed, a miss in between is no look": (
        [*SUBMITTED, (5, look("running")), (11, Miss(kind=MissKind.SERVER)), (15, look("succeeded"))],
        {
            "submitted_at": t(1), "first_seen_at": t(5), "finished_at": t(10), "finished_seen_at": t(15), "total_s": 9,
            "time_source": "observed", "uncertainty_s": 5 + 1,
        },
    ),
    "observed, final at the first look": (
        [*SUBMITTED, (5, look("succeeded"))],
        {
            "submitted_at": t(1), "first_seen_at": t(5), "finished_at": t(3), "finished_seen_at": t(5), "total_s": 2,
            "time_source": "observed", "uncertainty_s": 2 + 1,
        },
    ),
    "observed, start unknown": (
        [(5, look("running")), (9, look("failed"))],
        {
            "first_seen_at": t(5), "finished_at": t(7), "finished_seen_at": t(9), "time_source": "observed",
            "uncertainty_s": 2,
        },
    ),
    "over before we came": (
        [(5, look("succeeded"))],
        {"first_seen_at": t(5), "finished_seen_at": t(5)},
    ),
    "over before we came, server start": (
        [(500_000, look("succeeded", created_at=0))],
        {"created_at": t(0), "first_seen_at": t(500_000), "finished_seen_at": t(500_000)},
    ),
    "a create without its answer": (
        [(0, mark("submitting")), (10, look("running")), (12, look("succeeded"))],
        {
            "submitted_at": t(0), "first_seen_at": t(10), "finished_at": t(11), "finished_seen_at": t(12),
            "total_s": 11, "time_source": "observed", "uncertainty_s": 1,
        },
    ),
    "server": (
        [*SUBMITTED, (5, look("running")), (40, look("succeeded", **SERVER, replied_at=skewed(0, 40)))],
        {
            "submitted_at": t(1), "created_at": t(2), "first_seen_at": t(5), "finished_at": t(32),
            "finished_seen_at": t(40), "total_s": 30, "time_source": "server", "uncertainty_s": 0.001, "lag_s": 8,
        },
    ),
    "server, its clock ahead": (
        [(5, look("running")), (40, look("succeeded", **SERVER, replied_at=skewed(3, 40)))],
        {
            "created_at": t(2), "first_seen_at": t(5), "finished_at": t(32), "finished_seen_at": t(40), "total_s": 30,
            "time_source": "server", "uncertainty_s": 0.001, "lag_s": 11,
        },
    ),
    "server, resolution unknown": (
        [(40, look("succeeded", created_at=2, finished_at=32))],
        {
            "created_at": t(2), "first_seen_at": t(40), "finished_at": t(32), "finished_seen_at": t(40), "total_s": 30,
            "time_source": "server", "lag_s": 8,
        },
    ),
    "server, finish before creation": (
        [(40, look("succeeded", created_at=33, finished_at=32, resolution_s=1))],
        {
            "created_at": t(33), "first_seen_at": t(40), "finished_at": t(32), "finished_seen_at": t(40),
            "time_source": "server", "uncertainty_s": 1, "lag_s": 8,
        },
    ),
    "server, with its own start": (
        [(40, look("succeeded", created_at=2, started_at=12, finished_at=32, resolution_s=1))],
        {
            "created_at": t(2), "started_at": t(12), "finished_at": t(32), "first_seen_at": t(40),
            "finished_seen_at": t(40), "queue_s": 10, "run_s": 20, "total_s": 30, "time_source": "server",
            "uncertainty_s": 1, "lag_s": 8,
        },
    ),
    "mixed: server start, observed finish": (
        [
            (5, look("running", created_at=12, resolution_s=1, replied_at=skewed(10, 5))),
            (11, look("running", created_at=12, resolution_s=1, replied_at=skewed(10, 11))),
            (15, look("succeeded", created_at=12, resolution_s=1, replied_at=skewed(10, 15))),
        ],
        {
            "created_at": t(12), "first_seen_at": t(5), "finished_at": t(13), "finished_seen_at": t(15), "total_s": 11,
            "time_source": "mixed", "uncertainty_s": 2 + 1 + 0.5,
        },
    ),
    "mixed: submitted here, finished there": (
        [*SUBMITTED, (40, look("succeeded", finished_at=25, resolution_s=1, replied_at=skewed(-5, 40)))],
        {
            "submitted_at": t(1), "first_seen_at": t(40), "finished_at": t(25), "finished_seen_at": t(40),
            "total_s": 29,
            "time_source": "mixed", "uncertainty_s": 1 + 1 + 0.5, "lag_s": 10,
        },
    ),
    "mixed, no Date header": (
        [(5, look("running", created_at=2, resolution_s=1)), (9, look("succeeded"))],
        {
            "created_at": t(2), "first_seen_at": t(5), "finished_at": t(7), "finished_seen_at": t(9), "total_s": 5,
            "time_source": "mixed",
        },
    ),
    "submitted here, no Date header, the end observed": (
        [*SUBMITTED, (5, look("running", created_at=500, resolution_s=1)), (9, look("succeeded"))],
        {
            "submitted_at": t(1), "created_at": t(500), "first_seen_at": t(5), "finished_at": t(7),
            "finished_seen_at": t(9), "total_s": 6, "time_source": "observed", "uncertainty_s": 2 + 1,
        },
    ),
    "submitted here, no Date header, the end the server's": (
        [*SUBMITTED, (40, look("succeeded", **SERVER))],
        {
            "submitted_at": t(1), "created_at": t(2), "first_seen_at": t(40), "finished_at": t(32),
            "finished_seen_at": t(40), "total_s": 30, "time_source": "server", "uncertainty_s": 0.001, "lag_s": 8,
        },
    ),
    "lag below zero within the clocks' doubt": (
        [(40, look("succeeded", created_at=2, finished_at=41, resolution_s=1, replied_at=skewed(0, 40)))],
        {
            "created_at": t(2), "first_seen_at": t(40), "finished_at": t(41), "finished_seen_at": t(40), "total_s": 39,
            "time_source": "server", "uncertainty_s": 1, "lag_s": 0,
        },
    ),
    "lag below zero beyond it": (
        [(40, look("succeeded", created_at=2, finished_at=60, resolution_s=1, replied_at=skewed(0, 40)))],
        {
            "created_at": t(2), "first_seen_at": t(40), "finished_at": t(60), "finished_seen_at": t(40), "total_s": 58,
            "time_source": "server", "uncertainty_s": 1,
        },
    ),
    "queue and run, both seen": (
        [*SUBMITTED, (3, look("queued")), (7, look("running")), (11, look("running")), (13, look("succeeded"))],
        {
            "submitted_at": t(1), "first_seen_at": t(3), "started_at": t(5), "finished_at": t(12),
            "finished_seen_at": t(13), "queue_s": 4, "run_s": 7, "total_s": 11, "time_source": "observed",
            "uncertainty_s": 1 + 1,
        },
    ),
    "one word for queue and run": (
        [*SUBMITTED, (3, look("queued")), (7, look("queued")), (9, look("succeeded"))],
        {
            "submitted_at": t(1), "first_seen_at": t(3), "finished_at": t(8), "finished_seen_at": t(9), "total_s": 7,
            "time_source": "observed", "uncertainty_s": 1 + 1,
        },
    ),
    "running at the first look": (
        [*SUBMITTED, (3, look("running")), (5, look("queued")), (7, look("running")), (9, look("succeeded"))],
        {
            "submitted_at": t(1), "first_seen_at": t(3), "finished_at": t(8), "finished_seen_at": t(9), "total_s": 7,
            "time_source": "observed", "uncertainty_s": 1 + 1,
        },
    ),
    "still running": (
        [*SUBMITTED, (3, look("queued")), (7, look("running"))],
        {"submitted_at": t(1), "first_seen_at": t(3), "started_at": t(5), "queue_s": 4},
    ),
    "lost": (
        [*SUBMITTED, (3, Miss(kind=MissKind.NOT_FOUND)), (9, mark("lost"))],
        {"submitted_at": t(1)},
    ),
    "delivered": (
        [
            *SUBMITTED, (4, look("running")), (6, look("succeeded")), (8, Saved(name="a", file="/x")),
            (9, Saved(name="b", file="/y")), (20, Saved(name="c", state=SaveState.EXPIRED)),
        ],
        {
            "submitted_at": t(1), "first_seen_at": t(4), "finished_at": t(5), "finished_seen_at": t(6),
            "saved_at": t(9), "total_s": 4, "delivered_s": 8, "time_source": "observed", "uncertainty_s": 1 + 1,
        },
    ),
    "saved, start unknown": (
        [(6, look("succeeded")), (8, Saved(name="a", file="/x"))],
        {"first_seen_at": t(6), "finished_seen_at": t(6), "saved_at": t(8)},
    ),
    "our own clock set back": (
        [*SUBMITTED, (5, look("running")), (-100, look("succeeded")), (-99, Saved(name="a", file="/x"))],
        {"submitted_at": t(1), "first_seen_at": t(5), "finished_seen_at": t(-100), "saved_at": t(-99)},
    ),
    "a final word stands": (
        [*SUBMITTED, (4, look("running")), (6, look("succeeded")), (60, look("running")), (70, look("succeeded"))],
        {
            "submitted_at": t(1), "first_seen_at": t(4), "finished_at": t(5), "finished_seen_at": t(6), "total_s": 4,
            "time_source": "observed", "uncertainty_s": 1 + 1,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "expected"), CASES.values(), ids=CASES)
def test_times_and_durations_of_each_case(events, expected, history):
    """Each case of `CASES` gives exactly these times and durations; all others are None."""
    assert timing(history(*events)) == Timing(**expected)


seens = st.one_of(
    st.sampled_from([mark("submitting"), mark("submitted"), mark("stopped"), mark("lost"), mark("resumed")]),
    st.builds(Miss, kind=st.sampled_from(MissKind)),
    st.builds(Saved, name=st.sampled_from("ab"), state=st.sampled_from(SaveState)),
    st.builds(
        Snapshot,
        state=st.sampled_from(State),
        resolution_s=st.none() | st.just(1.0),
        **dict.fromkeys(
            ("created_at", "started_at", "finished_at", "replied_at"), st.none() | st.integers(-50, 200).map(t)
        ),
    ),
)


@given(st.lists(st.tuples(st.integers(-20, 100), seens), max_size=12))
def test_no_duration_is_negative(events):
    """Whatever was seen in whatever order by whatever clocks, a duration is positive, zero or missing."""
    history = History(Task("kie", "1"))
    for seconds, seen in events:
        history = history.add(seen, t(seconds))
    times = timing(history)

    durations = [getattr(times, f.name) for f in fields(times) if f.name.endswith("_s")]
    assert all(value is None or value >= 0 for value in durations)
    assert (times.total_s is None) or times.time_source is not None
    assert (times.lag_s is None) or times.finished_at is not None
