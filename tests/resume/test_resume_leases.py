"""One task in several processes: one of them looks, all see it, and another takes over when that one is gone."""

import asyncio
import os
import signal
import sqlite3
import time
from datetime import UTC, datetime, timedelta

import pytest
from support.mill import DONE, FLOOR, QUEUED, WORKING, png, provider, sha256, silence
from support.raw_server import reply
from support.waiting import until
from support.watched import events_of

import nbhelper as nbh
from nbhelper import _leases
from nbhelper._leases import Held, Leases
from nbhelper._session import store

WATCH = """
w = nbh.watch("mill:x", block=False, display=False)
while not w[0].state: time.sleep(0.01)
print("ready", flush=True)
show(w.result()[0] if isinstance(w.result(), list) else w.result())
"""
PNG = png(3000)


def watch(what, **options):
    return nbh.watch(what, block=False, display=False, **options)


def finish(mill, ident="x"):
    """Let the task end, with a file."""
    mill.jobs[ident][:] = [{**DONE, "files": [mill.file(reply(PNG))]}]


def told(history):
    """A history as `show` prints it."""
    lines = [
        f"{e.seq} {e.at.isoformat()} {type(e.seen).__name__} {getattr(e.seen, 'word', '')}" for e in events_of(history)
    ]
    return [*(line.strip() for line in lines), f"{history.outcome} {[path.name for path in history.files]}"]


def shown(process):
    out, err = process.communicate(timeout=30)
    assert err == ""
    return [line.strip() for line in out.splitlines() if line != "ready"]


def words(history):
    return [str(event.seen.word) for event in events_of(history) if type(event.seen).__name__ == "Mark"]


def leases():
    with sqlite3.connect(store().folder / "history.db") as db:
        return db.execute("SELECT l.uid FROM leases l WHERE l.uid <> l.holder").fetchall()


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

    mine = handle.result(20)

    assert mine.succeeded
    assert shown(other) == told(mine)
    assert mine.facts.polls == len(mill.looks["x"])
    assert min(mill.gaps()) >= FLOOR
    assert len(mill.asked("/files")) == 1
    assert words(mine) == ["watching"]
    assert told(store().load(mine.uid)) == told(mine)
    assert leases() == []


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
    """That a process of this machine is gone is known at once: nobody waits for its lease to run out."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 3)
    other.kill()
    other.wait(30)
    finish(mill)

    mine = handle.result(20)  # less than a lease's term

    assert words(mine) == ["watching", "resumed"]
    assert mine.facts.polls in {len(mill.looks["x"]), len(mill.looks["x"]) - 1}  # the last look may have died with it
    assert sha256(mine.files[0].read_bytes()) == sha256(PNG)


def test_a_watch_says_that_another_notebook_looks(mill, other):
    """Whose looks these are is told while it is so: no more once this process has taken over, and not at the end."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 2)
    followed, next_look = handle.elsewhere, handle.next_look
    other.kill()
    other.wait(10)
    until(lambda: words(handle[0])[-1] == "resumed" and not handle.elsewhere)
    until(lambda: handle.next_look is not None)
    finish(mill)

    assert handle.result(20).succeeded
    assert (followed, next_look) == ({handle[0].uid}, None)
    assert not handle.elsewhere


def test_the_floor_holds_for_a_look_that_died_with_its_process(mill, notebook):
    """A look that was sent and never recorded counts: whoever takes over waits a whole floor first."""
    mill.job(WORKING, silence, WORKING, ident="x")
    process = notebook('nbh.watch("mill:x", interval=1.5, display=False)')
    until(lambda: mill.looks.get("x"))
    nbh.register(provider(mill.root, floor=1.0))
    handle = watch("mill:x")
    until(lambda: len(mill.looks["x"]) == 2)
    process.kill()
    process.wait(30)
    killed = time.monotonic()

    until(lambda: len(mill.looks["x"]) == 3)

    assert mill.looks["x"][2] - killed >= 1.0
    finish(mill)
    assert handle.result(20).succeeded


def test_a_stopped_process_loses_its_tasks_and_notices(mill, hasty, other):
    """Frozen, it is replaced when its lease has run out; woken, it looks no more and follows to the same end."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 3)
    other.send_signal(signal.SIGSTOP)
    until(lambda: "resumed" in words(handle[0]), 30)
    other.send_signal(signal.SIGCONT)
    woken = handle[0].facts.polls
    until(lambda: handle[0].facts.polls >= woken + 3, 30)
    finish(mill)

    mine = handle.result(20)

    assert shown(other) == told(mine) == told(store().load(mine.uid))
    assert words(mine)[:2] == ["watching", "resumed"]
    assert mine.facts.polls == len(mill.looks["x"])
    assert not nbh.events().duplicated(["task", "at", "seen"]).any()
    assert leases() == []


def test_a_process_stopped_while_it_saves_leaves_the_file_to_the_other(mill, hasty, notebook):
    """Its part is its own: the other one fetches the file anew, and one file and one row come of it."""
    data = png(200_000)

    async def half(conn, _asked):
        await conn.send(reply(data[:100_000], headers={"etag": '"v1"'}, length=len(data)))
        await conn.gone()

    mill.job({**DONE, "files": [mill.file(half, reply(data, headers={"etag": '"v1"'}))]}, ident="x")
    process = notebook(WATCH)
    assert process.stdout.readline() == "ready\n"
    until(lambda: mill.asked("/files"))
    process.send_signal(signal.SIGSTOP)

    mine = watch("mill:x").result(30)
    process.send_signal(signal.SIGCONT)

    assert shown(process) == told(mine) == told(store().load(mine.uid))
    assert [sha256(path.read_bytes()) for path in mine.files] == [sha256(data)]
    assert mill.asked("/files")[1].header("range") is None
    assert [path.name for path in mine.files[0].parent.iterdir()] == ["files-0.png"]
    assert len(nbh.outputs()) == 1


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
    assert process.communicate("\n", timeout=20) == ("stopped\n", "")
    finish(mill)

    mine = handle.result(20)

    assert mine.succeeded
    assert words(mine) == ["watching", "stopped", "resumed"]


def test_one_that_only_follows_stops_alone(mill, other):
    """Its handle says stopped; the store, and the process that looks, go on."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 3)
    handle.stop()

    assert str(handle.result(30).outcome) == "stopped"
    assert nbh.tasks()["outcome"].isna().all()
    finish(mill)
    assert shown(other)[-1] == "succeeded ['files-0.png']"
    assert words(store().load(handle[0].uid)) == ["watching"]


