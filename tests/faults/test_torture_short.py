"""A few minutes' worth of `tests/benchmarks/faults.py` in a few seconds: the same code, fewer runs."""

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
