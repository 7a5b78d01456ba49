"""Values that travel and the history they make: frozen, one line each, and everything shown follows from the events."""

import copy
import gc
import pickle
import tracemalloc
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbhelper as nbh
from nbhelper._model.history import History
from nbhelper._model.lost_sight import GRACE, PATIENCE, verdict
from nbhelper._model.text import clean, redact, storable, without_queries, without_query
from nbhelper.types import (
    Event,
    Mark,
    MarkWord,
    Miss,
    MissKind,
    Outcome,
    Output,
    Saved,
    SaveState,
    Snapshot,
    State,
    Task,
    TaskError,
)

pytestmark = pytest.mark.usefixtures("isolated")

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
PLAIN = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=60).filter(
    str.isprintable
)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
IDS = PLAIN.filter(lambda t: t.strip() and not t.casefold().startswith(("bearer ", "sk-", "tsk_")))


# References


@given(NAMES, IDS, st.dictionaries(PLAIN, PLAIN, max_size=3))
def test_a_reference_survives_being_text(provider, ident, extra):
    """`Task.parse(str(task)) == task`, whatever printable stands in id and extra."""
    task = Task(provider, ident, extra=extra)

    again = Task.parse(str(task))

    assert again == task
    assert hash(again) == hash(task)
    assert str(again) == str(task)


@given(NAMES, IDS, st.none() | PLAIN, st.dictionaries(PLAIN, st.integers() | PLAIN, max_size=3))
def test_a_reference_survives_being_pickled(provider, ident, label, params):
    """Pickle and deepcopy keep all of it, frozen as before."""
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
def test_texts_that_people_write(text, task):
    """The forms that the docs show, and those that slip in."""
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
def test_what_cannot_be_a_reference_is_refused(provider, ident):
    """One line, without control characters, without the key, and a ValueError too."""
    with pytest.raises(nbh.BadInput) as caught:
        Task(provider, ident)

    assert isinstance(caught.value, ValueError)
    assert str(caught.value).isprintable()
    assert "a" * 20 not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["", " ", "kie", "kie:", ":x", "x y z", None, 5, b"kie:1", "https://kie.ai/"])
def test_text_that_is_no_reference_is_refused(text):
    """The error says how one is written."""
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
def test_parts_of_another_kind_are_refused(parts):
    """Label, params and extra are checked where they are given."""
    with pytest.raises(nbh.BadInput):
        Task("kie", "x", **parts)


def test_a_task_is_its_provider_id_and_extra():
    """Label and params are notes: two references with other notes are one task."""
    one, other = Task("kie", "1", "a", {"x": 1}), Task("kie", "1", "b", {"x": 2})

    assert one == other
    assert len({one, other}) == 1
    assert Task("kie", "1", extra={"a": "1", "b": "2"}) == Task("kie", "1", extra={"b": "2", "a": "1"})
    assert Task("kie", "1", extra={"a": "1"}) != one
    assert Task("tripo", "1") != one


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
    Event(1, T0, Mark(word=MarkWord.WATCHING)),
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


# Histories


def grown(*seen, begin=T0, every=1.0):
    """A history in which these were seen, one a second; a number instead is a pause."""
    history, at = History(Task("mill", "x"), origin="http://mill"), begin
    for item in seen:
        if isinstance(item, int | float):
            at += timedelta(seconds=item)
            continue
        history = history.add(item, at)
        at += timedelta(seconds=every)
    return history


def state(word, **more):
    return Snapshot(state=State(word), word=word, **more)


def mark(word):
    return Mark(word=MarkWord(word), note=f"because {word}")


def test_a_history_grows_by_returning_a_new_one():
    """`add` leaves the old one as it was and numbers the events."""
    empty = History(Task("kie", "1"))

    one = empty.add(state("running"), T0)
    two = one.add(state("succeeded"), T0)

    assert (len(empty.events), len(one.events), [e.seq for e in two.events]) == (0, 1, [1, 2])
    assert (empty.state, one.state, two.state) == (None, State.RUNNING, State.SUCCEEDED)


