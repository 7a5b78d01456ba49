"""Keys and addresses: where they come from, what is refused, and that a key is seen nowhere but in its header."""

import copy
import json
import logging
import pickle
import sys
import traceback
import types
from pathlib import Path

import pytest
from support.mill import KEY, WORKING, provider
from support.raw_server import RawServer, always, reply

import nbhelper as nbh
from nbhelper._session import addresses, environment, keys, session
from nbhelper._session.keys import Secret

OTHER = {k: f"key-from-{k}-1234567890" for k in ("argument", "environment", "second", "dotenv", "colab", "prompt")}


@pytest.fixture
def places(monkeypatch):
    """Put a key of its own in each place that is named."""
    nbh.register(provider("https://mill.example", key_variable=("MILL_API_KEY", "MILL_KEY")))
    monkeypatch.setattr("getpass.getpass", lambda prompt: pytest.fail("asked for a key"))

    def put(*names):
        if "environment" in names:
            monkeypatch.setenv("MILL_API_KEY", OTHER["environment"])
        if "second" in names:
            monkeypatch.setenv("MILL_KEY", OTHER["second"])
        if "dotenv" in names:
            Path(".env").write_text(f"OTHER=1\nMILL_API_KEY='{OTHER['dotenv']}'\n")
        if "colab" in names:
            colab = types.ModuleType("google.colab")
            colab.userdata = types.SimpleNamespace(get={"MILL_API_KEY": OTHER["colab"]}.__getitem__)
            google = types.ModuleType("google")
            google.colab = colab
            monkeypatch.setitem(sys.modules, "google", google)
            monkeypatch.setitem(sys.modules, "google.colab", colab)
        if "prompt" in names:
            monkeypatch.setattr(environment, "place", lambda: "notebook")
            monkeypatch.setattr("getpass.getpass", lambda prompt: OTHER["prompt"])

    return put


ORDER = ("environment", "second", "dotenv", "colab", "prompt")


@pytest.mark.parametrize("first", ORDER)
def test_a_key_is_taken_from_the_first_place_that_has_one(places, first):
    """Environment, a second variable, `.env`, Colab's secrets, the prompt: in this order."""
    places(*ORDER[ORDER.index(first) :])

    found = session.connection("mill")

    assert found.key.reveal() == OTHER[first]
    assert first.removeprefix("dot") in found.key_from.casefold() or first == "second"


def test_an_argument_comes_before_everything(places):
    """What `connect` was given is used, wherever else a key lies."""
    places(*ORDER)

    found = nbh.connect("mill", api_key=f"  {OTHER['argument']}\n")

    assert found.key.reveal() == OTHER["argument"]
    assert session.connection("mill").key.reveal() == OTHER["argument"]
    assert found.key_from == "argument"


@pytest.mark.parametrize("place", ["headless", "script"])
def test_nobody_is_asked_where_nobody_can_answer(places, monkeypatch, place):
    """Without a person there is an error that names the variable, and no prompt."""
    monkeypatch.setattr(environment, "place", lambda: place)

    with pytest.raises(nbh.MissingAPIKey, match=r'No key for "mill"\. Set the environment variable MILL_API_KEY'):
        session.connection("mill")


def test_a_terminal_whose_input_is_no_terminal_is_not_asked(places, monkeypatch):
    """Output may go to a screen while input comes from a file."""
    monkeypatch.setattr(environment, "place", lambda: "terminal")

    with pytest.raises(nbh.MissingAPIKey):
        session.connection("mill")


def test_a_prompted_key_is_kept_for_the_process(places):
    """Once `connect` has asked, nobody is asked again."""
    places("prompt")
    nbh.connect("mill")

    assert nbh.providers().set_index("provider").loc["mill", "key_found"] == "prompt"


def test_a_colab_secret_that_is_refused_is_as_good_as_none(places, monkeypatch):
    """Colab raises types of its own for "no such secret" and "no access"."""
    places("colab")
    sys.modules["google.colab"].userdata.get = lambda name: (_ for _ in ()).throw(RuntimeError(name))

    with pytest.raises(nbh.MissingAPIKey):
        session.connection("mill")


