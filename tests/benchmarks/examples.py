"""Seconds of each example notebook, run from top to bottom by nbclient: `python tests/benchmarks/examples.py`.

Each runs in an empty folder and a kernel of its own, whose start counts too. One line for each says whether it stays
within what it is meant to take in CI, and where its time goes; the exit code is 1 where one does not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
MOST = 15.0
"""Seconds that a notebook may take."""


class Timed(NotebookClient):
    """A client that notes how long each cell takes."""

    def seconds(self) -> tuple[float, dict[str, float]]:
        """Run it all; the whole time, and that of each cell of code by its first line."""
        self.taken: dict[str, float] = {}
        begun = time.monotonic()
        self.execute()
        return time.monotonic() - begun, self.taken

    async def async_execute_cell(self, cell: nbformat.NotebookNode, *args: object, **options: object) -> object:
        begun = time.monotonic()
        done = await super().async_execute_cell(cell, *args, **options)
        self.taken[cell.source.partition("\n")[0]] = time.monotonic() - begun
        return done


def run(path: Path) -> tuple[float, dict[str, float]]:
    """One notebook, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        return Timed(nbformat.read(path, 4), timeout=120, resources={"metadata": {"path": folder}}).seconds()


def main() -> int:
    """Run them, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="how often each is run; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    chosen = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    found = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        runs = [run(path) for _ in range(chosen.runs)]
        times = sorted(seconds for seconds, _ in runs)
        median = statistics.median(times)
        longest = sorted(runs[-1][1].items(), key=lambda item: -item[1])[:3]
        found[path.stem] = {"seconds": times, "median": median, "cells": dict(longest)}
        print(
            "ok  " if median <= MOST else "MISS",
            f"{path.stem:<22} {median:5.1f} s ({times[0]:.1f} to {times[-1]:.1f}), at most {MOST:g};",
            "; ".join(f"{seconds:.1f} s {line[:40]}" for line, seconds in longest),
            flush=True,
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))
    return not all(figures["median"] <= MOST for figures in found.values())


if __name__ == "__main__":
    sys.exit(main())
