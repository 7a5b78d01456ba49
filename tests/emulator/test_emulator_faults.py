"""Faults injected by the proxy: by profile or script, by task and n-th request, reproducible by seed."""

from __future__ import annotations

import gzip
import socket
import time

import httpx
import pytest
from support.emulator_calls import QUICK, Caller
from support.waiting import until

from nbhelper._emulator import KINDS, PROFILES, Fault, Server
from nbhelper._model.errors import EmulatorError

BODY = {"model": "google/nano-banana", "input": {"prompt": QUICK}}


@pytest.fixture(scope="module")
def server():
    """One server with a proxy in front; each test sets its own faults."""
    with Server(speed=1000, faults=()) as made:
        yield made
        assert made._errors == []


@pytest.fixture
def kie(server, http):
    server.fail()
    return Caller(server, "kie", http)


def create(kie):
    return kie.post("/api/v1/jobs/createTask", BODY).json()["data"]["taskId"]


def look(kie, task):
    return kie.get("/api/v1/jobs/recordInfo", taskId=task)


def outcome(kie, task):
    """Return the HTTP status, or the kind of error."""
    try:
        return look(kie, task).status_code
    except httpx.HTTPError as error:
        return type(error).__name__


def raw(server, kie, task, patience=30.0):
    """Return the bytes sent for one look, until EOF, a maximum, or half a second without data."""
    lines = [
        f"GET /kie/api/v1/jobs/recordInfo?taskId={task} HTTP/1.1",
        f"host: 127.0.0.1:{server.port}",
        f"authorization: Bearer {kie.key}",
    ]
    received, ends = b"", time.monotonic() + patience
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        while time.monotonic() < ends and len(received) < 12_000_000:
            sock.settimeout(0.5 if received else patience)
            try:
                piece = sock.recv(1 << 20)
            except TimeoutError:
                break
            except ConnectionResetError:
                return received + b"<reset>"
            if not piece:
                return received + b"<end>"
            received += piece
    return received


def test_without_a_fault_nothing_changes(kie, server):
    """Without faults the proxy changes nothing, kept connections and files included."""
    task = create(kie)
    reply = look(kie, task)
    links = reply.json()["data"]["resultJson"]
    link = links.split('"')[3]

    picture = kie.http.get(link)

    assert reply.json()["data"]["state"] == "success"
    assert picture.status_code == 200
    assert kie.task(task).downloads[-1].n_bytes == len(picture.content)
    assert server.ledger().faults == ()


