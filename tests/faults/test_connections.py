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


def finished(mill):
    """A job's last reply, with a file behind it."""
    return {"state": "done", "files": [mill.file(reply(DATA))]}


def through(mill, *faults):
    """A task whose looks meet these faults and then its end; its history, sound, its file saved."""
    history = ended(mill.job(*faults, finished(mill)))

    assert sound(history, mill)
    assert history.succeeded
    assert [sha256(f.read_bytes()) for f in history.files] == [sha256(DATA)]
    return history


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# Nothing answers


def test_a01_connection_refused(mill_at):
    """A closed port is a miss of the network each time; when it opens, the watch goes on by itself."""
    port = free_port()
    closed = f"http://127.0.0.1:{port}"
    nbh.register(provider(closed))
    handle = watch("mill:job-1")
    until(lambda: len(misses(handle[0])) >= 3)
    trouble = handle[0].facts.trouble
    mill = mill_at(port=port)
    mill.job(finished(mill), ident="job-1")

    history = handle.result(30)

    assert sound(history, mill)
    assert history.succeeded
    assert set(misses(history)) == {"network"}
    assert trouble.message == "cannot reach 127.0.0.1"
    assert len(mill.looks["job-1"]) == 1
    assert history.facts.polls == history.facts.misses + 1


@pytest.fixture
def by_name(mill_at):
    """A mill that is reached by name in one's own network."""
    mill = mill_at()
    nbh.connect("mill", base_url=f"http://mill.test:{mill.server.port}", private=True)
    return mill


def test_a02_name_not_resolved(by_name, names):
    """An unknown name is a miss that names the host alone; when it is known again, the watch goes on."""
    names["mill.test"] = [socket.gaierror(-2, "Name or service not known")] * 2 + [["127.0.0.1"]]

    history = through(by_name)

    assert misses(history) == ["network", "network"]
    assert {m.message for m in looks(history)[:2]} == {"the name mill.test cannot be resolved"}


def test_a02_a_name_that_nobody_has(mill_at):
    """The machine's own resolver says no: a miss, and no look is counted that was not made."""
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
    """A name that no resolver can look up is refused before any request; in a redirect it ends the watch as lost."""
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


def stranger(name="localhost", **options):
    """A server's side of TLS with a certificate of an authority that nobody here trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(name, **options).configure_cert(context)
    return context


def known(authority, name="localhost", **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


CERTIFICATES = {
    "self-signed": lambda _: stranger(),
    "wrong host": lambda authority: known(authority, "other.example"),
    "expired": lambda authority: known(authority, not_after=datetime.now(UTC) - timedelta(days=1)),
}


@pytest.mark.parametrize("made", CERTIFICATES.values(), ids=CERTIFICATES)
def test_a04_certificate_not_trusted(mill_at, authority, fresh_engine, made):
    """Nothing is sent past a certificate that is not right, however often it is tried; the watch stays resumable."""
    mill = mill_at(tls=made(authority))
    ref = mill.job(DONE)

    history = ended(ref, timeout=0.5)

    assert sound(history)
    assert history.outcome == "stopped"
    assert set(misses(history)) == {"network"}
    assert "the certificate of localhost is not trusted" in history.facts.trouble.message
    assert mill.server.requests == []


def tunnel(port, first):
    """Each connection goes to another port, the first few only as far as the client's greeting."""
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
    """TLS that ends in the middle of its greeting is a miss; the next look makes a new one."""
    mill = mill_at(tls=tls)
    front = serve(tunnel(mill.server.port, 2))
    nbh.connect("mill", base_url=f"https://localhost:{front.port}")

    history = ended(mill.job(DONE))

    assert sound(history, mill)
    assert history.succeeded
    assert misses(history) == ["network", "network"]
    assert len(mill.server.requests) == 1


