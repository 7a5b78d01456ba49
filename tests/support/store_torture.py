"""What a store survives: a script that runs in a process of its own and prints a line of JSON for each fact.

Writers are killed by `kill -9`: a thousand at random moments, then one within each change to the disk while a store is
made, written to, salvaged, renamed or moved aside. A store of 20 kB is cut off at every byte, and has a bit turned over
in every byte, alone and beside the journal of a writer that died. `python -m support.store_torture --quick` takes a few
of each; `... salvage flips` only what is named so.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from support import store_damage, store_kills
from support.store_damage import Damage
from support.store_kills import Child, Kills, Scene

FAST = Path("/dev/shm")
"""Where damaged files lie: in memory, since their tests need no disk's sync."""
RANDOM, EACH = "killed", "killed in each change:"
Figures = Kills | Damage


@dataclass(frozen=True)
class Run:
    """How many kills, places and rows.

    Attributes:
        kills: Kills at random moments, all kinds together.
        every: Kills are within each `every`-th change to the disk.
        step: Damage is at each `step`-th byte.
        rows: Rows that each of eight processes writes.
        jobs: Processes that damage files at once.
        seed: The seed of all that is random.
    """

    kills: int = 1000
    every: int = 1
    step: int = 1
    rows: int = 1000
    jobs: int = 2
    seed: int = 0


QUICK = Run(kills=20, every=41, step=757, rows=9, jobs=1)


# Kills


def scenes(base: Path) -> dict[str, Scene]:
    """Folders to be opened, each in the state that a kind of opening begins with."""
    folder = base / "scene" / "nbhelper-data"
    small = store_damage.small(base / "small")
    other = base / "other.db"
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE bookmarks (url)")
        db.execute("INSERT INTO bookmarks VALUES ('https://other.example')")
        db.commit()
    old, foreign = renumbered(small), other.read_bytes()
    broken = bytes(100) + small.data[100:]
    torn = {"history.db": small.torn, "history.db-journal": small.journal}
    set_aside = r"history\.db\.\w+\.aside"
    return {
        "a new store": Scene(folder, {}),
        "a store": Scene(folder, {"history.db": small.data}),
        "a torn store": Scene(folder, torn),
        "another version": Scene(folder, {"history.db": old}, "another version", (r"history-1000\.db", old.__eq__)),
        "salvage": Scene(folder, {"history.db": broken}, "is damaged", (set_aside, broken.__eq__)),
        "another program's": Scene(folder, {"history.db": foreign}, "another program", (set_aside, foreign.__eq__)),
    }


def renumbered(small: store_damage.SmallStore) -> bytes:
    """The small store with the number of other tables."""
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        Path(file.name).write_bytes(small.data)
        with closing(sqlite3.connect(file.name)) as db:
            db.execute("PRAGMA user_version = 1000")
        return Path(file.name).read_bytes()


def killed(base: Path, run: Run) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """By name: each kind of kill, as a call that gives its figures."""
    chance = random.Random(run.seed)
    writing = {
        "amid writing": (store_kills.amid_writing, 0.4),
        "at a commit": (store_kills.at_a_commit, 0.2),
        "beside others": (store_kills.beside_others, 0.2),
    }
    for name, (kind, share) in writing.items():
        yield f"{RANDOM} {name}", partial(kind, base / name, round(share * run.kills), chance)
    opened = scenes(base)
    for name in ("a new store", "a store", "another version", "salvage"):
        yield f"{RANDOM} opening: {name}", partial(store_kills.at_random, opened[name], round(0.05 * run.kills), chance)
    for name, scene in opened.items():
        yield f"{EACH} {name}", partial(store_kills.at_every_change, scene, run.every)


# Damage


def hurt(base: Path, run: Run) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """By name: each kind of damage, as a call that gives its figures."""
    small = store_damage.small(base / "sizes")

    def bits(size: int) -> list[tuple[int, int]]:
        return [(place, (place * 5 + run.seed) % 8) for place in range(0, size, run.step)]

    kinds: dict[str, tuple[Any, Sequence[Any]]] = {
        # A file of one byte is an empty one for SQLite, and a new history for us.
        "cuts": (store_damage.cuts, range(2, len(small.data), run.step)),
        "flips": (store_damage.flips, bits(len(small.data))),
        "torn: cuts": (store_damage.torn_cuts, range(2, len(small.torn) + 1, run.step)),
        "torn: cuts of the journal": (store_damage.journal_cuts, range(0, len(small.journal) + 1, run.step)),
        "torn: flips in the journal": (store_damage.journal_flips, bits(len(small.journal))),
    }
    for name, (act, places) in kinds.items():
        yield name, partial(shared, act, base / name.replace(" ", "-"), places, run.jobs)


def shared(
    act: Callable[[store_damage.SmallStore, Sequence[Any]], Damage], base: Path, places: Any, jobs: int
) -> Figures:
    """Share the places among `jobs` processes, each with a small store of its own; the sum of their figures."""

    def work(number: int, say: store_kills.Say) -> None:
        say(json.dumps(asdict(act(store_damage.small(base / str(number)), places[number::jobs]))))

    children = [Child(partial(work, number)) for number in range(jobs)]
    tallies = [json.loads(child.end()[0][-1]) for child in children]
    sums: dict[str, Any] = {}
    for field in fields(Damage):
        first, *rest = (tally[field.name] for tally in tallies)
        sums[field.name] = sum(rest, first)
    return Damage(**sums)


# Output


def words(tally: Figures) -> str:
    """The figures of one fact, in words."""
    match tally:
        case Kills():
            more = f", {tally.torn:,} left a transaction unfinished"
            return f"{tally.rows:,} acknowledged rows, {tally.lost:,} lost, {tally.corrupt:,} corrupt" + more
        case _:
            more = f", {tally.salvaged:,} salvaged"
            more += f", {len(tally.behind):,} where SQLite reads more" if tally.set_aside else ""
            more += f", {tally.present / (tally.rows or 1):.1%} of the rows read"
            return f"{len(tally.unnoticed):,} unnoticed, {tally.set_aside:,} set aside{more}"


def main() -> None:
    """Kill, hurt, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="parts of the facts' names")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    store_kills.preload()
    run = QUICK if chosen.quick else Run()
    with (
        tempfile.TemporaryDirectory() as slow,
        tempfile.TemporaryDirectory(dir=FAST if FAST.is_dir() else None) as fast,
    ):
        together = (
            "8 processes write at once",
            partial(store_kills.together, Path(slow).resolve() / "together", 8, run.rows),
        )
        for name, act in (together, *killed(Path(slow).resolve(), run), *hurt(Path(fast).resolve(), run)):
            if chosen.only and not any(part in name for part in chosen.only):
                continue
            tally = act()
            details = tally.wrong if isinstance(tally, Kills) else [*tally.unnoticed, *tally.behind]
            fact = {
                "fact": name, "goal": tally.TARGET, "measured": f"{tally.done:,} done; {words(tally)}",
                "met": tally.met, "details": [str(one) for one in details[:20]],
            }  # fmt: skip
            print(json.dumps(fact), flush=True)


if __name__ == "__main__":
    main()
