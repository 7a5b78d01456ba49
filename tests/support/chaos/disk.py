"""The n-th write to the disk fails, for every n of a run: real system calls of Python and SQLite, failed from within.

A small library is preloaded into a process, which forks once for each n: the child watches two tasks with files to
their end while its n-th write fails, alone or with all after it. A few of them at a time, as each mostly waits. Then
the disk works again, and another process takes up what is left.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from support.mill import DONE, KEY, WORKING, Mill, png, sha256
from support.raw_server import reply
from support.scripts import environment

SOURCE = Path(__file__).with_name("failing_disk.c")
FILES = {"a": (png(70_000, 1), png(200, 2)), "b": (png(5_000, 3),)}
"""The results of the two tasks of each run."""

_CHILD = """
import ctypes, json, os, sys, traceback
from pathlib import Path
import nbhelper as nbh
from nbhelper._network import downloads, http
from nbhelper._store import store
from nbhelper._watching import engine, task_watcher  # before the forks, so that each is quick
from nbhelper._providers import get
from support.mill import provider
import httpx, sqlite3, jmespath

root, top, jobs = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
disk = ctypes.CDLL(None)
nbh.register(provider(root))
downloads._PATIENCE, downloads._LAG, downloads._SPARE = 2.0, 0.5, 0


def run(n, forever):
    folder = top / f"{n}-{forever}"
    folder.mkdir()
    os.chdir(folder)
    disk.disk_arm(str(folder).encode(), n, forever)
    report = {"n": n, "forever": forever}
    try:
        watch = nbh.watch([f"mill:{n}-{forever}-{t}" for t in "ab"], block=False, display=False, timeout=8)
        report["outcomes"] = [str(h.outcome) for h in watch.result(30)]
        report["states"] = [str(h.state) for h in watch.result(30)]
    except nbh.NbhelperError as error:
        report["refused"] = f"{type(error).__name__}: {error}"
    except BaseException:
        report["uncaught"] = traceback.format_exc()
    report["writes"], report["failed"] = disk.disk_seen(), disk.disk_failed()
    return report


def ended(running):
    child, code = os.wait()
    read, n, forever = running.pop(child)
    with os.fdopen(read, "rb") as pipe:
        report = pipe.read()  # a few lines, which the pipe holds
    silent = {"n": n, "forever": forever, "uncaught": f"ended with {code} and no word"}
    print(report.decode() or json.dumps(silent), flush=True)


running = {}
for n, forever in jobs:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what the library logs of a failing disk is not the point here
        report = run(n, forever)
        os.write(write, json.dumps(report).encode()[:60_000])
        sys.exit(0)
    os.close(write)
    running[child] = read, n, forever
    if len(running) == 4:
        ended(running)
while running:
    ended(running)
"""

_AFTER = """
import hashlib, json, os, sqlite3, sys
from pathlib import Path
import nbhelper as nbh
from nbhelper._session import session
from support.mill import provider

nbh.register(provider(sys.argv[1]))
for folder in sorted(Path(sys.argv[2]).iterdir()):
    nbh.set_store(folder / "nbhelper-data")
    refs = [f"mill:{folder.name}-{t}" for t in "ab"]
    report = {"folder": folder.name}
    try:
        nbh.watch(refs, block=False, display=False, timeout=20).result(30)
        again = nbh.resume(refs, block=False, display=False, timeout=20).result(30)
        report["outcomes"] = [str(h.outcome) for h in again]
        report["files"] = [sorted(hashlib.sha256(f.read_bytes()).hexdigest() for f in h.files) for h in again]
        report["seqs"] = [[e.seq for e in session.store().events(h.uid)] == list(range(1, h.seq + 1)) for h in again]
    except Exception as error:
        report["fault"] = f"{type(error).__name__}: {error}"
    with sqlite3.connect(folder / "nbhelper-data" / "history.db") as db:
        report["check"] = db.execute("PRAGMA integrity_check").fetchone()[0]
    db.close()
    print(json.dumps(report), flush=True)
"""


@dataclass
class Figures:
    """Results of all runs.

    Attributes:
        runs: How many.
        writes: The most writes of one run; n goes up to it.
        refused: Runs that ended in one line, that the disk does not hold a store, before anything began.
        ended: Outcomes of the watches whose disk failed.
        faults: What must not happen and did, in words.
    """

    runs: int = 0
    writes: int = 0
    refused: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def compiler() -> str | None:
    """The name of a C compiler on the path, to build `failing_disk.c`; None for none."""
    return shutil.which("cc") or shutil.which("gcc")


def run(every: int = 1, *, always: bool = True) -> Figures:
    """Run two watches for each `every`-th n, with the n-th write failing; then watch again on a good disk.

    Args:
        every: 1 for all of them.
        always: Also with every write after the n-th failing.
    """
    figures = Figures()
    with tempfile.TemporaryDirectory() as where:
        work = Path(where).resolve()
        library = work / "failing_disk.so"
        command = [str(compiler()), "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        mill = Mill()
        try:
            _measure(figures, mill, work, library)
            jobs = [(n, kind) for n in range(1, figures.writes + 1, every) for kind in ((0, 1) if always else (0,))]
            for report in _runs(mill, work, library, jobs):
                _judge(figures, report)
            for report in _python(_AFTER, mill.root, str(work / "runs"), cwd=work):
                _judge_after(figures, report)
        finally:
            mill.close()
    return figures


def _measure(figures: Figures, mill: Mill, work: Path, library: Path) -> None:
    (report,) = _runs(mill, work, library, [(0, 0)])
    figures.writes = report["writes"]
    if report.get("states") != ["succeeded", "succeeded"]:
        figures.faults.append(f"with a good disk: {report}")


def _runs(mill: Mill, work: Path, library: Path, jobs: list[tuple[int, int]]) -> list[dict]:
    for n, kind in jobs:
        for task, pictures in FILES.items():
            links = [mill.file(reply(p)) for p in pictures]
            mill.job(WORKING, {**DONE, "files": links}, ident=f"{n}-{kind}-{task}")
    (work / "runs").mkdir(exist_ok=True)
    return _python(_CHILD, mill.root, str(work / "runs"), json.dumps(jobs), cwd=work, LD_PRELOAD=str(library))


def _python(code: str, *arguments: str, cwd: Path, **more: str) -> list[dict]:
    variables = environment(MILL_API_KEY=KEY, **more)
    del variables["PYTHONWARNINGS"]  # a fork beside a library's threads is warned of
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    return [*reports, *([{"uncaught": done.stderr[-2000:]}] if done.returncode else [])]


def _judge(figures: Figures, report: dict) -> None:
    if report.get("failed") == 0:
        return  # this run came to its end with fewer writes; how many go into one transaction is chance
    figures.runs += 1
    if "uncaught" in report:
        figures.faults.append(str(report))
    elif "refused" in report:
        figures.refused += 1
        if not report["refused"].startswith("StoreError: ") and not report["refused"].startswith("BadInput: "):
            figures.faults.append(str(report))
    else:
        figures.ended.update(report["outcomes"])
        if not {*report["outcomes"]} <= {"succeeded", "stopped"}:
            figures.faults.append(str(report))


def _judge_after(figures: Figures, report: dict) -> None:
    expected = {
        "outcomes": ["succeeded", "succeeded"],
        "files": [sorted(map(sha256, pictures)) for pictures in FILES.values()],
        "seqs": [True, True],
        "check": "ok",
    }
    if {k: report.get(k) for k in expected} != expected:
        figures.faults.append(f"afterwards: {report}")
