"""A process takes over the tasks of another one that was killed, ended, or stopped its watch."""

import os
import sqlite3
import time
from contextlib import closing

import pytest
from support.mill import DONE, FLOOR, WORKING, png, provider, sha256, silence
from support.raw_server import reply
from support.two_processes import PNG, WATCH, as_printed, finish
from support.waiting import until
from support.watched import marks, watch

import nbhelper as nbh
from nbhelper._session.session import connection, store
from nbhelper._watching import engine


def stored():
    """The history of the task as the store has it."""
    return store().histories()[0]


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


def test_a_process_killed_while_it_saves_leaves_the_file_to_the_other(mill, notebook):
    """The other one fetches the rest, and one file and one row come of it."""
    data = png(200_000)

    async def half(conn, _request):
        await conn.send(reply(data[:100_000], headers={"etag": '"v1"'}, length=len(data)))
        await conn.gone()

    mill.job({**DONE, "files": [mill.file(half, reply(data, headers={"etag": '"v1"'}))]}, ident="x")
    process = notebook(WATCH)
    assert process.stdout.readline() == "ready\n"
    until(lambda: mill.requests_to("/files"))
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
