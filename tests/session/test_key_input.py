"""A key comes from one of five places, and is in no text that anybody sees, whatever goes wrong on its way."""

import copy
import dataclasses
import io
import json
import logging
import pickle
import sys
import types
from pathlib import Path

import pytest
from rich.console import Console
from rich.traceback import Traceback
from support.mill import KEY, provider, reset
from support.raw_server import reply
from support.shown import frames

import nbhelper as nbh
from nbhelper._session import session

CANARY = "zq7canary0123456789"


def fake_kernel(monkeypatch, *, stdin):
    """A running kernel as `place()` sees it; a headless client says that it has no input."""
    kernel = types.SimpleNamespace() if stdin is None else types.SimpleNamespace(_allow_stdin=stdin)
    shell = types.SimpleNamespace(kernel=kernel)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


def fake_colab(monkeypatch, get):
    colab = types.ModuleType("google.colab")
    colab.userdata = types.SimpleNamespace(get=get)
    google = types.ModuleType("google")
    google.colab = colab
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", colab)


def put(monkeypatch, place, key):
    """A key in one place, where the mill's looks for it."""
    monkeypatch.delenv("MILL_API_KEY", raising=False)
    if place == "environment":
        monkeypatch.setenv("MILL_API_KEY", key)
    elif place == ".env":
        Path(".env").write_text(f"MILL_API_KEY={key}\n")
    elif place == "Colab":
        fake_colab(monkeypatch, {"MILL_API_KEY": key}.__getitem__)
    elif place == "prompt":
        fake_kernel(monkeypatch, stdin=True)
        monkeypatch.setattr("getpass.getpass", lambda prompt: key)


PLACES = ["environment", ".env", "Colab", "prompt"]


@pytest.mark.parametrize("place", PLACES)
def test_white_space_around_a_key_is_no_part_of_it(mill, monkeypatch, place):
    """Whoever copies a key copies a blank along; the request has the key alone."""
    put(monkeypatch, place, f"  {KEY} \t")

    assert nbh.watch(mill.job(), display=False, block=True)[0].succeeded
    assert {asked.header("authorization") for asked in mill.server.requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", ["watch", "submit"])
def test_an_odd_key_is_refused_wherever_it_lies(refused, monkeypatch, place, verb):
    """The place is named; the key is in no text, log or frame of ours, and no request was sent."""
    put(monkeypatch, place, f"{CANARY} {CANARY}")

    with refused() as said:
        try:
            nbh.watch("mill:x", display=False) if verb == "watch" else nbh.submit("mill", {"a": 1}, endpoint="image")
        except nbh.BadInput as error:
            seen = frames(error)
            raise

    assert place.removesuffix("variable") in said[0]
    assert CANARY not in said[0] + seen


ODD = {
    "line break inside": f"{CANARY}\n{CANARY}", "return inside": f"{CANARY}\r{CANARY}", "quotes": f'"{CANARY}"',
    "Bearer": f"Bearer {CANARY}", "BEARER": f"BEARER {CANARY}", "umlaut": f"{CANARY}ß", "full width": f"{CANARY}\uff21",
    "blank inside": f"{CANARY} {CANARY}", "no-break space inside": f"{CANARY}\xa0{CANARY}", "NUL": f"{CANARY}\0",
    "override": f"\u202e{CANARY}", "half a character": f"{CANARY}\ud800", "too long": CANARY * 300,
    "documented example": "sk-your-api-key", "name of the thing": "<token>", "crosses": "xxxxxxxxxxxx",
    "dots": "tsk_...",
    "shell": "$MILL_API_KEY", "template": "{{key}}", "the variable's name": "MILL_API_KEY", "None as text": "None",
    "null as text": "null", "instruction": "paste-your-key-here",
}  # fmt: skip


@pytest.mark.parametrize("key", ODD.values(), ids=ODD)
def test_an_odd_key_is_in_no_traceback(refused, logged, key):
    """Not in the error, its arguments and causes, what `rich` shows of our frames' variables, or a log."""
    with refused() as said:
        try:
            nbh.connect("mill", key)
        except nbh.BadInput as error:
            seen = frames(error) + repr(error.args) + str(vars(error))
            raise

    assert CANARY not in said[0] + seen + logged.text
    assert key.strip() not in said[0].replace("MILL_API_KEY", "", key != "MILL_API_KEY")


def test_tripos_keys_have_a_beginning(refused):
    """A client's id, or another API's key, is refused before Tripo would."""
    with refused(words='does not begin with "tsk_"') as said:
        nbh.connect("tripo", f"tcli_{CANARY}")

    assert CANARY not in said[0]


LATER = {
    "the store cannot be made": (lambda mill: Path("nbhelper-data").write_text("x"), nbh.StoreError),
    "the API refuses and repeats the key": (
        lambda mill: mill.creates.append(reply({"message": f"bad key {KEY}", "errcode": KEY}, 401)), nbh.SubmitFailed,
    ),
    "the answer is lost": (lambda mill: mill.creates.append(reset), nbh.SubmitUnknown),
    "the answer is garbled": (lambda mill: mill.creates.append(reply(f"<p>{KEY}</p>")), nbh.SubmitUnknown),
    "nobody listens": (lambda mill: mill.close(), nbh.SubmitFailed),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "kind"), LATER.values(), ids=LATER)
