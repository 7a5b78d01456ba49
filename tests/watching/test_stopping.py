"""The timeout and the stop of one handle: they end that handle alone, and the looking with the last one."""

import asyncio
import base64
import gc
import sqlite3
import threading
import weakref
from contextlib import closing
from itertools import pairwise

import pytest
from support.mill import DONE, FLOOR, WORKING, later, png, sha256, silence
from support.raw_server import reply
from support.waiting import until
from support.watched import looks, marks, watch

from nbhelper._network.http import Http
from nbhelper._session import session
from nbhelper._watching import engine as _engine
from nbhelper._watching import task_watcher
from nbhelper.types import Outcome, State


def test_a_timeout_belongs_to_its_handle(mill):
    """One handle's timeout ends that handle as stopped; the other goes on to the end."""
    ref = mill.job(WORKING)
    patient, hasty = watch(ref), watch(ref, timeout=0.3)

    ended = hasty.result(30)
    mill.jobs["job-1"][:] = [DONE]

    assert ended.outcome is Outcome.STOPPED
    assert "timeout of 0.3 s" in ended.error
    assert patient.result(30).outcome is Outcome.SUCCEEDED


def test_timeouts_take_no_threads(mill):
    """However many watches have a timeout, no thread is started for them."""
    ref = mill.job(WORKING)
    first = watch(ref)
    until(lambda: looks(first[0]))
    before = {*threading.enumerate()}

    handles = [first, *(watch(ref, timeout=3600) for _ in range(50))]
    started = {thread.name for thread in threading.enumerate() if thread not in before}
    for handle in handles:
        handle.stop()

    assert {name for name in started if not name.startswith("nbhelper_")} == set()


def test_a_watch_that_is_over_keeps_no_timer(mill):
    """Once a watch has ended, its timeout no longer keeps it in memory."""
    handle = watch(mill.job(DONE), timeout=3600)
    handle.result(30)
    gone = weakref.ref(handle)

    del handle

    until(lambda: gc.collect() >= 0 and gone() is None)


def test_a_huge_timeout_is_no_fault(mill):
    """A timeout of centuries is as good as none."""
    assert watch(mill.job(DONE), timeout=1e15).result(30).succeeded


def test_timeout_zero_is_one_look(mill):
    """With `timeout=0` each task is looked at exactly once."""
    refs = [mill.job(WORKING) for _ in range(3)]

    histories = watch(refs, timeout=0).result(30)

    assert [h.outcome for h in histories] == [Outcome.STOPPED] * 3
    assert [h.state for h in histories] == [State.RUNNING] * 3
    assert [len(times) for times in mill.looks.values()] == [1, 1, 1]


def test_timeout_zero_of_a_finished_task_is_its_end(mill):
    """One look that finds the end is the end, results saved."""
    handle = watch(mill.job({"state": "done", "files": [mill.file(reply(png()))]}), timeout=0)

    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert len(handle.files) == 1


def test_stop_belongs_to_its_handle(mill):
    """Stopping one handle stops no other."""
    ref = mill.job(WORKING)
    staying, leaving = watch(ref), watch(ref)
    until(lambda: len(looks(staying[0])) > 1)

    leaving.stop()
    assert leaving.result(30).outcome is Outcome.STOPPED
    assert not staying.done
    mill.jobs["job-1"][:] = [DONE]

    assert staying.result(30).outcome is Outcome.SUCCEEDED
    assert "stopped" not in marks(staying[0])


def test_the_last_stop_ends_the_looking(mill):
    """When nobody watches any more nobody looks, and the store says stopped."""
    ref = mill.job(WORKING)
    handle = watch(ref)
    until(lambda: looks(handle[0]))

    handle.stop("that is enough")
    history = handle.result(30)

    assert history.outcome is Outcome.STOPPED
    assert history.error == "that is enough"
    assert until(lambda: not _engine.engine().watchers)
    stored = session.store().load(history.uid)
    assert stored.outcome is Outcome.STOPPED


def test_a_stopped_watch_is_taken_up_again(mill):
    """Watching a stopped task again looks again, and the final word replaces the stop."""
    ref = mill.job(WORKING)
    first = watch(ref)
    until(lambda: looks(first[0]))
    first.stop()
    mill.jobs["job-1"][:] = [DONE]

    second = watch(ref)

    assert second.result(30).outcome is Outcome.SUCCEEDED
    assert first.result(30).outcome in {Outcome.STOPPED, Outcome.SUCCEEDED}
    assert min(mill.gaps()) >= FLOOR


def test_a_watch_begun_during_a_stop_is_not_stopped_with_it(mill):
    """However close a stop and a new watch come together, the new one goes on."""
    ref = mill.job(WORKING)
    handles = [watch(ref)]
    for _ in range(12):
        until(lambda: looks(handles[-1][0]))
        handles[-1].stop()
        handles.append(watch(ref))
    mill.jobs["job-1"][:] = [DONE]

    history = handles[-1].result(30)
    assert history.outcome is Outcome.SUCCEEDED
    assert all(one != other for one, other in pairwise(marks(history))), marks(history)  # nothing begins or stops twice
    assert min(mill.gaps()) >= FLOOR
    assert {handle[0].outcome for handle in handles[:-1]} == {Outcome.STOPPED}


