"""Watching: one poller for any number of handles, each handle with its own patience, and an end for every task."""

import asyncio
import base64
import gc
import io
import re
import sqlite3
import sys
import threading
import time
import weakref
from concurrent.futures import Future
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from support import scripts
from support.mill import DONE, FLOOR, KEY, QUEUED, WORKING, later, png, sha256, silence
from support.raw_server import reply
from support.waiting import until
from support.watched import events_of, marks, misses

import nbhelper as nbh
from nbhelper._model.history import History
from nbhelper._session import session
from nbhelper._watching import engine as _engine
from nbhelper._watching import looks as _looks
from nbhelper._watching import saving, task_watcher, timetable
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Outcome, Saved, SaveState, Snapshot, State


def watch(what, **options):
    return nbh.watch(what, block=False, display=False, **options)


def looks(history):
    return [e for e in events_of(history) if isinstance(e.seen, Snapshot | Miss)]


def test_a_task_is_watched_to_its_end_and_its_file_saved(mill):
    """`watch` returns at once, `result` gives the history, the file is on disk byte for byte."""
    data = png(5000)
    ref = mill.job(QUEUED, WORKING, {"state": "done", "files": [mill.file(reply(data))], "credits": 3})

    handle = watch(ref)
    history = handle.result(30)

    assert history.outcome is Outcome.SUCCEEDED
    assert [str(e.seen.state) for e in looks(history)] == ["queued", "running", "succeeded"]
    assert [sha256(f.read_bytes()) for f in handle.files] == [sha256(data)]
    assert history.credits == 3
    assert handle.done
    assert handle.failed == ()


def test_one_alone_gives_a_history_and_a_list_gives_a_list(mill):
    """What `result` returns has the shape of what was passed in."""
    one, other = mill.job(), mill.job()

    assert isinstance(watch(one).result(30), nbh.History)
    assert [str(h.task) for h in watch([other, one]).result(30)] == [other, one]


def test_two_handles_share_one_task_watcher(mill):
    """However many watch a task, it is looked at once in a while, and both see the same."""
    ref = mill.job(WORKING, WORKING, WORKING, DONE)

    first, second = watch(ref), watch(ref)
    histories = first.result(30), second.result(30)

    assert len(mill.looks["job-1"]) == 4
    assert [len(looks(h)) for h in histories] == [4, 4]


def test_duplicates_are_watched_once_and_keep_their_places(mill):
    """A list with the same task twice gives it twice and looks at it once."""
    one, other = mill.job(), mill.job()

    handle = watch([one, other, one])
    found = handle.result(30)

    assert [str(h.task) for h in found] == [one, other, one]
    assert len(handle) == 3
    assert handle[2] is handle[0]
    assert len(mill.looks["job-1"]) == 1


def test_a_finished_task_is_not_looked_at_again(mill):
    """What is final and saved in the store is drawn from there, without any request."""
    ref = mill.job({"state": "done", "files": [mill.file(reply(png()))]})
    first = watch(ref).result(30)
    before = len(mill.server.requests)

    again = watch(ref)

    assert again.done
    assert again.result(0).files == first.files
    assert len(mill.server.requests) == before


def test_a_task_finished_without_saving_is_saved_when_asked(mill):
    """Watched once more with saving, a finished task gives its file, by the link that was kept: it needs no look."""
    data = png(100)
    ref = mill.job({"state": "done", "files": [mill.file(reply(data))]})
    assert watch(ref, save=False).result(30).files == ()

    saved = watch(ref).result(30)

    assert [sha256(f.read_bytes()) for f in saved.files] == [sha256(data)]
    assert len(mill.looks["job-1"]) == 1


# Whose patience


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


def watched_again(history):
    """Begin to watch with a history of one's own, as a call does that read it from the store."""
    engine, store = _engine.engine(), session.store()
    told = []
    engine.attach([(history, session.connection("mill"))], told.append, store=store, folder=None, interval=None)
    return told


