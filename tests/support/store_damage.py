"""A small store that is damaged at every byte, and the check of what is read from it; the tests take a few places."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import nbhelper
from nbhelper import StoreError
from nbhelper._model.json_text import dumps
from nbhelper._store.creates import CreateRow
from nbhelper._store.filter import EVERYTHING
from nbhelper._store.rows import Rows, notes_of
from nbhelper._store.store import Store
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Output, Saved, Snapshot, State, TaskError

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORIGIN = "https://api.example"
PAGE = 512
"""Bytes of a page in the small store: with SQLite's usual 4096 its empty tables alone are 100 kB."""

Tables = dict[str, dict[Any, Any]]
"""The rows that the store's public reads return: by the name of the read, then by the row's key."""


@dataclass
class Damage:
    """Counts over damaged files, and the places of the damage where rows were wrong.

    Attributes:
        done: Damaged files that were read.
        unnoticed: Places where other rows were read than were written, or fewer without a note.
        set_aside: Files that were set aside.
        salvaged: Files from which rows were salvaged.
        behind: Places where SQLite itself reads more rows of the file than were salvaged.
        rows: Observations written.
        present: Those of them that were read.
    """

    TARGET: ClassVar[str] = "none unnoticed, all salvaged that SQLite reads"
    done: int = 0
    unnoticed: list[Any] = field(default_factory=list)
    set_aside: int = 0
    salvaged: int = 0
    behind: list[Any] = field(default_factory=list)
    rows: int = 0
    present: int = 0

    @property
    def met(self) -> bool:
        """Whether no damage was unnoticed and no readable row left behind."""
        return self.done > 0 and not (self.unnoticed or self.behind)


@dataclass(frozen=True)
class SmallStore:
    """A closed store of about 20 kB with rows of every kind, and the same store in the middle of a write.

    Attributes:
        folder: The store's folder.
        data: The bytes of its history.db.
        whole: The rows that are read from it.
        torn: The history.db of a process that died while it wrote: some of the new pages are in it already.
        journal: The rollback journal beside `torn`, which takes those pages back.
        longer: The rows that would be read had that process committed.
    """

    folder: Path
    data: bytes
    whole: Tables
    torn: bytes
    journal: bytes
    longer: Tables


def small(folder: Path) -> SmallStore:
    """Make a small store in a folder, and close it."""
    folder.mkdir(parents=True)
    path = folder / "history.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("VACUUM")
    store = Store(folder, clock=lambda: NOON)
    link = "https://cdn.example/a.png?signature=x"
    image, video = Output(name="a", url=link, kind="image"), Output(name="b", url=link, kind="video")
    ends = [
        Snapshot(state=State.SUCCEEDED, word="ok", credits=4, outputs=(image, video)),
        Snapshot(state=State.FAILED, word="fail", error=TaskError("422", "content policy")),
        Miss(kind=MissKind.SERVER, status=502, message="bad gateway", excerpt="x" * 1500),
    ]
    for number, end in enumerate(ends):
        task = nbhelper.Task("kie", f"task-{number}", label=f"owl {number}", params={"prompt": f"an owl {number}"})
        if number == 0:
            history = _created(store, "c", task)
        else:
            history = store.open_task(task, ORIGIN, experiment="owls", repeat=number).result()
        seen: list[Any] = [
            Mark(word=MarkWord.WATCHING),
            Snapshot(state=State.RUNNING, word="r", reply=dumps({"n": number})),
            end,
        ]
        if number == 0:
            seen.append(Saved(name="a", file=str(folder / "results/a.png"), kind="image", n_bytes=5, sha256="ab" * 32))
        events = []
        for n, one in enumerate(seen):
            history = history.add(one, NOON + timedelta(seconds=n))
            events.append(history.events[-1])
        store.append(history.uid, events, links={"b": link} if number == 0 else {}, summary=history).result()
    store.intent_sent(_begun(store, "d")).result()
    store.set_price("kie", {"per": "credit", "amount": 0.005, "source": "invoice"}).result()
    whole = everything(store)
    store.close()
    data = path.read_bytes()
    torn, journal = _cut_off(path)
    longer = everything(store)
    store.close()
    return SmallStore(folder, data, whole, torn, journal, longer)


