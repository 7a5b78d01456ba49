"""The text of the error that each public function raises for a wrong argument."""

import pytest

import nbhelper as nbh

MINIMAL = {
    "name": "x",
    "base_url": "https://x.example",
    "key_variable": "X_KEY",
    "poll": "GET /{id}",
    "state": "s",
    "words": {"a": "queued"},
}


BAD_CALLS = {
    "register None": (lambda: nbh.register(None), "register\\(\\) takes an nbhelper.Provider"),
    "register dict": (lambda: nbh.register({"name": "x"}), "register\\(\\) takes an nbhelper.Provider"),
    "set_store None": (lambda: nbh.set_store(None), "set_store takes a folder"),
    "set_store empty": (lambda: nbh.set_store(" "), "set_store takes a folder"),
    "set_store file": (lambda: nbh.set_store(__file__), "is a file"),
    "set_store NUL": (lambda: nbh.set_store("a\0b"), "control characters"),
    "tasks since": (lambda: nbh.tasks(since="yesterday-ish"), "since"),
    "tasks since type": (lambda: nbh.tasks(since=5), "since"),
    "tasks until": (lambda: nbh.tasks(until="2h ago maybe"), "until"),
    "tasks outcome": (lambda: nbh.tasks(outcome="succeded"), 'Did you mean "succeeded"'),
    "tasks provider type": (lambda: nbh.tasks(provider=5), "provider"),
    "events since": (lambda: nbh.events(since="x"), "since"),
    "events of a number": (lambda: nbh.events(5), "takes a task, its text, a history or a list of these, not an int"),
    "events of numbers": (lambda: nbh.events([5]), "one of them is an int"),
    "events of no task": (lambda: nbh.events("x"), "not a task reference"),
    "outputs outcome": (lambda: nbh.outputs(outcome="x"), "outcome"),
    "to_frame text": (lambda: nbh.to_frame("x"), "takes a list of histories, not str"),
    "to_frame numbers": (lambda: nbh.to_frame([1]), "one of them is int"),
    "to_frame None": (lambda: nbh.to_frame(None), "not NoneType"),
    "summary list": (lambda: nbh.summary([1]), "takes a DataFrame"),
    "summary column": (lambda: nbh.summary(nbh.to_frame([]), by="modle"), "model"),
    "to_csv None": (lambda: nbh.to_csv(None, "x.csv"), "takes a DataFrame"),
    "to_csv folder": (lambda: nbh.to_csv(nbh.to_frame([]), "."), "folder|file"),
    "to_csv path type": (lambda: nbh.to_csv(nbh.to_frame([]), 5), "path"),
    "read_csv nothing": (lambda: nbh.read_csv("nowhere.csv"), "nowhere.csv"),
    "run_sync function": (lambda: nbh.run_sync(print), "takes a coroutine"),
    "run_sync None": (lambda: nbh.run_sync(None), "takes a coroutine, not NoneType"),
    "Request provider": (lambda: nbh.Request("", {}), "named by text"),
    "Request body": (lambda: nbh.Request("kie", [1]), "mapping of parameters"),
    "Provider name": (lambda: nbh.Provider(**{**MINIMAL, "name": "A B"}), "lower-case letters"),
    "Provider address": (lambda: nbh.Provider(**{**MINIMAL, "base_url": "ftp://x"}), "must be an address"),
    "Provider poll": (lambda: nbh.Provider(**{**MINIMAL, "poll": "/x/{id}"}), "is no request"),
    "Provider path": (lambda: nbh.Provider(**{**MINIMAL, "state": "a..b"}), "no JMESPath"),
    "Provider word": (lambda: nbh.Provider(**{**MINIMAL, "words": {"a": "finished"}}), "the states are"),
    "Provider floor": (lambda: nbh.Provider(**{**MINIMAL, "floor": 0}), "floor"),
}


@pytest.mark.parametrize(("call", "words"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_the_text_says_what_was_wrong(refused, call, words):
    """The error's text names what was given, or what the function takes."""
    with refused(words=words):
        call()
