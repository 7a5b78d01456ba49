"""The folder and the file of a store: path, modes, files that are renamed, disks and locks."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from support.stored import NOON, kept, opened

from nbhelper import StoreError
from nbhelper._model.events import Mark, Snapshot
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, State
from nbhelper._store import file, rows, schema
from nbhelper._store.folder import FOLDER, locate
from nbhelper._store.store import Store


def filled(folder, events=3):
    """Make a closed store with one task and some observations; returns the task's uid."""
    store = Store(folder)
    looks = [Snapshot(state=State.RUNNING, word=f"word-{number}") for number in range(events)]
    history = kept(store, opened(store), *looks)
    store.close()
    return history.uid


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# Where it is


def test_the_variable_wins(monkeypatch, tmp_path):
    """`NBHELPER_DATA` names the folder, with `~` and relative paths understood."""
    (tmp_path / FOLDER).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    folders = []
    for value in ("other", "~/data", "/abs/x", " "):
        monkeypatch.setenv("NBHELPER_DATA", value)
        folders.append(locate())

    assert folders == [tmp_path / "other", Path("/home/me/data"), Path("/abs/x"), tmp_path / FOLDER]


def test_the_nearest_existing_folder(monkeypatch, tmp_path):
    """Without the variable, the nearest `nbhelper-data` of the parents is used, else one here; nothing is made."""
    monkeypatch.delenv("NBHELPER_DATA", raising=False)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert locate() == deep / FOLDER

    (tmp_path / FOLDER).mkdir()
    assert locate() == tmp_path / FOLDER
    (tmp_path / "a" / FOLDER).write_text("a file does not count")
    assert locate() == tmp_path / FOLDER
    (deep / FOLDER).mkdir()
    assert locate() == deep / FOLDER


def test_a_strangers_folder_above_does_not_count(monkeypatch, tmp_path):
    """In a parent that others may write to, another user's folder is not used."""
    monkeypatch.delenv("NBHELPER_DATA", raising=False)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setattr(os, "getuid", lambda: (tmp_path / FOLDER).stat().st_uid + 1)

    assert locate() == tmp_path / "mine" / FOLDER


# What is made


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct)
def test_modes_whatever_the_umask(tmp_path, umask):
    """Folder and files are for their owner alone."""
    before = os.umask(umask)
    try:
        filled(tmp_path / FOLDER)
    finally:
        os.umask(before)

    assert mode(tmp_path / FOLDER) == 0o700
    assert {mode(path) for path in (tmp_path / FOLDER).iterdir()} == {0o600}
    assert (tmp_path / FOLDER / ".gitignore").read_text() == "*\n"


def test_an_open_folder_is_closed_to_others(tmp_path):
    """An `nbhelper-data` with mode 0755 gets mode 0700 at its next use."""
    filled(tmp_path / FOLDER)
    (tmp_path / FOLDER).chmod(0o755)
    filled(tmp_path / FOLDER)

    assert mode(tmp_path / FOLDER) == 0o700


def test_a_kill_leaves_no_empty_gitignore(python, tmp_path):
    """A process that is killed while it writes `.gitignore` leaves none, and the next one writes it."""
    script = """
import os, sys
from nbhelper._store.store import Store

def kill(event, arguments):
    global near
    before, near = near, event == "open" and ".gitignore" in str(arguments[0])
    if before:
        os.kill(os.getpid(), 9)

near = False
sys.addaudithook(kill)
Store(sys.argv[1]).fingerprint("a key")
"""
    child = python(script, tmp_path / FOLDER)
    child.communicate(timeout=60)
    assert child.returncode == -9
    assert not (tmp_path / FOLDER / ".gitignore").exists()
    filled(tmp_path / FOLDER)

    assert (tmp_path / FOLDER / ".gitignore").read_text() == "*\n"
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == [".gitignore", "history.db"]


def test_a_users_own_folder_is_left_alone(tmp_path):
    """A folder that the user named and that holds other things keeps its mode and gets no `.gitignore`."""
    (tmp_path / "project").mkdir(mode=0o755)
    (tmp_path / "project" / "paper.tex").write_text("x")
    filled(tmp_path / "project")

    assert mode(tmp_path / "project") == 0o755
    assert sorted(p.name for p in (tmp_path / "project").iterdir()) == ["history.db", "paper.tex"]
    assert mode(tmp_path / "project" / "history.db") == 0o600