RAW = {
    "reset": lambda b: b == b"<reset>",
    "lost": lambda b: b == b"<reset>",
    "silence": lambda b: b == b"",
    "slow": lambda b: b"success" in b,
    "drip": lambda b: b"200 OK\r\n" in b and b"{" in b and not b.endswith(b"}"),
    "cut": lambda b: b.endswith(b"<end>") and b"}<end>" not in b,
    "garble": lambda b: b"200 OK" in b and not b.endswith(b"}"),
    "empty": lambda b: b"content-length: 0" in b,
    "page": lambda b: b"Sign in" in b,
    "gzip": lambda b: b"content-encoding: gzip" in b and b"success" in b,
    "gzip-cut": lambda b: b"content-encoding: gzip" in b and b"success" not in b,
    "bomb": lambda b: len(gzip.decompress(b.partition(b"\r\n\r\n")[2])) == 50_000_000,
    "large": lambda b: b"content-length: 500000000" in b and len(b) < 1000,
    "endless": lambda b: b"chunked" in b and len(b) > 10_000_000,
    "hints": lambda b: b.count(b"103 Early") == 2,
    "header": lambda b: len(b) > 400_000,
    "lengths": lambda b: b.count(b"content-length") == 2,
    "twice": lambda b: b.count(b"HTTP/1.1 200") == 2,
    "not-http": lambda b: b.startswith(b"SSH"),
    "redirect": lambda b: b"location: http://elsewhere.invalid" in b,
    "loop": lambda b: b"location: /kie/api/v1/jobs/recordInfo?taskId=" in b,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_sends_its_bytes(kie, server, kind):
    """Each fault sends its bytes, and the ledger records it."""
    task = create(kie)
    server.fail(Fault(kind, seconds=0.1))
    before = len(server.ledger().faults)

    received = raw(server, kie, task, {"silence": 0.5, "drip": 1.5}.get(kind, 30.0))

    assert RAW[kind](received), received[:300]
    assert len(kie.task(task).polls) <= 1
    struck = server.ledger().faults[before:]
    assert [(s.what, s.on, s.path, s.n) for s in struck] == [(kind, "look", "/kie/api/v1/jobs/recordInfo", 1)]


def test_a_status_has_its_retry_after(kie, server):
    """A number is an HTTP status; `seconds` is its Retry-After."""
    task = create(kie)
    server.fail(Fault(503, seconds=7, nth=1), Fault(429, nth=2))

    first, second, third = (look(kie, task) for _ in range(3))

    assert (first.status_code, first.headers["retry-after"]) == (503, "7")
    assert (second.status_code, "retry-after" in second.headers) == (429, False)
    assert third.status_code == 200


def test_a_fault_hits_by_task_and_number(kie, server):
    """A fault for one task and nth=2..3 hits that task's second and third look only."""
    one, other = create(kie), create(kie)
    server.fail(Fault(502, task=one, nth=range(2, 4)))

    assert [outcome(kie, one) for _ in range(4)] == [200, 502, 502, 200]
    assert [outcome(kie, other) for _ in range(4)] == [200] * 4


def test_a_lost_create_reached_the_api(kie, server):
    """`lost` reaches the API and `reset` does not; the client sees a reset both times, the ledger the difference."""
    server.fail(Fault("lost", on="create", nth=1), Fault("reset", on="create", nth=2))
    before = len(server.ledger().creates)

    for _ in range(2):
        with pytest.raises(httpx.HTTPError):
            create(kie)

    assert len(server.ledger().creates) == before + 1


def test_an_outage_begins_and_ends(kie, server):
    """`after` and `lasts` count from the call of `fail`."""
    task = create(kie)
    server.fail(Fault("reset", "any", after=0.3, lasts=1))
    called = time.monotonic()
    until(lambda: outcome(kie, task) == "ReadError")
    begun = time.monotonic()
    until(lambda: outcome(kie, task) == 200)

    assert begun - called > 0.29
    assert time.monotonic() - called > 1.29


def pattern(seed, n=40):
    """Return which looks at two tasks are hit."""
    with (
        Server(speed=1000, seed=seed, faults=Fault(502, share=0.5)) as made,
        httpx.Client(trust_env=False, verify=False) as http,
    ):
        kie = Caller(made, "kie", http)
        tasks = [create(kie), create(kie)]
        return [outcome(kie, task) for _ in range(n) for task in tasks]


def test_the_seed_fixes_the_dice():
    """The same seed hits the same looks although task ids differ; another seed hits others."""
    one, again, other = pattern(1), pattern(1), pattern(2)

    assert one == again
    assert one != other
    assert 20 < one.count(502) < 60


def test_without_faults_none_can_be_added():
    """A server started without `faults` has no proxy, and `fail` raises."""
    with Server(speed=1000) as plain, pytest.raises(EmulatorError, match="started without faults"):
        plain.fail(Fault("reset"))


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_leave_creates_alone(name):
    """No profile but `outage` hits creates, so that no task is created twice."""
    struck = {fault.on for fault in PROFILES[name]}

    assert struck <= {"look", "file"} or name in {"outage", "slow"}


WRONG = {
    "profile": ("flakey", "did you mean 'flaky'"),
    "number": (7, "profile"),
    "list of text": (["reset"], "profile"),
}


@pytest.mark.parametrize(("faults", "words"), WRONG.values(), ids=WRONG)
def test_invalid_faults_are_refused(faults, words):
    """An invalid `faults` argument raises one line that says what to give."""
    with pytest.raises(EmulatorError, match=words) as error:
        Server(faults=faults)

    assert "\n" not in str(error.value)


NO_FAULTS = {
    "word": {"what": "resett"},
    "status": {"what": 200},
    "true": {"what": True},
    "on": {"what": "reset", "on": "poll"},
    "share": {"what": "reset", "share": 2},
    "after": {"what": "reset", "after": -1},
    "NaN": {"what": "reset", "lasts": float("nan")},
}


@pytest.mark.parametrize("wrong", NO_FAULTS.values(), ids=NO_FAULTS)
def test_an_invalid_fault_is_refused(wrong):
    """A Fault with invalid fields raises when it is made."""
    with pytest.raises(EmulatorError):
        Fault(**wrong)
