"""A: connecting to an API and getting a reply through, while a task is watched."""

import asyncio
import contextlib
import random
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
import trustme
from support.mill import DONE, KEY, WORKING, png, provider, reset, sha256, silence
from support.raw_server import reply
from support.waiting import until
from support.watched import close_after, each, ended, looks, marks, misses, sound, watch

import nbhelper as nbh
from nbhelper._network import gate as _gate
from nbhelper._network import http
from nbhelper._network.gate import Gate
from nbhelper._watching import pace
from nbhelper.testing import Fault
from nbhelper.types import Miss

DATA = png(500)


def done_with_file(mill):
    """The final reply of a job, with a link to a file."""
    return {"state": "done", "files": [mill.file(reply(DATA))]}


def watch_through(mill, *faults):
    """Watch a task whose looks get these faults and then success; its history, checked with its saved file."""
    history = ended(mill.job(*faults, done_with_file(mill)))

    assert sound(history, mill)
    assert history.succeeded
    assert [sha256(f.read_bytes()) for f in history.files] == [sha256(DATA)]
    return history


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# No connection


def test_a01_connection_refused(mill_at):
    """A refused connection is a network miss; when the port opens, the watch goes on by itself."""
    port = free_port()
    closed = f"http://127.0.0.1:{port}"
    nbh.register(provider(closed))
    handle = watch("mill:job-1")
    until(lambda: len(misses(handle[0])) >= 3)
    trouble = handle[0].facts.trouble
    mill = mill_at(port=port)
    mill.job(done_with_file(mill), ident="job-1")

    history = handle.result(30)

    assert sound(history, mill)
    assert history.succeeded
    assert set(misses(history)) == {"network"}
    assert trouble.message == "cannot reach 127.0.0.1"
    assert len(mill.looks["job-1"]) == 1
    assert history.facts.polls == history.facts.misses + 1


@pytest.fixture
def by_name(mill_at):
    """A mill that is reached by a host name in the private network."""
    mill = mill_at()
    nbh.connect("mill", base_url=f"http://mill.test:{mill.server.port}", private=True)
    return mill


def test_a02_name_not_resolved(by_name, names):
    """A name that cannot be resolved is a network miss that names only the host; once resolved, the watch goes on."""
    names["mill.test"] = [socket.gaierror(-2, "Name or service not known")] * 2 + [["127.0.0.1"]]

    history = watch_through(by_name)

    assert misses(history) == ["network", "network"]
    assert {m.message for m in looks(history)[:2]} == {"the name mill.test cannot be resolved"}


def test_a02_a_name_that_does_not_exist(mill_at):
    """A name that the machine's own resolver does not know is one network miss."""
    nbh.register(provider("https://nowhere.invalid/v1"))
    mill_at("https://nowhere.invalid/v1")

    history = ended("mill:x", timeout=0)

    assert sound(history)
    assert history.outcome == "stopped"
    assert misses(history) == ["network"]
    assert looks(history)[0].message in {
        "the name nowhere.invalid cannot be resolved",
        "cannot reach nowhere.invalid",
    }


def test_a03_label_too_long(mill_at):
    """A host label of 70 characters is refused before any request; in a redirect it ends the watch as lost."""
    mill = mill_at()
    away = reply(b"", 302, {"location": f"http://{'a' * 70}.example/x"})

    with pytest.raises(nbh.BadInput, match="is no address"):
        nbh.connect("mill", base_url=f"https://{'a' * 70}.example")
    history = ended(mill.job(away))

    assert sound(history, mill)
    assert history.outcome == "lost"
    assert misses(history) == ["refused", "refused"]
    assert len(mill.looks["job-1"]) == 2


# TLS


def untrusted_context(name="localhost", **options):
    """A server's SSLContext whose certificate is signed by an authority that is not trusted here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(name, **options).configure_cert(context)
    return context


def signed_context(authority, name="localhost", **options):
    """A server's SSLContext whose certificate is signed by this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


