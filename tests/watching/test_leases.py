"""One task in several processes: one of them looks, all see it, and another takes over when that one is gone."""

import os
import signal
import sqlite3
import sys
import time
from contextlib import closing

import pytest
from support.mill import DONE, FLOOR, QUEUED, WORKING, png, provider, sha256, silence
from support.raw_server import reply
from support.scripts import run
from support.waiting import until
from support.watched import events_of, marks, watch

import nbhelper as nbh
from nbhelper._session.session import connection, store
from nbhelper._watching import engine

WATCH = """
w = nbh.watch("mill:x", block=False, display=False)
while not w[0].state: time.sleep(0.01)
print("ready", flush=True)
show(w.result()[0] if isinstance(w.result(), list) else w.result())
"""
PNG = png(3000)


def finish(mill, ident="x"):
    """Let the task end, with a file."""
    mill.jobs[ident][:] = [{**DONE, "files": [mill.file(reply(PNG))]}]


def as_printed(history):
    """A history as `show` prints it."""
    lines = [
        f"{e.seq} {e.at.isoformat()} {type(e.seen).__name__} {getattr(e.seen, 'word', '')}" for e in events_of(history)
    ]
    return [*(line.strip() for line in lines), f"{history.outcome} {[path.name for path in history.files]}"]


def shown(process):
    out, err = process.communicate(timeout=30)
    assert err == ""
    return [line.strip() for line in out.splitlines() if line != "ready"]


def is_free(uid):
    """Whether another process could take a task now."""
    code = """
    import sys
    from pathlib import Path
    from nbhelper._store.locks import lock_file
    print(lock_file(Path(sys.argv[1])).take(sys.argv[2]))
    """
    done = run(code, str(store().folder), uid, cwd=store().folder)
    assert done.stderr == ""
    return done.stdout == "True\n"


def readings(monkeypatch):
    """The rows of each reading of what another process wrote, as they are made."""
    book, made = store(), []
    real = book.last_seqs
    monkeypatch.setattr(book, "last_seqs", lambda uids: made.append(uids) or real(uids))
    return made


def stored():
    """The history of the task as the store has it."""
    return store().histories()[0]


@pytest.fixture
def other(mill, notebook):
    """Another process that looks at a task already."""
    mill.job(QUEUED, WORKING, ident="x")
    process = notebook(WATCH)
    assert process.stdout.readline() == "ready\n"
    return process


def test_one_process_looks_and_both_see_it(mill, other):
    """The server sees the looks of one; both histories end equal, event by event; one file is fetched."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 5)
    finish(mill)

    mine = handle.result(30)

    assert mine.succeeded
    assert shown(other) == as_printed(mine)
    assert mine.facts.polls == len(mill.looks["x"])
    assert min(mill.gaps()) >= FLOOR
    assert len(mill.asked("/files")) == 1
    assert marks(mine) == ["watching"]
    assert as_printed(store().load(mine.uid)) == as_printed(mine)
    assert is_free(mine.uid)


def test_four_processes_watch_five_tasks(mill, notebook):
    """However many watch, each task is looked at by one, nothing is recorded twice, and all end alike."""
    for n in range(5):
        mill.job(WORKING, ident=f"x{n}")
    code = """
    w = nbh.watch([f"mill:x{n}" for n in range(5)], block=False, display=False)
    while not all(h.state for h in w): time.sleep(0.01)
    print("ready", flush=True)
    for history in w.result(): show(history)
    """
    processes = [notebook(code) for _ in range(4)]
    assert [p.stdout.readline() for p in processes] == ["ready\n"] * 4
    for n in range(5):
        finish(mill, f"x{n}")

    printed = [shown(p) for p in processes]

    assert all(lines == printed[0] for lines in printed)
    rows = nbh.tasks().set_index("task_id")
    assert all(rows.loc[f"x{n}", "polls"] == len(mill.looks[f"x{n}"]) for n in range(5))
    assert min(mill.gaps()) >= FLOOR
    assert len(mill.asked("/files")) == 5
    assert not nbh.events().duplicated(["task", "at", "seen"]).any()


def test_another_process_takes_over_from_one_that_was_killed(mill, other):
    """The kernel frees what a dead process held, and the next reading finds it: nothing has to run out first."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 3)
    other.kill()
    other.wait(30)
    finish(mill)

    mine = handle.result(30)

    assert marks(mine) == ["watching", "resumed"]
    assert mine.facts.polls in {len(mill.looks["x"]), len(mill.looks["x"]) - 1}  # the last look may have died with it
    assert sha256(mine.files[0].read_bytes()) == sha256(PNG)


