"""What the store costs: `python tests/benchmarks/store.py [PART ...] [--quick] [--json FILE]`.

Each figure is a ratio within one run, each side the median of turns taken in alternation:

* `read`: `tasks()` over a store of 100,000 tasks against `pd.read_sql_query` of the same summary rows; its peak memory
  above what was there before against the size of the frame (`memory_usage(deep=True)`); opening that store, from
  `Store(folder)` to the first history read.
* `write`: recording looks against bare sqlite3 writing the same rows at the same commits, into a copy of the file as it
  was before the first of them, with the same settings: the same work for the disk. The ratio is what the store adds.
  `as they come`: looks at 100 tasks come in one by one, 500 a second, as from 1,000 tasks looked at every two seconds;
  the store commits when it likes, bare sqlite3 at the same moments. What is compared is the time in which either is at
  work, from BEGIN to the end of COMMIT, for the store also the calls that hand a look over. The pauses between commits,
  in which the store waits for more looks and nobody works, count on neither side.
  `without a pause`: 100 or 10 looks, each written at once and awaited before the next ones. There is no pause to leave
  out, and the whole of the wall's time is compared, with every hand-over between the threads.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from _lib.frame import Target, apart, at_most, run

import nbhelper as nbh
from nbhelper._model.json_text import dumps
from nbhelper._store.store import Store
from nbhelper.types import Mark, MarkWord, Output, Saved, Snapshot, State, TaskError

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PROVIDERS = ("ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie")
PATTERNS = 60


# The library's insides


def commit_now(store: Store) -> None:
    """Let the writer commit what it was given, without waiting for more."""
    store._writer.put(lambda _: None)


def record_writes(store: Store, connect: Callable[..., sqlite3.Connection]) -> None:
    """Have a closed store make its connections by `connect(write=...)`."""
    store._database.connect = connect  # type: ignore[method-assign]


# A large store


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seen(number: int, folder: Path) -> list[Any]:
    """Six observations of one task, with a real reply each."""
    link = f"https://cdn.example/{number}/result.png"
    outputs = (Output(name="resultUrls[0]", url=f"{link}?signature=x", kind="image"),)

    def reply(state: str, **more: object) -> str:
        data = {"taskId": f"{number:032x}", "model": "google/nano-banana", "state": state, "progress": 0, **more}
        data["param"] = json.dumps({"prompt": f"an owl {number}"})
        return dumps({"code": 200, "msg": "success", "data": data})

    looks: list[Any] = [
        Mark(word=MarkWord.WATCHING),
        Snapshot(state=State.QUEUED, word="waiting", created_at=at(1), resolution_s=0.001, reply=reply("waiting")),
        Snapshot(
            state=State.RUNNING, word="generating", progress=0.4, model="google/nano-banana", reply=reply("generating")
        ),
        Snapshot(state=State.RUNNING, word="generating", progress=0.8, reply=reply("generating", progress=80)),
    ]
    if number % 7 == 0:
        error = TaskError("422", "content policy")
        return [
            *looks,
            Snapshot(state=State.FAILED, word="fail", error=error, reply=reply("fail")),
            Mark(word=MarkWord.RESUMED),
        ]
    done = Snapshot(
        state=State.SUCCEEDED, word="success", credits=4, outputs=outputs, finished_at=at(24.5),
        reply=reply("success", resultJson=json.dumps({"resultUrls": [link]}), costTime=23),
    )  # fmt: skip
    file = str(folder / f"results/kie/owl-{number}/result.png")
    return [
        *looks,
        done,
        Saved(name="resultUrls[0]", file=file, kind="image", n_bytes=900_000 + number, sha256="ab" * 32),
    ]


def record(store: Store, number: int) -> str:
    """One task with its six observations, by the store's own calls."""
    params = {"model": "google/nano-banana", "input": {"prompt": f"an owl of wood, number {number}", "n": number % 4}}
    task = nbh.Task(PROVIDERS[number % 6], f"{number:032x}", label=f"owl {number}", params=params)
    history = store.open_task(task, "https://api.example", endpoint="createTask", experiment="owls", repeat=number % 3)
    longer = history.result()
    for n, one in enumerate(seen(number, store.folder)):
        longer = longer.add(one, at(5 * n))
    store.append(longer.uid, longer.events, summary=longer).result()
    return longer.uid