def test_header_and_pragmas_of_the_file(tmp_path):
    """The header has our application id and version; journal mode and synchronous are the safe ones."""
    filled(tmp_path / FOLDER)
    store = Store(tmp_path / FOLDER)
    settings = store._writer.put(
        lambda db: [
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "secure_delete")
        ]
    ).result()
    store.close()
    with closing(sqlite3.connect(tmp_path / FOLDER / "history.db")) as db:
        header = schema.header(db)[:2]

    assert settings == ["delete", 2, 1]
    assert header == (schema.APPLICATION, schema.VERSION)


# What cannot be used


@pytest.mark.parametrize("use", [opened, lambda store: store.fingerprint("k")], ids=["write", "fingerprint"])
def test_a_file_where_the_folder_should_be(tmp_path, use):
    """A file in place of the folder raises a StoreError that says so, in writing and in reading."""
    (tmp_path / "data").write_text("x")
    store = Store(tmp_path / "data")

    with pytest.raises(StoreError, match="is a file, not a folder"):
        use(store)
    with pytest.raises(StoreError, match="is a file, not a folder"):
        store.rows()
    store.close()


def test_a_missing_parent(tmp_path):
    """A missing parent is not made: StoreError says that it is missing."""
    store = Store(tmp_path / "no" / "such")

    with pytest.raises(StoreError, match=r"does not exist\. Make it first"):
        opened(store)
    (tmp_path / "no").mkdir()
    assert opened(store).task.id == "t1"
    store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    """A folder without permission to write raises a StoreError that names `set_store`."""
    (tmp_path / "data").mkdir(mode=0o500)
    store = Store(tmp_path / "data")

    with pytest.raises(StoreError, match="set_store"):
        opened(store)
    store.close()


# Files of other programs


def other_program(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url)")
        db.commit()


def cut_in_half(path):
    filled(path.parent, events=200)
    os.truncate(path, path.stat().st_size // 2)


def cut_in_its_last_page(path):
    filled(path.parent, events=200)
    os.truncate(path, path.stat().st_size - 100)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("dear diary\n" * 500),
        lambda path: path.write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 40),
        lambda path: path.write_bytes(b"\x00" * 5000),
        lambda path: path.mkdir(),
        other_program,
        cut_in_half,
        cut_in_its_last_page,
    ],
    ids=["text", "broken header", "zeros", "folder", "other program", "half a file", "all but 100 bytes"],
)
@pytest.mark.parametrize("use", [opened, Store.rows], ids=["writing", "reading"])
def test_a_file_that_is_no_history_is_renamed(tmp_path, make, use):
    """A file that is no history of ours is kept whole as `*.aside`, and named in one note."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    make(folder / "history.db")
    before = (folder / "history.db").read_bytes() if (folder / "history.db").is_file() else None
    store = Store(folder)
    use(store)
    moved = [p for p in folder.iterdir() if p.name.endswith(".aside")]

    assert len(moved) == 1
    assert before is None or moved[0].read_bytes() == before
    assert len([note for note in store.notes if moved[0].name in note]) == 1
    assert opened(store, "t2").task.id == "t2"
    store.close()


def test_a_foreign_wal_is_not_touched(tmp_path):
    """Another program's database keeps its own journal mode."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    with closing(sqlite3.connect(folder / "history.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE bookmarks (url)")
        db.commit()
    store = Store(folder)
    opened(store)
    store.close()
    (moved,) = folder.glob("*.aside")
    with closing(sqlite3.connect(moved)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_zero_bytes_are_a_new_history(tmp_path):
    """An empty file becomes a history, and nothing is renamed."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "history.db").touch()
    store = Store(folder)

    assert store.rows() == []
    assert opened(store).task.id == "t1"
    assert store.notes == []
    store.close()


# Damage inside


def flipped(path, old, new, *, last):
    """Overwrite the first or last occurrence of a text: SQLite keeps rows and index entries apart."""
    data = path.read_bytes()
    assert len(old) == len(new)
    place = data.rfind(old) if last else data.find(old)
    assert place >= 0
    path.write_bytes(data[:place] + new + data[place + len(old) :])


@pytest.mark.parametrize("name", [b"\xf9asks", b"masks"], ids=["no text", "another name"])
def test_a_schema_with_a_changed_byte(tmp_path, name):
    """A changed byte in the schema counts as damage, even where SQLite's own checks pass."""
    filled(tmp_path / FOLDER)
    flipped(tmp_path / FOLDER / "history.db", b"CREATE TABLE tasks", b"CREATE TABLE " + name, last=False)
    store = Store(tmp_path / FOLDER)

    store.rows()
    assert "is damaged" in store.notes[0]
    assert opened(store).task.id == "t1"
    store.close()


def test_impossible_rows_are_left_out(tmp_path):
    """A row with values that no task or event has is left out, without an error."""
    filled(tmp_path / FOLDER)
    store = Store(tmp_path / FOLDER)

    def plant(db):
        db.execute(rows.PUT_TASK, ["u1", "no such\x00", "o", "i", "[]", None, "{}", *[None] * 6])
        db.execute(rows.PUT_TASK, ["u2", "kie", "o", "i2", "{}", None, "{}", *[None] * 6])
        db.execute(rows.PUT_EVENT, ("u2", 1, "yesterday", "mark", "[" * 5000, None))

    store._writer.put(plant).result()

    assert [history.task.id for history in store.histories()] == ["t1"]
    assert store.load("u1") is None
    assert store.load("u2").events == ()
    store.close()


# Disks and locks


def test_a_full_disk(tmp_path):
    """A full disk raises StoreError, loses nothing that was acknowledged, and the next try succeeds."""
    store = Store(tmp_path / FOLDER)
    history = opened(store)

    def fill(db):
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 2}")

    store._writer.put(fill).result()
    large = history.add(Miss(kind=MissKind.GARBLED, message="x" * 400, excerpt="y" * 500_000), NOON)
    with pytest.raises(StoreError, match=r"the disk is full\. Free some space"):
        store.append(history.uid, large.events, summary=large).result()
    assert store.load(history.uid).events == ()

    store.append(history.uid, large.events, summary=large).result()
    assert store.load(history.uid).events == large.events
    store.close()


