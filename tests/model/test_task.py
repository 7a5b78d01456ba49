"""References to tasks: checked when made, frozen, and the same again as text and pickled."""

import copy
import pickle
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbhelper as nbh
from nbhelper.types import Task

PLAIN = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=60).filter(
    str.isprintable
)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
IDS = PLAIN.filter(lambda t: t.strip() and not t.casefold().startswith(("bearer ", "sk-", "tsk_")))


@given(NAMES, IDS, st.dictionaries(PLAIN, PLAIN, max_size=3))
def test_a_reference_round_trips_through_its_text(provider, ident, extra):
    """`Task.parse(str(task)) == task`, whatever printable characters stand in id and extra."""
    task = Task(provider, ident, extra=extra)

    again = Task.parse(str(task))

    assert again == task
    assert hash(again) == hash(task)
    assert str(again) == str(task)


@given(NAMES, IDS, st.none() | PLAIN, st.dictionaries(PLAIN, st.integers() | PLAIN, max_size=3))
def test_a_reference_round_trips_through_pickle_and_deepcopy(provider, ident, label, params):
    """Pickle and deepcopy keep label, params and extra, and the mappings stay read-only."""
    task = Task(provider, ident, label, params, {"type": "X"})

    for again in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task)):
        assert again == task
        assert (again.label, again.params, again.extra) == (task.label, task.params, task.extra)
        assert isinstance(again.params, MappingProxyType)


EXAMPLES = {
    "plain": ("tripo:1ec04ced-0ff3", Task("tripo", "1ec04ced-0ff3")),
    "spaces around": ("  kie: 42 ", Task("kie", "42")),
    "extra": ("ailab-legacy:a%2Fb?type=X+Y", Task("ailab-legacy", "a/b", extra={"type": "X Y"})),
    "number": ("kie:7", Task("kie", 7)),
    "colons": ("kie:a:b:c", Task("kie", "a:b:c")),
    "dots": ("kie:..", Task("kie", "..")),
}


@pytest.mark.parametrize(("text", "task"), EXAMPLES.values(), ids=EXAMPLES)
def test_texts_that_parse_as_references(text, task):
    """`Task.parse` takes the forms that the docs show, and white space around the parts, colons and dots in an id."""
    assert Task.parse(text) == task


BAD_TASKS = {
    "empty": ("kie", ""),
    "blank": ("kie", "  "),
    "None": ("kie", None),
    "bool": ("kie", True),
    "float": ("kie", 1.5),
    "list": ("kie", ["a"]),
    "newline": ("kie", "a\nb"),
    "NUL": ("kie", "a\0b"),
    "escape": ("kie", "a\x1b[31mb"),
    "bidi": ("kie", "a\u202eb"),
    "surrogate": ("kie", "\ud800"),
    "1 kB": ("kie", "x" * 1025),
    "1 kB in bytes": ("kie", "ü" * 513),
    "bearer": ("kie", "Bearer abcdef"),
    "sk key": ("kie", "sk-" + "a" * 20),
    "tsk key": ("tripo", "tsk_" + "a" * 20),
    "no provider": ("", "x"),
    "provider None": (None, "x"),
    "capitals": ("Kie", "x"),
    "provider with a slash": ("k/e", "x"),
}


@pytest.mark.parametrize(("provider", "ident"), BAD_TASKS.values(), ids=BAD_TASKS)
def test_an_unusable_provider_or_id_is_refused(provider, ident):
    """The `BadInput` is a ValueError of one printable line that does not repeat a key."""
    with pytest.raises(nbh.BadInput) as caught:
        Task(provider, ident)

    assert isinstance(caught.value, ValueError)
    assert str(caught.value).isprintable()
    assert "a" * 20 not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["", " ", "kie", "kie:", ":x", "x y z", None, 5, b"kie:1", "https://kie.ai/"])
def test_text_that_is_no_reference_is_refused(text):
    """Text that `Task.parse` cannot read is refused in one line."""
    with pytest.raises(nbh.BadInput) as caught:
        Task.parse(text)

    assert "\n" not in str(caught.value)


BAD_PARTS = {
    "label": {"label": 3},
    "params": {"params": [1]},
    "extra": {"extra": "type=X"},
    "extra value": {"extra": {"type": 3}},
    "extra control": {"extra": {"type": "a\nb"}},
    "extra key": {"extra": {1: "x"}},
}


@pytest.mark.parametrize("parts", BAD_PARTS.values(), ids=BAD_PARTS)
def test_label_params_and_extra_of_another_type_are_refused(parts):
    """Label, params and extra of a wrong type raise `BadInput` when the task is made."""
    with pytest.raises(nbh.BadInput):
        Task("kie", "x", **parts)


def test_tasks_are_equal_by_provider_id_and_extra():
    """Label and params do not count in comparing and hashing tasks."""
    one, other = Task("kie", "1", "a", {"x": 1}), Task("kie", "1", "b", {"x": 2})

    assert one == other
    assert len({one, other}) == 1
    assert Task("kie", "1", extra={"a": "1", "b": "2"}) == Task("kie", "1", extra={"b": "2", "a": "1"})
    assert Task("kie", "1", extra={"a": "1"}) != one
    assert Task("tripo", "1") != one
