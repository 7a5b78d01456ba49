"""The connections below: when one is used again, when not, and how an upload goes into it; with both clients."""

import asyncio
import gc
import importlib
import socket
import threading
import time
import warnings

import pytest
from support.mill import provider
from support.raw_server import always, reply
from support.waiting import until

import nbhelper as nbh
from nbhelper import _lines, _session
from nbhelper._http import Http
from nbhelper._providers.requests import HttpRequest
from nbhelper._wire import Sent, connect

pytestmark = pytest.mark.usefixtures("library")
LOOK = HttpRequest("GET", "/jobs/1")
CREATE = HttpRequest("POST", "/jobs", json={"a": 1})


@pytest.fixture
def restless(monkeypatch):
    """A connection is used again at once."""
    monkeypatch.setattr(_lines, "_REST", 0.0)


@pytest.fixture
def core(library):
    return importlib.import_module(library.replace("httpx", "httpcore"))


def play(root, act):
    """What `act(http, connection)` gives, in a loop of its own."""
    nbh.register(provider(root))

    async def main():
        http = Http()
        try:
            return await act(http, _session.connection("mill"))
        finally:
            await http.close()

    return asyncio.run(main())


def in_turn(*requests, between=lambda: None):
    """Ask one after the other; between two, something happens while the loop stands still."""

    async def act(http, where):
        found = []
        for request in requests:
            if found:
                between()
            found.append((await http.api(where, request)).status)
        return found

    return act


def connections(server):
    return [asked.connection for asked in server.requests]


# Used again, or not


def test_one_connection_serves_many_requests(serve, restless):
    """Whoever asks one thing after the other needs one connection."""
    server = serve(always(reply(b"{}")))

    play(server.root, in_turn(LOOK, CREATE, LOOK, LOOK))

    assert connections(server) == [0, 0, 0, 0]


def test_over_tls_too(serve, restless, tls):
    """A handshake is made once."""
    server = serve(always(reply(b"{}")), tls=tls)

    play(server.root, in_turn(LOOK, LOOK, CREATE))

    assert connections(server) == [0, 0, 0]


def test_a_connection_rests(serve, monkeypatch):
    """What comes late after a reply has time to come to light, before the connection is asked for another."""
    monkeypatch.setattr(_lines, "_REST", 60.0)
    server = serve(always(reply(b"{}")))

    play(server.root, in_turn(*[LOOK] * 3))

    assert connections(server) == [0, 1, 2]


def test_there_are_not_more_for_the_sake_of_rest(serve, monkeypatch):
    """From so many on, the one that has rested longest goes next."""
    monkeypatch.setattr(_lines, "_REST", 60.0)
    monkeypatch.setattr(_lines, "_MOST", 3)
    server = serve(always(reply(b"{}")))

    play(server.root, in_turn(*[LOOK] * 7))

    assert connections(server) == [0, 1, 2, 0, 1, 2, 0]


def test_one_that_was_idle_for_long_is_closed(serve, restless, monkeypatch):
    """Of many that a crowd needed, those that nobody needs any more are closed by the next request."""
    monkeypatch.setattr(_lines, "_KEPT", 0.05)
    gone = []

    async def talk(conn):
        while await conn.request() is not None:
            await conn.send(reply(b"{}"))
        gone.append(conn.n)

    server = serve(talk)

    async def act(http, where):
        await asyncio.gather(*(http.api(where, LOOK) for _ in range(5)))
        await asyncio.sleep(0.06)
        await http.api(where, LOOK)
        await asyncio.to_thread(until, lambda: len(gone) == 5)

    play(server.root, act)

    assert connections(server)[-1] == 5


@pytest.mark.parametrize("request_", [LOOK, CREATE], ids=["look", "create"])
@pytest.mark.parametrize("safe", [False, True], ids=["http", "https"])
def test_one_that_the_server_closed_is_not_used(serve, restless, request, request_, safe):
    """Even where this process has not turned to it since: a create that went there could not be sent again."""
    answered, closed = threading.Event(), threading.Event()

    async def once(conn):
        if conn.n:
            await always(reply(b"{}", 201))(conn)
        await conn.request()
        await conn.send(reply(b"{}"))
        await asyncio.to_thread(answered.wait, 10)
        conn._writer.close()
        asyncio.get_running_loop().call_later(0.02, closed.set)  # over TLS it takes a few turns

    def close():
        answered.set()
        closed.wait(10)

    server = serve(once, tls=request.getfixturevalue("tls") if safe else None)

    found = play(server.root, in_turn(LOOK, request_, between=close))

    assert found == [200, 201]
    assert connections(server) == [0, 1]


def test_one_on_which_something_came_unasked_is_not_used(serve, restless):
    """A reply to nothing would be taken for the answer to the next request."""
    answered, said = threading.Event(), threading.Event()

    async def twice(conn):
        if conn.n:
            await always(reply(b"{}", 201))(conn)
        await conn.request()
        await conn.send(reply(b"{}"))
        await asyncio.to_thread(answered.wait, 10)
        await conn.send(reply(b"{}", 404))
        said.set()
        await conn.gone()

    def say():
        answered.set()
        said.wait(10)

    found = play(serve(twice).root, in_turn(LOOK, CREATE, between=say))

    assert found == [200, 201]


