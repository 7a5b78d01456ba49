"""Addresses that a key may go to, and their origins."""

import pytest

import nbhelper as nbh
from nbhelper._session import addresses, session

CANARY = "zq7canary0123456789"


GOOD = {
    "https": ("https://api.example", "https://api.example"),
    "path and slash": ("https://api.example/v2/openapi/", "https://api.example/v2/openapi"),
    "port": ("https://api.example:8443", "https://api.example:8443"),
    "loopback": ("http://127.0.0.1:8765/x", "http://127.0.0.1:8765/x"),
    "localhost": ("http://localhost:80", "http://localhost:80"),
    "IPv6 loopback": ("http://[::1]:1234", "http://[::1]:1234"),
    "spaces around": ("  https://api.example ", "https://api.example"),
    "https inside": ("https://192.168.1.5", "https://192.168.1.5"),
}
BAD = {
    "None inside": 5,
    "empty": "",
    "no scheme": "api.example",
    "http outside": "http://api.example",
    "http inside": "http://192.168.1.5",
    "query": "https://api.example/?a=b",
    "question mark": "https://api.example/?",
    "fragment": "https://api.example/#x",
    "user": "https://me@api.example",
    "password": f"https://me:{CANARY}@api.example",
    "file": "file:///etc/passwd",
    "ftp": "ftp://api.example",
    "no host": "https:///v1",
    "port too large": "https://api.example:70000",
    "port zero": "https://api.example:0",
    "port no number": "https://api.example:abc",
    "open bracket": "https://[::1",
    "space": "https://api .example",
    "newline": "https://api.example/\nx",
    "control": "https://api.example/\x00",
    "backslash": "https://api.example\\@evil.example",
    "looks like localhost": "http://localhost.evil.example",
    "127 in a name": "http://127.0.0.1.evil.example",
    "all addresses": "http://0.0.0.0",
}


@pytest.mark.parametrize(("url", "kept"), GOOD.values(), ids=GOOD)
def test_an_address_that_a_key_may_go_to(url, kept):
    """A base URL may be https to any host, or http to this machine."""
    assert nbh.connect("kie", api_key="abc-1234567890", base_url=url).base_url == kept


@pytest.mark.parametrize("url", BAD.values(), ids=BAD)
def test_an_address_that_no_key_goes_to(url):
    """Any other base URL is refused in one line that repeats no secret in it, and the old one stays."""
    with pytest.raises(nbh.BadInput) as caught:
        nbh.connect("kie", api_key="abc-1234567890", base_url=url)

    assert str(caught.value).isprintable()
    assert CANARY not in str(caught.value)
    assert session.base_url("kie") == "https://api.kie.ai"


INSIDE = ["http://192.168.1.5:8080", "http://10.0.0.1", "http://box", "http://nas.local", "http://gpu.internal/v1"]


@pytest.mark.parametrize("url", INSIDE)
def test_private_allows_http_inside_alone(url):
    """`private=True` allows http inside the own network; a public host needs https all the same."""
    assert nbh.connect("kie", api_key="abc-1234567890", base_url=url, private=True).base_url == url
    with pytest.raises(nbh.BadInput, match="private=True allows http inside"):
        nbh.connect("kie", api_key="abc-1234567890", base_url=url)
    with pytest.raises(nbh.BadInput, match="must be https"):
        nbh.connect("kie", api_key="abc-1234567890", base_url="http://api.example", private=True)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Example:443/v1", "https://api.example"),
        ("http://localhost:80/", "http://localhost"),
        ("http://localhost:8080/x", "http://localhost:8080"),
        ("https://[::1]:8443/x", "https://[::1]:8443"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin):
    """An origin is lower-case and has no default port."""
    assert addresses.origin_of(url) == origin


BAD_CONNECTS = {
    "unknown": ({"name": "trippo"}, 'Did you mean "tripo"'),
    "type": ({"name": 3}, "named by text"),
    "None": ({"name": None}, "named by text"),
    "private": ({"name": "kie", "private": "yes"}, "private is True or False"),
}


@pytest.mark.parametrize(("call", "words"), BAD_CONNECTS.values(), ids=BAD_CONNECTS)
def test_connect_refuses_unknown_names_and_wrong_types(call, words):
    """An unknown name, and an argument of a wrong type, are refused in one line."""
    with pytest.raises(nbh.BadInput, match=words):
        nbh.connect(**call)


def test_connect_without_an_address_goes_back_to_the_apis_own(monkeypatch):
    """A later `connect` without `base_url` replaces the address of an earlier one."""
    nbh.connect("kie", api_key="abc-1234567890", base_url="https://proxy.example")
    assert nbh.connect("kie", api_key="abc-1234567890").base_url == "https://api.kie.ai"
