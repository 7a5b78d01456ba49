"""The durations of an API's tasks, read from the store and kept up as tasks end."""

from datetime import UTC, datetime, timedelta

import pytest
from support.mill import DONE, FLOOR, WORKING
from support.watched import watch

import nbhelper as nbh
from nbhelper._model.history import History
from nbhelper._store.store import Store
from nbhelper._watching.past import Past
from nbhelper.types import Mark, MarkWord, Snapshot, State, Task


def remember(store, seconds, *, model=None, over=True, name="before"):
    """Tasks that were submitted, queued for a second, ran and ended, or were stopped, in the store."""
    begun = datetime(2026, 11, 1, tzinfo=UTC)
    for n, run in enumerate(seconds):
        history = store.open_task(Task("mill", f"{name}-{n}"), "http://mill", model=model).result()
        steps = [
            (0.0, Mark(word=MarkWord.SUBMITTED)),
            (0.9, Snapshot(state=State.QUEUED)),
            (1.1, Snapshot(state=State.RUNNING)),
            (0.9 + run, Snapshot(state=State.RUNNING)),
            (1.1 + run, Snapshot(state=State.SUCCEEDED) if over else Mark(word=MarkWord.STOPPED)),
        ]
        for at, seen in steps:
            history = history.add(seen, begun + timedelta(seconds=at))
        store.append(history.uid, history.events, summary=history).result()


def test_the_past_is_told_by_model(tmp_path):
    """A model's own durations count where there are three; the API's others stand in before."""
    store = Store(tmp_path / "s")
    remember(store, [10.0] * 4, model="quick", name="q")
    remember(store, [100.0] * 4, model="slow", name="s")
    remember(store, [50.0], model="rare", name="r")
    past = Past.read(store, "mill", "http://mill")

    def mean(model):
        history = History(Task("mill", "x", params={"model": model}))
        return past.of(history).run.left(0.0)[0]

    assert 5 < mean("quick") < 20
    assert 60 < mean("slow") < 200
    assert mean("rare") == mean("unheard of") > mean("quick")
    assert past.of(History(Task("mill", "x"))).queue.left(0.0)[0] == pytest.approx(1.0, abs=0.6)
    assert Past.read(store, "mill", "http://elsewhere").of(History(Task("mill", "x"))).run is None
    store.close()


def test_what_was_stopped_counts_as_longer(tmp_path):
    """Tasks stopped at 30 s are known to have lasted so long: the curve moves up."""
    store, means = Store(tmp_path / "s"), []
    remember(store, [20.0, 25.0, 30.0, 35.0, 40.0])
    for _ in range(2):
        means.append(Past.read(store, "mill", "http://mill").of(History(Task("mill", "x"))).run.left(0.0)[0])
        remember(store, [30.0] * 5, over=False, name="stopped")

    assert means[1] > means[0] + 2
    store.close()


def test_a_process_learns_from_what_it_watched(mill, fresh_engine):
    """Once a few have ended, the second look waits for when those ended, where the first task's came at the floor."""

    def watched(ident, *looks):
        mill.job(*looks, ident=ident)
        mill.creates[:] = [{"id": ident}]
        assert watch(nbh.submit("mill", {"prompt": "a"}, endpoint="image")).result(30).succeeded

    for ident in ("a", "b", "c"):
        watched(ident, *[WORKING] * 5, DONE)
    watched("last", WORKING, DONE)

    assert mill.starts("mill:last")[0] > mill.starts("mill:a")[0] + FLOOR
