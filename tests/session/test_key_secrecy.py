"""A valid key is in the headers of its requests alone: in no repr, copy, log, table or traceback."""

import copy
import dataclasses
import io
import json
import logging
import pickle
from pathlib import Path

import pytest
from rich.console import Console
from rich.traceback import Traceback
from support.mill import KEY, WORKING, provider, reset
from support.raw_server import reply
from support.shown import frames

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._session.keys import Secret

CANARY = "zq7canary0123456789"


def test_a_secret_cannot_be_printed_copied_or_pickled():
    """Printing, formatting and comparing show no key; pickle, copy, JSON, `vars` and `bytes` refuse it."""
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


def test_a_connection_cannot_be_printed_copied_or_pickled_with_its_key(mill, logged):
    """Printing shows no key; pickle, copy, JSON and `dataclasses.asdict` refuse a connection and its key."""
    connection = nbh.connect("mill")

    assert repr(connection) == f"<Connection mill {mill.root} key from environment MILL_API_KEY>"
    assert KEY not in f"{connection} {connection!r} {connection.key} {[connection.key]} {vars(type(connection.key))}"
    assert KEY not in str(vars(session._state)) + logged.text
    for act in (pickle.dumps, copy.deepcopy, json.dumps, dataclasses.asdict):
        with pytest.raises(TypeError) as caught:
            act(connection)
        assert KEY not in str(caught.value)
    for act in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars, type(connection.key).__getstate__):
        with pytest.raises(TypeError) as caught:
            act(connection.key)
        assert KEY not in str(caught.value)


def test_providers_says_where_a_key_is_and_not_what(mill, monkeypatch):
    """The table says where each key was found or what is wrong with it; no rendering has a key."""
    monkeypatch.setenv("KIE_AI_API_KEY", CANARY)
    monkeypatch.setenv("TRIPO_API_KEY", f"tcli_{CANARY}")
    nbh.connect("gptge", f"sk-{CANARY}")
    nbh.register(provider(mill.root, "other"))

    table = nbh.providers()
    sources = dict(zip(table["provider"], table["key_found"], strict=True))

    assert sources["kie"] == "environment KIE_AI_API_KEY"
    assert sources["gptge"] == "argument"
    assert sources["mill"] == "environment MILL_API_KEY"
    assert sources["other"] == "not found"
    assert sources["tripo"].startswith("invalid: ")
    for shown in (table.to_csv(), table.to_html(), table.to_json(), str(table.to_dict())):
        assert CANARY not in shown
        assert KEY not in shown


def test_a_key_is_in_no_log_of_a_whole_watch(mill, logged):
    """With all logs at DEBUG, looks, misses, creates and downloads log no key (outside httpcore's own)."""
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
def test_later_errors_do_not_show_a_valid_key(mill, logged, spoil, kind):
    """An error after the check of the key has it in no text, attribute, log or variable of our frames."""
    spoil(mill)

    with pytest.raises(kind) as caught:
        nbh.submit("mill", {"prompt": "owl"}, endpoint="image")

    assert KEY not in frames(caught.value) + str(caught.value) + repr(vars(caught.value))
    assert KEY not in "".join(r.getMessage() for r in logged.records if r.levelno > logging.DEBUG)


def test_a_watch_whose_store_fails_does_not_show_the_key(mill):
    """The error of a watch whose folder cannot be made has the key in no variable of our frames."""
    Path("nbhelper-data").write_text("a file where the folder should be")

    with pytest.raises(nbh.StoreError) as caught:
        nbh.watch("mill:x", display=False)

    assert KEY not in frames(caught.value)


def test_a_rich_traceback_shows_no_key(mill):
    """A traceback of `rich` with local variables shows "<key>" in our frames."""
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
