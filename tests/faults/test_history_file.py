"""The history database through the public API: full disks, killed and concurrent processes, damaged and foreign files.

Tests of the store itself (every cut, every flipped byte, a thousand kills) are in tests/store.
"""

import contextlib
import os
import random
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.mill import DONE, FLOOR, WORKING, png
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh

DAMAGE = pytest.mark.filterwarnings("ignore:.*(damaged|history):UserWarning")  # warnings about missing rows


@pytest.fixture
def history_db(mill):
    """The path of history.db of a closed store with three finished tasks."""
    refs = [mill.job(WORKING, {**DONE, "credits": n}, ident=f"b{n}") for n in range(3)]
    folder = nbh.watch(refs, display=False).folder
    from nbhelper._session import session

    session.store().close()
    return folder / "history.db"


def check_tables(n=None):
    """Assert that tables can be read, with known outcomes and, if given, this many tasks; the tasks and events."""
    events, tasks = nbh.events(), nbh.tasks()
    assert set(tasks["outcome"].dropna()) <= {"succeeded", "stopped", "lost"}
    if n is not None:
        assert len(tasks) == n
    return tasks, events


def test_g01_disk_full(mill, script):
    """A file that does not fit on the disk is FAILED with a message and not renamed; the watch goes on to its end."""
    mill.job(WORKING, {**DONE, "files": [mill.file(reply(png(3_000_000))), mill.file(reply(png(100, 2)))]}, ident="x")
    process = script("""
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    h = watch("x").result(30)[0]
    print(h.outcome, sorted(str(s.state) for s in h.saves.values()), [s.message for s in h.saves.values() if s.message])
    """)

    out, err = process.communicate(timeout=60)

    assert (err, process.returncode) == ("", 0)
    assert out.startswith("succeeded ['failed', 'saved'] ['cannot write the file: File too large']")
    assert not [p for p in Path("nbhelper-data").rglob("*") if p.suffix == ".png" and p.stat().st_size > 200]


@pytest.mark.parametrize("folder", ["/proc/nbhelper", "file/below", "/dev/null"])
def test_g02_folder_that_cannot_be(mill, tmp_path, folder):
    """A folder that cannot be made or written raises a one-line error before any request."""
    (tmp_path / "file").write_text("x")

    ref = mill.job()
    with pytest.raises((nbh.BadInput, nbh.StoreError)) as caught:
        nbh.watch(ref, display=False, save=nbh.set_store(folder) / "results")

    assert str(caught.value).isprintable()
    assert mill.server.connections == 0


def test_g03_sync_fails(mill, monkeypatch):
    """A file whose fsync fails is FAILED and never renamed to its final name."""

    def broken(handle):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)

    history = nbh.watch(mill.job({**DONE, "files": [mill.file(reply(png(64)))]}), display=False)[0]

    assert history.outcome == "succeeded"
    assert [str(s.state) for s in history.saves.values()] == ["failed"]
    assert list(Path("nbhelper-data").rglob("*.png")) == []


def test_g04_killed(mill, script):
    """A process killed at any moment has stored every event that it showed, and the next process goes on."""
    rng = random.Random(4)
    for n in range(3):
        mill.job(WORKING, ident=f"k{n}")
        process = script(f"""
        w = watch("k{n}")
        while True:
            print(w[0].seq, flush=True)
            time.sleep(0.001)
        """)
        until(lambda n=n: len(mill.looks.get(f"k{n}", ())) >= 2, 40)
        time.sleep(rng.random() / 4)
        process.kill()
        shown = int(process.communicate()[0].split()[-1])
        assert len(nbh.events()[lambda f, n=n: f["task"] == f"mill:k{n}"]) >= shown
        mill.jobs[f"k{n}"][:] = [DONE]

    assert [h.outcome for h in nbh.watch([f"mill:k{n}" for n in range(3)], display=False)] == ["succeeded"] * 3
    check_tables(3)


