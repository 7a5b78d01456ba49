"""The network is gone for ten minutes while 200 tasks are watched: what is asked meanwhile, and who comes back.

    python tests/benchmarks/outage.py [minutes] [tasks]

In real time, on the emulator: every connection is torn off unread. Prints the looks by minute and the
seconds until the last task has ended by itself after the network came back.
"""

import itertools
import os
import resource
import sys
import tempfile
import time
from collections import Counter

import nbhelper as nbh
from nbhelper.testing import Fault


def main(minutes: float, n_tasks: int) -> None:
    """Run it once."""
    os.chdir(tempfile.mkdtemp(prefix="nbhelper-outage-"))
    body = {"model": "google/nano-banana", "input": {"prompt": "owl emu:real-seconds=90"}}
    with nbh.Emulator(speed=100, faults=()) as emulator:
        handle = nbh.watch([nbh.submit("kie", body) for _ in range(n_tasks)], display=False, block=False)
        while sum(len(task.polls) for task in emulator.ledger().tasks) < n_tasks:
            time.sleep(0.1)
        before = len(emulator.ledger().creates)
        gone, cpu = time.monotonic(), time.process_time()
        emulator.fail(Fault("reset", on="any"))
        time.sleep(minutes * 60)
        cpu = time.process_time() - cpu
        struck = [fault for fault in emulator.ledger().faults if fault.on == "look"]
        files = len(emulator.ledger().faults) - len(struck)
        pending = sum(history.outcome is None for history in handle)
        emulator.fail()
        back = time.monotonic()
        histories = handle.result(600)
        ended, ledger = time.monotonic(), emulator.ledger()

    print(f"{n_tasks} tasks, {back - gone:.0f} s without network, nbhelper {nbh.__version__}, {os.cpu_count()} cores")
    by_minute = Counter(int((fault.at - struck[0].at).total_seconds() // 60) for fault in struck)
    print("looks by minute of the outage:", *(by_minute[minute] for minute in range(max(by_minute) + 1)), end="")
    print(f"; tries at files {files}")
    later = [fault.at for fault in struck if (fault.at - struck[0].at).total_seconds() > 120]
    closest = min(((b - a).total_seconds() for a, b in itertools.pairwise(later)), default=float("inf"))
    print(f"closest two looks after the first two minutes: {closest:.1f} s apart")
    print(f"pending when the network came back: {pending}; ended {ended - back:.1f} s later, by themselves:")
    print(dict(Counter(str(history.outcome) for history in histories)), f"files {len(handle.files)}")
    print(f"creates {len(ledger.creates)} (before the outage {before}); misses recorded", end=" ")
    print(sum(history.facts.misses for history in histories))
    print(f"CPU {cpu / (back - gone):.2%} of one core during the outage; peak memory", end=" ")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, emulator included")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0, int(sys.argv[2]) if len(sys.argv) > 2 else 200)
