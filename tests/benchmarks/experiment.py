"""An experiment of 240 tasks: killed twice and continued, then once more in one kernel with card, table and gallery.

    python tests/benchmarks/experiment.py          # about four minutes
    python tests/benchmarks/experiment.py --small  # 48 tasks, one minute

Three APIs, four settings, four prompts, five repeats, on an emulator that enforces the APIs' limits and lets about
every tenth task fail. The emulator lives in this process, so its ledger is the truth about what really was created;
the experiment runs in processes of its own, which are ended with SIGKILL.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "experiment")]

import nbhelper as nbh  # noqa: E402
from nbhelper import _session  # noqa: E402
from nbhelper._doors import IN_FLIGHT  # noqa: E402
from nbhelper._emulated import server  # noqa: E402

SCRIPT = ROOT / "tests" / "experiment" / "experiment_script.py"
ALIVE = {"tripo": 10, "aigptimage": 5}
"""Tasks that may be alive at once with one key; aigptimage's by its tier "basic"."""
WINDOW = ("kie", 20, 10.0)
"""Creates in so many seconds."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    shape = {
        "prompts": 2 if small else 4,
        "settings": ["1K", "2K"] if small else ["1K", "2K", "4K", "8K"],
        "repeats": 4 if small else 5,
        "concurrency": 20,
    }
    total = 3 * shape["prompts"] * len(shape["settings"]) * shape["repeats"]
    wrong = killed(shape, total) + in_a_kernel(shape, total)
    for line in wrong:
        print("WRONG:", line)
    return 1 if wrong else 0


def apis(world: Any) -> dict[str, Any]:
    keys = {name: world.key(name) for name in ("kie", "tripo")}
    keys["aigptimage"] = f"emu-basic-{os.urandom(8).hex()}"
    return {name: (world.url(name), key) for name, key in keys.items()}


def killed(shape: dict[str, Any], total: int) -> list[str]:
    """Two processes die in the middle, a third goes on to the end."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as space, server(speed=10, seed=5, limits=True) as world:
        told = json.dumps({**shape, "apis": apis(world), "folder": f"{space}/data", "save": False})
        command = [sys.executable, str(SCRIPT), told]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        for share in (0.25, 0.6):
            with subprocess.Popen(command, cwd=space, env=environment, stdout=subprocess.DEVNULL) as process:
                while len(world.ledger().tasks) < share * total and process.poll() is None:
                    time.sleep(0.05)
                process.kill()
            print(f"killed with {len(world.ledger().tasks)} of {total} tasks made")
        last = subprocess.run(command, cwd=space, env=environment, capture_output=True, text=True, check=True)
        ended = json.loads(last.stdout.splitlines()[-1])
        print("the third run:", ended)
        ledger = world.ledger()
        nbh.set_store(f"{space}/data")
        frame = nbh.tasks(experiment="owls")
        creates = _session.store().creates("owls")
        _session.store().close()
    made = frame[frame["task_id"].notna()]
    doubt = sum(row.state in {"sent", "in_doubt"} for row in creates)
    cells = Counter(zip(made["param_api"], made["param_prompt"], made["param_setting"], made["repeat"], strict=True))
    # The server's own count: equal bodies are equal cells, but for the repeats.
    bodies = Counter(task.body_digest for task in ledger.tasks)
    print(
        f"{len(made)} submitted, {doubt} in doubt, {len(ledger.tasks)} made at the server, "
        f"{round(time.monotonic() - begun)} s"
    )
    wrong = []
    if ended["rows"] != total or ended["without"]:
        wrong.append(f"the frame has {ended['rows']} rows, {ended['without']} of them without an outcome")
    if ended["ids"] + ended["outcomes"].get("lost", 0) != total or len(made) + doubt != total:
        wrong.append(f"{len(made)} submitted and {doubt} in doubt are not {total}")
    if max(cells.values()) > 1 or max(bodies.values()) > shape["repeats"]:
        wrong.append("a cell was made twice")
    if not len(made) <= len(ledger.tasks) <= len(made) + doubt:
        wrong.append(f"the server made {len(ledger.tasks)}")
    if not set(made["task_id"]) <= {task.id for task in ledger.tasks}:
        wrong.append("the table has tasks that the server does not know")
    return wrong + limits(ledger)