def test_what_goes_wrong_with_a_good_key_does_not_show_it(mill, logged, spoil, kind):
    """An error behind the check of the key has it in none of our frames either."""
    spoil(mill)

    with pytest.raises(kind) as caught:
        nbh.submit("mill", {"prompt": "owl"}, endpoint="image")

    assert KEY not in frames(caught.value) + str(caught.value) + repr(vars(caught.value))
    assert KEY not in "".join(r.getMessage() for r in logged.records if r.levelno > logging.DEBUG)


def test_a_watch_whose_store_fails_does_not_show_the_key(mill):
    """The commonest error of a watch, a folder that cannot be written, has the key in no frame."""
    Path("nbhelper-data").write_text("a file where the folder should be")

    with pytest.raises(nbh.StoreError) as caught:
        nbh.watch("mill:x", display=False)

    assert KEY not in frames(caught.value)


def test_rich_shows_no_key(mill):
    """A traceback as `rich` prints it, with local variables: the only key in it is the one in the user's own line."""
    key = f"{CANARY} {CANARY}"
    try:
        nbh.connect("mill", key)
    except nbh.BadInput as error:
        trace = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True)
    out = io.StringIO()
    Console(file=out, width=200).print(trace)

    ours = out.getvalue().partition("_api.py")[2]
    assert "<key>" in ours
    assert CANARY not in ours


SWAPPED = {
    "as the name": nbh.connect,
    "as the address": lambda key: nbh.connect("mill", base_url=key),
    "as the provider of a watch": lambda key: nbh.watch("x", provider=key),
    "as the provider of a create": lambda key: nbh.submit(key, {"prompt": "owl"}),
    "as the endpoint": lambda key: nbh.submit("mill", {"prompt": "owl"}, endpoint=key),
    "as the task": nbh.watch,
    "as the id": lambda key: nbh.watch(f"mill:{key}"),
    "as an id beside provider=": lambda key: nbh.watch(key, provider="mill"),
    "in a list": lambda key: nbh.watch([key]),
    "as a provider of a reference": lambda key: nbh.watch(f"{key}:x"),
    "as what stands behind the id": lambda key: nbh.watch(f"mill:x?token={key}"),
    "as an outcome": lambda key: nbh.tasks(outcome=key),
    "as an age": lambda key: nbh.tasks(since=key),
    "as a column": lambda key: nbh.summary(nbh.to_frame([]), by=key),
}
KEYS = {
    "sk-": "sk-proj-zq7canary0123456789abcdef", "tsk_": "tsk_zq7canary0123456789abcdef",
    "Bearer": f"Bearer {CANARY}abc",
    "Bearer sk-": "Bearer sk-zq7canary0123456789abcdef",
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("swap", SWAPPED.values(), ids=SWAPPED)
def test_a_key_in_the_wrong_place_is_not_repeated(refused, swap, key):
    """What has the look of a key is refused wherever it is passed, and the error does not say it."""
    with refused() as said:
        swap(key)

    assert "canary" not in said[0]


def test_a_key_without_any_look_is_known_by_being_the_key(mill):
    """Keys that are mere letters and digits are told from ids by comparing: none is stored as one."""
    with pytest.raises(nbh.BadInput, match="That id is the API key of mill") as caught:
        nbh.watch(["mill:job-1", f"mill:{KEY}"], display=False)

    assert KEY not in str(caught.value)
    assert mill.server.connections == 0
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("stdin", [False, True, None], ids=["headless", "a person", "a kernel that does not say"])
def test_only_a_person_is_asked(mill, monkeypatch, stdin):
    """A headless client says that there is no input: no prompt, an error that names the variable."""
    monkeypatch.delenv("MILL_API_KEY")
    fake_kernel(monkeypatch, stdin=stdin)
    asked = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: asked.append(prompt) or KEY)

    if stdin is False:
        with pytest.raises(nbh.MissingAPIKey, match="MILL_API_KEY"):
            nbh.submit("mill", {"a": 1}, endpoint="image")
    else:
        assert session.connection("mill").key_from == "prompt"

    assert len(asked) == (stdin is not False)