def damage(history_db, change):
    """Copy the store, change its history.db, and use it as the store; its folder."""
    folder = history_db.parent.with_name(f"damaged-{random.random()}")
    shutil.copytree(history_db.parent, folder)
    change(folder / "history.db")
    nbh.set_store(folder)
    return folder


@DAMAGE
@pytest.mark.parametrize("part", [0.0, 0.1, 0.35, 0.6, 0.85, 0.999])
def test_g05_file_cut(mill, history_db, part):
    """A truncated history.db is opened or moved aside, never deleted, and watching goes on."""
    size = history_db.stat().st_size

    folder = damage(history_db, lambda path: os.truncate(path, int(size * part)))
    tasks, _ = check_tables()
    again = nbh.watch("mill:b0", display=False)[0]

    assert len(tasks) <= 3
    assert again.outcome == "succeeded"
    assert part == 0 or sum(p.stat().st_size for p in folder.rglob("history*")) >= int(size * part)


@DAMAGE
def test_g06_flipped_bits(mill, history_db):
    """A history.db with a flipped bit is opened, or moved aside with a note, and its tasks are watched again."""
    from nbhelper._session import session

    data, rng = history_db.read_bytes(), random.Random(6)
    for _ in range(25):
        at, bit = rng.randrange(100, len(data)), 1 << rng.randrange(8)
        changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
        folder = damage(history_db, lambda path, changed=changed: path.write_bytes(changed))
        for _ in range(2):  # damage that is only detected in use is handled by the next call
            with contextlib.suppress(nbh.StoreError):
                nbh.events(), nbh.outputs()
        tasks = nbh.tasks()
        store = session.store()
        moved_aside = [path.read_bytes() for path in folder.glob("*.aside")]
        assert len(tasks) <= 3
        assert moved_aside in ([], [changed])
        assert bool(moved_aside) == any("is damaged" in note for note in store.notes)
        store.close()
    assert nbh.watch("mill:b0", display=False)[0].succeeded


def test_g07_two_processes_one_task(mill, script, bound):
    """Two processes that watch one task both see its end, and no event is stored twice."""
    mill.job(WORKING, ident="x")
    both = [script("print(watch('x').result(40)[0].outcome)") for _ in range(2)]
    until(lambda: len(mill.looks.get("x", ())) >= 6)
    mill.jobs["x"][:] = [DONE]

    assert [p.communicate(timeout=60) for p in both] == [("succeeded\n", "")] * 2
    seqs = nbh.events()["seq"].tolist()
    assert seqs == list(range(1, len(seqs) + 1))
    check_tables(1)
    bound(sum(gap < FLOOR for gap in mill.starts("mill:x")), 0, "looks below the floor, both processes together")


def test_g08_two_processes_many_tasks(mill, script):
    """Two processes that write one history at the same time lose no row and report no lock."""
    for n in range(40):
        mill.job(WORKING, DONE, ident=f"m{n}")
    both = [script(f"print(len(watch(*(f'm{{n}}' for n in range({a}, {a + 20}))).result(60)))") for a in (0, 20)]

    assert [p.communicate(timeout=90) for p in both] == [("20\n", "")] * 2
    tasks, events = check_tables(40)
    assert set(tasks["outcome"]) == {"succeeded"}
    assert events.groupby("task")["seq"].max().min() >= 3


def test_g09_another_writer(mill, history_db):
    """While another connection holds the write lock, ours waits for it and does not fail with SQLITE_BUSY_SNAPSHOT."""
    ref = mill.job(WORKING, ident="late")
    watch = nbh.watch(ref, display=False, block=False, interval=0.1)
    with sqlite3.connect(history_db, isolation_level=None, timeout=60) as other:
        for _ in range(10):
            other.execute("BEGIN IMMEDIATE")
            time.sleep(0.03)
            other.execute("COMMIT")
    other.close()
    mill.jobs["late"][:] = [DONE]

    history = watch.result(30)

    assert history.succeeded
    assert watch.notes == ()
    assert len(nbh.events()[lambda f: f["task"] == "mill:late"]) == history.seq


