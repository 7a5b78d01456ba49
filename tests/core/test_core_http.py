"""On the wire: total deadlines, byte caps, no key to a second origin, and every oddity a miss; with both clients."""

import asyncio
import gzip
import logging
import ssl
import time
import zlib

import pytest
import trustme
from support.downloads import fetch
from support.mill import KEY, provider
from support.raw_server import RawServer, always, reply

import nbhelper as nbh
from nbhelper import _session
from nbhelper._http import Forbidden, Http, Unreached
from nbhelper._providers.contract import HttpRequest

pytestmark = pytest.mark.usefixtures("library")
LOOK = HttpRequest("GET", "/jobs/1", query={"a b": "ü&="})


@pytest.fixture
def serve(monkeypatch):
    """Start raw servers; all are closed in the end."""
    monkeypatch.setenv("MILL_API_KEY", KEY)
    made = []

    def begin(play, **options):
        made.append(RawServer(play, **options))
        return made[-1]

    yield begin
    for server in made:
        server.close()
        assert server.faults == []


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


def once(*data, stay=False):
    """Bytes for each request, then the end of the connection."""

    async def play(conn):
        if await conn.request() is not None:
            for part in data:
                await conn.send(part)
            if stay:
                await conn.gone()

    return play


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


# Deadlines


async def drip_body(conn):
    await conn.request()
    await conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    await conn.drip(b"x" * 500, 0.05)


async def drip_head(conn):
    await conn.request()
    await conn.drip(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 100, 0.05)


async def early_hints(conn):
    await conn.request()
    for _ in range(200):
        await conn.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await asyncio.sleep(0.05)


async def silent(conn):
    await conn.request()
    await conn.gone()


async def deaf(conn):
    await conn.gone()


DRIPS = {"body": drip_body, "headers": drip_head, "1xx": early_hints, "silence": silent, "deaf": deaf}


@pytest.mark.parametrize("play", DRIPS.values(), ids=DRIPS)
def test_a_deadline_is_for_the_whole_reply(serve, play):
    """However slowly something comes, the request is over when its time is, and not when a byte is late."""
    where = connection(serve(play))
    begun = time.monotonic()

    found = ask(where, deadline=0.25)

    assert isinstance(found, Unreached)
    assert "no whole reply within 0.25 s" in str(found)
    assert 0.2 < time.monotonic() - begun < 1.2
    assert found.sent


# Sizes and encodings


def chunked(*parts):
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts)


def bomb():
    """50 MB of zeros in 50 kB."""
    squeezer = zlib.compressobj(9, wbits=31)
    return b"".join([squeezer.compress(bytes(1_000_000)) for _ in range(50)]) + squeezer.flush()


def zipped(data, coding="gzip"):
    return reply(data, headers={"content-encoding": coding})


BAD = {
    "too large by length": (reply(b"x", length=500_000_000), "larger than 1,000,000 bytes"),
    "length of 400 digits": (reply(b"x", length="9" * 400), ""),
    "too large by stream": (chunked(*[b"y" * 60_000] * 20) + b"0\r\n\r\n", "larger than 1,000,000 bytes"),
    "gzip bomb": (zipped(bomb()), "larger than 1,000,000 bytes"),
    "gzip cut": (zipped(gzip.compress(b'{"state": "done"}' * 50)[:-12]), "breaks off"),
    "gzip that is none": (zipped(b'{"state": "done"}'), "encoding is broken"),
    "brotli": (zipped(b"\x0b\x02\x80", "br"), "not asked for"),
    "zstd": (zipped(b"\x28\xb5\x2f\xfd", "zstd"), "not asked for"),
    "many codings": (zipped(b"x", "gzip, gzip, gzip"), "not asked for"),
    "unknown coding": (zipped(b"x", "rot13"), "not asked for"),
    "body too short": (reply(b"{}", length=50), "broke off"),
    "chunk size no number": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", ""),
    "no last chunk": (chunked(b"{}"), ""),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 9\r\n\r\n{}", ""),
    "negative length": (b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}", ""),
    "no HTTP": (b"SSH-2.0-OpenSSH_9\r\n\r\n", ""),
    "HTTP/0.9": (b"<html>hello</html>", ""),
    "status 99": (b"HTTP/1.1 99 Low\r\ncontent-length: 0\r\n\r\n", ""),
    "long header": (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000 + b"\r\n\r\n", ""),
    "nothing": (b"", ""),
    "switching": (b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", ""),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD)
def test_a_reply_that_is_no_reply_is_unreached(serve, data, words):
    """Every broken, endless or oversized reply is the network's fault, in words without the key."""
    found = ask(connection(serve(once(data))), deadline=5)

    if isinstance(found, nbh._providers.contract.HttpReply):
        assert found.status in {99, 101}  # some clients let these through; no reader takes them for an answer
        return
    assert isinstance(found, Unreached)
    assert words in str(found)
    assert KEY not in str(found)
    assert "\n" not in str(found)


def test_a_bomb_takes_little_memory(serve):
    """The cap is on the decoded bytes: 50 MB in 50 kB are never unpacked."""
    import tracemalloc

    where = connection(serve(once(zipped(bomb()))))
    ask(where)
    tracemalloc.start()

    ask(where)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "identity", ""])
