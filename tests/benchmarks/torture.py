"""Everything that is known to go wrong, made to go wrong, and what came of it: `python tests/benchmarks/torture.py`.

Takes about half an hour on two cores; `--short` a few minutes. Named parts run alone: `… torture.py disk replies`.
Prints one line for each promise, and ends with code 1 when one is not kept.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "providers")]
os.environ["MILL_API_KEY"] = "mill-canary-7f3a9c5e1b"

from support.chaos import connections, disk, memory, outage, replies, schedules  # noqa: E402

Line = tuple[bool, str]
"""Whether a promise is kept, and the figures."""


def rows(*, short: bool) -> Iterator[Line]:
    """The rows of tests/faults, and with them the key that is said back and the texts that would be markup."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "tests/faults"]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    told = re.search(r"^(\d+) of (\d+) rows run, (\d+) failed.*$", done.stdout, re.MULTILINE)
    ends = done.stdout.strip().splitlines()[-1:]
    yield done.returncode == 0, f"fault rows: {told[0] if told else 'no table'} ({''.join(ends)})"
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    for what, part in (("key said back in every field", "canary"), ("texts that would be markup", "markup")):
        bad = [name for name in failed if part in name]
        yield not bad, f"{what}: {len(bad)} tests failed"


def disks(*, short: bool) -> Iterator[Line]:
    """The n-th write fails."""
    if disk.compiler() is None:
        yield False, "failing disk: needs a C compiler"
        return
    f = disk.run(40 if short else 1)
    yield (
        not f.faults,
        f"the n-th write to the disk fails, every n up to {f.writes}, once and for ever: {f.runs} runs, {f.refused} "
        f"told at once, watches ended {dict(f.ended)}; faults, and results not there afterwards: {len(f.faults)}",
    )
    yield from ((False, fault[:400]) for fault in f.faults[:10])


def broken(*, short: bool) -> Iterator[Line]:
    """The n-th request is answered by a broken connection."""
    f = connections.run(3 if short else 1)
    yield (
        not f.faults,
        f"the n-th of {f.requests} requests breaks in {len(connections.WAYS)} ways: {f.runs} runs, "
        f"creates {dict(f.created)}, none sent twice; faults: {len(f.faults)}",
    )
    yield from ((False, fault[:400]) for fault in f.faults[:10])


def runs(*, short: bool) -> Iterator[Line]:
    """Random schedules of faults."""
    f = schedules.run(400 if short else 10_000)
    bad = f.lost_results + f.false_failures + len(f.uncaught) + len(f.wrong)
    yield (
        not bad and f.most <= 2 and f.closest >= 0.1,
        f"{f.runs:,} tasks under random schedules (seed 0): {dict(f.outcomes)}; lost results {f.lost_results}, false "
        f"failures {f.false_failures}, uncaught {len(f.uncaught)}, other outcomes than scheduled {len(f.wrong)}; "
        f"{f.looks:,} looks, at most {f.most} beyond a schedule, closest {f.closest:.3f} s at a floor of 0.1 s",
    )
    yield from ((False, fault[:400]) for fault in (*f.uncaught, *f.wrong)[:10])


def fuzz(*, short: bool) -> Iterator[Line]:
    """Replies that nobody foresaw."""
    f = replies.run(3_000 if short else 90_000, thought_of=100 if short else 1_500)
    yield (
        not f.uncaught and not f.invented,
        f"{f.replies:,} replies over all readers: uncaught {len(f.uncaught)}, ends that nothing named "
        f"{len(f.invented)}; "
        f"read as {dict(f.kinds.most_common())}",
    )
    yield from ((False, fault[:400]) for fault in (*f.uncaught, *f.invented)[:10])


def away(*, short: bool) -> Iterator[Line]:
    """Ten minutes without the API."""
    minute = 0.6 if short else 3.0
    f = outage.run(50 if short else 200, minute=minute)
    yield (
        not f.faults and f.later <= 1.25 and f.outcomes == {"succeeded"},
        f"away for ten minutes (of {minute:g} s) under {f.tasks} tasks: {f.first} requests in the first two, then "
        f"{f.later:g} a minute; all over {f.back:.1f} minutes after its return, outcomes {sorted(f.outcomes)}",
    )


def hostile(*, short: bool) -> Iterator[Line]:
    """Memory."""
    f = memory.run(("httpx",) if short else ("httpx", "httpx2"))
    yield not f.faults, f"hostile input: at most {f.most:.0f} MB more in the watching process (promised: under 64)"
    for name, taken in f.megabytes.items():
        each = ", ".join(f"{client} {value:.1f} MB" for client, value in taken.items())
        yield max(taken.values()) < memory.MOST, f"  {name}: {each}; {f.ended[name]}"


PARTS: dict[str, Callable[..., Iterator[Line]]] = {
    "rows": rows, "disk": disks, "connections": broken, "runs": runs, "replies": fuzz, "outage": away,
    "memory": hostile,
}  # fmt: skip


def main() -> int:
    """Run the parts, print their lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--short", action="store_true", help="a few of everything")
    asked = parser.parse_args()
    kept = True
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        for name in asked.parts or PARTS:
            begun = time.monotonic()
            for ok, line in PARTS[name](short=asked.short):
                kept = kept and ok
                print("ok  " if ok else "BAD ", line, flush=True)
            print(f"     ({name}: {time.monotonic() - begun:.0f} s)", flush=True)
        os.chdir("/")
    return not kept


if __name__ == "__main__":
    sys.exit(main())
