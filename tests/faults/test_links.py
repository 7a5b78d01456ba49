"""F: a result's link is fetched from public addresses over https only; others are refused before connecting."""

import asyncio

import pytest
from support.downloads import fetch
from support.mill import KEY, provider
from support.raw_server import RawServer, always, reply
from support.watched import ended, sound

import nbhelper as nbh
from nbhelper._network import destinations
from nbhelper._network.faults import Forbidden, Unreached
from nbhelper._network.http import Http
from nbhelper._session import session
from nbhelper.types import SaveState


@pytest.fixture
def public(monkeypatch):
    """A connection to an API at a public https address."""
    monkeypatch.setenv("MILL_API_KEY", KEY)
    nbh.register(provider("https://api.mill.example/v1"))
    return session.connection("mill")


PRIVATE = {
    "loopback": "127.0.0.1",
    "localhost": "localhost",
    "short": "127.1",
    "one number": "2130706433",
    "hex": "0x7f.1",
    "octal": "0177.0.0.1",
    "zero": "0",
    "zeros": "0.0.0.0",
    "IPv6": "[::1]",
    "IPv4 in IPv6": "[::ffff:127.0.0.1]",
    "6to4": "[2002:7f00:1::]",
    "link local": "169.254.169.254",
    "ten": "10.0.0.1",
    "home": "192.168.1.1",
    "shared": "100.64.0.1",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "unique local": "[fd00::1]",
    "NAT64": "[64:ff9b::7f00:1]",
    "dot at the end": "localhost.",
    "capitals": "LOCALHOST",
}


@pytest.mark.parametrize("host", PRIVATE.values(), ids=PRIVATE)
def test_f26_private_address_in_any_notation(public, host, monkeypatch):
    """A link to a private or loopback address is refused without a connection, however the address is written."""
    monkeypatch.setattr(Http, "_request_file", None)  # no request is made

    results = [fetch(public, f"https://{host}{port}/a.png") for port in ("", ":443", ":8443")]

    assert all(isinstance(r, Forbidden) or "cannot be resolved" in str(r) for r in results)


@pytest.mark.parametrize("inside", ["127.0.0.1", "10.1.2.3", "::1", "fe80::1%eth0", "::ffff:169.254.169.254"])
def test_f27_name_with_a_private_address(public, names, monkeypatch, inside):
    """A public name with a private address among its addresses is not connected to."""
    names["cdn.example"] = [["93.184.216.34", inside]]
    monkeypatch.setattr(Http, "_request_file", None)

    result = fetch(public, "https://cdn.example/a")

    assert isinstance(result, Forbidden)
    assert "no public address" in str(result)


def test_f26_no_connection(public, monkeypatch):
    """A link that names this machine opens no connection to a listener on it."""
    with RawServer(always(reply(b"secret"))) as listener:
        for host in ("127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]", "2130706433"):
            for scheme in ("http", "https"):
                result = fetch(public, f"{scheme}://{host}:{listener.port}/a")
                assert isinstance(result, Forbidden | Unreached)

        assert listener.connections == 0


def test_f27_rebinding(public, names, monkeypatch):
    """A name whose address changes between check and connection (rebinding) is connected to at the checked address."""
    names["cdn.example"] = [["93.184.216.34"], ["127.0.0.1"]]
    requests = []

    async def refuse_request(self, url, addresses, headers, sent):
        requests.append((url, addresses))
        raise OSError("far away")

    monkeypatch.setattr(Http, "_request_file", refuse_request)

    fetch(public, "https://cdn.example/a")

    assert requests == [("https://cdn.example/a", ["93.184.216.34"])]


REFUSED = {
    "file": "file:///etc/passwd",
    "ftp": "ftp://cdn.example/a",
    "data": "data:image/png;base64,AAAA",
    "javascript": "javascript:alert(1)",
    "no host": "https:///a",
    "no scheme": "cdn.example/a",
    "user": "https://user@cdn.example/a",
    "password": "https://user:pass@cdn.example/a",
    "newline": "https://cdn.example/a\nHost: b",
    "backslash": "https://cdn.example\\@127.0.0.1/a",
    "open bracket": "https://[::1/a",
    "empty": "",
}


def check_refused(public, names, monkeypatch, link):
    """Assert that a link is Forbidden without a request; the error's text."""
    names["cdn.example"] = [["93.184.216.34"]]
    monkeypatch.setattr(Http, "_request_file", None)  # no request is made

    result = fetch(public, link)

    assert isinstance(result, Forbidden)
    assert "\n" not in str(result)
    return str(result)


@pytest.mark.parametrize("link", REFUSED.values(), ids=REFUSED)
def test_f25_other_schemes(public, names, monkeypatch, link):
    """Other schemes, user names and malformed URLs are refused before a name is resolved."""
    words = check_refused(public, names, monkeypatch, link)

    assert "pass" not in words or link.startswith("file")


