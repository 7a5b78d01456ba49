"""An experiment that is killed and continued, run by two processes, or cut off: no task twice, none forgotten."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.scripts import environment, start
from support.waiting import until

import nbhelper as nbh
from nbhelper._emulated import server
from nbhelper._session import session

SCRIPT = Path(__file__).with_name("experiment_script.py")
APIS = ("aigptimage", "kie", "tripo")


@pytest.fixture
def world():
    """The bare emulator in this process, where it outlives the processes that are killed."""
    with server(speed=100, seed=3, limits=True) as made:
        yield made


@pytest.fixture
def launch(world, tmp_path):
    """Start the script."""
    started = []

    def go(**more):
        options = {
            "apis": {name: (world.url(name), world.key(name)) for name in APIS},
            "folder": str(tmp_path / "data"),
            "prompts": 2, "settings": ["1K", "2K"], "repeats": 2, "concurrency": 8,
            **more,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(options)],
            cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield go
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_killed_experiment_is_continued(world, launch, tmp_path):
    """24 tasks at three APIs with limits: submitted ones and those in doubt are 24 in all, and none is twice."""
    first = launch()
    until(lambda: len(world.ledger().tasks) >= 8, deadline=60)
    first.kill()
    first.communicate()

    out, err = launch().communicate(timeout=100)

    assert err == ""
    report = json.loads(out.splitlines()[-1])
    ledger = world.ledger()
    assert report["rows"] == 24
    assert report["without"] == 0
    nbh.set_store(tmp_path / "data")
    frame = nbh.tasks(experiment="owls")
    made = frame[frame["task_id"].notna()]
    doubt = report["outcomes"].get("lost", 0)
    assert report["ids"] + doubt == 24
    # What the server made and we know, and what it made while the answer was lost.
    assert len(made) <= len(ledger.tasks) <= len(made) + doubt
    assert set(made["task_id"]) <= {task.id for task in ledger.tasks}
    cells = Counter(zip(made["param_api"], made["param_prompt"], made["param_setting"], made["repeat"], strict=True))
    assert max(cells.values()) == 1


def test_two_processes_do_not_submit_the_same_experiment(world, launch):
    """A second process is refused in one line while the first submits, and the first goes on."""
    first = launch(concurrency=1)
    until(lambda: len(world.ledger().tasks) >= 1, deadline=60)

    _, err = launch().communicate(timeout=60)

    assert '"owls" is being submitted by another process' in err.splitlines()[-1]
    assert first.poll() is None


def test_a_script_that_ends_while_it_submits_knows_what_it_sent(world, tmp_path):
    """The script prints nothing on stderr, and each task that was made is in the store or counted as in doubt."""
    code = """
        import sys
        import nbhelper as nbh
        nbh.connect("kie", api_key=sys.argv[2], base_url=sys.argv[1])
        ask = lambda prompt: nbh.Request("kie", {"model": "google/nano-banana", "input": {"prompt": prompt}})
        exp = nbh.Experiment("owls", ask, {"prompt": [f"p{n}" for n in range(30)]}, concurrency=3)
        w = exp.run(display=False, block=False)
        next(w.as_completed().__iter__())
    """
    with start(code, world.url("kie"), world.key("kie"), cwd=tmp_path) as process:
        _, err = process.communicate(timeout=60)

    assert err == ""
    assert process.returncode == 0
    nbh.set_store(tmp_path / "nbhelper-data")
    frame = nbh.tasks(experiment="owls")
    known = set(frame["task_id"].dropna())
    doubt = sum(row.state in {"sent", "in_doubt"} for row in session.store().creates("owls"))
    assert known <= {task.id for task in world.ledger().tasks}
    assert len(world.ledger().tasks) <= len(known) + doubt
