"""Every test of watching runs without keys, proxies or a store, and reads often what another process writes."""

import pytest
from support.mill import QUEUED, WORKING
from support.notebooks import notebook, restart  # noqa: F401  # fixtures
from support.two_processes import WATCH
from support.waiting import until
from support.watched import watch

from nbhelper._store import leases


@pytest.fixture(autouse=True)
def _isolated(isolated):
    return isolated


@pytest.fixture(autouse=True)
def _quick_reading(monkeypatch):
    monkeypatch.setattr(leases, "TICK", 0.1)


@pytest.fixture
def unfinished(mill, restart):  # noqa: F811
    """The history of a task whose process ended while it ran."""
    handle = watch(mill.job(WORKING, ident="x"))
    until(lambda: handle[0].facts.polls >= 2)
    restart()
    return handle[0]


@pytest.fixture
def other(mill, notebook):  # noqa: F811
    """Another process that looks at a task already."""
    mill.job(QUEUED, WORKING, ident="x")
    process = notebook(WATCH)
    assert process.stdout.readline() == "ready\n"
    return process
