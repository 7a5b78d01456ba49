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
    """For any history `verdict` raises nothing and gives None or the mark `lost`, never a failure."""
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
def test_looks_that_end_a_watch_as_lost(seen):
    """Each case of `LOST` ends the watch with the mark `lost` and a printable note."""
    history = grown(*seen)

    result = verdict(history, history.events[-1].at, confirm=frozenset({"shrug"}))

    assert result is not None
    assert result.word is MarkWord.LOST
    assert result.note.isprintable()


@pytest.mark.parametrize("seen", KEPT.values(), ids=KEPT)
def test_looks_that_do_not_end_a_watch(seen):
    """No case of `KEPT` ends the watch: not faults of the network, nor the pause of a laptop that slept."""
    history = grown(*seen)
    now = history.events[-1].at if history.events else NOON

    assert verdict(history, now, confirm=frozenset({"shrug"})) is None


@pytest.mark.parametrize(
    ("kind", "ends"),
    [("no_credit", True), ("garbled", True), ("network", False), ("server", False), ("rate_limited", False)],
)
def test_a_long_run_of_misses_is_judged_by_all_of_it(kind, ends):
    """The ten minutes of a run of 300 misses count from the first one, whose event is no longer kept."""
    history = grown(state("running"), *[miss(kind)] * 300, every=2.0)
    before = grown(state("running"), *[miss(kind)] * 300, every=1.9)

    assert (verdict(history, history.events[-1].at + timedelta(seconds=3)) is not None) is ends
    assert verdict(before, before.events[-1].at) is None


def test_which_looks_end_a_run_of_misses():
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


def test_not_found_ends_a_watch_twice_in_a_row_after_the_grace():
    """After the grace two "not found" in a row end a watch, however many came before, and one alone does not."""
    early = [miss("not_found")] * 40
    history = grown(*early, AFTER, miss("not_found"))
    assert verdict(history, history.events[-1].at) is None

    history = history.add(miss("not_found"), history.events[-1].at + timedelta(seconds=1))
    assert "does not know this id" in verdict(history, history.events[-1].at).note


def test_an_undeclared_state_word_does_not_count_as_a_miss_of_that_name():
    """The undeclared state word `refused` and then a refused look are not two refusals in a row."""
    history = grown(state("unknown"), Snapshot(state=State.UNKNOWN, word="refused"), miss("refused"))

    assert verdict(history, history.events[-1].at, confirm=frozenset({"refused"})) is None


def test_misses_after_a_final_state_do_not_end_a_watch_as_lost():
    """Misses of the looks for fresh links, after a final state, give no verdict."""
    history = grown(state("succeeded"), *[miss("refused")] * 3)

    assert verdict(history, history.events[-1].at) is None
