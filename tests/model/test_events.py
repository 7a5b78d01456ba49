"""What is seen of a task: frozen values, each one line in print."""

from dataclasses import FrozenInstanceError

import pytest
from support.histories import NOON

from nbhelper._model.history import History
from nbhelper.types import (
    Event,
    Mark,
    MarkWord,
    Miss,
    MissKind,
    Output,
    Saved,
    SaveState,
    Snapshot,
    State,
    Task,
    TaskError,
)


def test_values_are_frozen():
    """Fields and mappings cannot be set, and a change to the dict that was passed does not reach the value."""
    given_params = {"x": 1}
    task = Task("kie", "1", params=given_params, extra={"a": "1"})
    given_params["x"] = 2

    assert task.params["x"] == 1
    with pytest.raises(FrozenInstanceError):
        task.id = "2"
    with pytest.raises(TypeError):
        task.extra["a"] = "2"
    for value in (Snapshot(state=State.RUNNING), Miss(kind=MissKind.SERVER), Mark(word=MarkWord.LOST)):
        with pytest.raises((FrozenInstanceError, TypeError, AttributeError)):
            value.state = 1


SHOWN = [
    Task("kie", "1", "l\x1b[31mabel"),
    Output(name="a\nb", url="https://x.example/a?sig=secret"),
    Output(name="a", data=b"\x00" * 100),
    Output(name="a", ref="f\n1"),
    Snapshot(state=State.FAILED, word="bad\nword", error=TaskError("1", "multi\nline\x1b[2J")),
    Snapshot(state=State.RUNNING, progress=0.5, outputs=(Output(name="a", url="u"),)),
    Miss(kind=MissKind.SERVER, status=502, message="bad"),
    Saved(name="a", state=SaveState.FAILED, message="no\nroom"),
    Mark(word=MarkWord.STOPPED, note="why\nnot"),
    Event(1, NOON, Mark(word=MarkWord.WATCHING)),
    History(Task("kie", "1")),
]


@pytest.mark.parametrize("value", SHOWN, ids=lambda v: type(v).__name__)
def test_every_value_reads_as_one_line(value):
    """The repr of each value is one printable line without escapes, line breaks or a link's query."""
    text = repr(value)

    assert text.isprintable()
    assert "secret" not in text
    assert len(text) < 300


MISSES = {
    "status and words": ({"kind": MissKind.SERVER, "status": 502, "message": "bad gateway"}, "HTTP 502: bad gateway"),
    "code on 200": ({"kind": MissKind.NO_CREDIT, "status": 200, "code": "402", "message": "pay"}, "code 402: pay"),
    "both": ({"kind": MissKind.REFUSED, "status": 403, "code": "1005", "message": "no"}, "HTTP 403, code 1005: no"),
    "nothing": ({"kind": MissKind.NETWORK}, "network"),
}


@pytest.mark.parametrize(("fields", "text"), MISSES.values(), ids=MISSES)
def test_the_text_of_a_miss_has_status_code_and_message(fields, text):
    """`str(miss)` has status, code and message, each once; the kind where there is none of them."""
    assert str(Miss(**fields)) == text


def test_the_repr_of_a_miss_has_kind_status_code_and_message():
    """Kind, status, code and the first words on one line; the reply's excerpt is not repeated."""
    miss = Miss(
        kind=MissKind.NOT_FOUND, status=200, code="422", message="recordInfo\nis null " * 40, excerpt='{"code": 422}'
    )

    assert repr(miss).startswith('<Miss not_found HTTP 200 code 422 "recordInfo is null recordInfo')
    assert repr(miss).isprintable()
    assert len(repr(miss)) < 140
    assert repr(Miss(kind=MissKind.NETWORK)) == "<Miss network>"


def test_raw_is_a_new_copy_at_each_call():
    """A change to what `raw` gave does not change the snapshot; without a kept reply `raw` is None."""
    seen = Snapshot(state=State.RUNNING, reply='{"a":[1]}')
    seen.raw["a"].append(2)

    assert seen.raw == {"a": [1]}
    assert Snapshot(state=State.RUNNING).raw is None