CERTIFICATES = {
    "self-signed": lambda _: untrusted_context(),
    "wrong host": lambda authority: signed_context(authority, "other.example"),
    "expired": lambda authority: signed_context(authority, not_after=datetime.now(UTC) - timedelta(days=1)),
}


@pytest.mark.parametrize("made", CERTIFICATES.values(), ids=CERTIFICATES)
def test_a04_certificate_not_trusted(mill_at, authority, fresh_engine, made):
    """With an untrusted certificate nothing is sent at any look; the watch ends as stopped and can be resumed."""
    mill = mill_at(tls=made(authority))
    ref = mill.job(DONE)

    history = ended(ref, timeout=0.5)

    assert sound(history)
    assert history.outcome == "stopped"
    assert set(misses(history)) == {"network"}
    assert "the certificate of localhost is not trusted" in history.facts.trouble.message
    assert mill.server.requests == []


def tunnel(port, first):
    """Forward each connection to another port; close the first few after the first byte of the TLS handshake."""
    left = [first]

    async def play(conn):
        if left[0] > 0:
            left[0] -= 1
            await conn._reader.read(1)
            return  # closed in the middle of the handshake
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source, target):
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65_536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(pump(conn._reader, writer), pump(reader, conn._writer))

    return play


def test_a05_handshake_broken_off(mill_at, serve, tls, fresh_engine):
    """A TLS handshake that is cut off is a network miss; the next look makes a new connection."""
    mill = mill_at(tls=tls)
    front = serve(tunnel(mill.server.port, 2))
    nbh.connect("mill", base_url=f"https://localhost:{front.port}")

    history = ended(mill.job(DONE))

    assert sound(history, mill)
    assert history.succeeded
    assert misses(history) == ["network", "network"]
    assert len(mill.server.requests) == 1


def test_a06_captive_portal(mill_at, fresh_engine):
    """A captive portal's certificate is not accepted, no request is sent, and the miss names `SSL_CERT_FILE`."""
    page = reply("<html>Welcome to the hotel</html>", headers={"content-type": "text/html"})
    mill = mill_at(tls=untrusted_context())
    handle = watch(mill.job(page))
    until(lambda: misses(handle[0]))
    handle.stop()

    history = handle.result(30)

    assert sound(history)
    assert "set SSL_CERT_FILE" in looks(history)[0].message
    assert mill.server.requests == []


def test_a07_connect_hangs(mill_at, monkeypatch, fresh_engine):
    """A connection that is never accepted is given up after CONNECT_DEADLINE; the next look tries again."""
    monkeypatch.setattr(http, "CONNECT_DEADLINE", 0.25)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    crowd = [socket.socket() for _ in range(3)]
    for sock in crowd:  # the first ones fill the backlog; the others hang, and so does the watch
        sock.setblocking(False)  # noqa: FBT003
        sock.connect_ex(("127.0.0.1", port))
    nbh.register(provider(f"http://127.0.0.1:{port}"))
    mill_at(f"http://127.0.0.1:{port}")
    handle = watch("mill:job-1")
    begun = time.monotonic()
    until(lambda: len(misses(handle[0])) >= 2)
    spent = time.monotonic() - begun
    for sock in (*crowd, full):
        sock.close()
    mill = mill_at(port=port)
    mill.job(done_with_file(mill), ident="job-1")

    history = handle.result(30)

    assert sound(history, mill)
    assert history.succeeded
    assert set(misses(history)) == {"network"}
    assert {seen.message for seen in looks(history) if isinstance(seen, Miss)} == {"cannot reach 127.0.0.1"}
    assert spent > 0.5


# A reply that does not come, or not in time


async def drip_body(conn, _request):
    await conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    await conn.drip(b"x" * 500, 0.05)


async def drip_head(conn, _request):
    await conn.drip(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 100, 0.05)


async def early_hints(conn, _request):
    for _ in range(200):
        await conn.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await asyncio.sleep(0.02)


