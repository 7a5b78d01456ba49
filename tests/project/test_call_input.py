"""Everything that can be passed to a public call and cannot be right: one line of ours, and nothing has happened."""

import inspect
import math
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

import nbhelper as nbh
from nbhelper import testing, types

pytestmark = pytest.mark.usefixtures("isolated")


class Mute:
    """A value that cannot even be printed."""

    def __repr__(self):
        raise RuntimeError

    __str__ = __repr__


KEY_LIKE = "sk-0123456789abcdefghijklmnop"
HUGE = 10**5000
"""Python refuses to write this one out."""
LOOP: dict = {}
LOOP["a"] = LOOP
FRAME = pd.DataFrame({"a": [1, 2]})

NO_TEXT = {"None": None, "int": 5, "bool": True, "bytes": b"x", "list": ["x"], "object": object(), "mute": Mute()}
NO_NAME = {**NO_TEXT, "empty": "", "blank": " \n"}
NO_FLAG = {"None": None, "0": 0, "1": 1, "text": "yes", "empty": "", "list": [], "frame": FRAME}
NO_NUMBER = {
    "text": "5", "empty": "", "bool": True, "bytes": b"5", "list": [5], "NaN": math.nan, "infinite": math.inf,
    "negative": -1, "negative infinite": -math.inf, "complex": 1j, "frame": FRAME,
}  # fmt: skip
NO_COUNT = {**NO_NUMBER, "None": None, "fraction": 1.5}
NO_PATH = {
    "None": None, "int": 5, "bytes": b"x", "list": ["x"], "empty": "", "blank": " ", "newline": "a\nb", "NUL": "a\0b",
    "escape": "\x1b[31m", "half a character": "\ud800", "nobody's home": "~nobody-of-that-name/x",
    "too long": "x" * 5000,
}  # fmt: skip
NO_MAPPING = {"int": 5, "text": "x", "bytes": b"x", "list": [("a", 1)], "bool": True, "number as name": {1: 2}}


def told():
    """A table with the columns of tasks()."""
    return nbh.to_frame([nbh.History(nbh.Task("mill", "x"))])


def watch(**change):
    return nbh.watch(**{"tasks": "mill:x", "block": False, "display": False, **change})


def submit(**change):
    return nbh.submit(**{"provider": "mill", "request": {"prompt": "owl"}, "endpoint": "image", **change})


def submit_form(**change):
    return submit(endpoint="form", **change)


def task(**change):
    return nbh.Task(**{"provider": "mill", "id": "x", **change})


def request(**change):
    return nbh.Request(**{"provider": "mill", "body": {}, **change})


def provider(**change):
    return nbh.Provider(**{
        "name": "x", "base_url": "https://x.example", "key_variable": "X_KEY", "poll": "GET /{id}", "state": "s",
        "words": {"a": "queued"}, **change,
    })  # fmt: skip


async def answer():
    return 1


def run_sync(**change):
    return nbh.run_sync(**(change if "coroutine" in change else {"coroutine": answer(), **change}))


def connect(**change):
    return nbh.connect(**{"name": "mill", "api_key": "mill-key-0123456789", **change})


def read(**change):
    return testing.read(**{"provider": "mill", "body": b"{}", **change})


def summary(**change):
    return nbh.summary(**{"data": told(), **change})


def gallery(**change):
    return nbh.gallery(**{"data": told(), **change})


def to_csv(**change):
    return nbh.to_csv(**{"data": told(), "path": "x.csv", **change})