OUTCOMES = {
    "nothing seen": ([], None),
    "only watched": ([mark("watching")], None),
    "running": ([state("running")], None),
    "unknown word": ([state("unknown")], None),
    "misses": ([Miss(kind=MissKind.NOT_FOUND)] * 9, None),
    "succeeded": ([state("succeeded")], "succeeded"),
    "failed": ([state("failed")], "failed"),
    "cancelled": ([state("cancelled")], "cancelled"),
    "expired": ([state("expired")], "expired"),
    "lost": ([state("running"), mark("lost")], "lost"),
    "stopped": ([state("running"), mark("stopped")], "stopped"),
    "the first final word stands": ([state("succeeded"), state("failed")], "succeeded"),
    "a final word is not taken back": ([state("failed"), state("running")], "failed"),
    "a final word replaces stopped": ([mark("stopped"), state("succeeded")], "succeeded"),
    "a final word replaces lost": ([mark("lost"), state("failed")], "failed"),
    "stopped after the end is nothing": ([state("succeeded"), mark("stopped")], "succeeded"),
    "a miss after stopped changes nothing": ([mark("stopped"), Miss(kind=MissKind.SERVER)], "stopped"),
    "running after stopped is still stopped": ([mark("stopped"), state("running")], "stopped"),
    "watched again": ([mark("lost"), mark("resumed")], None),
    "lost then stopped": ([mark("lost"), mark("stopped")], "stopped"),
}


