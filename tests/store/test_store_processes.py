"""Processes and threads that use one store at once, are killed or fork: no acknowledged row is lost."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from nbhelper import StoreError
from nbhelper._model.events import Mark
from nbhelper._model.states import MarkWord
from nbhelper._model.task import Task
from nbhelper._store.filter import Filter
from nbhelper._store.folder import FOLDER
from nbhelper._store.store import Store

ORIGIN = "https://api.example"

APPEND = """
import sys
from datetime import UTC, datetime
from nbhelper._store.store import Store
from nbhelper._model.events import Mark
from nbhelper._model.states import MarkWord
from nbhelper._model.task import Task

store, name, count = Store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
own = store.open_task(Task("kie", name), "https://api.example").result()
shared = store.open_task(Task("kie", "shared"), "https://api.example").result()
for number in range(count):
    for history in (own, shared):
        longer = history.add(Mark(word=MarkWord.WATCHING, note=f"{name}-{number}"), datetime.now(UTC))
        store.append(history.uid, longer.events[-1:], summary=longer).result()
        own, shared = (longer, shared) if history is own else (own, longer)
    print(number, flush=True)
"""


def finished(child, timeout=60):
    """The output of a process, which must end with status 0 and nothing on standard error."""
    out, err = child.communicate(timeout=timeout)
    assert (child.returncode, err) == (0, "")
    return out


def test_eight_processes_lose_nothing(python, tmp_path):
    """Eight processes that make the store together and append at once keep every row, of one shared task too."""
    folder, count = tmp_path / FOLDER, 25
    for child in [python(APPEND, folder, f"p{number}", count) for number in range(8)]:
        finished(child)
    store = Store(folder)
    events = {history.task.id: store.events(history.uid) for history in store.histories()}
    store.close()

    assert len(events) == 9
    for number in range(8):
        assert [e.seen.note for e in events[f"p{number}"]] == [f"p{number}-{n}" for n in range(count)]
    shared = [event.seen.note for event in events["shared"]]
    assert sorted(shared) == sorted(f"p{p}-{n}" for p in range(8) for n in range(count))
    assert [event.seq for event in events["shared"]] == list(range(1, 8 * count + 1))


def test_busy_neighbours_starve_nobody(python, tmp_path):
    """Beside processes that write without a pause, each write has its turn long before the wait is over."""
    store = Store(tmp_path / FOLDER)
    store.open_task(Task("kie", "1"), ORIGIN).result()
    neighbours = [python(APPEND, tmp_path / FOLDER, f"p{number}", 100_000) for number in range(2)]
    try:
        for neighbour in neighbours:
            neighbour.stdout.readline()
        for number in range(20):
            store.open_task(Task("kie", f"n{number}"), ORIGIN).result(30)
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.communicate()

    assert len(store.rows(Filter(provider=("kie",)))) == 24
    store.close()


@pytest.mark.parametrize("after", [1, 7, 20])
def test_killed_writers_leave_every_acknowledged_row(python, tmp_path, after):
    """After `kill -9` amid writing, every row whose write was acknowledged is there, and the file is whole."""
    child = python(APPEND, tmp_path / FOLDER, "p", 100_000)
    for _ in range(after):
        acknowledged = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate(timeout=30)
    acknowledged = max([acknowledged, *map(int, rest.split("\n")[:-1])])
    store = Store(tmp_path / FOLDER)
    (own,) = (store.events(history.uid) for history in store.histories() if history.task.id == "p")
    store.close()

    assert [e.seen.note for e in own][: acknowledged + 1] == [f"p-{n}" for n in range(acknowledged + 1)]
    assert len(own) <= acknowledged + 2
    assert store.notes == []


def test_a_forked_child_writes_too(python, tmp_path):
    """After a fork, parent and child both go on writing and reading, and nothing of either is lost."""
    script = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forking with threads: that is the case here
from nbhelper._store.store import Store
from nbhelper._model.task import Task
store = Store(sys.argv[1])
futures = [store.open_task(Task("kie", f"early-{n}"), "https://api.example") for n in range(50)]
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        for n in range(10):
            store.open_task(Task("kie", f"child-{number}-{n}"), "https://api.example").result(30)
        assert len(store.rows()) >= 10
        store.close()
        os._exit(0)
    children.append(child)
    for n in range(10):
        store.open_task(Task("kie", f"parent-{number}-{n}"), "https://api.example").result(30)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
[future.result(30) for future in futures]
print(len(store.rows()))
"""
    assert finished(python(script, tmp_path / FOLDER)) == "110\n"


