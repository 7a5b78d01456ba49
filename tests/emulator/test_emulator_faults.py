"""What the emulator breaks on the way: by profile or script, by task and n-th request, fixed by the seed."""

from __future__ import annotations

import gzip
import socket
import time

import httpx
import pytest
from emulator_calls import QUICK, Caller

from nbhelper._emulator import KINDS, PROFILES, Fault, Server
from nbhelper._errors import EmulatorError

BODY = {"model": "google/nano-banana", "input": {"prompt": QUICK}}


@pytest.fixture(scope="module")
def server():
    """One server with a proxy in front; each test plays its own script."""
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
    """A status, or the kind of break."""
    try:
        return look(kie, task).status_code
    except httpx.HTTPError as error:
        return type(error).__name__


def raw(server, kie, task, patience=5.0):
    """The bytes that come for one look, until the end, more than enough, or half a second of silence."""
    lines = [
        f"GET /kie/api/v1/jobs/recordInfo?taskId={task} HTTP/1.1",
        f"host: 127.0.0.1:{server.port}",
        f"authorization: Bearer {kie.key}",
    ]
    found, ends = b"", time.monotonic() + patience
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        while time.monotonic() < ends and len(found) < 12_000_000:
            sock.settimeout(0.5 if found else patience)
            try:
                piece = sock.recv(1 << 20)
            except TimeoutError:
                break
            except ConnectionResetError:
                return found + b"<reset>"
            if not piece:
                return found + b"<end>"
            found += piece
    return found


def test_without_a_fault_nothing_changes(kie, server):
    """Through the proxy everything is as without it, kept connections and files included."""
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
def test_each_word_does_what_it_says(kie, server, kind):
    """The bytes on the wire are the fault's, and the ledger has it."""
    task = create(kie)
    server.fail(Fault(kind, seconds=0.1))
    before = len(server.ledger().faults)

    found = raw(server, kie, task, {"silence": 0.5, "drip": 1.5}.get(kind, 5.0))

    assert RAW[kind](found), found[:300]
    assert len(kie.task(task).polls) <= 1
    struck = server.ledger().faults[before:]
    assert [(s.what, s.on, s.path, s.n) for s in struck] == [(kind, "look", "/kie/api/v1/jobs/recordInfo", 1)]


def test_a_status_comes_with_its_wish(kie, server):
    """A number is a status; its seconds are the Retry-After."""
    task = create(kie)
    server.fail(Fault(503, seconds=7, nth=1), Fault(429, nth=2))

    first, second, third = (look(kie, task) for _ in range(3))

    assert (first.status_code, first.headers["retry-after"]) == (503, "7")
    assert (second.status_code, "retry-after" in second.headers) == (429, False)
    assert third.status_code == 200


def test_a_script_strikes_by_task_and_number(kie, server):
    """One task's second and third look, and nobody else's."""
    one, other = create(kie), create(kie)
    server.fail(Fault(502, task=one, nth=range(2, 4)))

    assert [outcome(kie, one) for _ in range(4)] == [200, 502, 502, 200]
    assert [outcome(kie, other) for _ in range(4)] == [200] * 4


def test_a_create_that_was_lost_happened(kie, server):
    """`lost` reaches the API, `reset` does not: what a client cannot tell apart, the ledger does."""
    server.fail(Fault("lost", on="create", nth=1), Fault("reset", on="create", nth=2))
    before = len(server.ledger().creates)

    for _ in range(2):
        with pytest.raises(httpx.HTTPError):
            create(kie)

    assert len(server.ledger().creates) == before + 1


def test_an_outage_begins_and_ends(kie, server):
    """`after` and `lasts` count from when the script was taken up."""
    task = create(kie)
    server.fail(Fault("reset", "any", after=0.3, lasts=0.4))
    began, seen = time.monotonic(), []
    while time.monotonic() - began < 1:
        seen.append(outcome(kie, task))
        time.sleep(0.02)

    assert seen[0] == 200
    assert "ReadError" in seen
    assert seen[-1] == 200


def pattern(seed, n=40):
    """Which of so many looks at two tasks are struck."""
    with (
        Server(speed=1000, seed=seed, faults=Fault(502, share=0.5)) as made,
        httpx.Client(trust_env=False, verify=False) as http,
    ):
        kie = Caller(made, "kie", http)
        tasks = [create(kie), create(kie)]
        return [outcome(kie, task) for _ in range(n) for task in tasks]


def test_the_seed_fixes_the_dice():
    """The same seed strikes the same looks although every id is fresh; another seed strikes others."""
    one, again, other = pattern(1), pattern(1), pattern(2)

    assert one == again
    assert one != other
    assert 20 < one.count(502) < 60


def test_without_faults_none_can_be_added():
    """The proxy is there from the start or not at all."""
    with Server(speed=1000) as plain, pytest.raises(EmulatorError, match="started without faults"):
        plain.fail(Fault("reset"))


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_leave_creates_alone(name):
    """Only an outage strikes creates: nobody should pay twice because of a demonstration."""
    struck = {fault.on for fault in PROFILES[name]}

    assert struck <= {"look", "file"} or name in {"outage", "slow"}


WRONG = {
    "profile": ("flakey", "did you mean 'flaky'"),
    "number": (7, "profile"),
    "list of text": (["reset"], "profile"),
}


@pytest.mark.parametrize(("faults", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_script_is_refused(faults, words):
    """One line that says what to give."""
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
def test_what_is_no_fault_is_refused(wrong):
    """A fault that could never strike is an error of whoever wrote it."""
    with pytest.raises(EmulatorError):
        Fault(**wrong)