@pytest.mark.parametrize(("seen", "outcome"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcomes_follow_from_the_events(seen, outcome):
    """The table of the vocabulary, case by case."""
    history = grown(*seen)

    assert history.outcome == outcome
    assert history.succeeded is (outcome == "succeeded")


def test_files_are_in_the_order_of_the_outputs():
    """Whichever file was saved first; equal bytes are one file, at the place of the first output that has them."""
    named = tuple(Output(name=name, url=f"http://cdn/{name}") for name in "abcd")
    saves = (Saved(name=name, file=f"/{file}") for name, file in (("d", "x"), ("c", "y"), ("b", "x")))
    history = grown(state("succeeded", outputs=named), *saves)

    assert [str(path) for path in history.files] == ["/x", "/y"]
    assert [str(path) for path in history.add(Saved(name="a", file="/z"), T0).files] == ["/z", "/x", "/y"]


SEEN = st.one_of(
    st.builds(
        Snapshot,
        state=st.sampled_from(State),
        word=st.sampled_from(["a", "b"]),
        progress=st.none() | st.floats(0, 1),
        credits=st.none() | st.floats(0, 9),
        outputs=st.lists(st.builds(Output, name=st.sampled_from("xyz"), url=st.just("u")), max_size=2).map(tuple),
    ),
    st.builds(Miss, kind=st.sampled_from(MissKind)),
    st.builds(Saved, name=st.sampled_from("xyz"), state=st.sampled_from(SaveState), file=st.just("/f")),
    st.builds(Mark, word=st.sampled_from(MarkWord)),
)
PAST = st.lists(st.tuples(SEEN, st.floats(0, 2000)), max_size=25)


@given(PAST)
def test_a_history_read_back_is_the_one_that_grew(past):
    """Folding all events again gives the same facts, and they agree with what the events say."""
    history, events, at = History(Task("mill", "x"), origin="o", uid="u"), [], T0
    for seen, later in past:
        at += timedelta(seconds=later)
        history = history.add(seen, at)
        events.append(history.events[-1])
    finals = [e.seen.state for e in events if isinstance(e.seen, Snapshot) and e.seen.state.final]

    again = History.of(history.task, events, origin="o", uid="u")

    assert again == history
    assert again.facts == history.facts
    assert history.facts.polls == sum(isinstance(e.seen, Snapshot | Miss) for e in events)
    assert history.facts.misses == sum(isinstance(e.seen, Miss) for e in events)
    assert not finals or history.outcome == finals[0].value


@given(PAST)
def test_a_history_travels_with_its_facts(past):
    """A pickled history is the same one, facts included, although its events no longer tell them."""
    history = grown(*[seen for seen, _ in past])

    again = pickle.loads(pickle.dumps(history))

    assert again == history
    assert again.facts == history.facts
    assert again.facts.outputs is not history.facts.outputs or not history.facts.outputs
    assert hash(again) == hash(history)


def looked(n):
    """A history after so many looks at a running task, each with parameters and a reply of its own."""
    asked = {"prompt": "an owl of carved wood " * 10}
    looks = (
        state("running", progress=i / n, params=dict(asked), reply=f'{{"n":{i},"prompt":"{asked["prompt"]}"}}')
        for i in range(n)
    )
    return grown(mark("watching"), *looks)


@pytest.mark.parametrize("n", [0, 5, 7, 8, 300])
def test_a_history_holds_its_newest_eight_events(n):
    """They keep their numbers, and only the newest snapshot has its reply and parameters; the facts have both."""
    history = looked(n) if n else grown(mark("watching"))
    snapshots = [e.seen for e in history.events if isinstance(e.seen, Snapshot)]

    assert [e.seq for e in history.events] == list(range(max(1, n - 6), n + 2))
    assert history.seq == n + 1
    assert history.facts.polls == n
    assert [s.raw["n"] for s in snapshots if s.reply] == [n - 1][: len(snapshots)]
    assert [bool(s.params) for s in snapshots] == [s.reply is not None for s in snapshots]
    assert not n or history.snapshot is snapshots[-1]


def test_events_of_other_kinds_take_nothing_from_the_newest_snapshot():
    """Misses and files behind it leave it whole, and bytes that came in an older reply are let go."""
    named = Output(name="a", data=b"x" * 1000)
    history = grown(
        state("running", reply="{}", outputs=(named,)),
        state("running", reply='{"a":1}', params={"seed": 1}),
        miss("network"),
        Saved(name="a", file="/f"),
    )

    older, newest = (e.seen for e in history.events[:2])
    assert (older.reply, older.outputs[0].data, history.outputs[0].data) == (None, None, named.data)
    assert (newest.raw, newest.params) == ({"a": 1}, {"seed": 1})


def test_memory_does_not_grow_with_looks():
    """A history after a thousand looks is no larger than one after sixty."""
    sizes = []
    for n in (60, 1000):
        tracemalloc.start()
        try:
            kept = [looked(n) for _ in range(10)]
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0] / len(kept))
        finally:
            tracemalloc.stop()

    assert sizes[1] < sizes[0] * 1.25
    assert sizes[1] < 8000


def test_histories_can_stand_in_a_set():
    """Equal histories have equal hashes; a longer one is another, and so is one of another row or origin."""
    history = looked(3)
    same = looked(3)
    others = [history.add(state("running"), T0), replace(history, uid="v"), replace(history, origin="http://other")]

    assert len({history, same}) == 1
    assert len({history, *others}) == 4
    assert all(history != other for other in others)


@given(PAST, st.floats(0, 1e6))
def test_a_verdict_is_lost_or_nothing(past, later):
    """Whatever was seen, the judgement raises nothing and never says failed."""
    history = grown(*[seen for seen, _ in past])

    found = verdict(history, T0 + timedelta(seconds=later), confirm=frozenset("a"))

    assert found is None or found.word is MarkWord.LOST


def miss(kind):
    return Miss(kind=MissKind(kind), message="words")