def check_cut_at_deadline(mill, act, deadline):
    """Watch a task whose first look never ends: it is cut at the deadline, and the next look sees success."""

    async def first(conn, request):
        http.Http.api.__kwdefaults__["deadline"] = 30.0  # for the next look
        await act(conn, request)

    history = watch_through(mill, first)

    begin, end = mill.looks["job-1"]
    # If the machine is stuck for as long as the deadline, one more look is over before the server gets its request.
    assert set(misses(history)) == {"network"}
    assert looks(history)[0].message == f"no whole reply within {deadline:g} s"
    assert end - begin > deadline * 0.9
    return True


def test_a08_silence(library, mill, hasty_looks):
    """A server that accepts and sends nothing is cut at the look's deadline."""
    assert check_cut_at_deadline(mill, silence, hasty_looks)


def test_a09_body_drip(library, mill, hasty_looks):
    """A body sent byte by byte does not extend the look's deadline."""
    assert check_cut_at_deadline(mill, drip_body, hasty_looks)


def test_a10_header_drip(library, mill, hasty_looks):
    """Headers sent byte by byte do not extend the look's deadline."""
    assert check_cut_at_deadline(mill, drip_head, hasty_looks)


def test_a11_endless_hints(library, mill, hasty_looks):
    """Endless informational replies (103) do not extend the look's deadline."""
    assert check_cut_at_deadline(mill, early_hints, hasty_looks)


# A reply that breaks


def check_one_miss(mill, act, kind="network"):
    """Watch a task whose first reply is bad: one miss of that kind, and one look more."""
    history = watch_through(mill, act)

    assert misses(history) == [kind]
    assert len(mill.looks["job-1"]) == 2
    return True


def test_a12_reset_before_any_byte(library, mill, bound):
    """A reset on a fresh connection is one miss, and the next look comes at the pace of misses."""
    assert check_one_miss(mill, reset)
    bound(len(mill.looks["job-1"]), 2, "looks")


def test_a13_reset_in_the_headers(library, mill):
    """A reset in the middle of the headers is a network miss."""

    async def act(conn, _request):
        await conn.send(b"HTTP/1.1 200 OK\r\ncontent-le")
        await asyncio.sleep(0.02)
        await conn.reset()

    assert check_one_miss(mill, act)


def test_a14_body_shorter_than_its_length(library, mill):
    """A whole JSON object under a longer Content-Length is a network miss."""
    assert check_one_miss(mill, close_after(reply(b'{"state": "error"}', length=200)))


def test_a15_cut_without_a_length(library, mill):
    """Half a JSON object without a Content-Length is garbled and ends no task."""
    assert check_one_miss(mill, close_after(reply(b'{"state": "error", "why', length=None)), "garbled")


def chunked(tail):
    return b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n12\r\n{"state": "error"}\r\n' + tail


BAD_TAILS = {"size is no number": b"zz\r\n", "no last chunk": b"", "half a size": b"5"}


def test_a16_bad_chunks(library, mill):
    """A whole JSON object in a chunked body that is broken is a network miss and fails no task."""
    kinds = each(mill, {name: close_after(chunked(tail)) for name, tail in BAD_TAILS.items()})

    assert kinds == dict.fromkeys(BAD_TAILS, "network")


BAD_LENGTHS = {
    "two": b"content-length: 2\r\ncontent-length: 18\r\n",
    "negative": b"content-length: -18\r\n",
    "no number": b"content-length: many\r\n",
    "400 digits": b"content-length: " + b"9" * 400 + b"\r\n",
}


def test_a17_lengths_that_lie(library, mill):
    """A reply with contradictory or invalid Content-Length is a network miss."""
    bodies = {name: b"HTTP/1.1 200 OK\r\n" + lines + b'\r\n{"state": "error"}' for name, lines in BAD_LENGTHS.items()}

    assert each(mill, {n: close_after(body) for n, body in bodies.items()}) == dict.fromkeys(BAD_LENGTHS, "network")


