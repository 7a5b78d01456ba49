"""Damage to rows and indexes by which a task is watched, or a create paid for, again: no row is lost silently."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from nbhelper._model.events import Mark, Snapshot
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, State
from nbhelper._model.task import Task
from nbhelper._store.filter import EVERYTHING
from nbhelper._store.folder import FOLDER
from nbhelper._store.store import Store

ORIGIN = "https://api.example"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    """A closed store: one task that came of a create and succeeded, and one create in doubt."""
    store = Store(tmp_path / FOLDER)
    history = store.intent_created(_sent(store, "made"), Task("kie", "t1", label="an owl")).result()
    history = history.add(Snapshot(state=State.SUCCEEDED, word="ok"), NOON)
    store.append(history.uid, history.events[-1:], links={"a": "https://cdn.example/a"}, summary=history).result()
    store.intent_in_doubt(_sent(store, "doubt"), "connection reset").result()
    store.fingerprint("a key")
    store.close()
    return tmp_path / FOLDER


def _sent(store, digest):
    uid = store.begin_intent(
        provider="kie", origin=ORIGIN, request_digest=digest, experiment="owls", repeat=1, cell=digest
    ).result()
    store.intent_sent(uid).result()
    return uid


def changed(folder, sql):
    """Change or delete rows."""
    with closing(sqlite3.connect(folder / "history.db")) as db:
        assert db.execute(sql).rowcount > 0
        db.commit()


def unindexed(folder, index):
    """Flip a bit in one entry of an index, so that it leads to no row."""
    with closing(sqlite3.connect(folder / "history.db")) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (index,)).fetchone()
        size = db.execute("PRAGMA page_size").fetchone()[0]
    with (folder / "history.db").open("r+b") as file:
        file.seek((root - 1) * size)
        page = bytearray(file.read(size))
        cell = int.from_bytes(page[8:10], "big")
        text = next(n for n in range(cell, size) if page[n : n + 2].isalnum())
        page[text] ^= 1
        file.seek((root - 1) * size)
        file.write(page)


def read(folder):
    """What decides whether something is watched or paid for again, and whether the store has notes."""
    store = Store(folder)
    history = store.find(Task("kie", "t1"), ORIGIN)
    submitted = store.find_submitted("kie", ORIGIN, "made")
    facts = {
        "task": history and history.task.label,
        "submitted": submitted and submitted.task.id,
        "pending": [row["pending"] for row in store.pending_rows(EVERYTHING)],
        "creates": [create.state for create in store.creates("owls")],
    }
    store.close()
    return facts, bool(store.notes)


WHOLE = {"task": "an owl", "submitted": "t1", "pending": ["in doubt"], "creates": ["created", "in_doubt"]}


def test_an_undamaged_store(folder):
    """An undamaged store gives `WHOLE`, and no note."""
    assert read(folder) == (WHOLE, False)


@pytest.mark.parametrize(
    "index", ["tasks_identity", "tasks_experiment", "intents_request", "intents_open", "sqlite_autoindex_tasks_1"]
)
def test_a_damaged_index_hides_no_row(folder, index):
    """A damaged entry of an index is noticed on opening, and the index is made again from the rows."""
    unindexed(folder, index)

    assert read(folder) == (WHOLE, True)
    assert len(list(folder.glob("*.aside"))) == 1
    assert read(folder) == (WHOLE, False)


def test_one_bad_cell_in_the_schema_hides_no_row(folder):
    """A file whose first page names one cell more than it has is set aside, and all its rows are carried over."""
    path = folder / "history.db"
    damaged = bytearray(path.read_bytes())
    damaged[104] += 1  # the number of cells, behind the header of 100 bytes and three more
    path.write_bytes(damaged)

    assert read(folder) == (WHOLE, True)
    assert len(list(folder.glob("*.aside"))) == 1


def test_a_create_whose_state_is_unknown_is_in_doubt(folder):
    """A create without a row in `intents` is listed as in doubt, since it may have been sent."""
    changed(folder, "DELETE FROM intents WHERE state = 'in_doubt'")
    facts, _ = read(folder)

    assert facts == WHOLE


@pytest.mark.parametrize("sql", ["UPDATE meta SET value = 'no hex'", "DELETE FROM meta"], ids=["changed", "gone"])
def test_a_damaged_salt_is_made_anew(folder, sql):
    """A missing or damaged salt is replaced, and two stores of the folder give equal fingerprints."""
    changed(folder, sql)
    stores = [Store(folder), Store(folder)]

    assert stores[0].fingerprint("k") == stores[1].fingerprint("k")
    for store in stores:
        store.close()


def hidden(folder, table, keep):
    """Overwrite the page that leads to a table's rows, or to all but those with the first ids; the damaged bytes."""
    path = folder / "history.db"
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        size = db.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * size + keep)
        file.write(b"\xff" * (size - keep))
    return path.read_bytes()