def test_one_that_was_left_in_the_middle_is_not_used(serve, restless):
    """Whoever is no longer waited for does not answer the next request."""
    held = threading.Event()

    async def slow(conn):
        await conn.request()
        if conn.n:
            await conn.send(reply(b"{}", 201))
        held.set()
        await conn.gone()

    server = serve(slow)

    async def act(http, where):
        first = asyncio.create_task(http.api(where, LOOK))
        await asyncio.to_thread(held.wait, 10)
        first.cancel()
        await asyncio.wait({first})
        return (await http.api(where, LOOK)).status

    assert play(server.root, act) == 201
    assert connections(server) == [0, 1]


# Made


def test_an_address_that_does_not_answer_is_not_waited_for(serve, names, monkeypatch):
    """Of a name's addresses the next is tried after a quarter of a second, beside the one that is silent."""
    server = serve(always(reply(b"{}")))
    silent = socket.socket()
    silent.bind(("127.0.0.2", server.port))
    silent.listen(0)
    crowd = [socket.socket() for _ in range(3)]
    for sock in crowd:  # whoever comes first fills the queue; the rest wait
        sock.setblocking(False)  # noqa: FBT003
        sock.connect_ex(("127.0.0.2", server.port))
    names["mill.test"] = [["127.0.0.2", "127.0.0.1"]]
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url=f"http://mill.test:{server.port}", private=True)

    async def main():
        http = Http()
        begun = time.monotonic()
        try:
            return (await http.api(_session.connection("mill"), LOOK)).status, time.monotonic() - begun
        finally:
            await http.close()

    status, spent = asyncio.run(main())
    for sock in (silent, *crowd):
        sock.close()

    assert status == 200
    assert 0.2 < spent < 5


@pytest.mark.parametrize("name", ["127.0.0.1", "mill.test"])
def test_giving_up_leaves_no_socket_behind(serve, names, core, name):
    """However far a connection has come, at whichever turn of the loop it is given up, even just as it is made."""
    server = serve(always(reply(b"{}")))
    names["mill.test"] = [["127.0.0.1", "127.0.0.2"]] * 60

    async def given_up(turns):
        making = asyncio.create_task(connect(core, name, server.port, 10))
        for _ in range(turns):
            await asyncio.sleep(0)
        making.cancel()
        await asyncio.wait({making})
        if not making.cancelled():
            making.result().close()
        await asyncio.sleep(0)
        return making.cancelled()

    async def main():
        return [await given_up(turns) for turns in range(50)]

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cancelled = asyncio.run(main())
        gc.collect()

    assert [str(warning.message) for warning in said] == []
    assert cancelled[0]
    assert not cancelled[-1]


# Written

LARGE = bytes(32 << 20)


def test_an_upload_waits_for_room(serve, core):
    """No more is taken than the server takes: an upload is not in memory twice, and its deadline means something."""
    read, n_bytes = threading.Event(), []

    async def late(conn):
        await asyncio.to_thread(read.wait, 10)
        n_bytes.append(len(await conn._reader.readexactly(len(LARGE))))

    server = serve(late)

    async def main():
        stream = await connect(core, "127.0.0.1", server.port, 10)
        writing = asyncio.create_task(stream.write(LARGE))
        before, _ = await asyncio.wait({writing}, timeout=0.1)
        read.set()
        await asyncio.wait_for(writing, 10)
        await asyncio.to_thread(until, lambda: n_bytes)
        await stream.aclose()
        return before

    assert asyncio.run(main()) == set()
    assert n_bytes == [len(LARGE)]


def test_what_nobody_reads_waits_at_the_server(serve, core):
    """No more is taken in than has been asked for, but for half a megabyte."""
    sent = threading.Event()

    async def pour(conn):
        await conn.send(LARGE)
        sent.set()
        await conn.gone()

    server = serve(pour)

    async def main():
        stream, n_bytes = await connect(core, "127.0.0.1", server.port, 10), 0
        early = await asyncio.to_thread(sent.wait, 0.1)
        while n_bytes < len(LARGE):
            n_bytes += len(piece := await asyncio.wait_for(stream.read(65_536), 10))
            assert 0 < len(piece) < 2 << 20
        await stream.aclose()
        return early, n_bytes

    assert asyncio.run(main()) == (False, len(LARGE))


def test_an_upload_that_breaks_off_says_so(serve, core):
    """Whoever waits for room hears when there will be none."""

    async def leave(conn):
        await conn._reader.readexactly(1)
        await conn.reset()

    server = serve(leave)

    async def main():
        stream = await connect(core, "127.0.0.1", server.port, 10)
        stream.sent = Sent()
        try:
            await asyncio.wait_for(stream.write(LARGE), 10)
        finally:
            assert stream.sent.flag
            await stream.aclose()

    with pytest.raises(core.WriteError):
        asyncio.run(main())
