"""`Store`: keeps histories in one SQLite file that many notebooks may use at once.

`file.py` opens the file, `writer.py` is the one thread that writes to it; `rows.py`, `creates.py` and `listing.py` read
and write on an open connection. A write is on the disk when its future is done, never before. Each read has a
connection of its own and does not wait for a writer.
"""

from __future__ import annotations

import atexit
import hmac
import logging
import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from .._model.events import Event
from .._model.history import History
from .._model.json_text import dumps, loads
from .._model.task import NO_ID, Task
from .._model.text import storable
from .._model.times import iso
from . import creates as _creates
from . import listing
from .file import Database
from .filter import EVERYTHING, Filter
from .history_to_row import Row
from .rows import Rows, notes_of, uid_of, uids_of, utc_now
from .schema import ensure_salt, read_salt
from .writer import Writer

log = logging.getLogger("nbhelper")
LEAVING = 2.0
"""Seconds that the end of Python waits for a process which holds the history."""


class Store:
    """The histories in one folder. The constructor touches no file.

    Every method that writes returns a `concurrent.futures.Future`, done when the row is on the disk: await it through
    `asyncio.wrap_future`, or wait with `.result()`. Methods that read return at once what is on the disk by then.

    Attributes:
        folder: The store's folder, absolute.
        notes: Lines for the user, oldest first: a file that was renamed, and what could be read of it.
    """

    def __init__(self, folder: str | Path, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.folder = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 - keeps the user's own links
        self.notes: list[str] = []
        self._database = Database(self.folder, self.notes)
        self._writer = Writer(self._database)
        self._rows = Rows(self._database.path, clock)
        self._salt: bytes | None = None
        self._notes_read = 0
        _STORES.add(self)

    def __repr__(self) -> str:
        return f"<Store {self.folder}>"

    def close(self) -> None:
        """Write what is queued and close the file; the next use opens it again."""
        self._writer.stop()
        self._database.close()

    def release(self) -> None:
        """Close without waiting: a thread that still writes closes the file when it is done."""
        self._writer.stop(0)
        if not self._writer.running:
            self._database.close()

    def leave(self, deadline: float) -> None:
        """Close as the process ends; gives up writes that another process blocks until `deadline`, with a warning."""
        if not self._writer.stop(max(0.0, deadline - time.monotonic()) + 0.5):
            log.warning(
                "What was seen last is not in %s: another process holds it, or it cannot be written.",
                self._database.path,
            )

    def take_notes(self) -> list[str]:
        """Return the notes that no earlier call has returned."""
        new, self._notes_read = self.notes[self._notes_read :], len(self.notes)
        return new

    def fingerprint(self, key: str) -> str:
        """Eight hex digits of an HMAC of an API key with this store's salt: they tell keys apart and reveal none."""
        if self._salt is None:
            self._salt = self._read_salt() or self._writer.put(ensure_salt).result()
        return hmac.new(self._salt, key.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:8]

    def _read_salt(self) -> bytes | None:
        with self._database.reading() as db:
            return read_salt(db) if db else None

    # Writing

    def open_task(
        self,
        task: Task,
        origin: str,
        *,
        fingerprint: str | None = None,
        endpoint: str | None = None,
        model: str | None = None,
        experiment: str | None = None,
        repeat: int | None = None,
        cell: str | None = None,
    ) -> Future[History]:
        """The stored history of this task, or an empty one with a row of its own.

        What the first call did not pass and a later one does (label, params, endpoint and so on) is filled in.
        """
        known = notes_of(task, endpoint, model, experiment, repeat, cell, fingerprint)
        return self._writer.put(lambda db: self._rows.open_task(db, task, origin, known))

    def append(
        self,
        uid: str,
        events: Sequence[Event],
        *,
        links: Mapping[str, str] | None = None,
        summary: History,
    ) -> Future[bool]:
        """Keep observations; one that is kept already is not written twice.

        Where another process has used a number meanwhile, the observation gets the next free one: both are kept.

        Args:
            uid: The row, from `History.uid`.
            events: The new events.
            links: Live links of outputs by name; each is deleted when its output is saved or given up.
            summary: The history including `events`.

        Returns:
            Whether the rows got the numbers of `events`; if not, another process has written too: load the history.
        """
        kept = links or {}
        return self._writer.put(lambda db: self._rows.append(db, uid, events, kept, summary), patient=True)

    # Creates

    def begin_intent(
        self,
        *,
        provider: str,
        origin: str,
        request_digest: str,
        endpoint: str | None = None,
        model: str | None = None,
        body_digest: str | None = None,
        params: Mapping[str, Any] | None = None,
        label: str | None = None,
        request_id: str | None = None,
        fingerprint: str | None = None,
        experiment: str | None = None,
        repeat: int | None = None,
        cell: str | None = None,
        at: datetime | None = None,
    ) -> Future[str]:
        """Insert the row of a create that is about to be sent; send the request only when the future is done."""
        task = Task(provider, NO_ID, label=label, params=params or {})
        known = notes_of(task, endpoint, model, experiment, repeat, cell, fingerprint)
        row = [provider, origin, None, "{}", *known]
        digests = (request_digest, body_digest, request_id)
        return self._writer.put(lambda db: _creates.begin(self._rows, db, row, digests, at))

    def intent_sent(self, uid: str) -> Future[None]:
        """Record that the request may have left: without an answer this create is in doubt from now on."""
        return self._writer.put(lambda db: _creates.set_state(self._rows, db, uid, "sent"))

    def intent_postponed(self, uid: str) -> Future[None]:
        """Record that the API asked to wait, or nothing was sent: no task was made, and it may be sent later."""
        return self._writer.put(lambda db: _creates.set_state(self._rows, db, uid, "begun"))

    def intent_created(self, uid: str, task: Task, *, at: datetime | None = None) -> Future[History]:
        """Record the id that the API answered with; where that id has a row (idempotent create), this row joins it."""
        return self._writer.put(lambda db: _creates.record_created(self._rows, db, uid, task, at))

    def intent_refused(self, uid: str, code: str, message: str) -> Future[None]:
        """Record that the API refused, or nothing was sent: no task was made, and the row's outcome is failed."""
        return self._writer.put(lambda db: _creates.record_refused(self._rows, db, uid, code, message))

    def intent_in_doubt(self, uid: str, note: str, *, at: datetime | None = None) -> Future[None]:
        """Record that the answer is lost: the task may exist and be billed. It is listed, and never sent again."""
        return self._writer.put(lambda db: _creates.record_in_doubt(self._rows, db, uid, note, at))

    def set_price(self, name: str, price: Mapping[str, Any]) -> Future[None]:
        """Keep a price as plain JSON; it replaces one of the same name."""
        sql = "INSERT OR REPLACE INTO prices (name, at, body) VALUES (?, ?, ?)"
        row = storable(name), iso(self._rows.clock()), storable(dumps(price))

        def put(db: sqlite3.Connection) -> None:
            db.execute(sql, row)

        return self._writer.put(put)

    # Reading

    def prices(self) -> list[Row]:
        """The prices given to `set_price`, as plain JSON, oldest first."""
        with self._database.reading() as db:
            rows = db.execute("SELECT body FROM prices ORDER BY at, name").fetchall() if db else []
        return [price for (body,) in rows if isinstance(price := loads(body), dict)]

    def load(self, uid: str) -> History | None:
        """The history of one row, or None; the task of a create without an id yet has the id `(no id yet)`."""
        with self._database.reading() as db:
            return self._rows.history(db, uid) if db else None

    def uids(self, task: Task) -> list[str]:
        """The uids of this task's rows, one for each origin where the task was looked at."""
        with self._database.reading() as db:
            return uids_of(db, task) if db else []

    def events(self, uid: str, after: int = 0) -> list[Event]:
        """The observations of one row with a number above `after`, oldest first."""
        with self._database.reading() as db:
            return self._rows.events(db, uid, after) if db else []

    def find(self, task: Task, origin: str) -> History | None:
        """The history of this task at this origin, or None."""
        with self._database.reading() as db:
            uid = uid_of(db, task, origin) if db else None
            return self._rows.history(db, uid) if db and uid else None

    def find_submitted(self, provider: str, origin: str, request_digest: str) -> History | None:
        """The newest task of an identical request that is under way or succeeded."""
        with self._database.reading() as db:
            return _creates.find_submitted(self._rows, db, provider, origin, request_digest) if db else None

    def creates(self, experiment: str) -> list[_creates.CreateRow]:
        """Every create of an experiment, oldest first."""
        with self._database.reading() as db:
            return _creates.creates_of(db, experiment) if db else []

    def link(self, uid: str, name: str) -> str | None:
        """The live link of an output that is not saved yet, or None."""
        with self._database.reading() as db:
            return self._rows.link(db, uid, name) if db else None

    def providers(self) -> set[str]:
        """The providers of all tasks here, also those that are not registered in this process."""
        with self._database.reading() as db:
            return listing.providers(db) if db else set()

    def rows(self, conditions: Filter = EVERYTHING) -> list[Row]:
        """What `tasks()` shows, one row per task, newest last."""
        return list(self.each_row(conditions))

    def each_row(self, conditions: Filter = EVERYTHING) -> Iterator[Row]:
        """The rows of `rows(conditions)` one by one: a caller that keeps parts of them needs less memory."""
        with self._database.reading() as db:
            return listing.summaries(db, conditions) if db else iter(())

    def pending_rows(self, conditions: Filter = EVERYTHING) -> list[Row]:
        """The rows of `rows(conditions)` that are unfinished or in doubt, each with its reason as `pending`."""
        with self._database.reading() as db:
            return listing.pending(self._rows, db, conditions) if db else []

    def rows_with_ids(self, idents: Iterable[str]) -> list[Row]:
        """The rows, as `rows` gives them, of all tasks with one of these ids."""
        with self._database.reading() as db:
            return listing.with_ids(db, idents) if db else []

    def fingerprints(self, uids: Iterable[str]) -> list[tuple[str, str | None]]:
        """For each of these rows its provider and the fingerprint of the key that it was watched with first."""
        with self._database.reading() as db:
            return listing.fingerprints(db, uids) if db else []

    def recent(self, provider: str, origin: str, most: int) -> list[Row]:
        """The newest rows of one API, oldest first, as `rows` gives them, and `last_good_at`: when it last answered."""
        with self._database.reading() as db:
            return listing.recent(db, provider, origin, most) if db else []

    def models(self, uids: Iterable[str]) -> dict[str, str]:
        """The model, or endpoint that stands for a model, with which these rows were created, where that is known."""
        with self._database.reading() as db:
            return listing.models(db, uids) if db else {}

    def last_seqs(self, uids: Iterable[str]) -> dict[str, int]:
        """The number of the last event of each row that has one."""
        with self._database.reading() as db:
            return listing.last_seqs(db, uids) if db else {}

    def histories(self, conditions: Filter = EVERYTHING) -> list[History]:
        """The histories of `rows(conditions)`, but for creates that have no id yet."""
        with self._database.reading() as db:
            return listing.histories(self._rows, db, conditions) if db else []

    def event_rows(self, conditions: Filter = EVERYTHING) -> list[Row]:
        """Every observation of `rows(conditions)`: `uid`, `task`, `seq`, `at`, and `body` without the raw reply."""
        with self._database.reading() as db:
            return listing.events(self._rows, db, conditions) if db else []

    def output_rows(self, conditions: Filter = EVERYTHING) -> list[Row]:
        """Every saved file of `rows(conditions)` by its newest `Saved`, its path as the store keeps it."""
        with self._database.reading() as db:
            return listing.outputs(self._rows, db, conditions) if db else []

    # Fork

    def _before_fork(self) -> None:
        self._database.pause()

    def _after_fork(self) -> None:
        self._database.resume()

    def _in_child(self) -> None:
        self._database.forget()
        self._writer.forget()


# Every store of this process, for atexit and fork

_STORES: weakref.WeakSet[Store] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    deadline = time.monotonic() + LEAVING
    for store in list(_STORES):
        store._database.deadline = deadline  # noqa: SLF001
    for store in list(_STORES):
        store.leave(deadline)


def _each(act: Callable[[Store], None]) -> Callable[[], None]:
    def do() -> None:
        for store in list(_STORES):
            act(store)

    return do


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=_each(Store._before_fork),  # noqa: SLF001
        after_in_parent=_each(Store._after_fork),  # noqa: SLF001
        after_in_child=_each(Store._in_child),  # noqa: SLF001
    )
