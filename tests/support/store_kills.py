"""Child processes that use a store and are killed, and the checks of the store that they leave behind.

A child is a fork of a process that has the library loaded: a thousand of them take minutes, not an hour. With
`chaos/failing_disk.c` preloaded a child is also killed within its n-th change to the disk, for every n there is.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from support.chaos.disk import SOURCE, compiler
from support.store_damage import ORIGIN, Tables, everything

from nbhelper._model.json_text import dumps
from nbhelper._store.store import Store
from nbhelper.types import Mark, MarkWord, Snapshot, State, Task

Say = Callable[[object], None]
KILL = 2
"""What `disk_arm` takes for a process that ends within its n-th change to the disk."""


@dataclass
class Kills:
    """Counts over killed processes, and what was wrong with their stores.

    Attributes:
        done: Kills.
        rows: Observations that the store acknowledged to children, or had before.
        lost: Rows acknowledged, or in the store before, that are not read afterwards.
        corrupt: Stores that SQLite or the library called damaged without a reason.
        torn: Kills that left an unfinished transaction behind.
        wrong: Any other fault, in words.
    """

    TARGET: ClassVar[str] = "no acknowledged row lost, no store corrupt"
    done: int = 0
    rows: int = 0
    lost: int = 0
    corrupt: int = 0
    torn: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether nothing was lost, broken or wrong."""
        return self.done > 0 and not (self.lost or self.corrupt or self.wrong)


class Child:
    """A forked process that uses a store and writes to a pipe what the store has acknowledged."""

    def __init__(self, act: Callable[[Say], None]) -> None:
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a thread that was joined may still be counted
            self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(read)
                act(lambda word: (os.write(write, f"{word}\n".encode()), None)[1])  # whole or not at all
                code = 0
            except BaseException:
                os.write(write, f"! {traceback.format_exc()!r}\n".encode())
            finally:
                os._exit(code)
        os.close(write)
        self._pipe = os.fdopen(read, "rb")
        self._lines: list[str] = []

    def until(self, word: str = "") -> None:
        """Wait until the child has written this line, or any."""
        for line in iter(self._pipe.readline, b""):
            self._lines.append(line.decode().strip())
            if word in ("", self._lines[-1]):
                return

    def kill(self) -> list[str]:
        """Send SIGKILL; all lines that the child has written."""
        os.kill(self.pid, signal.SIGKILL)
        return self.end()[0]

    def end(self) -> tuple[list[str], bool]:
        """Wait for the child's end; all lines that it has written, and whether it was killed."""
        lines = [*self._lines, *(line.decode().strip() for line in self._pipe)]
        self._pipe.close()
        _, status = os.waitpid(self.pid, 0)
        if faults := [line for line in lines if line.startswith("!")]:
            raise AssertionError(faults[0])
        return lines, os.WIFSIGNALED(status)


# Writers


def write(folder: Path, name: str, say: Say, *, small: bool = False, limit: int = 10**9) -> None:
    """Append to three tasks for ever, and say the number of each round that is on the disk, and `commit` before it.

    Args:
        folder: The store's.
        name: What its tasks are called.
        say: Tells the parent.
        small: Whether the cache holds so little that pages go into the file long before the commit.
        limit: Rounds.
    """
    store = Store(folder)
    histories = [store.open_task(Task("kie", f"{name}-{n}"), ORIGIN).result() for n in range(3)]
    connect = store._database.connect

    def connect_traced(**how: bool) -> sqlite3.Connection:
        db = connect(**how)
        db.set_trace_callback(lambda sql: say("commit") if sql == "COMMIT" else None)
        if small:
            db.execute("PRAGMA cache_size = 1")
        return db

    store.close()
    store._database.connect = connect_traced  # type: ignore[method-assign]
    for number in range(limit):
        futures = []
        for n, history in enumerate(histories):
            seen: Any = Mark(word=MarkWord.WATCHING, note=f"{number}")
            if number % 2 == 0:
                raw = {"number": number, "padding": "x" * (number * 37 % 3000 + 6000 * small)}
                seen = Snapshot(state=State.RUNNING, word=f"{number}", reply=dumps(raw))
            histories[n] = longer = history.add(seen, datetime.now(UTC))
            futures.append(store.append(longer.uid, longer.events[-1:], summary=longer))
        for future in futures:
            future.result()
        say(number)


def promised(lines: Iterable[str]) -> int:
    """How many rounds the store acknowledged to a writer."""
    return len([line for line in lines if line.isdecimal()])