PORTS = {
    "telnet": "https://cdn.example:23/a",
    "wraps to 443": "https://cdn.example:65979/a",
    "zero": "https://cdn.example:0/a",
    "negative": "https://cdn.example:-1/a",
    "no number": "https://cdn.example:443a/a",
    "http with a port": "http://cdn.example:80/a",
}


@pytest.mark.parametrize("link", PORTS.values(), ids=PORTS)
def test_f29_odd_ports(public, names, monkeypatch, link):
    """A port that is invalid, wraps around or belongs to no web server is refused before a name is resolved."""
    check_refused(public, names, monkeypatch, link)


def test_f25_a_refused_link_is_recorded(mill, serve):
    """Refused links are recorded as failed outputs after one look, without a request; the task succeeds."""
    listener = serve(always(reply(b"secret")))
    links = {
        "file": "file:///etc/passwd",
        "data": "data:text/plain,x",
        "ftp": "ftp://127.0.0.1/x",
        "user": f"http://me:pass@127.0.0.1:{listener.port}/a",
        "name": f"http://localhost:{listener.port}/a",
        "number": f"http://2130706433:{listener.port}/a",
        "link-local": "http://169.254.169.254/latest/meta-data",
        "port": "https://93.184.216.34:65979/a",
    }

    history = ended(mill.job({"state": "done", "files": links}))

    assert sound(history, mill)
    assert history.succeeded
    assert {s.state for s in history.saves.values()} == {SaveState.FAILED}
    assert len(history.saves) == len([link for link in links.values() if "://" in link])
    assert all(s.message and "\n" not in s.message for s in history.saves.values())
    assert len(mill.looks["job-1"]) == 1
    assert listener.connections == 0


@pytest.fixture
def requested(monkeypatch):
    """The URLs of file requests, which all raise OSError instead of connecting."""
    urls = []

    async def refuse_request(self, url, addresses, headers, sent):
        urls.append(url)
        raise OSError

    monkeypatch.setattr(Http, "_request_file", refuse_request)
    return urls


def test_f28_http_becomes_https(public, names, requested):
    """A result's http link is fetched over https with its query."""
    names["cdn.example"] = [["93.184.216.34"]]
    fetch(public, "http://cdn.example/a.png?sig=1")

    assert requested == ["https://cdn.example/a.png?sig=1"]


def test_f28_http_at_the_apis_own_host(public, names, requested):
    """An http link to the host of an https API is fetched over https."""
    names["api.mill.example"] = [["93.184.216.34"]]
    fetch(public, "http://api.mill.example/a.png")

    assert requested == ["https://api.mill.example/a.png"]


def test_f27_name_server_that_does_not_answer(public, monkeypatch):
    """A DNS lookup of a file's host that never returns ends at its deadline as Unreached."""
    monkeypatch.setattr(destinations, "LOOKUP_DEADLINE", 0.2)

    async def never(self, host, port, **options):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", never)

    assert isinstance(fetch(public, "https://cdn.example/a"), Unreached)


def connection_to(server):
    """A connection to an API at this server, from whose host files may be fetched."""
    nbh.register(provider(server.root))
    return session.connection("mill")


def test_f28_each_hop(serve, names):
    """A file's redirect to a private address or another scheme is refused, and the inner server gets no connection."""
    inner = serve(always(reply(b"secret")))
    names["inner.example"] = [["127.0.0.1"]]
    targets = [f"https://inner.example:{8443}/x", "http://localhost:22/", "file:///etc/passwd", "http://[::1/"]
    for target in targets:
        outer = serve(always(reply(b"", 302, {"location": target})))
        # The API is on 127.0.0.1, so that files of its own host may be fetched; the redirect leads elsewhere.
        result = fetch(connection_to(outer), f"{outer.root}/a")

        assert isinstance(result, Forbidden | Unreached if target.endswith("[::1/") else Forbidden)
    assert inner.connections == 0


def test_f27_name_for_tls(serve, tls):
    """A file's host is connected to by address, and its TLS certificate is checked against the name."""
    server = serve(always(reply(b"safe")), tls=tls)

    assert fetch(connection_to(server), f"https://localhost:{server.port}/a") == (200, b"safe")
    assert server.requests[0].header("host") == f"localhost:{server.port}"


BAD_LOCATIONS = ["javascript:alert(1)", "http://127.0.0.1:99999/x", f"http://{'a' * 70}.example/x", "http://[zz]/x"]


@pytest.mark.parametrize("location", BAD_LOCATIONS, ids=["javascript", "port", "long label", "no address"])
def test_f28_unreadable_hop(library, mill, location):
    """A redirect to a malformed Location is refused at once, with either client, and not retried for an hour."""
    link = mill.file(reply(b"", 302, {"location": location}))

    history = ended(mill.job({"state": "done", "files": [link]}))

    assert sound(history, mill)
    assert history.succeeded
    assert history.save_state("files[0]") is SaveState.FAILED
    assert len(mill.requests_to("/files")) <= 2
