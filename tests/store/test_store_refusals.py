"""A disk, folder or process that refuses: one line of error, no lost and no partial row; no secret in the file."""

from __future__ import annotations

import os
import signal
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from support.stored import ORIGIN, opened
from support.waiting import until

import nbhelper as nbh
from nbhelper import StoreError
from nbhelper._model.task import Task
from nbhelper._session import session
from nbhelper._store import file
from nbhelper._store.folder import FOLDER
from nbhelper._store.store import Store

AS_ANOTHER = """
import fcntl, os, sys
from nbhelper import StoreError
from nbhelper._store.store import Store
from nbhelper._model.task import Task
os.setgid(65534); os.setuid(65534)  # after the imports: the interpreter itself may lie in a closed folder
store = Store(sys.argv[1])
try:
    {use}
except StoreError as error:
    print(error)
store.close()
"""
WRITE = 'store.open_task(Task("kie", "2"), "https://api.example").result()'


def finished(child, timeout=60):
    """The output of a process, which must end with status 0 and nothing on standard error."""
    out, err = child.communicate(timeout=timeout)
    assert (child.returncode, err) == (0, "")
    return out


@pytest.fixture
def public():
    """A folder that every user of the machine can reach; those that pytest makes lie in closed ones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


@as_root
@pytest.mark.parametrize("use", [WRITE, "print(store.rows())"], ids=["writing", "reading"])
@pytest.mark.parametrize("there", ["a closed folder", "a closed store", "an open store"])
def test_a_folder_of_somebody_else(python, public, there, use):
    """Another user's folder is refused in one line that says what to do, and nothing in it changes."""
    folder = public / "data"
    folder.mkdir()
    if there != "a closed folder":
        store = Store(folder)
        opened(store)
        store.close()
    folder.chmod(0o755 if there == "an open store" else 0o700)
    if there == "an open store":
        (folder / "history.db").chmod(0o644)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    out = finished(python(AS_ANOTHER.format(use=use), folder))

    assert out.count("\n") == 1
    if there == "an open store" and "rows" in use:
        assert "'task_id': 't1'" in out
    else:
        assert "set_store" in out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@as_root
def test_a_place_where_nothing_may_be_made(python, public):
    """Where the folder cannot be made, writing says so in one line, and reading finds nothing."""
    out = finished(python(AS_ANOTHER.format(use=f"print(store.rows()); {WRITE}"), public / "data"))

    first, second = out.splitlines()
    assert first == "[]"
    assert "Permission denied" in second
    assert not (public / "data").exists()


def test_a_disk_that_is_full_while_salvaging(python, tmp_path):
    """When the new file does not fit, the damaged one stays where it is, whole, and the next use takes it again."""
    script = """
import resource, sys
from pathlib import Path
from nbhelper import StoreError
from nbhelper._store.store import Store
store = Store(sys.argv[1])
path = Path(sys.argv[1]) / "history.db"
before = path.read_bytes()
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (0, 1_000, 50_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        store.rows()
    except StoreError as error:
        assert "set_store" in str(error) or "disk is full" in str(error), error
    else:
        raise SystemExit("it fitted")
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.aside")), limit
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert [row["task_id"] for row in store.rows()] == ["t1"]
assert not list(path.parent.glob("*.new*"))
"""
    store = Store(tmp_path / FOLDER)
    opened(store)
    store.close()
    path = tmp_path / FOLDER / "history.db"
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'replies'").fetchone()
    data = path.read_bytes()
    path.write_bytes(data[: (root - 1) * 4096] + b"\xff" * 4096 + data[root * 4096 :])

    assert finished(python(script, tmp_path / FOLDER)) == ""


HOLDER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute(f"BEGIN {sys.argv[2]}")
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_stopped_holder_of_the_lock(python, tmp_path, monkeypatch, lock):
    """While a stopped process holds SQLite's lock, calls raise StoreError after the wait; without it they succeed."""
    monkeypatch.setattr(file, "WAIT", 0.3)
    store = Store(tmp_path / FOLDER)
    opened(store)
    store.close()
    holder = python(HOLDER, tmp_path / FOLDER / "history.db", lock)
    try:
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        futures = [store.open_task(Task("kie", f"n{n}"), ORIGIN) for n in range(3)]
        for future in futures:
            with pytest.raises(StoreError, match="another process has held it for"):
                future.result(30)
        if lock == "EXCLUSIVE":
            with pytest.raises(StoreError, match="another process has held it for"):
                store.rows()
        else:
            assert len(store.rows()) == 1
    finally:
        holder.kill()
        holder.communicate()

    assert until(lambda: opened(store, "t2")).task.id == "t2"
    assert len(store.rows()) == 2
    store.close()


def test_a_writer_follows_the_new_file(python, tmp_path):
    """A process that waited for the lock of a file which was replaced meanwhile writes into the new one."""
    folder = tmp_path / FOLDER
    store = Store(folder)
    opened(store)
    with closing(sqlite3.connect(folder / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        future = store.open_task(Task("kie", "late"), ORIGIN)
        fresh = Store(tmp_path / "fresh")
        opened(fresh, "fresh")
        fresh.close()
        (tmp_path / "fresh" / "history.db").replace(folder / "history.db")
        other.execute("ROLLBACK")
    future.result(30)

    assert [row["task_id"] for row in store.rows()] == ["fresh", "late"]
    store.close()


def test_no_key_and_no_link_stay_in_the_file(monkeypatch, tmp_path):
    """After a run over all APIs the file holds no key, and no query of a link whose result is saved."""
    monkeypatch.chdir(tmp_path)
    queries = set()
    append = Store.append

    def watched(self, *given, **named):
        queries.update(url.partition("?")[2] for url in (named.get("links") or {}).values() if "?" in url)
        return append(self, *given, **named)

    monkeypatch.setattr(Store, "append", watched)
    with nbh.Emulator(speed=50) as emulator:
        keys = [session.connection(name).key.reveal() for name in ("tripo", "kie", "aigptimage", "gptge")]
        tasks = [
            nbh.submit("tripo", {"type": "text_to_model", "prompt": "an owl"}),
            nbh.submit("kie", {"model": "google/nano-banana", "input": {"prompt": "an owl"}}),
            nbh.submit("aigptimage", {"model": "gpt-image-2-text-to-image", "input": {"prompt": "an owl"}}),
            nbh.submit("gptge", {"model": "MiniMax-Hailuo-02", "prompt": "an owl"}, endpoint="hailuo"),
        ]
        watch = nbh.watch(tasks, display=False, block=True, timeout=100)
        folder = session.store().folder
        session.store().close()
        content = b"".join(path.read_bytes() for path in folder.glob("history.db*"))
        leaked_keys = [key for key in keys if key.encode() in content]
        leaked = [query for query in queries if query.encode() in content]
        del emulator

    assert [str(history.outcome) for history in watch] == ["succeeded"] * 4
    assert len(queries) >= 3
    assert leaked_keys == []
    assert leaked == []
    assert b"nano-banana" in content