def limits(ledger: Any) -> list[str]:
    """How far creates went beyond the APIs' limits: by no more than what was in flight when the limit was met."""
    wrong = []
    for name, most in ALIVE.items():
        tasks = [task for task in ledger.tasks if task.provider == name]
        tries = [create for create in ledger.creates if create.provider == name]
        worst = max(sum(t.created <= c.at and (t.finished is None or t.finished > c.at) for t in tasks) for c in tries)
        # All that fly may meet the limit together before the first answer is back.
        burst = longest_burst([create for create in tries if create.status == 429])
        refused = sum(create.status == 429 for create in tries)
        print(f"{name}: at most {worst} alive (limit {most}), {refused} times asked to wait")
        if burst > IN_FLIGHT:
            wrong.append(f"{name} had {burst} creates refused at once")
    name, most, span = WINDOW
    times = [create.at.timestamp() for create in ledger.creates if create.provider == name]
    worst = max(sum(t - span < other <= t for other in times) for t in times)
    print(f"{name}: at most {worst} creates in {span:g} s (limit {most})")
    if worst > most + IN_FLIGHT:
        wrong.append(f"{name} had {worst} creates in {span:g} s")
    return wrong


def longest_burst(refused: list[Any]) -> int:
    """The most refusals within a second."""
    times = sorted(create.at.timestamp() for create in refused)
    return max((sum(t <= other < t + 1 for other in times) for t in times), default=0)


CELLS = (
    "import sys, json\nsys.path[:0] = json.loads('{paths}')\nsys.argv[1:] = ['{told}']",
    "import nbhelper as nbh, experiment_script as script\ntold = json.loads(sys.argv[1])",
    "for name, (url, key) in told['apis'].items():\n    nbh.connect(name, api_key=key, base_url=url)",
    (
        "grid = dict(api=sorted(told['apis']), prompt=script.PROMPTS[:told['prompts']], setting=told['settings'])\n"
        "exp = nbh.Experiment('owls', script.request, grid, told['repeats'], told['concurrency'], max_tasks=1000)\nexp"
    ),
    "w = exp.run()",
    "exp.to_frame().head()",
    "exp.summary(['api'])",
    "exp.gallery('prompt', 'setting')",
    "exp.export('owls.zip')",
    (
        "import resource\nframe, peak = exp.to_frame(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "print(json.dumps({'mb': peak, 'rows': len(frame), 'ids': int(frame.task_id.notna().sum()),"
        " 'files': len(w.files)}))"
    ),
)


def in_a_kernel(shape: dict[str, Any], total: int) -> list[str]:
    """The same in one notebook: what its kernel holds at most."""
    import nbformat
    from nbclient import NotebookClient

    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as space, server(speed=10, seed=6, limits=True) as world:
        told = json.dumps({**shape, "apis": apis(world)})
        paths = json.dumps(sys.path[:2])
        sources = [CELLS[0].format(paths=paths, told=told), *CELLS[1:]]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        NotebookClient(notebook, timeout=900, resources={"metadata": {"path": space}}).execute()
        found = json.loads(notebook.cells[-1].outputs[0]["text"])
        size = len(nbformat.writes(notebook)) / 1e6
        made = len(world.ledger().tasks)
    print(f"in a kernel: {found}, {made} made, the notebook has {size:.1f} MB, {round(time.monotonic() - begun)} s")
    wrong = [f"the kernel took {found['mb']:.0f} MB"] * (found["mb"] >= 400)
    return wrong + ["not every task was made once"] * (not found["rows"] == found["ids"] == made == total)


if __name__ == "__main__":
    sys.exit(main())
