"""What the tables say against what happened: `python tests/benchmarks/truth.py [--quick] [--json FILE]`.

500 tasks over all APIs of the emulator, a third each with the servers' clock behind, right and ahead; some fail, some
looks fail, some watches are stopped, some tasks are met by their id alone. Prints the share of rows whose durations and
finishes are within their own `uncertainty_s`, and every cell that is wrong.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator

from _lib.frame import Target, at_least, none, run
from support.truth import Verdict, batch, judge

SKEWS = (-37.25, 0.0, 86.4)
"""Seconds by which the servers' clock is ahead."""


def tables(*, quick: bool) -> Iterator[Target]:
    """Compare each row of `tasks()` with the ledger."""
    verdict = Verdict()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        tasks, speed, patience = (12, 25, 6) if quick else (167, 8, 20)
        for seed, skew in enumerate(SKEWS):
            frame, ledger = batch(tasks, speed=speed, skew=skew, seed=seed, patience=patience)
            judge(frame, ledger, verdict)
    print(f"{verdict.rows} tasks, clocks off by {SKEWS} s", *verdict.lines(), sep="\n")
    server = 100 * verdict.share("total_s, server", "total_s, mixed")
    yield at_least("total_s within uncertainty_s, server times", server, 99, " %")
    looks = 100 * verdict.share("finished_at, looks only")
    yield at_least("finished_at within uncertainty_s, looks only", looks, 95, " %")
    yield none("cells that differ from the ledger: credits, outcomes, a zero for what is unknown", verdict.wrong)


PARTS = {"tables": tables}

if __name__ == "__main__":
    sys.exit(run(__doc__, PARTS))
