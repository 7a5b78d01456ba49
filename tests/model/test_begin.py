"""When a task began: one answer for the pace, the card, the table, its filter, and the wait before a task is lost."""

from datetime import timedelta

import pytest
from support.histories import NOON

from nbhelper._model.events import Mark, Snapshot
from nbhelper._model.lost_sight import GRACE, verdict
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, State
from nbhelper._model.times import moment
from nbhelper._model.timing import Begin, begin, timing
from nbhelper._store.history_to_row import summary_row
from nbhelper._views.words import elapsed, is_start_known
from nbhelper._watching.pace import JITTER, PRICE, pause


def t(seconds):
    return NOON + timedelta(seconds=seconds)


def look(state="running", *, clock=None, at=0.0, **more):
    """A snapshot whose reply came at `at`, from a server whose clock is `clock` seconds ahead where it is known."""
    return Snapshot(state=State(state), replied_at=None if clock is None else t(at + clock - 0.5), **more)


SUBMITTED = (2.0, Mark(word=MarkWord.SUBMITTING)), (3.0, Mark(word=MarkWord.SUBMITTED))
AHEAD = {"created_at": t(31), "resolution_s": 1.0}
BEGINS = {
    "the server says it and its clock is known": (
        [*SUBMITTED, (5.0, look(**AHEAD, clock=28.5, at=5.0))], Begin(t(2.5), known=True, doubt=1.5),
    ),
    "the server says a time before we asked, cut to whole seconds": (
        [*SUBMITTED, (5.0, look(**AHEAD, clock=30.5, at=5.0))], Begin(t(2), known=True, doubt=1.5),
    ),
    "the server says a time after it had answered": (
        [*SUBMITTED, (5.0, look(**AHEAD, clock=27.0, at=5.0))], Begin(t(3), known=True, doubt=1.5),
    ),
    "the server says it, its clock is known, and another program submitted it": (
        [(5.0, look(**AHEAD, clock=30.5, at=5.0))], Begin(t(0.5), known=True, doubt=1.5),
    ),
    "the server says it, its clock is unknown, and we submitted it": (
        [*SUBMITTED, (5.0, look(**AHEAD))], Begin(t(3), known=True, doubt=1.0),
    ),
    "the server alone says it and its clock is unknown": (
        [(35.0, look(**AHEAD))], Begin(t(31), known=True),
    ),
    "we submitted it": ([*SUBMITTED, (5.0, look())], Begin(t(3), known=True, doubt=1.0)),
    "we sent it and saw no answer": ([SUBMITTED[0], (5.0, look())], Begin(t(2), known=True, doubt=0.0)),
    "nobody knows": ([(5.0, look())], Begin(t(5), known=False)),
}  # fmt: skip


def by_the_card(history):
    """The begin that the card counts the seconds of a running task from."""
    return t(100) - timedelta(seconds=elapsed(history, t(100)))


def by_the_pace(history):
    """The begin from which the pauses between looks grow, for a task of which nothing but its age is known."""
    floor = 0.001
    age = (pause(history, t(100), floor=floor, chance=0.0) - floor * JITTER[0]) ** 2 / (2 * floor * PRICE)
    return t(100) - timedelta(seconds=age)


def by_the_filter(history):
    """The begin by which `tasks(since=...)` selects rows."""
    return moment(summary_row(history)["begun"])


def by_the_table(history):
    """The begin from which `total_s` counts up to an observed finish; None where it counts nothing."""
    times = timing(history.add(look(), t(99)).add(look("succeeded"), t(101)))
    return None if times.total_s is None else times.finished_at - timedelta(seconds=times.total_s)


def by_the_grace(history):
    """The begin that the grace counts from: two "not found" in a row mean lost no earlier than `GRACE` after it."""
    miss = Miss(kind=MissKind.NOT_FOUND)
    for tenths in range(1000):
        begun = t(tenths / 10)
        after = history.add(miss, begun + GRACE).add(miss, begun + GRACE)
        if verdict(after, begun + GRACE) is not None:
            return begun
    return None


@pytest.mark.parametrize(("events", "expected"), BEGINS.values(), ids=BEGINS)
def test_card_pace_filter_table_and_grace_use_one_begin(events, expected, history):
    """Pace, card, filter, table and grace read one begin, on our clock; from an unknown one no table counts a time."""
    watched = history(*events)
    if watched.facts.created is not None and watched.facts.skew_s is not None:
        assert timing(watched).created_at == t(31)  # the column keeps the server's reading

    assert begin(watched.facts) == expected
    assert is_start_known(watched) is expected.known
    readings = [by_the_card(watched), by_the_pace(watched), by_the_filter(watched), by_the_grace(watched)]
    if expected.known:
        readings.append(by_the_table(watched))
    else:
        assert by_the_table(watched) is None
    assert [(at - NOON).total_seconds() for at in readings] == pytest.approx(
        [(expected.at - NOON).total_seconds()] * len(readings), abs=0.001
    )


def test_no_event_has_no_begin(history):
    """A history without events has no begin; its row has the time at which its uid was made."""
    watched = history(uid=f"{int(t(7).timestamp() * 1_000_000):014x}-0")

    assert begin(watched.facts) is None
    assert elapsed(watched, t(9)) is None
    assert moment(summary_row(watched)["begun"]) == t(7)
