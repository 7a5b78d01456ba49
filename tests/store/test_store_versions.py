"""A history with the tables of another version: renamed, never written; and a version that changes during use."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from nbhelper import StoreError
from nbhelper._model.events import Mark
from nbhelper._model.states import MarkWord
from nbhelper._model.task import Task
from nbhelper._store import schema
from nbhelper._store.folder import FOLDER
from nbhelper._store.store import Store

ORIGIN = "https://api.example"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SCHEMAS = {1003: "f7be454eb57fb207"}
"""By version number, the digest of the CREATE statements of its tables."""


@pytest.fixture
def folder(tmp_path):
    """A closed store with one task."""
    store = Store(tmp_path / FOLDER)
    store.open_task(Task("kie", "old"), ORIGIN).result()
    store.close()
    return tmp_path / FOLDER


def numbered(folder, version):
    """Give the history another version number; returns its bytes."""
    with closing(sqlite3.connect(folder / "history.db")) as db:
        db.execute(f"PRAGMA user_version = {version}")
    return (folder / "history.db").read_bytes()


def test_a_change_of_the_tables_raises_the_number():
    """Each version number stands for one set of tables: a change of them needs the next number, and its digest here."""
    statements = "\n".join(sorted(schema.expected_schema()))

    assert SCHEMAS[schema.VERSION] == hashlib.sha256(statements.encode()).hexdigest()[:16]


@pytest.mark.parametrize("version", [0, 2, 1000, 1999])
@pytest.mark.parametrize("use", ["read", "write"])
def test_another_number_is_renamed(folder, version, use):
    """An older or newer file is kept whole as `history-<number>.db` and named in one note; a new one is made."""
    before = numbered(folder, version)
    store = Store(folder)
    if use == "write":
        store.open_task(Task("kie", "new"), ORIGIN).result()
    idents = [row["task_id"] for row in store.rows()]
    store.close()

    assert idents == (["new"] if use == "write" else [])
    assert (folder / f"history-{version}.db").read_bytes() == before
    (note,) = store.notes
    assert f"another version of nbhelper ({version}, here {schema.VERSION})" in note
    assert f"kept as history-{version}.db" in note


def test_a_name_that_is_taken(folder):
    """A second file of one number gets a name of its own, and the first one stays as it is."""
    first = numbered(folder, 1000)
    for ident in ("a", "b"):
        store = Store(folder)
        store.open_task(Task("kie", ident), ORIGIN).result()
        store.close()
        second = numbered(folder, 1000)
    Store(folder).rows()

    assert (folder / "history-1000.db").read_bytes() == first
    assert (folder / "history-1000-3.db").read_bytes() == second
    assert (folder / "history-1000-2.db").exists()


def test_a_version_that_changes_during_use(folder):
    """A file in use whose version another process changes is only read from then on; the error says what to do."""
    store = Store(folder)
    history = store.open_task(Task("kie", "mine"), ORIGIN).result()
    before = numbered(folder, schema.VERSION + 1)
    longer = history.add(Mark(word=MarkWord.WATCHING), NOON)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"only read from here\. Restart this kernel"):
            store.append(longer.uid, longer.events, summary=longer).result()

    assert [row["task_id"] for row in store.rows()] == ["old", "mine"]
    assert (folder / "history.db").read_bytes() == before
    assert list(folder.glob("history-*")) == []
    store.close()


def test_a_new_file_of_another_version_during_use(folder):
    """A file that another version makes in place of one in use is not renamed: calls raise StoreError."""
    store = Store(folder)
    assert len(store.rows()) == 1
    (folder / "history.db").rename(folder / f"history-{schema.VERSION}.db")
    with closing(sqlite3.connect(folder / "history.db")) as db:
        db.execute("CREATE TABLE tasks (uid)")
        db.execute(f"PRAGMA application_id = {schema.APPLICATION}")
    before = numbered(folder, 1999)

    with pytest.raises(StoreError, match="the number 1999, here it is"):
        store.open_task(Task("kie", "mine"), ORIGIN).result()
    with pytest.raises(StoreError, match="the number 1999, here it is"):
        store.rows()
    assert (folder / "history.db").read_bytes() == before
    store.close()


def test_many_processes_meet_another_number(python, folder):
    """Processes that open a file of another version at once rename it once, and share the new history."""
    script = """
import sys
from nbhelper._store.store import Store
from nbhelper._model.task import Task
Store(sys.argv[1]).open_task(Task("kie", sys.argv[2]), "https://api.example").result()
"""
    before = numbered(folder, 1000)
    for child in [python(script, folder, n) for n in range(4)]:
        assert child.communicate(timeout=60) == ("", "")
    store = Store(folder)

    assert len(store.rows()) == 4
    assert [path.name for path in folder.glob("history-*")] == ["history-1000.db"]
    assert (folder / "history-1000.db").read_bytes() == before
    store.close()