def test_a_watch_that_knows_an_older_history_keeps_the_floor(mill):
    """What a call has read may be older than the last look of the watch that ends meanwhile."""
    handle = watch(mill.job(WORKING))
    until(lambda: looks(handle[0]))
    early = handle[0]
    until(lambda: len(mill.looks["job-1"]) == 3)
    handle.stop()
    handle.result(30)

    told = watched_again(early)

    until(lambda: len(mill.looks["job-1"]) == 5)
    assert min(mill.gaps()) >= FLOOR
    _engine.engine().detach([told[-1].key], told.append, "enough").result(30)


def test_a_look_that_was_given_up_counts_for_the_floor(mill, monkeypatch):
    """The server may have answered a look that nobody waited for: the next watch does not ask at once."""
    monkeypatch.setattr(task_watcher, "_LAST_REPLY", 0.01)
    handle = watch(mill.job(silence, WORKING, DONE))
    until(lambda: mill.looks.get("job-1"))
    stopped = time.monotonic()
    handle.stop()
    handle.result(30)

    assert watch("mill:job-1").result(30).outcome is Outcome.SUCCEEDED
    assert mill.looks["job-1"][1] - stopped >= FLOOR


def test_timeout_zero_is_one_look(mill):
    """With `timeout=0` each task is looked at exactly once."""
    refs = [mill.job(WORKING) for _ in range(3)]

    found = watch(refs, timeout=0).result(30)

    assert [h.outcome for h in found] == [Outcome.STOPPED] * 3
    assert [h.state for h in found] == [State.RUNNING] * 3
    assert [len(times) for times in mill.looks.values()] == [1, 1, 1]


def test_timeout_zero_of_a_finished_task_is_its_end(mill):
    """One look that finds the end is the end, results saved."""
    handle = watch(mill.job({"state": "done", "files": [mill.file(reply(png()))]}), timeout=0)

    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert len(handle.files) == 1


def test_result_with_a_timeout_limits_the_wait_alone(mill):
    """`result(timeout)` raises `WatchTimeout`, which is a TimeoutError, and the watch goes on."""
    ref = mill.job(WORKING)
    handle = watch(ref)

    with pytest.raises(nbh.WatchTimeout, match="The watch goes on") as caught:
        handle.result(0.2)
    mill.jobs["job-1"][:] = [DONE]

    assert isinstance(caught.value, TimeoutError)
    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert "stopped" not in marks(handle[0])


