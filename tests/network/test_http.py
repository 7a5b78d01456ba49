"""Requests to an API and for files, on real sockets, with both HTTP clients; faults are in tests/faults."""

import asyncio
import contextlib
import logging
import ssl
import threading

import pytest
from support.api_requests import CREATE, LOOK, connection, send, send_all
from support.downloads import fetch
from support.mill import KEY, provider
from support.raw_server import always, reply

import nbhelper as nbh
from nbhelper._network.faults import Forbidden, Unreached
from nbhelper._network.http import Http, Upload
from nbhelper._session import session
from nbhelper._session.keys import Secret
from nbhelper._session.session import Connection

pytestmark = pytest.mark.usefixtures("library")
LARGE = bytes(32 << 20)


def test_a_request_has_the_key_and_no_cookie(serve):
    """Path, query, key and identity encoding are sent, a cookie is not kept; the reply comes back whole."""
    server = serve(always(reply({"state": "done"}, headers={"X-Trace": "t", "Set-Cookie": "a=b; path=/"})))
    where = connection(server)

    first, second = send_all(where, LOOK, LOOK)

    look, next_look = server.requests
    assert look.target == "/jobs/1?a+b=%C3%BC%26%3D"
    assert look.header("authorization") == f"Bearer {KEY}"
    assert look.header("accept-encoding") == "identity"
    assert look.header("user-agent").startswith("nbhelper/")
    assert next_look.header("cookie") is None
    assert (first.status, first.headers["x-trace"], first.body) == (200, "t", b'{"state": "done"}')
    assert second.body == first.body


# Redirects

ELSEWHERE = {
    "another port": "http://127.0.0.1:{other}/x",
    "another port, no scheme": "//127.0.0.1:{other}/x",
    "another name": "http://localhost:{port}/x",
    "https at the same port": "https://127.0.0.1:{port}/x",
}


@pytest.mark.parametrize("target", ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_key_does_not_follow_a_redirect_to_another_origin(serve, target):
    """A redirect to another host, port or scheme is `Forbidden`: the other origin gets no request."""
    other = serve(always(reply(b"{}")))

    async def redirect(conn):
        while await conn.request() is not None:
            await conn.send(reply(b"", 302, {"location": target.format(port=server.port, other=other.port)}))

    server = serve(redirect)

    result = send(connection(server))

    assert isinstance(result, Forbidden)
    assert "where the key is not sent" in str(result)
    assert (len(server.requests), server.connections, other.connections) == (1, 1, 0)


@pytest.mark.parametrize("is_same_port", [True, False])
def test_the_key_does_not_follow_a_redirect_from_https_to_http(serve, tls, is_same_port):
    """A redirect from https to http is `Forbidden`, at the same host and port too: http shows the key."""
    plain = serve(always(reply(b"{}")))

    async def redirect(conn):
        while await conn.request() is not None:
            port = server.port if is_same_port else plain.port
            await conn.send(reply(b"", 301, {"location": f"http://localhost:{port}/x"}))

    server = serve(redirect, tls=tls)

    result = send(connection(server))

    assert isinstance(result, Forbidden)
    assert (len(server.requests), server.connections, plain.connections) == (1, 1, 0)


# Creates


def test_a_create_is_never_redirected(serve):
    """A redirect of a POST is returned as it is, and the POST is not sent to its location."""
    server = serve(always(reply(b"", 307, {"location": "/elsewhere"})))

    result = send(connection(server), CREATE)

    assert result.status == 307
    assert len(server.requests) == 1


def test_a_create_is_not_sent_again_after_a_broken_connection(serve):
    """A POST without a reply is sent once and counts as sent: the server may have got it."""

    async def play(conn):
        await conn.request()
        await conn.reset()

    server = serve(play)

    result = send(connection(server), CREATE)

    assert isinstance(result, Unreached)
    assert result.is_sent
    assert len(server.requests) == 1


def test_an_upload_ends_at_its_deadline(serve):
    """A server that reads no more bytes does not hold a create beyond its deadline; it counts as sent."""

    async def deaf(conn):
        await asyncio.sleep(60)

    result = send(connection(serve(deaf)), CREATE, files=(Upload("file", "a.bin", LARGE),), deadline=0.5)

    assert str(result) == "no whole reply within 0.5 s"
    assert result.is_sent


def test_an_upload_that_breaks_off_counts_as_sent(serve):
    """A connection that ends in the middle of an upload is no reply, and the create may have arrived."""

    async def leave(conn):
        await conn._reader.readexactly(1)
        await conn.reset()

    result = send(connection(serve(leave)), CREATE, files=(Upload("file", "a.bin", LARGE),), deadline=30)

    assert str(result) == "the connection broke off (127.0.0.1)"
    assert result.is_sent


def test_a_refused_connection_has_sent_nothing(serve):
    """A request to a port where nothing listens counts as not sent."""
    server = serve(always(reply()))
    where = connection(server)
    server.close()

    result = send(where)

    assert isinstance(result, Unreached)
    assert str(result) == "cannot reach 127.0.0.1"
    assert not result.is_sent


def test_http_inside_the_own_network_uses_no_proxy(serve, monkeypatch):
    """A request over http with `private=True` does not go through `HTTP_PROXY`, which would read the key."""
    spy = serve(always(reply(b"{}")))
    monkeypatch.setenv("HTTP_PROXY", spy.root)
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url="http://mill.internal:1", private=True)

    result = send(session.connection("mill"), deadline=30)

    assert isinstance(result, Unreached)
    assert spy.connections == 0