def test_a_watch_that_is_stopped_during_another_stop_does_not_begin(mill):
    """Begun and stopped while the stop of another handle waits for a reply: nobody looks any more."""
    go = threading.Event()

    async def wait(conn, _request):
        await asyncio.to_thread(go.wait, 60)
        await conn.send(reply(WORKING))

    first = watch(mill.job(wait, WORKING))
    until(lambda: mill.looks.get("job-1"))
    (watcher,) = _engine.engine().watchers.values()
    first.stop()
    until(lambda: watcher._stop_note)
    second = watch("mill:job-1")
    until(lambda: watcher._again)
    second.stop()
    _engine.engine().run(asyncio.sleep(0)).result(30)  # it has begun
    go.set()

    assert [handle.result(30).outcome for handle in (first, second)] == [Outcome.STOPPED] * 2
    until(lambda: not _engine.engine().watchers)
    assert len(mill.looks["job-1"]) == 1


def test_stopping_does_not_wait_for_a_silent_server(mill, monkeypatch):
    """A look that gets no answer is given up soon after the stop."""
    monkeypatch.setattr(task_watcher, "_LAST_REPLY", 0.2)
    handle = watch(mill.job(silence))
    until(lambda: mill.looks.get("job-1"))

    handle.stop()

    assert handle.result(30).outcome is Outcome.STOPPED  # a look may take thirty seconds


def test_the_request_of_a_look_that_was_given_up_is_cancelled(mill, monkeypatch):
    """The connection to a silent server closes with the stop, not at the look's own deadline."""
    monkeypatch.setattr(task_watcher, "_LAST_REPLY", 0.2)
    monkeypatch.setitem(Http.api.__kwdefaults__, "deadline", 600.0)
    closed = threading.Event()

    async def wait_for_its_end(conn, _request):
        await conn.gone()
        closed.set()

    handle = watch(mill.job(wait_for_its_end))
    until(lambda: mill.looks.get("job-1"))
    handle.stop()

    assert closed.wait(30)


def test_stopping_during_a_download_ends_the_handle_at_once(mill):
    """The handle does not wait for files on their way; they are saved all the same."""
    data, release = png(50), threading.Event()

    async def slow(conn, _request):
        await asyncio.to_thread(release.wait, 60)
        await conn.send(reply(data))

    handle = watch(mill.job({"state": "done", "files": [mill.file(slow)]}))
    until(lambda: mill.requests_to("/files"))

    handle.stop()
    ended = handle.result(30)
    release.set()

    assert ended.outcome is Outcome.SUCCEEDED
    until(lambda: handle.files)
    assert sha256(handle.files[0].read_bytes()) == sha256(data)


def test_a_result_inside_the_reply_under_way_survives_a_stop(mill):
    """Base64 is delivered once: a stop during that very look still saves it."""
    data = png(20)
    once = {"state": "done", "b64": base64.b64encode(data).decode()}
    handle = watch(mill.job(later(0.3, once), DONE))
    until(lambda: mill.looks.get("job-1"))

    handle.stop()
    history = handle.result(30)

    assert history.outcome is Outcome.SUCCEEDED
    assert [sha256(f.read_bytes()) for f in history.files] == [sha256(data)]


LAST = {
    "a link": lambda mill, data: {"state": "done", "files": [mill.file(reply(data))]},
    "base64": lambda _, data: {"state": "done", "b64": base64.b64encode(data).decode()},
}


@pytest.mark.parametrize("last", LAST.values(), ids=LAST)
def test_a_reply_that_is_being_recorded_survives_a_stop(mill, last):
    """A stop while the last reply waits for another notebook's transaction: it is recorded, and its result saved."""
    data = png(30)
    handle = watch(mill.job(WORKING))
    until(lambda: looks(handle[0]))
    watcher = next(iter(_engine.engine().watchers.values()))
    with closing(sqlite3.connect(session.store().folder / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        until(lambda: watcher._recorder._writes)  # the look that was under way
        mill.jobs["job-1"][:] = [last(mill, data)]
        other.execute("ROLLBACK")
        until(lambda: not watcher._recorder._writes)
        other.execute("BEGIN IMMEDIATE")
        until(lambda: watcher._recorder._writes)

        handle.stop()
        until(lambda: watcher._stop_note)
        other.execute("ROLLBACK")
    history = handle.result(30)

    assert history.outcome is Outcome.SUCCEEDED
    until(lambda: session.store().load(history.uid).files)  # a handle that was stopped does not wait for them
    assert [sha256(f.read_bytes()) for f in session.store().load(history.uid).files] == [sha256(data)]
