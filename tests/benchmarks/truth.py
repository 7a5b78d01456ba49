"""What the tables say against what happened: `python tests/benchmarks/truth.py [500]`.

So many tasks over all APIs of the emulator, a third each with the servers' clock behind, right and ahead; some fail,
some looks fail, some watches are stopped, some tasks are met by their id alone. Prints the share of rows whose
durations and finishes are within their own `uncertainty_s`, and every cell that is wrong.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.truth import Verdict, batch, judge

SKEWS = (-37.25, 0.0, 86.4)


def main():
    """Measure and print; 1 when a promise is not kept."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    verdict, begun = Verdict(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed, skew in enumerate(SKEWS):
            share = n // len(SKEWS) + (seed < n % len(SKEWS))
            frame, ledger = batch(share, speed=8, skew=skew, seed=seed, patience=20)
            judge(frame, ledger, verdict)
    print(f"{verdict.rows} tasks in {time.monotonic() - begun:.0f} s, clocks off by {SKEWS} s")
    print(*verdict.lines(), sep="\n")
    print(f"{len(verdict.wrong)} cells wrong", *verdict.wrong[:20], sep="\n  ")
    server = verdict.share("total_s, server", "total_s, mixed")
    looks = verdict.share("finished_at, looks only")
    print(f"total_s with server times {100 * server:.1f} % (99), finished_at by looks {100 * looks:.1f} % (95)")
    return 0 if server >= 0.99 and looks >= 0.95 and not verdict.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
