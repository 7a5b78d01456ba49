"""Damage in what decides whether something is watched, or paid for, again: nothing of it is hidden in silence."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from nbhelper._filter import EVERYTHING
from nbhelper._resume import pending_rows
from nbhelper._store import FOLDER, Store
from nbhelper._task import Task
from nbhelper._values import Mark, MarkWord, Snapshot, State

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
    """Change rows and leave their digests: what an index does not hold is changed as a flipped bit changes it."""
    with closing(sqlite3.connect(folder / "history.db")) as db:
        assert db.execute(sql).rowcount > 0
        db.commit()


def unindexed(folder, index):
    """Take one entry out of an index, as a flipped bit does that makes it another one."""
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
    """Everything that decides, and whether anything was said."""
    store = Store(folder)
    found = store.find(Task("kie", "t1"), ORIGIN)
    submitted = store.find_submitted("kie", ORIGIN, "made")
    facts = {
        "task": found and found.task.label,
        "submitted": submitted and submitted.task.id,
        "pending": [row["pending"] for row in pending_rows(store, EVERYTHING)],
        "creates": [create.state for create in store.creates("owls")],
    }
    store.close()
    return facts, bool(store.notes)


WHOLE = {"task": "an owl", "submitted": "t1", "pending": ["in doubt"], "creates": ["created", "in_doubt"]}


def test_unhurt(folder):
    """What the tests below must find, and nothing is said."""
    assert read(folder) == (WHOLE, False)


@pytest.mark.parametrize(
    "index", ["tasks_identity", "tasks_experiment", "intents_request", "intents_open", "sqlite_autoindex_tasks_1"]
)
def test_an_index_hides_nothing(folder, index):
    """An index that leads to a row no more is noticed on opening, and made anew from the rows."""
    unindexed(folder, index)

    assert read(folder) == (WHOLE, True)
    assert len(list(folder.glob("*.aside"))) == 1
    assert read(folder) == (WHOLE, False)


@pytest.mark.parametrize("what", ["fingerprint = 'x'", "model = 'x'", "params = '{\"a\":1}'"])
def test_a_damaged_task_is_told_by_its_summary(folder, what):
    """A task's row that cannot be trusted is read from the one that sums it up."""
    changed(folder, f"UPDATE tasks SET {what}")

    assert read(folder) == (WHOLE, True)


def test_a_damaged_task_is_healed(folder):
    """Opened again, it has a row of its own again, with what its summary knows."""
    changed(folder, "UPDATE tasks SET fingerprint = 'x' WHERE id = 't1'")
    store = Store(folder)
    store.open_task(Task("kie", "t1"), ORIGIN).result()
    store.close()
    again = Store(folder)

    assert again.find(Task("kie", "t1"), ORIGIN).task.label == "an owl"
    assert again.notes == []
    again.close()


@pytest.mark.parametrize("sql", ["UPDATE intents SET note = 'x'", "DELETE FROM intents"], ids=["changed", "gone"])
def test_a_create_whose_state_is_unknown_is_in_doubt(folder, sql):
    """What may have been sent is listed, also when nothing tells any more how far it came."""
    changed(folder, f"{sql} WHERE state = 'in_doubt'")
    facts, _ = read(folder)

    assert facts == WHOLE


def test_a_damaged_create_is_not_made_twice(folder):
    """A task that came of a create is found by its request, though the create's own row cannot be trusted."""
    changed(folder, "UPDATE intents SET body_digest = 'x' WHERE state = 'created'")
    facts, _ = read(folder)

    assert facts == WHOLE


def test_a_damaged_create_is_not_signed_anew(folder):
    """What is done to it goes on, and what it said before is forgotten instead of believed."""
    changed(folder, "UPDATE intents SET body_digest = 'x' WHERE state = 'in_doubt'")
    store = Store(folder)
    (uid,) = store.doubtful()
    store.intent_created(uid, Task("kie", "found")).result()
    store.close()
    with closing(sqlite3.connect(folder / "history.db")) as db:
        row = db.execute("SELECT state, body_digest FROM intents WHERE uid = ?", (uid,)).fetchone()

    assert row == ("created", None)
    assert "Damaged rows" in store.notes[0]


def test_another_origin_is_not_believed(folder):
    """Where a create was sent is told by whole rows alone."""
    changed(folder, "UPDATE tasks SET origin = 'https://other.example' WHERE id IS NULL")
    store = Store(folder)
    origins = {create.origin for create in store.creates("owls")}
    store.close()

    assert origins == {ORIGIN}


def test_a_damaged_salt_is_said(folder):
    """Fingerprints that say nothing any more are no silent "this is another key"."""
    changed(folder, "UPDATE meta SET value = 'ff'")
    store = Store(folder)
    store.fingerprint("a key")
    store.close()

    assert "Damaged rows" in store.notes[0]


def test_a_lost_row_of_a_finished_task_stays_unfinished(folder):
    """A history that lost its end is watched again, not forgotten."""
    changed(folder, "DELETE FROM events WHERE kind = 'snapshot'")
    changed(folder, "DELETE FROM summaries")
    store = Store(folder)
    found = store.find(Task("kie", "t1"), ORIGIN)
    rows = pending_rows(store, EVERYTHING)
    store.close()

    assert [event.seen for event in found.events] == [Mark(word=MarkWord.SUBMITTING), Mark(word=MarkWord.SUBMITTED)]
    assert sorted(row["pending"] for row in rows) == ["in doubt", "unfinished"]