def test_a_watch_begun_while_another_stops_during_a_take_over_goes_on(mill, other):
    """Stopped while the mark of the take-over is written, and watched again at that moment: the new watch goes on."""
    handle = watch("mill:x")
    until(lambda: handle.elsewhere)
    (watcher,) = engine.engine().watchers.values()
    joined = []
    with closing(sqlite3.connect(store().folder / "history.db", isolation_level=None)) as writing:
        writing.execute("BEGIN IMMEDIATE")
        other.kill()
        other.wait(30)
        until(lambda: not watcher.is_elsewhere and watcher._recorder._writes)
        handle.stop()
        until(lambda: watcher._stop_note)
        api = connection("mill")
        engine.engine().attach([(handle[0], api)], joined.append, store=store(), folder=None, interval=None)
        until(lambda: watcher._again)
        writing.execute("ROLLBACK")
    until(lambda: joined and marks(joined[-1].history)[-2:] == ["stopped", "resumed"])
    finish(mill)

    until(lambda: joined[-1].is_over)
    assert joined[-1].history.succeeded


def test_a_watch_says_that_another_notebook_looks(mill, other):
    """Whose looks these are is told while it is so: no more once this process has taken over, and not at the end."""
    handle = watch("mill:x")
    followed = until(lambda: handle.elsewhere)
    next_look = handle.next_look
    other.kill()
    other.wait(30)
    until(lambda: marks(handle[0])[-1] == "resumed" and not handle.elsewhere)
    until(lambda: handle.next_look is not None)
    finish(mill)

    assert handle.result(30).succeeded
    assert (followed, next_look) == ({handle[0].uid}, None)
    assert not handle.elsewhere


@pytest.mark.parametrize("follows", [True, False], ids=["that follows", "that begins afterwards"])
def test_the_floor_holds_for_a_look_that_died_with_its_process(mill, notebook, follows):
    """A look that was sent and never recorded counts: a process that takes over waits a whole floor first."""
    mill.job(WORKING, silence, WORKING, ident="x")
    process = notebook('nbh.watch("mill:x", interval=1.5, display=False)')
    until(lambda: mill.looks.get("x"))
    nbh.register(provider(mill.root, floor=1.0))
    handle = watch("mill:x") if follows else None
    until(lambda: len(mill.looks["x"]) == 2)
    process.kill()
    process.wait(30)
    killed = time.monotonic()
    handle = handle or watch("mill:x")

    until(lambda: len(mill.looks["x"]) == 3)

    assert mill.looks["x"][2] - killed >= 1.0
    finish(mill)
    mine = handle.result(30)
    assert mine.succeeded
    assert marks(mine) == ["watching", "resumed"]


def test_a_stopped_process_keeps_its_tasks(mill, other, monkeypatch):
    """Frozen, such as in a laptop that sleeps, it is not replaced; woken, it goes on, and both see the same end."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 3)
    other.send_signal(signal.SIGSTOP)
    made = readings(monkeypatch)
    until(lambda: len(made) >= 10)
    looks = len(mill.looks["x"])
    until(lambda: len(made) >= 20)
    assert len(mill.looks["x"]) == looks
    assert handle.elsewhere
    other.send_signal(signal.SIGCONT)
    finish(mill)

    mine = handle.result(30)

    assert shown(other) == as_printed(mine) == as_printed(store().load(mine.uid))
    assert marks(mine) == ["watching"]
    assert mine.facts.polls == len(mill.looks["x"])


def test_a_process_killed_while_it_saves_leaves_the_file_to_the_other(mill, notebook):
    """The other one fetches the rest, and one file and one row come of it."""
    data = png(200_000)

    async def half(conn, _request):
        await conn.send(reply(data[:100_000], headers={"etag": '"v1"'}, length=len(data)))
        await conn.gone()

    mill.job({**DONE, "files": [mill.file(half, reply(data, headers={"etag": '"v1"'}))]}, ident="x")
    process = notebook(WATCH)
    assert process.stdout.readline() == "ready\n"
    until(lambda: mill.asked("/files"))
    handle = watch("mill:x")
    process.kill()
    process.wait(30)

    mine = handle.result(30)

    assert as_printed(mine) == as_printed(store().load(mine.uid))
    assert [sha256(path.read_bytes()) for path in mine.files] == [sha256(data)]
    assert [path.name for path in mine.files[0].parent.iterdir()] == ["files-0.png"]
    assert len(nbh.outputs()) == 1


def test_one_that_ends_in_order_leaves_the_task_to_the_other(mill, notebook):
    """A notebook that is closed: the other one looks as soon as it is gone."""
    mill.job(WORKING, ident="x")
    process = notebook("""
    w = nbh.watch("mill:x", block=False, display=False)
    while not w[0].state: time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.readline()
    """)
    assert process.stdout.readline() == "ready\n"
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 1)
    assert process.communicate("\n", timeout=30) == ("", "")
    finish(mill)

    mine = handle.result(30)

    assert mine.succeeded
    assert marks(mine) == ["watching", "resumed"]


def test_one_that_stops_by_hand_leaves_the_task_to_the_other(mill, notebook):
    """Stopped in one notebook, a task is looked at by the other, whose watch has not ended."""
    mill.job(WORKING, ident="x")
    process = notebook("""
    w = nbh.watch("mill:x", block=False, display=False)
    while not w[0].state: time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.readline()
    time.sleep(0.5)
    w.stop()
    print(w.result().outcome)
    """)
    assert process.stdout.readline() == "ready\n"
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 3)
    assert process.communicate("\n", timeout=30) == ("stopped\n", "")
    finish(mill)

    mine = handle.result(30)

    assert mine.succeeded
    assert marks(mine) == ["watching", "stopped", "resumed"]


def test_one_that_only_follows_stops_alone(mill, other):
    """Its handle says stopped; the store, and the process that looks, go on."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 3)
    handle.stop()

    assert str(handle.result(30).outcome) == "stopped"
    assert nbh.tasks()["outcome"].isna().all()
    finish(mill)
    assert shown(other)[-1] == "succeeded ['files-0.png']"
    assert marks(store().load(handle[0].uid)) == ["watching"]