def _begun(store: Store, digest: str) -> str:
    uid: str = store.begin_intent(
        provider="kie", origin=ORIGIN, request_digest=digest, experiment="owls", repeat=0, cell=digest, at=NOON
    ).result()
    return uid


def _created(store: Store, digest: str, task: nbhelper.Task) -> nbhelper.History:
    uid = _begun(store, digest)
    store.intent_sent(uid).result()
    return store.intent_created(uid, task, at=NOON).result()


def _cut_off(path: Path) -> tuple[bytes, bytes]:
    """Write more rows by the store's own statements; the bytes of the file and of its journal before the commit."""
    rows = Rows(path, lambda: NOON)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA cache_size = 1")  # so that pages go into the file early
        db.execute("BEGIN IMMEDIATE")
        for number in range(4):
            task = nbhelper.Task("kie", f"task-{number}")
            history = rows.open_task(db, task, ORIGIN, notes_of(task))
            miss = Miss(kind=MissKind.GARBLED, message="no JSON", excerpt="y" * 400 * number)
            history = history.add(miss, NOON + timedelta(minutes=1))
            rows.append(db, history.uid, history.events[-1:], {}, history)
        torn, journal = path.read_bytes(), path.with_name("history.db-journal").read_bytes()
        db.execute("COMMIT")
    return torn, journal


def everything(store: Store) -> Tables:
    """All rows of the public reads: those that tables show, and those that decide what is watched or paid for again."""
    histories = store.histories()
    tasks = [nbhelper.Task("kie", "task-0"), nbhelper.Task("kie", "task-3")]
    submitted = ((digest, store.find_submitted("kie", ORIGIN, digest)) for digest in "cd")
    return {
        "rows": {row["uid"]: row for row in store.rows()},
        "histories": {h.uid: (str(h.task), h.task.label, dict(h.task.params), store.events(h.uid)) for h in histories},
        "events": {(row["uid"], row["seq"]): row for row in store.event_rows()},
        "outputs": {(row["uid"], row.get("name")): row for row in store.output_rows()},
        "links": {h.uid: link for h in histories if (link := store.link(h.uid, "b")) is not None},
        "pending": {row["uid"]: row["pending"] for row in store.pending_rows(EVERYTHING)},
        "creates": {create.uid: create for create in store.creates("owls")},
        "submitted": {digest: history.uid for digest, history in submitted if history is not None},
        "tasks": {task.id: history.uid for task in tasks if (history := store.find(task, ORIGIN)) is not None},
        "prices": {price.get("source"): price for price in store.prices()},
        "keys": {"a key": store.fingerprint("a key")},
    }


# Damaging the store and comparing its rows


def hurt(small: SmallStore, files: Mapping[str, bytes], what: object, tally: Damage, *, exact: bool = True) -> None:
    """Open a store of these files, compare its rows with those written, and count what differs without a note.

    Args:
        small: The store.
        files: What stands in its folder.
        what: The damage, for the report.
        tally: The counts to add to.
        exact: Whether rows that can be read are compared. False where a value may have changed without a note: SQLite
            has no checksums of its own, except of some bytes of a journal.
    """
    for path in small.folder.iterdir():
        path.unlink()
    for name, data in files.items():
        (small.folder / name).write_bytes(data)
    store = Store(small.folder, clock=lambda: NOON)
    tables: Tables = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):  # damage that only comes to light in use is met by the next call
            try:
                tables = everything(store)
                break
            except StoreError:
                continue
    store.close()
    tally.done += 1
    tally.rows += len(small.whole["events"])
    tally.present += len(small.whole["events"].keys() & tables.get("events", {}).keys())
    tally.salvaged += any("could be read and" in note for note in store.notes)
    asides = [*small.folder.glob("*.aside")]
    tally.set_aside += bool(asides)
    faults = [*_faults(small, tables, noted=bool(store.notes), journaled=len(files) > 1)] if exact or not tables else []
    if bool(asides) != any(".aside. " in note for note in store.notes):
        faults.append("set aside without a word")
    if len(files) == 1 and any(path.read_bytes() != files["history.db"] for path in asides):
        faults.append("what was set aside is not what was there")
    if faults:
        tally.unnoticed.append((what, faults[:3], store.notes))
    if asides:
        with closing(sqlite3.connect(small.folder / "history.db")) as db:
            there = set(db.execute("SELECT * FROM events").fetchall())
        if missing := readable(asides[0]) - there:
            tally.behind.append((what, len(missing)))