def test_a17_on_a_kept_connection(library, mill):
    """A bad reply on a kept connection is a miss: the request is not repeated at once, as on a dead connection."""
    bad = b"HTTP/1.1 200 OK\r\n" + BAD_LENGTHS["two"] + b'\r\n{"state": "error"}'

    history = watch_through(mill, WORKING, bad)

    assert misses(history) == ["network"]
    assert len(mill.looks["job-1"]) == 3
    assert mill.server.connections == 3  # the one with the bad reply, one for the next look, one for the file


NOT_HTTP = {
    "another protocol": (b"SSH-2.0-OpenSSH_9\r\n\r\n", "network"),
    "HTTP/0.9": (b'{"state": "error"}', "network"),
    "status 99": (b'HTTP/1.1 99 Low\r\ncontent-length: 18\r\n\r\n{"state": "error"}', "network"),
    "status 999": (reply({"state": "error"}, 999), "garbled"),
}


def test_a18_no_http(library, mill):
    """A reply that is no HTTP, or has a status that does not exist, is a miss and ends no task."""
    kinds = each(mill, {name: close_after(data) for name, (data, _) in NOT_HTTP.items()})

    assert kinds == {name: kind for name, (_, kind) in NOT_HTTP.items()}


def test_a19_long_header_line(library, mill):
    """A header line of 400,000 bytes is a network miss."""
    line = b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000 + b'\r\ncontent-length: 18\r\n\r\n{"state": "error"}'

    assert check_one_miss(mill, close_after(line))


@pytest.mark.parametrize("orderly", [False, True], ids=["reset", "closed"])
def test_a20_stale_connection(library, mill, orderly, bound):
    """A request on a kept connection that died while idle is sent again on a new one, without a miss."""
    deaths = []

    async def dies(conn, _request):
        await conn.send(reply(WORKING))
        # The connection is kept open and ends as soon as the next request comes.
        if await conn._reader.read(65_536):
            deaths.append(conn.n)
            if orderly:
                conn._writer.close()
            else:
                await conn.reset()

    history = watch_through(mill, *[dies] * 4)

    assert misses(history) == []
    assert len(deaths) >= 1
    assert history.facts.polls == 5
    bound(len(mill.requests_to("/jobs")), history.facts.polls + len(deaths))


def test_a21_two_responses_in_one_piece(library, mill, bound):
    """A second response in one piece with the first is never the next look's reply; it costs that look.

    That look has reached the server, so it is a miss and is not repeated at once.
    """

    async def twice(conn, _request):
        await conn.send(reply(WORKING) + reply({"state": "error"}))

    refs = [mill.job(*[twice] * 4, done_with_file(mill)) for _ in range(3)]

    histories = watch(refs).result(30)

    assert sound(histories, mill)
    assert [h.outcome for h in histories] == ["succeeded"] * 3
    assert [len(times) for times in mill.looks.values()] == [h.facts.polls for h in histories]
    missed = [kind for h in histories for kind in misses(h)]
    assert set(missed) <= {"network"}
    bound(len(missed), 3 * 4, "misses")


def test_a21_the_second_response_a_little_later(library, mill):
    """A second response that comes before the connection's next request is not its reply, and costs no look."""
    handles = []

    async def twice(conn, _request):
        n = len(mill.looks["job-1"])
        await conn.send(reply(WORKING))
        await asyncio.to_thread(until, lambda: handles and handles[0][0].facts.polls == n)
        await conn.send(reply({"state": "error"}))

    handles.append(watch(mill.job(*[twice] * 3, done_with_file(mill)), interval=0.5))
    history = handles[0].result(30)

    assert sound(history, mill)
    assert history.succeeded
    assert misses(history) == []
    assert len(mill.looks["job-1"]) == 4


def test_a22_dead_ipv6(by_name, names, library):
    """If a host's first address does not answer, the second is used within the same look."""
    names["mill.test"] = [["::1", "127.0.0.1"]]

    history = watch_through(by_name)

    assert misses(history) == []


