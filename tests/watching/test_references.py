"""From the argument of `watch()` to task references, and one line of error for each way of getting it wrong."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mill import DONE
from support.watched import tasks_of

import nbhelper as nbh
from nbhelper.types import HttpRequest, Task

FORMS = {
    "task": (Task("kie", "1"), Task("kie", "1")),
    "history": (nbh.History(Task("kie", "1")), Task("kie", "1")),
    "text": ("kie:1", Task("kie", "1")),
    "text with its quotes": ('"kie:1"', Task("kie", "1")),
    "text with extra": (
        "ailab-legacy:1?type=HD_COLOUR_MIGRATION", Task("ailab-legacy", "1", extra={"type": "HD_COLOUR_MIGRATION"})
    ),
    "numpy text": (np.str_("kie:1"), Task("kie", "1")),
}  # fmt: skip


@pytest.mark.parametrize(("what", "task"), FORMS.values(), ids=FORMS)
def test_one_task_in_every_form(what, task):
    """A task, a history, or text."""
    assert tasks_of(what) == ([task], True)


WITH = {
    "text that says so too": ("kie:abc", "kie", Task("kie", "abc")),
    "id with extra": ("a%b?type=X", "ailab-legacy", Task("ailab-legacy", "a%b", extra={"type": "X"})),
    "seedance's reply": ({"id": "cgt-1"}, "gptge", Task("gptge", "cgt-1")),
    "bailian's reply": ({"output": {"task_id": "b-1"}, "request_id": "r"}, "gptge", Task("gptge", "b-1")),
}


@pytest.mark.parametrize(("what", "name", "task"), WITH.values(), ids=WITH)
def test_what_needs_a_provider_to_be_told(what, name, task):
    """With `provider=` an id with its `extra`, and replies that name no provider, are understood."""
    assert tasks_of(what, name) == ([task], True)


@pytest.mark.parametrize(
    "ident",
    ["abc", "a/b", "a?b=c", "a#b", "50%", "50%25", "%2e%2e", "..", ".", "a b", "ünï", "日本", "a;b", "a:b", "'; --"],
)
def test_a_bare_id_is_taken_as_it_is(ident):
    """With `provider=` nothing in an id is read as syntax, but a question mark that stands before name and value."""
    (task,), _ = tasks_of(ident, "kie")

    assert task.id == ident.partition("?")[0]
    assert dict(task.extra) == ({"b": "c"} if "?" in ident else {})


TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40)


@given(ident=TEXT, extra=st.dictionaries(TEXT, TEXT, max_size=2))
def test_the_text_of_any_task_is_that_task(ident, extra):
    """Slashes, question marks, hashes, per cents, dots and every script round-trip, alone and in a list."""
    try:
        task = Task("kie", ident, extra=extra)
    except nbh.BadInput:
        return  # looks like a key

    assert tasks_of(str(task)) == ([task], True)
    assert tasks_of([str(task)]) == ([task], False)
    assert str(task).isascii()
    assert " " not in str(task)


LISTS = {
    "list": ["kie:1", "kie:2"],
    "tuple": ("kie:1", Task("kie", "2")),
    "generator": lambda: (f"kie:{n}" for n in (1, 2)),
    "series": pd.Series(["kie:1", "kie:2"]),
    "index": pd.Index(["kie:1", "kie:2"]),
    "array": np.array(["kie:1", "kie:2"]),
    "string series": pd.Series(["kie:1", "kie:2"], dtype="string"),
    "frame": pd.DataFrame({"provider": ["kie", "kie"], "task_id": ["1", "2"]}),
    "frame with more": pd.DataFrame({"x": [0, 0], "task_id": ["1", "2"], "provider": ["kie"] * 2}, index=[9, 9]),
    "map": lambda: map(Task.parse, ["kie:1", "kie:2"]),
    "dict's values": {"a": "kie:1", "b": "kie:2"}.values(),
    "series with an index of its own": pd.Series(["kie:1", "kie:2"], index=list("ba")),
    "histories": [nbh.History(Task("kie", "1")), nbh.History(Task("kie", "2"))],
    "mixed": ["kie:1", nbh.History(Task("kie", "2"))],
}


@pytest.mark.parametrize("what", LISTS.values(), ids=LISTS)
def test_many_tasks_in_every_form(what):
    """Anything that can be iterated, in its order."""
    tasks, single = tasks_of(what() if callable(what) else what)

    assert (tasks, single) == ([Task("kie", "1"), Task("kie", "2")], False)


def test_a_list_of_one_is_a_list():
    """The shape is kept: `[x]` gives a list back."""
    assert tasks_of(["kie:1"]) == ([Task("kie", "1")], False)


def test_a_watch_is_a_list_of_histories(mill):
    """A handle can be handed on."""
    first = nbh.watch([mill.job(DONE)], display=False)

    assert nbh.watch(first, display=False).done


LEGACY = {
    "text": "ailab-legacy:j?type=HD_COLOUR_MIGRATION",
    "task": Task("ailab-legacy", "j", extra={"type": "HD_COLOUR_MIGRATION"}),
    "history": nbh.History(Task("ailab-legacy", "j", extra={"type": "HD_COLOUR_MIGRATION"})),
    "frame": pd.DataFrame({"provider": ["ailab-legacy"], "task_id": ["j"], "extra_type": ["HD_COLOUR_MIGRATION"]}),
    "frame with its endpoint": pd.DataFrame(
        {"provider": ["ailab-legacy"], "task_id": ["j"], "endpoint": ["hd-color-migration"]}
    ),
}


@pytest.mark.parametrize("what", LEGACY.values(), ids=LEGACY)
def test_the_type_can_be_said_in_every_form(what):
    """What belongs to the id travels in text, tasks, histories and tables."""
    (task,), _ = tasks_of(what)

    assert str(task) == "ailab-legacy:j?type=HD_COLOUR_MIGRATION"


WITHOUT = ["ailab-legacy:j", Task("ailab-legacy", "j"), nbh.History(Task("ailab-legacy", "j")), ["ailab-legacy:j"]]


@pytest.mark.parametrize("what", WITHOUT, ids=["text", "task", "history", "list"])
def test_a_missing_type_is_asked_for_before_anything_happens(refused, what):
    """Each form without it is refused with the example that has it."""
    with refused(words='needs "type" beside the id .*HD_COLOUR_MIGRATION.*nbhelper.Task\\("ailab-legacy", "j", extra='):
        nbh.watch(what)


def test_what_a_look_needs_is_asked_for_wherever_it_stands(refused):
    """An API of one's own may have its placeholder in the path, in the query or in a JSON body."""
    templates = {
        "path": "GET /{kind}/{id}",
        "query": "GET /x?id={id}&kind={kind}",
        "body": HttpRequest("POST", "/x", json={"ids": ["{id}"], "kind": "{kind}"}),
    }
    for place, poll in templates.items():
        nbh.register(nbh.Provider(
            name=place, base_url="https://x.example", key_variable="X_KEY", poll=poll, state="s", words={"a": "queued"}
        ))  # fmt: skip
        with refused(words=f'{place} needs "kind" beside the id'):
            nbh.watch(f"{place}:1")