def test_stopping_during_a_download_ends_the_handle_at_once(mill):
    """The handle does not wait for files on their way; they are saved all the same."""
    data, release = png(50), threading.Event()

    async def slow(conn, _asked):
        await asyncio.to_thread(release.wait, 60)
        await conn.send(reply(data))

    handle = watch(mill.job({"state": "done", "files": [mill.file(slow)]}))
    until(lambda: mill.asked("/files"))

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
    poller = next(iter(_engine.engine().watchers.values()))
    with closing(sqlite3.connect(session.store().folder / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        until(lambda: poller._recorder._writes)  # the look that was under way
        mill.jobs["job-1"][:] = [last(mill, data)]
        other.execute("ROLLBACK")
        until(lambda: not poller._recorder._writes)
        other.execute("BEGIN IMMEDIATE")
        until(lambda: poller._recorder._writes)

        handle.stop()
        until(lambda: poller._stop_note)
        other.execute("ROLLBACK")
    history = handle.result(30)

    assert history.outcome is Outcome.SUCCEEDED
    until(lambda: session.store().load(history.uid).files)  # a handle that was stopped does not wait for them
    assert [sha256(f.read_bytes()) for f in session.store().load(history.uid).files] == [sha256(data)]


def test_stopping_does_not_wait_for_a_silent_server(mill, monkeypatch):
    """A look that gets no answer is given up soon after the stop."""
    monkeypatch.setattr(task_watcher, "_LAST_REPLY", 0.2)
    handle = watch(mill.job(silence))
    until(lambda: mill.looks.get("job-1"))

    handle.stop()

    assert handle.result(30).outcome is Outcome.STOPPED  # a look may take thirty seconds


# Other ways to wait


def test_as_completed_gives_each_as_it_ends(mill):
    """The quickest comes first, duplicates once."""
    slow, quick = mill.job(WORKING, WORKING, WORKING, WORKING, DONE), mill.job(DONE)

    order = [str(h.task) for h in watch([slow, quick, slow]).as_completed()]

    assert order == [quick, slow]


def test_as_completed_in_an_async_cell(mill):
    """`async for` gives the same order and leaves the loop free."""
    slow, quick = mill.job(WORKING, WORKING, WORKING, WORKING, DONE), mill.job(DONE)
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.01)

    async def main():
        ticking = asyncio.create_task(tick())
        found = [str(h.task) async for h in watch([slow, quick]).as_completed()]
        ticking.cancel()
        return found

    assert asyncio.run(main()) == [quick, slow]
    assert len(ticks) > 5


def test_await_gives_what_result_gives(mill):
    """`await w` is the same as `w.result()`, again and in another loop too."""
    handle = watch(mill.job(WORKING, DONE))

    async def main():
        return await handle

    assert asyncio.run(main()) is asyncio.run(main())
    assert handle.result(0).outcome is Outcome.SUCCEEDED


def test_two_loops_at_once_wait_for_one_watch(mill):
    """A watch is bound to no loop: two threads with a loop each await it together."""
    handle = watch(mill.job(WORKING, WORKING, DONE))
    found = []

    async def main():
        found.append((await handle).outcome)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert found == [Outcome.SUCCEEDED] * 2


def test_a_loop_that_closed_while_waiting_ends_nothing(mill):
    """Whoever awaited and gave up with a closed loop does not disturb the watch."""
    handle = watch(mill.job(WORKING, WORKING, WORKING, DONE))
    loop = asyncio.new_event_loop()
    waiting = handle._async_result()
    task = loop.create_task(waiting)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()  # without cancelling what runs in it

    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert marks(handle[0]) == ["watching"]
    task._log_destroy_pending = False
    waiting.close()


def test_a_listener_that_fails_ends_nothing(mill, logged):
    """A view with a fault in it cannot end the watch."""
    handle = watch(mill.job(WORKING, DONE))

    def broken():
        raise ZeroDivisionError

    handle.on_change(broken)

    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert marks(handle[0]) == ["watching"]


def test_events_are_every_observation_in_order(mill):
    """`events()` gives what was seen, with the history up to there."""
    data = reply(png())
    handle = watch(mill.job(QUEUED, WORKING, {"state": "done", "files": [mill.file(data)]}))

    async def main():
        return [o async for o in handle.events()]

    seen = asyncio.run(main())

    assert [o.event.seq for o in seen] == list(range(1, len(seen) + 1))
    assert [type(o.seen).__name__ for o in seen] == ["Mark", "Snapshot", "Snapshot", "Snapshot", "Saved"]
    assert [o.history.outcome for o in seen] == [None, None, None, Outcome.SUCCEEDED, Outcome.SUCCEEDED]
    assert seen[-1].history.events == handle[0].events


def test_events_of_a_second_watch_begin_with_it(mill):
    """A later watch tells what happened since, not the whole past."""
    ref = mill.job(WORKING)
    watch(ref, timeout=0).result(30)
    mill.jobs["job-1"][:] = [DONE]

    async def main():
        return [type(o.seen).__name__ async for o in watch(ref).events()]

    assert asyncio.run(main()) == ["Mark", "Snapshot"]


def recorded(words):
    """Have the watcher of the one watched task record so many looks at once, as if it had made them."""
    engine = _engine.engine()
    (watcher,) = until(lambda: tuple(engine.watchers.values()))
    return engine.run(watcher._recorder.record(*(Snapshot(state=State.RUNNING, word=f"{word}") for word in words)))


def test_events_that_came_faster_than_they_were_asked_for_are_all_told(mill):
    """A thousand looks, of which the history holds the newest eight: each is told once, in order, with its history."""
    handle = watch(mill.job(WORKING))
    recorded(range(1000)).result(30)

    async def main():
        told = []
        async for observation in handle.events():
            told.append(observation)
            if len(told) in {1, 500, 1000}:  # some come while others are read
                await asyncio.wrap_future(recorded(range(1000 + 20 * len(told), 1020 + 20 * len(told))))
            if len(told) == 1000:
                mill.jobs["job-1"][:] = [DONE]
        return told

    told = asyncio.run(main())

    words = [int(o.seen.word) for o in told if isinstance(o.seen, Snapshot) and o.seen.word.isdecimal()]
    assert words[:1000] == [*range(1000)]
    assert words == sorted(words)
    assert len(words) >= 1020
    assert [o.event.seq for o in told] == [o.history.seq for o in told] == list(range(1, len(told) + 1))
    assert [o.history.facts.polls for o in told] == list(range(len(told)))
    assert told[-1].history == handle[0]
    assert [o.event for o in told] == events_of(handle[0])


def test_part_of_a_watch_is_a_list_of_histories(mill):
    """A slice goes by the order that the tasks were given in, duplicates included."""
    refs = [mill.job(DONE) for _ in range(3)]
    handle = watch([*refs, refs[0]])
    handle.result(30)

    assert handle[0:2] == [handle[0], handle[1]]
    assert [str(h.task) for h in handle[::-1]] == [refs[0], *refs[::-1]]
    assert handle[4:] == []
    with pytest.raises(IndexError):
        handle[4]


# What goes wrong on the way


def test_an_unknown_word_is_shown_and_looked_at_again(mill):
    """A state that nobody declared is unknown, never an end."""
    history = watch(mill.job({"state": "pondering"}, DONE)).result(30)

    first = looks(history)[0].seen
    assert (str(first.state), first.word) == ("unknown", "pondering")
    assert history.outcome is Outcome.SUCCEEDED


def test_a_word_documented_as_final_that_says_nothing_takes_one_more_look(mill):
    """Tripo's `unknown`: seen twice in a row it ends the watch, and the text says whom to ask."""
    history = watch(mill.job(WORKING, {"state": "shrug"})).result(30)

    assert history.outcome is Outcome.LOST
    assert len(mill.looks["job-1"]) == 3
    assert "ask its support about job-1" in history.error


ENDS = {"error": "failed", "stopped": "cancelled", "gone": "expired"}


@pytest.mark.parametrize(("word", "outcome"), ENDS.items(), ids=ENDS.values())
def test_what_the_server_says_is_returned_not_raised(mill, word, outcome):
    """A task that ended badly is a result; raising is asked for."""
    handle = watch(mill.job({"state": word, "code": 1027, "why": "the picture cannot be used"}))
    history = handle.result(30)

    assert history.outcome == outcome
    assert history.error == "1027 the picture cannot be used"
    assert handle.failed == (history,)
    with pytest.raises(nbh.TaskFailed, match="1027 the picture cannot be used") as caught:
        history.raise_for_failure()
    assert caught.value.history is history


FAULTS = {"reading": (_looks, "read"), "judging": (task_watcher, "verdict"), "planning": (timetable, "pause")}


@pytest.mark.parametrize(("module", "name"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_our_own_ends_in_an_outcome(mill, monkeypatch, logged, module, name):
    """A bug ends the watch as lost, said and logged, never in silence."""
    monkeypatch.setattr(module, name, lambda *a, **k: 1 / 0)

    history = watch(mill.job(WORKING)).result(30)

    assert history.outcome is Outcome.LOST
    assert "nbhelper itself failed: ZeroDivisionError" in history.error
    assert "ZeroDivisionError" in logged.text


# Floors


def test_no_floor_is_broken_whatever_is_asked(mill):
    """An interval below the floor is a warning, once, and the floor holds for every handle and every file."""
    dead = reply(b"", 403)
    names = [mill.file(dead, name=f"{n}.png") for n in range(4)]
    ref = mill.job(*[WORKING] * 6, {"state": "done", "files": names})

    with pytest.warns(UserWarning, match=r"mill is looked at every 0\.1 s at the most") as caught:
        handles = [watch(ref, interval=0.01) for _ in range(3)]
    for handle in handles:
        handle.result(30)

    assert len(caught) == 1
    assert len(mill.looks["job-1"]) >= 8
    assert min(mill.gaps()) >= FLOOR


def test_links_that_died_together_share_their_looks(mill):
    """Four dead links of a running task take a look for fresh ones, and never two looks at once."""
    data = png(10)
    dead = [mill.file(reply(b"", 410), name=f"{n}.png") for n in range(4)]
    alive = [mill.file(reply(data + bytes([n])), name=f"{n}.png") for n in range(4)]
    ref = mill.job({"state": "working", "files": dead}, {"state": "working", "files": alive}, DONE)

    history = watch(ref).result(30)

    assert sorted(sha256(f.read_bytes()) for f in history.files) == sorted(sha256(data + bytes([n])) for n in range(4))
    assert min(mill.gaps()) >= FLOOR
    assert len(mill.looks["job-1"]) <= 4


def test_an_interval_is_kept(mill):
    """A wish above the floor decides how often a healthy task is looked at."""
    watch(mill.job(WORKING, WORKING, DONE), interval=0.4).result(30)

    assert min(mill.gaps()) >= 0.4


@pytest.mark.parametrize("left", [0.3, 0.6])
def test_looks_aim_at_the_finish_that_the_server_expects(mill, left):
    """With the server's own estimate there is one look less than the floor would allow for."""
    watch(mill.job({"state": "working", "left": left}, DONE)).result(30)

    assert len(mill.looks["job-1"]) == 2
    assert left <= mill.gaps()[0] < left + 0.6


# The store


def test_each_observation_is_in_the_store_before_it_is_shown(mill):
    """Whatever a handle shows can be read back at that very moment."""
    handle = watch(mill.job(QUEUED, WORKING, DONE))
    shown = []

    def compare():
        history = handle[0]
        stored = [event for event in session.store().events(history.uid) if event.seq <= history.seq]
        shown.append(History.of(history.task, stored).events == history.events)

    handle.on_change(compare)
    handle.result(30)

    assert shown
    assert all(shown)


def test_a_store_that_fails_is_loud_and_stops_nothing(mill, monkeypatch, logged):
    """With a full disk looking goes on in memory, each failure is logged, and the next write brings everything."""
    store = session.store()
    real, failing = store.append, threading.Event()
    failing.set()

    def append(*args, **kwargs):
        if not failing.is_set():
            return real(*args, **kwargs)
        refused = Future()
        refused.set_exception(nbh.StoreError("the disk is full"))
        return refused

    monkeypatch.setattr(store, "append", append)
    handle = watch(mill.job(WORKING))
    until(lambda: len(looks(handle[0])) >= 2)
    assert "the disk is full" in logged.text
    failing.clear()
    mill.jobs["job-1"][:] = [DONE]
    history = handle.result(30)

    assert history.outcome is Outcome.SUCCEEDED
    assert store.load(history.uid).events == history.events


def test_saved_comes_before_the_end(mill):
    """The last event of a success is its file, and only then the handle is done."""
    handle = watch(mill.job({"state": "done", "files": [mill.file(later(0.2, reply(png())))]}))
    until(lambda: handle[0].outcome)
    assert not handle.done

    history = handle.result(30)

    assert isinstance(history.events[-1].seen, Saved)
    assert history.settled


def test_a_result_named_while_running_is_saved_at_once(mill):
    """Outputs beside a state that is not final are fetched, and the state word stands."""
    handle = watch(mill.job({"state": "working", "files": [mill.file(reply(png(3)))]}))

    until(lambda: handle.files)

    assert handle[0].state is State.RUNNING
    assert handle[0].outcome is None
    handle.stop()


def test_success_without_a_file_is_success(mill):
    """Final as the word says, with nothing to save."""
    history = watch(mill.job(DONE)).result(30)

    assert history.outcome is Outcome.SUCCEEDED
    assert history.settled


def test_a_reference_takes_a_second_request(mill):
    """MiniMax's way: the id of a file is turned into a link, which is then fetched without the key."""
    data = png(9)
    mill.paths["/links/f%201"] = [reply({"link": mill.file(reply(data))})]

    history = watch(mill.job({"state": "done", "ref": "f 1"})).result(30)

    assert [sha256(f.read_bytes()) for f in history.files] == [sha256(data)]
    assert mill.asked("/links")[0].header("authorization")
    assert mill.asked("/files")[0].header("authorization") is None


def test_a_second_request_that_fails_is_the_outputs_trouble(mill, monkeypatch):
    """After its own retries the file is given up; the task has succeeded all the same."""
    monkeypatch.setattr(saving, "_RESOLVE_PAUSE", 0.02)
    history = watch(mill.job({"state": "done", "ref": "f"})).result(30)

    assert history.outcome is Outcome.SUCCEEDED
    assert history.save_state("ref") is SaveState.FAILED
    assert history.facts.misses == 0
    assert len(mill.asked("/links")) == 4


def test_save_false_fetches_nothing(mill):
    """Without saving no file is asked for and none is there."""
    handle = watch(mill.job({"state": "done", "files": [mill.file(reply(png()))]}), save=False)

    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert handle.files == ()
    assert mill.asked("/files") == []


def test_save_takes_a_folder(mill, tmp_path):
    """Results go where the caller says."""
    handle = watch(mill.job({"state": "done", "files": [mill.file(reply(png()))]}), save=tmp_path / "mine")

    handle.result(30)

    assert handle.files[0].is_relative_to(tmp_path / "mine")


def test_a_later_handle_may_ask_for_saving(mill):
    """A task first watched without saving is saved for whoever joins and wants it."""
    ref = mill.job(WORKING, WORKING, {"state": "done", "files": [mill.file(reply(png()))]})
    without, wanting = watch(ref, save=False), watch(ref)

    wanting.result(30)

    assert len(wanting.files) == 1
    assert without.result(30).outcome is Outcome.SUCCEEDED


# The handle itself


def test_a_handle_reads_as_one_line(mill):
    """`repr` says what and how far, for one and for many."""
    one, other = mill.job(), mill.job({"state": "error"})
    single, several = watch(one), watch([one, other])
    single.result(30)
    several.result(30)

    assert repr(single) == "<Watch mill:job-1 succeeded>"
    assert repr(several) == "<Watch 2 tasks: 1 succeeded, 1 failed>"
    assert [str(h.task) for h in several] == [one, other]


def test_a_handle_tabulates_itself(mill):
    """`to_frame` and `summary` wait for the end and have one row per task, not per place."""
    one, other = mill.job(), mill.job({"state": "error"})
    handle = watch([one, other, one])

    frame = handle.to_frame()

    assert list(frame["task_id"]) == ["job-1", "job-2"]
    assert list(frame["outcome"]) == ["succeeded", "failed"]
    assert list(handle.summary(by="provider")["n"]) == [2]


def picture():
    """A whole PNG of 8 by 6 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_are_opened_and_other_files_left_out(mill):
    """`images()` gives pictures alone."""
    files = [mill.file(reply(picture())), mill.file(reply(b"glTF" + bytes(40)), name="b.glb")]
    handle = watch(mill.job({"state": "done", "files": files}))
    handle.result(30)

    pictures = handle.images()

    assert [p.size for p in pictures] == [(8, 6)]
    assert len(handle.files) == 2


IMAGES = """
import resource, sys
import nbhelper as nbh

nbh.register(nbh.Provider(
    name="mill", base_url=sys.argv[1], key_variable="MILL_API_KEY", poll="GET /jobs/{id}", state="state",
    words={"done": "succeeded"}, outputs="files",
))
handle = nbh.watch("mill:job-1", display=False)
resource.setrlimit(resource.RLIMIT_NOFILE, (48, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
pictures = handle.images()
print(len(handle.files), len(pictures), {image.convert('L').size for image in pictures})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of open files to lower")
def test_images_are_more_than_files_may_be_open(mill):
    """`images()` gives every picture, also where fewer files may be open at a time."""
    ref = mill.job({"state": "done", "files": [mill.file(reply(picture())) for _ in range(60)]})
    watch(ref).result(30)

    done = scripts.run(IMAGES, mill.root, cwd=Path.cwd(), MILL_API_KEY=KEY)

    assert done.stdout == "60 60 {(8, 6)}\n", done.stderr


def test_images_leave_out_what_is_gone_or_damaged(mill):
    """A saved file that was deleted, or is no whole picture any more, is left out."""
    ref = mill.job({"state": "done", "files": [mill.file(reply(picture())) for _ in range(3)]})
    handle = watch(ref)
    handle.result(30)
    gone, damaged, whole = handle.files

    gone.unlink()
    damaged.write_bytes(b"no picture")

    assert [image.filename for image in handle.images()] == [str(whole)]


def test_a_watch_in_a_script_waits_by_itself(mill, capsys):
    """Without a notebook `watch` blocks and writes one line per change."""
    handle = nbh.watch(mill.job(*[WORKING] * 8, DONE))

    lines = capsys.readouterr().out.splitlines()

    assert handle.done
    assert [re.match(r"\w+", line.split(" ", 2)[2])[0] for line in lines] == ["running", "succeeded"]


def test_a_watch_inside_a_running_loop_does_not_wait(mill):
    """In an async function `watch` returns at once, whatever the place, and is awaited."""

    async def main():
        handle = nbh.watch(mill.job(WORKING, DONE), display=False)
        pending = not handle.done
        return pending, await handle

    pending, history = asyncio.run(main())

    assert pending
    assert history.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(("wish", "waits"), [("0", False), ("1", True)])
def test_the_environment_decides_about_waiting(mill, monkeypatch, wish, waits):
    """`NBHELPER_BLOCK` overrides what the place would say."""
    monkeypatch.setenv("NBHELPER_BLOCK", wish)

    handle = nbh.watch(mill.job(later(0.2, DONE)), display=False)

    assert handle.done is waits
    handle.result(30)


def test_a_huge_timeout_is_no_fault(mill):
    """A timeout of centuries is as good as none."""
    assert watch(mill.job(DONE), timeout=1e15).result(30).succeeded


def test_many_tasks_take_few_connections(mill):
    """Sixty tasks at once share small pools and the gate: none is starved and no floor broken."""
    refs = [mill.job(WORKING, DONE) for _ in range(60)]

    found = watch(refs).result(40)

    assert {h.outcome for h in found} == {Outcome.SUCCEEDED}
    assert mill.server.connections <= 40
    assert min(mill.gaps()) >= FLOOR


def test_marks_begin_every_watch(mill):
    """What we did stands among what we saw: the first event is the mark `watching`."""
    history = watch(mill.job()).result(30)

    first = history.events[0].seen
    assert isinstance(first, Mark)
    assert first.word is MarkWord.WATCHING
    assert MissKind.NETWORK not in misses(history)
