"""Where a result's link may lead: out into the world over https, and nowhere inside; decided before any connection."""

import asyncio
import time

import pytest
from support.downloads import fetch
from support.mill import KEY, provider
from support.raw_server import RawServer, always, reply

import nbhelper as nbh
from nbhelper import _http, _session
from nbhelper._http import Forbidden, Http, Unreached


@pytest.fixture
def public(monkeypatch):
    """A connection to an API out in the world."""
    monkeypatch.setenv("MILL_API_KEY", KEY)
    nbh.register(provider("https://api.mill.example/v1"))
    return _session.connection("mill")


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
def test_a_link_into_the_own_network_is_refused(public, host, monkeypatch):
    """However an inner address is written, nothing is connected to."""
    monkeypatch.setattr(Http, "_ask", None)  # nobody gets as far as asking

    found = [fetch(public, f"https://{host}{port}/a.png") for port in ("", ":443", ":8443")]

    assert all(isinstance(f, Forbidden) or "cannot be resolved" in str(f) for f in found)


@pytest.mark.parametrize("inside", ["127.0.0.1", "10.1.2.3", "::1", "fe80::1%eth0", "::ffff:169.254.169.254"])
def test_a_name_that_leads_inside_is_refused(public, names, monkeypatch, inside):
    """A public name with an inner address among its addresses is not connected to."""
    names["cdn.example"] = [["93.184.216.34", inside]]
    monkeypatch.setattr(Http, "_ask", None)

    found = fetch(public, "https://cdn.example/a")

    assert isinstance(found, Forbidden)
    assert "no public address" in str(found)


def test_a_refused_link_sees_no_connection(public, monkeypatch):
    """A listener on this machine hears nothing of a link that names it."""
    with RawServer(always(reply(b"secret"))) as listener:
        for host in ("127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]", "2130706433"):
            for scheme in ("http", "https"):
                found = fetch(public, f"{scheme}://{host}:{listener.port}/a")
                assert isinstance(found, Forbidden | Unreached)

        assert listener.connections == 0


def test_the_address_that_was_checked_is_the_one_connected_to(public, names, monkeypatch):
    """A name that changes its address between check and connection (rebinding) is connected to as it was checked."""
    names["cdn.example"] = [["93.184.216.34"], ["127.0.0.1"]]
    asked = []

    async def ask_none(self, url, addresses, headers):
        asked.append((url, addresses))
        raise OSError("far away")

    monkeypatch.setattr(Http, "_ask", ask_none)

    fetch(public, "https://cdn.example/a")

    assert asked == [("https://cdn.example/a", ["93.184.216.34"])]


REFUSED = {
    "file": "file:///etc/passwd",
    "ftp": "ftp://cdn.example/a",
    "data": "data:image/png;base64,AAAA",
    "javascript": "javascript:alert(1)",
    "no host": "https:///a",
    "no scheme": "cdn.example/a",
    "user": "https://user@cdn.example/a",
    "password": "https://user:pass@cdn.example/a",
    "telnet port": "https://cdn.example:23/a",
    "wrapping port": "https://cdn.example:65979/a",
    "zero port": "https://cdn.example:0/a",
    "http with a port": "http://cdn.example:80/a",
    "newline": "https://cdn.example/a\nHost: b",
    "backslash": "https://cdn.example\\@127.0.0.1/a",
    "open bracket": "https://[::1/a",
    "empty": "",
}


@pytest.mark.parametrize("link", REFUSED.values(), ids=REFUSED)
def test_a_link_of_another_kind_is_refused(public, names, monkeypatch, link):
    """Other schemes, user names, odd ports: refused before anything is resolved or connected to."""
    names["cdn.example"] = [["93.184.216.34"]]
    monkeypatch.setattr(Http, "_ask", None)

    found = fetch(public, link)

    assert isinstance(found, Forbidden)
    assert "\n" not in str(found)
    assert "pass" not in str(found) or link.startswith("file")


def test_http_becomes_https(public, names, monkeypatch):
    """A result's http link is fetched over https, query and all."""
    names["cdn.example"] = [["93.184.216.34"]]
    asked = []

    async def ask_none(self, url, addresses, headers):
        asked.append(url)
        raise OSError

    monkeypatch.setattr(Http, "_ask", ask_none)
    fetch(public, "http://cdn.example/a.png?sig=1")

    assert asked == ["https://cdn.example/a.png?sig=1"]


def test_http_at_the_apis_own_host_becomes_https_too(public, names, monkeypatch):
    """An API that is reached over https gives away nothing over http."""
    names["api.mill.example"] = [["93.184.216.34"]]
    asked = []

    async def ask_none(self, url, addresses, headers):
        asked.append(url)
        raise OSError

    monkeypatch.setattr(Http, "_ask", ask_none)
    fetch(public, "http://api.mill.example/a.png")

    assert asked == ["https://api.mill.example/a.png"]


def test_a_name_server_that_does_not_answer_has_a_deadline(public, monkeypatch):
    """Looking up a file's host cannot hang."""
    monkeypatch.setattr(_http, "CONNECT_DEADLINE", 0.2)

    async def never(self, host, port, **options):
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", never)
    begun = time.monotonic()

    assert isinstance(fetch(public, "https://cdn.example/a"), Unreached)
    assert time.monotonic() - begun < 5