NO_DATA = {
    "None": None, "int": 5, "text": "x", "bytes": b"x", "dict": {}, "list of numbers": [1], "series": pd.Series([1]),
    "class": nbh.Watch, "object": object(), "bool": True, "half a list": [nbh.History(nbh.Task("mill", "x")), None],
}  # fmt: skip
NO_TASKS = {
    "None": None, "int": 5, "float": 1.5, "NaN": math.nan, "bool": True, "bytes": b"mill:x", "empty": "",
    "blank": " \t\n",
    "no id": "mill:", "no provider": ":x", "colon": ":", "bare id": "1ec04ced", "unknown": "miil:x",
    "newline": "mill:a\nb",
    "NUL": "mill:a\0b", "escape": "mill:\x1b[31mx", "override": "mill:\u202ex", "half a character": "mill:\ud800",
    "not UTF-8": "mill:%ff", "said twice": "mill:x?a=1&a=2", "2 kB": "mill:" + "x" * 2000,
    "2 kB in bytes": "mill:" + "ü" * 600,
    "list": [], "tuple": (), "dict": {}, "set": set(), "iterator": iter(()), "frame": FRAME,
    "empty series": pd.Series([], dtype=object),
    "series": pd.Series([1.5]), "object": object(), "mute": Mute(), "class": nbh.Task, "function": watch, "huge": HUGE,
    "None inside": ["mill:x", None], "list inside": [["mill:x"]], "number inside": (i for i in [3]),
    "huge inside": [HUGE],
    "mapping of nobody": {"a": 1}, "mapping with an object": {"a": object()}, "mapping of itself": LOOP,
    "mute inside": [Mute()],
    "missing inside": pd.Series(["mill:x", pd.NA]), "reply of an error": {"code": 401, "msg": "no", "data": None},
    "frame of doubt": pd.DataFrame({"provider": ["mill"], "task_id": pd.array([pd.NA], "string")}),
}  # fmt: skip
NO_URL = {
    "int": 5, "empty": "", "blank": "  ", "bytes": b"https://x.example", "ftp": "ftp://x.example",
    "file": "file:///etc/passwd",
    "script": "javascript:alert(1)", "no scheme": "x.example", "no scheme but slashes": "//x.example",
    "no host": "https://",
    "path without host": "https:///x", "http outside": "http://x.example", "http inside": "http://10.0.0.1",
    "user": "https://me@x.example", "password": "https://me:secret@x.example", "empty user": "https://@x.example",
    "query": "https://x.example?a=b", "question mark": "https://x.example?", "fragment": "https://x.example#f",
    "hash": "https://x.example/#", "port zero": "https://x.example:0", "port too large": "https://x.example:99999",
    "port in words": "https://x.example:abc", "no port": "https://x.example:", "space in host": "https://x .example",
    "space in path": "https://x.example/a b", "newline": "https://x.example/\nb",
    "override": "https://x.example/\u202e",
    "open bracket": "https://[::1", "behind brackets": "https://[::1]x",
    "localhost of another": "http://localhost.x.example",
    "127 of another": "http://127.0.0.1.x.example", "backslash": "https://x.example\\@y.example",
    "percent": "https://x%2eexample",
    "empty label": "https://x..example", "semicolon": "https://x.example;y", "all addresses": "http://0.0.0.0",
    "half a character": "https://\ud800.example", "a key": KEY_LIKE,
}  # fmt: skip
NO_BODY = {
    "None": None, "text": "owl", "empty": {}, "object": {"a": object()}, "NaN": {"a": math.nan},
    "infinite": {"a": [math.inf]},
    "huge": {"a": HUGE}, "half a character": {"a": "\ud800"}, "half a name": {"\ud800": 1},
    "half a name inside": {"a": {"\ud800": 1}},
    "number as name": {1: 2}, "number as name inside": {"a": {1: 2}}, "empty name": {"": 1},
    "newline in a name": {"a\nb": 1},
    "itself": LOOP, "set": {"a": {1}}, "complex": {"a": 1j}, "date": {"a": date(2026, 1, 1)},
    "series": {"a": pd.Series([1])},
    "list": [1], "pairs": [("a", 1)], "bytes": b"x", "file": {"a": b"\x89PNG"},
    "missing file": {"a": Path("nowhere.png")},
}  # fmt: skip
NO_FILES = {
    "int": 5, "text": "a.png", "list": ["a.png"], "bool": True, "number": {"image": 5}, "None": {"image": None},
    "empty path": {"image": ""}, "missing": {"image": "nowhere.png"}, "no bytes": {"image": b""},
    "folder": {"image": "."},
    "name too long": {"image": "x" * 5000}, "NUL": {"image": "a\0b"},
    "nobody's home": {"image": "~nobody-of-that-name/x"},
    "half a character": {"image": "\ud800"}, "device": {"image": "/dev/zero"}, "number as name": {5: b"x"},
    "empty name": {"": b"x"},
    "newline in a name": {"a\nb": b"x"}, "half a name": {"\ud800": b"x"}, "list inside": {"image": [b"x"]},
    "too large": {"image": bytes(50_000_001)}, "mute": {"image": Mute()},
}  # fmt: skip
NO_ENDPOINT = {
    "int": 5, "bool": True, "bytes": b"image", "list": ["image"], "empty": "", "blank": " ", "unknown": "imagge",
    "path": "/v9/x",
    "None": None, "newline": "image\nx", "escape": "\x1b[31m", "long": "x" * 5000,
}  # fmt: skip
NO_PROVIDER = {
    **NO_NAME,
    "unknown": "miil",
    "upper case": "MILL",
    "sentence": "the mill",
    "long": "m" * 5000,
    "key": KEY_LIKE,
}
NO_SINCE = {
    "int": 5, "bool": True, "empty": "", "word": "yesterday", "unit": "2y", "negative": "-2h", "too old": "1e400h",
    "bytes": b"2h", "list": ["2h"], "NaN": math.nan, "date alone": date(2026, 1, 1),
}  # fmt: skip
NO_FILTER = {"int": 5, "bool": True, "float": 1.5, "object": object()}
NO_ID = {
    "None": None, "empty": "", "blank": " ", "bool": True, "float": 1.5, "bytes": b"x", "list": [], "newline": "a\nb",
    "override": "\u202e", "half a character": "\ud800", "over 1 kB": "x" * 1025, "key": KEY_LIKE,
    "tripo's key": "tsk_0123456789abcdefghij",
    "header": "Bearer 0123456789abcdef", "huge": HUGE,
}  # fmt: skip
NO_EXTRA = {
    "int": 5, "None": None, "text": "type=X", "number as name": {1: "x"}, "mixed names": {1: "x", "a": "b"},
    "number": {"a": 1},
    "None inside": {"a": None}, "newline": {"a": "b\nc"}, "newline in a name": {"a\nb": "c"}, "long": {"a": "x" * 5000},
    "key": {"a": KEY_LIKE},
}  # fmt: skip
NO_PROVIDER_FIELD = {
    "name": {"int": 5, "empty": "", "upper case": "X", "space": "a b", "newline": "a\n", "long": "x" * 50},
    "base_url": {"int": 5, "empty": "", "no scheme": "x.example", "query": "https://x.example?q",
    "newline": "https://x.example\n"},
    "key_variable": {"int": 5, "empty": "", "none": (), "space": "a b", "number inside": (5,), "list inside": [["a"]]},
    "poll": {"int": 5, "empty": "", "verb alone": "GET", "other verb": "PUT /{id}", "no id": "GET /x",
    "no slash": "GET x/{id}"},
    "state": {"int": 5, "None": None, "number inside": (5,), "no path": "]["},
    "words": {"int": 5, "unknown": {"a": "finished"}, "number": {"a": 5}, "None": {"a": None}, "pairs": [("a",
    "queued")]},
    "key_format": {"int": 5, "no key": "x"},
    "floor": {"text": "5", "bool": True, "NaN": math.nan, "infinite": math.inf, "zero": 0, "negative": -1,
    "too long": 1e9},
    "outputs": {"int": 5, "number inside": [5], "no path": "]["},
    "progress": {"int": 5, "no path": "]["},
    "progress_max": {"text": "5", "bool": True, "zero": 0, "NaN": math.nan},
    "code": {"int": 5, "number inside": (5,)},
    "endpoints": {"int": 5, "number inside": {"a": 5}, "GET": {"a": "GET /x"}, "no slash": {"a": "POST x"}},
    "create_id": {"int": 5, "no path": "]["},
    "reply_id": {"int": 5, "no path": "]["},
}  # fmt: skip

