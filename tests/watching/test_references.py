"""What can be handed to `watch()`, and one line of error for each way of getting it wrong."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.mill import DONE, KEY, WORKING, Mill, provider
from support.raw_server import RawServer, always, reply

import nbhelper as nbh
from nbhelper._watching import references
from nbhelper._watching.references import references_of
from nbhelper.types import Mark, MarkWord, Task

TRIPO = {"code": 0, "data": {"task_id": "1ec04ced-0ff3"}}
KIE = {"code": 200, "msg": "success", "data": {"taskId": "abc123"}}
HAILUO = {"task_id": "106916112212032", "base_resp": {"status_code": 0, "status_msg": "success"}}
AILAB = {
    "request_id": "r", "log_id": "l", "error_code": 0, "error_msg": "",
    "error_detail": {"status_code": 200, "code": "", "code_message": "", "message": ""},
    "task_type": "async", "task_id": "t-1",
}  # fmt: skip
LEGACY = {"request_id": "job-1", "error_code": 0, "error_detail": {"code": "", "message": ""}, "task_type": "async"}


def tasks_of(what, provider=None):
    found, single = references_of(what, provider)
    return [meant.task for meant in found], single


def one(what, provider=None):
    found, single = tasks_of(what, provider)
    assert single
    return found[0]


FORMS = {
    "task": (Task("kie", "1"), Task("kie", "1")),
    "history": (nbh.History(Task("kie", "1")), Task("kie", "1")),
    "text": ("kie:1", Task("kie", "1")),
    "text with spaces": (" kie:1\n", Task("kie", "1")),
    "text with its quotes": ('"kie:1"', Task("kie", "1")),
    "text with extra": (
        "ailab-legacy:1?type=HD_COLOUR_MIGRATION", Task("ailab-legacy", "1", extra={"type": "HD_COLOUR_MIGRATION"})
    ),
    "numpy text": (np.str_("kie:1"), Task("kie", "1")),
    "hailuo's reply": (HAILUO, Task("gptge", "106916112212032")),
    "ailab's reply": (AILAB, Task("ailab", "t-1")),
}  # fmt: skip


@pytest.mark.parametrize(("what", "task"), FORMS.values(), ids=FORMS)
def test_one_task_in_every_form(what, task):
    """A task, a history, text, a create's reply whose shape no other API has."""
    assert one(what) == task


WITH = {
    "id alone": ("abc", "kie", Task("kie", "abc")),
    "id with a colon": ("a:b", "kie", Task("kie", "a:b")),
    "id with a percent": ("50%25", "kie", Task("kie", "50%25")),
    "text that says so too": ("kie:abc", "kie", Task("kie", "abc")),
    "id with extra": ("a%b?type=X", "ailab-legacy", Task("ailab-legacy", "a%b", extra={"type": "X"})),
    "tripo's reply": (TRIPO, "tripo", Task("tripo", "1ec04ced-0ff3")),
    "tripo-v3's reply": (TRIPO, "tripo-v3", Task("tripo-v3", "1ec04ced-0ff3")),
    "kie's reply": (KIE, "kie", Task("kie", "abc123")),
    "aigptimage's reply": (KIE, "aigptimage", Task("aigptimage", "abc123")),
    "seedance's reply": ({"id": "cgt-1"}, "gptge", Task("gptge", "cgt-1")),
    "bailian's reply": ({"output": {"task_id": "b-1"}, "request_id": "r"}, "gptge", Task("gptge", "b-1")),
}


@pytest.mark.parametrize(("what", "name", "task"), WITH.values(), ids=WITH)
def test_what_needs_a_provider_to_be_told(what, name, task):
    """With `provider=` bare ids and replies of a shared shape are understood."""
    assert one(what, name) == task


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
    "mixed": ["kie:1", nbh.History(Task("kie", "2"))],
}


@pytest.mark.parametrize("what", LISTS.values(), ids=LISTS)
def test_many_tasks_in_every_form(what):
    """Anything that can be iterated, in its order."""
    found, single = tasks_of(what() if callable(what) else what)

    assert (found, single) == ([Task("kie", "1"), Task("kie", "2")], False)


def test_a_list_of_one_is_a_list():
    """The shape is kept: `[x]` gives a list back."""
    assert tasks_of(["kie:1"]) == ([Task("kie", "1")], False)


