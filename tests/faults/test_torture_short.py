"""Short runs of `tests/benchmarks/faults.py`: the same code with fewer repetitions."""

import pytest
from support.chaos import connections, disk, outage, replies, schedules
from support.mill import KEY


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("MILL_API_KEY", KEY)


def test_torture_nth_write_fails():
    """If the n-th write to the disk fails, no result is lost for good and no task is called failed."""
    if disk.compiler() is None:
        pytest.skip("the failing disk needs a C compiler")
    figures = disk.run(150, always=False)

    assert figures.faults == []
    assert figures.runs >= 2
    assert figures.writes > 100


def test_torture_nth_connection_fails():
    """If the n-th request fails, the task is created once, watched to its end, and its files are whole."""
    figures = connections.run(4)

    assert figures.faults == []
    assert figures.runs >= 9


def test_torture_random_schedules():
    """Under random faults, with each HTTP client, each task ends as scheduled, with every file that can be fetched."""
    figures = schedules.with_each(40, seed=7)

    assert figures.runs == 40
    assert (figures.lost_results, figures.false_failures, figures.uncaught, figures.wrong) == (0, 0, [], [])
    assert figures.closest >= 0.1
    assert figures.most <= 2


def test_torture_mutated_replies():
    """Mutated replies are read without an exception, and end a task only by a word or code that is in them."""
    figures = replies.run(1500, seed=1)

    assert (figures.uncaught, figures.invented) == ([], [])
    assert len(figures.kinds) >= 8


def test_torture_outage():
    """In an outage an API is probed by one request at a time, and afterwards all tasks succeed."""
    figures = outage.run(20, minute=0.3)

    assert figures.faults == []
    assert figures.outcomes == {"succeeded"}
    assert figures.pending == 20
    assert 0 < figures.later <= 1.5
