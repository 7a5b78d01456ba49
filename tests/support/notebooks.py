"""Other notebooks at the tests' own API: another process, and a simulated restart of this one's kernel."""

import pytest
from support.mill import KEY
from support.scripts import starting
from support.waiting import end

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


@pytest.fixture
def notebook(mill, tmp_path):
    """Begin a process that has the mill registered and runs some code, as another notebook would."""
    with starting(NOTEBOOK, mill.root, cwd=tmp_path, MILL_API_KEY=KEY) as begin:
        yield begin


@pytest.fixture
def restart():
    """Simulate a restart of this kernel: close the engine, so that of this process only the store is left."""

    def again():
        if engine._engine is not None:
            end(engine._engine)

    return again