def large(folder: Path, count: int) -> None:
    """A store of many tasks: some recorded, the rest copied from those with names of their own."""
    store = Store(folder)
    pattern = [record(store, number) for number in range(PATTERNS)]
    store.close()
    with closing(sqlite3.connect(folder / "history.db", isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        for table in ("tasks", "summaries", "events", "replies"):
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            rows = {uid: db.execute(f"SELECT * FROM {table} WHERE uid = ?", (uid,)).fetchall() for uid in pattern}
            marks = ", ".join("?" * len(columns))
            db.executemany(f"INSERT INTO {table} VALUES ({marks})", copies(table, columns, rows, pattern, count))
        db.execute("COMMIT")


def copies(table: str, columns: list[str], rows: dict[str, Any], pattern: list[str], count: int) -> Iterator[list[Any]]:
    """The rows of the tasks that were not recorded."""
    first = int(pattern[-1][:14], 16)
    name = {"tasks": "id", "summaries": "task_id"}.get(table)
    for number in range(PATTERNS, count):
        uid = f"{first + number:014x}-{number:010x}"
        for row in rows[pattern[number % PATTERNS]]:
            new = dict(zip(columns, row, strict=True)) | {"uid": uid}
            if name:
                new |= {name: f"{number:032x}", "label": f"owl {number}"}
                new["params"] = new["params"].replace("number ", f"number {number}-")
            yield list(new.values())


# Reading


def alternating(turns: int, **calls: Callable[[], Any]) -> dict[str, float]:
    """The median seconds of each call, taken in turn so that a busy machine slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def reading(folder: Path, turns: int) -> dict[str, float]:
    """Seconds of `tasks()`, and of pandas alone."""
    import pandas as pd

    nbh.set_store(folder)
    with closing(sqlite3.connect(folder / "history.db")) as db:
        return alternating(
            turns, tasks=nbh.tasks, pandas=lambda: pd.read_sql_query("SELECT * FROM summaries ORDER BY uid", db)
        )


def peak(folder: Path) -> tuple[int, int, int]:
    """Rows of `tasks()`, bytes of the frame, and the bytes that the process held at most while it was made."""

    def status(name: str) -> int:
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
        return int(line.split()[1]) * 1024

    nbh.set_store(folder)
    nbh.tasks(outcome="cancelled")  # there are none, and all modules are loaded
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    frame = nbh.tasks()
    return len(frame), int(frame.memory_usage(deep=True).sum()), status("VmHWM") - before


def opening(folder: Path, uid: str) -> float:
    """Seconds from opening the store to its first history."""
    begun = time.perf_counter()
    history = Store(folder).load(uid)
    taken = time.perf_counter() - begun
    assert history is not None
    assert len(history.events) == 6
    return taken


def read(*, quick: bool) -> Iterator[Target]:
    """`tasks()` and opening, in processes of their own."""
    turns = 1 if quick else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "large"
        large(folder, 5_000 if quick else 100_000)
        seconds = apart(reading, folder, turns)
        rows, frame, most = apart(peak, folder)
        with closing(sqlite3.connect(folder / "history.db")) as db:
            (uid,) = db.execute("SELECT uid FROM tasks ORDER BY uid DESC LIMIT 1").fetchone()
        opened = statistics.median(apart(opening, folder, uid) for _ in range(turns))
        size = (folder / "history.db").stat().st_size
    print(f"{rows:,} tasks, {6 * rows:,} events, {size / 1e6:,.0f} MB; peak {most / 1e6:.0f} MB", end=", ")
    print(f"frame {frame / 1e6:.0f} MB; tasks() {seconds['tasks']:.2f} s, read_sql_query {seconds['pandas']:.2f} s")
    fact = f"tasks() of {rows:,}"
    yield at_most(f"{fact}, against read_sql_query", seconds["tasks"] / seconds["pandas"], 5, " times")
    yield at_most(f"{fact}, peak memory against the frame", most / frame, 3, " times")
    yield at_most(f"opening a store of {rows:,} tasks", opened, 0.5, " s")


# Writing

PRAGMAS = ("journal_mode=DELETE", "synchronous=FULL", "secure_delete=ON", "trusted_schema=OFF")


@dataclass(slots=True)
class Commit:
    """One transaction: what was written, when it began, seconds and CPU seconds it took."""

    at: float = 0.0
    taken: float = 0.0
    cpu: float = 0.0
    rows: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)


def recorder(commits: list[Commit]) -> type[sqlite3.Connection]:
    """Connections that keep what is written through them."""

    class Recorder(sqlite3.Connection):
        def execute(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:  # type: ignore[override]
            if sql == "BEGIN IMMEDIATE":
                commits.append(Commit(time.perf_counter(), cpu=time.thread_time()))
            elif sql.startswith(("INSERT", "DELETE", "UPDATE")):
                commits[-1].rows.append((sql, values))
            done = super().execute(sql, values)
            if sql == "COMMIT":
                commits[-1].taken = time.perf_counter() - commits[-1].at
                commits[-1].cpu = time.thread_time() - commits[-1].cpu
            return done

        def executemany(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> sqlite3.Cursor:  # type: ignore[override]
            commits[-1].rows += [(sql, values) for values in rows]
            return super().executemany(sql, rows)

    return Recorder


class Watches:
    """Looks at many tasks, tick after tick; the histories are made beforehand."""

    def __init__(self, folder: Path, tasks: int, looks: int) -> None:
        self.store = Store(folder)
        histories = [
            self.store.open_task(nbh.Task("kie", f"{n:032x}", params={"prompt": "owl"}), "https://api.kie.ai").result()
            for n in range(tasks)
        ]
        self.ticks: list[list[nbh.History]] = []
        for tick in range(looks // tasks):
            raw = {"code": 200, "data": {"state": "generating", "progress": tick, "model": "nano-banana", "cost": 4}}
            look = Snapshot(state=State.RUNNING, word="generating", progress=0.5, reply=dumps(raw))
            histories = [history.add(look, at(tick)) for history in histories]
            self.ticks.append(histories)
        self.commits: list[Commit] = []
        self.calls = Commit()
        """The calls that hand the looks over, taken together."""
        self.store.close()  # the next connection is a recorder
        record_writes(self.store, self._connect)

    def _connect(self, *, write: bool) -> sqlite3.Connection:
        kind = recorder(self.commits) if write else sqlite3.Connection
        path = self.store.folder / "history.db"
        db = sqlite3.connect(path, factory=kind, isolation_level=None, check_same_thread=False, timeout=30)
        for pragma in PRAGMAS:
            db.execute(f"PRAGMA {pragma}").fetchall()
        return db

    def _hand_over(self, look: nbh.History) -> Future[bool]:
        begun, cpu = time.perf_counter(), time.thread_time()
        future = self.store.append(look.uid, look.events[-1:], summary=look)
        self.calls.taken += time.perf_counter() - begun
        self.calls.cpu += time.thread_time() - cpu
        return future

    def as_they_come(self, rate: float) -> float:
        """So many looks a second; seconds at work."""
        begun, futures = time.perf_counter(), []
        for number, look in enumerate(look for tick in self.ticks for look in tick):
            time.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            futures.append(self._hand_over(look))
        for future in futures:
            future.result()
        return self.calls.taken + sum(commit.taken for commit in self.commits)

    def without_a_pause(self) -> float:
        """One look at every task, tick after tick, each awaited; seconds in all."""
        begun, cpu = time.perf_counter(), time.thread_time()
        for tick in self.ticks:
            written = [self.store.append(look.uid, look.events[-1:], summary=look) for look in tick]
            commit_now(self.store)
            for future in written:
                future.result(60)
        self.calls.cpu = time.thread_time() - cpu
        return time.perf_counter() - begun

    @property
    def cpu(self) -> float:
        """Seconds of the processor, of both threads."""
        return self.calls.cpu + sum(commit.cpu for commit in self.commits)


def bare(file: Path, commits: list[Commit], *, moments: bool) -> tuple[float, float]:
    """Plain sqlite3 writing the same rows at the same commits, and moments: seconds at work, and of the processor."""
    taken = cpu = 0.0
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        for pragma in PRAGMAS:
            db.execute(f"PRAGMA {pragma}").fetchall()
        first = time.perf_counter()
        for commit in commits:
            if moments:
                time.sleep(max(0.0, first + commit.at - commits[0].at - time.perf_counter()))
            begun, used = time.perf_counter(), time.thread_time()
            db.execute("BEGIN IMMEDIATE")
            for sql, values in commit.rows:
                db.execute(sql, values)
            db.execute("COMMIT")
            taken += time.perf_counter() - begun
            cpu += time.thread_time() - used
    return taken, cpu


def recording(tasks: int, looks: int, rate: float | None, turns: int) -> dict[str, float]:
    """The store against bare sqlite3; medians of some turns."""
    figures = []
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as space:
            watches = Watches(Path(space) / "ours", tasks, looks)
            before = shutil.copy(watches.store.folder / "history.db", Path(space) / "before.db")
            ours = watches.without_a_pause() if rate is None else watches.as_they_come(rate)
            watches.store.close()
            plain, plain_cpu = bare(before, watches.commits, moments=rate is not None)
            same(watches.store.folder / "history.db", before)
            figures.append((ours, plain, watches.cpu / looks, plain_cpu / looks, len(watches.commits)))
    a, b, c, d, commits = map(statistics.median, zip(*figures, strict=True))
    return {"commits": commits, "store_s": a, "sqlite_s": b, "store_us": 1e6 * c, "sqlite_us": 1e6 * d}


def same(one: Path, other: Path) -> None:
    """Assert that both databases hold the same rows."""
    for table in ("events", "replies", "summaries"):
        with closing(sqlite3.connect(one)) as a, closing(sqlite3.connect(other)) as b:
            sql = f"SELECT * FROM {table} ORDER BY 1, 2"
            assert a.execute(sql).fetchall() == b.execute(sql).fetchall(), table


def write(*, quick: bool) -> Iterator[Target]:
    """Recording looks that come one by one, and together, against bare sqlite3."""
    looks, turns = (500, 1) if quick else (5_000, 3)
    for name, tasks, rate in (
        ("as they come", 100, 500.0), ("without a pause, 100 together", 100, None),
        ("without a pause, 10 together", 10, None),
    ):  # fmt: skip
        w = recording(tasks, looks, rate, turns)
        print(
            f"{looks:,} looks {name}: {w['commits']:.0f} commits, {w['store_s']:.2f} s,"
            f" bare sqlite3 {w['sqlite_s']:.2f} s; CPU {w['store_us']:.0f} against {w['sqlite_us']:.0f} us a look"
        )
        yield at_most(f"recording looks {name}, against bare sqlite3", w["store_s"] / w["sqlite_s"], 2, " times")


PARTS = {"read": read, "write": write}

if __name__ == "__main__":
    sys.exit(run(__doc__, PARTS))