GRID = {
    (connect, "name"): NO_PROVIDER,
    (connect, "api_key"): {"int": 5, "bytes": b"x", "list": ["x"], "bool": True, "empty": "", "blank": " \n",
    "mute": Mute()},
    (connect, "base_url"): NO_URL,
    (connect, "private"): NO_FLAG,
    (nbh.register, "provider"): {"None": None, "text": "mill", "dict": {}, "class": nbh.Provider, "mute": Mute()},
    (nbh.set_store, "folder"): {**NO_PATH, "file": __file__, "device": "/dev/null"},
    (submit, "provider"): NO_PROVIDER,
    (submit, "request"): NO_BODY,
    (submit, "endpoint"): NO_ENDPOINT,
    (submit_form, "files"): NO_FILES,
    (submit, "files"): {"a file": {"image": b"\x89PNG"}, **NO_FILES},
    (submit, "label"): {k: v for k, v in NO_TEXT.items() if v is not None},
    (submit, "params"): NO_MAPPING,
    (submit, "reuse"): NO_FLAG,
    (watch, "tasks"): NO_TASKS,
    (watch, "provider"): {k: v for k, v in NO_PROVIDER.items() if v is not None},
    (watch, "timeout"): NO_NUMBER,
    (watch, "interval"): {**NO_NUMBER, "zero": 0, "for ever": 1e12, "huge": HUGE, "auto": "auto"},
    (watch, "save"): {**NO_PATH, "file": __file__, "device": "/dev/null", "below a file": f"{__file__}/x"},
    (watch, "preview"): {**NO_COUNT, "too small": 15, "zero": 0, "too large": 2049, "huge": HUGE},
    (watch, "display"): {**NO_TEXT, "unknown": "Widget", "empty": "", "frame": FRAME, "dict": {}},
    (watch, "block"): {"None": None, "0": 0, "1": 1, "text": "yes", "empty": "", "list": [1], "frame": FRAME},
    (nbh.tasks, "since"): NO_SINCE,
    (nbh.tasks, "until"): NO_SINCE,
    (nbh.tasks, "provider"): NO_FILTER,
    (nbh.tasks, "experiment"): NO_FILTER,
    (nbh.tasks, "outcome"): {**NO_FILTER, "unknown": "faild", "empty": "", "bytes": b"failed"},
    (nbh.events, "task"): {k: v for k, v in NO_TASKS.items() if k in {"int", "bytes", "object", "class", "bool"}},
    (nbh.events, "since"): NO_SINCE,
    (nbh.events, "outcome"): {"unknown": "faild", "int": 5},
    (nbh.outputs, "until"): NO_SINCE,
    (nbh.outputs, "outcome"): {"unknown": "faild", "int": 5},
    (nbh.to_frame, "histories"): NO_DATA,
    (summary, "data"): {k: v for k, v in NO_DATA.items() if v is not None} | {"other columns": FRAME},
    (summary, "by"): {
        "None": None, "int": 5, "bool": True, "NaN": math.nan, "number inside": [5], "list inside": [["a"]],
        "dict": {"provider": 1},
        "unknown": "modle", "empty": "", "of the summary": "n",
    },
    (gallery, "data"): {**NO_DATA, "other columns": FRAME},
    (gallery, "row"): {"int": 5, "empty": "", "unknown": "promt", "list": ["label"]},
    (gallery, "col"): {"int": 5, "empty": "", "unknown": "promt", "list": ["label"]},
    (gallery, "size"): {**NO_COUNT, "too small": 31, "too large": 1025, "huge": HUGE},
    (to_csv, "data"): NO_DATA,
    (to_csv, "path"): {**NO_PATH, "folder": ".", "no folder": "nowhere/x.csv"},
    (nbh.read_csv, "path"): {**NO_PATH, "folder": ".", "missing": "nowhere.csv"},
    (run_sync, "coroutine"): {"None": None, "int": 5, "function": answer, "other function": print,
    "generator": (i for i in ())},
    (run_sync, "nested"): NO_FLAG,
    (task, "provider"): {**NO_NAME, "upper case": "Mill X", "long": "m" * 5000, "newline": "mi\nll"},
    (task, "id"): NO_ID,
    (task, "label"): {k: v for k, v in NO_TEXT.items() if v is not None},
    (task, "params"): {k: v for k, v in NO_MAPPING.items() if k != "number as name"} | {"None": None},
    (task, "extra"): NO_EXTRA,
    (nbh.Task.parse, "text"): {
        **NO_NAME, "bare id": "x", "colon": ":", "no id": "mill:", "no provider": ":x", "newline": "mill:%0a",
        "NUL": "mill:%00",
        "not UTF-8": "mill:%ff", "not UTF-8 behind": "mill:x?a=%ff", "extra alone": "mill:?a=b", "key": KEY_LIKE,
        "newline behind": "mill:x?a=%0a", "said twice": "mill:x?a=b&a=c",
    },
    (request, "provider"): {**NO_NAME, "upper case": "Mill X"},
    (request, "body"): {**NO_MAPPING, "None": None},
    (request, "endpoint"): {"int": 5, "bool": True, "empty": "", "blank": " ", "list": ["image"]},
    (request, "files"): {"int": 5, "text": "a.png", "list": ["a.png"]},
    (read, "provider"): {**NO_NAME, "unknown": "miil"},
    (read, "body"): {"None": None, "int": 5, "bool": True, "set": {1}, "object": object()},
    (read, "status"): {"None": None, "text": "200", "bool": True, "float": 200.0},
    **{(provider, field): bad for field, bad in NO_PROVIDER_FIELD.items()},
}  # fmt: skip
CASES = [
    pytest.param(call, {argument: value}, id=f"{call.__name__}-{argument}-{name}")
    for (call, argument), bad in GRID.items()
    for name, value in bad.items()
]