def test_a_lost_task_is_lost_for_both(mill, other):
    """What the process that looks gives up is over for those that follow."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 3)
    mill.jobs["x"][:] = [reply({"message": "bad key"}, 401)]

    mine = handle.result(30)

    assert str(mine.outcome) == "lost"
    assert shown(other) == as_printed(mine)


def test_watching_writes_nothing_for_its_lease(mill, monkeypatch):
    """What is written is what was seen; the lease is a lock of the kernel, held until the end and no longer."""
    book, works = store(), []
    real = book._writer.put
    monkeypatch.setattr(book._writer, "put", lambda work, *rest, **how: works.append(work) or real(work, *rest, **how))
    mill.job(*[WORKING] * 10, DONE, ident="x")

    history = watch("mill:x").result(30)

    assert len(works) == 2 + history.seq  # the salt of the fingerprints, and the row of the task
    assert is_free(history.uid)


@pytest.mark.skipif(sys.platform != "linux", reason="POSIX record locks are freed by that")
def test_files_of_the_store_that_are_opened_and_closed_free_nothing(mill, notebook):
    """A backup of the folder from within the process that looks: another process still only follows."""
    mill.job(WORKING, ident="x")
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 1)
    for name in ("nbhelper.lock", "history.db"):
        (store().folder / name).read_bytes()
    uid = handle[0].uid
    assert not is_free(uid)
    process = notebook(WATCH + "print(w.elsewhere)")
    assert process.stdout.readline() == "ready\n"
    assert not is_free(uid)
    finish(mill)

    mine = handle.result(30)

    assert shown(process)[:-1] == as_printed(mine)
    assert marks(mine) == ["watching"]
    assert mine.facts.polls == len(mill.looks["x"])


def test_what_is_followed_is_read_together(mill, notebook, monkeypatch):
    """One reading of the store a tick, however many tasks another process looks at."""
    for n in range(5):
        mill.job(WORKING, ident=f"x{n}")
    process = notebook("""
    w = nbh.watch([f"mill:x{n}" for n in range(5)], block=False, display=False)
    while not all(h.state for h in w): time.sleep(0.01)
    print("ready", flush=True)
    w.result()
    """)
    assert process.stdout.readline() == "ready\n"
    made = readings(monkeypatch)
    handle = watch([f"mill:x{n}" for n in range(5)])

    until(lambda: made and len(made[-1]) == 5)
    handle.stop()


def test_a_folder_that_cannot_be_locked_is_watched_all_the_same(mill, tmp_path):
    """A link where the lock file should be: the watch is worth more than the looks that two processes would share."""
    store().folder.mkdir()
    (store().folder / "nbhelper.lock").symlink_to(tmp_path / "elsewhere")
    mill.job(WORKING, DONE, ident="x")

    assert watch("mill:x").result(30).succeeded
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_follows_its_parent(mill, notebook):
    """The child looks at nothing that its parent watches, and takes over when that is killed."""
    mill.job(WORKING, ident="x")
    process = notebook("""
    w = nbh.watch("mill:x", block=False, display=False)
    while not w[0].state: time.sleep(0.01)
    if os.fork() == 0:
        w = nbh.watch("mill:x", block=False, display=False)
        while not w.elsewhere: time.sleep(0.01)
        print("follows", flush=True)
        show(w.result())
        os._exit(0)
    time.sleep(60)
    """)
    assert process.stdout.readline() == "follows\n"
    process.kill()
    until(lambda: "resumed" in marks(stored()))
    finish(mill)

    out = process.stdout.read()

    assert out.splitlines()[-1] == "succeeded ['files-0.png']"
    assert marks(stored()) == ["watching", "resumed"]
    assert min(mill.gaps()) >= FLOOR