def test_lost_task_rows_are_restored_from_summaries(folder):
    """Where the table `tasks` cannot be read, its rows are made again from `summaries`."""
    before = hidden(folder, "tasks", 0)

    assert read(folder) == (WHOLE, True)
    (kept,) = folder.glob("*.aside")
    assert kept.read_bytes() == before
    assert read(folder) == (WHOLE, False)


def test_lost_summaries_are_made_again(folder):
    """Where the table `summaries` cannot be read, its rows are made again from the events."""
    store = Store(folder)
    rows = store.rows()
    store.close()
    hidden(folder, "summaries", 0)
    store = Store(folder)

    assert store.rows() == rows
    assert "2 tasks with 5 observations could be read and are in the new history." in store.notes[0]
    store.close()


@pytest.mark.parametrize("table", ["events", "intents", "links", "replies", "prices", "meta"])
def test_a_lost_table_takes_no_other_with_it(folder, table):
    """Where one table cannot be read, the rows of all others are kept, and a create without an answer is in doubt."""
    hidden(folder, table, 0)
    facts, has_notes = read(folder)

    assert has_notes
    assert facts["pending"] == ["in doubt"]
    assert facts["creates"] == ["created", "in_doubt"]
    assert facts["task"] == "an owl"


def test_rows_before_and_behind_a_broken_page_are_kept(tmp_path):
    """Of a table with many pages of which one cannot be read, the rows of all others are carried over."""
    store = Store(tmp_path / FOLDER)
    history = store.open_task(Task("kie", "t1"), ORIGIN).result()
    events = []
    for number in range(300):
        history = history.add(Miss(kind=MissKind.SERVER, excerpt=f"{number}-" + "x" * 400), NOON)
        events.append(history.events[-1])
    store.append(history.uid, events, summary=history).result()
    store.close()
    path = tmp_path / FOLDER / "history.db"
    data = bytearray(path.read_bytes())
    place = data.index(b'"excerpt":"150-') // 4096 * 4096
    data[place : place + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    again = Store(tmp_path / FOLDER)
    kept = {event.seen.excerpt.partition("-")[0] for event in again.events(history.uid)}
    again.close()

    assert 280 <= len(kept) < 300
    assert {"0", "140", "160", "299"} <= kept


def test_a_task_that_lost_its_final_event_is_unfinished(folder):
    """A task whose final snapshot is lost is listed as unfinished."""
    changed(folder, "DELETE FROM events WHERE kind = 'snapshot'")
    hidden(folder, "summaries", 0)
    store = Store(folder)
    history = store.find(Task("kie", "t1"), ORIGIN)
    rows = store.pending_rows(EVERYTHING)
    store.close()

    assert [event.seen for event in history.events] == [Mark(word=MarkWord.SUBMITTING), Mark(word=MarkWord.SUBMITTED)]
    assert sorted(row["pending"] for row in rows) == ["in doubt", "unfinished"]