def test_a06_captive_portal(mill_at, fresh_engine):
    """A portal's certificate is not accepted, its page never read, and the words name `SSL_CERT_FILE`."""
    page = reply("<html>Welcome to the hotel</html>", headers={"content-type": "text/html"})
    mill = mill_at(tls=stranger())
    handle = watch(mill.job(page))
    until(lambda: misses(handle[0]))
    handle.stop()

    history = handle.result(30)

    assert sound(history)
    assert "set SSL_CERT_FILE" in looks(history)[0].message
    assert mill.server.requests == []


def test_a07_connect_hangs(mill_at, monkeypatch, fresh_engine):
    """A connection that is never accepted is given up in its own time; the next look tries anew."""
    monkeypatch.setattr(http, "CONNECT_DEADLINE", 0.25)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    crowd = [socket.socket() for _ in range(3)]
    for sock in crowd:  # whoever comes first fills the queue; the rest wait, and so does the watch
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
    mill.job(finished(mill), ident="job-1")

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


def too_late(mill, act, deadline):
    """A look that takes for ever is cut at its whole time, and the next one finds the end."""

    async def first(conn, request):
        http.Http.api.__kwdefaults__["deadline"] = 30.0  # the next look has all its time again
        await act(conn, request)

    history = through(mill, first)

    begin, end = mill.looks["job-1"]
    # Where the machine stands still for as long as the deadline, one more look is over before the server hears of it.
    assert set(misses(history)) == {"network"}
    assert looks(history)[0].message == f"no whole reply within {deadline:g} s"
    assert end - begin > deadline * 0.9
    return True


def test_a08_silence(library, mill, hasty_looks):
    """A server that accepts and says nothing."""
    assert too_late(mill, silence, hasty_looks)


def test_a09_body_drip(library, mill, hasty_looks):
    """One byte after the other never resets the clock."""
    assert too_late(mill, drip_body, hasty_looks)


def test_a10_header_drip(library, mill, hasty_looks):
    """Nor does it in the headers."""
    assert too_late(mill, drip_head, hasty_looks)


def test_a11_endless_hints(library, mill, hasty_looks):
    """Nor do replies that only announce a reply."""
    assert too_late(mill, early_hints, hasty_looks)


# A reply that breaks


def once(mill, act, kind="network"):
    """One bad reply is one miss of that kind, and one request more than without it."""
    history = through(mill, act)

    assert misses(history) == [kind]
    assert len(mill.looks["job-1"]) == 2
    return True


def test_a12_reset_before_any_byte(library, mill, bound):
    """On a fresh connection a reset is a miss, and the pace decides when to look again."""
    assert once(mill, reset)
    bound(len(mill.looks["job-1"]), 2, "looks")


def test_a13_reset_in_the_headers(library, mill):
    """Half a header is nothing."""

    async def act(conn, _request):
        await conn.send(b"HTTP/1.1 200 OK\r\ncontent-le")
        await asyncio.sleep(0.02)
        await conn.reset()

    assert once(mill, act)


def test_a14_body_shorter_than_said(library, mill):
    """A whole JSON object under a longer length is not believed."""
    assert once(mill, close_after(reply(b'{"state": "error"}', length=200)))


def test_a15_cut_without_a_length(library, mill):
    """Where nothing says how long it is, half a JSON object is garbled and not an end."""
    assert once(mill, close_after(reply(b'{"state": "error", "why', length=None)), "garbled")


def chunked(tail):
    return b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n12\r\n{"state": "error"}\r\n' + tail


TAILS = {"size is no number": b"zz\r\n", "no last chunk": b"", "half a size": b"5"}


def test_a16_bad_chunks(library, mill):
    """The object inside is whole and says failed; the reply is not, and nothing is believed."""
    kinds = each(mill, {name: close_after(chunked(tail)) for name, tail in TAILS.items()})

    assert kinds == dict.fromkeys(TAILS, "network")


