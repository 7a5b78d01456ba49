"""Wrong arguments of public calls: each is refused by one line of ours, before anything was sent or made."""

import inspect
import math
from pathlib import Path

import pytest
from support.wrong_values import (
    FRAME,
    HUGE,
    KEY_LIKE,
    LOOP,
    NO_BODY,
    NO_COUNT,
    NO_DATA,
    NO_ENDPOINT,
    NO_EXTRA,
    NO_FILES,
    NO_FILTER,
    NO_FLAG,
    NO_ID,
    NO_MAPPING,
    NO_NAME,
    NO_NUMBER,
    NO_PATH,
    NO_PROVIDER,
    NO_PROVIDER_FIELD,
    NO_SINCE,
    NO_TASKS,
    NO_TEXT,
    NO_URL,
    Mute,
)

import nbhelper as nbh
from nbhelper import testing, types

pytestmark = pytest.mark.usefixtures("isolated")


def table():
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
    return nbh.summary(**{"data": table(), **change})


def gallery(**change):
    return nbh.gallery(**{"data": table(), **change})


def to_csv(**change):
    return nbh.to_csv(**{"data": table(), "path": "x.csv", **change})


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
    (watch, "timeout"): {**NO_NUMBER, "huge": HUGE},
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
    (read, "body"): {
        "None": None, "int": 5, "bool": True, "set": {1}, "object": object(), "an object inside": {"a": object()},
        "itself": LOOP,
    },
    (read, "headers"): {"int": 5, "pairs": [("a", "b")], "number as name": {5: "x"}, "number": {"a": 5}},
    (read, "status"): {"None": None, "text": "200", "bool": True, "float": 200.0},
    **{(provider, field): bad for field, bad in NO_PROVIDER_FIELD.items()},
}  # fmt: skip
CASES = [
    pytest.param(call, {argument: value}, id=f"{call.__name__}-{argument}-{name}")
    for (call, argument), bad in GRID.items()
    for name, value in bad.items()
]


@pytest.mark.parametrize(("call", "change"), CASES)
def test_a_wrong_argument_is_refused_in_one_line(refused, call, change):
    """A wrong argument raises a `NbhelperError` of one line before any request or file; no key is repeated in it."""
    with refused() as lines:
        call(**change)

    assert KEY_LIKE not in lines[0]
    assert "secret" not in lines[0]


ELSEWHERE = {"Experiment", "pending", "plot", "prices", "resume", "set_price"}
"""Calls whose wrong arguments are tested beside their other tests."""
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
def test_a_wrong_argument_of_an_emulator_is_refused(refused, change):
    """A wrong argument of `Emulator` raises an `EmulatorError` of one line; the provider names stay as they were."""
    with refused(nbh.EmulatorError):
        nbh.Emulator(**change)

    assert nbh.providers().set_index("provider").loc["kie", "base_url"] == "https://api.kie.ai"


def test_the_grid_has_every_public_call():
    """Each function and class of `__all__` that people call is in `GRID`, with each of its arguments."""
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
    """A misspelt name is answered with the nearest one that exists."""
    with refused() as lines:
        call()

    assert words in lines[0]


@pytest.mark.parametrize(
    "verb", [lambda: nbh.watch("tripo:x", save="pictures"), lambda: nbh.submit("tripo", {"type": "x"})]
)
def test_a_missing_key_is_an_error_before_anything_is_made(refused, verb):
    """The error names the environment variable; neither the folder of `save=` nor a store is there afterwards."""
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

    with refused() as lines:
        nbh.watch("x:1") if verb == "watch" else nbh.submit("x", {"prompt": "owl"})

    assert "secret" not in lines[0]


@pytest.mark.parametrize(
    ("name", "values"), {"NBHELPER_BLOCK": ["maybe", "2"], "NBHELPER_DISPLAY": ["card", "1"]}.items()
)
def test_a_variable_with_a_wrong_value_is_named(refused, monkeypatch, name, values):
    """The error names the environment variable, not an argument of the call."""
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
    """The error says that the folder cannot be made, and no database is left."""
    Path("file").write_text("x")

    with refused(words="cannot be made"):
        watch(save="file/pictures")


@pytest.mark.parametrize("name", types.__all__)
def test_every_value_type_can_be_had(name):
    """What `nbhelper.types` promises is there, and says in one line what it is."""
    assert getattr(types, name).__doc__.strip().splitlines()[0].endswith((".", ":", "look."))
