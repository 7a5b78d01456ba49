from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from nbhelper import StoreError, _database, _mounts, _rows, _schema
from nbhelper._json import JsonText
from nbhelper._mounts import kind_of_mount
from nbhelper._store import FOLDER, Store, locate
from nbhelper._task import Task
from nbhelper._values import Mark, MarkWord, Miss, MissKind, Snapshot, State

ORIGIN = "https://api.example"


def opened(store, ident="t1"):
    return store.open_task(Task("kie", ident), ORIGIN).result()


def filled(folder, events=3):
    """A closed store with one task and some observations; its row's name."""
    store = Store(folder)
    history = opened(store)
    for number in range(events):
        history = history.add(Snapshot(state=State.RUNNING, word=f"word-{number}"), history_time(number))
    store.append(history.uid, history.events, summary=history).result()
    store.close()
    return history.uid


def history_time(seconds):
    return datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=seconds)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# Where it is


def test_the_variable_wins(monkeypatch, tmp_path):
    """`NBHELPER_DATA` names the folder, with `~` and relative paths understood."""
    (tmp_path / FOLDER).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    found = []
    for value in ("other", "~/data", "/abs/x", " "):
        monkeypatch.setenv("NBHELPER_DATA", value)
        found.append(locate())

    assert found == [tmp_path / "other", Path("/home/me/data"), Path("/abs/x"), tmp_path / FOLDER]


MOUNTS = rb"""sysfs /sys sysfs rw 0 0
/dev/sda1 / ext4 rw,relatime 0 0
nas:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/ann ext4 rw 0 0
//nas/pictures /mnt/my\040pictures cifs rw 0 0
me@far:/ /mnt/far fuse.sshfs rw 0 0
overlay /over overlay rw 0 0
nas:/over /over nfs rw 0 0
odd
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data", "ext4"), ("/home/bob/work", "nfs4"), ("/home/ann/work", "ext4"), ("/home2/bob", "ext4"),
        ("/mnt/my pictures", "cifs"), ("/mnt/far/a/b", "fuse.sshfs"), ("/over/x", "nfs"), ("/sys/x", "sysfs"),
    ],
    ids=str,
)  # fmt: skip
def test_the_file_system_of_a_path(path, kind):
    """The deepest mount point above a path says its file system; of two at one point the later one holds."""
    assert kind_of_mount(PurePosixPath(path), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("nfs", True), ("nfs4", True), ("cifs", True), ("smb3", True), ("fuse.sshfs", True), ("fuse.rclone", True),
        ("ext4", False), ("overlay", False), ("tmpfs", False), ("9p", False), ("fuse.portal", False), ("nfsd", False),
    ],
    ids=str,
)  # fmt: skip
def test_a_network_file_system_is_told(monkeypatch, tmp_path, kind, told):
    """Which file systems are another machine's; where nothing is mounted, or says so, nothing is."""
    (tmp_path / "mounts").write_text(f"x / {kind} rw 0 0\n")
    monkeypatch.setattr(_mounts, "MOUNTS", tmp_path / "mounts")
    found = _mounts.elsewhere(tmp_path)
    monkeypatch.setattr(_mounts, "MOUNTS", tmp_path / "none")

    assert found == (f"on a network file system ({kind})" if told else None)
    assert _mounts.elsewhere(tmp_path) is None


def test_this_machine_says_nothing(tmp_path):
    """The tests' own folder is on a disk of this machine, by the list that the system itself keeps."""
    assert _mounts.elsewhere(tmp_path) is None


def test_the_nearest_existing_folder(monkeypatch, tmp_path):
    """Without it, the nearest `nbhelper-data` above counts; without one, it would be here. Nothing is made."""
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
    """In a parent that others may write to, somebody else's folder is not taken for ours."""
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
    """A folder of ours that others could read is theirs no more after the next use."""
    filled(tmp_path / FOLDER)
    (tmp_path / FOLDER).chmod(0o755)
    filled(tmp_path / FOLDER)

    assert mode(tmp_path / FOLDER) == 0o700


