"""Histories: everything shown of a task follows from its events, and is the same when they are folded anew."""

import gc
import pickle
import tracemalloc
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from support.histories import NOON, PAST, grown, mark, miss, state

import nbhelper as nbh
from nbhelper._model.history import History
from nbhelper.types import Event, Miss, MissKind, Outcome, Output, Saved, SaveState, Snapshot, State, Task, TaskError


def test_a_history_grows_by_returning_a_new_one():
    """`add` leaves the old one as it was and numbers the events."""
    empty = History(Task("kie", "1"))

    one = empty.add(state("running"), NOON)
    two = one.add(state("succeeded"), NOON)

    assert (len(empty.events), len(one.events), [e.seq for e in two.events]) == (0, 1, [1, 2])
    assert (empty.state, one.state, two.state) == (None, State.RUNNING, State.SUCCEEDED)


OUTCOMES = {
    "nothing seen": ([], None),
    "only watched": ([mark("watching")], None),
    "running": ([state("running")], None),
    "unknown word": ([state("unknown")], None),
    "misses": ([Miss(kind=MissKind.NOT_FOUND)] * 9, None),
    "succeeded": ([state("succeeded")], "succeeded"),
    "failed": ([state("failed")], "failed"),
    "cancelled": ([state("cancelled")], "cancelled"),
    "expired": ([state("expired")], "expired"),
    "lost": ([state("running"), mark("lost")], "lost"),
    "stopped": ([state("running"), mark("stopped")], "stopped"),
    "the first final word stands": ([state("succeeded"), state("failed")], "succeeded"),
    "a final word is not taken back": ([state("failed"), state("running")], "failed"),
    "a final word replaces stopped": ([mark("stopped"), state("succeeded")], "succeeded"),
    "a final word replaces lost": ([mark("lost"), state("failed")], "failed"),
    "stopped after the end is nothing": ([state("succeeded"), mark("stopped")], "succeeded"),
    "a miss after stopped changes nothing": ([mark("stopped"), Miss(kind=MissKind.SERVER)], "stopped"),
    "running after stopped is still stopped": ([mark("stopped"), state("running")], "stopped"),
    "watched again": ([mark("lost"), mark("resumed")], None),
    "lost then stopped": ([mark("lost"), mark("stopped")], "stopped"),
}


@pytest.mark.parametrize(("seen", "outcome"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcomes_follow_from_the_events(seen, outcome):
    """The first final state is the outcome, also after `lost` or `stopped`; `resumed` takes those two back."""
    history = grown(*seen)

    assert history.outcome == outcome
    assert history.succeeded is (outcome == "succeeded")


@given(PAST)
def test_facts_grown_by_add_equal_facts_folded_from_all_events(past):
    """Facts after each event equal those folded from all events, and they agree with what the events say."""
    history, events, now = History(Task("mill", "x"), origin="o", uid="u"), [], NOON
    for seen, later in past:
        now += timedelta(seconds=later)
        history = history.add(seen, now)
        events.append(Event(history.seq, now, seen))
        again = History.of(history.task, events, origin="o", uid="u")
        assert again == history
        assert again.facts == history.facts

    facts = history.facts
    looks = [seen for seen, _ in past if isinstance(seen, Snapshot)]
    final = next((n for n, seen in enumerate(looks) if seen.state.final), None)
    counted = looks if final is None else looks[: final + 1]  # what the final word does not settle comes from any look
    assert facts.polls == sum(isinstance(seen, Snapshot | Miss) for seen, _ in past)
    assert facts.misses == facts.polls - len(looks)
    assert facts.latest is (counted[-1] if counted else None)
    assert facts.credits == newest(seen.credits for seen in counted)
    assert facts.model == newest(seen.model for seen in counted)
    assert facts.params == (newest(seen.params or None for seen in counted) or {})
    assert facts.created == newest(seen.created_at for seen in reversed(looks))
    assert facts.started == newest(seen.started_at for seen in reversed(looks))
    assert facts.finished == (None if final is None else looks[final].finished_at)
    assert final is None or history.outcome == looks[final].state.value


def newest(values):
    """The last of some values that is not None; None where there is none."""
    return next((value for value in reversed(list(values)) if value is not None), None)


@given(PAST)
def test_a_pickled_history_keeps_its_facts(past):
    """A pickled history is the same one, facts included, although it no longer has the events that they come from."""
    history = grown(*[seen for seen, _ in past])

    again = pickle.loads(pickle.dumps(history))

    assert again == history
    assert again.facts == history.facts
    assert again.facts.outputs is not history.facts.outputs or not history.facts.outputs
    assert hash(again) == hash(history)


def looked(n):
    """A history after `n` looks at a running task, each with parameters and a reply of its own."""
    params = {"prompt": "an owl of carved wood " * 10}
    looks = (
        state("running", progress=i / n, params=dict(params), reply=f'{{"n":{i},"prompt":"{params["prompt"]}"}}')
        for i in range(n)
    )
    return grown(mark("watching"), *looks)


@pytest.mark.parametrize("n", [0, 5, 7, 8, 300])
def test_a_history_holds_its_newest_eight_events(n):
    """The newest 8 events keep their numbers, the newest snapshot alone its reply and parameters; facts count all."""
    history = looked(n) if n else grown(mark("watching"))
    snapshots = [e.seen for e in history.events if isinstance(e.seen, Snapshot)]

    assert [e.seq for e in history.events] == list(range(max(1, n - 6), n + 2))
    assert history.seq == n + 1
    assert history.facts.polls == n
    assert [s.raw["n"] for s in snapshots if s.reply] == [n - 1][: len(snapshots)]
    assert [bool(s.params) for s in snapshots] == [s.reply is not None for s in snapshots]
    assert not n or history.snapshot is snapshots[-1]


def test_the_newest_snapshot_keeps_its_reply_behind_later_misses_and_files():
    """A miss or a saved file leaves the newest snapshot whole; an older one loses its reply and the bytes in it."""
    named = Output(name="a", data=b"x" * 1000)
    history = grown(
        state("running", reply="{}", outputs=(named,)),
        state("running", reply='{"a":1}', params={"seed": 1}),
        miss("network"),
        Saved(name="a", file="/f"),
    )

    older, newest = (e.seen for e in history.events[:2])
    assert (older.reply, older.outputs[0].data, history.outputs[0].data) == (None, None, named.data)
    assert (newest.raw, newest.params) == ({"a": 1}, {"seed": 1})


def test_memory_does_not_grow_with_looks():
    """A history after a thousand looks is no larger than one after sixty."""
    sizes = []
    for n in (60, 1000):
        tracemalloc.start()
        try:
            kept = [looked(n) for _ in range(10)]
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0] / len(kept))
        finally:
            tracemalloc.stop()

    assert sizes[1] < sizes[0] * 1.25
    assert sizes[1] < 8000


