"""When a watch ends as `lost`, and how long it goes on before."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.histories import NOON, PAST, grown, mark, miss, state

from nbhelper._model.lost_sight import GRACE, PATIENCE, verdict
from nbhelper.types import MarkWord, Snapshot, State


@given(PAST, st.floats(0, 1e6))
def test_a_verdict_is_lost_or_nothing(past, later):
    """Whatever was seen, the judgement raises nothing and never says failed."""
    history = grown(*[seen for seen, _ in past])

    result = verdict(history, NOON + timedelta(seconds=later), confirm=frozenset("a"))

    assert result is None or result.word is MarkWord.LOST


LONG, SHORT = PATIENCE.total_seconds() + 1, PATIENCE.total_seconds() - 10
AFTER = GRACE.total_seconds()
LOST = {
    "refused twice": [miss("refused"), miss("refused")],
    "bad request twice": [state("running"), miss("bad_request"), miss("bad_request")],
    "not found twice after the grace": [state("running"), AFTER, miss("not_found"), miss("not_found")],
    "not found twice long after submitting": [mark("submitted"), AFTER, miss("not_found"), miss("not_found")],
    "no credit for ten minutes": [miss("no_credit")] * 3 + [LONG, miss("no_credit")],
    "garbled for ten minutes": [miss("garbled")] * 3 + [LONG, miss("garbled")],
    "an unknown word for ten minutes": [state("unknown")] * 3 + [LONG, state("unknown")],
    "garbled and unknown mixed for ten minutes": [
        miss("garbled"), state("unknown"), miss("garbled"), LONG, state("unknown"),
    ],
    "documented as final": [
        Snapshot(state=State.UNKNOWN, word="shrug"), Snapshot(state=State.UNKNOWN, word="shrug"),
    ],
}  # fmt: skip
KEPT = {
    "nothing": [],
    "running": [state("running")],
    "network for a day": [miss("network"), 86400.0, miss("network"), miss("network"), miss("network")],
    "server for a day": [miss("server"), 86400.0, miss("server"), miss("server"), miss("server")],
    "rate limited for a day": [miss("rate_limited"), 86400.0, *[miss("rate_limited")] * 5],
    "refused once": [state("running"), miss("refused")],
    "refused, network, refused": [miss("refused"), miss("network"), miss("refused")],
    "refused, running, refused": [miss("refused"), state("running"), miss("refused")],
    "refused, then bad request": [miss("refused"), miss("bad_request")],
    "not found within the grace": [miss("not_found")] * 20,
    "not found, once within and once after": [miss("not_found"), AFTER, miss("not_found")],
    "not found once after the grace": [state("running"), AFTER + 5, miss("not_found")],
    "no credit for nine minutes": [miss("no_credit")] * 3 + [SHORT, miss("no_credit")],
    "garbled for nine minutes": [miss("garbled")] * 3 + [SHORT, miss("garbled")],
    "garbled twice with a sleep between": [miss("garbled"), LONG, miss("garbled")],
    "no credit thrice with a sleep between": [miss("no_credit"), miss("no_credit"), LONG, miss("no_credit")],
    "garbled, with a good look between": [miss("garbled")] * 3 + [LONG, state("running"), miss("garbled")],
    "garbled, with a network fault between": [miss("garbled")] * 3 + [LONG, miss("network"), miss("garbled")],
    "documented as final, once": [Snapshot(state=State.UNKNOWN, word="shrug")],
    "documented as final, then another word": [
        Snapshot(state=State.UNKNOWN, word="shrug"), Snapshot(state=State.UNKNOWN, word="hm"),
    ],
    "refused before it was taken up again": [miss("refused"), mark("lost"), mark("resumed"), miss("refused")],
}  # fmt: skip


@pytest.mark.parametrize("seen", LOST.values(), ids=LOST)
def test_when_a_watch_is_lost(seen):
    """Each row of the table of misses that ends a watch."""
    history = grown(*seen)

    result = verdict(history, history.events[-1].at, confirm=frozenset({"shrug"}))

    assert result is not None
    assert result.word is MarkWord.LOST
    assert result.note.isprintable()


@pytest.mark.parametrize("seen", KEPT.values(), ids=KEPT)
def test_when_a_watch_goes_on(seen):
    """Everything else: faults of the network never end a watch, and a laptop that slept saw nothing."""
    history = grown(*seen)
    now = history.events[-1].at if history.events else NOON

    assert verdict(history, now, confirm=frozenset({"shrug"})) is None


@pytest.mark.parametrize(
    ("kind", "ends"),
    [("no_credit", True), ("garbled", True), ("network", False), ("server", False), ("rate_limited", False)],
)
def test_a_long_run_of_misses_is_judged_by_all_of_it(kind, ends):
    """Three hundred looks, two seconds apart: ten minutes are told from the first of them, which nobody holds now."""
    history = grown(state("running"), *[miss(kind)] * 300, every=2.0)
    before = grown(state("running"), *[miss(kind)] * 300, every=1.9)

    assert (verdict(history, history.events[-1].at + timedelta(seconds=3)) is not None) is ends
    assert verdict(before, before.events[-1].at) is None


def test_a_long_run_ends_with_what_ends_it():
    """Garbled replies and undeclared words make one run; a good look, the network and a resumption begin another."""
    mixed = [miss("garbled"), state("unknown")] * 150
    for between in (state("running"), miss("network"), mark("resumed")):
        history = grown(*mixed, between, *mixed[:20], every=2.0)
        assert verdict(history, history.events[-1].at) is None
    history = grown(*mixed, mark("watching"), *mixed[:20], every=2.0)

    result = verdict(history, history.events[-1].at)

    assert result is not None
    assert result.note == '10 minutes of unreadable replies: unknown state "unknown"'
    assert history.facts.unreadable.looks == 320
    assert history.facts.same_trouble.looks == 1


def test_not_found_is_judged_by_the_look_before_the_newest():
    """After the grace two in a row end a watch, however many there were before, and one alone does not."""
    early = [miss("not_found")] * 40
    history = grown(*early, AFTER, miss("not_found"))
    assert verdict(history, history.events[-1].at) is None

    history = history.add(miss("not_found"), history.events[-1].at + timedelta(seconds=1))
    assert "does not know this id" in verdict(history, history.events[-1].at).note


def test_a_word_that_nobody_declared_is_no_kind_of_miss():
    """An API whose state word is `refused`, followed by a refused look, has not refused twice."""
    history = grown(state("unknown"), Snapshot(state=State.UNKNOWN, word="refused"), miss("refused"))

    assert verdict(history, history.events[-1].at, confirm=frozenset({"refused"})) is None


def test_nothing_is_lost_behind_the_final_word():
    """What the looks for fresh links say later does not end the watch in another way."""
    history = grown(state("succeeded"), *[miss("refused")] * 3)

    assert verdict(history, history.events[-1].at) is None