def test_a_kill_leaves_no_empty_gitignore(python, tmp_path):
    """A process that is killed while it writes `.gitignore` leaves none, and the next one writes it."""
    script = """
import os, sys
from nbhelper._store import Store

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


def test_what_the_file_says_of_itself(tmp_path):
    """The header names us and the schema; journal and durability are the safe ones."""
    filled(tmp_path / FOLDER)
    store = Store(tmp_path / FOLDER)
    settings = store._writer.put(
        lambda db: [
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "secure_delete")
        ]
    ).result()
    store.close()
    with closing(sqlite3.connect(tmp_path / FOLDER / "history.db")) as db:
        header = _schema.header(db)[:2]

    assert settings == ["delete", 2, 1]
    assert header == (_schema.APPLICATION, _schema.VERSION)


# What cannot be used


@pytest.mark.parametrize("use", [opened, lambda store: store.fingerprint("k")], ids=["write", "fingerprint"])
def test_a_file_where_the_folder_should_be(tmp_path, use):
    """A folder that is a file is said to be one, also when only reading."""
    (tmp_path / "data").write_text("x")
    store = Store(tmp_path / "data")

    with pytest.raises(StoreError, match="is a file, not a folder"):
        use(store)
    with pytest.raises(StoreError, match="is a file, not a folder"):
        store.rows()
    store.close()


def test_a_missing_parent(tmp_path):
    """A folder in a folder that is not there is not made up."""
    store = Store(tmp_path / "no" / "such")

    with pytest.raises(StoreError, match=r"does not exist\. Make it first"):
        opened(store)
    (tmp_path / "no").mkdir()
    assert opened(store).task.id == "t1"
    store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    """A folder that may not be written says so, and what to do."""
    (tmp_path / "data").mkdir(mode=0o500)
    store = Store(tmp_path / "data")

    with pytest.raises(StoreError, match="set_store"):
        opened(store)
    store.close()


# What is there but is not ours


def other_program(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url)")
        db.commit()


def old_schema(path):
    filled(path.parent)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 0")


def cut_in_half(path):
    filled(path.parent, events=200)
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("dear diary\n" * 500),
        lambda path: path.write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 40),
        lambda path: path.write_bytes(b"\x00" * 5000),
        lambda path: path.mkdir(),
        other_program,
        cut_in_half,
        old_schema,
    ],
    ids=["text", "broken header", "zeros", "folder", "other program", "half a file", "no version"],
)
@pytest.mark.parametrize("use", [opened, Store.rows], ids=["writing", "reading"])
def test_what_is_not_ours_is_moved_aside(tmp_path, make, use):
    """A file that is none of our histories is kept beside the new one, whole, and said in one line."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    make(folder / "history.db")
    before = (folder / "history.db").read_bytes() if (folder / "history.db").is_file() else None
    store = Store(folder)
    use(store)
    aside = [p for p in folder.iterdir() if p.name.endswith(".aside")]

    assert len(aside) == 1
    assert before is None or aside[0].read_bytes() == before
    assert len([note for note in store.notes if aside[0].name in note]) == 1
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
    (aside,) = folder.glob("*.aside")
    with closing(sqlite3.connect(aside)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_zero_bytes_are_a_new_history(tmp_path):
    """An empty file is where a history begins, and nothing is moved."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "history.db").touch()
    store = Store(folder)

    assert store.rows() == []
    assert opened(store).task.id == "t1"
    assert store.notes == []
    store.close()


def test_a_newer_schema_is_read_and_never_written(tmp_path):
    """What a newer version wrote is shown, and writing says to upgrade; nothing is moved."""
    uid = filled(tmp_path / FOLDER)
    with closing(sqlite3.connect(tmp_path / FOLDER / "history.db")) as db:
        db.execute("PRAGMA user_version = 99")
    before = (tmp_path / FOLDER / "history.db").read_bytes()
    store = Store(tmp_path / FOLDER)

    assert len(store.load(uid).events) == 3
    with pytest.raises(StoreError, match="Upgrade nbhelper"):
        opened(store)
    with pytest.raises(StoreError, match="Upgrade nbhelper"):
        store.append(uid, store.load(uid).events, summary=store.load(uid)).result()
    assert len(store.fingerprint("k")) == 8
    assert (tmp_path / FOLDER / "history.db").read_bytes() == before
    assert len(store.notes) == 1
    assert "Upgrade nbhelper" in store.notes[0]
    store.close()


# Damage inside


def changed(folder, sql):
    with closing(sqlite3.connect(folder / "history.db")) as db:
        assert db.execute(sql).rowcount == 1
        db.commit()


def test_flipped_bytes_hide_one_row_only(tmp_path):
    """Bytes overwritten inside a text pass SQLite's own checks; our digest leaves that row out and says so."""
    uid = filled(tmp_path / FOLDER)
    path = tmp_path / FOLDER / "history.db"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"word":"word-1"', b'"word":"wOrd-1"'))
    store = Store(tmp_path / FOLDER)

    assert [event.seen.word for event in store.load(uid).events] == ["word-0", "word-2"]
    assert len(store.event_rows()) == 2
    assert len(store.rows()) == 1
    assert len(store.notes) == 1
    assert "Damaged rows" in store.notes[0]
    store.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE summaries SET polls = polls + 1",
        "UPDATE summaries SET params = '{'",
        "DELETE FROM summaries",
    ],
    ids=["changed", "cut", "gone"],
)
def test_a_damaged_summary_is_made_again(tmp_path, sql):
    """The row that sums up a task is derived, so its loss costs nothing."""
    filled(tmp_path / FOLDER)
    store = Store(tmp_path / FOLDER)
    before = store.rows()
    changed(tmp_path / FOLDER, sql)

    assert store.rows() == before
    store.close()


def test_a_damaged_task_row_is_healed_by_its_watch(tmp_path):
    """A task's row that cannot be trusted is left out until the task is opened again, with all its events."""
    uid = filled(tmp_path / FOLDER)
    changed(tmp_path / FOLDER, "UPDATE tasks SET label = 'x'")
    changed(tmp_path / FOLDER, "DELETE FROM summaries")
    store = Store(tmp_path / FOLDER)
    assert store.rows() == []
    assert store.load(uid) is None

    history = opened(store)

    assert history.uid == uid
    assert len(history.events) == 3
    assert len(store.rows()) == 1
    store.close()