def test_a_lost_task_is_lost_for_both(mill, other):
    """What the process that looks gives up is over for those that follow."""
    handle = watch("mill:x")
    until(lambda: handle[0].facts.polls >= 3)
    mill.jobs["x"][:] = [reply({"message": "bad key"}, 401)]

    mine = handle.result(20)

    assert str(mine.outcome) == "lost"
    assert shown(other) == told(mine)


def test_watching_takes_no_transaction_of_its_own_for_its_lease(mill, monkeypatch):
    """The lease is taken, kept and given up in the transactions that keep what was seen."""
    book, works = store(), []
    real = book._writer.hand
    monkeypatch.setattr(book._writer, "hand", lambda work, *rest, **how: works.append(work) or real(work, *rest, **how))
    mill.job(*[WORKING] * 10, DONE, ident="x")

    history = watch("mill:x").result(20)

    assert len(works) == 2 + history.seq  # the salt of the fingerprints, and the row of the task
    assert leases() == []


# Clocks, on two leases of one store without an engine


ALIVE = f"{_leases._HOST}/1/{_leases._born(1)}/aaaaaaaaaaaa"
ELSEWHERE = "another-machine/77/123/bbbbbbbbbbbb"


def take(name, uid="x"):
    """Have a process of this name take a task's lease; whether it got it."""

    async def main():
        taken = Leases(store(), name)
        try:
            await asyncio.wrap_future(store().write(taken.take(uid)))
        except Held:
            return False
        finally:
            taken._beating.cancel()
        return True

    return asyncio.run(main())


def sign(name, ago):
    """Write a holder's last sign of life as if its clock, or ours, had been set."""
    until_ = (datetime.now(UTC) - ago).isoformat()
    store().write(lambda db: db.execute("UPDATE leases SET until = ? WHERE uid = ?", (until_, name))).result()


JUMPS = {"a day ahead": timedelta(days=-1), "a day behind": timedelta(days=1)}


@pytest.mark.parametrize("ago", JUMPS.values(), ids=JUMPS)
def test_a_clock_that_jumps_takes_no_task_from_a_living_process(ago):
    """Wall clocks are not compared: what counts is how long no sign of life was seen."""
    assert take(ALIVE)
    sign(ALIVE, ago)
    mine = Leases(store(), "me/1/1/1")

    assert not mine._free(ALIVE, (datetime.now(UTC) - ago).isoformat())
    assert not take("me/1/1/1")


def test_without_a_sign_of_life_a_lease_runs_out(monkeypatch):
    """After `TERM` of watching an unchanged sign, by the monotonic clock, the task is free; a new sign begins anew."""
    from types import SimpleNamespace

    now = [1000.0]
    monkeypatch.setattr(_leases, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    mine = Leases(store(), "me/1/1/1")

    assert not mine._free(ALIVE, "one")
    now[0] += _leases.TERM / 2
    assert not mine._free(ALIVE, "one")
    now[0] += _leases.TERM / 2
    assert mine._free(ALIVE, "one")
    assert not mine._free(ALIVE, "two")


NAMES = {
    "itself": ("me/1/1/1", True),
    "ended": (f"{_leases._HOST}/4194305/1/x", True),
    "another birth": (f"{_leases._HOST}/1/999999999999/x", True),
    "an earlier engine here": (f"{_leases._HOST}/{os.getpid()}/{_leases._born(os.getpid())}/x", True),
    "alive": (ALIVE, False),
    "elsewhere": (ELSEWHERE, False),
}


@pytest.mark.parametrize(("name", "free"), NAMES.values(), ids=NAMES)
def test_who_is_gone_is_known_at_once(name, free):
    """A process of this machine that has ended, or whose number another one has by now, holds nothing."""
    assert Leases(store(), "me/1/1/1")._free(name, datetime.now(UTC).isoformat()) is free


def test_another_machine_is_trusted_for_minutes():
    """Of a machine that cannot be asked, a lease that ran out long ago is none."""
    mine = Leases(store(), "me/1/1/1")
    now = datetime.now(UTC)

    assert not mine._free(ELSEWHERE, (now - timedelta(minutes=4)).isoformat())
    assert mine._free(ELSEWHERE, (now - timedelta(minutes=6)).isoformat())


def test_what_killed_processes_left_is_swept():
    """Old signs of life, and the leases behind them, go when a process gives its first one."""
    assert take(ALIVE, "old")
    assert take(ELSEWHERE, "young")
    sign(ALIVE, timedelta(days=2))

    assert take(f"{_leases._HOST}/{os.getpid()}//x", "mine")

    assert sorted(leases()) == [("mine",), ("young",)]
