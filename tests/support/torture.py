"""Ways to hurt a store, and what must be true afterwards; the tests take a few of each, the script takes all."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbhelper
from nbhelper import StoreError
from nbhelper._store import Store
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Output, Saved, Snapshot, State, TaskError

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORIGIN = "https://api.example"
PAGE = 1024
"""Bytes of a page in the small store: with SQLite's usual 4096 its empty tables alone are 100 kB."""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A script in a Python process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(nbhelper.__file__).parents[1])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


# kill -9

WRITER = """
import os, sys, threading
from datetime import UTC, datetime
from nbhelper._store import Store
from nbhelper._values import Mark, MarkWord, Snapshot, State, Task

folder, name, limit = sys.argv[1:]
store = Store(folder)
histories = [store.open_task(Task("kie", f"{name}-{n}"), "https://api.example").result() for n in range(3)]
for number in range(int(limit)):
    asked = []
    for n, history in enumerate(histories):
        seen = Mark(word=MarkWord.WATCHING, note=f"{number}") if number % 2 else Snapshot(
            state=State.RUNNING, word=f"{number}", raw={"number": number, "padding": "x" * (number * 37 % 3000)})
        histories[n] = longer = history.add(seen, datetime.now(UTC))
        asked.append(store.append(longer.uid, longer.events[-1:], summary=longer))
    for future in asked:
        future.result()
    os.write(1, b"%d\\n" % number)  # whole or not at all, also when killed
"""


@dataclass
class Tally:
    """What was done, and what was found."""

    done: int = 0
    rows: int = 0
    lost: int = 0
    corrupt: int = 0
    torn: int = 0
    unnoticed: list[Any] = field(default_factory=list)
    salvaged: int = 0
    present: int = 0


def kill(folder: Path, name: str, after: float, tally: Tally) -> None:
    """Kill a writer so many seconds after its first acknowledged rows, and compare what it was promised."""
    child = start(WRITER, folder, name, 1_000_000)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        child.wait(after)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
    out, err = child.communicate(timeout=60)
    assert err == "", err
    promised = [0, *map(int, out.split("\n")[:-1])][-1] + 1
    journal = folder / "history.db-journal"
    tally.torn += journal.exists() and journal.stat().st_size > 0
    store = Store(folder)
    found = {h.task.id: h for h in store.histories() if h.task.id.startswith(f"{name}-")}
    for n in range(3):
        events = found[f"{name}-{n}"].events if f"{name}-{n}" in found else ()
        numbers = [int(getattr(e.seen, "note", "") or getattr(e.seen, "word", "")) for e in events]
        tally.rows += promised
        tally.lost += len(set(range(promised)) - set(numbers))
    tally.corrupt += bool(store.notes)
    tally.done += 1
    store.close()


def kills(folder: Path, count: int, seed: int = 0) -> Tally:
    """`kill` at random moments; the store is begun anew now and then, so that reading it stays quick."""
    chance, tally = random.Random(seed), Tally()
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        kill(folder / f"store-{number // 25}", f"k{number}", chance.expovariate(1 / 0.05), tally)
    return tally


# Cuts and flips


def small(folder: Path) -> dict[str, Any]:
    """A closed store of about 30 kB, with something of everything in it; what is read from it."""
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "history.db")) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("VACUUM")
    store = Store(folder, clock=lambda: NOON)
    link = "https://cdn.example/a.png?signature=x"
    ends = [
        Snapshot(state=State.SUCCEEDED, word="ok", credits=4, outputs=(Output(name="a", url=link, kind="image"),)),
        Snapshot(state=State.FAILED, word="fail", error=TaskError("422", "content policy")),
        Miss(kind=MissKind.SERVER, status=502, message="bad gateway", excerpt="x" * 1500),
    ]
    for number, end in enumerate(ends):
        task = nbhelper.Task("kie", f"task-{number}", label=f"owl {number}", params={"prompt": f"an owl {number}"})
        history = store.open_task(task, ORIGIN, experiment="owls", repeat=number).result()
        seen: list[Any] = [
            Mark(word=MarkWord.WATCHING),
            Snapshot(state=State.RUNNING, word="r", raw={"n": number}),
            end,
        ]
        if number == 0:
            seen.append(Saved(name="a", file=str(folder / "results/a.png"), kind="image", n_bytes=5, sha256="ab" * 32))
        for n, one in enumerate(seen):
            history = history.add(one, NOON + timedelta(seconds=n))
        store.append(history.uid, history.events, summary=history).result()
    uid = store.begin_intent(provider="kie", origin=ORIGIN, request_digest="d", at=NOON).result()
    store.intent_sent(uid).result()
    found = everything(store)
    store.close()
    return found


def everything(store: Store) -> dict[str, Any]:
    """What the public reads give."""
    return {
        "rows": {row["uid"]: row for row in store.rows()},
        "histories": {h.uid: (str(h.task), h.task.label, dict(h.task.params), h.events) for h in store.histories()},
        "events": {(row["uid"], row["seq"]): row for row in store.event_rows()},
        "outputs": {(row["uid"], row["name"]): row for row in store.output_rows()},
    }


def damaged(folder: Path, data: bytes, whole: dict[str, Any], what: object, tally: Tally) -> None:
    """Read a store whose file is `data`, and compare: what is read is right, and what is missing is said."""
    for path in folder.iterdir():
        path.unlink()
    (folder / "history.db").write_bytes(data)
    store = Store(folder, clock=lambda: NOON)
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):  # damage that only comes to light in use is met by the next call
            try:
                found = everything(store)
                break
            except StoreError:
                continue
    tally.done += 1
    tally.rows += len(whole["events"])
    tally.present += len(whole["events"].keys() & found.get("events", {}).keys())
    tally.salvaged += any("could be read" in note for note in store.notes)
    wrong = not found or any(
        rows.get(key) != value and not (store.notes and _less(rows.get(key), value))
        for name, rows in whole.items()
        for key, value in found.get(name, {}).items()
    )
    if wrong or (found != whole and not store.notes):
        tally.unnoticed.append(what)
    store.close()


def _less(whole: Any, found: Any) -> bool:
    """Whether a history, or the row made again from one, is the whole one without some of its events or replies."""
    if whole is None:
        return False
    if isinstance(found, tuple):
        events = {event.seq: event for event in whole[3]}
        return found[:3] == whole[:3] and all(_fewer(events.get(event.seq), event) for event in found[3])
    if "polls" in found:  # made again from what is left
        return all(found[name] <= whole[name] for name in ("seq", "polls", "misses", "n_saved"))
    return {**found, "task": None} == {**whole, "task": None} and found["task"] is None  # its task's row is damaged


def _fewer(whole: Any, found: Any) -> bool:
    if whole is not None and getattr(found.seen, "raw", 0) is None:
        return found == replace(whole, seen=replace(whole.seen, raw=None))
    return found == whole


def cuts(folder: Path, data: bytes, whole: dict[str, Any], places: Iterable[int]) -> Tally:
    """The file cut off at each of these places."""
    tally = Tally()
    for place in places:
        damaged(folder, data[:place], whole, ("cut", place), tally)
    return tally


def flips(folder: Path, data: bytes, whole: dict[str, Any], places: Iterable[tuple[int, int]]) -> Tally:
    """One bit turned over, at each of these bytes and bits."""
    tally = Tally()
    for place, bit in places:
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        damaged(folder, bytes(changed), whole, ("flip", place, bit), tally)
    return tally