@pytest.mark.parametrize(("call", "change"), CASES)
def test_what_cannot_be_is_refused_in_one_line(refused, call, change):
    """A line that can be read, of our own tree, before any request was sent or file made; no key is repeated in it."""
    with refused() as said:
        call(**change)

    assert KEY_LIKE not in said[0]
    assert "secret" not in said[0]


ELSEWHERE = {"Experiment", "pending", "plot", "prices", "resume", "set_price"}
"""Calls whose bad input stands beside their other tests."""
OPEN = {
    (watch, "timeout"): {"huge": HUGE},
    (read, "body"): {"an object inside": {"a": object()}, "itself": LOOP},
    (read, "headers"): {"int": 5, "pairs": [("a", "b")], "number as name": {5: "x"}, "number": {"a": 5}},
    (provider, "key_header"): {"int": 5, "empty": "", "space": "a b", "two lines": "X\r\nY: z"},
    (provider, "key_format"): {"two lines": "{key}\nX: y"},
    (provider, "key_starts"): {"int": 5, "text": "tsk_"},
    (provider, "state"): {"empty": "", "none": ()},
    (provider, "words"): {"none": {}},
    (provider, "docs"): {"int": 5},
    (provider, "trace"): {"int": 5},
    (provider, "lifetime"): {"text": "5", "bool": True, "NaN": math.nan, "negative": -1},
    (provider, "looks_per_second"): {"text": "5", "bool": True, "zero": 0, "negative": -1, "NaN": math.nan},
    (provider, "utc_offset"): {"text": "8", "NaN": math.nan, "days": 100},
    (provider, "max_reply"): {"text": "5", "bool": True, "zero": 0, "negative": -1, "NaN": math.nan},
    (provider, "confirm"): {"int": 5, "text": "unknown"},
    (provider, "ok"): {"int": 5, "text": "200"},
    (provider, "errors"): {"int": 5, "number inside": (5,)},
    (provider, "strict_code"): {"int": 5},
    (provider, "resolve"): {"int": 5},
    (provider, "batch"): {"int": 5},
    (provider, "other"): {"int": 5},
    (provider, "endpoints"): {"number as name": {5: "POST /x"}},
    (provider, "adjust"): {"int": 5, "text": "x"},
}


