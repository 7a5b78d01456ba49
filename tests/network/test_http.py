"""On the wire, with both clients; what goes wrong there is in tests/faults."""

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
import threading
import time
import warnings

import pytest
from support.downloads import fetch
from support.mill import KEY, provider
from support.raw_server import always, reply
from support.waiting import until

import nbhelper as nbh
from nbhelper._network import http as _http
from nbhelper._network.faults import Forbidden, Unreached
from nbhelper._network.http import Http, Upload
from nbhelper._providers.requests import HttpRequest
from nbhelper._session import session

pytestmark = pytest.mark.usefixtures("library")
LOOK = HttpRequest("GET", "/jobs/1", query={"a b": "ü&="})
CREATE = HttpRequest("POST", "/jobs", json={"a": 1})
LARGE = bytes(32 << 20)


def connection(server, **more):
    nbh.register(provider(server.root, **more))
    return session.connection("mill")


def ask(where, request=LOOK, times=1, **options):
    """One request, or several over the same client."""

    async def main():
        http = Http()
        try:
            found = []
            for _ in range(times):
                try:
                    found.append(await http.api(where, request, **options))
                except (Unreached, Forbidden) as error:
                    found.append(error)
            return found
        finally:
            await http.close()

    found = asyncio.run(main())
    return found if times > 1 else found[0]


def test_a_request_is_what_it_says(serve):
    """Path, query, key, no cookie, identity encoding; and the reply comes back whole."""
    server = serve(always(reply({"state": "done"}, headers={"X-Trace": "t", "Set-Cookie": "a=b; path=/"})))
    where = connection(server)

    first, second = ask(where, times=2)

    asked = server.requests
    assert asked[0].target == "/jobs/1?a+b=%C3%BC%26%3D"
    assert asked[0].header("authorization") == f"Bearer {KEY}"
    assert asked[0].header("accept-encoding") == "identity"
    assert asked[0].header("user-agent").startswith("nbhelper/")
    assert asked[1].header("cookie") is None
    assert (first.status, first.headers["x-trace"], first.body) == (200, "t", b'{"state": "done"}')
    assert second.body == first.body


# Creates


def test_a_create_is_never_redirected(serve):
    """A POST is not sent again to wherever a reply points."""
    server = serve(always(reply(b"", 307, {"location": "/elsewhere"})))

    found = ask(connection(server), CREATE)

    assert found.status == 307
    assert len(server.requests) == 1


def test_a_create_is_not_sent_again(serve):
    """For a POST nobody can know whether the first one arrived."""

    async def play(conn):
        await conn.request()
        await conn.reset()

    server = serve(play)

    found = ask(connection(server), CREATE)

    assert isinstance(found, Unreached)
    assert found.is_sent
    assert len(server.requests) == 1


def test_an_upload_that_is_not_taken_is_given_up(serve):
    """A server that takes no more bytes does not hold a create beyond its deadline, and may have got it."""

    async def deaf(conn):
        await asyncio.sleep(60)

    found = ask(connection(serve(deaf)), CREATE, files=(Upload("file", "a.bin", LARGE),), deadline=0.5)

    assert str(found) == "no whole reply within 0.5 s"
    assert found.is_sent


def test_an_upload_that_breaks_off_says_so(serve):
    """A connection that ends in the middle of an upload is no reply, and the create may have arrived."""

    async def leave(conn):
        await conn._reader.readexactly(1)
        await conn.reset()

    found = ask(connection(serve(leave)), CREATE, files=(Upload("file", "a.bin", LARGE),), deadline=30)

    assert str(found) == "the connection broke off (127.0.0.1)"
    assert found.is_sent


def test_nothing_listens(serve):
    """A refused connection is known to have sent nothing."""
    server = serve(always(reply()))
    where = connection(server)
    server.close()

    found = ask(where)

    assert isinstance(found, Unreached)
    assert str(found) == "cannot reach 127.0.0.1"
    assert not found.is_sent