PROXIES = {
    "closes": (b"", "the reply broke off or is not HTTP (mill.example)"),
    "refuses": (reply(b"", 403), "the proxy refused (mill.example)"),
    "redirects": (reply(b"", 302, {"location": "//["}), "the proxy refused (mill.example)"),
    "ends the tunnel": (b"HTTP/1.1 200 Connection established\r\n\r\n", "cannot reach mill.example"),
}


@pytest.mark.parametrize(("answer", "words"), PROXIES.values(), ids=PROXIES)
@pytest.mark.parametrize("request_", [LOOK, CREATE], ids=["look", "create"])
def test_a_request_that_fails_at_the_proxy_counts_as_not_sent(serve, monkeypatch, request_, answer, words):
    """A proxy's CONNECT is no byte of the request: a create that gets no further was not sent."""

    async def proxy(conn):
        await conn._reader.readuntil(b"\r\n\r\n")
        await conn.send(answer)

    monkeypatch.setenv("HTTPS_PROXY", serve(proxy).root)
    nbh.register(provider("https://mill.example"))

    result = send(session.connection("mill"), request_, deadline=30)

    assert isinstance(result, Unreached)
    assert not result.is_sent
    assert str(result) == words


def test_a_file_comes_through_a_proxy(serve, monkeypatch, names, authority):
    """A proxy gets a file's host by name, which is the name that the certificate has to bear."""
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


# TLS


def test_a_certificate_authority_in_ssl_cert_file_is_trusted(serve, tls):
    """A company's own certificate authority works by `SSL_CERT_FILE`."""
    assert send(connection(serve(always(reply(b"safe")), tls=tls))).body == b"safe"


# Files


def test_a_local_api_may_have_local_files(serve):
    """The files of an API on this machine may be on this machine, on any port."""
    files = serve(always(reply(b"bytes")))

    assert fetch(connection(serve(always(reply()))), f"{files.root}/a") == (200, b"bytes")


def test_private_allows_files_in_the_own_network(serve, monkeypatch):
    """With `private=True` results may be downloaded from a host of the own network."""
    files = serve(always(reply(b"bytes")))
    monkeypatch.setenv("MILL_API_KEY", KEY)
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", private=True)

    assert fetch(session.connection("mill"), f"{files.root}/a") == (200, b"bytes")


def test_a_download_tries_the_next_address(serve, names):
    """Where the first address of a name does not answer, the download comes from the second."""
    server = serve(always(reply(b"bytes")))
    names["mill.test"] = [["127.0.0.2", "127.0.0.1"]]
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url=f"http://mill.test:{server.port}", private=True)

    assert fetch(session.connection("mill"), f"http://mill.test:{server.port}/a") == (200, b"bytes")
    assert server.requests[0].header("host") == f"mill.test:{server.port}"


def test_an_error_of_the_code_that_receives_a_file_is_raised_unchanged(serve):
    """An OSError inside the block of `download` is no `Unreached`."""
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


def test_a_download_reads_no_more_than_is_taken(serve):
    """Bytes that are not taken yet stay at the server, except those that the sockets hold."""
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


# Logs and errors


def test_the_clients_log_no_links(serve, logged, library):
    """Logs have no URL, whose query may be a signature, and no key."""
    server = serve(always(reply(b"bytes")))
    where = connection(server)

    fetch(where, f"{server.root}/a.png?signature=very-secret")
    send(where)

    assert "very-secret" not in logged.text
    assert KEY not in logged.text


def test_a_log_level_that_the_user_set_is_kept():
    """The level of httpcore's logger is set to WARNING only where it had none."""
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
    """`NBHELPER_HTTP` is "httpx" or "httpx2"; any other value is refused."""
    monkeypatch.setenv("NBHELPER_HTTP", "requests")

    with pytest.raises(nbh.BadInput, match='NBHELPER_HTTP is "requests"; it takes "httpx" or "httpx2"'):
        Http()


def test_the_chosen_client_is_the_one_used(library):
    """The client is the one that `NBHELPER_HTTP` names, whichever are installed."""
    assert Http().lib.__name__ == library


KEYS_IN_ERRORS = {"newline inside": "abc\ndef", "latin": "schlüssel-1234567890"}


@pytest.mark.parametrize("key", KEYS_IN_ERRORS.values(), ids=KEYS_IN_ERRORS)
def test_a_key_that_no_header_can_hold_is_not_in_the_error(serve, key):
    """The client's error about a header is not repeated, because it has the key in it."""
    server = serve(always(reply()))
    spec = nbh.register(provider(server.root))

    result = send(Connection(spec, server.root, server.root, Secret(key)))

    assert isinstance(result, Unreached)
    assert key not in str(result)
    assert key not in repr(result)
