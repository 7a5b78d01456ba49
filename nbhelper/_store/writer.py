"""The one thread that writes: a queue of functions, run in batches, each batch in one transaction.

Functions that are queued while a transaction runs go into the next one, so that a hundred watches share one commit.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from .._model.errors import StoreError
from .._model.text import clean
from .file import LEAKED, WAIT, Database, FileIdentity, explain, is_damage, jitter
from .schema import VERSION

COMMIT_INTERVAL = 0.02
"""Seconds between two commits of looks: all looks queued in between share one commit, and one wait for the disk."""
IDLE = 10.0
"""Seconds without work after which the thread ends and connections are closed, until the next piece of work."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Writer:
    """The thread that writes: it starts with the first piece of work, and goes on after every error."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.forget()

    def forget(self) -> None:
        """Set the first state, also in a forked child, where neither the thread nor its unfinished work exists."""
        LEAKED.extend(filter(None, [getattr(self, "_db", None)]))
        self._db: sqlite3.Connection | None = None
        self._identity: FileIdentity | None = None
        """The file that `_db` was opened on."""
        self._queue: deque[tuple[Work[Any], Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._lost = False
        """Whether writes were given up because the process ends."""
        self._hurry = False
        self._next = 0.0

    def put(self, work: Work[T], *, patient: bool = False) -> Future[T]:
        """Queue `work` for the next transaction; the future cannot be cancelled.

        Args:
            work: A function of the connection.
            patient: Whether `work` may wait up to `COMMIT_INTERVAL`, to share a commit with others.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._wake:
            self._queue.append((work, future))
            self._hurry = self._hurry or not patient
            if self._thread is None:
                self._stopping = False
                thread = threading.Thread(target=self._run, name="nbhelper-store", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the interpreter is ending, or the system has no thread left
                    self._queue.pop()
                    future.set_exception(StoreError(f"The history was not written: {clean(error, 100)}."))
                    return future
                self._thread = thread
            if not patient or len(self._queue) == 1:  # else the thread was notified already
                self._wake.notify()
        return future

    def stop(self, wait: float = WAIT + 5) -> bool:
        """Let the thread write all that is queued, and end.

        Args:
            wait: Seconds to wait for the thread, which goes on writing after that.

        Returns:
            Whether everything was written.
        """
        with self._wake:
            thread, self._stopping = self._thread, True
            self._wake.notify()
        if thread is None or thread is threading.current_thread():
            return not self._lost
        thread.join(wait)
        return not (thread.is_alive() or self._lost)

    @property
    def running(self) -> bool:
        """Whether the thread runs; it closes the connections when it ends."""
        return self._thread is not None

    def _run(self) -> None:
        while True:
            with self._wake:
                if not (self._queue or self._stopping):
                    self._wake.wait(IDLE)
                if not (self._hurry or self._stopping):
                    self._wake.wait(max(0.0, self._next - time.monotonic()))
                batch = list(self._queue)
                self._queue.clear()
                self._hurry = False
                if not batch:
                    self._thread = None
                    self._drop()
                    self._database.close()
                    return
            with self._database.active():
                self._write(batch)
            del batch  # else its histories would be kept until the next batch
            self._next = time.monotonic() + COMMIT_INTERVAL

    def _write(self, batch: list[tuple[Work[Any], Future[Any]]]) -> None:
        try:
            db, crowded = self._begin()
            try:
                done = [(future, work(db)) for work, future in batch]
                failed: list[tuple[Future[Any], Exception]] = []
            except Exception:
                if not db.in_transaction:  # a full disk takes the whole transaction back, not only this item
                    raise
                db.execute("ROLLBACK")
                self._database.begin(db)
                done, failed = self._one_by_one(db, batch)
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - any error is raised by the futures, and the thread goes on
            self._drop()
            self._database.suspect(error)
            self._lost = self._lost or self._database.deadline < math.inf
            if len(batch) > 1 and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
                for item in batch:  # one large item must not keep the small ones out
                    self._write([item])
                return
            for _, future in batch:
                future.set_exception(explain(error, self._database.folder))
            return
        for future, value in done:
            future.set_result(value)
        for future, failure in failed:
            future.set_exception(failure)
        # Other processes poll SQLite's lock: leave it free for a moment, longer where this process had to wait for it.
        if crowded or self._queue:
            time.sleep(jitter() if crowded else 0.0005)

    def _one_by_one(
        self, db: sqlite3.Connection, batch: list[tuple[Work[Any], Future[Any]]]
    ) -> tuple[list[tuple[Future[Any], Any]], list[tuple[Future[Any], Exception]]]:
        """Run each function in a savepoint of its own, so that one that fails rolls back nothing of the others."""
        done: list[tuple[Future[Any], Any]] = []
        failed: list[tuple[Future[Any], Exception]] = []
        for work, future in batch:
            db.execute("SAVEPOINT item")
            try:
                done.append((future, work(db)))
            except Exception as error:
                if not db.in_transaction:
                    raise
                if is_damage(error):
                    self._database.suspect(error)
                db.execute("ROLLBACK TO item")
                failed.append((future, explain(error, self._database.folder)))
            db.execute("RELEASE item")
        return done, failed

    def _begin(self) -> tuple[sqlite3.Connection, bool]:
        """A connection inside a write transaction, and whether it had to wait for another process."""
        while True:
            db = self._connection()
            crowded = self._database.begin(db)
            if self._database.identity() == self._identity:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version != VERSION:
                    self._database.taken_over = version
                    raise self._database.outdated_error()
                return db, crowded
            self._drop()  # while this thread waited, another process replaced the file

    def _connection(self) -> sqlite3.Connection:
        identity = self._database.examine(create=True)
        if self._database.taken_over is not None:
            raise self._database.outdated_error()
        if self._db is None or identity != self._identity:
            self._drop()
            self._db = self._database.connect(write=True)
            self._identity = identity
        return self._db

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close()  # rolls an unfinished transaction back
            self._db = None
