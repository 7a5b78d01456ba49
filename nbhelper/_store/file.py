"""The SQLite file of a store: made, checked at first use, renamed where it cannot be used; and connections to it."""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .._model.errors import StoreError
from .._model.text import clean
from .folder import FILE, make_file, make_folder
from .locks import folder_lock
from .salvage import salvage
from .schema import (
    APPLICATION,
    LOOKED_UP,
    VERSION,
    create,
    expected_schema,
    header,
    schema_of,
    transaction,
)

WAIT = 30.0
"""Seconds that a writer waits for another process."""
SMALL = 32_000_000
"""Bytes up to which a file is checked as a whole when it is opened."""
FileIdentity = tuple[int, int]
"""Device and inode."""
_decode_leniently = operator.methodcaller("decode", "utf-8", "replace")
"""Decodes texts in SQLite: a damaged one gets replacement characters instead of an error that hides all others."""


@dataclass(frozen=True)
class _Fault:
    """Why a file cannot be used: words for a note, and its `user_version` where another version of nbhelper made it."""

    words: str
    version: int | None = None


_DAMAGED = _Fault("is damaged")


def is_damage(error: BaseException) -> bool:
    """Whether an error means that the file is damaged; a UnicodeDecodeError is SQLite quoting a damaged schema."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, UnicodeDecodeError) or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def explain(error: BaseException, folder: Path) -> Exception:
    """A `StoreError` that says what to do, for an error of SQLite or of the disk; any other exception as it is."""
    elsewhere = "choose another folder with nbhelper.set_store(folder) or NBHELPER_DATA"
    if is_damage(error):
        return StoreError(
            f"The history in {folder} is damaged. The next call moves it aside and keeps what can be read."
        )
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        words = {
            sqlite3.SQLITE_FULL: "the disk is full. Free some space; the next observation writes this one again",
            sqlite3.SQLITE_BUSY: f"another process has held it for {WAIT:.0f} s. End or restart that notebook",
            sqlite3.SQLITE_LOCKED: "it is locked. Try again",
            sqlite3.SQLITE_READONLY: f"it cannot be written; {elsewhere}",
            sqlite3.SQLITE_PERM: f"access was refused; {elsewhere}",
            sqlite3.SQLITE_CANTOPEN: f"it cannot be opened; {elsewhere}",
            sqlite3.SQLITE_IOERR: f"the disk reported a fault ({clean(error, 80)}); {elsewhere}",
        }.get(code, f"{clean(error, 160)}")
        return StoreError(f"The history in {folder} was not reached: {words}.")
    if isinstance(error, OSError):
        return StoreError(f"The folder {folder} cannot be used ({clean(error.strerror or error, 120)}); {elsewhere}.")
    return error if isinstance(error, Exception) else StoreError(f"The history was not written: {clean(error, 120)}.")


class Database:
    """The file of one store, and connections to it.

    Attributes:
        folder: The store's folder.
        path: The file.
        notes: Lines for the user: what was renamed or repaired.
    """

    def __init__(self, folder: Path, notes: list[str]) -> None:
        self.folder = folder
        self.path = folder / FILE
        self.notes = notes
        self._used = False
        """Whether this process has used the file already."""
        self.forget()

    def forget(self) -> None:
        """Set the first state, also in a forked child, which must not use or close the connections of its parent."""
        LEAKED.extend(getattr(self, "_idle", ()))
        self._lock = threading.RLock()
        self._activity = threading.Condition()
        self._active = 0
        self._shut = False
        self._idle: list[sqlite3.Connection] = []
        self._known: FileIdentity | None = None
        """The file that was examined last."""
        self._thorough = False
        self.deadline = math.inf
        """When waiting for another process ends, by `time.monotonic`: finite while this process exits."""
        self.taken_over: int | None = None
        """The `user_version` of another nbhelper that took the file over while this process used it: read-only then."""

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Delay a fork of this process until the end of the block, in which the file may be locked."""
        with self._activity:
            while self._shut:
                self._activity.wait()
            self._active += 1
        try:
            yield
        finally:
            with self._activity:
                self._active -= 1
                self._activity.notify_all()

    def pause(self) -> None:
        """Before a fork, wait up to 5 s until no `active()` block runs, and let none begin until `resume`.

        SQLite's book-keeping of the locks a process holds is copied by a fork, while the locks themselves are not.
        """
        with self._activity:
            self._shut = True
            self._activity.wait_for(lambda: self._active == 0, timeout=5)

    def resume(self) -> None:
        """Let `active()` blocks begin again, after a fork."""
        with self._activity:
            self._shut = False
            self._activity.notify_all()

    def examine(self, *, create: bool) -> FileIdentity | None:
        """Check the file unless it was checked before; returns its identity, None where it is missing or empty.

        Args:
            create: Make folder and file where they are missing.
        """
        with self._lock:
            identity = self.identity()
            if identity is not None and identity == self._known:
                return identity
            self.close()
            self._known = None
            if create:
                make_folder(self.path)
            elif self.folder.exists() and not self.folder.is_dir():
                raise StoreError(f"{self.folder} is a file, not a folder. Name another one with nbhelper.set_store().")
            elif identity is None or (self.path.is_file() and self.path.stat().st_size == 0):
                return None
            self._examine_file()
            self._known = self.identity()
            return self._known

    def identity(self) -> FileIdentity | None:
        """Device and inode of the file under this name; None where there is none."""
        try:
            info = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return info.st_dev, info.st_ino

    def _examine_file(self) -> None:
        if self._find_fault() is not None:
            with folder_lock(self.path, WAIT):
                fault = self._find_fault()  # again: another process may have repaired it before the lock
                if fault is not None:
                    self._replace(fault)
                    self._find_fault()
        self._used = True

    def _find_fault(self) -> _Fault | None:
        """Why the file cannot be used, or None; a missing or empty file gets its tables here."""
        if self.path.is_dir():
            return _Fault("is a folder")
        make_file(self.path)
        self.taken_over = None
        with contextlib.closing(self._open()) as db:
            try:
                application, version, tables = header(db)
                if application == 0 and version == 0 and tables == 0:
                    create(db)
                    application, version, tables = header(db)
                if application == APPLICATION and version != VERSION:
                    if self._used:  # another process replaced it while this one was using it
                        self.taken_over = version
                        return None
                    return _Fault(f"has tables of another version of nbhelper ({version}, here {VERSION})", version)
                intact = schema_of(db) == expected_schema()
                if application != APPLICATION:
                    return _DAMAGED if intact else _Fault("belongs to another program")
                if not intact or _is_cut_off(db, self.path):
                    return _DAMAGED
                # Checking a large file takes seconds: that is done only after SQLite reported damage (`suspect`).
                if (self._thorough or self.path.stat().st_size <= SMALL) and not _is_sound(db, thorough=self._thorough):
                    return _DAMAGED
                self._thorough = False
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                # The statements above are right, so SQLITE_ERROR means the file's schema, such as one of a format that
                # SQLite does not know.
                if is_damage(error) or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR:
                    return _DAMAGED
                raise
        return None

    def _make_new(self) -> Path:
        """Make an empty `history.db.new`, in place of one that a killed process left; it replaces the file later."""
        new = self.path.with_name(f"{FILE}.new")
        new.unlink(missing_ok=True)
        make_file(new)
        return new

    def _free_name(self, fault: _Fault) -> Path:
        """An unused path to which a file that cannot be used is renamed."""
        if fault.version is None:
            return self.path.with_name(f"{FILE}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}.aside")
        stem = f"history-{fault.version}"
        names = itertools.chain([f"{stem}.db"], (f"{stem}-{n}.db" for n in itertools.count(2)))
        return next(path for path in map(self.path.with_name, names) if not path.exists())

    def _replace(self, fault: _Fault) -> None:
        """Rename a file that cannot be used, and make a new one with what can be read of a damaged one."""
        kept = self._free_name(fault)
        result = "A new history was begun"
        if fault != _DAMAGED:
            # Another program's file is not even opened for writing: SQLite could change it on closing.
            with contextlib.nullcontext() if fault.version is None else self._connect_locked():
                self._move_companions(kept)
                self.path.rename(kept)
        else:
            with self._connect_locked() as damaged:
                new = self._make_new()
                result = self._salvage(damaged, new)
                self._move_companions(kept)
                try:
                    kept.hardlink_to(self.path)  # so that there is a history under its name all the time
                except OSError:
                    self.path.rename(kept)
                new.replace(self.path)
        self.notes.append(f"{self.path} {fault.words}. It was kept as {kept.name}. {result}.")

    def _move_companions(self, kept: Path) -> None:
        """Rename journal, WAL and shared memory along with the file: SQLite would apply them to the new file."""
        for suffix in ("-journal", "-wal", "-shm"):
            beside = self.path.with_name(FILE + suffix)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + suffix))

    def _salvage(self, damaged: sqlite3.Connection, new: Path) -> str:
        """Copy what can be read of a damaged file into `new`; returns the sentence of the note about it."""
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = FULL")
            create(db)
            with transaction(db):
                tasks, events = salvage(damaged, db, self.path)
        if not tasks and not events:
            return "Nothing in it could be read, and a new history was begun"
        s = "" if tasks == 1 else "s"
        return f"{tasks:,} task{s} with {events:,} observations could be read and are in the new history"

    @contextlib.contextmanager
    def _connect_locked(self) -> Iterator[sqlite3.Connection]:
        """A connection with SQLite's write lock, as far as a damaged file can still be locked."""
        with contextlib.closing(self._open()) as db:
            try:
                db.execute("PRAGMA writable_schema = ON")  # else a file shorter than its header says is refused
                db.execute("PRAGMA cell_size_check = OFF")  # else all rows of a page with one bad cell are
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
            yield db

    def _open(self) -> sqlite3.Connection:
        address = f"{self.path.as_uri()}?mode=rw"  # never makes a file
        db = sqlite3.connect(address, uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False)
        db.text_factory = _decode_leniently
        db.execute("PRAGMA cell_size_check = ON")
        return db

    def connect(self, *, write: bool) -> sqlite3.Connection:
        """A new connection to the file, which `examine` has checked."""
        db = self._open()
        # A rollback journal, not WAL: SQLite before 3.51.3 can lose commits of two writers there.
        writing = ("journal_mode=DELETE", "synchronous=FULL", "secure_delete=ON", "trusted_schema=OFF")
        try:
            for pragma in writing if write else ("query_only=ON", "trusted_schema=OFF"):
                db.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            db.close()
            raise
        return db

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection inside a read transaction; None where there is no file yet.

        Raises:
            StoreError: The file cannot be read.
        """
        try:
            with self.active():
                if self.examine(create=False) is None:
                    yield None
                    return
                with self._lock:
                    db = self._idle.pop() if self._idle else self.connect(write=False)
                try:
                    db.execute("BEGIN")  # one view of the file, however many statements
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    db.close()
                    raise
                with self._lock:
                    self._idle.append(db)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            self.suspect(error)
            if self.taken_over is not None and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR:
                raise self.outdated_error() from error  # its tables are others
            raise explain(error, self.folder) from error

    def outdated_error(self) -> StoreError:
        """The error for a file that another version of nbhelper has taken over."""
        return StoreError(
            f"Another version of nbhelper keeps {self.path} now (its tables have the number {self.taken_over}, here it "
            f"is {VERSION}): it is only read from here. Restart this kernel, or choose another folder with "
            "nbhelper.set_store(folder)."
        )

    def begin(self, db: sqlite3.Connection) -> bool:
        """Begin a write transaction (BEGIN IMMEDIATE); returns whether it had to wait for another process.

        It polls instead of using SQLite's busy handler, whose sleeps grow, so that it may starve beside a process that
        takes the lock again and again.
        """
        give_up, waited = time.monotonic() + WAIT, False
        db.execute("PRAGMA busy_timeout = 0")
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > min(give_up, self.deadline):
                    raise
                waited = True
                time.sleep(jitter())
            else:
                db.execute(f"PRAGMA busy_timeout = {WAIT * 1000:.0f}")
                return waited

    def suspect(self, error: BaseException) -> None:
        """Have the file examined before its next use, after an error of the disk or of SQLite."""
        self._known = None
        self._thorough = self._thorough or is_damage(error)  # damage that the quick check did not see

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()


def _is_cut_off(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file ends within its last page, whose missing bytes SQLite reads as zeros without an error."""
    db.execute("BEGIN")  # while a transaction reads, nobody writes
    try:
        pages, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return path.stat().st_size < int(pages) * int(size)
    finally:
        db.execute("ROLLBACK")


def _is_sound(db: sqlite3.Connection, *, thorough: bool) -> bool:
    """Whether SQLite's integrity checks pass.

    `quick_check` does not compare an index with its table. `integrity_check` does, for the tables of which a row hidden
    by a damaged index would be paid for again.
    """
    if thorough:
        return _passes(db, "integrity_check(1)")
    return _passes(db, "quick_check(1)") and all(_passes(db, f"integrity_check({table})") for table in LOOKED_UP)


def _passes(db: sqlite3.Connection, check: str) -> bool:
    return bool(db.execute(f"PRAGMA {check}").fetchone()[0] == "ok")


LEAKED: list[sqlite3.Connection] = []
"""In a forked child, the connections of its parent: referenced here for ever, since SQLite must not close them."""


def jitter() -> float:
    """Random seconds to sleep before the next attempt to lock."""
    return random.uniform(0.001, 0.01)  # noqa: S311