LONG, SHORT = PATIENCE.total_seconds() + 1, PATIENCE.total_seconds() - 10
AFTER = GRACE.total_seconds()
LOST = {
    "refused twice": [miss("refused"), miss("refused")],
    "bad request twice": [state("running"), miss("bad_request"), miss("bad_request")],
    "not found twice after the grace": [state("running"), AFTER, miss("not_found"), miss("not_found")],
    "not found twice long after submitting": [mark("submitted"), AFTER, miss("not_found"), miss("not_found")],
    "no credit for ten minutes": [miss("no_credit")] * 3 + [LONG, miss("no_credit")],
    "garbled for ten minutes": [miss("garbled")] * 3 + [LONG, miss("garbled")],
    "an unknown word for ten minutes": [state("unknown")] * 3 + [LONG, state("unknown")],
    "garbled and unknown mixed for ten minutes": [
        miss("garbled"), state("unknown"), miss("garbled"), LONG, state("unknown"),
    ],
    "documented as final": [
        Snapshot(state=State.UNKNOWN, word="shrug"), Snapshot(state=State.UNKNOWN, word="shrug"),
    ],
}  # fmt: skip
KEPT = {
    "nothing": [],
    "running": [state("running")],
    "network for a day": [miss("network"), 86400.0, miss("network"), miss("network"), miss("network")],
    "server for a day": [miss("server"), 86400.0, miss("server"), miss("server"), miss("server")],
    "rate limited for a day": [miss("rate_limited"), 86400.0, *[miss("rate_limited")] * 5],
    "refused once": [state("running"), miss("refused")],
    "refused, network, refused": [miss("refused"), miss("network"), miss("refused")],
    "refused, running, refused": [miss("refused"), state("running"), miss("refused")],
    "refused, then bad request": [miss("refused"), miss("bad_request")],
    "not found within the grace": [miss("not_found")] * 20,
    "not found, once within and once after": [miss("not_found"), AFTER, miss("not_found")],
    "not found once after the grace": [state("running"), AFTER + 5, miss("not_found")],
    "no credit for nine minutes": [miss("no_credit")] * 3 + [SHORT, miss("no_credit")],
    "garbled for nine minutes": [miss("garbled")] * 3 + [SHORT, miss("garbled")],
    "garbled twice with a sleep between": [miss("garbled"), LONG, miss("garbled")],
    "no credit thrice with a sleep between": [miss("no_credit"), miss("no_credit"), LONG, miss("no_credit")],
    "garbled, with a good look between": [miss("garbled")] * 3 + [LONG, state("running"), miss("garbled")],
    "garbled, with a network fault between": [miss("garbled")] * 3 + [LONG, miss("network"), miss("garbled")],
    "documented as final, once": [Snapshot(state=State.UNKNOWN, word="shrug")],
    "documented as final, then another word": [
        Snapshot(state=State.UNKNOWN, word="shrug"), Snapshot(state=State.UNKNOWN, word="hm"),
    ],
    "refused before it was taken up again": [miss("refused"), mark("lost"), mark("resumed"), miss("refused")],
}  # fmt: skip


@pytest.mark.parametrize("seen", LOST.values(), ids=LOST)
def test_when_a_watch_is_lost(seen):
    """Each row of the table of misses that ends a watch."""
    history = grown(*seen)

    found = verdict(history, history.events[-1].at, confirm=frozenset({"shrug"}))

    assert found is not None
    assert found.word is MarkWord.LOST
    assert found.note.isprintable()


@pytest.mark.parametrize("seen", KEPT.values(), ids=KEPT)
def test_when_a_watch_goes_on(seen):
    """Everything else: faults of the network never end a watch, and a laptop that slept saw nothing."""
    history = grown(*seen)
    now = history.events[-1].at if history.events else T0

    assert verdict(history, now, confirm=frozenset({"shrug"})) is None


@pytest.mark.parametrize(
    ("kind", "ends"),
    [("no_credit", True), ("garbled", True), ("network", False), ("server", False), ("rate_limited", False)],
)
def test_a_long_run_of_misses_is_judged_by_all_of_it(kind, ends):
    """Three hundred looks, two seconds apart: ten minutes are told from the first of them, which nobody holds now."""
    history = grown(state("running"), *[miss(kind)] * 300, every=2.0)
    before = grown(state("running"), *[miss(kind)] * 300, every=1.9)

    assert (verdict(history, history.events[-1].at + timedelta(seconds=3)) is not None) is ends
    assert verdict(before, before.events[-1].at) is None


