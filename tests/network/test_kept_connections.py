"""Connections to an API: which are kept open and used again, and how new ones are made."""

import asyncio
import contextlib
import gc
import socket
import threading
import time
import warnings

import pytest
from support.api_requests import CREATE, LOOK, connection, send, send_all
from support.mill import provider
from support.raw_server import always, reply
from support.waiting import until

import nbhelper as nbh
from nbhelper._network import http as _http
from nbhelper._network.faults import Unreached
from nbhelper._network.http import Http
from nbhelper._session import session

pytestmark = pytest.mark.usefixtures("library")


@pytest.fixture(params=[False, True], ids=["http", "https"])
def server_tls(request):
    """The server's side of TLS, or None for plain http."""
    return request.getfixturevalue("tls") if request.param else None


def connections(server):
    """The number of the connection that each request came by."""
    return [request.connection for request in server.requests]


def statuses(where, *requests, between=lambda: None):
    """The statuses of the replies to requests in turn; between two, a function runs while the event loop is blocked."""

    async def main():
        client = Http()
        results = []
        try:
            for request in requests:
                if results:
                    between()
                results.append((await client.api(where, request)).status)
        finally:
            await client.close()
        return results

    return asyncio.run(main())


def test_looks_share_a_connection_and_creates_do_not(serve, server_tls):
    """A handshake is made once for looks in turn; a create has a connection of its own."""
    server = serve(always(reply(b"{}")), tls=server_tls)

    statuses(connection(server), LOOK, CREATE, LOOK, CREATE, LOOK)

    assert connections(server) == [0, 1, 0, 2, 0]


def test_connections_that_were_idle_for_long_are_closed(serve, monkeypatch):
    """Connections that were idle for longer than `_KEEPALIVE` are closed when the next request is sent."""
    monkeypatch.setattr(_http, "_KEEPALIVE", 0.05)
    gone = []

    async def talk(conn):
        while await conn.request() is not None:
            await conn.send(reply(b"{}"))
        gone.append(conn.n)

    server = serve(talk)
    where = connection(server)

    async def main():
        client = Http()
        try:
            await asyncio.gather(*(client.api(where, LOOK) for _ in range(5)))
            await asyncio.sleep(0.06)
            await client.api(where, LOOK)
            await asyncio.to_thread(until, lambda: len(gone) == 5)
        finally:
            await client.close()

    asyncio.run(main())

    assert connections(server)[-1] == 5


def test_a_connection_that_the_server_closed_is_not_used(serve, server_tls):
    """A kept connection that the server closed is not used, even if the event loop was blocked meanwhile."""
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

    server = serve(once, tls=server_tls)

    assert statuses(connection(server), LOOK, LOOK, between=close) == [200, 201]
    assert connections(server) == [0, 1]


def test_a_reply_that_came_unasked_is_not_used(serve, server_tls):
    """A reply that comes while a connection is idle is not taken for the reply to the next look."""
    answered, sent_more = threading.Event(), threading.Event()

    async def twice(conn):
        if conn.n:
            await always(reply(b"{}", 201))(conn)
        await conn.request()
        await conn.send(reply(b"{}"))
        await asyncio.to_thread(answered.wait, 10)
        await conn.send(reply(b"{}", 404))
        sent_more.set()
        await conn.gone()

    def send_more():
        answered.set()
        sent_more.wait(10)

    server = serve(twice, tls=server_tls)

    assert statuses(connection(server), LOOK, LOOK, between=send_more) == [200, 201]


def test_a_second_reply_in_one_piece_is_not_used(serve, server_tls):
    """Two replies to one look, in one piece: the next look fails on that connection, the one behind it goes on."""
    double = reply(b"first") + reply(b"second", 404)
    server = serve(always(double, reply(b"third")), tls=server_tls)

    first, second, third = send_all(connection(server), LOOK, LOOK, LOOK)

    assert first.body == b"first"
    assert isinstance(second, Unreached)
    assert second.is_sent
    assert (third.status, third.body) == (200, b"third")
    assert connections(server) == [0, 0, 1]


def test_the_connection_of_a_cancelled_look_is_not_used(serve):
    """The reply to a look that was cancelled is not taken for the reply to the next one."""
    held = threading.Event()

    async def slow(conn):
        await conn.request()
        if conn.n:
            await conn.send(reply(b"{}", 201))
        held.set()
        await conn.gone()

    server = serve(slow)
    where = connection(server)

    async def main():
        client = Http()
        try:
            first = asyncio.create_task(client.api(where, LOOK))
            await asyncio.to_thread(held.wait, 10)
            first.cancel()
            await asyncio.wait({first})
            return (await client.api(where, LOOK)).status
        finally:
            await client.close()

    assert asyncio.run(main()) == 201
    assert connections(server) == [0, 1]


# Connections that are made


def test_an_address_that_does_not_answer_is_not_waited_for(serve, names):
    """While one of a name's addresses does not answer, the next one is tried after a quarter of a second."""
    server = serve(always(reply(b"{}")))
    silent = socket.socket()
    silent.bind(("127.0.0.2", server.port))
    silent.listen(0)
    crowd = [socket.socket() for _ in range(3)]
    for sock in crowd:  # the first connection fills the queue; the others wait
        sock.setblocking(False)  # noqa: FBT003
        sock.connect_ex(("127.0.0.2", server.port))
    names["mill.test"] = [["127.0.0.2", "127.0.0.1"]]
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url=f"http://mill.test:{server.port}", private=True)
    begun = time.monotonic()

    result = send(session.connection("mill"))
    spent = time.monotonic() - begun
    for sock in (silent, *crowd):
        sock.close()

    assert result.status == 200
    assert spent > 0.2


BASES = {"address": "http://127.0.0.1", "name": "http://mill.test", "https": "https://localhost"}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.parametrize("request_", [LOOK, CREATE], ids=["look", "create"])
def test_a_cancelled_request_leaves_no_socket_open(serve, names, request, request_, base):
    """At whichever turn of the event loop a request is cancelled, in a TLS handshake too, its socket is closed."""

    async def answer(conn):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):  # cancelled between head and body
            await always(reply(b"{}"))(conn)

    server = serve(answer, tls=request.getfixturevalue("tls") if base.startswith("https") else None)
    names["mill.test"] = [["127.0.0.1", "127.0.0.2"]] * 120
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url=f"{base}:{server.port}", private=True)
    where = session.connection("mill")

    async def cancel_after(client, turns):
        asking = asyncio.create_task(client.api(where, request_))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        await client.leave(where.origin)
        return asking.cancelled()

    async def main():
        client = Http()
        cancelled = [await cancel_after(client, turns) for turns in range(60)]
        await client.close()
        return cancelled

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        cancelled = asyncio.run(main())
        gc.collect()

    assert [str(warning.message) for warning in warned] == []
    assert cancelled[0]