ENV_FILES = {
    "quotes": ('MILL_API_KEY="abc-1234567890"', "abc-1234567890"),
    "export": ("export MILL_API_KEY=abc-1234567890 # mine", "abc-1234567890"),
    "dollar": ("MILL_API_KEY=abc$HOME-1234567890", "abc$HOME-1234567890"),
    "windows": ("A=1\r\nMILL_API_KEY=abc-1234567890\r\n", "abc-1234567890"),
    "mark at the start": ("\ufeffMILL_API_KEY=abc-1234567890", "abc-1234567890"),
    "empty": ("MILL_API_KEY=\n", None),
    "blank": ("MILL_API_KEY='   '\n", None),
    "nonsense": ("}{=\n\n;;", None),
}


@pytest.mark.parametrize(("text", "key"), ENV_FILES.values(), ids=ENV_FILES)
def test_a_dotenv_file_is_read_as_people_write_it(places, text, key):
    """Quotes, `export`, comments, line ends; a "$" in a key is a character of it."""
    Path(".env").write_bytes(text.encode())

    if key is None:
        with pytest.raises(nbh.MissingAPIKey):
            session.connection("mill")
    else:
        assert session.connection("mill").key.reveal() == key


@pytest.mark.parametrize("make", ["folder", "binary"])
def test_a_dotenv_that_cannot_be_read_is_as_good_as_none(places, make):
    """A folder of that name (many virtual environments) or bytes of another encoding."""
    Path(".env").mkdir() if make == "folder" else Path(".env").write_bytes(b"MILL_API_KEY=\xff\xfe\x00")

    with pytest.raises(nbh.MissingAPIKey):
        session.connection("mill")


CANARY = "zq7-canary"
ODD = {
    "empty": ("", "is empty"),
    "blank": (" \t\n", "is empty"),
    "newline inside": (f"{CANARY}\nX: y", "line break"),
    "return inside": (f"{CANARY}\ry", "line break"),
    "space inside": (f"{CANARY} {CANARY}", "no key has"),
    "tab inside": (f"{CANARY}\t1", "no key has"),
    "quotes": (f'"{CANARY}"', "quotation marks"),
    "single quotes": (f"'{CANARY}'", "quotation marks"),
    "bearer": (f"Bearer {CANARY}", 'begins with "Bearer "'),
    "bearer in small": (f"bearer {CANARY}", 'begins with "Bearer "'),
    "umlaut": (f"{CANARY}-ü", "no key has"),
    "emoji": (f"{CANARY}🔑", "no key has"),
    "NUL": (f"{CANARY}\0", "no key has"),
    "zero-width": (f"{CANARY}\u200b", "no key has"),
    "placeholder": ("sk-your-api-key", "placeholder"),
    "another placeholder": ("YOUR_API_KEY", "placeholder"),
    "stars": ("sk-xxxxxxxxxxxx", "placeholder"),
    "brackets": ("<your key>".replace(" ", "-"), "placeholder"),
    "template": ("${MILL_API_KEY}", "placeholder"),
    "very long": (CANARY * 1000, "longer than any key"),
    "bytes": (CANARY.encode(), "must be text, not bytes"),
    "number": (12345678901, "must be text, not int"),
    "list": ([CANARY], "must be text, not list"),
}


@pytest.mark.parametrize(("key", "words"), ODD.values(), ids=ODD)
def test_an_odd_key_is_refused_without_being_repeated(key, words, logged):
    """Said in one line before any request; the key is in no text, traceback, frame of ours or log."""
    with RawServer(always(reply())) as server:
        nbh.register(provider(server.root))

        with pytest.raises(nbh.BadInput, match=words) as caught:
            nbh.connect("mill", api_key=key)

        assert server.connections == 0
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [f for f in trace.stack if "nbhelper/" in f.filename]
    assert ours
    assert CANARY not in str(ours) + "".join(str(f.locals) for f in ours)
    assert CANARY not in str(caught.value) + repr(caught.value) + logged.text
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    assert list(Path.cwd().iterdir()) == []


def test_an_odd_key_in_the_environment_names_its_place(monkeypatch):
    """Which variable to mend, without what stands in it."""
    nbh.register(provider("https://mill.example"))
    monkeypatch.setenv("MILL_API_KEY", f'"{CANARY}"')

    with pytest.raises(nbh.BadInput, match="variable MILL_API_KEY holds quotation marks") as caught:
        session.connection("mill")
    found = nbh.providers().set_index("provider").loc["mill", "key_found"]

    assert CANARY not in str(caught.value)
    assert found.startswith("invalid:")
    assert CANARY not in found


