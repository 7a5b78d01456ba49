"""One task in several processes: the one that holds the lease looks, the others follow what it writes."""

import asyncio
import signal
import sys
import threading

import pytest
from support.mill import DONE, FLOOR, WORKING
from support.raw_server import reply
from support.scripts import run
from support.two_processes import PNG, WATCH, as_printed, finish, shown
from support.waiting import until
from support.watched import marks, watch

import nbhelper as nbh
from nbhelper._session.session import store
from nbhelper._watching import engine


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
    assert len(mill.requests_to("/files")) == 1
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
    assert len(mill.requests_to("/files")) == 5
    assert not nbh.events().duplicated(["task", "at", "seen"]).any()


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


def test_one_that_only_follows_gives_up_no_files_of_the_other(mill, other):
    """Stopped while the other process fetches a file, it leaves that file's save to the other process."""
    release = threading.Event()

    async def slow(conn, _request):
        await asyncio.to_thread(release.wait, 60)
        await conn.send(reply(PNG))

    mill.jobs["x"][:] = [{**WORKING, "files": [mill.file(slow)]}]
    handle = watch("mill:x")
    until(lambda: handle[0].outputs and mill.requests_to("/files"))
    handle.stop()
    assert str(handle.result(30).outcome) == "stopped"
    until(lambda: not engine.engine().watchers)
    assert store().load(handle[0].uid).saves == {}  # neither saved nor given up
    release.set()
    mill.jobs["x"][:] = [DONE]

    assert shown(other)[-1] == "succeeded ['files-0.png']"


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


def test_two_processes_without_a_lock_keep_one_history(mill, notebook, tmp_path):
    """Where no lock can be had both look, and what each of them shows stands in the store under the same number."""
    store().folder.mkdir()
    (store().folder / "nbhelper.lock").symlink_to(tmp_path / "elsewhere")
    mill.job(WORKING, ident="x")
    process = notebook(WATCH)
    assert process.stdout.readline() == "ready\n"
    handle = watch("mill:x")
    polls = until(lambda: handle[0].facts.polls)
    until(lambda: handle[0].facts.polls >= polls + 4)

    seen = handle[0]
    stored = {(event.seq, event.at) for event in store().events(seen.uid)}

    assert not handle.elsewhere
    assert {(event.seq, event.at) for event in seen.events} <= stored
    finish(mill)
    assert handle.result(30).succeeded
    assert shown(process)[-1] == "succeeded ['files-0.png']"
