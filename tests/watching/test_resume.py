"""`resume()`: what is watched again, and what is left as it is."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.mill import DONE, KEY, WORKING, png, provider, sha256, silence
from support.raw_server import reply
from support.waiting import until
from support.watched import events_of, marks, reasons_pending, resume, watch

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._tables.columns import TASKS
from nbhelper.types import SaveState

PNG = png(3000)


def test_the_same_history_goes_on(mill, unfinished):
    """Earlier events stay, the mark says resumed, and the results come."""
    mill.jobs["x"][:] = [{**DONE, "files": [mill.file(reply(PNG))]}]

    resumed = resume().result(30)

    assert [h.task.id for h in resumed] == ["x"]
    assert events_of(resumed[0])[: unfinished.seq] == events_of(unfinished)
    assert marks(resumed[0]) == ["watching", "resumed"]
    assert sha256(resumed[0].files[0].read_bytes()) == sha256(PNG)
    assert reasons_pending() == {}


ENDS = {
    "stopped": (WORKING, {"timeout": 0.3}),
    "lost": (reply({"message": "bad key"}, 401), {}),
}


@pytest.mark.parametrize(("answer", "options"), ENDS.values(), ids=ENDS)
def test_what_was_given_up_is_taken_up_again(mill, answer, options):
    """`stopped` and `lost` are our own ends: the task is looked at again, and its own end replaces them."""
    watch(mill.job(answer, ident="x"), **options).result(30)
    mill.jobs["x"][:] = [DONE]

    resumed = resume().result(30)

    assert [str(h.outcome) for h in resumed] == ["succeeded"]
    assert marks(resumed[0])[-1] == "resumed"


def test_missing_results_come_by_the_links_that_were_kept(mill, restart):
    """While its links live, a finished task is not even looked at."""
    link = mill.file(silence, reply(PNG))
    handle = watch(mill.job({**DONE, "files": [f"{link}?sig=1"]}, ident="x"))
    until(lambda: mill.requests_to("/files"))
    restart()
    assert handle[0].files == ()

    resumed = resume().result(30)[0]

    assert sha256(resumed.files[0].read_bytes()) == sha256(PNG)
    assert len(mill.looks["x"]) == 1
    assert [request.target.partition("?")[2] for request in mill.requests_to("/files")] == ["sig=1", "sig=1"]


def test_dead_links_are_looked_up_once(mill, restart):
    """A link that has expired meanwhile is replaced by one look at the task."""
    old, new = mill.file(silence, reply(b"", 403)), mill.file(reply(PNG))
    handle = watch(mill.job({**DONE, "files": [old]}, {**DONE, "files": [new]}, ident="x"))
    until(lambda: mill.requests_to("/files"))
    restart()
    assert handle[0].succeeded

    resumed = resume().result(30)[0]

    assert sha256(resumed.files[0].read_bytes()) == sha256(PNG)
    assert len(mill.looks["x"]) == 2


def test_what_could_not_be_saved_is_tried_again(mill, monkeypatch):
    """A file that failed for want of room is fetched by `resume`, and left alone by `watch`."""
    from nbhelper._network import downloads

    ref = mill.job({**DONE, "files": [mill.file(reply(PNG))]}, ident="x")
    with monkeypatch.context() as full:
        full.setattr(downloads, "LARGEST", 1000)
        assert watch(ref).result(30).save_state("files[0]") is SaveState.FAILED

    assert reasons_pending() == {"x": "results missing"}
    assert watch(ref).done
    assert [f.stat().st_size for f in resume().result(30)[0].files] == [len(PNG)]


FORMS = {
    "text": "mill:x",
    "task": nbh.Task("mill", "x"),
    "a list": ["mill:x"],
    "a generator": (ref for ref in ["mill:x"]),
}


@pytest.mark.parametrize("what", FORMS.values(), ids=FORMS)
def test_resume_takes_what_watch_takes(mill, unfinished, what):
    """One task, or several, in any form."""
    mill.jobs["x"][:] = [DONE]

    handle = resume(what)
    resumed = handle.result(30)

    assert len(handle) == 1
    assert (resumed if isinstance(resumed, nbh.History) else resumed[0]).succeeded


def test_a_frame_of_pending_is_resumed_without_what_is_in_doubt(mill, unfinished):
    """`resume(pending())`: the rows that have a task; the others are counted in a line."""
    mill.creates[:] = [reply(b"", 500)]
    with pytest.raises(nbh.SubmitUnknown):
        nbh.submit("mill", {"a": 1}, endpoint="image")
    mill.jobs["x"][:] = [DONE]

    with pytest.warns(UserWarning, match="1 create is in doubt"):
        handle = resume(nbh.pending())

    assert [str(h.outcome) for h in handle.result(30)] == ["succeeded"]
    assert len(mill.requests_to("/jobs")) == len([*mill.looks["x"]]) + 1


def _typed(mill):
    return nbh.Provider(
        name="typed",
        base_url=mill.root,
        key_variable="MILL_API_KEY",
        floor=0.1,
        poll="GET /jobs/{id}?type={type}",
        state="state",
        words={"working": "running", "done": "succeeded"},
    )


def test_a_frame_knows_what_its_columns_do_not_say(mill, restart):
    """A task whose API needs more than the id is found by its row in the store."""
    nbh.register(_typed(mill))
    mill.job(WORKING, ident="x")
    handle = watch(nbh.Task("typed", "x", extra={"type": "HD"}))
    until(lambda: handle[0].state)
    restart()
    mill.jobs["x"][:] = [DONE]

    resumed = resume(nbh.pending()).result(30)

    assert [dict(h.task.extra) for h in resumed] == [{"type": "HD"}]
    assert resumed[0].succeeded


def test_nothing_to_resume_is_a_finished_watch():
    """Every way of asking such a watch gives an answer at once."""
    handle = resume()

    async def every_answer():
        return await handle, [h async for h in handle.as_completed()], [e async for e in handle.events()]

    assert (len(handle), handle.done, handle.result(), list(handle.as_completed())) == (0, True, [], [])
    assert asyncio.run(every_answer()) == ([], [], [])
    assert repr(handle) == "<Watch nothing to resume>"
    assert list(handle.to_frame().columns) == list(TASKS)
    assert handle.summary().empty
    assert "0 pictures" in repr(handle.gallery())
    assert (handle.files, handle.images(), handle.failed, handle.notes) == ((), [], (), ())
    handle.stop()


EMPTY = {"a list": [], "a generator": (x for x in ()), "a frame": None}


@pytest.mark.parametrize("what", EMPTY.values(), ids=EMPTY)
def test_an_empty_choice_is_nothing_to_resume(what):
    """Where `watch` refuses an empty list, `resume` has nothing to do."""
    assert len(resume(nbh.pending() if what is None else what)) == 0


def test_the_text_view_says_that_there_is_nothing(mill, capsys):
    """In a terminal one line says so; what is finished is nothing to resume."""
    watch(mill.job(DONE)).result(30)

    nbh.resume(display="text", block=True)

    assert capsys.readouterr().out == f"Nothing to resume in {session.store().folder}.\n"


def test_where_nothing_was_kept_yet_is_told(mill, capsys):
    """Begun in another folder than before, a notebook finds no history, says where it looked, and makes none."""
    nbh.resume(display="text", block=True)

    assert capsys.readouterr().out == f"Nothing to resume: {Path.cwd() / 'nbhelper-data'} holds no history yet.\n"
    assert list(Path.cwd().iterdir()) == []


def test_only_what_is_young_enough(mill, unfinished):
    """`max_age` takes what `since=` takes; the older ones are counted in a line."""
    with pytest.warns(UserWarning, match=r"1 task older than .* left pending: nbhelper\.resume\(max_age="):
        assert len(resume(max_age=datetime.now(UTC) + timedelta(seconds=1))) == 0
    for age in ("1h", timedelta(hours=1), None, "2020-01-01"):
        handle = resume(max_age=age)
        assert len(handle) == 1
        handle.stop()
        handle.result(30)


@pytest.mark.parametrize("age", ["yesterday", 5, [], "24 hours"], ids=str)
def test_an_age_that_cannot_be_is_refused(mill, unfinished, age):
    """One line names the parameter and an example, before any request."""
    before = len(mill.server.requests)

    with pytest.raises(nbh.BadInput, match=r"^max_age takes a time") as error:
        resume(max_age=age)

    assert "\n" not in str(error.value)
    assert len(mill.server.requests) == before


OPTIONS = {"timeout": -1, "interval": 0, "save": 3, "preview": 5, "display": "movie", "block": "maybe"}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_those_of_watch(name):
    """A wrong one is refused in the same words, also when there is nothing to resume."""
    with pytest.raises(nbh.BadInput, match=name):
        nbh.resume(**{name: OPTIONS[name]})


def test_creates_in_doubt_are_listed_and_never_sent_again(mill):
    """A line says how many and what to do; the server sees no second create."""
    mill.creates[:] = [reply(b"", 500)]
    with pytest.raises(nbh.SubmitUnknown):
        nbh.submit("mill", {"a": 1}, endpoint="image")

    with pytest.warns(UserWarning, match=r"1 create is in doubt \(1 mill\).*Look in your account"):
        handle = resume()

    assert len(handle) == 0
    assert handle.notes[0].startswith("1 create is in doubt")
    assert len(mill.server.requests) == 1


def _no_key(mill, monkeypatch):
    monkeypatch.delenv("MILL_API_KEY")
    return 'no key for "mill"'


def _not_registered(mill, monkeypatch):
    from nbhelper import _providers

    monkeypatch.setattr(_providers, "_added", {})
    return "not registered here"


def _elsewhere(mill, monkeypatch):
    nbh.connect("mill", base_url="https://mill.example/v1")
    return f"made at {mill.root}, and mill is https://mill.example now"


@pytest.mark.parametrize("change", [_no_key, _not_registered, _elsewhere])
def test_what_cannot_be_reached_is_left_and_the_rest_goes_on(mill, restart, monkeypatch, change):
    """No key, no provider, another address: one line each, no request, and the others are watched."""
    nbh.register(provider(mill.root, name="other"))
    monkeypatch.setenv("OTHER_API_KEY", KEY)
    mill.job(WORKING, ident="x")
    mill.job(WORKING, ident="y")
    handle = watch(["mill:x", "other:y"])
    until(lambda: all(h.state for h in handle))
    restart()
    line = change(mill, monkeypatch)
    if change is _not_registered:
        nbh.register(provider(mill.root, name="other"))
    before = len(mill.looks["x"])
    mill.jobs["y"][:] = [DONE]

    with pytest.warns(UserWarning, match="1 task of mill left pending") as warned:
        resumed = resume().result(30)

    assert [str(h.task) for h in resumed] == ["other:y"]
    assert resumed[0].succeeded
    assert line.casefold() in str(warned[0].message).casefold()
    assert len(mill.looks["x"]) == before
    assert reasons_pending() == {"x": "unfinished"}


def test_another_key_is_told_before_any_request(mill, unfinished, monkeypatch):
    """The watch goes on all the same; neither key is in the words."""
    monkeypatch.setenv("MILL_API_KEY", "mill-another-key-0123456789")
    mill.jobs["x"][:] = [DONE]

    with pytest.warns(UserWarning, match="1 task of mill watched with another key before") as warned:
        handle = resume()

    assert handle.result(30)[0].succeeded
    assert handle.notes[0].startswith("1 task of mill watched with another key")
    assert "mill-another" not in str(warned[0].message)
    assert KEY not in str(warned[0].message)


def test_watch_says_the_same_on_its_card_alone(mill, unfinished, monkeypatch):
    """`watch` of a task that another key made warns nobody, and has the line where a card shows it."""
    monkeypatch.setenv("MILL_API_KEY", "mill-another-key-0123456789")
    mill.jobs["x"][:] = [DONE]

    handle = watch("mill:x")

    assert handle.result(30).succeeded
    assert handle.notes[0].startswith("1 task of mill watched with another key")


def test_the_same_key_is_found_by_its_fingerprint(mill, unfinished, recwarn):
    """With the key of before nothing is said."""
    mill.jobs["x"][:] = [DONE]

    assert resume().result(30)[0].succeeded
    assert list(recwarn) == []


def test_a_resumed_watch_ends_like_any_other(mill, unfinished):
    """Its own timeout stops it, and then it can be resumed once more."""
    first = resume(timeout=0.3).result(30)[0]
    mill.jobs["x"][:] = [DONE]
    second = resume().result(30)[0]

    assert str(first.outcome) == "stopped"
    assert second.succeeded
    assert marks(second) == ["watching", "resumed", "stopped", "resumed"]