def test_a_frame_of_ids_alone_takes_a_provider():
    """A column of ids and `provider=` are enough, labels come along."""
    frame = pd.DataFrame({"task_id": ["1", "2"], "label": ["owl", None]})

    found, _ = tasks_of(frame, "kie")

    assert [(t.id, t.label) for t in found] == [("1", "owl"), ("2", None)]


@pytest.mark.parametrize("reply", [TRIPO, KIE], ids=["tripo", "kie"])
def test_a_reply_that_two_apis_give_asks_whose_it_is(reply):
    """Nothing is guessed: the candidates are named."""
    with pytest.raises(nbh.BadInput, match=r"could be of \w.* or \w.*provider=…"):
        tasks_of(reply)


def test_a_reply_that_does_not_say_its_kind_asks_for_it():
    """AILab's first generation needs a `type` that its reply does not have: it is asked for, not guessed."""
    words = 'needs "type" beside the id .*nbhelper.Task\\("ailab-legacy", "job-1", extra='

    with pytest.raises(nbh.BadInput, match=words):
        tasks_of(LEGACY, "ailab-legacy")


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
    "frame with a create in doubt": (
        pd.DataFrame({"provider": ["kie"], "task_id": pd.array([pd.NA], "string")}), "Row 0 .* in doubt",
    ),
    "unknown provider": ("kei:1", 'Did you mean "kie"'),
    "no provider": ("1ec04ced-0ff3", "is not a task reference"),
    "another product": ("tripo3d:1", 'Did you mean "tripo"'),
    "link": ("https://api.kie.ai/x/1", "is a link"),
    "newline": ("kie:a\nb", "control characters"),
    "10 kB": ("kie:" + "x" * 10_000, "more than 1 kB"),
    "a key": ("kie:sk-0123456789abcdefghij", "looks like an API key"),
    "legacy without type": ("ailab-legacy:1", 'needs "type" beside the id .*HD_COLOUR_MIGRATION'),
    "reply of an error": ({"code": 401, "msg": "no", "data": None}, "no task id was found"),
    "reply of nobody": ({"hello": "world"}, "no task id was found"),
    "reply with an object": ({"a": object()}, "values that JSON has not"),
}  # fmt: skip


@pytest.mark.parametrize(("what", "words"), BAD.values(), ids=BAD)
def test_what_is_no_reference_is_refused_in_one_line(what, words, monkeypatch):
    """What was found and what to pass instead, before any key is looked for or file made."""
    monkeypatch.setattr(references, "store", None, raising=False)

    with pytest.raises(nbh.BadInput, match=words) as caught:
        nbh.watch(what)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert not re.search("sk-0123", str(caught.value))
    assert list(Path.cwd().iterdir()) == []


def test_two_providers_that_contradict_are_refused():
    """The text names one, `provider=` another."""
    with pytest.raises(nbh.BadInput, match='"kie:1" names kie, but provider= says tripo'):
        tasks_of("kie:1", "tripo")


@pytest.mark.parametrize("name", ["kei", "", 5, ["kie"]])
def test_a_provider_that_cannot_be_is_refused(name):
    """`provider=` is checked even where it would not be needed."""
    with pytest.raises(nbh.BadInput):
        tasks_of("kie:1", name)


HOSTILE_IDS = ["a/b", "a?b", "a#b", "50%", "..", ".", "a b", "a+b", "ü", "a&b=c", "{id}", "%2e%2e", "'; DROP", "\\"]


@pytest.mark.parametrize("ident", HOSTILE_IDS)
def test_an_id_is_one_segment_of_the_path(mill, ident):
    """Whatever stands in an id, the server is asked for that id and nothing else."""
    from urllib.parse import unquote

    async def done(conn):
        while (asked := await conn.request()) is not None:
            segments = asked.path.split("/")
            ok = len(segments) == 3 and unquote(segments[2]) == ident
            await conn.send(reply({"state": "done" if ok else "error", "why": asked.target}))

    with RawServer(done) as server:
        nbh.register(provider(server.root))
        history = nbh.watch(Task("mill", ident), display=False)[0]

    assert history.error is None
    assert history.succeeded


def test_the_table_of_tasks_can_be_watched_again(mill):
    """`watch(tasks())` is what one writes the next morning."""
    first = nbh.watch([mill.job(DONE), mill.job(DONE)], display=False)

    again = nbh.watch(nbh.tasks(), display=False)

    assert [str(h.task) for h in again] == [str(h.task) for h in first]