def test_http_inside_the_own_network_uses_no_proxy_either(serve, monkeypatch):
    """With `private=True` a key may go over http to a neighbour, and past no proxy."""
    spy = serve(always(reply(b"{}")))
    monkeypatch.setenv("HTTP_PROXY", spy.root)
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url="http://mill.internal:1", private=True)

    found = ask(session.connection("mill"), deadline=30)

    assert isinstance(found, Unreached)
    assert spy.connections == 0


PROXIES = {
    "closes": (b"", "the reply broke off or is not HTTP (mill.example)"),
    "refuses": (reply(b"", 403), "the proxy refused (mill.example)"),
    "redirects": (reply(b"", 302, {"location": "//["}), "the proxy refused (mill.example)"),
    "ends the tunnel": (b"HTTP/1.1 200 Connection established\r\n\r\n", "cannot reach mill.example"),
}


@pytest.mark.parametrize(("answer", "words"), PROXIES.values(), ids=PROXIES)
@pytest.mark.parametrize("request_", [LOOK, CREATE], ids=["look", "create"])
def test_what_only_a_proxy_has_seen_is_not_sent(serve, monkeypatch, request_, answer, words):
    """A proxy's CONNECT is no byte of the request: a create that gets no further is known not to have been sent."""

    async def proxy(conn):
        await conn._reader.readuntil(b"\r\n\r\n")
        await conn.send(answer)

    monkeypatch.setenv("HTTPS_PROXY", serve(proxy).root)
    nbh.register(provider("https://mill.example"))

    found = ask(session.connection("mill"), request_, deadline=30)

    assert isinstance(found, Unreached)
    assert not found.is_sent
    assert str(found) == words


def test_a_file_comes_through_a_proxy(serve, monkeypatch, names, authority):
    """A proxy is asked for the file's host by its name, which is the name that the certificate has to bear."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("files.example").configure_cert(context)
    there, seen = serve(always(reply(b"bytes")), tls=context), []

    async def proxy(conn):
        seen.append((await conn._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        await conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)

        async def pump(source, target):
            with contextlib.suppress(OSError):
                while data := await source.read(65_536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(pump(conn._reader, writer), pump(reader, conn._writer))

    monkeypatch.setenv("HTTPS_PROXY", serve(proxy).root)
    names["files.example"] = [["93.184.216.34"]]
    nbh.register(provider("https://mill.example"))

    assert fetch(session.connection("mill"), "https://files.example/a") == (200, b"bytes")
    assert seen == [b"CONNECT files.example:443 HTTP/1.1"]


# Connections that are kept


def connections(server):
    return [asked.connection for asked in server.requests]


def in_turn(where, *requests, between=lambda: None):
    """The statuses of one request after the other; between two, something happens while the loop stands still."""

    async def main():
        client = Http()
        found = []
        try:
            for request in requests:
                if found:
                    between()
                found.append((await client.api(where, request)).status)
        finally:
            await client.close()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize("safe", [False, True], ids=["http", "https"])
def test_looks_share_a_connection_and_creates_do_not(serve, request, safe):
    """A handshake is made once for looks in turn; a create has a connection of its own."""
    server = serve(always(reply(b"{}")), tls=request.getfixturevalue("tls") if safe else None)

    in_turn(connection(server), LOOK, CREATE, LOOK, CREATE, LOOK)

    assert connections(server) == [0, 1, 0, 2, 0]


def test_connections_that_were_idle_for_long_are_closed(serve, monkeypatch):
    """Of many that a crowd needed, those that nobody needs any more are closed by the next request."""
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


@pytest.mark.parametrize("safe", [False, True], ids=["http", "https"])
def test_a_connection_that_the_server_closed_is_not_used(serve, request, safe):
    """Even where this process's loop has not turned since."""
    answered, closed = threading.Event(), threading.Event()

    async def once(conn):
        if conn.n:
            await always(reply(b"{}", 201))(conn)
        await conn.request()
        await conn.send(reply(b"{}"))
        await asyncio.to_thread(answered.wait, 30)
        conn._writer.close()
        asyncio.get_running_loop().call_later(0.02, closed.set)  # over TLS it takes a few turns

    def close():
        answered.set()
        closed.wait(30)

    server = serve(once, tls=request.getfixturevalue("tls") if safe else None)

    found = in_turn(connection(server), LOOK, LOOK, between=close)

    assert found == [200, 201]
    assert connections(server) == [0, 1]


