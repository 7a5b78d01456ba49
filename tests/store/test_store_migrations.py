"""Old files, replayed: every version that was ever written is read by this one, with the same rows."""

from __future__ import annotations

import gzip
import json
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nbhelper import StoreError, _schema
from nbhelper._store import Store
from nbhelper._task import Task
from nbhelper._values import Mark, MarkWord

CORPUS = Path(__file__).parent / "corpus"
sys.path.insert(0, str(CORPUS))
import make  # noqa: E402

FILES = sorted(CORPUS.glob("v*.db.gz"))


def unpacked(tmp_path, file):
    """A folder with one file of the corpus as its history."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "history.db").write_bytes(gzip.decompress(file.read_bytes()))
    return folder


def as_read(store):
    return json.loads(json.dumps(make.read(store)))


def expected(file):
    return json.loads(file.with_name(file.name.replace(".db.gz", ".json")).read_text())


def copies(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("history.db."))


def test_there_is_a_corpus_of_every_older_version():
    """Each version that a step leads away from has its files in the corpus."""
    versions = {int(file.name[1:].partition("-")[0]) for file in FILES}

    assert versions >= set(_schema.STEPS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".db.gz"))
def test_old_files_are_read_as_they_were(tmp_path, file):
    """Every public read of an old file gives what the version that wrote it gave; of a damaged one, no less."""
    folder = unpacked(tmp_path, file)
    store = Store(folder)
    found, wanted = as_read(store), expected(file)
    old = int(file.name[1:].partition("-")[0]) < _schema.VERSION
    store.close()

    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        more = "damaged" in file.name and isinstance(value, list | dict)
        assert found[name] == value or (more and all(one in found[name] for one in value)), name
    assert [note for note in store.notes if "brought to the present format" in note] == store.notes[:old]
    assert not list(folder.glob("*.aside"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".db.gz"))
def test_old_files_are_written_to(tmp_path, file):
    """What is brought to this version takes new rows, and its tables are those of a new file."""
    folder = unpacked(tmp_path, file)
    store = Store(folder)
    before = len(store.rows())
    for history in [*store.histories(), store.open_task(Task("kie", "new"), "https://new.example").result()]:
        longer = history.add(Mark(word=MarkWord.RESUMED), datetime.now(UTC))
        store.append(history.uid, longer.events[-1:], summary=longer).result()
    after = len(store.rows())
    store.close()

    assert after == before + 1
    with closing(sqlite3.connect(folder / "history.db")) as db:
        assert _schema.header(db)[:2] == (_schema.APPLICATION, _schema.VERSION)
        assert _schema.schema_of(db) == _schema.expected_schema()
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_copy_of_the_old_file_is_kept(tmp_path):
    """Before anything is changed the old file is copied, said in one line; the second use copies nothing."""
    file = CORPUS / "v1-tasks.db.gz"
    folder = unpacked(tmp_path, file)
    first = Store(folder)
    first.rows()
    notes = list(first.notes)
    first.close()
    second = Store(folder)
    second.rows()
    second.close()
    (copy,) = copies(folder)
    (tmp_path / "again").mkdir()
    (folder / copy).rename(tmp_path / "again" / "history.db")
    third = Store(tmp_path / "again")

    assert len(notes) == 1
    assert copy in notes[0]
    assert second.notes == []
    assert as_read(third)["rows"] == expected(file)["rows"]
    third.close()


def test_a_kill_leaves_no_half_copy(python, tmp_path):
    """A process that is killed while it copies the old file leaves nothing that could be taken for the whole of it."""
    script = """
import os, sys
from nbhelper._store import Store

def kill(event, arguments):
    if event == "sqlite3.connect" and not str(arguments[0]).endswith(("history.db?mode=rw", ":memory:")):
        os.kill(os.getpid(), 9)  # the copy is there, and empty

