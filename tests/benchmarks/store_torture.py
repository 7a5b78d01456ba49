"""What a store survives: `python tests/benchmarks/store_torture.py [--quick] [--jobs 2] [--json FILE]`.

Writers are killed by `kill -9`: a thousand at random moments, then one within each change to the disk while a store is
made, written to, salvaged, renamed or moved aside. A store of 20 kB is cut off at every byte, and has a
bit turned over in every byte, alone and beside the journal of a writer that died. Prints a row for each fact, and ends
with code 1 when one is not met. In full it took 25 minutes beside other work on one core, of which the hurt files are
20, shared by `--jobs 2`; `--quick` takes some seconds, and is part of the tests. Named facts run alone:
`… store_torture.py salvage flips`.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from support import killing, torture  # noqa: E402
from support.killing import Child, Scene, Tally  # noqa: E402

FAST = Path("/dev/shm")
"""Where files that are hurt lie: no disk's sync is part of what they show."""
RANDOM, EACH = "killed", "killed in each change:"
Found = Tally | torture.Tally


@dataclass(frozen=True)
class Run:
    """How much is done.

    Attributes:
        kills: At random moments, all kinds together.
        every: Only each so-manieth change to the disk.
        step: Only each so-manieth byte.
        rows: That each of eight processes writes.
        jobs: Processes that hurt files at once.
        seed: Of all chance.
    """

    kills: int = 1000
    every: int = 1
    step: int = 1
    rows: int = 1000
    jobs: int = 1
    seed: int = 0


QUICK = Run(kills=20, every=41, step=757, rows=9)


# Killed


def scenes(base: Path) -> dict[str, Scene]:
    """Folders to be opened, each in the state that a kind of opening begins with."""
    folder = base / "scene" / "nbhelper-data"
    small = torture.small(base / "small")
    other = base / "other.db"
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE bookmarks (url)")
        db.execute("INSERT INTO bookmarks VALUES ('https://other.example')")
        db.commit()
    old, foreign = renumbered(small), other.read_bytes()
    broken = bytes(100) + small.data[100:]
    torn = {"history.db": small.torn, "history.db-journal": small.journal}
    aside = r"history\.db\.\w+\.aside"
    return {
        "a new store": Scene(folder, {}),
        "a store": Scene(folder, {"history.db": small.data}),
        "a torn store": Scene(folder, torn),
        "another version": Scene(folder, {"history.db": old}, "another version", (r"history-1000\.db", old.__eq__)),
        "salvage": Scene(folder, {"history.db": broken}, "is damaged", (aside, broken.__eq__)),
        "another program's": Scene(folder, {"history.db": foreign}, "another program", (aside, foreign.__eq__)),
    }


def renumbered(small: torture.Small) -> bytes:
    """The small store with the number of other tables."""
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        Path(file.name).write_bytes(small.data)
        with closing(sqlite3.connect(file.name)) as db:
            db.execute("PRAGMA user_version = 1000")
        return Path(file.name).read_bytes()


def killed(base: Path, run: Run) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Each kind of kill by name."""
    chance = random.Random(run.seed)
    writing = {
        "amid writing": (killing.amid_writing, 0.4),
        "at a commit": (killing.at_a_commit, 0.2),
        "beside others": (killing.beside_others, 0.2),
    }
    for name, (kind, share) in writing.items():
        yield f"{RANDOM} {name}", partial(kind, base / name, round(share * run.kills), chance)
    opened = scenes(base)
    for name in ("a new store", "a store", "another version", "salvage"):
        yield f"{RANDOM} opening: {name}", partial(killing.at_random, opened[name], round(0.05 * run.kills), chance)
    for name, scene in opened.items():
        yield f"{EACH} {name}", partial(killing.at_every_change, scene, run.every)


# Hurt


def hurt(base: Path, run: Run) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Each kind of hurt by name."""
    small = torture.small(base / "sizes")

    def bits(size: int) -> list[tuple[int, int]]:
        return [(place, (place * 5 + run.seed) % 8) for place in range(0, size, run.step)]

    kinds: dict[str, tuple[Any, Sequence[Any]]] = {
        # A file of one byte is an empty one for SQLite, and a new history for us.
        "cuts": (torture.cuts, range(2, len(small.data), run.step)),
        "flips": (torture.flips, bits(len(small.data))),
        "torn: cuts": (torture.torn_cuts, range(2, len(small.torn) + 1, run.step)),
        "torn: cuts of the journal": (torture.journal_cuts, range(0, len(small.journal) + 1, run.step)),
        "torn: flips in the journal": (torture.journal_flips, bits(len(small.journal))),
    }
    for name, (act, places) in kinds.items():
        yield name, partial(shared, act, base / name.replace(" ", "-"), places, run.jobs)


