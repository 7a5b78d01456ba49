"""An experiment of three APIs: killed twice and continued, then once more in one kernel with card, table and gallery.

The emulator enforces the APIs' limits and lets about every tenth task fail. It lives in this process, so its ledger is
the truth about what really was created; the experiment runs in processes of its own, which are ended with SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbhelper as nbh
from nbhelper._emulated import server
from nbhelper._session import session
from nbhelper._submitting.create_limit import IN_FLIGHT

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests" / "experiments" / "experiment_script.py"
ALIVE = {"tripo": 10, "aigptimage": 5}
"""Tasks that may be alive at once with one key; aigptimage's by its tier "basic"."""
WINDOW = ("kie", 20, 10.0)
"""Creates in so many seconds."""
MOST_MB = 400
"""What the notebook's kernel may hold at most."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise: whether it was kept, what it is, and what was measured."""

    kept: bool
    promise: str
    measured: str


@dataclass(frozen=True, slots=True)
class Shape:
    """The arguments of the experiment's script: prompts, settings, repeats and tasks at once."""

    prompts: int = 4
    settings: tuple[str, ...] = ("1K", "2K", "4K", "8K")
    repeats: int = 5
    concurrency: int = 20

    @property
    def total(self) -> int:
        """Tasks of the whole grid, at three APIs."""
        return 3 * self.prompts * len(self.settings) * self.repeats


SMALL = Shape(2, ("1K", "2K"), 4)


def apis(world: Any) -> dict[str, Any]:
    """Address and key by API."""
    keys = {name: world.key(name) for name in ("kie", "tripo")}
    keys["aigptimage"] = f"emu-basic-{os.urandom(8).hex()}"
    return {name: (world.url(name), key) for name, key in keys.items()}


def killed(shape: Shape) -> Iterator[Verdict]:
    """Run the experiment in three processes: two are killed in the middle, the third goes on to the end."""
    total = shape.total
    with tempfile.TemporaryDirectory() as space, server(speed=10, seed=5, limits=True) as world:
        settings = json.dumps({**asdict(shape), "apis": apis(world), "folder": f"{space}/data", "save": False})
        command = [sys.executable, str(SCRIPT), settings]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        kills = []
        for share in (0.25, 0.6):
            with subprocess.Popen(command, cwd=space, env=environment, stdout=subprocess.DEVNULL) as process:
                while len(world.ledger().tasks) < share * total and process.poll() is None:
                    time.sleep(0.05)
                process.kill()
            kills.append((len(world.ledger().tasks), process.returncode == -signal.SIGKILL))
        last = subprocess.run(command, cwd=space, env=environment, capture_output=True, text=True, check=True)
        ended = json.loads(last.stdout.splitlines()[-1])
        ledger = world.ledger()
        nbh.set_store(f"{space}/data")
        frame = nbh.tasks(experiment="owls")
        creates = session.store().creates("owls")
        session.store().close()
    made = frame[frame["task_id"].notna()]
    doubt = sum(row.state in {"sent", "in_doubt"} for row in creates)
    yield Verdict(
        all(dead and 0 < n < total for n, dead in kills),
        "kill -9 twice in the middle",
        f"with {kills[0][0]} and {kills[1][0]} of {total} tasks made",
    )
    yield Verdict(
        ended["rows"] == total and not ended["without"],
        "all accounted for in the frame",
        f"{ended['rows']} rows, {ended['without']} without an outcome, outcomes {ended['outcomes']}",
    )
    yield Verdict(
        len(made) + doubt == total and len(made) <= len(ledger.tasks) <= len(made) + doubt,
        f"submitted + in doubt = {total}",
        f"{len(made)} + {doubt}, and the server made {len(ledger.tasks)}",
    )
    yield once(made, ledger, shape.repeats)
    yield from limits(ledger)


def once(made: Any, ledger: Any, repeats: int) -> Verdict:
    """Whether each cell was made once: by our table, and by the server's own count."""
    cells = Counter(zip(made["param_api"], made["param_prompt"], made["param_setting"], made["repeat"], strict=True))
    # The server's own count: equal bodies are equal cells, but for the repeats.
    bodies = Counter(task.body_digest for task in ledger.tasks)
    strange = set(made["task_id"]) - {task.id for task in ledger.tasks}
    return Verdict(
        max(cells.values()) == 1 and max(bodies.values()) <= repeats and not strange,
        "no cell twice in the ledger",
        f"a cell has {max(cells.values())} task at most, a body {max(bodies.values())} for {repeats} repeats, "
        f"{len(strange)} ids that the server does not know",
    )


