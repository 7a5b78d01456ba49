"""Looks at many tasks with one request: what is due goes together, and what a batch leaves out is looked at alone."""

import asyncio
import threading
import time
from concurrent.futures import Future

import pytest
from support.mill import DONE, FLOOR, KEY, QUEUED, WORKING, Mill, later, provider, reset
from support.raw_server import reply
from support.waiting import until
from support.watched import misses, watch

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._watching import looks as _looks
from nbhelper._watching import task_watcher
from nbhelper.types import Batch, HttpRequest, Outcome

BATCH = Batch(
    request=HttpRequest("POST", "/list", json={"ids": "{ids}"}), size=8, items="jobs", missed="missed", wrap=""
)


class Many(Mill):
    """The mill with a list of jobs.

    `refused` is what it answers first, `missed` are the ids it does not find; a batch with `held` ids waits for `go`.
    """

    def __init__(self):
        super().__init__()
        self.batches, self.missed, self.refused = [], set(), []
        self.held, self.go = 0, threading.Event()
        self.creates = [self._post]

    async def _post(self, conn, request):
        ids = request.json()["ids"]
        self.batches.append((request.at, ids))
        if len(ids) == self.held:
            await asyncio.to_thread(self.go.wait, 60)
        if self.refused:
            await self.refused.pop(0)(conn, request)
            return
        answered = {}
        for ident in ids:
            self.looks.setdefault(ident, []).append(request.at)
            answers = self.jobs[ident]
            if ident not in self.missed:
                answered[ident] = answers.pop(0) if len(answers) > 1 else answers[0]
        replied_at = time.monotonic()
        await conn.send(reply({"jobs": answered, "missed": sorted(self.missed & set(ids))}))
        for ident in ids:
            self.replied.setdefault(ident, []).append(replied_at)


@pytest.fixture
def many(fresh_engine):
    mill = Many()
    nbh.register(provider(mill.root, batch=BATCH))
    nbh.connect("mill", api_key=KEY)
    yield mill
    session.store().close()
    mill.close()
    assert mill.server.faults == []


def singles(mill):
    return len(mill.requests_to("/jobs/"))


def test_tasks_of_one_key_share_their_requests(many):
    """Six tasks take as many requests as the longest of them, and all see what they would have seen alone."""
    refs = [many.job(QUEUED, *[WORKING] * n, DONE) for n in range(6)]

    histories = watch(refs).result(30)

    assert [h.outcome for h in histories] == ["succeeded"] * 6
    assert [h.facts.polls for h in histories] == [n + 2 for n in range(6)]
    # The last one alone is looked at alone.
    assert len(many.batches) + singles(many) <= 7 + 2
    assert sorted(many.batches[0][1]) == sorted(r.partition(":")[2] for r in refs)
    assert min(many.gaps()) >= FLOOR


@pytest.fixture
def slow_marks(many, monkeypatch):
    """The results of the first writes to the store, each held back until the test sets it."""
    store, held = session.store(), []
    real = store.append

    def append(*args, **kwargs):
        written = real(*args, **kwargs)
        if len(held) == 4:
            return written
        held.append(Future())
        return held[-1]

    monkeypatch.setattr(store, "append", append)
    return held


def test_first_looks_of_one_watch_share_a_request_on_a_slow_disk(many, slow_marks, monkeypatch):
    """Each task's mark is stored before its first look; marks that are stored one by one part no first looks."""
    monkeypatch.setattr(_looks, "_GATHER_BEGINNING", 30.0)
    handle = watch([many.job(WORKING, DONE) for _ in range(4)])
    until(lambda: len(slow_marks) == 4)
    for n, mark in enumerate(slow_marks):
        threading.Timer(3 * n * _looks._GATHER, mark.set_result, [True]).start()

    assert {h.outcome for h in handle.result(30)} == {Outcome.SUCCEEDED}
    assert [len(ids) for _, ids in many.batches] == [4, 4]
    assert singles(many) == 0


def test_no_first_look_waits_for_a_mark_that_does_not_come(many, slow_marks):
    """Three of four tasks are looked at to their end, although the mark of the first is not stored yet."""
    handle = watch([many.job(WORKING, DONE) for _ in range(4)])
    until(lambda: len(slow_marks) == 4)
    for mark in slow_marks[1:]:
        mark.set_result(True)

    until(lambda: all(h.succeeded for h in handle[1:]))
    assert handle[0].facts.polls == 0
    slow_marks[0].set_result(True)

    assert handle.result(30)[0].succeeded