@pytest.mark.parametrize(
    ("call", "change"),
    [
        pytest.param(call, {argument: value}, id=f"{call.__name__}-{argument}-{name}")
        for (call, argument), bad in OPEN.items()
        for name, value in bad.items()
    ],
)
def test_what_is_not_refused_yet(refused, call, change):
    """Mistakes that show only later, in another place or as an error of Python's."""
    with refused():
        call(**change)


EMULATOR = {
    "speed": {**NO_NUMBER, "None": None, "zero": 0},
    "seed": {"text": "5", "bool": True, "None": None, "fraction": 1.5, "NaN": math.nan},
    "limits": {"None": None, "number": 1, "text": "yes"},
    "faults": {"text": "all", "number": 5},
}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({k: v}, id=f"{k}-{name}")
        for k, bad in EMULATOR.items()
        for name, v in bad.items()
        if name != "frame"
    ],
)
def test_an_emulator_that_cannot_be_is_refused(refused, change):
    """The same for the emulator, whose errors are of a kind of their own; the provider names stay as they were."""
    with refused(nbh.EmulatorError):
        nbh.Emulator(**change)

    assert nbh.providers().set_index("provider").loc["kie", "base_url"] == "https://api.kie.ai"


def test_the_grid_has_every_public_call():
    """Each function and class of `__all__` that people call is in it, with each of its arguments."""
    done: dict = {}
    for call, argument in GRID:
        done.setdefault(call.__name__, set()).add(argument)
    named = {"Task": "task", "Request": "request", "Provider": "provider"}
    no_input = {"providers", "History", "Watch", "Emulator"}  # nothing to pass, or not made by people, or below
    errors = {n for n in nbh.__all__ if isinstance(getattr(nbh, n), type) and issubclass(getattr(nbh, n), Exception)}
    calls = set(nbh.__all__) - errors - no_input - {"__version__"} - ELSEWHERE
    missing = {}
    for name in calls:
        arguments = set(inspect.signature(getattr(nbh, name)).parameters)
        tested = done.get(named.get(name, name), set()) | done.get(f"{name}_form", set())
        if name == "Provider":
            arguments &= tested  # its fields are many; those with a check of their own are in the grid
        if name in {"events", "outputs"}:
            arguments &= tested  # the filters of tasks()
        if not tested or arguments - tested:
            missing[name] = arguments - tested

    assert missing == {}