def shared(act: Callable[[torture.Small, Sequence[Any]], torture.Tally], base: Path, places: Any, jobs: int) -> Found:
    """Several processes, each with a small store of its own and its share of the places."""

    def work(number: int, say: killing.Say) -> None:
        say(json.dumps(asdict(act(torture.small(base / str(number)), places[number::jobs]))))

    children = [Child(partial(work, number)) for number in range(jobs)]
    tallies = [json.loads(child.end()[0][-1]) for child in children]
    sums: dict[str, Any] = {}
    for field in fields(torture.Tally):
        first, *rest = (tally[field.name] for tally in tallies)
        sums[field.name] = sum(rest, first)
    return torture.Tally(**sums)


# Told


def words(found: Found) -> str:
    """The figures of one fact."""
    match found:
        case Tally():
            more = f", {found.torn:,} left a transaction unfinished"
            return f"{found.rows:,} acknowledged rows, {found.lost:,} lost, {found.corrupt:,} corrupt" + more
        case _:
            more = f", {len(found.behind):,} where SQLite reads more" if found.aside else ""
            more += f", {found.present / (found.rows or 1):.1%} of the rows read"
            return f"{len(found.unnoticed):,} unnoticed, {found.aside:,} set aside, {found.salvaged:,} salvaged{more}"


def main() -> None:
    """Kill, hurt, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="parts of the facts' names")
    parser.add_argument("--quick", action="store_true")
    for field in fields(Run):
        parser.add_argument(f"--{field.name}", type=int)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    given = {field.name: value for field in fields(Run) if (value := getattr(chosen, field.name)) is not None}
    killing.preload()
    run = Run(**(asdict(QUICK if chosen.quick else Run()) | given))
    with (
        tempfile.TemporaryDirectory() as slow,
        tempfile.TemporaryDirectory(dir=FAST if FAST.is_dir() else None) as fast,
    ):
        sys.exit(not carried_out(Path(slow).resolve(), Path(fast).resolve(), run, chosen.only, chosen.json))


def carried_out(slow: Path, fast: Path, run: Run, only: Sequence[str], target: Path | None) -> bool:
    """Run the facts and print a row for each; whether all of them are met."""
    facts: list[dict[str, Any]] = []
    together = ("8 processes write at once", partial(killing.together, slow / "together", 8, run.rows))
    print(f"{'':<41} {'done':>7} {'s':>5}  ", flush=True)
    for name, act in (together, *killed(slow, run), *hurt(fast, run)):
        if only and not any(part in name for part in only):
            continue
        begun = time.perf_counter()
        found = act()
        took = time.perf_counter() - begun
        fact = {"fact": name, "target": found.TARGET, "found": words(found), "met": found.met, "s": round(took, 1)}
        facts.append(fact | asdict(found))
        if target is not None:  # each time, so that an hour's work is not lost with its last minute
            target.write_text(json.dumps({"run": asdict(run), "facts": facts}, indent=1, default=str) + "\n")
        verdict = "met" if found.met else "NOT MET"
        print(f"{name:<41} {found.done:>7,} {took:>5.0f}  {verdict:<7}  {words(found)}", flush=True)
        bad = found.wrong if isinstance(found, Tally) else [*found.unnoticed, *found.behind]
        for what in bad[:20]:
            print("    ", what, flush=True)
    kills = [fact for fact in facts if fact["fact"].startswith(RANDOM)]
    done = sum(fact["done"] for fact in kills)
    each = sum(fact["done"] for fact in kills if fact["fact"].startswith(EACH))
    lost, corrupt = (sum(fact[name] for fact in kills) for name in ("lost", "corrupt"))
    met = bool(facts) and all(fact["met"] for fact in facts)
    print(
        f"{done - each:,} kills at random moments, {each:,} within a change to the disk: {lost:,} acknowledged rows"
        f" lost, {corrupt:,} corrupt. {'Every fact is met.' if met else 'NOT EVERY FACT IS MET.'}"
    )
    return met


if __name__ == "__main__":
    main()