def test_an_encoding_that_was_not_asked_for_is_read_if_it_can_be(serve, coding):
    """Some servers compress whatever one asks for."""
    data = b'{"state": "done"}'
    body = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}.get(coding, bytes)(data)

    assert ask(connection(serve(once(zipped(body, coding))))).body == data


ODD = {"999": 999, "204": 204, "304": 304, "500": 500}


@pytest.mark.parametrize("status", ODD.values(), ids=ODD)
def test_any_status_is_handed_on(serve, status):
    """What a status means is the reader's business."""
    assert ask(connection(serve(once(reply(b"", status))))).status == status


# Redirects


def test_the_key_never_goes_to_another_origin(serve):
    """A redirect to another port, host or scheme is not followed: the second server sees nothing at all."""
    other = serve(always(reply(b"{}")))
    for target in (f"{other.root}/jobs/1", f"//127.0.0.1:{other.port}/x", f"http://localhost:{other.port}/"):
        server = serve(always(reply(b"", 302, {"location": target})))

        found = ask(connection(server))

        assert isinstance(found, Forbidden)
        assert "the key is not sent" in str(found)
        assert KEY not in str(found)
    assert other.connections == 0


@pytest.mark.parametrize(
    ("status", "target"), [(301, "/moved"), (302, "moved"), (303, "?x=1"), (307, "//127.0.0.1:PORT/x"), (308, "/moved")]
)
def test_a_redirect_within_the_origin_is_followed(serve, status, target):
    """GET goes on to the new place with the key, without the old query."""

    async def play(conn):
        moved = reply(b"", status, {"location": target.replace("PORT", str(server.port))})
        while (asked := await conn.request()) is not None:
            await conn.send(moved if asked.path == "/jobs/1" and asked.target != "/jobs/1?x=1" else reply(b"there"))

    server = serve(play)

    found = ask(connection(server))

    assert found.body == b"there"
    assert server.requests[1].header("authorization") == f"Bearer {KEY}"


def test_redirects_end(serve):
    """Three are followed, the fourth is a fault."""
    server = serve(always(reply(b"", 302, {"location": "/jobs/1"})))

    found = ask(connection(server))

    assert isinstance(found, Unreached)
    assert "more than 3 redirects" in str(found)
    assert len(server.requests) == 4


LOCATIONS = {
    "javascript": "javascript:alert(1)",
    "file": "file:///etc/passwd",
    "ftp": "ftp://127.0.0.1/x",
    "bad port": "http://127.0.0.1:99999/x",
    "no IPv6": "http://[::1/x",
    "long label": f"http://{'a' * 70}.example/x",
    "userinfo": "http://user:pass@evil.example/",
    "spaces": "http://a b/",
}


@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS)
def test_an_odd_location_goes_nowhere(serve, location):
    """Whatever stands in `Location`, the outcome is a fault of one line."""
    found = ask(connection(serve(always(reply(b"", 302, {"location": location})))))

    assert isinstance(found, Forbidden | Unreached)
    assert "\n" not in str(found)


def test_a_create_is_never_redirected(serve):
    """A POST is not sent again to wherever a reply points."""
    server = serve(always(reply(b"", 307, {"location": "/elsewhere"})))

    found = ask(connection(server), HttpRequest("POST", "/jobs", json={"a": 1}))

    assert found.status == 307
    assert len(server.requests) == 1


