"""`pending()`: which tasks are listed, and why."""

from datetime import UTC, datetime, timedelta

import pytest
from support.mill import DONE, WORKING, png, silence
from support.raw_server import reply
from support.waiting import until
from support.watched import reasons_pending, resume, watch

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._tables.columns import TASKS

PNG = png(3000)


def test_an_empty_store_has_nothing_pending():
    """All columns and dtypes are there, the reason in sight, and nothing is made on the disk."""
    frame = nbh.pending()

    assert list(frame.columns[:4]) == ["provider", "task_id", "label", "pending"]
    assert list(frame.columns.drop("pending")) == list(TASKS)
    assert frame["pending"].dtype == "string"
    assert frame.dtypes.drop("pending").equals(nbh.tasks().dtypes)
    assert list(session.store().folder.parent.iterdir()) == []


def test_each_reason_is_told(mill, restart, tmp_path):
    """Unfinished, stopped, lost, results missing and in doubt are told apart; what is over is not listed."""
    mill.job(WORKING, ident="unfinished")
    mill.job(WORKING, ident="stopped")
    mill.job(reply({"message": "bad key"}, 401), ident="lost")
    mill.job({**DONE, "files": [mill.file(silence)]}, ident="missing")
    mill.job({**DONE, "files": [mill.file(reply(PNG))]}, ident="over")
    mill.job({**DONE, "files": [mill.file(reply(PNG))]}, ident="unwanted")
    mill.creates[:] = [reply(b"", 500)]
    handle = watch(["mill:unfinished", "mill:missing"])
    watch("mill:stopped", timeout=0.3).result(30)
    watch("mill:lost").result(30)
    watch("mill:over").result(30)
    watch("mill:unwanted", save=False).result(30)
    with pytest.raises(nbh.SubmitUnknown):
        nbh.submit("mill", {"a": 1}, endpoint="image")
    until(lambda: handle[0].state and handle[1].succeeded)
    restart()

    assert reasons_pending() == {
        "unfinished": "unfinished",
        "stopped": "stopped",
        "lost": "lost",
        "missing": "results missing",
        "-": "in doubt",
    }
    assert nbh.pending(provider="kie").empty
    assert nbh.pending(since=datetime.now(UTC) + timedelta(days=1)).empty


def test_parameters_come_last(mill):
    """The columns of parameters follow all others, as in `tasks()`."""
    mill.creates[:] = [reply({"id": "made"})]
    nbh.submit("mill", {"prompt": "a fox"}, endpoint="image")

    frame = nbh.pending()

    assert list(frame.columns[-2:]) == [list(TASKS)[-1], "param_prompt"]
    assert frame.loc[0, "pending"] == "unfinished"


def test_expired_results_are_over(mill):
    """What no look brings back is not pending for ever."""
    watch(mill.job({**DONE, "files": [mill.file(reply(b"", 403))]}, ident="x")).result(30)

    assert reasons_pending() == {}
    assert len(resume()) == 0


def _not_registered(mill, monkeypatch):
    from nbhelper import _providers

    monkeypatch.setattr(_providers, "_added", {})
    return "not registered here"


def test_tables_know_who_is_not_registered_any_more(mill, unfinished, monkeypatch):
    """A provider that the store has tasks of may be asked for by name; one that nobody knows may not."""
    _not_registered(mill, monkeypatch)

    assert list(nbh.tasks(provider=["mill", "kie"])["task_id"]) == ["x"]
    assert list(nbh.pending(provider="mill")["task_id"]) == ["x"]
    assert len(nbh.events(provider="mill")) == len(nbh.events()) > 0
    assert nbh.outputs(provider="mill").empty
    with pytest.raises(nbh.BadInput, match='No provider is called "miller"'):
        nbh.tasks(provider="miller")


def test_an_open_emulator_has_a_store_of_its_own(mill, unfinished):
    """While it is open there is nothing of ours to resume; afterwards there is again."""
    with nbh.Emulator(speed=1000):
        assert nbh.pending().empty
        assert len(resume()) == 0

    assert reasons_pending() == {"x": "unfinished"}