def judge_writers(folder: Path, rounds: Mapping[str, int], tally: Kills) -> None:
    """Check that every acknowledged round of these writers is in the store, in order, and at most one more."""
    journal = folder / "history.db-journal"
    with suppress(FileNotFoundError):  # another process may be about to finish it
        tally.torn += journal.stat().st_size > 0
    store = Store(folder)
    histories = {history.task.id: history for history in store.histories()}
    for name, number in rounds.items():
        for n in range(3):
            history = histories.get(f"{name}-{n}")
            seen = [event.seen for event in store.events(history.uid)] if history else []
            numbers = [int(getattr(one, "note", "") or getattr(one, "word", "")) for one in seen]
            tally.rows += number
            tally.lost += len({*range(number)} - {*numbers})
            if numbers != [*range(len(numbers))] or len(numbers) > number + 1:
                tally.wrong.append(f"{name}-{n}: {number} rounds promised, read {numbers}")
    tally.corrupt += bool(store.notes) or not intact(folder)
    store.open_task(Task("kie", "after"), ORIGIN).result()
    store.close()


def intact(folder: Path) -> bool:
    """Whether SQLite finds nothing wrong, each index held against its table."""
    with closing(sqlite3.connect(folder / "history.db", timeout=30)) as db:
        result: str = db.execute("PRAGMA integrity_check").fetchone()[0]
    return result == "ok"


def amid_writing(base: Path, count: int, chance: random.Random) -> Kills:
    """One writer, killed at a random moment after its first round; every second one with hardly any cache."""
    tally = Kills()
    for number in range(count):
        folder = _of_many(base, number)
        child = Child(lambda say: write(folder, f"w{number}", say, small=number % 2 == 1))  # noqa: B023 - forked now
        child.until("0")
        time.sleep(chance.expovariate(1 / 0.03))
        judge_writers(folder, {f"w{number}": promised(child.kill())}, tally)
        tally.done += 1
    return tally


def at_a_commit(base: Path, count: int, chance: random.Random) -> Kills:
    """One writer, killed while it commits: at a random moment of the usual time from `COMMIT` to acknowledgement."""
    tally, usual = Kills(), 0.002
    for number in range(count):
        folder = _of_many(base, number)
        child = Child(lambda say: write(folder, f"w{number}", say, small=number % 2 == 1))  # noqa: B023 - forked now
        for _ in range(chance.randint(1, 4)):
            child.until("commit")
            begun = time.perf_counter()
            child.until()
            usual += (time.perf_counter() - begun - usual) / 8
        child.until("commit")
        time.sleep(chance.uniform(0, usual))
        judge_writers(folder, {f"w{number}": promised(child.kill())}, tally)
        tally.done += 1
    return tally


def beside_others(base: Path, count: int, chance: random.Random, width: int = 3) -> Kills:
    """Several writers on one file: one after the other is killed and judged while the others go on, at last all."""
    tally = Kills()
    base.mkdir(parents=True)
    for begun in range(0, count, 20):
        folder, rounds, names = base / f"store-{begun}", dict[str, int](), map("w{}".format, itertools.count())
        kills = min(20, count - begun)

        def start(name: str, folder: Path = folder) -> Child:
            return Child(lambda say: write(folder, name, say))

        children = {name: start(name) for name in itertools.islice(names, min(width, kills))}
        for left in reversed(range(kills)):
            name = chance.choice([*children])
            child = children.pop(name)
            child.until("0")
            time.sleep(chance.expovariate(1 / 0.02))
            rounds[name] = promised(child.kill())
            judge_writers(folder, {name: rounds[name]} if left else rounds, tally)
            tally.done += 1
            if left > len(children):
                name = next(names)
                children[name] = start(name)
    return tally


def together(base: Path, processes: int, rows: int) -> Kills:
    """Processes that write to one store at once and come to their end."""
    tally, rounds = Kills(), (rows + 2) // 3
    names = [f"p{number}" for number in range(processes)]
    children = [Child(lambda say, name=name: write(base, name, say, limit=rounds)) for name in names]
    promises = {name: promised(child.end()[0]) for name, child in zip(names, children, strict=True)}
    tally.lost += 3 * (processes * rounds - sum(promises.values()))
    judge_writers(base, promises, tally)
    tally.done = processes
    return tally


def _of_many(base: Path, number: int) -> Path:
    """The folder of the number-th kill: a new store every 25, so that reading it stays quick."""
    base.mkdir(parents=True, exist_ok=True)
    return base / f"store-{number // 25}"


# A store that is opened: made, salvaged, renamed, moved aside