# Connections


def test_a_stale_connection_is_replaced_once_in_silence(serve):
    """A kept connection that died while idle costs nothing: the request goes out again on a new one."""

    async def play(conn):
        await conn.request()
        await conn.send(reply(b"{}"))
        if conn.n < 3:
            # Says it stays open, and tears off as soon as the next request comes.
            await conn._reader.read(1)
            await conn.reset()
        else:
            while await conn.request():
                await conn.send(reply(b"{}"))

    server = serve(play)

    found = ask(connection(server), times=6)

    assert [getattr(f, "status", f) for f in found] == [200] * 6


def test_a_create_is_not_sent_again_on_a_stale_connection(serve):
    """For a POST nobody can know whether the first one arrived."""

    async def play(conn):
        await conn.request()
        await conn.send(reply(b"{}"))
        await conn.request()
        await conn.reset()

    server = serve(play)

    found = ask(connection(server), HttpRequest("POST", "/jobs", json={}), times=6)

    assert [isinstance(f, Unreached) for f in found] == [False] * 3 + [True] * 3
    assert all(f.sent for f in found[3:])
    assert len(server.requests) == 6


def test_a_first_reset_is_not_repeated(serve):
    """On a fresh connection a reset is a miss: the watch's own pace decides when to look again."""

    async def play(conn):
        await conn.request()
        await conn.reset()

    server = serve(play)

    assert isinstance(ask(connection(server)), Unreached)
    assert len(server.requests) == 1


def test_nothing_listens(serve):
    """A refused connection is known to have sent nothing."""
    server = serve(always(reply()))
    where = connection(server)
    server.close()

    found = ask(where)

    assert isinstance(found, Unreached)
    assert str(found) == "cannot reach 127.0.0.1"
    assert not found.sent


@pytest.mark.parametrize(
    ("host", "words"),
    [("nowhere.invalid", "the name nowhere.invalid cannot be resolved"), (f"{'a' * 70}.example", "")],
    ids=["unknown", "label too long"],
)
def test_a_name_that_cannot_be_resolved(monkeypatch, host, words):
    """An unknown or impossible name is a miss that names the host alone."""
    monkeypatch.setenv("MILL_API_KEY", KEY)
    nbh.register(provider(f"https://{host}/v1"))

    found = ask(_session.connection("mill"), deadline=5)

    assert isinstance(found, Unreached)
    assert words in str(found) or "cannot reach" in str(found)
    assert not found.sent


def test_no_proxy_stands_between_us_and_this_machine(serve, monkeypatch):
    """A proxy is not used for http: it would read the key."""
    spy = serve(always(reply(b"{}")))
    server = serve(always(reply(b"here")))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, spy.root)

    assert ask(connection(server)).body == b"here"
    assert spy.connections == 0


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


@pytest.fixture
def tls(monkeypatch, tmp_path):
    """A certificate for localhost, and its authority in `SSL_CERT_FILE`."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return context


def test_a_trusted_certificate_is_enough(serve, tls):
    """A company's own authority works by `SSL_CERT_FILE`."""
    assert ask(connection(serve(always(reply(b"safe")), tls=tls))).body == b"safe"


def test_an_untrusted_certificate_is_never_accepted(serve, tls, monkeypatch):
    """Self-signed, unknown, a captive portal: the words name the cure, and no request is sent."""
    monkeypatch.delenv("SSL_CERT_FILE")
    server = serve(always(reply(b"evil")), tls=tls)

    found = ask(connection(server))

    assert isinstance(found, Unreached)
    assert "SSL_CERT_FILE" in str(found)
    assert not found.sent
    assert server.requests == []


def test_a_certificate_for_another_host_is_refused(serve, monkeypatch, tmp_path):
    """The name is checked, not only the authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    found = ask(connection(serve(always(reply()), tls=context)))

    assert isinstance(found, Unreached)
    assert "certificate" in str(found)


def test_https_is_not_left_for_http(serve, tls):
    """A redirect from https to http, same host and all, is not followed with the key."""
    plain = serve(always(reply(b"{}")))
    server = serve(always(reply(b"", 302, {"location": f"http://localhost:{plain.port}/jobs/1"})), tls=tls)

    assert isinstance(ask(connection(server)), Forbidden)
    assert plain.connections == 0


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
