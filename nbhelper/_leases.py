"""Who looks: one process per task, however many notebooks watch it; the others follow what it writes.

A lease is a row that names a task's holder, and each holder has one row of its own that it renews, its sign of life.
Renewing rides along with marks, files and ends, and is committed for alone once in ten seconds where there are none.
Looks at a task that goes on go without: that nobody else has written of it is asked of the same row that they move. No
two clocks are compared: whoever waits counts the seconds without a sign of life by its own monotonic clock. That a
process of this machine is gone is known at once.
"""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ._codec import iso, moment
from ._errors import StoreError
from ._json import dumps

if TYPE_CHECKING:
    from ._store import Store

BEAT = 10.0
"""Seconds between two signs of life of a process that writes nothing else."""
TERM = 30.0
"""Seconds without a sign of life, after which another process takes over."""
TICK = 1.0
"""Seconds between two readings of what another process has written."""
_FOREIGN = timedelta(minutes=5)
"""How far another machine's clock may be wrong before its lease is taken for one that ran out long ago."""
_SWEPT = timedelta(days=1)
Work = Callable[[sqlite3.Connection], None]


class Held(Exception):  # never leaves the engine
    """Another process looks at this task."""


def holder() -> str:
    """A name for this process that no other has: host, process, its birth, and chance."""
    return f"{_HOST}/{os.getpid()}/{_born(os.getpid()) or ''}/{secrets.token_hex(6)}"


class Leases:
    """The leases of one store as one process holds and sees them; its coroutines belong to the engine's loop.

    Args:
        store: Where they are kept.
        name: Of this process, from `holder`.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._held: set[str] = set()
        self._inherited: set[str] = set()
        self._signed: tuple[float, float] | None = None
        """Monotonic and wall time of our last sign of life."""
        self._seen: dict[str, tuple[str, float]] = {}
        """Other holders' last sign of life, and since when we know it."""
        self._lock = threading.Lock()
        self._renewing = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None
        self._waiting: dict[str, tuple[int, asyncio.Future[bool]]] = {}
        self._reading: asyncio.Task[None] | None = None

    # Holding

    def take(self, uid: str) -> Work:
        """What claims a task, to be done inside a transaction; it raises `Held` while another process looks."""
        self._held.add(uid)  # also when the disk is full: then this process looks all the same
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat())

        def work(db: sqlite3.Connection) -> None:
            other = _holder(db, uid)
            if other is not None and not self._free(*other):
                self._held.discard(uid)
                raise Held
            if other is not None and other[0] != self._name and (other[1] or "") > iso(datetime.now(UTC)):
                self._inherited.add(uid)
            self._put(db, uid)
            self._sign(db)

        return work

    def keep(self, uid: str, *, looked: bool, over: bool) -> Work:
        """What goes along with an observation: our sign of life when it is due, and the end of the lease at the end.

        A look that was made is kept whoever holds the task meanwhile; anything else raises `Held` then.
        """
        return _Keep(self, uid, looked, over)

    def go_along(self, db: sqlite3.Connection, uid: str, *, looked: bool, over: bool) -> None:
        """What `keep` promises, done."""
        if self._lost(db, uid):
            self._held.discard(uid)
            if not looked:
                raise Held
        elif over:
            self._held.discard(uid)
            db.execute("DELETE FROM leases WHERE uid = ?", (uid,))
        if self._held and self._age() >= BEAT / 2:
            self._sign(db)

    def inherited(self, uid: str) -> bool:
        """Whether a task was just taken from a process that did not end in order: its last look may not be recorded."""
        was = uid in self._inherited
        self._inherited.discard(uid)
        return was

    def sure(self, uid: str) -> bool:
        """Whether this process may look for certain, which `holds` need not be asked for."""
        return uid in self._held and self._age() <= TERM / 2

    async def holds(self, uid: str) -> bool:
        """Whether this process may look; asked of the store only when our last sign of life is old.

        A process that was stopped and goes on, or a laptop that slept, finds out here that another took over.
        """
        if uid in self._held and self._age() > TERM / 2:
            with suppress(StoreError):  # looking goes on in memory, loudly, when the store cannot be reached
                await self._renew()
        return uid in self._held

    def release(self, uid: str) -> None:
        """Let another process look, where `keep` has not done so."""
        if uid in self._held:
            self._held.discard(uid)
            name = self._name
            self._store.write(lambda db: _drop(db, uid, name))

    async def close(self) -> None:
        """Let go of everything: the process ends."""
        for task in (self._beating, self._reading):
            if task is not None:
                task.cancel()
        if self._held:
            self._held.clear()
            name = self._name
            with suppress(StoreError):
                await asyncio.wrap_future(self._store.write(lambda db: _drop_all(db, name)))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(max(BEAT / 4, BEAT - self._age()))
            if not self._held:
                return
            if self._age() >= BEAT:
                with suppress(StoreError):
                    await self._renew()

    async def _renew(self) -> None:
        """Give a sign of life, and find out which tasks another process has taken over."""
        async with self._renewing:
            if self._age() < BEAT / 2:  # somebody did while we waited
                return
            held = tuple(self._held)

            def work(db: sqlite3.Connection) -> list[str]:
                self._sign(db)
                return [uid for uid in held if self._lost(db, uid)]

            self._held.difference_update(await asyncio.wrap_future(self._store.write(work)))

    def _age(self) -> float:
        """Seconds since our last sign of life, by whichever clock says more: one of them stands still during sleep."""
        if self._signed is None:
            return float("inf")
        return max(time.monotonic() - self._signed[0], time.time() - self._signed[1])

    def _lost(self, db: sqlite3.Connection, uid: str) -> bool:
        """Whether another process took a task over, and may have ended it; in a new file the lease is written again."""
        other = _holder(db, uid)
        if other is None and db.execute("SELECT 1 FROM tasks WHERE uid = ?", (uid,)).fetchone() is None:
            self._put(db, uid)
            return False
        return other is None or other[0] != self._name

    def _put(self, db: sqlite3.Connection, uid: str) -> None:
        db.execute("INSERT OR REPLACE INTO leases (uid, holder, until) VALUES (?, ?, '')", (uid, self._name))

    def _sign(self, db: sqlite3.Connection) -> None:
        now = datetime.now(UTC)
        if self._signed is None:  # what processes that were killed have left
            old = "SELECT uid FROM leases WHERE uid = holder AND until < ?"
            db.execute(f"DELETE FROM leases WHERE holder IN ({old})", (iso(now - _SWEPT),))  # noqa: S608
        self._signed = time.monotonic(), time.time()
        until = iso(now + timedelta(seconds=TERM))
        db.execute(
            "INSERT OR REPLACE INTO leases (uid, holder, until) VALUES (?, ?, ?)", (self._name, self._name, until)
        )

    # Following

    async def news(self, uid: str, seq: int) -> bool:
        """Wait until another process wrote more than `seq` events, or nobody else looks; whether that is so."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[uid] = seq, waiter
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        try:
            return await waiter
        finally:
            del self._waiting[uid]

    async def _read(self) -> None:
        """One reading a tick for all that is followed."""
        while self._waiting:
            asked = dict(self._waiting)
            try:
                found = await asyncio.to_thread(self._look, tuple(asked))
            except StoreError:
                found = {}  # the next reading may succeed
            except Exception as error:  # noqa: BLE001 - a fault of ours belongs to whoever waits
                for _, waiter in asked.values():
                    if not waiter.done():
                        waiter.set_exception(error)
                return
            for uid, (last, free) in found.items():
                seq, waiter = asked[uid]
                if not waiter.done() and (free or last > seq):
                    waiter.set_result(free)
            await asyncio.sleep(TICK)

    def _look(self, uids: Sequence[str]) -> dict[str, tuple[int, bool]]:
        """The number of each task's last event, and whether nobody else looks at it any more."""
        with self._store.reading() as db:
            rows = db.execute(_NEWS, (dumps(list(uids)),)).fetchall() if db else []
        found = dict.fromkeys(uids, (0, True))
        for uid, last, name, until in rows:
            found[uid] = last or 0, name is None or self._free(name, until)
        return found

    def _free(self, name: str, until: str | None) -> bool:
        """Whether a holder is this process, is gone, or gave no sign of life for `TERM` while this process waited."""
        if name == self._name or until is None or _gone(name):
            return True
        now, at = time.monotonic(), moment(until)
        with self._lock:
            seen = self._seen.get(name)
            if seen is None or seen[0] != until:
                self._seen[name] = seen = until, now
        foreign = name.partition("/")[0] != _HOST
        return now - seen[1] >= TERM or (foreign and (at is None or at < datetime.now(UTC) - _FOREIGN))


