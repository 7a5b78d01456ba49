"""What a store survives: `python tests/benchmarks/store_torture.py [--kills 1000] [--step 1] [--json FILE]`.

Prints a line for each: writers killed by `kill -9` at random moments; a small store cut off at every byte, and with one
bit turned over in every byte (another bit from byte to byte); eight processes that write at once. With `--step 7` only
every seventh byte is hurt.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from support import torture

from nbhelper._store import Store


def together(folder: Path, processes: int, rows: int) -> dict[str, Any]:
    """Processes that write to one store at once; every row must be there."""
    begun = time.perf_counter()
    children = [torture.start(torture.WRITER, folder, f"p{n}", (rows + 2) // 3) for n in range(processes)]
    errors = [child.communicate()[1] for child in children]
    taken = time.perf_counter() - begun
    store = Store(folder)
    found = sum(len(history.events) for history in store.histories())
    store.close()
    wanted = processes * 3 * ((rows + 2) // 3)
    return {
        "processes": processes,
        "rows": wanted,
        "lost": wanted - found,
        "errors": len([*filter(None, errors)]),
        "s": taken,
    }


def main() -> None:
    """Hurt, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found: dict[str, Any] = {"seed": chosen.seed}
    with tempfile.TemporaryDirectory() as base:
        found["together"] = t = together(Path(base) / "together", 8, chosen.rows)
        print(
            f"8 processes: {t['rows']:,} rows in {t['s']:.0f} s, {t['lost']} lost, {t['errors']} with an error",
            flush=True,
        )

        begun = time.perf_counter()
        tally = torture.kills(Path(base) / "kills", chosen.kills, chosen.seed)
        found["kills"] = asdict(tally)
        print(
            f"{tally.done:,} kills -9 in {time.perf_counter() - begun:.0f} s: {tally.rows:,} acknowledged rows,"
            f" {tally.lost} lost, {tally.corrupt} corrupt; {tally.torn} left an unfinished transaction behind",
            flush=True,
        )

        folder = Path(base) / "small"
        whole = torture.small(folder)
        data = (folder / "history.db").read_bytes()
        # A file of one byte is an empty one for SQLite, and a new history for us.
        cut = torture.cuts(folder, data, whole, range(2, len(data), chosen.step))
        found["cuts"] = asdict(cut)
        print(
            f"{cut.done:,} cuts of {len(data):,} bytes: {len(cut.unnoticed)} unnoticed, {cut.salvaged:,} salvaged",
            flush=True,
        )
        flips = ((place, (place * 5 + chosen.seed) % 8) for place in range(0, len(data), chosen.step))
        turned = torture.flips(folder, data, whole, flips)
        found["flips"] = asdict(turned)
        print(
            f"{turned.done:,} flips: {len(turned.unnoticed)} unnoticed; {turned.present:,} of {turned.rows:,}"
            f" observations still read ({turned.present / turned.rows:.2%})"
        )
        for what in (*cut.unnoticed, *turned.unnoticed):
            print("unnoticed:", what)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    if found["together"]["lost"] or tally.lost or tally.corrupt or cut.unnoticed or turned.unnoticed:
        sys.exit(1)


if __name__ == "__main__":
    main()