LENGTHS = {
    "two": b"content-length: 2\r\ncontent-length: 18\r\n",
    "negative": b"content-length: -18\r\n",
    "no number": b"content-length: many\r\n",
    "400 digits": b"content-length: " + b"9" * 400 + b"\r\n",
}


def test_a17_lengths_that_lie(library, mill):
    """A length that cannot be makes the reply none."""
    bodies = {name: b"HTTP/1.1 200 OK\r\n" + lines + b'\r\n{"state": "error"}' for name, lines in LENGTHS.items()}

    assert each(mill, {n: close_after(body) for n, body in bodies.items()}) == dict.fromkeys(LENGTHS, "network")


def test_a17_on_a_kept_connection(library, mill):
    """Whoever answers, however badly, has seen the request: it is not repeated at once, as on a dead connection."""
    bad = b"HTTP/1.1 200 OK\r\n" + LENGTHS["two"] + b'\r\n{"state": "error"}'

    history = through(mill, WORKING, bad)

    assert misses(history) == ["network"]
    assert len(mill.looks["job-1"]) == 3
    assert mill.server.connections == 3  # the bad reply came where a good one had come; one more look, and the file


GREETINGS = {
    "another protocol": (b"SSH-2.0-OpenSSH_9\r\n\r\n", "network"),
    "HTTP/0.9": (b'{"state": "error"}', "network"),
    "status 99": (b'HTTP/1.1 99 Low\r\ncontent-length: 18\r\n\r\n{"state": "error"}', "network"),
    "status 999": (reply({"state": "error"}, 999), "garbled"),
}


def test_a18_no_http(library, mill):
    """Whatever is no HTTP, or a status that does not exist, is no word about the task."""
    kinds = each(mill, {name: close_after(data) for name, (data, _) in GREETINGS.items()})

    assert kinds == {name: kind for name, (_, kind) in GREETINGS.items()}


def test_a19_long_header_line(library, mill):
    """Four hundred thousand bytes of one header are not taken in."""
    line = b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000 + b'\r\ncontent-length: 18\r\n\r\n{"state": "error"}'

    assert once(mill, close_after(line))


@pytest.mark.parametrize("orderly", [False, True], ids=["reset", "closed"])
def test_a20_stale_connection(library, mill, orderly, bound):
    """A kept connection that died while idle costs nothing: the request goes out once more, without a miss."""
    deaths = []

    async def dies(conn, _request):
        await conn.send(reply(WORKING))
        # It says it stays open, and ends as soon as the next request comes.
        if await conn._reader.read(65_536):
            deaths.append(conn.n)
            if orderly:
                conn._writer.close()
            else:
                await conn.reset()

    history = through(mill, *[dies] * 4)

    assert misses(history) == []
    assert len(deaths) >= 1
    assert history.facts.polls == 5
    bound(len(mill.requests_to("/jobs")), history.facts.polls + len(deaths))


def test_a21_two_responses_in_one_piece(library, mill, bound):
    """What comes with a reply is never taken for the answer to the next look; it costs the one look that would get it.

    That look has reached the server, so it is a miss and is not repeated at once.
    """

    async def twice(conn, _request):
        await conn.send(reply(WORKING) + reply({"state": "error"}))

    refs = [mill.job(*[twice] * 4, finished(mill)) for _ in range(3)]

    histories = watch(refs).result(30)

    assert sound(histories, mill)
    assert [h.outcome for h in histories] == ["succeeded"] * 3
    assert [len(times) for times in mill.looks.values()] == [h.facts.polls for h in histories]
    missed = [kind for h in histories for kind in misses(h)]
    assert set(missed) <= {"network"}
    bound(len(missed), 3 * 4, "misses")


