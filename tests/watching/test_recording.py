"""Recording what is seen: one observation after the other, in the store before anybody is told."""

import asyncio
import sqlite3
import threading
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime

import pytest
from support.mill import DONE, QUEUED, WORKING
from support.waiting import until
from support.watched import looks, watch

import nbhelper as nbh
from nbhelper._model.history import History
from nbhelper._session import session
from nbhelper._store.store import Store
from nbhelper._watching.recording import Recorder, merged
from nbhelper.types import Miss, MissKind, Outcome, Output, Snapshot, State, Task

SEEN = [Snapshot(state=State.QUEUED), Miss(kind=MissKind.NETWORK), Snapshot(state=State.RUNNING)]


class StoredAtEachCall(Recorder):
    """A recorder that keeps what was in the store each time that it told of something new."""

    def __init__(self, store):
        self.store, self.stored = store, []
        history = store.open_task(Task("kie", "1"), "https://api.kie.ai").result()
        super().__init__(history, store, self.keep_what_is_stored)

    def keep_what_is_stored(self):
        self.stored.append([event.seen for event in self.store.load(self.history.uid).events])


@pytest.fixture
def recorder(tmp_path):
    """A recorder on a store of its own."""
    store = Store(tmp_path / "nbhelper-data")
    yield StoredAtEachCall(store)
    store.close()


def test_what_is_recorded_together_keeps_its_order(recorder):
    """Each observation is in the store when it is told, and the next one stands behind it."""

    async def main():
        await asyncio.gather(*(recorder.record(seen) for seen in SEEN))

    asyncio.run(main())

    assert [event.seen for event in recorder.history.events] == SEEN
    assert recorder.stored == [SEEN[:1], SEEN[:2], SEEN]


def test_what_was_seen_is_kept_when_its_caller_is_cancelled(recorder):
    """Cancelled while another process has the history locked, it is written and told all the same."""

    async def main():
        with closing(sqlite3.connect(recorder.store.folder / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            calls = [asyncio.create_task(recorder.record(seen)) for seen in SEEN]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert not recorder.history.events
            other.execute("ROLLBACK")
        while writing := recorder._writes:
            await asyncio.wait(writing)
        return ended

    ended = asyncio.run(main())

    assert [type(error) for error in ended] == [asyncio.CancelledError] * 3
    assert recorder.stored[-1] == SEEN


def test_each_observation_is_in_the_store_before_it_is_shown(mill):
    """Whatever a handle shows can be read back at that very moment."""
    handle = watch(mill.job(QUEUED, WORKING, DONE))
    shown = []

    def compare():
        history = handle[0]
        stored = [event for event in session.store().events(history.uid) if event.seq <= history.seq]
        shown.append(History.of(history.task, stored).events == history.events)

    handle.on_change(compare)
    handle.result(30)

    assert shown
    assert all(shown)


def test_a_store_that_fails_is_loud_and_stops_nothing(mill, monkeypatch, logged):
    """With a full disk looking goes on in memory, each failure is logged, and the next write brings everything."""
    store = session.store()
    real, failing = store.append, threading.Event()
    failing.set()

    def append(*args, **kwargs):
        if not failing.is_set():
            return real(*args, **kwargs)
        refused = Future()
        refused.set_exception(nbh.StoreError("the disk is full"))
        return refused

    monkeypatch.setattr(store, "append", append)
    handle = watch(mill.job(WORKING))
    until(lambda: len(looks(handle[0])) >= 2)
    assert "the disk is full" in logged.text
    failing.clear()
    mill.jobs["job-1"][:] = [DONE]
    history = handle.result(30)

    assert history.outcome is Outcome.SUCCEEDED
    assert store.load(history.uid).events == history.events


def test_a_history_read_back_gets_what_the_store_does_not_keep():
    """Bytes that are not saved yet and whole links come from this process, unless the store has a newer link."""
    now = datetime.now(UTC)
    outputs = Output(name="a", data=b"x"), Output(name="b", url="https://c/b?s=1"), Output(name="c", url="https://c/c")
    in_store = Output(name="a"), Output(name="b", url="https://c/b"), Output(name="c", url="https://c/new")
    known = History(Task("kie", "1")).add(Snapshot(state=State.RUNNING, outputs=outputs), now)
    stored = History(Task("kie", "1")).add(Snapshot(state=State.RUNNING, outputs=in_store), now)

    both = merged(stored, known)

    assert both == stored
    assert [(o.name, o.url, o.data) for o in both.outputs] == [
        ("a", None, b"x"), ("b", "https://c/b?s=1", None), ("c", "https://c/new", None),
    ]  # fmt: skip