def test_a_long_run_ends_with_what_ends_it():
    """Garbled replies and undeclared words make one run; a good look, the network and a resumption begin another."""
    mixed = [miss("garbled"), state("unknown")] * 150
    for between in (state("running"), miss("network"), mark("resumed")):
        history = grown(*mixed, between, *mixed[:20], every=2.0)
        assert verdict(history, history.events[-1].at) is None
    history = grown(*mixed, mark("watching"), *mixed[:20], every=2.0)

    found = verdict(history, history.events[-1].at)

    assert found is not None
    assert found.note == '10 minutes of unreadable replies: unknown state "unknown"'
    assert history.facts.unreadable.looks == 320
    assert history.facts.same_trouble.looks == 1


def test_not_found_is_judged_by_the_look_before_the_newest():
    """After the grace two in a row end a watch, however many there were before, and one alone does not."""
    early = [miss("not_found")] * 40
    history = grown(*early, AFTER, miss("not_found"))
    assert verdict(history, history.events[-1].at) is None

    history = history.add(miss("not_found"), history.events[-1].at + timedelta(seconds=1))
    assert "does not know this id" in verdict(history, history.events[-1].at).note


def test_a_word_that_nobody_declared_is_no_kind_of_miss():
    """An API whose state word is `refused`, followed by a refused look, has not refused twice."""
    history = grown(state("unknown"), Snapshot(state=State.UNKNOWN, word="refused"), miss("refused"))

    assert verdict(history, history.events[-1].at, confirm=frozenset({"refused"})) is None


def test_nothing_is_lost_behind_the_final_word():
    """What the looks for fresh links say later does not end the watch in another way."""
    history = grown(state("succeeded"), *[miss("refused")] * 3)

    assert verdict(history, history.events[-1].at) is None


def test_progress_never_steps_back():
    """The furthest is what a bar shows, whatever a server says later."""
    history = grown(state("running", progress=0.5), state("running", progress=0.2), state("running"))

    assert history.facts.progress == 0.5


def test_credits_stay_unknown_until_they_are_told():
    """None is not zero, and zero is told."""
    assert grown(state("running")).credits is None
    assert grown(state("succeeded", credits=0.0)).credits == 0.0
    assert grown(state("running", credits=3.0), state("succeeded")).credits == 3.0


def test_what_a_shorter_final_reply_leaves_out_is_remembered():
    """Credits, model and parameters that an earlier reply told stay known."""
    facts = grown(state("running", credits=3.0, model="m", params={"seed": 1}), state("succeeded")).facts

    assert (facts.credits, facts.model, facts.params) == (3.0, "m", {"seed": 1})


def test_a_look_behind_the_final_word_changes_no_credits_model_or_parameters():
    """The final word settles what the task has cost and what made it; only fresh links are taken."""
    final = state("succeeded", credits=30.0, model="m", params={"seed": 1}, outputs=(Output(name="a", url="old"),))
    later = state("running", credits=5.0, model="n", params={"seed": 2}, outputs=(Output(name="a", url="new"),))

    history = grown(final, later)

    assert (history.credits, history.facts.model, history.facts.params) == (30.0, "m", {"seed": 1})
    assert [o.url for o in history.outputs] == ["new"]
    assert history.snapshot is final
    assert history.facts.polls == 2


def test_a_newer_reply_has_the_fresher_link():
    """Even after the final word: the link changes, the state does not."""
    history = grown(
        state("succeeded", outputs=(Output(name="a", url="old"),)),
        state("running", outputs=(Output(name="a", url="new"),)),
    )

    assert [o.url for o in history.outputs] == ["new"]
    assert history.outcome is Outcome.SUCCEEDED