def test_a21_the_second_response_a_little_later(library, mill):
    """What comes before the connection's next request is not taken for its answer, and costs no look."""
    handles = []

    async def twice(conn, _request):
        n = len(mill.looks["job-1"])
        await conn.send(reply(WORKING))
        await asyncio.to_thread(until, lambda: handles and handles[0][0].facts.polls == n)
        await conn.send(reply({"state": "error"}))

    handles.append(watch(mill.job(*[twice] * 3, finished(mill)), interval=0.5))
    history = handles[0].result(30)

    assert sound(history, mill)
    assert history.succeeded
    assert misses(history) == []
    assert len(mill.looks["job-1"]) == 4


def test_a22_dead_ipv6(by_name, names, library):
    """Where the first address does not answer the second one does, within the same look."""
    names["mill.test"] = [["::1", "127.0.0.1"]]

    history = through(by_name)

    assert misses(history) == []


def test_a23_proxies(mill_at, serve, monkeypatch, tls, authority, fresh_engine, names):
    """A proxy is used for https, where it sees a tunnel, and never for http, where it would see the key."""
    plain, seen = mill_at(), []
    there = mill_at(tls=known(authority, "mill.example"))
    spoken = tunnel(there.server.port, 0)

    async def proxy(conn):
        head = await conn._reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        await conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await spoken(conn)

    front = serve(proxy)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, front.root)
    nbh.register(provider(plain.root))
    assert through(plain).succeeded
    assert seen == []
    nbh.connect("mill", base_url="https://mill.example")

    assert ended(there.job(DONE)).succeeded
    assert [head.split(b"\r\n")[0] for head in seen] == [b"CONNECT mill.example:443 HTTP/1.1"]
    assert KEY.encode() not in b"".join(seen)
    assert there.server.requests[0].header("authorization") == f"Bearer {KEY}"


# The network goes and comes


def test_a24_network_vanishes(isolated, fresh_engine, logged, bound):
    """While nothing is reached there is one probe at a time; when it is back, every watch goes on where it was."""
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
    # Those that were under way when it went, each once more where a kept connection had died, and a probe or two.
    bound(gone, 2 * _gate.IN_FLIGHT + 6)
    assert sum(len(t.polls) for t in ledger.tasks) == 30
    assert "Traceback" not in logged.text


def hour_of_outage(faults):
    """The moments at which requests pass a gate whose origin is down for so long, by a clock that the test moves."""
    clock = [0.0]

    async def main():
        gate, at = Gate(), []
        while clock[0] < faults:
            clock[0] = max(clock[0], gate.outage.until, gate._next)
            async with gate.passing():
                at.append(clock[0])
                gate.outage.fault()
        return at

    return clock, main


def test_a24_probes_of_a_long_outage(monkeypatch, bound):
    """In an outage of an hour there is, after the first two minutes, one probe a minute for all tasks together."""
    clock, main = hour_of_outage(3600)
    monkeypatch.setattr(_gate, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    at = asyncio.run(main())

    later = [t for t in at if t > 130]
    assert min(b - a for a, b in pairwise(later)) > 59.9
    assert len(later) >= 57
    bound(len(later), 58, "probes in the 58 minutes behind the first two")


def test_a25_half_of_all_requests_lost(mill, monkeypatch, bound):
    """A hundred tasks over a line that tears every other reply off: all end, after four requests each on average."""
    monkeypatch.setattr(_gate, "_PROBE_CAP", 0.1)
    monkeypatch.setattr(pace, "BACKOFF_CAP", 0.5)  # the unluckiest one's last pauses would be most of the time
    dice = random.Random(7)

    async def flapping(conn, _request):
        await (conn.reset() if dice.random() < 0.5 else conn.send(reply(DONE)))

    histories = watch([mill.job(flapping) for _ in range(100)]).result(60)

    assert sound(histories)
    assert [h.outcome for h in histories] == ["succeeded"] * 100
    bound(len(mill.requests_to("/jobs")), 400)
    # A kept connection that dies under a request is worth one silent repetition, and no more.
    assert len(mill.requests_to("/jobs")) <= 2 * sum(h.facts.polls for h in histories)