def test_an_api_that_insists_on_a_beginning_is_obeyed():
    """Tripo's keys begin with `tsk_`; a client id is refused before it is sent."""
    with pytest.raises(nbh.BadInput, match='does not begin with "tsk_"'):
        nbh.connect("tripo", api_key="tcli_0123456789abcdef")


def test_a_secret_cannot_be_seen():
    """Not by printing, formatting, comparing, pickling, copying, JSON or its own attributes."""
    secret = Secret(CANARY)

    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>20}",
        f"{secret}",
        str([secret]),
        str(dir(secret)),
    ]
    assert CANARY not in "".join(shown)
    for act in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars, iter, len, bytes):
        with pytest.raises(TypeError) as caught:
            act(secret)
        assert CANARY not in str(caught.value)
    assert secret == Secret(CANARY)
    assert secret != Secret("other")
    assert secret != CANARY
    assert len({secret, Secret(CANARY)}) == 1


def test_a_connection_shows_everything_but_the_key(monkeypatch, logged):
    """Its repr says provider, address and where the key was found."""
    monkeypatch.setenv("MILL_API_KEY", KEY)
    nbh.register(provider("https://mill.example/v1"))

    found = nbh.connect("mill")

    assert repr(found) == "<Connection mill https://mill.example/v1 key from environment MILL_API_KEY>"
    assert KEY not in str(vars(session._state)) + nbh.providers().to_csv() + logged.text
    with pytest.raises(TypeError):
        pickle.dumps(found)


def test_a_key_is_in_no_log_of_a_whole_watch(mill, logged):
    """With everybody's logs at DEBUG: looks, misses, creates, downloads, and never the key."""
    logging.getLogger("httpcore").setLevel(logging.DEBUG)
    try:
        ref = mill.job(WORKING, reply({"message": KEY}, 500), {"state": "done", "files": [mill.file(reply(b"x"))]})
        nbh.watch(ref, display=False)
        mill.creates[:] = [{"id": "new"}]
        nbh.submit("mill", {"a": 1}, endpoint="image")
    finally:
        logging.getLogger("httpcore").setLevel(logging.NOTSET)

    ours = [r.getMessage() for r in logged.records if not r.name.startswith("httpcore")]
    assert KEY not in "\n".join(ours)


# Addresses


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
    """Https anywhere, http on this machine."""
    assert nbh.connect("kie", api_key="abc-1234567890", base_url=url).base_url == kept


@pytest.mark.parametrize("url", BAD.values(), ids=BAD)
def test_an_address_that_no_key_goes_to(url):
    """Said in one line, without whatever secret stands in it, and the old address stays."""
    with pytest.raises(nbh.BadInput) as caught:
        nbh.connect("kie", api_key="abc-1234567890", base_url=url)

    assert str(caught.value).isprintable()
    assert CANARY not in str(caught.value)
    assert session.base_url("kie") == "https://api.kie.ai"


INSIDE = ["http://192.168.1.5:8080", "http://10.0.0.1", "http://box", "http://nas.local", "http://gpu.internal/v1"]


@pytest.mark.parametrize("url", INSIDE)
def test_private_allows_http_inside_alone(url):
    """`private=True` is for one's own network; the world stays https."""
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
    """Default ports and capitals make no other origin."""
    assert addresses.origin_of(url) == origin


BAD_CONNECTS = {
    "unknown": ({"name": "trippo"}, 'Did you mean "tripo"'),
    "type": ({"name": 3}, "named by text"),
    "None": ({"name": None}, "named by text"),
    "private": ({"name": "kie", "private": "yes"}, "private is True or False"),
}


@pytest.mark.parametrize(("call", "words"), BAD_CONNECTS.values(), ids=BAD_CONNECTS)
def test_a_connect_that_cannot_be(call, words):
    """Refused in one line."""
    with pytest.raises(nbh.BadInput, match=words):
        nbh.connect(**call)


def test_the_newest_choice_counts(monkeypatch):
    """`connect` without an address goes back to the API's own."""
    nbh.connect("kie", api_key="abc-1234567890", base_url="https://proxy.example")
    assert nbh.connect("kie", api_key="abc-1234567890").base_url == "https://api.kie.ai"


def test_where_a_key_is_found_is_never_asked_for(places):
    """The table of providers shows no prompt."""
    nbh.providers()
    assert keys.where(nbh._providers.get("mill")) == ""