def limits(ledger: Any) -> Iterator[Verdict]:
    """How far creates went beyond the APIs' limits: by no more than what was in flight when the limit was met."""
    for name, most in ALIVE.items():
        tasks = [task for task in ledger.tasks if task.provider == name]
        tries = [create for create in ledger.creates if create.provider == name]
        worst = max(sum(t.created <= c.at and (t.finished is None or t.finished > c.at) for t in tasks) for c in tries)
        # All that fly may meet the limit together before the first answer is back.
        refused = [create for create in tries if create.status == 429]
        burst = longest_burst(refused)
        yield Verdict(
            burst <= IN_FLIGHT,
            f"{name}'s limit of {most} alive exceeded by no more than what was in flight",
            f"{worst} alive at most, {len(refused)} creates asked to wait, {burst} of them at once (in flight "
            f"{IN_FLIGHT})",
        )
    name, most, span = WINDOW
    times = [create.at.timestamp() for create in ledger.creates if create.provider == name]
    worst = max(sum(t - span < other <= t for other in times) for t in times)
    yield Verdict(
        worst <= most + IN_FLIGHT,
        f"{name}'s limit of {most} creates in {span:g} s exceeded by no more than what was in flight",
        f"{worst} at most (in flight {IN_FLIGHT})",
    )


def longest_burst(refused: list[Any]) -> int:
    """The most refusals within a second."""
    times = sorted(create.at.timestamp() for create in refused)
    return max((sum(t <= other < t + 1 for other in times) for t in times), default=0)


CELLS = (
    "import sys, json\nsys.path[:0] = json.loads('{paths}')\nsys.argv[1:] = ['{settings}']",
    "import nbhelper as nbh, experiment_script as script\nshape = json.loads(sys.argv[1])",
    "for name, (url, key) in shape['apis'].items():\n    nbh.connect(name, api_key=key, base_url=url)",
    (
        "grid = dict(api=sorted(shape['apis']), prompt=script.PROMPTS[:shape['prompts']], setting=shape['settings'])\n"
        "exp = nbh.Experiment('owls', script.request, grid, shape['repeats'], shape['concurrency'], max_tasks=1000)\n"
        "exp"
    ),
    "w = exp.run()",
    "exp.to_frame().head()",
    "exp.summary(['api'])",
    "exp.gallery('prompt', 'setting')",
    "exp.export('owls.zip')",
    (
        # Not `ru_maxrss`: a process that was begun by a larger one has that one's.
        "import re\nframe, status = exp.to_frame(), open('/proc/self/status').read()\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 1024\n"
        "print(json.dumps({'mb': peak, 'rows': len(frame), 'ids': int(frame.task_id.notna().sum()),"
        " 'files': len(w.files), 'outcomes': {k: int(v) for k, v in frame.outcome.value_counts().items() if v}}))"
    ),
)


def in_a_kernel(shape: Shape) -> Iterator[Verdict]:
    """Run the experiment in one notebook and measure its kernel's peak memory."""
    import nbformat
    from nbclient import NotebookClient

    total = shape.total
    with tempfile.TemporaryDirectory() as space, server(speed=10, seed=6, limits=True) as world:
        settings = json.dumps({**asdict(shape), "apis": apis(world)})
        paths = json.dumps([str(ROOT), str(SCRIPT.parent)])
        sources = [CELLS[0].format(paths=paths, settings=settings), *CELLS[1:]]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        NotebookClient(notebook, timeout=900, resources={"metadata": {"path": space}}).execute()
        report = json.loads(notebook.cells[-1].outputs[0]["text"])
        size = len(nbformat.writes(notebook)) / 1e6
        ledger = world.ledger()
    made, outcomes = len(ledger.tasks), report["outcomes"]
    yield Verdict(
        report["rows"] == report["ids"] == made == sum(outcomes.values()) == total,
        "all accounted for in the frame, no create twice in the ledger",
        f"{report['rows']} rows, {report['ids']} ids, {made} made at the server, outcomes {outcomes}",
    )
    failed = outcomes.get("failed", 0) / total
    yield Verdict(0.05 <= failed <= 0.2, "about 10 % failures", f"{failed:.0%}")
    yield from limits(ledger)
    yield Verdict(
        report["mb"] < MOST_MB,
        f"the kernel's peak memory under {MOST_MB} MB",
        f"{report['mb']:.0f} MB, with {report['files']} files saved; the notebook has {size:.1f} MB",
    )
