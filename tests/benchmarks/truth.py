"""What the tables say against what happened: `python tests/benchmarks/truth.py [500] [--json FILE]`.

So many tasks over all APIs of the emulator, a third each with the servers' clock behind, right and ahead; some fail,
some looks fail, some watches are stopped, some tasks are met by their id alone. Prints the share of rows whose
durations and finishes are within their own `uncertainty_s`, and every cell that is wrong.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.truth import Verdict, batch, judge
from targets import at_least, judged, none

SKEWS = (-37.25, 0.0, 86.4)


def main():
    """Measure and print; 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", type=int, nargs="?", default=500)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    file = chosen.json and chosen.json.absolute()
    verdict, begun = Verdict(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed, skew in enumerate(SKEWS):
            share = chosen.tasks // len(SKEWS) + (seed < chosen.tasks % len(SKEWS))
            frame, ledger = batch(share, speed=8, skew=skew, seed=seed, patience=20)
            judge(frame, ledger, verdict)
        os.chdir("/")
    print(f"{verdict.rows} tasks in {time.monotonic() - begun:.0f} s, clocks off by {SKEWS} s")
    print(*verdict.lines(), sep="\n")
    print(*verdict.wrong[:20], sep="\n")
    targets = [
        at_least("total_s within uncertainty_s, server times", 100 * verdict.share(*SERVER), 99, " %"),
        at_least("finished_at within uncertainty_s, looks only", 100 * verdict.share(LOOKS), 95, " %"),
        none("cells that differ from the ledger: credits, outcomes, a zero for what is unknown", len(verdict.wrong)),
    ]
    within = {kind: [sum(found), len(found)] for kind, found in verdict.within.items()}
    return judged(targets, {"tasks": verdict.rows, "within": within, "wrong": verdict.wrong}, file)


SERVER, LOOKS = ("total_s, server", "total_s, mixed"), "finished_at, looks only"

if __name__ == "__main__":
    sys.exit(main())