@dataclass(slots=True, eq=False)
class _Keep:
    """What `keep` gives: looks are many, and a function with all that it holds on to is ten times as large."""

    leases: Leases
    uid: str
    looked: bool
    over: bool

    def __call__(self, db: sqlite3.Connection) -> None:
        self.leases.go_along(db, self.uid, looked=self.looked, over=self.over)


_HOLDER = "SELECT l.holder, h.until FROM leases l LEFT JOIN leases h ON h.uid = l.holder WHERE l.uid = ?"
_NEWS = (
    "SELECT w.value, (SELECT max(e.seq) FROM events e WHERE e.uid = w.value), l.holder, h.until FROM json_each(?) w"
    " LEFT JOIN leases l ON l.uid = w.value LEFT JOIN leases h ON h.uid = l.holder"
)


def _holder(db: sqlite3.Connection, uid: str) -> tuple[str, str | None] | None:
    """Who holds a task, and that process's last sign of life."""
    found: tuple[str, str | None] | None = db.execute(_HOLDER, (uid,)).fetchone()
    return found


def _drop(db: sqlite3.Connection, uid: str, name: str) -> None:
    db.execute("DELETE FROM leases WHERE uid = ? AND holder = ?", (uid, name))


def _drop_all(db: sqlite3.Connection, name: str) -> None:
    db.execute("DELETE FROM leases WHERE holder = ?", (name,))


_HOST = quote(platform.node(), safe="")


def _gone(name: str) -> bool:
    """Whether a holder was a process of this machine that has ended, or an earlier engine of this very process."""
    host, _, rest = name.partition("/")
    pid, _, rest = rest.partition("/")
    if host != _HOST or not pid.isdecimal():
        return False
    born, then = _born(int(pid)), rest.partition("/")[0]
    return int(pid) == os.getpid() or born is None or (born != then and "" not in {born, then})


def _born(pid: int) -> str | None:
    """When a process of this machine began; empty where the system does not say, None when there is no such process."""
    if os.name == "nt":
        return ""  # asking by a signal would end it there
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (PermissionError, OverflowError):
        pass
    return ""
