"""One task being watched: the looks at it, the end of it, and the handles that share one watcher."""

import asyncio
import threading

import pytest
from support.mill import DONE, FLOOR, QUEUED, WORKING, png, sha256
from support.raw_server import reply
from support.waiting import until
from support.watched import looks, marks, misses, watch

import nbhelper as nbh
from nbhelper._watching import engine, task_watcher, timetable
from nbhelper._watching import looks as _looks
from nbhelper.types import Mark, MarkWord, MissKind, Outcome


def test_a_task_is_watched_to_its_end_and_its_file_saved(mill):
    """`watch` returns at once, `result` gives the history, the file is on disk byte for byte."""
    data = png(5000)
    ref = mill.job(QUEUED, WORKING, {"state": "done", "files": [mill.file(reply(data))], "credits": 3})

    handle = watch(ref)
    history = handle.result(30)

    assert history.outcome is Outcome.SUCCEEDED
    assert [str(seen.state) for seen in looks(history)] == ["queued", "running", "succeeded"]
    assert [sha256(f.read_bytes()) for f in handle.files] == [sha256(data)]
    assert history.credits == 3
    assert handle.done
    assert handle.failed == ()


def test_marks_begin_every_watch(mill):
    """What we did stands among what we saw: the first event is the mark `watching`."""
    history = watch(mill.job()).result(30)

    first = history.events[0].seen
    assert isinstance(first, Mark)
    assert first.word is MarkWord.WATCHING
    assert MissKind.NETWORK not in misses(history)


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
    histories = handle.result(30)

    assert [str(h.task) for h in histories] == [one, other, one]
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


def test_an_unknown_word_is_shown_and_looked_at_again(mill):
    """A state that nobody declared is unknown, never an end."""
    history = watch(mill.job({"state": "pondering"}, DONE)).result(30)

    first = looks(history)[0]
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


def test_a_watch_begun_while_a_lost_one_saves_its_files_goes_on(mill, monkeypatch):
    """A fault of our own ended the looking; a handle that joins before the files are saved has the task looked at."""
    release, real, calls = threading.Event(), task_watcher.verdict, []

    async def slow(conn, _request):
        await asyncio.to_thread(release.wait, 60)
        await conn.send(reply(png()))

    def fail_at_the_second_look(*args, **options):
        calls.append(1)
        return 1 / 0 if len(calls) == 2 else real(*args, **options)

    monkeypatch.setattr(task_watcher, "verdict", fail_at_the_second_look)
    first = watch(mill.job({"state": "working", "files": [mill.file(slow)]}))
    until(lambda: first[0].outcome is Outcome.LOST)
    second = watch("mill:job-1")
    (watcher,) = engine.engine().watchers.values()
    until(lambda: watcher._again)
    mill.jobs["job-1"][:] = [DONE]
    release.set()

    assert second.result(30).outcome is Outcome.SUCCEEDED


def test_a_listener_that_fails_ends_nothing(mill, logged):
    """A view with a fault in it cannot end the watch."""
    handle = watch(mill.job(WORKING, DONE))

    def broken():
        raise ZeroDivisionError

    handle.on_change(broken)

    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert marks(handle[0]) == ["watching"]


def test_many_tasks_take_few_connections(mill):
    """Sixty tasks at once share small pools and the gate: none is starved and no floor broken."""
    refs = [mill.job(WORKING, DONE) for _ in range(60)]

    histories = watch(refs).result(40)

    assert {h.outcome for h in histories} == {Outcome.SUCCEEDED}
    assert mill.server.connections <= 40
    assert min(mill.gaps()) >= FLOOR
