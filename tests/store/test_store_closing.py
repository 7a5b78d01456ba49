"""Threads and connections of stores that are not used any more, and the exit of a process that cannot write."""

from __future__ import annotations

import gc
import sqlite3
import threading
import weakref
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support.waiting import until

import nbhelper as nbh
from nbhelper._model.task import Task
from nbhelper._session import session
from nbhelper._store import writer
from nbhelper._store.folder import FOLDER
from nbhelper._store.store import Store

ORIGIN = "https://api.example"
OWL = {"model": "google/nano-banana", "input": {"prompt": "owl"}}
linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")


def used():
    """How many threads write, and how many descriptors of histories are open."""
    threads = sum(thread.name == "nbhelper-store" for thread in threading.enumerate())
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself is gone
            links.append(entry.readlink().name)
    return threads, sum("history" in link for link in links)


def write_and_read():
    """Use the store of this moment."""
    store = session.store()
    store.open_task(Task("kie", "t"), ORIGIN).result(30)
    store.rows()


@linux
def test_set_store_leaves_nothing_open(tmp_path):
    """Naming one folder after the other leaves one writing thread and one store's connections."""
    for number in range(6):
        nbh.set_store(tmp_path / f"data-{number}")
        write_and_read()

    assert until(lambda: used()[0] <= 1 and used()[1] <= 2)


@linux
def test_closed_emulators_leave_nothing_open(tmp_path, monkeypatch):
    """Ten emulators, one after the other, leave no thread, no connection and no store behind."""
    monkeypatch.chdir(tmp_path)
    before = set(session._state.stores)
    threads, files = used()
    for _ in range(10):
        with nbh.Emulator():
            write_and_read()

    assert until(lambda: used()[0] <= threads and used()[1] <= files)
    assert set(session._state.stores) == before


def test_the_store_of_a_closed_emulator_is_garbage_collected():
    """Once its watches are over and it is closed, nothing references its store, not even the leases of its tasks."""
    with nbh.Emulator(speed=100):
        nbh.watch(nbh.submit("kie", OWL), display=False, block=False).stop()
        kept = weakref.ref(session.store())

    def is_gone():
        gc.collect()
        return kept() is None

    assert until(is_gone)


@linux
def test_an_idle_store_ends_its_thread_and_connection(tmp_path, monkeypatch):
    """A store that is not used has no thread and no connection after a while, and opens again at its next use."""
    monkeypatch.setattr(writer, "IDLE", 0.05)
    store = Store(tmp_path / FOLDER)
    for ident in ("a", "b"):
        store.open_task(Task("kie", ident), ORIGIN).result(30)
        assert until(lambda: used() == (0, 0))

    assert len(store.rows()) == 2
    store.close()


LEAVES = """
import sys
from nbhelper._store import file
from nbhelper._store.store import Store
from nbhelper._model.task import Task
file.WAIT = 600.0
stores = [Store(folder) for folder in sys.argv[1:]]
for store in stores:
    store.open_task(Task("kie", "late"), "https://api.example")
print("queued", flush=True)
"""


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_exit_does_not_wait_for_another_process(python, tmp_path, lock):
    """At exit, Python does not wait 600 s for the holders of two locks, as a write does here, and logs two warnings."""
    folders = [tmp_path / "one", tmp_path / "two"]
    holders = []
    for folder in folders:
        store = Store(folder)
        store.open_task(Task("kie", "early"), ORIGIN).result(30)
        store.close()
        holders.append(sqlite3.connect(folder / "history.db", isolation_level=None))
        holders[-1].execute(f"BEGIN {lock}")
    child = python(LEAVES, *folders)
    try:
        assert child.stdout.readline() == "queued\n"
        _, errors = child.communicate(timeout=60)
    finally:
        for holder in holders:
            with closing(holder):
                holder.execute("ROLLBACK")

    assert child.returncode == 0
    assert errors.count("another process holds it") == 2