@pytest.fixture
def moved(mill):
    """A mill to which `mill` was connected anew, and which has tasks of the same ids as the first."""
    other = Mill()
    for ident in ("job-1", "job-2"):
        other.job(WORKING, ident=ident)
    yield lambda: (nbh.connect("mill", base_url=other.root), other)[1]
    other.close()


@pytest.mark.parametrize("form", [nbh.tasks, nbh.pending, lambda: SEEN], ids=["tasks", "pending", "histories"])
def test_a_task_made_elsewhere_is_never_asked_for_here(mill, moved, form):
    """A row, or a history, of another address is refused in one line: here its id would be somebody else's task."""
    SEEN[:] = nbh.watch([mill.job(WORKING), mill.job(WORKING)], display=False, timeout=0)
    other = moved()

    with pytest.raises(nbh.BadInput) as caught:
        nbh.watch(form(), display=False, block=False)

    assert str(caught.value) == (
        f"mill:job-1 and 1 more were made at {mill.root}, and mill is {other.root} now. "
        f'nbhelper.connect("mill", base_url="{mill.root}/…") goes there; else leave them out.'
    )
    assert other.asked() == []
    assert {*nbh.tasks()["origin"]} == {mill.root}


SEEN = []


def test_a_task_that_ended_elsewhere_is_drawn_from_the_store(mill, moved):
    """A final row of another address needs no look: it stands in its place, as it was seen there."""
    made = nbh.watch([mill.job(DONE), mill.job({"state": "error"})], display=False)
    other = moved()
    looked = len(mill.server.requests)

    again = nbh.watch(nbh.tasks(), display=False)

    assert [(h.origin, h.outcome) for h in again] == [(h.origin, h.outcome) for h in made]
    assert (len(mill.server.requests), other.asked()) == (looked, [])
    assert {*nbh.tasks()["origin"]} == {mill.root}


def test_one_id_at_two_addresses_is_two_tasks(mill, moved):
    """A table with one id at two addresses gives both places, each with what was seen there."""
    nbh.watch(mill.job(DONE), display=False)
    other = moved()
    other.jobs["job-1"][:] = [{"state": "error"}]
    nbh.watch("mill:job-1", display=False)

    again = nbh.watch(nbh.tasks(), display=False)

    assert [(h.origin, str(h.outcome)) for h in again] == [(mill.root, "succeeded"), (other.root, "failed")]