def test_a_full_disk_lets_small_writes_through(tmp_path):
    """One write that is too large for the disk does not keep the small ones of its transaction out."""
    store = Store(tmp_path / FOLDER)
    history = opened(store)
    small = history.add(Mark(word=MarkWord.WATCHING), NOON)
    large = small.add(Miss(kind=MissKind.GARBLED, excerpt="y" * 500_000), NOON)
    connect = store._database.connect

    def little_room(*, write):
        db = connect(write=write)
        db.execute("PRAGMA max_page_count = 60")
        return db

    store._database.connect = little_room
    store.close()
    gate = threading.Event()
    store._writer.put(lambda db: gate.wait(30))
    results = [
        store.append(history.uid, large.events[1:], summary=large),
        store.append(history.uid, small.events, summary=small),
    ]
    gate.set()

    assert isinstance(results[0].exception(), StoreError)
    assert results[1].exception() is None
    store.close()


def test_a_lock_that_is_never_released(tmp_path, monkeypatch):
    """While another process holds SQLite's lock, a write raises StoreError after the wait; later it succeeds."""
    monkeypatch.setattr(file, "WAIT", 0.2)
    store = Store(tmp_path / FOLDER)
    opened(store)
    with closing(sqlite3.connect(tmp_path / FOLDER / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has held it"):
            opened(store, "t2")
        assert len(store.rows()) == 1

    assert opened(store, "t2").task.id == "t2"
    store.close()


def test_a_transaction_that_was_cut_off_is_taken_back(tmp_path):
    """The journal of a process that died within a transaction restores what was there before."""
    uid = filled(tmp_path / FOLDER)
    script = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA cache_size = 2')\n"
        "db.execute('PRAGMA cache_spill = 1')\n"
        "db.execute('BEGIN IMMEDIATE')\n"
        "db.execute('UPDATE events SET body = ?', ('z' * 300000,))\n"
        "os._exit(9)\n"
    )
    path = tmp_path / FOLDER / "history.db"
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 9
    assert path.with_name("history.db-journal").stat().st_size > 0
    store = Store(tmp_path / FOLDER)

    assert len(store.load(uid).events) == 3
    assert store.notes == []
    store.close()
