"""Saving the outputs of a watched task."""

import asyncio
import base64
import threading
import time

from support.mill import DONE, WORKING, later, png, sha256
from support.raw_server import reply
from support.waiting import until
from support.watched import events_of, looks, watch

from nbhelper._session import session
from nbhelper._watching import engine, saving
from nbhelper.types import Outcome, Saved, SaveState, State


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
    assert mill.requests_to("/links")[0].header("authorization")
    assert mill.requests_to("/files")[0].header("authorization") is None


def test_a_second_request_that_fails_is_the_outputs_trouble(mill, monkeypatch):
    """After its own retries the file is given up; the task has succeeded all the same."""
    monkeypatch.setattr(saving, "_RESOLVE_PAUSE", 0.02)
    history = watch(mill.job({"state": "done", "ref": "f"})).result(30)

    assert history.outcome is Outcome.SUCCEEDED
    assert history.save_state("ref") is SaveState.FAILED
    assert history.facts.misses == 0
    assert len(mill.requests_to("/links")) == 4


def test_save_false_fetches_nothing(mill):
    """Without saving no file is asked for and none is there."""
    handle = watch(mill.job({"state": "done", "files": [mill.file(reply(png()))]}), save=False)

    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert handle.files == ()
    assert mill.requests_to("/files") == []


def test_save_takes_a_folder(mill, tmp_path):
    """Results go where the caller says."""
    handle = watch(mill.job({"state": "done", "files": [mill.file(reply(png()))]}), save=tmp_path / "mine")

    handle.result(30)

    assert handle.files[0].is_relative_to(tmp_path / "mine")


def test_a_later_handle_may_ask_for_saving(mill):
    """A task first watched without saving is saved when a second watch with saving joins."""
    ref = mill.job(WORKING, WORKING, {"state": "done", "files": [mill.file(reply(png()))]})
    without, wanting = watch(ref, save=False), watch(ref)

    wanting.result(30)

    assert len(wanting.files) == 1
    assert without.result(30).outcome is Outcome.SUCCEEDED


def test_a_task_finished_without_saving_is_saved_when_asked(mill):
    """Watched once more with saving, a finished task gives its file, by the link that was kept: it needs no look."""
    data = png(100)
    ref = mill.job({"state": "done", "files": [mill.file(reply(data))]})
    assert watch(ref, save=False).result(30).files == ()

    saved = watch(ref).result(30)

    assert [sha256(f.read_bytes()) for f in saved.files] == [sha256(data)]
    assert len(mill.looks["job-1"]) == 1


def test_a_look_that_was_under_way_when_a_link_died_is_not_the_last_one(mill):
    """Its reply may be older than the link's death and name the dead link: one more look gives the fresh one."""
    data, under_way = png(10), threading.Event()

    async def die(conn, _request):
        await asyncio.to_thread(under_way.wait, 60)
        await conn.send(reply(b"", 410))

    async def name_the_dead_link(conn, _request):
        (watcher,) = engine.engine().watchers.values()
        under_way.set()
        await asyncio.to_thread(until, lambda: watcher._looked)  # the download has asked for a newer link
        await conn.send(reply({"state": "done", "files": [dead]}))

    dead, fresh = mill.file(die), mill.file(reply(data))
    ref = mill.job({"state": "working", "files": [dead]}, name_the_dead_link, {"state": "done", "files": [fresh]})

    history = watch(ref).result(30)

    assert [sha256(f.read_bytes()) for f in history.files] == [sha256(data)]
    assert len(mill.looks["job-1"]) == 3


def test_a_handle_that_wants_files_of_a_running_task_does_not_wait_for_a_look(mill):
    """Named in a reply before anybody wanted them, files are fetched when a handle joins that saves."""
    ref = mill.job({"state": "working", "left": 600, "files": [mill.file(reply(png()))]})
    without = watch(ref, save=False)
    until(lambda: without[0].outputs)

    wanting = watch(ref)

    until(lambda: wanting.files)
    assert len(mill.looks["job-1"]) == 1
    without.stop()
    wanting.stop()


def test_bytes_inside_replies_are_saved_once_and_kept_no_longer(mill):
    """Each reply may have the whole picture in it: one file, one row, and nothing of it in memory."""
    data = png(2000)
    b64 = base64.b64encode(data).decode()

    history = watch(mill.job(*[{"state": state, "b64": b64} for state in ("working", "working", "done")])).result(30)

    assert [sha256(f.read_bytes()) for f in history.files] == [sha256(data)]
    assert [type(event.seen) for event in events_of(history)].count(Saved) == 1
    assert [output.data for output in history.outputs] == [None]


def test_no_live_link_of_a_saved_output_is_kept(mill):
    """The store keeps links, which may be secret, for as long as they are needed."""
    handle = watch(mill.job({"state": "working", "files": [f"{mill.file(reply(png()))}?signature=1"]}))
    until(lambda: handle.files)
    polls = handle[0].facts.polls
    until(lambda: handle[0].facts.polls >= polls + 2)

    assert session.store().link(handle[0].uid, "files[0]") is None
    handle.stop()


def test_a_wait_that_a_second_request_is_told_holds_for_all(mill):
    """A 429 to the request for a link is about the key: looks at other tasks wait as well."""
    limited = []

    async def refuse(conn, _request):
        limited.append(time.monotonic())
        await conn.send(reply({"message": "slow"}, 429, {"retry-after": "1.5"}))

    mill.paths["/links/f"] = [refuse, reply({"link": mill.file(reply(png()))})]
    other = watch(mill.job(WORKING))
    until(lambda: looks(other[0]))

    history = watch(mill.job({"state": "done", "ref": "f"})).result(30)

    early = [r for r in mill.requests_to() if limited[0] < r.at < limited[0] + 1.5]
    assert len(history.files) == 1
    assert len(early) <= 1  # what was under way
    other.stop()