BAD = {
    "None": (None, "None"),
    "number": (123, r"123 \(int\)"),
    "float": (1.5, "float"),
    "empty text": ("", "empty"),
    "blank": ("  ", "empty"),
    "bytes": (b"kie:1", "a bytes"),
    "bool": (True, "bool"),
    "class": (Task, "type"),
    "function": (print, "builtin_function"),
    "empty list": ([], "nothing to watch"),
    "empty generator": ((x for x in ()), "nothing to watch"),
    "empty frame": (pd.DataFrame({"provider": [], "task_id": []}), "no rows"),
    "empty series": (pd.Series([], dtype=object), "nothing to watch"),
    "empty dict": ({}, "no task id was found"),
    "None inside": (["kie:1", None], "Item 1 of the list is None"),
    "number inside": ([5], r"Item 0 of the list is 5 \(int\)"),
    "list inside": ([["kie:1"]], "Item 0 of the list is a list"),
    "missing value inside": (pd.Series(["kie:1", pd.NA]), "Item 1"),
    "frame without columns": (pd.DataFrame({"id": ["1"]}), 'needs the columns "provider" and "task_id"'),
    "frame without a provider": (pd.DataFrame({"task_id": ["1"]}), 'needs the columns "provider" and "task_id"'),
    "unknown provider": ("kei:1", 'Did you mean "kie"'),
    "no provider": ("1ec04ced-0ff3", "is not a task reference"),
    "another product": ("tripo3d:1", 'Did you mean "tripo"'),
    "link": ("https://api.kie.ai/x/1", "is a link"),
    "newline": ("kie:a\nb", "control characters"),
    "10 kB": ("kie:" + "x" * 10_000, "more than 1 kB"),
    "a key": ("kie:sk-0123456789abcdefghij", "looks like an API key"),
    "reply of an error": ({"code": 401, "msg": "no", "data": None}, "no task id was found"),
    "reply of nobody": ({"hello": "world"}, "no task id was found"),
    "reply with an object": ({"a": object()}, "values that JSON has not"),
}  # fmt: skip


@pytest.mark.parametrize(("what", "words"), BAD.values(), ids=BAD)
def test_what_is_no_reference_is_refused_in_one_line(refused, what, words):
    """The text says what was given and what to pass instead; no key is repeated in it."""
    with refused(words=words) as lines:
        nbh.watch(what)

    assert len(lines[0]) < 400
    assert "sk-0123" not in lines[0]


def test_two_providers_that_contradict_are_refused():
    """The text names one, `provider=` another."""
    with pytest.raises(nbh.BadInput, match='"kie:1" names kie, but provider= says tripo'):
        tasks_of("kie:1", "tripo")


@pytest.mark.parametrize("name", ["kei", "", 5, ["kie"]])
def test_a_provider_that_cannot_be_is_refused(name):
    """`provider=` is checked even where it would not be needed."""
    with pytest.raises(nbh.BadInput):
        tasks_of("kie:1", name)
