"""The ledger, and directives given from Python by `script`."""

from __future__ import annotations

import dataclasses
import hashlib
import threading

import pytest
from support.emulator_calls import QUICK, Caller, until

from nbhelper._emulator import ROOTS, Server
from nbhelper._model.errors import EmulatorError


@pytest.fixture
def own(http):
    """An account at Tripo, on a server of the test's own."""
    with Server(speed=1000) as server:
        yield Caller(server, "tripo", http)


def make(caller, prompt="a cat"):
    """Create a task; return its id, None where it is refused."""
    reply = caller.post("/task", {"type": "text_to_model", "prompt": prompt}).json()
    return reply["data"]["task_id"] if reply["code"] == 0 else None


def final(caller, task_id):
    """Wait until the task has ended in the ledger."""
    return until(lambda: caller.task(task_id), lambda t: t.finished is not None)[-1]


def test_times_are_the_server_s_own(own):
    """Times are created <= started <= finished, at the distances that directives asked for."""
    record = final(own, make(own, "emu:queue=100 emu:seconds=200"))

    assert (record.started - record.created).total_seconds() == pytest.approx(0.1, abs=1e-5)
    assert (record.finished - record.started).total_seconds() == pytest.approx(0.2, abs=1e-5)


def test_a_ledger_is_a_frozen_snapshot(own):
    """A snapshot does not change afterwards; times are None until reached."""
    task_id = make(own, "emu:queue=9999999")
    before = own.server.ledger()
    own.get(f"/task/{task_id}")
    record = before.task("tripo", task_id)

    assert (record.state, record.word, record.started, record.finished) == ("queued", "queued", None, None)
    assert (record.credits, record.billed, record.error_code) == (None, None, None)
    assert record.polls == ()
    assert len(own.task(task_id).polls) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.state = "failed"


def test_every_create_is_recorded(own):
    """Every create, refused ones included, is recorded with time, API, path, body digest, status and task."""
    body = b'{"type": "text_to_model", "prompt": "x"}'
    url = own.server.url("tripo") + "/task"
    task_id = own.http.post(url, content=body, headers=own.headers).json()["data"]["task_id"]
    own.http.post(url, content=b"{", headers=own.headers)
    own.http.post(url, content=body)
    good, bad, unknown = own.server.ledger().creates

    assert (good.provider, good.path, good.status, good.task_id) == ("tripo", "/v2/openapi/task", 200, task_id)
    assert good.body_digest == own.task(task_id).body_digest == hashlib.sha256(body).hexdigest()
    assert (bad.status, bad.task_id, bad.body_digest) == (400, None, hashlib.sha256(b"{").hexdigest())
    assert (unknown.status, unknown.task_id) == (401, None)


def test_no_key_is_in_the_ledger(own):
    """Accounts are fingerprints, other ones at another server; no key is in a record."""
    make(own)
    with Server() as other:
        jimeng = other.make_jimeng(key=own.key)

        assert own.key not in repr(own.server.ledger().tasks)
        assert other.ledger().task("gptge", jimeng).account != own.server.ledger().tasks[0].account


def test_gaps_between_looks(own):
    """Seconds between consecutive looks at one task, over all tasks of an API."""
    ids = make(own), make(own)
    for task_id in (*ids, *ids, ids[0]):
        own.get(f"/task/{task_id}")
    ledger = own.server.ledger()

    assert len(ledger.gaps("tripo")) == 3
    assert all(gap > 0 for gap in ledger.gaps("tripo"))
    assert ledger.gaps("kie") == ()


def test_an_unknown_task_raises(own):
    """`ledger().task` of an unknown id raises with the number of tasks."""
    make(own)
    with pytest.raises(EmulatorError, match="it has 1 of that API"):
        own.server.ledger().task("tripo", "nobody")


def test_requests_are_counted(own):
    """`requests` counts all requests, refused ones included."""
    for _ in range(3):
        own.http.get(own.server.root + "/nowhere")

    assert own.server.ledger().requests == 3


def test_reading_from_many_threads(own):
    """`ledger` may be called from many threads while the server works."""
    errors = []

    def read():
        try:
            for _ in range(30):
                own.server.ledger()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        make(own)
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(own.server.ledger().tasks) == 30


def test_seed_fixes_behaviour_per_api_and_number(http):
    """The n-th task of an API has the same durations whatever happens at other APIs."""

    def spans(*, disturb):
        with Server(speed=1000, seed=5) as server:
            caller = Caller(server, "tripo", http)
            if disturb:
                server.make_jimeng("x")
            records = [final(caller, make(caller)) for _ in range(3)]
            return [round((r.finished - r.created).total_seconds(), 4) for r in records]

    assert spans(disturb=False) == spans(disturb=True)


def test_script_makes_the_next_creates_behave(own):
    """`script` applies to the number of creates given, and to none after them."""
    own.server.script("tripo", "fail=2018 queue=0 seconds=0", times=2)
    states = [final(own, make(own, QUICK)).error_code for _ in range(3)]

    assert states == ["2018", "2018", None]


def test_script_can_refuse_creates(own):
    """A refused create uses up one scripted create; directives in the prompt override the script."""
    own.server.script("tripo", "no-credit")

    assert make(own) is None
    assert make(own)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("trip", "fail"), "did you mean 'tripo'"),
        (("tripo", "fial"), "did you mean 'fail'"),
        (("tripo", ""), "No directive"),
        (("tripo", "fail", 0), "times"),
    ],
)
def test_script_refuses_invalid_arguments(own, arguments, match):
    """`script` raises for an unknown directive, API or number."""
    with pytest.raises(EmulatorError, match=match):
        own.server.script(*arguments)


@pytest.mark.parametrize("name", ["tripo", "aigptimage", "kie"])
def test_a_hundred_tasks(server, http, name):
    """A hundred tasks created one after the other have ids of their own, and all succeed."""
    caller = Caller(server, name, http)
    if name == "tripo":
        ids = [make(caller, QUICK) for _ in range(100)]
    else:
        model = {"aigptimage": "gpt-image-2-text-to-image", "kie": "google/nano-banana"}[name]
        body = {"model": model, "input": {"prompt": QUICK}}
        ids = [caller.post("/api/v1/jobs/createTask", body).json()["data"]["taskId"] for _ in range(100)]

    assert len(set(ids)) == 100
    assert all(caller.task(task_id).state == "succeeded" for task_id in ids)


def test_all_apis_have_a_root():
    """ROOTS has seven APIs."""
    assert len(ROOTS) == 7