def test_a_batch_has_at_most_so_many(many):
    """More tasks than one request may hold go in several, none of them twice at a time."""
    histories = watch([many.job(WORKING, WORKING, DONE) for _ in range(20)]).result(30)

    assert {h.outcome for h in histories} == {Outcome.SUCCEEDED}
    assert {len(ids) for _, ids in many.batches} <= set(range(2, 9))
    assert min(many.gaps()) >= FLOOR


def test_tasks_begun_at_different_times_fall_into_step(many):
    """A look that is due takes along what may be looked at: two handles end up in the same requests."""
    handles = [watch([many.job(*[WORKING] * 40, DONE) for _ in range(3)])]
    until(lambda: many.batches)
    handles.append(watch([many.job(*[WORKING] * 40, DONE) for _ in range(3)]))
    for handle in handles:
        handle.result(30)

    assert len(many.batches) < 41 + 41
    assert max(len(ids) for _, ids in many.batches) == 6
    assert min(many.gaps()) >= FLOOR


def test_a_batch_takes_along_what_is_not_due_yet(many):
    """One more id costs nothing, so the floor decides; but a wish for fewer looks, and trouble, are kept in a batch."""
    healthy = [many.job(WORKING) for _ in range(2)]
    estimated, unknown = many.job({"state": "working", "left": 600}), many.job({"state": "pondering"})
    wished = many.job(WORKING)

    handles = [watch([*healthy, estimated, unknown]), watch(wished, interval=600.0)]
    until(lambda: all(h.facts.polls >= 12 for h in handles[0][:3]))

    assert handles[0][3].facts.polls <= 4
    assert handles[1][0].facts.polls == 1
    assert min(many.gaps()) >= FLOOR
    for handle in handles:
        handle.stop()
        handle.result(30)


def test_one_task_is_looked_at_alone(many):
    """A batch of one would be the same request in a rarer shape."""
    watch(many.job(WORKING, WORKING, DONE)).result(30)

    assert many.batches == []
    assert singles(many) == 3


def test_a_task_that_a_batch_misses_is_looked_at_alone(many):
    """Not found in a batch is a miss, not an end; the next look is a single one, and the others go on together."""
    refs = [many.job(WORKING, WORKING, WORKING, DONE) for _ in range(4)]
    lone = refs[0].partition(":")[2]
    many.missed = {lone}

    histories = watch(refs).result(30)

    assert {h.outcome for h in histories} == {Outcome.SUCCEEDED}
    assert misses(histories[0])[:1] == ["not_found"]
    assert not any(h.facts.misses for h in histories[1:])
    assert len(many.requests_to(f"/jobs/{lone}")) >= 1
    assert min(many.gaps()) >= FLOOR


def test_a_task_that_a_batch_missed_returns_to_it(many):
    """Once a look at it alone has succeeded, it shares the requests of the others again."""
    refs = [many.job(WORKING) for _ in range(3)]
    lone = refs[0].partition(":")[2]
    many.missed = {lone}
    handle = watch(refs)
    until(lambda: handle[0].facts.misses)
    many.missed = set()
    until(lambda: many.requests_to(f"/jobs/{lone}"))
    alone = len(many.batches)

    until(lambda: any(lone in ids for _, ids in many.batches[alone:]))
    handle.stop()
    handle.result(30)