NEAR = {
    "a provider": (lambda: watch(tasks="kei:x"), 'No provider is called "kei". Did you mean "kie"?'),
    "another product": (lambda: submit(provider="tripo3d"), 'Did you mean "tripo"?'),
    "an endpoint": (lambda: submit(endpoint="imagge"), 'Did you mean "image"? It has form, image, safe.'),
    "one of several endpoints": (lambda: submit(endpoint=None), "name one: endpoint=… of form, image, safe."),
    "a parameter": (
        lambda: nbh.submit("kie", {"modle": "m", "input": {}}), 'needs "model", not "modle".'
    ),
    "a column": (lambda: summary(by="modle"), 'Did you mean "model"?'),
    "a picture's column": (lambda: gallery(row="lable"), 'Did you mean "label"?'),
    "tasks of a provider": (lambda: nbh.tasks(provider="tripoo"), 'Did you mean "tripo"?'),
    "events of one of two": (lambda: nbh.events(provider=["kie", "tripoo"]), 'Did you mean "tripo"?'),
    "outputs of a provider": (lambda: nbh.outputs(provider="tripoo"), 'Did you mean "tripo"?'),
    "what is pending of a provider": (lambda: nbh.pending(provider="tripoo"), 'Did you mean "tripo"?'),
    "an outcome": (lambda: nbh.tasks(outcome="succeded"), 'Did you mean "succeeded"?'),
}  # fmt: skip


@pytest.mark.parametrize(("call", "words"), NEAR.values(), ids=NEAR)
def test_the_nearest_name_is_offered(refused, call, words):
    """A slip of the finger is answered with what was probably meant."""
    with refused() as said:
        call()

    assert words in said[0]


@pytest.mark.parametrize(
    "verb", [lambda: nbh.watch("tripo:x", save="pictures"), lambda: nbh.submit("tripo", {"type": "x"})]
)
def test_a_missing_key_is_told_before_anything_is_made(refused, verb):
    """The variable is named; neither the folder of `save=` nor a store is there afterwards."""
    with refused(nbh.MissingAPIKey, "Set the environment variable TRIPO_API_KEY"):
        verb()


@pytest.mark.parametrize(
    "url", ["http://x.example", "https://me:secret@x.example", "https://x.example:0", "https://x.example:99999"]
)
@pytest.mark.parametrize("verb", ["watch", "submit"])
def test_a_registered_address_that_no_key_may_go_to(refused, monkeypatch, url, verb):
    """An API of one's own is data, and its address is checked before the key goes there."""
    nbh.register(provider(base_url=url, endpoints={"image": "POST /"}))
    monkeypatch.setenv("X_KEY", "x-key-0123456789")

    with refused() as said:
        nbh.watch("x:1") if verb == "watch" else nbh.submit("x", {"prompt": "owl"})

    assert "secret" not in said[0]


@pytest.mark.parametrize(
    ("name", "values"), {"NBHELPER_BLOCK": ["maybe", "2"], "NBHELPER_DISPLAY": ["card", "1"]}.items()
)
def test_a_variable_that_says_nonsense_is_named(refused, monkeypatch, name, values):
    """What came from the environment is not blamed on the call."""
    for value in values:
        monkeypatch.setenv(name, value)
        with refused(words=f'{name} is "{value}"; it takes'):
            nbh.watch("mill:x", display="auto" if name == "NBHELPER_DISPLAY" else False)


def test_a_relative_folder_is_fixed_when_it_is_named(mill, monkeypatch, tmp_path):
    """A notebook that changes its working directory later finds its files where it said."""
    folder = nbh.set_store("data")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")

    nbh.watch(mill.job({"state": "done"}), display=False, block=True)

    assert folder == tmp_path / "data"
    assert (folder / "history.db").is_file()
    assert list(Path.cwd().iterdir()) == []


def test_an_unwritable_folder_is_refused_before_the_store_is_made(refused):
    """A folder that cannot be made is told, and no database is left."""
    Path("file").write_text("x")

    with refused(words="cannot be made"):
        watch(save="file/pictures")


@pytest.mark.parametrize("name", types.__all__)
def test_every_value_type_can_be_had(name):
    """What `nbhelper.types` promises is there, and says in one line what it is."""
    assert getattr(types, name).__doc__.strip().splitlines()[0].endswith((".", ":", "look."))