def test_a_person_is_asked_once(mill, monkeypatch):
    """Each verb needs the key, and one answer is enough for the process; the prompt does not show it."""
    put(monkeypatch, "prompt", KEY)
    prompts = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: prompts.append(prompt) or KEY)
    mill.creates.append({"id": "job-1"})

    nbh.watch(nbh.submit("mill", {"a": 1}, endpoint="image"), block=False, display=False).stop()
    nbh.watch("mill:job-2", block=False, display=False).stop()

    assert prompts == ["API key for mill (not shown, kept in memory only): "]


@pytest.mark.parametrize("kind", [EOFError, NotImplementedError], ids=["closed input", "front end without input"])
def test_a_prompt_that_nobody_answers_is_a_missing_key(mill, monkeypatch, kind):
    """Ctrl-D, or a front end that turns out to have no input: our error, which says what to do."""
    put(monkeypatch, "prompt", "")

    def give_up(prompt):
        raise kind

    monkeypatch.setattr("getpass.getpass", give_up)

    with pytest.raises(nbh.MissingAPIKey, match="Set the environment variable MILL_API_KEY"):
        nbh.connect("mill")


def test_an_interrupt_at_the_prompt_is_an_interrupt(mill, monkeypatch):
    """Whoever changes their mind at the prompt is not told about keys."""
    put(monkeypatch, "prompt", "")

    def interrupt(prompt):
        raise KeyboardInterrupt

    monkeypatch.setattr("getpass.getpass", interrupt)

    with pytest.raises(KeyboardInterrupt):
        nbh.connect("mill")


@pytest.mark.parametrize("value", [None, "", "  "], ids=["None", "empty", "blank"])
def test_an_empty_colab_secret_is_none(mill, monkeypatch, value):
    """A secret that was made and never filled in is as good as none: nothing such as "None" is sent as a key."""
    monkeypatch.delenv("MILL_API_KEY")
    fake_colab(monkeypatch, lambda name: value)

    with pytest.raises(nbh.MissingAPIKey):
        nbh.connect("mill")


def test_an_empty_variable_does_not_hide_the_next_place(mill, monkeypatch):
    """`export MILL_API_KEY=` is as good as unset, and so is an empty line of `.env`."""
    monkeypatch.setenv("MILL_API_KEY", " ")
    Path(".env").write_text("MILL_API_KEY=\n")
    fake_colab(monkeypatch, lambda name: KEY)

    assert nbh.connect("mill").key_from == "Colab secret MILL_API_KEY"


def test_a_connection_cannot_carry_its_key_away(mill):
    """Printing, copying, pickling, JSON and dataclass tools: refused, or without the key."""
    connection = nbh.connect("mill")

    assert repr(connection) == f"<Connection mill {mill.root} key from environment MILL_API_KEY>"
    assert KEY not in f"{connection} {connection!r} {connection.key} {[connection.key]} {vars(type(connection.key))}"
    for act in (pickle.dumps, copy.deepcopy, json.dumps, dataclasses.asdict):
        with pytest.raises(TypeError) as caught:
            act(connection)
        assert KEY not in str(caught.value)
    for act in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars, type(connection.key).__getstate__):
        with pytest.raises(TypeError) as caught:
            act(connection.key)
        assert KEY not in str(caught.value)


def test_the_table_of_providers_says_where_and_not_what(mill, monkeypatch):
    """Where each key was found, what is wrong with one, and no key in any rendering of the table."""
    monkeypatch.setenv("KIE_AI_API_KEY", CANARY)
    monkeypatch.setenv("TRIPO_API_KEY", f"tcli_{CANARY}")
    nbh.connect("gptge", f"sk-{CANARY}")
    nbh.register(provider(mill.root, "other"))

    table = nbh.providers()
    found = dict(zip(table["provider"], table["key_found"], strict=True))

    assert found["kie"] == "environment KIE_AI_API_KEY"
    assert found["gptge"] == "argument"
    assert found["mill"] == "environment MILL_API_KEY"
    assert found["other"] == "not found"
    assert found["tripo"].startswith("invalid: ")
    for shown in (table.to_csv(), table.to_html(), table.to_json(), str(table.to_dict())):
        assert CANARY not in shown
        assert KEY not in shown