@pytest.mark.parametrize("sql", ["UPDATE meta SET value = 'no hex'", "DELETE FROM meta"], ids=["changed", "gone"])
def test_a_damaged_salt_is_made_anew(tmp_path, sql):
    """Without its salt a store goes on: fingerprints are new ones, and equal among themselves."""
    filled(tmp_path / FOLDER)
    changed(tmp_path / FOLDER, sql)
    stores = [Store(tmp_path / FOLDER), Store(tmp_path / FOLDER)]

    assert stores[0].fingerprint("k") == stores[1].fingerprint("k")
    for store in stores:
        store.close()


def test_a_damaged_reply_costs_only_itself(tmp_path):
    """A raw reply that is not as it was written is missing; what was read from it stands."""
    store = Store(tmp_path / FOLDER)
    history = opened(store).add(Snapshot(state=State.RUNNING, reply=JsonText('{"a":1}')), history_time(0))
    store.append(history.uid, history.events, summary=history).result()
    changed(tmp_path / FOLDER, "UPDATE replies SET body = '{\"a\":2}'")

    assert store.load(history.uid).events[0].seen == Snapshot(state=State.RUNNING)
    store.close()


def flipped(path, old, new, *, last):
    """Overwrite one place where a text stands: SQLite keeps rows and index entries apart."""
    data = path.read_bytes()
    assert len(old) == len(new)
    place = data.rfind(old) if last else data.find(old)
    assert place >= 0
    path.write_bytes(data[:place] + new + data[place + len(old) :])


@pytest.mark.parametrize("last", [False, True], ids=["first place", "last place"])
@pytest.mark.parametrize("part", ["uid", "time"])
def test_no_row_is_lost_in_silence(tmp_path, part, last):
    """A flip in a key hides rows from their index; what is missing then is said, or the file is moved aside."""
    uid = filled(tmp_path / FOLDER, events=40)
    old = uid.encode() if part == "uid" else b"2026-11-21T00:00:20"
    flipped(tmp_path / FOLDER / "history.db", old, old[:-1] + b"\xf9", last=last)
    store = Store(tmp_path / FOLDER)
    found = []
    for _ in range(2):  # damage that only comes to light in use is met by the next call
        try:
            store.rows()
            found = [event for history in store.histories() for event in history.events]
            opened(store)
        except StoreError:
            continue

    assert len(found) == 40 or store.notes
    assert opened(store).task.id == "t1"
    store.close()


@pytest.mark.parametrize("name", [b"\xf9asks", b"masks"], ids=["no text", "another name"])
def test_a_schema_with_another_word(tmp_path, name):
    """A flip in the schema makes a damaged file like any other, even where SQLite's own checks pass."""
    filled(tmp_path / FOLDER)
    flipped(tmp_path / FOLDER / "history.db", b"CREATE TABLE tasks", b"CREATE TABLE " + name, last=False)
    store = Store(tmp_path / FOLDER)

    assert [row["task_id"] for row in store.rows()] == ["t1"]
    assert "is damaged" in store.notes[0]
    assert "1 task with 3 observations" in store.notes[0]
    store.close()


def test_rows_of_a_stranger_are_read_with_care(tmp_path):
    """A row whose digest is right and whose content cannot be is left out, not believed and not an error."""
    filled(tmp_path / FOLDER)
    store = Store(tmp_path / FOLDER)

    def plant(db):
        _schema.put(db, "tasks", _rows.TASK, ["u1", "no such\x00", "o", "i", "[]", None, "{}", *[None] * 6])
        _schema.put(db, "tasks", _rows.TASK, ["u2", "kie", "o", "i2", "{}", None, "{}", *[None] * 6])
        _schema.put(db, "events", _rows.EVENT, ("u2", 1, "yesterday", "mark", "[" * 5000, None))

    store._writer.put(plant).result()

    assert [history.task.id for history in store.histories()] == ["t1", "i2"]
    assert store.load("u2").events == ()
    store.close()


# Disks and locks


def test_a_full_disk(tmp_path):
    """A full disk is said in words, loses nothing that was acknowledged, and the next try works again."""
    store = Store(tmp_path / FOLDER)
    history = opened(store)

    def fill(db):
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 2}")

    store._writer.put(fill).result()
    large = history.add(Miss(kind=MissKind.GARBLED, message="x" * 400, excerpt="y" * 500_000), history_time(0))
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
    small = history.add(Mark(word=MarkWord.WATCHING), history_time(0))
    large = small.add(Miss(kind=MissKind.GARBLED, excerpt="y" * 500_000), history_time(1))
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
    """A process that holds the file gives an error with words after the wait, and writing works once it lets go."""
    monkeypatch.setattr(_database, "WAIT", 0.2)
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
    """A journal left by a process that died in the middle restores what was there before."""
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
