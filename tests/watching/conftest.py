"""Every test of watching runs without keys, proxies or a store, and reads often what another process writes."""

import pytest
from support.mill import KEY, QUEUED, WORKING
from support.scripts import starting
from support.two_processes import WATCH
from support.waiting import end, until
from support.watched import watch

from nbhelper._store import leases
from nbhelper._watching import engine

NOTEBOOK = """
import os, sys, time
import nbhelper as nbh
from nbhelper._session.session import store
from nbhelper._store import leases

leases.TICK = 0.1
nbh.register(nbh.Provider(
    name="mill", base_url=sys.argv[1], key_variable="MILL_API_KEY", floor=0.1, poll="GET /jobs/{id}",
    state="state", words={"working": "running", "done": "succeeded"}, outputs="files",
    endpoints={"image": "POST /jobs"},
))

def show(history):
    for event in store().events(history.uid):
        print(event.seq, event.at.isoformat(), type(event.seen).__name__, getattr(event.seen, "word", ""))
    print(history.outcome, [path.name for path in history.files], flush=True)
"""


@pytest.fixture(autouse=True)
def _isolated(isolated):
    return isolated


@pytest.fixture(autouse=True)
def _quick_reading(monkeypatch):
    monkeypatch.setattr(leases, "TICK", 0.1)


@pytest.fixture
def notebook(mill, tmp_path):
    """Begin a process that has the mill registered and runs some code, as another notebook would."""
    with starting(NOTEBOOK, mill.root, cwd=tmp_path, MILL_API_KEY=KEY) as begin:
        yield begin


@pytest.fixture
def restart():
    """What a kernel's restart leaves of this process: the store, and nothing under way."""

    def again():
        if engine._engine is not None:
            end(engine._engine)

    return again


@pytest.fixture
def unfinished(mill, restart):
    """The history of a task whose process ended while it ran."""
    handle = watch(mill.job(WORKING, ident="x"))
    until(lambda: handle[0].facts.polls >= 2)
    restart()
    return handle[0]


@pytest.fixture
def other(mill, notebook):
    """Another process that looks at a task already."""
    mill.job(QUEUED, WORKING, ident="x")
    process = notebook(WATCH)
    assert process.stdout.readline() == "ready\n"
    return process