def test_histories_can_stand_in_a_set():
    """Equal histories have equal hashes; a longer one is another, and so is one of another row or origin."""
    history = looked(3)
    same = looked(3)
    others = [history.add(state("running"), NOON), replace(history, uid="v"), replace(history, origin="http://other")]

    assert len({history, same}) == 1
    assert len({history, *others}) == 4
    assert all(history != other for other in others)


def test_progress_never_steps_back():
    """`facts.progress` is the largest progress that any reply stated."""
    history = grown(state("running", progress=0.5), state("running", progress=0.2), state("running"))

    assert history.facts.progress == 0.5


def test_credits_are_none_until_a_reply_states_them():
    """`credits` is None until a reply states them; a stated 0 is 0, and a later reply without credits keeps them."""
    assert grown(state("running")).credits is None
    assert grown(state("succeeded", credits=0.0)).credits == 0.0
    assert grown(state("running", credits=3.0), state("succeeded")).credits == 3.0


def test_a_final_reply_without_credits_model_or_params_keeps_the_earlier_ones():
    """Credits, model and parameters that an earlier reply stated stay known."""
    facts = grown(state("running", credits=3.0, model="m", params={"seed": 1}), state("succeeded")).facts

    assert (facts.credits, facts.model, facts.params) == (3.0, "m", {"seed": 1})


def test_a_finish_time_counts_only_in_a_final_reply():
    """A finish beside `running`, which some APIs set at each change, is ignored; nor is it kept for the end."""
    running = grown(state("running", finished_at=NOON))

    assert running.facts.finished is None
    assert running.add(state("succeeded"), NOON).facts.finished is None
    assert running.add(state("succeeded", finished_at=NOON), NOON).facts.finished == NOON


def test_a_look_after_the_final_reply_changes_only_links():
    """After the final reply credits, model, parameters and snapshot stay; only fresh links are taken."""
    final = state("succeeded", credits=30.0, model="m", params={"seed": 1}, outputs=(Output(name="a", url="old"),))
    later = state("running", credits=5.0, model="n", params={"seed": 2}, outputs=(Output(name="a", url="new"),))

    history = grown(final, later)

    assert (history.credits, history.facts.model, history.facts.params) == (30.0, "m", {"seed": 1})
    assert [o.url for o in history.outputs] == ["new"]
    assert history.snapshot is final
    assert history.facts.polls == 2


def test_a_newer_reply_has_the_fresher_link():
    """A newer reply replaces an output's link, also after the final reply; the state does not change."""
    history = grown(
        state("succeeded", outputs=(Output(name="a", url="old"),)),
        state("running", outputs=(Output(name="a", url="new"),)),
    )

    assert [o.url for o in history.outputs] == ["new"]
    assert history.outcome is Outcome.SUCCEEDED


def test_a_history_is_settled_with_an_outcome_and_no_pending_output():
    """`settled` is True once there is an outcome and every output is saved or given up."""
    output = Output(name="a", url="u")
    named = grown(state("succeeded", outputs=(output,)))

    assert not named.settled
    assert named.save_state("a") is SaveState.PENDING
    assert named.add(Saved(name="a", file="/f"), NOON).settled
    assert named.add(Saved(name="a", state=SaveState.FAILED), NOON).settled
    assert not grown(state("running")).settled


def test_raise_for_failure_raises_unless_the_task_succeeded():
    """`raise_for_failure` returns the history of a success; else it raises `TaskFailed` with the history."""
    good = grown(state("succeeded"))
    assert good.raise_for_failure() is good

    for seen, words in (
        ([state("failed", error=TaskError("7", "bad"))], "failed: 7 bad"),
        ([mark("lost")], "lost: because lost; .*looks again"),
        ([state("running")], "not finished"),
    ):
        with pytest.raises(nbh.TaskFailed, match=words) as caught:
            grown(*seen).raise_for_failure()
        assert pickle.loads(pickle.dumps(caught.value)).history == caught.value.history


def test_files_are_in_the_order_of_the_outputs():
    """`files` has the order of the outputs, not of saving; equal bytes are one file, at their first output."""
    named = tuple(Output(name=name, url=f"http://cdn/{name}") for name in "abcd")
    saves = (Saved(name=name, file=f"/{file}") for name, file in (("d", "x"), ("c", "y"), ("b", "x")))
    history = grown(state("succeeded", outputs=named), *saves)

    assert [str(path) for path in history.files] == ["/x", "/y"]
    assert [str(path) for path in history.add(Saved(name="a", file="/z"), NOON).files] == ["/z", "/x", "/y"]
