"""Writes beside others: in one transaction, from another process, or in a file that was deleted and made again."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from support.stored import DONE, NOON, ORIGIN, grown, kept, opened

from nbhelper._model.events import Mark, Snapshot
from nbhelper._model.json_text import dumps
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, State
from nbhelper._model.task import Task
from nbhelper._store.store import Store


def test_many_writes_share_few_transactions(store):
    """Writes that are queued while a transaction runs go into the next one together."""
    opened(store)
    commits = []
    writer = store._writer
    original = writer._write
    writer._write = lambda batch: (commits.append(len(batch)), original(batch))
    futures = [store.open_task(Task("kie", f"n{n}"), ORIGIN) for n in range(500)]
    histories = [future.result() for future in futures]

    assert len({history.uid for history in histories}) == 500
    assert sum(commits) == 500
    assert len(commits) < 100


def test_one_failing_write_loses_no_other(store):
    """A write that fails inside a shared transaction takes nothing of the others back."""

    def bad(db):
        db.execute("DELETE FROM tasks")
        raise ValueError("mine")

    futures = [
        store.open_task(Task("kie", "1"), ORIGIN),
        store._writer.put(bad),
        store.open_task(Task("kie", "2"), ORIGIN),
    ]

    with pytest.raises(ValueError, match="mine"):
        futures[1].result()
    assert [future.result().task.id for future in (futures[0], futures[2])] == ["1", "2"]
    assert len(store.rows()) == 2


def test_a_write_outlives_a_cancelled_wait(store):
    """Cancelling the wait does not cancel the write."""
    history = grown(opened(store), DONE)

    async def give_up():
        waiting = asyncio.ensure_future(asyncio.wrap_future(store.append(history.uid, history.events, summary=history)))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(give_up())
    store.close()

    assert store.rows()[0]["outcome"] == "succeeded"


def test_closing_is_not_final(store):
    """A closed store opens again at its next use; closing twice is fine."""
    opened(store)
    store.close()
    store.close()

    assert opened(store, "t2").task.id == "t2"
    assert len(store.rows()) == 2


# Other processes


def looked_at(store, count=3):
    """Tasks that go on: each has been looked at twice."""
    return [
        kept(store, opened(store, f"t{n}"), *[Snapshot(state=State.RUNNING, progress=0.1 * k) for k in (1, 2)])
        for n in range(count)
    ]


def looked_again(store, histories):
    """One more look at each, in one transaction; whether each has its number, and the histories with it."""
    seen = Snapshot(state=State.RUNNING, progress=0.3)
    longer = [history.add(seen, NOON + timedelta(minutes=len(history.events))) for history in histories]
    futures = [store.append(history.uid, history.events[-1:], summary=history) for history in longer]
    store._writer.put(lambda _: None)
    return [future.result() for future in futures], longer


def test_looks_that_met_another_process(store):
    """Of looks that are written together, the one whose number is taken gets the next free one; all are kept."""
    histories = looked_at(store)
    other = Store(store.folder)
    kept(other, histories[1], Miss(kind=MissKind.NETWORK))
    other.close()
    numbered, longer = looked_again(store, histories)

    kept_numbers = [[event.seq for event in store.load(history.uid).events] for history in longer]
    assert numbered == [True, False, True]
    assert kept_numbers == [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3]]
    assert [row["polls"] for row in store.rows()] == [3, 4, 3]


def test_a_number_already_taken(store):
    """Two watchers of one task lose nothing: the second one's observation takes the next free number."""
    mine = theirs = opened(store)
    mine = kept(store, mine, Mark(word=MarkWord.WATCHING, note="mine"))
    kept(store, theirs, Mark(word=MarkWord.WATCHING, note="theirs"), DONE)
    kept(store, mine, Miss(kind=MissKind.NETWORK))
    read = store.load(mine.uid)

    assert [event.seq for event in read.events] == [1, 2, 3, 4]
    assert [getattr(event.seen, "note", None) for event in read.events] == ["mine", "theirs", None, None]
    row = store.rows()[0]
    assert (row["outcome"], row["polls"], row["misses"]) == ("succeeded", 2, 1)


def test_a_summary_that_another_process_wrote_is_written_whole(store):
    """Columns that another process filled in, and a summary that it deleted, are in the row after the next look."""
    history = kept(store, opened(store), Snapshot(state=State.RUNNING, progress=0.1))
    other = Store(store.folder)
    other.open_task(Task("kie", "t1", label="theirs"), ORIGIN).result()
    with closing(sqlite3.connect(store.folder / "history.db")) as db, db:
        db.execute("DELETE FROM summaries")
    history = kept(store, history, Snapshot(state=State.RUNNING, progress=0.2))
    with closing(sqlite3.connect(store.folder / "history.db")) as db, db:
        db.execute("DELETE FROM summaries")
    history = kept(store, history, Snapshot(state=State.RUNNING, progress=0.3))
    other.close()

    assert [(row["label"], row["polls"]) for row in store.rows()] == [("theirs", 3)]
    assert store.notes == []


# Files that were deleted and made again


def test_a_file_that_was_deleted_is_made_again(store):
    """When the folder is deleted under a running watch, the next append keeps all that is known in a new one."""
    history = kept(store, opened(store), Mark(word=MarkWord.WATCHING))
    for path in store.folder.iterdir():
        path.unlink()
    store.folder.rmdir()
    history = kept(store, history, DONE)

    assert len(store.load(history.uid).events) == 2
    assert store.rows()[0]["outcome"] == "succeeded"


def test_a_file_that_was_deleted_late_is_made_again(store):
    """After many looks a new file holds the newest 8 observations under their numbers, and the summary of all."""
    looks = [Snapshot(state=State.RUNNING, reply=dumps({"n": n})) for n in range(20)]
    history = kept(store, opened(store), *looks)
    for path in store.folder.iterdir():
        path.unlink()
    history = kept(store, history, Snapshot(state=State.SUCCEEDED, reply=dumps({"n": 20})))

    assert [event.seq for event in store.events(history.uid)] == list(range(14, 22))
    assert store.events(history.uid, 20) == list(history.events[-1:])
    assert store.load(history.uid).events == history.events
    assert len(store.event_rows()) == 8
    assert [row["polls"] for row in store.rows()] == [21]


def test_a_new_file_that_was_read_is_the_one_written_to(store):
    """The file was deleted under this process, and another one was made and has been read: writes go to that one."""
    opened(store, "t1")
    (store.folder / "history.db").unlink()
    other = Store(store.folder)
    opened(other, "t2")
    assert [row["task_id"] for row in store.rows()] == ["t2"]
    opened(store, "t3")

    assert [row["task_id"] for row in other.rows()] == ["t2", "t3"]
    other.close()