sys.addaudithook(kill)
Store(sys.argv[1]).rows()
"""
    file = CORPUS / "v1-tasks.db.gz"
    folder = unpacked(tmp_path, file)
    child = python(script, folder)
    child.communicate(timeout=60)
    store = Store(folder)

    assert child.returncode == -9
    assert as_read(store)["rows"] == expected(file)["rows"]
    (copy,) = copies(folder)
    with closing(sqlite3.connect(folder / copy)) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone()[0] == 35
    store.close()


def test_a_step_that_fails_changes_nothing(tmp_path, monkeypatch):
    """A step that is cut off leaves the old file as it was, without a copy, and the next use takes it again."""
    file = CORPUS / "v1-tasks.db.gz"
    folder = unpacked(tmp_path, file)
    before = (folder / "history.db").read_bytes()
    step = _schema.STEPS[1]

    def cut_off(db):
        step(db)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setitem(_schema.STEPS, 1, cut_off)
    store = Store(folder)
    with pytest.raises(StoreError, match="disk I/O error"):
        store.rows()
    with closing(sqlite3.connect(folder / "history.db")) as db:
        version = _schema.header(db)[1]
    assert version == 1
    assert copies(folder) == []
    assert (folder / "history.db").read_bytes()[96:] == before[96:]

    monkeypatch.setitem(_schema.STEPS, 1, step)

    assert as_read(store)["rows"] == expected(file)["rows"]
    store.close()


def test_steps_follow_each_other(tmp_path, monkeypatch):
    """An old file takes every step to this version, in order, in one transaction."""
    taken = []

    def later(db):
        taken.append(_schema.header(db)[2])
        db.execute("CREATE TABLE later (name TEXT)")

    monkeypatch.setattr(_schema, "_SCHEMA", _schema._SCHEMA.rstrip() + ";\nCREATE TABLE later (name TEXT)")
    monkeypatch.setitem(_schema.STEPS, _schema.VERSION, later)
    monkeypatch.setattr("nbhelper._database.VERSION", _schema.VERSION + 1)
    monkeypatch.setattr(_schema, "VERSION", _schema.VERSION + 1)
    _schema.expected_schema.cache_clear()
    folder = unpacked(tmp_path, CORPUS / "v1-tasks.db.gz")
    try:
        store = Store(folder)
        rows = as_read(store)["rows"]
        store.close()
    finally:
        _schema.expected_schema.cache_clear()

    assert len(taken) == 1
    assert rows == expected(CORPUS / "v1-tasks.db.gz")["rows"]
    assert len(copies(folder)) == 1


def test_an_old_file_with_other_tables_is_salvaged(tmp_path):
    """A file whose tables are not those of its version is damaged: it is kept, and its rows go into a new one."""
    folder = unpacked(tmp_path, CORPUS / "v1-tasks.db.gz")
    with closing(sqlite3.connect(folder / "history.db")) as db:
        db.execute("DROP INDEX intents_open")
    store = Store(folder)
    rows = as_read(store)["rows"]
    (aside,) = folder.glob("*.aside")

    assert rows == expected(CORPUS / "v1-tasks.db.gz")["rows"]
    told = "7 tasks with 35 observations could be read and are in the new history."
    assert store.notes == [f"{folder}/history.db is damaged. It was kept as {aside.name}. {told}"]
    assert copies(folder) == [aside.name]
    store.close()


def test_many_processes_meet_an_old_file(python, tmp_path):
    """Processes that meet the same old file at once bring it to this version once, and all of them write."""
    script = """
import sys
from nbhelper._store import Store
from nbhelper._task import Task
Store(sys.argv[1]).open_task(Task("kie", sys.argv[2]), "https://api.example").result()
"""
    folder = unpacked(tmp_path, CORPUS / "v1-tasks.db.gz")
    for child in [python(script, folder, n) for n in range(4)]:
        assert child.communicate(timeout=60) == ("", "")
    store = Store(folder)

    assert len(store.rows()) == 7 + 4
    assert len(copies(folder)) == 1
    store.close()