def _faults(small: SmallStore, tables: Tables, *, noted: bool, journaled: bool) -> Iterable[str]:
    """Describe rows that were read wrongly, or are missing without a note."""
    if not tables:
        yield "nothing can be read"
    for name, rows in tables.items():
        states = [small.whole[name], *([small.longer[name]] if journaled else [])]
        if not noted:
            if rows not in states:
                yield f"{name} are others, and nothing is said"
            continue
        for key, row in rows.items():
            if name == "pending" and key in small.longer["rows"]:
                continue  # a task whose end cannot be read is pending again
            if not any(key in state and (row == state[key] or _less(state[key], row)) for state in states):
                yield f"{name} of {key}: {row}"


def _less(whole: Any, row: Any) -> bool:
    """Whether the row is the whole one less what was damaged: events or replies of a history, a create's answer."""
    match row:
        case tuple():
            events = {event.seq: event for event in whole[3]}
            return row[:3] == whole[:3] and all(_fewer(events.get(event.seq), event) for event in row[3])
        case {"polls": _}:  # made again from what is left
            return all(row[name] <= whole[name] for name in ("polls", "misses", "n_saved"))
        case {"task": None}:  # its task's row is damaged
            return {**row, "task": None} == {**whole, "task": None}
        case CreateRow():
            states = {whole.state, "created", "in_doubt"}
            filled = (name for name in CreateRow.__slots__ if name != "state" and getattr(row, name) not in {None, ""})
            return row.state in states and all(getattr(row, name) == getattr(whole, name) for name in filled)
    return isinstance(row, str)


def _fewer(whole: Any, event: Any) -> bool:
    if whole is not None and getattr(event.seen, "reply", 0) is None:
        return bool(event == replace(whole, seen=replace(whole.seen, reply=None)))
    return bool(event == whole)


def readable(path: Path) -> set[tuple[Any, ...]]:
    """The observations that SQLite itself still reads of a file that was set aside, in its mode for recovery."""
    rows = set()
    with closing(sqlite3.connect(path)) as db:
        try:
            db.execute("PRAGMA writable_schema = ON")  # does not refuse a file for being shorter than it says
            for row in db.execute("SELECT * FROM events NOT INDEXED"):
                if None not in row[:3]:  # bytes of zeros look like rows without values
                    rows.add(row)
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            pass  # so far, and no further
    return rows


def cuts(small: SmallStore, places: Iterable[int]) -> Damage:
    """Cut the file off at each of these places."""
    tally = Damage()
    for place in places:
        hurt(small, {"history.db": small.data[:place]}, ("cut", place), tally)
    return tally


def torn_cuts(small: SmallStore, places: Iterable[int]) -> Damage:
    """Cut off the file of a writer that died, beside its whole journal."""
    tally = Damage()
    for place in places:
        files = {"history.db": small.torn[:place], "history.db-journal": small.journal}
        hurt(small, files, ("cut beside its journal", place), tally, exact=False)
    return tally


def journal_cuts(small: SmallStore, places: Iterable[int]) -> Damage:
    """Cut off the journal of a writer that died before it changed the file."""
    tally = Damage()
    for place in places:
        files = {"history.db": small.data, "history.db-journal": small.journal[:place]}
        hurt(small, files, ("journal cut", place), tally)
    return tally


def flips(small: SmallStore, places: Iterable[tuple[int, int]]) -> Damage:
    """Flip one bit of the file, at each of these bytes and bits."""
    tally = Damage()
    for place, bit in places:
        hurt(small, {"history.db": flipped(small.data, place, bit)}, ("flip", place, bit), tally, exact=False)
    return tally


def journal_flips(small: SmallStore, places: Iterable[tuple[int, int]]) -> Damage:
    """Flip one bit of the journal of a writer that died."""
    tally = Damage()
    for place, bit in places:
        files = {"history.db": small.torn, "history.db-journal": flipped(small.journal, place, bit)}
        hurt(small, files, ("journal flip", place, bit), tally, exact=False)
    return tally


def flipped(data: bytes, place: int, bit: int) -> bytes:
    """The bytes with one bit flipped."""
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)