@pytest.mark.parametrize("safe", [False, True], ids=["http", "https"])
def test_a_reply_that_came_unasked_is_not_used(serve, request, safe):
    """A reply to nothing would be taken for the answer to the next look."""
    answered, said = threading.Event(), threading.Event()

    async def twice(conn):
        if conn.n:
            await always(reply(b"{}", 201))(conn)
        await conn.request()
        await conn.send(reply(b"{}"))
        await asyncio.to_thread(answered.wait, 30)
        await conn.send(reply(b"{}", 404))
        said.set()
        await conn.gone()

    def say():
        answered.set()
        said.wait(30)

    server = serve(twice, tls=request.getfixturevalue("tls") if safe else None)

    assert in_turn(connection(server), LOOK, LOOK, between=say) == [200, 201]


@pytest.mark.parametrize("safe", [False, True], ids=["http", "https"])
def test_a_second_reply_in_one_piece_is_not_used(serve, request, safe):
    """Two replies to one look, in one piece: the next look fails on that connection, the one behind it goes on."""
    double = reply(b"first") + reply(b"second", 404)
    server = serve(always(double, reply(b"third")), tls=request.getfixturevalue("tls") if safe else None)

    first, second, third = ask(connection(server), times=3)

    assert first.body == b"first"
    assert isinstance(second, Unreached)
    assert second.is_sent
    assert (third.status, third.body) == (200, b"third")
    assert connections(server) == [0, 0, 1]


def test_a_connection_of_a_look_given_up_is_not_used(serve):
    """The answer to a look that nobody waits for any more does not answer the next one."""
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
    begun = time.monotonic()

    found = ask(session.connection("mill"))
    spent = time.monotonic() - begun
    for sock in (silent, *crowd):
        sock.close()

    assert found.status == 200
    assert spent > 0.2


PLACES = {"address": "http://127.0.0.1", "name": "http://mill.test", "https": "https://localhost"}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("request_", [LOOK, CREATE], ids=["look", "create"])
def test_giving_up_leaves_no_socket_behind(serve, names, request, request_, place):
    """However far a request has come, at whichever turn of the loop it is given up, in a TLS handshake too."""

    async def answer(conn):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):  # given up between a create's head and its body
            await always(reply(b"{}"))(conn)

    server = serve(answer, tls=request.getfixturevalue("tls") if place.startswith("https") else None)
    names["mill.test"] = [["127.0.0.1", "127.0.0.2"]] * 120
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url=f"{place}:{server.port}", private=True)
    where = session.connection("mill")

    async def given_up(client, turns):
        asking = asyncio.create_task(client.api(where, request_))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        await client.leave(where.origin)
        return asking.cancelled()

    async def main():
        client = Http()
        found = [await given_up(client, turns) for turns in range(60)]
        await client.close()
        return found

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cancelled = asyncio.run(main())
        gc.collect()

    assert [str(warning.message) for warning in said] == []
    assert cancelled[0]


# TLS


def test_a_trusted_certificate_is_enough(serve, tls):
    """A company's own authority works by `SSL_CERT_FILE`."""
    assert ask(connection(serve(always(reply(b"safe")), tls=tls))).body == b"safe"


# Results: where links may lead


def test_an_own_host_may_be_local(serve):
    """An API on this machine has its results on this machine, on any port."""
    files = serve(always(reply(b"bytes")))

    assert fetch(connection(serve(always(reply()))), f"{files.root}/a") == (200, b"bytes")


