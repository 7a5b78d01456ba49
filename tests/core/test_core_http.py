"""On the wire, with both clients; what goes wrong there is in tests/faults."""

import asyncio
import logging

import pytest
from support.downloads import fetch
from support.mill import KEY, provider
from support.raw_server import always, reply

import nbhelper as nbh
from nbhelper import _lines, _session
from nbhelper._http import Forbidden, Http, Unreached
from nbhelper._providers.requests import HttpRequest

pytestmark = pytest.mark.usefixtures("library")
LOOK = HttpRequest("GET", "/jobs/1", query={"a b": "ü&="})


def connection(server, **more):
    nbh.register(provider(server.root, **more))
    return _session.connection("mill")


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

    found = ask(connection(server), HttpRequest("POST", "/jobs", json={"a": 1}))

    assert found.status == 307
    assert len(server.requests) == 1


def test_a_create_is_not_sent_again_on_a_stale_connection(serve, monkeypatch):
    """For a POST nobody can know whether the first one arrived."""
    monkeypatch.setattr(_lines, "_REST", 0.0)

    async def play(conn):
        await conn.request()
        await conn.send(reply(b"{}"))
        await conn.request()
        await conn.reset()

    server = serve(play)

    found = ask(connection(server), HttpRequest("POST", "/jobs", json={}), times=2)

    assert [isinstance(f, Unreached) for f in found] == [False, True]
    assert found[1].sent
    assert [asked.connection for asked in server.requests] == [0, 0]


def test_nothing_listens(serve):
    """A refused connection is known to have sent nothing."""
    server = serve(always(reply()))
    where = connection(server)
    server.close()

    found = ask(where)

    assert isinstance(found, Unreached)
    assert str(found) == "cannot reach 127.0.0.1"
    assert not found.sent


def test_http_inside_the_own_network_uses_no_proxy_either(serve, monkeypatch):
    """With `private=True` a key may go over http to a neighbour, and past no proxy."""
    spy = serve(always(reply(b"{}")))
    monkeypatch.setenv("HTTP_PROXY", spy.root)
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url="http://mill.internal:1", private=True)

    found = ask(_session.connection("mill"), deadline=5)

    assert isinstance(found, Unreached)
    assert spy.connections == 0


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

    assert fetch(_session.connection("mill"), f"{files.root}/a") == (200, b"bytes")


def test_a_download_goes_to_the_next_address(serve, names):
    """Where one address of a name does not answer, the next one does."""
    server = serve(always(reply(b"bytes")))
    names["mill.test"] = [["127.0.0.2", "127.0.0.1"]]
    nbh.register(provider("https://mill.example"))
    nbh.connect("mill", base_url=f"http://mill.test:{server.port}", private=True)

    assert fetch(_session.connection("mill"), f"http://mill.test:{server.port}/a") == (200, b"bytes")
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
    from nbhelper._keys import Secret
    from nbhelper._session import Connection

    server = serve(always(reply()))
    spec = nbh.register(provider(server.root))

    found = ask(Connection(spec, server.root, server.root, Secret(key)))

    assert isinstance(found, Unreached)
    assert key not in str(found)
    assert key not in repr(found)
