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


def test_nothing_in_a_value_can_be_changed():
    """Fields, mappings and the caller's own dict are out of reach."""
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
    """No line breaks, no escapes, no secrets."""
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
def test_a_miss_reads_as_a_person_would_say_it(fields, text):
    """Status, code and words, each once."""
    assert str(Miss(**fields)) == text


def test_a_miss_is_told_apart_by_its_repr():
    """Kind, status, code and the first words on one line; the reply's excerpt is not repeated."""
    miss = Miss(
        kind=MissKind.NOT_FOUND, status=200, code="422", message="recordInfo\nis null " * 40, excerpt='{"code": 422}'
    )

    assert repr(miss).startswith('<Miss not_found HTTP 200 code 422 "recordInfo is null recordInfo')
    assert repr(miss).isprintable()
    assert len(repr(miss)) < 140
    assert repr(Miss(kind=MissKind.NETWORK)) == "<Miss network>"


def test_a_reply_is_parsed_anew():
    """Whoever changes what `raw` gave changes a copy; where no reply was kept there is none."""
    seen = Snapshot(state=State.RUNNING, reply='{"a":[1]}')
    seen.raw["a"].append(2)

    assert seen.raw == {"a": [1]}
    assert Snapshot(state=State.RUNNING).raw is None