def test_the_table_knows_what_an_endpoint_implies(emulator):
    """AILab's `type` is not in the table; the endpoint that made the task tells it."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    task = nbh.submit("ailab-legacy", {"image": buffer.getvalue(), "index": 1}, endpoint="anime")

    found, _ = tasks_of(nbh.tasks())

    assert found == [task]
    assert task.extra == {"type": "GENERATE_CARTOONIZED_IMAGE"}


def test_a_watch_is_a_list_of_histories(mill):
    """A handle can be handed on."""
    first = nbh.watch([mill.job(DONE)], display=False)

    assert nbh.watch(first, display=False).done


# Every other argument


BAD_WATCHES = {
    "timeout text": ({"timeout": "5"}, "timeout is seconds or None, not str"),
    "timeout negative": ({"timeout": -1}, "zero or more seconds"),
    "timeout NaN": ({"timeout": float("nan")}, "zero or more seconds"),
    "timeout infinite": ({"timeout": float("inf")}, "zero or more seconds"),
    "timeout bool": ({"timeout": True}, "not bool"),
    "interval zero": ({"interval": 0}, "above zero"),
    "interval negative": ({"interval": -3}, "above zero"),
    "interval NaN": ({"interval": float("nan")}, "above zero"),
    "interval infinite": ({"interval": float("inf")}, "above zero"),
    "interval text": ({"interval": "5"}, "above zero"),
    "interval bool": ({"interval": True}, "above zero"),
    "save number": ({"save": 5}, "True, False or a folder"),
    "save None": ({"save": None}, "True, False or a folder"),
    "save empty": ({"save": ""}, "True, False or a folder"),
    "save a file": ({"save": __file__}, "is a file; name a folder"),
    "save below a file": ({"save": f"{__file__}/x"}, "cannot be made"),
    "save NUL": ({"save": "a\0b"}, "control characters"),
    "save nobody's home": ({"save": "~nobody-here/x"}, "nobody's home"),
    "preview True": ({"preview": True}, "longest side in pixels"),
    "preview zero": ({"preview": 0}, "longest side in pixels"),
    "preview text": ({"preview": "384"}, "longest side in pixels"),
    "preview huge": ({"preview": 100_000}, "longest side in pixels"),
    "display unknown": ({"display": "tqdm"}, 'display is "auto"'),
    "display True": ({"display": True}, 'display is "auto"'),
    "display None": ({"display": None}, 'display is "auto"'),
    "block text": ({"block": "yes"}, 'block is True, False or "auto"'),
    "block None": ({"block": None}, 'block is True, False or "auto"'),
    "provider unknown": ({"provider": "kei"}, 'Did you mean "kie"'),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BAD_WATCHES.values(), ids=BAD_WATCHES)
def test_a_watch_that_cannot_be_is_refused_before_anything_happens(mill, change, words):
    """One line of ours, no request, no store, no folder."""
    with pytest.raises(nbh.BadInput, match=words) as caught:
        nbh.watch("mill:x", **change)

    assert str(caught.value).isprintable()
    assert mill.server.connections == 0
    assert list(Path.cwd().iterdir()) == []


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
MINIMAL = {
    "name": "x",
    "base_url": "https://x.example",
    "key_variable": "X_KEY",
    "poll": "GET /{id}",
    "state": "s",
    "words": {"a": "queued"},
}


@pytest.mark.parametrize(("call", "words"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_every_public_function_refuses_what_cannot_be(mill, call, words):
    """One line of our own tree that says what was found; no request, no store."""
    with pytest.raises(nbh.BadInput, match=words) as caught:
        call()

    assert isinstance(caught.value, nbh.NbhelperError)
    assert str(caught.value).isprintable()
    assert mill.server.connections == 0
    assert [p.name for p in Path.cwd().iterdir()] == []


def test_asking_for_tables_makes_no_store():
    """Reading where nothing was ever kept gives empty tables with all columns and leaves nothing behind."""
    for table in (nbh.tasks(), nbh.events(), nbh.outputs()):
        assert len(table) == 0
        assert len(table.columns) > 5

    assert list(Path.cwd().iterdir()) == []


def test_providers_are_listed_without_a_key_or_a_store(monkeypatch):
    """Name, variable, where the key was found, address, endpoints, limits, docs; never the key."""
    monkeypatch.setenv("KIE_API_KEY", KEY)

    frame = nbh.providers()

    assert list(frame["provider"])[:7] == ["ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie"]
    assert frame.set_index("provider").loc["kie", "key_found"] == "environment KIE_API_KEY"
    assert frame.set_index("provider").loc["kie", "create_limit"] == "20 in 10 s"
    assert frame.set_index("provider").loc[["aigptimage", "ailab"], "create_limit"].isna().all()  # unknown is not none
    assert KEY not in frame.to_csv()
    assert list(Path.cwd().iterdir()) == []


def test_marks_do_not_need_an_engine():
    """Looking at values starts no thread."""
    import threading

    before = {t.name for t in threading.enumerate()}
    nbh.History(Task("kie", "1")).add(Mark(word=MarkWord.WATCHING), pd.Timestamp.now("UTC").to_pydatetime())

    assert {t.name for t in threading.enumerate()} <= before


def test_an_unused_server_says_nothing():
    """The helper itself: a reply is whole and counted right."""
    assert reply({"a": 1}).endswith(b'content-length: 8\r\n\r\n{"a": 1}')
    assert always(reply())


def test_events_of_one_task_alone(mill):
    """Every observation of the tasks that are named, however they are named, and of no other."""
    refs = [mill.job(DONE) for _ in range(3)]
    first, second, _ = nbh.watch(refs, display=False, block=False).result(30)
    everything = nbh.events()

    assert set(everything["task"]) == set(refs)
    for asked in (refs[0], first, first.task, [first], iter([refs[0], first.task])):
        frame = nbh.events(asked)
        assert list(frame["seq"]) == list(range(1, first.seq + 1))
        assert set(frame["task"]) == {refs[0]}
    assert set(nbh.events([first, second.task])["task"]) == set(refs[:2])
    assert len(nbh.events(first, outcome="failed")) == len(nbh.events("mill:nobody")) == len(nbh.events([])) == 0
