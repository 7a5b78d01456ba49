"""Everything that is known to go wrong, made to go wrong: `python tests/benchmarks/faults.py [PART ...] [--quick]`.

* `rows`: every fault of tests/faults with its promises and threats.
* `disk`, `connections`: the n-th write and the n-th request fail, for every n.
* `runs`: tasks under random schedules of faults. `replies`: mutated replies.
* `outage`: ten minutes without network; with `--quick` by a quicker clock.
* `memory`: hostile input.
* `store`: writers of a store killed, its file cut off and with bits turned over.
* `kernels`: a notebook's kernel killed at many points of a run, and resumed.
* `experiment`: an experiment killed twice and continued; the same in one kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _lib import ROOT
from _lib.frame import Target, at_least, none, run
from support.chaos import connections, disk, experiment, kernels, memory, outage, replies, schedules

os.environ["MILL_API_KEY"] = "mill-canary-7f3a9c5e1b"


def rows(*, quick: bool) -> Iterator[Target]:
    """The rows of tests/faults with the promises of each, and the threats: the key in replies, texts as markup."""
    with tempfile.TemporaryDirectory() as where:
        target = Path(where, "table.json")
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
        command += [
            "tests/faults",
            f"--faults-table={target}",
            *(["-k", "test_a or test_c or threat"] if quick else []),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        table: dict[str, Any] = json.loads(target.read_text("utf-8"))
    failed = re.findall(r"^(?:FAILED|ERROR) (.+)", done.stdout, re.MULTILINE)
    run, reasons = table["run"] - len(table["skipped"]), table["not run"]
    least = 46 if quick else table["rows"] - len(reasons)
    not_run = f"; not here: {', '.join(reasons)}, see tests/faults/README.md"
    yield Target("faults run", f"all {table['rows']}", f"{run}{not_run if reasons else ''}", run >= least)
    yield Target("faults and threats failed", "0", f"{len(failed)}", done.returncode == 0 and not failed, failed)
    for name in ("lost results", "false failures", "uncaught", "without an outcome"):
        yield Target(name, "0", f"{table[name]} in {table['watches']} watches", table[name] == 0 < table["watches"])
    beyond = table["beyond"]
    kept = f"{table['bounded'] - len(beyond)} of {table['bounded']} rows with a bound"
    yield Target("requests within the stated bound", "in every row", kept, not beyond and table["bounded"] > 0, beyond)
    threats = {r["test"]: r for r in table["table"] if r["row"] == "T"}
    for name, target_, tests in (
        ("key that is easy to recognise, after a run of everything", "0 hits", "test_threat_canary"),
        ("texts that try to be markup, in a browser", "0 new elements", "test_threat_markup_in_a_browser"),
    ):
        ran = [record for test, record in threats.items() if test.startswith(tests)]
        measured = "; ".join(r["measured"].replace(" of at most 0", "") for r in ran)
        kept = bool(ran) and all(r["result"].startswith("passed") for r in ran)
        yield Target(name, target_, measured if kept else str(ran), kept)


def disks(*, quick: bool) -> Iterator[Target]:
    """The n-th write fails."""
    if disk.compiler() is None:
        yield Target("the n-th write fails", "no result lost", "needs a C compiler", met=False)
        return
    f = disk.run(40 if quick else 1)
    yield Target(
        f"the n-th write to the disk fails, {'some' if quick else 'every'} n to {f.writes}, alone and with all after",
        "no result lost, no false failure",
        f"{f.runs} runs, {f.refused} told at once, watches {_counts(f.ended)}; misses {len(f.faults)}",
        not f.faults,
        f.faults,
    )


def broken(*, quick: bool) -> Iterator[Target]:
    """The n-th connection breaks as it is made, and the n-th request is answered by a broken one."""
    f = connections.run(3 if quick else 1)
    yield Target(
        f"the n-th of {f.connections} connections breaks, in {len(connections.GREETINGS)} ways, and the n-th of "
        f"{f.requests} requests, in {len(connections.WAYS)}",
        "ends well, created once",
        f"{f.runs} runs, creates {_counts(f.created)}; misses {len(f.faults)}",
        not f.faults,
        f.faults,
    )


def runs(*, quick: bool) -> Iterator[Target]:
    """Random schedules of faults, half of them with each HTTP client."""
    f = schedules.with_each(400 if quick else 10_000)
    name = f"{f.runs:,} tasks under random faults"
    yield Target(name, "end as scheduled", f"{_counts(f.outcomes)}; otherwise {len(f.wrong)}", not f.wrong, f.wrong)
    for what, n in (
        ("lost results", f.lost_results), ("false failures", f.false_failures), ("uncaught", len(f.uncaught)),
        ("without an outcome", f.without_outcome),
    ):  # fmt: skip
        yield Target(f"{name}: {what}", "0", str(n), n == 0, f.uncaught if what == "uncaught" else ())
    yield Target(
        f"{name}: looks",
        "at most 2 beyond a schedule, none below the floor of 0.1 s",
        f"{f.looks:,}, at most {f.most} beyond, closest {f.closest:.3f} s",
        f.most <= 2 and f.closest >= 0.1,
    )


def fuzz(*, quick: bool) -> Iterator[Target]:
    """Mutated and generated replies."""
    f = replies.run(3_000 if quick else 90_000, generated=100 if quick else 1_500)
    name = f"{f.replies:,} fuzzed replies"
    yield Target(f"{name}: uncaught", "0", f"{len(f.uncaught)}; {_counts(f.kinds)}", not f.uncaught, f.uncaught)
    yield Target(
        f"{name}: final states that nothing in them names", "0", f"{len(f.invented)}", not f.invented, f.invented
    )


def away(*, quick: bool) -> Iterator[Target]:
    """Ten minutes without network: at most one probe a minute after the first minutes; all go on by themselves."""
    if quick:
        f = outage.run(50, minute=0.6)
        yield Target(
            f"no network for ten minutes of 0.6 s under {f.tasks} tasks",
            "at most one probe a minute after the first two; all go on",
            f"{f.first} requests in the first two, then {f.later:g} a minute; {f.pending} pending when it returned, "
            f"all over {f.back:.1f} minutes later, outcomes {', '.join(sorted(f.outcomes))}",
            not f.faults and f.pending == f.tasks and 0 < f.later <= 1.25 and f.outcomes == {"succeeded"},
            f.faults,
        )
        return
    minutes, tasks = 10, 200
    f = outage.in_real_time(minutes, tasks)
    fact = f"{tasks} tasks, {minutes} minutes without network"
    for on in ("look", "file"):
        gap = f[f"least_gap_of_{on}s"]
        print(f"asked for {on}s by minute:", *f[f"{on}s_by_minute"])
        yield at_least(f"{fact}: between two {on}s after the first {outage.FIRST} minutes", gap, 59, " s")
    whole = f["saved"] == f["outcomes"].get("succeeded", 0) == tasks
    words = f"{f['outcomes']}, {f['saved']} saved, the last {f['seconds_to_the_last_end']:.0f} s after it"
    yield Target(f"{fact}: go on by themselves", "all succeed and are saved", words, whole)
    yield Target(f"{fact}: creates", "none", str(f["creates"]), not f["creates"])
    print(f"{f['cores']:.2%} of a core during the outage")


def hostile(*, quick: bool) -> Iterator[Target]:
    """Peak memory under hostile input."""
    f = memory.run(("httpx",) if quick else ("httpx", "httpx2"))
    for name, taken in f.megabytes.items():
        each = ", ".join(f"{client} {value:.1f} MB" for client, value in taken.items())
        misses = [fault for fault in f.faults if fault.startswith(name)]
        yield Target(f"hostile input: {name}", "under 64 MB", f"{each}; {f.ended[name]}", not misses, misses)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def store(*, quick: bool) -> Iterator[Target]:
    """Run `support.store_torture` in a process of its own, which counts changes to the disk."""
    command = [sys.executable, "-m", "support.store_torture", *(["--quick"] if quick else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(ROOT)))}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Target(**json.loads(line))
    yield Target("the store's process", "ends well", f"exit code {process.returncode}", process.returncode == 0)


def killed_kernels(*, quick: bool) -> Iterator[Target]:
    """A kernel killed at evenly spaced moments of the time that an undisturbed run takes, and resumed."""
    whole = kernels.run()
    print(f"undisturbed: {whole.seconds:.1f} s", flush=True)
    yield none("faults of an undisturbed run", whole.faults)
    points, faults = 2 if quick else 20, []
    for number in range(points):
        at = (number + 0.5) / points * whole.seconds
        figures = kernels.run(at)
        faults += [f"killed at {at:.1f} s: {fault}" for fault in figures.faults]
        words = f"{figures.resumed} of {len(kernels.CREATES)} watched on, {figures.parts} downloads gone on with"
        print(f"killed at {at:4.1f} s: {words}", flush=True)
    yield none(f"kernels killed at {points} points: faults of what was resumed", faults)


def killed_experiments(*, quick: bool) -> Iterator[Target]:
    """An experiment of 240 tasks, or of 48, killed twice, and another one in one kernel."""
    shape = experiment.SMALL if quick else experiment.Shape()
    for name, part in (("killed twice", experiment.killed), ("in one kernel", experiment.in_a_kernel)):
        for verdict in part(shape):
            yield Target(f"{shape.total} tasks, {name}", verdict.promise, verdict.measured, verdict.kept)


PARTS = {
    "rows": rows, "disk": disks, "connections": broken, "runs": runs, "replies": fuzz, "outage": away,
    "memory": hostile, "store": store, "kernels": killed_kernels, "experiment": killed_experiments,
}  # fmt: skip

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
        sys.exit(run(__doc__, PARTS))