def test_the_end_of_a_process_waits_for_its_writes(python, tmp_path):
    """A process that ends without `close()` writes all that was queued, and prints nothing."""
    script = """
import sys
from nbhelper._store.store import Store
from nbhelper._model.task import Task
store = Store(sys.argv[1])
for n in range(300):
    store.open_task(Task("kie", str(n)), "https://api.example")
"""
    assert finished(python(script, tmp_path / FOLDER)) == ""
    store = Store(tmp_path / FOLDER)

    assert len(store.rows()) == 300
    store.close()


def test_a_disk_that_refuses(python, tmp_path):
    """A write that the disk refuses raises StoreError; once the disk accepts it, it succeeds."""
    script = """
import resource, sys
from datetime import UTC, datetime
from nbhelper import StoreError
from nbhelper._store.store import Store
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.task import Task
store = Store(sys.argv[1])
history = store.open_task(Task("kie", "t"), "https://api.example").result()
longer = history.add(Miss(kind=MissKind.GARBLED, excerpt="x" * 300_000), datetime.now(UTC))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in range(1_000, 300_000, 20_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        store.append(history.uid, longer.events, summary=longer).result()
    except StoreError as error:
        assert "was not reached" in str(error), error
    else:
        raise SystemExit("it fitted")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert store.load(history.uid).events == ()
store.append(history.uid, longer.events, summary=longer).result()
assert store.load(history.uid).events == longer.events
assert store.notes == [], store.notes
"""
    finished(python(script, tmp_path / FOLDER))


def test_garbage_met_by_many(python, tmp_path):
    """Processes that open the same damaged file at once rename it once, and share the new history."""
    script = """
import sys
from nbhelper._store.store import Store
from nbhelper._model.task import Task
Store(sys.argv[1]).open_task(Task("kie", sys.argv[2]), "https://api.example").result()
"""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "history.db").write_text("dear diary\n" * 1000)
    for child in [python(script, tmp_path / FOLDER, n) for n in range(6)]:
        finished(child)
    store = Store(tmp_path / FOLDER)

    assert len(store.rows()) == 6
    assert len(list((tmp_path / FOLDER).glob("*.aside"))) == 1
    store.close()


def test_many_threads_share_a_store(tmp_path):
    """Threads that write and read at once meet no lock and lose no row."""
    store = Store(tmp_path / FOLDER)
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        for n in range(20):
            history = store.open_task(Task("kie", f"{number}-{n}"), ORIGIN).result()
            longer = history.add(Mark(word=MarkWord.WATCHING), datetime.now(UTC))
            store.append(history.uid, longer.events, summary=longer).result()
            assert len(store.load(history.uid).events) == 1
            assert len(store.rows(Filter(provider=("kie",)))) >= n

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert len(store.rows()) == 160
    store.close()


def test_a_stopped_interpreter_refuses_in_words(tmp_path, monkeypatch):
    """When no thread can be started any more, the future raises StoreError instead of hanging."""
    store = Store(tmp_path / FOLDER)

    def no_thread(self):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(StoreError, match="thread"):
            store.open_task(Task("kie", "1"), ORIGIN).result(30)

    assert store.open_task(Task("kie", "2"), ORIGIN).result(30).task.id == "2"
    store.close()
