"""A few minutes' worth of `tests/benchmarks/torture.py` in a few seconds: the same code, fewer runs."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from support.chaos import connections, disk, outage, replies, schedules
from support.mill import KEY


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("MILL_API_KEY", KEY)


def test_torture_nth_write_fails():
    """Whichever write to the disk fails, no result is lost for good and nothing is called failed."""
    if disk.compiler() is None:
        pytest.skip("the failing disk needs a C compiler")
    figures = disk.run(150, always=False)

    assert figures.faults == []
    assert figures.runs >= 2
    assert figures.writes > 100


def test_torture_nth_connection_fails():
    """Whichever request breaks, the task is created once, watched to its end, and its files are whole."""
    figures = connections.run(4)

    assert figures.faults == []
    assert figures.runs >= 9


def test_torture_random_schedules():
    """Under random faults each task ends as its schedule says, with every file that could be had, with each client."""
    figures = schedules.with_each(40, seed=7)

    assert figures.runs == 40
    assert (figures.lost_results, figures.false_failures, figures.uncaught, figures.wrong) == (0, 0, [], [])
    assert figures.closest >= 0.1
    assert figures.most <= 2


def test_torture_unforeseen_replies():
    """Mutated replies are read without an error, and end a task only by a word or code that is in them."""
    figures = replies.run(1500, seed=1)

    assert (figures.uncaught, figures.invented) == ([], [])
    assert len(figures.kinds) >= 8


def test_torture_outage():
    """Away for a while, an API is probed by one request at a time, and all tasks go on by themselves."""
    figures = outage.run(20, minute=0.3)

    assert figures.faults == []
    assert figures.outcomes == {"succeeded"}
    assert figures.pending == 20
    assert 0 < figures.later <= 1.5


@pytest.fixture
def torture(monkeypatch):
    """The script's names, with two parts that are quick: one that keeps its promise, and one that does not."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "torture.py"))
    parts = {
        word: lambda *, quick, word=word: iter([names["Fact"](word, "0", f"{quick}", word == "kept", ["what was"])])
        for word in ("kept", "broken")
    }
    monkeypatch.setitem(names["main"].__globals__, "PARTS", parts)
    return names["main"]


@pytest.mark.parametrize(("asked", "code", "held"), [(["kept"], 0, [True]), (["kept", "broken"], 1, [True, False])])
def test_torture_table(torture, tmp_path, capsys, asked, code, held):
    """The command prints a line for each fact, writes them to a file, and ends with 1 when a promise is not kept."""
    only = [word for name in asked for word in ("--only", name)]

    assert torture([*only, "--quick", "--json", str(tmp_path / "t.json")]) == code
    told, said = json.loads((tmp_path / "t.json").read_text("utf-8")), capsys.readouterr().out
    assert [(fact["name"], fact["kept"]) for fact in told["facts"]] == list(zip(asked, held, strict=True))
    assert "| ok | kept | 0 | True |" in said
    assert ("MISSED broken\n  what was" in said) == bool(code)