def test_settled_means_nothing_more_to_come():
    """An outcome, and every output saved or given up."""
    output = Output(name="a", url="u")
    named = grown(state("succeeded", outputs=(output,)))

    assert not named.settled
    assert named.save_state("a") is SaveState.PENDING
    assert named.add(Saved(name="a", file="/f"), T0).settled
    assert named.add(Saved(name="a", state=SaveState.FAILED), T0).settled
    assert not grown(state("running")).settled


def test_failing_is_raised_only_when_asked():
    """`raise_for_failure` gives itself for a success and raises for everything else, with the history."""
    good = grown(state("succeeded"))
    assert good.raise_for_failure() is good

    for seen, words in (
        ([state("failed", error=TaskError("7", "bad"))], "failed: 7 bad"),
        ([mark("lost")], "lost: because lost; .*looks again"),
        ([state("running")], "not finished"),
    ):
        with pytest.raises(nbh.TaskFailed, match=words) as caught:
            grown(*seen).raise_for_failure()
        assert pickle.loads(pickle.dumps(caught.value)).history == caught.value.history


# Text


ANY = st.text(st.characters(codec=None), max_size=300)


@given(ANY, st.integers(1, 80))
def test_clean_text_is_one_printable_line(text, limit):
    """No escapes, controls, overrides or half characters, and not longer than asked."""
    words = clean(text, limit)

    assert len(words) <= limit
    assert "\n" not in words
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in words)
    assert not set(words) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    words.encode()


HOSTILE = {
    "colour": ("a\x1b[31mred\x1b[0mb", "aredb"),
    "title": ("a\x1b]0;evil\x07b", "ab"),
    "link": ("\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"),
    "8-bit": ("a\x9b31mb", "a 31mb"),
    "carriage return": ("good\rbad", "good bad"),
    "separators": ("a\u2028b\u2029c", "a b c"),
    "bidi": ("a\u202eb", "ab"),
    "half character": ("a\ud800b", "a\ufffdb"),
    "megabyte": ("x" * 10**6, "x" * 499 + "…"),
}


@pytest.mark.parametrize(("text", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_what_servers_may_send_is_made_harmless(text, expected):
    """Terminal escapes, titles, overrides, a megabyte."""
    assert clean(text) == expected


@given(ANY)
def test_storable_text_can_be_stored(text):
    """It encodes, holds no NUL, and text that could be stored anyway is unchanged."""
    kept = storable(text)

    kept.encode()
    assert "\0" not in kept
    if "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text):
        assert kept == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY, inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.sampled_from(["top-secret-key", "ü"]))
def test_redacted_json_can_be_kept(value, secret):
    """No key in it anywhere, nothing that SQLite or JSON cannot hold."""
    import json

    kept = redact({"a": value, secret: [f"x{secret}y", {"b": secret}]}, (secret,))

    text = json.dumps(kept, allow_nan=False)
    assert secret not in json.dumps(kept, ensure_ascii=False)
    text.encode()


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("https://x.example/a.png?sig=1#f", "https://x.example/a.png"),
        ("https://user:pass@x.example:8443/a", "https://x.example:8443/a"),
        ("https://[::1]:99/a?b", "https://[::1]:99/a"),
        ("https://[::1/a", "(unreadable link)"),
    ],
)
def test_a_link_without_its_query_is_no_secret(link, kept):
    """Query, fragment and user information go, in a link alone and inside text."""
    assert without_query(link) == kept
    assert without_queries(f'see "{link}" there') == f'see "{kept}" there'


def test_a_reply_is_parsed_anew():
    """Whoever changes what `raw` gave changes a copy; where no reply was kept there is none."""
    seen = Snapshot(state=State.RUNNING, reply='{"a":[1]}')
    seen.raw["a"].append(2)

    assert seen.raw == {"a": [1]}
    assert Snapshot(state=State.RUNNING).raw is None