def test_a23_proxies(mill_at, serve, monkeypatch, tls, authority, fresh_engine, names):
    """A proxy is used for https, where it sees a tunnel, and never for http, where it would see the key."""
    plain, seen = mill_at(), []
    there = mill_at(tls=signed_context(authority, "mill.example"))
    forward = tunnel(there.server.port, 0)

    async def proxy(conn):
        head = await conn._reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        await conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await forward(conn)

    front = serve(proxy)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, front.root)
    nbh.register(provider(plain.root))
    assert watch_through(plain).succeeded
    assert seen == []
    nbh.connect("mill", base_url="https://mill.example")

    assert ended(there.job(DONE)).succeeded
    assert [head.split(b"\r\n")[0] for head in seen] == [b"CONNECT mill.example:443 HTTP/1.1"]
    assert KEY.encode() not in b"".join(seen)
    assert there.server.requests[0].header("authorization") == f"Bearer {KEY}"


# Outages


def test_a24_network_vanishes(isolated, fresh_engine, logged, bound):
    """In an outage one probe is sent at a time; after it every watch goes on, and each task has one successful look."""
    with nbh.Emulator(speed=1000, faults=()) as emulator:
        body = {"model": "google/nano-banana", "input": {"prompt": "x"}}
        tasks = [nbh.submit("kie", body) for _ in range(30)]
        emulator.fail(Fault("reset", on="any"))
        handle = watch(tasks)
        until(lambda: len(emulator.ledger().faults) > _gate.IN_FLIGHT)
        gone = len(emulator.ledger().faults)
        emulator.fail()
        histories = handle.result(60)
        ledger = emulator.ledger()

    assert sound(histories)
    assert [h.outcome for h in histories] == ["succeeded"] * 30
    assert all(marks(h) == ["submitting", "submitted", "watching"] for h in histories)
    assert all(h.files for h in histories)
    # Requests in flight when the outage began, one repetition each on a dead kept connection, and a few probes.
    bound(gone, 2 * _gate.IN_FLIGHT + 6)
    assert sum(len(t.polls) for t in ledger.tasks) == 30
    assert "Traceback" not in logged.text


def simulate_outage(seconds):
    """A clock, and a coroutine function that returns when requests pass a gate in an outage of so many seconds."""
    clock = [0.0]

    async def main():
        gate, at = Gate(), []
        while clock[0] < seconds:
            clock[0] = max(clock[0], gate.outage.until, gate._next)
            async with gate.passing():
                at.append(clock[0])
                gate.outage.fault()
        return at

    return clock, main


def test_a24_probes_of_a_long_outage(monkeypatch, bound):
    """In an outage of an hour there is, after the first two minutes, one probe a minute for all tasks together."""
    clock, main = simulate_outage(3600)
    monkeypatch.setattr(_gate, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    at = asyncio.run(main())

    later = [t for t in at if t > 130]
    assert min(b - a for a, b in pairwise(later)) > 59.9
    assert len(later) >= 57
    bound(len(later), 58, "probes in the 58 minutes after the first two")


def test_a25_half_of_all_requests_lost(mill, monkeypatch, bound):
    """With half of all replies lost to resets a hundred tasks succeed, after at most four requests each on average."""
    monkeypatch.setattr(_gate, "_PROBE_CAP", 0.1)
    monkeypatch.setattr(pace, "BACKOFF_CAP", 0.5)  # the last pauses of a few tasks would take most of the time
    dice = random.Random(7)

    async def flapping(conn, _request):
        await (conn.reset() if dice.random() < 0.5 else conn.send(reply(DONE)))

    histories = watch([mill.job(flapping) for _ in range(100)]).result(60)

    assert sound(histories)
    assert [h.outcome for h in histories] == ["succeeded"] * 100
    bound(len(mill.requests_to("/jobs")), 400)
    # A request on a kept connection that dies is repeated once without a miss, and no more.
    assert len(mill.requests_to("/jobs")) <= 2 * sum(h.facts.polls for h in histories)