def test_private_allows_the_own_network(serve, monkeypatch):
    """`private=True` is what lets results come from a neighbour."""
    files = serve(always(reply(b"bytes")))
    monkeypatch.setenv("MILL_API_KEY", KEY)
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", private=True)

    assert fetch(session.connection("mill"), f"{files.root}/a") == (200, b"bytes")


def test_a_download_goes_to_the_next_address(serve, names):
    """Where one address of a name does not answer, the next one does."""
    server = serve(always(reply(b"bytes")))
    names["mill.test"] = [["127.0.0.2", "127.0.0.1"]]
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url=f"http://mill.test:{server.port}", private=True)

    assert fetch(session.connection("mill"), f"http://mill.test:{server.port}/a") == (200, b"bytes")
    assert server.requests[0].header("host") == f"mill.test:{server.port}"


def test_a_receivers_fault_is_not_the_networks(serve):
    """An error of whoever writes the file comes through as it is."""
    server = serve(always(reply(b"bytes")))
    where = connection(server)

    async def main():
        http = Http()
        try:
            async with http.download(f"{server.root}/a", where, {}):
                raise OSError(28, "No space left on device")
        finally:
            await http.close()

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(main())


def test_a_file_that_nobody_reads_waits_at_the_server(serve):
    """No more is taken in than is asked for, but for what the sockets hold."""
    sent = threading.Event()

    async def pour(conn):
        await conn.request()
        await conn.send(reply(LARGE))
        sent.set()

    server = serve(pour)
    where = connection(server)

    async def main():
        client, n_bytes = Http(), 0
        try:
            async with client.download(f"{server.root}/a", where, {}) as (_, pieces):
                early = await asyncio.to_thread(sent.wait, 0.1)
                async for piece in pieces:
                    n_bytes += len(piece)
                return early, n_bytes
        finally:
            await client.close()

    assert asyncio.run(main()) == (False, len(LARGE))


# What is said and logged


def test_the_clients_log_no_links(serve, logged, library):
    """At INFO the clients would log whole addresses, and a signed link is a secret."""
    server = serve(always(reply(b"bytes")))
    where = connection(server)

    fetch(where, f"{server.root}/a.png?signature=very-secret")
    ask(where)

    assert "very-secret" not in logged.text
    assert KEY not in logged.text


def test_a_level_that_somebody_set_is_kept():
    """Whoever wants the client's log gets it."""
    logger = logging.getLogger("httpcore")
    before = logger.level
    try:
        logger.setLevel(logging.ERROR)
        Http()
        assert logger.level == logging.ERROR
        logger.setLevel(logging.NOTSET)
        Http()
        assert logger.level == logging.WARNING
    finally:
        logger.setLevel(before)


def test_an_unknown_client_is_refused(monkeypatch):
    """`NBHELPER_HTTP` takes two values; anything else says so."""
    monkeypatch.setenv("NBHELPER_HTTP", "requests")

    with pytest.raises(nbh.BadInput, match='NBHELPER_HTTP is "requests"; it takes "httpx" or "httpx2"'):
        Http()


def test_the_chosen_client_is_the_one_used(library):
    """Neither is taken because it happens to be installed."""
    assert Http().lib.__name__ == library


KEYS_IN_ERRORS = {"newline inside": "abc\ndef", "latin": "schlüssel-1234567890"}


@pytest.mark.parametrize("key", KEYS_IN_ERRORS.values(), ids=KEYS_IN_ERRORS)
def test_a_key_that_no_header_can_hold_is_not_in_the_error(serve, key):
    """Even if one slipped through, what the client says of it is not repeated."""
    from nbhelper._session.keys import Secret
    from nbhelper._session.session import Connection

    server = serve(always(reply()))
    spec = nbh.register(provider(server.root))

    found = ask(Connection(spec, server.root, server.root, Secret(key)))

    assert isinstance(found, Unreached)
    assert key not in str(found)
    assert key not in repr(found)
