"""Everything that is known to go wrong, made to go wrong, and what came of it: `python tests/benchmarks/torture.py`.

Every fault of tests/faults with its promises and threats; the n-th write and the n-th request fail, for every n; tasks
under random schedules of faults; replies that nobody foresaw; an outage; hostile input. Prints a table of facts with
their targets, and ends with code 1 when one is missed. `--only PART` runs one part, `--quick` a few of everything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "providers")]
os.environ["MILL_API_KEY"] = "mill-canary-7f3a9c5e1b"

from support.chaos import connections, disk, memory, outage, replies, schedules  # noqa: E402


@dataclass(frozen=True)
class Fact:
    """One line of the table.

    Attributes:
        name: What was tried.
        target: What is promised.
        found: What came of it.
        kept: Whether the promise is.
        misses: What was otherwise.
    """

    name: str
    target: str
    found: str
    kept: bool
    misses: Sequence[str] = field(default=())


def rows(*, quick: bool) -> Iterator[Fact]:
    """The rows of tests/faults with the promises of each, and the threats: the key said back, texts as markup."""
    with tempfile.TemporaryDirectory() as where:
        target = Path(where, "table.json")
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
        command += [
            "tests/faults",
            f"--faults-table={target}",
            *(["-k", "test_a or test_c or threat"] if quick else []),
        ]
        done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
        told: dict[str, Any] = json.loads(target.read_text("utf-8"))
    failed = re.findall(r"^(?:FAILED|ERROR) (.+)", done.stdout, re.MULTILINE)
    run, reasons = told["run"] - len(told["skipped"]), told["not run"]
    wanted = 46 if quick else told["rows"] - len(reasons)
    not_run = f"; not here: {', '.join(reasons)}, see tests/faults/README.md"
    yield Fact("faults run", f"all {told['rows']}", f"{run}{not_run if reasons else ''}", run >= wanted)
    yield Fact("faults and threats failed", "0", f"{len(failed)}", done.returncode == 0 and not failed, failed)
    for name in ("lost results", "false failures", "uncaught", "without an outcome"):
        yield Fact(name, "0", f"{told[name]} in {told['watches']} watches", told[name] == 0 < told["watches"])
    beyond = told["beyond"]
    found = f"{told['bounded'] - len(beyond)} of {told['bounded']} rows with a bound"
    yield Fact("requests within the stated bound", "in every row", found, not beyond and told["bounded"] > 0, beyond)
    threats = {r["test"]: r for r in told["table"] if r["row"] == "T"}
    for name, target_, tests in (
        ("key that is easy to recognise, after a run of everything", "0 hits", "test_threat_canary"),
        ("texts that try to be markup, in a browser", "0 new elements", "test_threat_markup_in_a_browser"),
    ):
        ran = [record for test, record in threats.items() if test.startswith(tests)]
        measured = "; ".join(r["measured"].replace(" of at most 0", "") for r in ran)
        kept = bool(ran) and all(r["result"].startswith("passed") for r in ran)
        yield Fact(name, target_, measured if kept else str(ran), kept)


def disks(*, quick: bool) -> Iterator[Fact]:
    """The n-th write fails."""
    if disk.compiler() is None:
        yield Fact("the n-th write fails", "no result lost", "needs a C compiler", kept=False)
        return
    f = disk.run(40 if quick else 1)
    yield Fact(
        f"the n-th write to the disk fails, {'some' if quick else 'every'} n to {f.writes}, alone and with all after",
        "no result lost, no false failure",
        f"{f.runs} runs, {f.refused} told at once, watches {_counts(f.ended)}; misses {len(f.faults)}",
        not f.faults,
        f.faults,
    )


def broken(*, quick: bool) -> Iterator[Fact]:
    """The n-th connection breaks as it is made, and the n-th request is answered by a broken one."""
    f = connections.run(3 if quick else 1)
    yield Fact(
        f"the n-th of {f.connections} connections breaks, in {len(connections.GREETINGS)} ways, and the n-th of "
        f"{f.requests} requests, in {len(connections.WAYS)}",
        "ends well, created once",
        f"{f.runs} runs, creates {_counts(f.created)}; misses {len(f.faults)}",
        not f.faults,
        f.faults,
    )


def runs(*, quick: bool) -> Iterator[Fact]:
    """Random schedules of faults, half of them with each HTTP client."""
    f = schedules.with_each(400 if quick else 10_000)
    name = f"{f.runs:,} tasks under random faults"
    yield Fact(name, "end as scheduled", f"{_counts(f.outcomes)}; otherwise {len(f.wrong)}", not f.wrong, f.wrong)
    for what, n in (
        ("lost results", f.lost_results), ("false failures", f.false_failures), ("uncaught", len(f.uncaught)),
        ("without an outcome", f.without_outcome),
    ):  # fmt: skip
        yield Fact(f"{name}: {what}", "0", str(n), n == 0, f.uncaught if what == "uncaught" else ())
    yield Fact(
        f"{name}: looks",
        "at most 2 beyond a schedule, none below the floor of 0.1 s",
        f"{f.looks:,}, at most {f.most} beyond, closest {f.closest:.3f} s",
        f.most <= 2 and f.closest >= 0.1,
    )


def fuzz(*, quick: bool) -> Iterator[Fact]:
    """Replies that nobody foresaw."""
    f = replies.run(3_000 if quick else 90_000, thought_of=100 if quick else 1_500)
    name = f"{f.replies:,} fuzzed replies"
    yield Fact(f"{name}: uncaught", "0", f"{len(f.uncaught)}; {_counts(f.kinds)}", not f.uncaught, f.uncaught)
    yield Fact(
        f"{name}: final states that nothing in them names", "0", f"{len(f.invented)}", not f.invented, f.invented
    )


def away(*, quick: bool) -> Iterator[Fact]:
    """Ten minutes without the API, by a quicker clock; tests/benchmarks/outage.py takes the real ten minutes."""
    minute = 0.6 if quick else 3.0
    f = outage.run(50 if quick else 200, minute=minute)
    yield Fact(
        f"no network for ten minutes (of {minute:g} s) under {f.tasks} tasks",
        "at most one probe a minute after the first two; all go on",
        f"{f.first} requests in the first two, then {f.later:g} a minute; {f.pending} pending when it returned, all "
        f"over {f.back:.1f} minutes later, outcomes {', '.join(sorted(f.outcomes))}",
        not f.faults and f.pending == f.tasks and 0 < f.later <= 1.25 and f.outcomes == {"succeeded"},
        f.faults,
    )


def hostile(*, quick: bool) -> Iterator[Fact]:
    """Memory."""
    f = memory.run(("httpx",) if quick else ("httpx", "httpx2"))
    for name, taken in f.megabytes.items():
        each = ", ".join(f"{client} {value:.1f} MB" for client, value in taken.items())
        misses = [fault for fault in f.faults if fault.startswith(name)]
        yield Fact(f"hostile input: {name}", "under 64 MB", f"{each}; {f.ended[name]}", not misses, misses)


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(found.items(), key=lambda item: -item[1]))


PARTS: dict[str, Callable[..., Iterator[Fact]]] = {
    "rows": rows, "disk": disks, "connections": broken, "runs": runs, "replies": fuzz, "outage": away,
    "memory": hostile,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; print a table, and write what was found where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be given several times")
    parser.add_argument("--quick", action="store_true", help="a few of everything, in a few minutes")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the facts to FILE, too")
    asked = parser.parse_args(arguments)
    target = asked.json.resolve() if asked.json else None
    clients = ", ".join(f"{name} {version(name)}" for name in ("httpx", "httpx2"))
    where = f"Python {platform.python_version()}, {clients}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}"
    print(f"{where}{', quick' if asked.quick else ''}\n\n| | fact | target | found |\n|---|---|---|---|", flush=True)
    facts: list[Fact] = []
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
        for name in asked.only or PARTS:
            begun = time.monotonic()
            for fact in PARTS[name](quick=asked.quick):
                facts.append(fact)
                mark = "ok" if fact.kept else "MISSED"
                print(f"| {mark} | {fact.name} | {fact.target} | {fact.found} |", flush=True)
            seconds[name] = round(time.monotonic() - begun, 1)
    missed = [fact for fact in facts if not fact.kept]
    print(f"\n{len(facts) - len(missed)} of {len(facts)} facts hold; seconds: {seconds}")
    for fact in missed:
        print(f"\nMISSED {fact.name}", *(miss[:600] for miss in fact.misses[:10]), sep="\n  ")
    if target is not None:
        told = {"where": where, "quick": asked.quick, "seconds": seconds, "facts": [asdict(fact) for fact in facts]}
        target.write_text(f"{json.dumps(told, indent=1)}\n", "utf-8")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