def test_g10_lock_holder_killed(mill, history_db, script):
    """When the process that holds the history's lock is killed, a waiting watch gets the lock."""
    process = script(f"""
    import sqlite3
    db = sqlite3.connect({str(history_db)!r}, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    time.sleep(60)
    """)
    assert process.stdout.readline() == "held\n"
    mill.job(ident="held")
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: nbh.watch("mill:held", display=False)[0])
        process.kill()

        assert future.result(30).succeeded


def write_other_database(path):
    """Replace the history with another program's SQLite database."""
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
        db.execute("INSERT INTO recipes VALUES ('soup')")
    db.close()


def make_folder(path):
    """Replace the history with a folder."""
    path.unlink()
    path.mkdir()
    (path / "note.txt").write_text("mine")


NOT_HISTORIES = {
    "text": lambda path: path.write_text("shopping list\n" * 400),
    "another program's": write_other_database,
    "a folder": make_folder,
    "nothing in it": lambda path: path.write_bytes(b""),
}


@DAMAGE
@pytest.mark.parametrize("replace", NOT_HISTORIES.values(), ids=NOT_HISTORIES)
def test_g11_not_ours(mill, history_db, replace):
    """A history.db that is text, empty, a folder or another program's database is moved aside, and a new one begun."""
    folder = damage(history_db, replace)
    before = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and "history" in str(p))

    history = nbh.watch("mill:b1", display=False)[0]

    assert history.succeeded
    assert nbh.tasks()["task_id"].tolist() == ["b1"]
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and "history" in str(p)) >= before


@DAMAGE
@pytest.mark.parametrize("at", [0, 16, 100])
def test_g12_garbage_in_the_header(mill, history_db, at):
    """A history.db with garbage in its header is kept under another name, and watching goes on."""
    data = history_db.read_bytes()

    folder = damage(history_db, lambda path: path.write_bytes(data[:at] + b"\xde\xad" * 40 + data[at + 80 :]))
    check_tables()
    again = nbh.watch("mill:b2", display=False)[0]

    assert again.succeeded
    assert any(p.stat().st_size >= len(data) for p in folder.rglob("history*"))


def other_version(history_db, by):
    """A copy of the store whose PRAGMA user_version is changed by a number; its folder and the bytes of its history."""

    def change(path):
        with sqlite3.connect(path) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            db.execute(f"PRAGMA user_version = {version + by}")
        db.close()

    folder = damage(history_db, change)
    return folder, (folder / "history.db").read_bytes()


def test_g13_older_schema(mill, history_db):
    """A history of an older schema is kept under its number with a warning; watching goes on in a new history."""
    folder, before = other_version(history_db, -1)

    with pytest.warns(UserWarning, match=r"another version of nbhelper .* kept as history-\d+\.db"):
        assert nbh.tasks().empty
    history = nbh.watch("mill:b0", display=False)[0]

    assert history.succeeded
    assert nbh.tasks()["task_id"].tolist() == ["b0"]
    assert [path.read_bytes() for path in folder.glob("history-*.db")] == [before]


def test_g14_newer_schema(mill, history_db):
    """A history that gets a newer schema while it is in use is read and never written; the error says what to do."""
    folder, before = other_version(history_db, 0)
    assert len(nbh.tasks()) == 3
    with sqlite3.connect(folder / "history.db") as db:
        db.execute("PRAGMA user_version = 1999")
    db.close()
    before = (folder / "history.db").read_bytes()

    assert sorted(nbh.tasks()["task_id"]) == ["b0", "b1", "b2"]
    with pytest.raises(nbh.StoreError, match="Restart this kernel"):
        nbh.watch("mill:new", display=False)
    assert (folder / "history.db").read_bytes() == before
