"""When a file is checked for damage, how the user is warned of it, and how looks share a commit."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

import nbhelper as nbh
from nbhelper import StoreError
from nbhelper._model.events import Mark, Snapshot
from nbhelper._model.json_text import dumps
from nbhelper._model.states import MarkWord, State
from nbhelper._model.task import Task
from nbhelper._store import file as _database
from nbhelper._store import writer
from nbhelper._store.folder import FOLDER
from nbhelper._store.store import Store
from nbhelper._watching.watch import Watch

ORIGIN = "https://api.example"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def filled(folder, tasks=20):
    """A closed store with some tasks."""
    store = Store(folder)
    for number in range(tasks):
        history = store.open_task(Task("kie", f"t{number}"), ORIGIN).result()
        history = history.add(Snapshot(state=State.RUNNING, reply=dumps({"n": number, "x": "x" * 500})), NOON)
        store.append(history.uid, history.events, summary=history).result()
    store.close()
    return folder / "history.db"


def break_page(path, table):
    """Overwrite the head of one page of a table's tree."""
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        size = db.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * 8)


def statements(store):
    """Every statement of every connection that the store opens from now on."""
    executed = []
    open_ = store._database._open

    def traced():
        db = open_()
        db.set_trace_callback(executed.append)
        return db

    store._database._open = traced
    return executed


def test_a_small_file_is_checked_before_its_first_use(tmp_path):
    """The first read of a file of usual size finds a broken page, whatever it reads."""
    path = filled(tmp_path / FOLDER)
    break_page(path, "replies")
    store = Store(tmp_path / FOLDER)

    assert store.link("x", "a") is None
    assert "is damaged" in store.notes[0]
    assert len(store.rows()) == 20
    store.close()


def test_a_large_file_is_checked_when_it_gave_an_error(tmp_path, monkeypatch):
    """A large file is not checked at its first read; after SQLite reported damage, the next call replaces it."""
    path = filled(tmp_path / FOLDER)
    break_page(path, "replies")
    monkeypatch.setattr(_database, "SMALL", 1000)
    store = Store(tmp_path / FOLDER)
    executed = statements(store)
    (uid, *_) = (row["uid"] for row in store.rows())
    assert not [sql for sql in executed if "quick_check" in sql or "integrity_check" in sql]

    with pytest.raises(StoreError, match=r"is damaged\. The next call moves it aside"):
        store.load(uid)
    assert len(store.load(uid).events) == 1
    assert "20 tasks with 20 observations could be read" in store.notes[0]
    assert len(list(path.parent.glob("*.aside"))) == 1
    store.close()


def test_tasks_warns_once_of_what_is_missing(tmp_path, monkeypatch):
    """`tasks()` over a damaged history warns once of what was left out, and every `Watch` has the note."""
    path = filled(tmp_path / FOLDER, tasks=2)
    path.write_bytes(path.read_bytes()[:-4096])
    nbh.set_store(tmp_path / FOLDER)

    with pytest.warns(UserWarning, match="is damaged") as caught:
        nbh.tasks()
    nbh.tasks()
    nbh.outputs()
    store = nbh._session.session.store()
    watch = Watch([], [], single=False, saving=False, store=store)

    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert watch.notes == tuple(store.notes)
    store.close()


def test_looks_share_a_commit(tmp_path, monkeypatch):
    """Looks within one commit interval are written by one commit; an urgent write commits them at once."""
    monkeypatch.setattr(writer, "COMMIT_INTERVAL", 0.5)
    store = Store(tmp_path / FOLDER)
    histories = [store.open_task(Task("kie", f"t{n}"), ORIGIN).result() for n in range(10)]
    commits = []
    write = store._writer._write
    store._writer._write = lambda batch: (commits.append(len(batch)), write(batch))

    def look(number):
        longer = histories[number].add(Mark(word=MarkWord.WATCHING), NOON + timedelta(seconds=number))
        return store.append(longer.uid, longer.events, summary=longer)

    futures = [look(0)]
    futures[0].result(30)
    futures += [look(number) for number in range(1, 5)]
    urgent = store.open_task(Task("kie", "urgent"), ORIGIN)
    urgent.result(30)
    assert all(future.done() for future in futures)
    futures += [look(number) for number in range(5, 10)]
    store.close()

    assert all(future.done() for future in futures)
    assert sum(commits) == 11
    assert len(commits) <= 3


def test_close_does_not_wait_for_the_commit_interval(tmp_path, monkeypatch):
    """`close()` writes at once what still waits for the commit interval."""
    monkeypatch.setattr(writer, "COMMIT_INTERVAL", 60.0)
    store = Store(tmp_path / FOLDER)
    history = store.open_task(Task("kie", "t"), ORIGIN).result()
    longer = history.add(Mark(word=MarkWord.WATCHING), NOON)
    future = store.append(history.uid, longer.events, summary=longer)
    begun = time.monotonic()
    store.close()

    assert future.done()
    assert time.monotonic() - begun < 30
