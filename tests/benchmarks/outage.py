"""The network is gone for ten minutes under 200 tasks: what is asked meanwhile, and who comes back.

    python tests/benchmarks/outage.py [minutes] [tasks] [--json FILE]

In real time, on the emulator, which serves looks and files from one origin: every connection is torn off unread. Half
of the tasks still run when the network goes, and half have ended, with their files still to be fetched. Prints what was
asked in each minute, the seconds until the last task has ended by itself after the network came back, and a verdict.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbhelper as nbh
from nbhelper.testing import Fault

FIRST = 3
"""Minutes in which probes may be closer."""


def created(n: int, seconds: int) -> list[nbh.Task]:
    """So many tasks that take so long."""
    body = {"model": "google/nano-banana", "input": {"prompt": f"owl emu:real-seconds={seconds}"}}
    return [nbh.submit("kie", body) for _ in range(n)]


def measure(minutes: float, n_tasks: int) -> dict[str, Any]:
    """Run it once."""
    with nbh.Emulator(speed=1, faults=(Fault("reset", on="file"),)) as emulator:
        done = nbh.watch(created(n_tasks // 2, 1), display=False, block=False)
        while any(history.facts.final_at is None for history in done):
            time.sleep(0.1)
        running = nbh.watch(created(n_tasks - n_tasks // 2, 90), display=False, block=False)
        while any(history.facts.polls == 0 for history in running):
            time.sleep(0.1)
        creates, earlier = len(emulator.ledger().creates), len(emulator.ledger().faults)
        gone, cpu = time.monotonic(), time.process_time()
        emulator.fail(Fault("reset", on="any"))
        time.sleep(minutes * 60)
        cpu = time.process_time() - cpu
        struck = emulator.ledger().faults[earlier:]
        emulator.fail()
        back = time.monotonic()
        histories = [*done.result(900), *running.result(900)]
        ended, ledger = time.monotonic(), emulator.ledger()

    at = [(fault.at - struck[0].at).total_seconds() for fault in struck]
    by_minute = Counter(int(seconds // 60) for seconds in at)
    later = [seconds for seconds in at if seconds > FIRST * 60]
    return {
        "tasks": n_tasks,
        "seconds_gone": back - gone,
        "asked_by_minute": [by_minute[minute] for minute in range(max(by_minute) + 1)],
        "looks": sum(fault.on == "look" for fault in struck),
        "files": sum(fault.on == "file" for fault in struck),
        "most_in_a_minute_later": max((by_minute[m] for m in by_minute if m >= FIRST), default=0),
        "least_gap_later": min((b - a for a, b in pairwise(later)), default=None),
        "seconds_to_the_last_end": ended - back,
        "outcomes": dict(Counter(str(history.outcome) for history in histories)),
        "saved": sum(bool(history.files) for history in histories),
        "creates_more": len(ledger.creates) - creates,
        "misses": sum(history.facts.misses for history in histories),
        "cores": cpu / (back - gone),
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def verdict(found: dict[str, Any]) -> bool:
    """At most one probe a minute after the first minutes; all go on by themselves, with their files."""
    calm = found["least_gap_later"] is None or found["least_gap_later"] > 59
    whole = found["saved"] == found["tasks"] == found["outcomes"].get("succeeded", 0)
    return calm and whole and found["creates_more"] == 0


def main() -> None:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("minutes", nargs="?", type=float, default=10.0)
    parser.add_argument("tasks", nargs="?", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    chosen = parser.parse_args()
    target = chosen.json and chosen.json.absolute()
    os.chdir(tempfile.mkdtemp(prefix="nbhelper-outage-"))
    found = measure(chosen.minutes, chosen.tasks)
    found["met"] = verdict(found)
    print(f"{found['tasks']} tasks, {found['seconds_gone']:.0f} s without network, {os.cpu_count()} cores")
    print("asked by minute of the outage:", *found["asked_by_minute"], end="")
    print(f"; looks {found['looks']}, files {found['files']}")
    gap = found["least_gap_later"]
    print(f"closest two after the first {FIRST} minutes:", "none" if gap is None else f"{gap:.1f} s apart")
    print(f"the last ended {found['seconds_to_the_last_end']:.1f} s after the network came back:", found["outcomes"])
    print(f"saved {found['saved']}; creates {found['creates_more']}; misses recorded {found['misses']}")
    print(f"CPU {found['cores']:.2%} of one core during the outage; peak {found['peak_MB']:.0f} MB, emulator included")
    print("at most one probe a minute, and all go on by themselves:", "met" if found["met"] else "MISSED")
    if target:
        target.write_text(json.dumps(found, indent=1))
    sys.exit(not found["met"])


if __name__ == "__main__":
    main()