REFUSALS = {
    "no such path": reply({"message": "no such path"}, 404),
    "not allowed": reply({"message": "no"}, 403),
    "broken": reply(b"<html>", 500),
    "no JSON": reply(b"hello"),
    "no tasks": reply({"jobs": {}, "missed": []}),
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
def test_a_batch_that_fails_says_nothing_of_its_tasks(many, answer, caplog):
    """A broken batch endpoint is logged once, ends no task and is no miss: all are looked at one by one."""
    many.refused = [later(0, answer)]
    refs = [many.job(WORKING, WORKING, DONE) for _ in range(4)]

    histories = watch(refs).result(30)

    assert {h.outcome for h in histories} == {Outcome.SUCCEEDED}
    assert not any(h.facts.misses for h in histories)
    assert len(many.batches) == 1
    assert singles(many) == 12
    assert caplog.text.count("one by one") == 1
    first = min(at for looks in many.looks.values() for at in looks)
    assert first - many.batches[0][0] >= FLOOR  # the batch may have counted as a look


def test_a_batch_that_is_too_early_slows_everybody_down(many):
    """A rate limit speaks for the key: each task has its miss, and the next request keeps the wish."""
    many.refused = [later(0, reply({"message": "slow"}, 429, {"retry-after": "1"}))]

    histories = watch([many.job(DONE) for _ in range(3)]).result(30)

    assert [h.facts.rate_limited for h in histories] == [1, 1, 1]
    assert many.batches[1][0] - many.batches[0][0] >= 1.0


def test_a_batch_whose_connection_breaks_is_a_miss_of_each_task(many):
    """An outage speaks for the origin: each task has its miss, and batches go on."""
    many.refused = [reset]

    histories = watch([many.job(DONE) for _ in range(3)]).result(30)

    assert [misses(h) for h in histories] == [["network"]] * 3


def test_a_task_whose_look_needs_more_than_its_id_is_looked_at_alone(many):
    """A batch names ids, and nothing of what belongs to them."""
    nbh.register(provider(many.root, batch=BATCH, poll="GET /jobs/{id}?type={type}"))
    tasks = [nbh.Task("mill", many.job(DONE).partition(":")[2], extra={"type": "HD"}) for _ in range(3)]

    histories = watch(tasks).result(30)

    assert {h.outcome for h in histories} == {Outcome.SUCCEEDED}
    assert many.batches == []


def test_one_may_leave_a_batch(many):
    """Stopping one task while its batch is gathered leaves the others in it."""
    handles = [watch(many.job(*looks)) for looks in ([WORKING], *[[*[WORKING] * 8, DONE]] * 3)]
    until(lambda: many.batches)
    handles[0].stop()

    outcomes = [h.result(30).outcome for h in handles]

    assert outcomes == [Outcome.STOPPED, *[Outcome.SUCCEEDED] * 3]


def test_one_may_leave_a_batch_that_is_under_way(many, monkeypatch):
    """A look that is given up does not cancel the request that others wait for."""
    monkeypatch.setattr(task_watcher, "_LAST_REPLY", 0.01)
    many.held = 4
    leaving = watch(many.job({"state": "working", "left": 600}))  # not due for long, so that a batch takes it along
    staying = watch([many.job(WORKING) for _ in range(3)])
    until(lambda: any(len(ids) == 4 for _, ids in many.batches))

    leaving.stop()
    stopped = leaving.result(30)
    for looks in many.jobs.values():
        looks[:] = [DONE]
    many.go.set()

    assert stopped.outcome is Outcome.STOPPED
    assert {h.outcome for h in staying.result(30)} == {Outcome.SUCCEEDED}
    assert len(many.batches[-1][1]) == 4  # its reply was enough


def test_a_fault_of_our_own_in_a_batch_leaves_nobody_waiting(many, monkeypatch, caplog):
    """A bug in reading a batch is logged, and its tasks are looked at one by one."""
    monkeypatch.setattr(_looks, "read_batch", lambda *a, **k: 1 / 0)

    histories = watch([many.job(WORKING, WORKING, WORKING, DONE) for _ in range(3)]).result(30)

    assert {h.outcome for h in histories} == {Outcome.SUCCEEDED}
    assert "ZeroDivisionError" in caplog.text
    assert len(many.batches) == 1


def test_both_apis_that_have_a_batch_are_looked_at_by_it(emulator):
    """Tripo's two generations answer for many ids at once: the server's own record says so."""
    words = "emu:real-seconds=2.2 emu:queue=0"
    two, three = {"type": "text_to_model", "prompt": words}, {"prompt": words, "model": "v2.5-20250123"}
    tasks = [nbh.submit("tripo", two) for _ in range(4)]
    tasks += [nbh.submit("tripo-v3", three, endpoint="text-to-model") for _ in range(4)]

    histories = nbh.watch(tasks, display=False, block=True, preview=False, save=False).result()

    ledger = emulator.ledger()
    assert {h.outcome for h in histories} == {Outcome.SUCCEEDED}
    for name in ("tripo", "tripo-v3"):
        polls = [p for t in ledger.tasks if t.provider == name for p in t.polls]
        assert sum(p.batch for p in polls) >= 0.8 * len(polls)
        assert min(ledger.gaps(name)) >= 2.0