@dataclass(frozen=True)
class Scene:
    """A folder before it is opened, and what may be found in it afterwards.

    Attributes:
        folder: The folder; paths of results are part of what is read, so it is the same one each time.
        files: Its content by name.
        notes: A pattern of the notes that the store may give; the default matches none.
        kept: A pattern of names that are kept beside the history, and the bytes they must have; None for none.
    """

    folder: Path
    files: Mapping[str, bytes]
    notes: str = r"(?!)"
    kept: tuple[str, Callable[[bytes], bool]] | None = None

    def set(self) -> None:
        """Write the folder's files as they are before it is opened."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(exist_ok=True)
        if self.files:
            self.folder.mkdir(mode=0o700)
        for name, data in self.files.items():
            (self.folder / name).write_bytes(data)

    def read(self) -> Tables:
        """All rows that are read when no process is killed."""
        self.set()
        store = Store(self.folder)
        tables = everything(store)
        store.close()
        if not tables["rows"]:
            del tables["keys"]  # by a salt that is made anew each time
        return tables


def use(folder: Path, say: Say) -> None:
    """Open a store, add a task and an observation of it; say `opened` and `kept` when each is on the disk."""
    store = Store(folder)
    history = store.open_task(Task("kie", "new"), ORIGIN).result()
    say("opened")
    longer = history.add(Mark(word=MarkWord.WATCHING, note="kept"), datetime.now(UTC))
    store.append(longer.uid, longer.events, summary=longer).result()
    say("kept")


def judge_scene(scene: Scene, lines: list[str], expected: Tables, tally: Kills) -> None:
    """Check that no row is missing, that a file kept aside is whole, and that no other file was left behind."""
    folder = scene.folder
    journal = folder / "history.db-journal"
    with suppress(FileNotFoundError):  # another process may be about to finish it
        tally.torn += journal.stat().st_size > 0
    store = Store(folder)
    store.open_task(Task("kie", "after"), ORIGIN).result()
    tables = everything(store)
    ours = {history.uid: history for history in store.histories() if history.task.id in {"new", "after"}}
    new = [history for history in ours.values() if history.task.id == "new"]
    tally.rows += len(lines) + len(expected["events"])
    tally.lost += "opened" in lines and not new
    tally.lost += "kept" in lines and not (new and new[0].events)
    for name, rows in expected.items():
        rest = {key: row for key, row in tables[name].items() if (key if isinstance(key, str) else key[0]) not in ours}
        tally.lost += len(rows.keys() - rest.keys())
        if rest != rows:
            tally.wrong.append(f"{name} are others than without a kill")
    tally.wrong += [note for note in store.notes if not re.search(scene.notes, note)]
    store.close()
    tally.corrupt += not intact(folder)
    known = {"history.db", ".gitignore", ".lock"}
    beside = {path.name: path for path in folder.iterdir() if path.name not in known}
    if (folder / ".gitignore").read_bytes() != b"*\n":
        tally.wrong.append(".gitignore does not say what it should")
    pattern, whole = scene.kept or ("(?!)", lambda _: True)
    tally.wrong += [f"{name} was left behind" for name in beside if not re.fullmatch(pattern, name)]
    kept = [path.read_bytes() for name, path in beside.items() if re.fullmatch(pattern, name)]
    tally.wrong += ["what was kept is not what was there"] * (not all(map(whole, kept)))
    tally.wrong += ["the old file is gone"] * (scene.kept is not None and not kept)


def at_random(scene: Scene, count: int, chance: random.Random) -> Kills:
    """Kill a child at a random moment between its start and its end."""
    tally, expected, usual = Kills(), scene.read(), 0.03
    for _ in range(count):
        scene.set()
        child = Child(lambda say: use(scene.folder, say))
        begun = time.perf_counter()
        time.sleep(chance.uniform(0, usual))
        lines = child.kill()
        if "kept" in lines:  # the child was done before the kill
            usual += (time.perf_counter() - begun - usual) / 4
        else:
            usual *= 1.03
        judge_scene(scene, lines, expected, tally)
        tally.done += 1
    return tally


def at_every_change(scene: Scene, every: int = 1) -> Kills:
    """Kill a child within its n-th change to the disk, half of what it writes written, for every n up to its end."""
    if not preloaded():
        return Kills(wrong=["needs a C compiler"])
    tally, expected = Kills(), scene.read()
    disk = ctypes.CDLL(None)
    for n in itertools.count(1, every):
        scene.set()

        def act(say: Say, n: int = n) -> None:
            disk.disk_arm(str(scene.folder).encode(), n, KILL)
            use(scene.folder, say)

        lines, killed = Child(act).end()
        judge_scene(scene, lines, expected, tally)
        if not killed:
            return tally
        tally.done += 1
    return tally


def preloaded() -> bool:
    """Whether changes to the disk are counted in this process."""
    return hasattr(ctypes.CDLL(None), "disk_arm")


def preload() -> None:
    """Execute this process anew with changes to the disk counted, where there is a C compiler."""
    if preloaded():
        shutil.rmtree(Path(os.environ.pop("LD_PRELOAD")).parent)  # it is loaded, and no child needs it again
    if preloaded() or compiler() is None:
        return
    library = Path(tempfile.mkdtemp()) / "failing_disk.so"
    command = [str(compiler()), "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "LD_PRELOAD": str(library)})
