"""The file behind the store: made, examined at first use, moved aside when it is not ours; and connections to it."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ._codec import row_digest
from ._errors import StoreError
from ._text import clean

FOLDER = "nbhelper-data"
VERSION = 1
FILE = "history.db"
APPLICATION = 0x6E626864
"""`nbhd` in the file's header: what tells our file from another program's."""
WAIT = 30.0
"""Seconds that a writer waits for another process."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, digest TEXT NOT NULL);

CREATE TABLE tasks (
    uid TEXT PRIMARY KEY, provider TEXT NOT NULL, origin TEXT NOT NULL, id TEXT, extra TEXT NOT NULL, label TEXT,
    params TEXT NOT NULL, endpoint TEXT, model TEXT, experiment TEXT, repeat INTEGER, cell TEXT, fingerprint TEXT,
    digest TEXT NOT NULL
);
CREATE UNIQUE INDEX tasks_identity ON tasks (provider, origin, id, extra) WHERE id IS NOT NULL;
CREATE INDEX tasks_experiment ON tasks (experiment, cell, repeat) WHERE experiment IS NOT NULL;

-- Derived from the events, and made again from them when it is damaged.
CREATE TABLE summaries (
    uid TEXT PRIMARY KEY, begun TEXT NOT NULL, outcome TEXT, body TEXT NOT NULL, digest TEXT NOT NULL
);
CREATE INDEX summaries_begun ON summaries (begun);
CREATE INDEX summaries_outcome ON summaries (outcome);

CREATE TABLE events (
    uid TEXT NOT NULL, seq INTEGER NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, reply TEXT,
    digest TEXT NOT NULL, PRIMARY KEY (uid, seq)
);
CREATE INDEX events_saved ON events (uid, seq) WHERE kind = 'saved';

-- Equal replies to the looks at one task are kept once.
CREATE TABLE replies (uid TEXT NOT NULL, digest TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (uid, digest));

-- Signed links are secrets: they stand apart from what is kept, and go when the file is saved.
CREATE TABLE links (
    uid TEXT NOT NULL, name TEXT NOT NULL, url TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (uid, name)
);

CREATE TABLE intents (
    uid TEXT PRIMARY KEY, at TEXT NOT NULL, state TEXT NOT NULL, request_digest TEXT NOT NULL, body_digest TEXT,
    request_id TEXT, code TEXT, note TEXT, digest TEXT NOT NULL
);
CREATE INDEX intents_request ON intents (request_digest);
CREATE INDEX intents_open ON intents (state) WHERE state IN ('begun', 'sent', 'in_doubt');

CREATE TABLE leases (uid TEXT PRIMARY KEY, holder TEXT NOT NULL, until TEXT NOT NULL);

-- One JSON per price that was set: its fields may grow without another schema.
CREATE TABLE prices (name TEXT PRIMARY KEY, at TEXT NOT NULL, body TEXT NOT NULL, digest TEXT NOT NULL)
"""


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file is broken. A broken schema may not even be quoted in SQLite's own message."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, UnicodeDecodeError) or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def explain(error: BaseException, folder: Path) -> Exception:
    """A fault of the database or the disk, in words that say what to do; anything else as it is."""
    elsewhere = "choose another folder with nbhelper.set_store(folder) or NBHELPER_DATA"
    if is_damage(error):
        return StoreError(f"The history in {folder} is damaged. The next call moves it aside and begins a new one.")
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
    """The file: made, examined at first use, moved aside when it is not ours; and connections to it."""

    def __init__(self, folder: Path, notes: list[str]) -> None:
        self.folder = folder
        self.path = folder / FILE
        self.notes = notes
        self.forget()

    def forget(self) -> None:
        """Begin anew, without touching connections: a child process must not use or close those of its parent."""
        LEAKED.extend(getattr(self, "_idle", ()))
        self._lock = threading.RLock()
        self._activity = threading.Condition()
        self._active = 0
        self._shut = False
        self._idle: list[sqlite3.Connection] = []
        self._known: tuple[int, int] | None = None
        self._thorough = False
        self.newer = 0

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """While the file may be locked by this process, which must not fork just then."""
        with self._activity:
            self._activity.wait_for(lambda: not self._shut)
            self._active += 1
        try:
            yield
        finally:
            with self._activity:
                self._active -= 1
                self._activity.notify_all()

    def pause(self) -> None:
        """Wait until nothing is active, and keep it so until `resume`; a stuck disk must not hold up a fork for ever.

        SQLite's book-keeping of the locks a process holds is copied by a fork, while the locks themselves are not.
        """
        with self._activity:
            self._shut = True
            self._activity.wait_for(lambda: self._active == 0, timeout=5)

    def resume(self) -> None:
        """Let work go on after a fork."""
        with self._activity:
            self._shut = False
            self._activity.notify_all()

    def ready(self, *, create: bool) -> bool:
        """Whether there is a history to use. It is examined once, and again when the file was replaced meanwhile."""
        with self._lock:
            found = self._identity()
            if found is not None and found == self._known:
                return True
            self.close()
            self._known = None
            if create:
                self._make_folder()
            elif self.folder.exists() and not self.folder.is_dir():
                raise StoreError(f"{self.folder} is a file, not a folder. Name another one with nbhelper.set_store().")
            elif found is None or (self.path.is_file() and self.path.stat().st_size == 0):
                return False
            self._examine()
            self._known = self._identity()
            return True

    @property
    def known(self) -> tuple[int, int] | None:
        """Which file was examined last."""
        return self._known

    def _identity(self) -> tuple[int, int] | None:
        try:
            info = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return info.st_dev, info.st_ino

    def _make_folder(self) -> None:
        folder = self.folder
        try:
            folder.mkdir(mode=0o700)
            ours = True
        except FileExistsError:
            if not folder.is_dir():
                raise StoreError(
                    f"{folder} is a file, not a folder. Name another one with nbhelper.set_store()."
                ) from None
            # A folder that holds other things was named by the user, and stays as it is.
            ours = folder.name == FOLDER or self.path.exists() or not any(folder.iterdir())
        except FileNotFoundError:
            raise StoreError(f"{folder.parent} does not exist. Make it first, or name another folder.") from None
        if not ours:
            return
        with contextlib.suppress(
            PermissionError, FileExistsError
        ):  # somebody else's: usable, perhaps, but not ours to change
            if folder.stat().st_mode & 0o777 != 0o700:
                folder.chmod(0o700)
            make_file(folder / ".gitignore", b"*\n")

    def _examine(self) -> None:
        problem = self._problem()
        if problem:
            with self._alone():
                # Another process may have moved it aside while this one waited.
                problem = self._problem()
                if problem:
                    self._set_aside(problem)
                    self._problem()

    def _problem(self) -> str | None:
        """What is wrong with the file; an empty or missing one becomes a history on the way."""
        if self.path.is_dir():
            return "is a folder"
        make_file(self.path)
        self.newer = 0
        with contextlib.closing(self._open()) as db:
            try:
                application, version, tables = header(db)
                if application == 0 and version == 0 and tables == 0:
                    create(db)
                    application, version, tables = header(db)
                if application != APPLICATION:
                    return "belongs to another program"
                if version > VERSION:
                    self.newer = version
                    return None
                check = "integrity_check" if self._thorough else "quick_check"
                intact = version == VERSION and schema_of(db) == expected_schema()
                if not intact or db.execute(f"PRAGMA {check}(1)").fetchone()[0] != "ok":
                    return "is damaged"
                self._thorough = False
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if is_damage(error):
                    return "is damaged"
                raise
        return None

    def _set_aside(self, problem: str) -> None:
        aside = self.path.with_name(f"{FILE}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}.aside")
        for suffix in ("-journal", "-wal", "-shm"):
            beside = self.path.with_name(FILE + suffix)
            if beside.exists():  # it belongs to that file, and would be played into the new one
                beside.rename(aside.with_name(aside.name + suffix))
        self.path.rename(aside)
        self.notes.append(f"{self.path} {problem}. It was kept as {aside.name}, and a new history was begun.")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        import fcntl

        lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            give_up = time.monotonic() + WAIT
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up:
                        raise StoreError(f"Another process is repairing {self.path}. Try again later.") from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(lock)

    def _open(self) -> sqlite3.Connection:
        address = f"{self.path.as_uri()}?mode=rw"  # never makes a file
        db = sqlite3.connect(address, uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False)
        db.text_factory = lambda text: text.decode("utf-8", "replace")  # a damaged text fails by its digest, not here
        return db

    def connect(self, *, write: bool) -> sqlite3.Connection:
        """A new connection to the file, which was found to be ours."""
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
        """A connection for one piece of reading; None when there is no history yet."""
        try:
            with self.active():
                if not self.ready(create=False):
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
            raise explain(error, self.folder) from error

    def suspect(self, error: BaseException) -> None:
        """Examine the file again before its next use: the disk, or the file, gave an error."""
        self._known = None
        self._thorough = self._thorough or is_damage(error)  # what the quick check had not seen

    def close(self) -> None:
        """Close what nobody uses just now."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()


LEAKED: list[sqlite3.Connection] = []


def make_file(path: Path, content: bytes = b"") -> None:
    """A file for its owner alone, whatever the umask; one that exists stays as it is."""
    with contextlib.suppress(FileExistsError):
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.fchmod(made, 0o600)
            os.write(made, content)
        finally:
            os.close(made)


def header(db: sqlite3.Connection) -> tuple[int, int, int]:
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return application, version, tables


def schema_of(db: sqlite3.Connection) -> set[str]:
    return {row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()}


@functools.cache
def expected_schema() -> set[str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA)
        return schema_of(db)


def create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        if header(db)[0] == 0:  # else another process was quicker
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            lasting_salt(db)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def put(db: sqlite3.Connection, table: str, columns: Sequence[str], values: Sequence[Any]) -> None:
    """Insert or replace one row, with its digest. Table and columns are this module's own words, never data."""
    marks = ", ".join("?" * (len(columns) + 1))
    sql = f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}, digest) VALUES ({marks})"  # noqa: S608
    db.execute(sql, (*values, row_digest(*values)))


def nap() -> float:
    return random.uniform(0.001, 0.01)  # noqa: S311 - jitter


def begin(db: sqlite3.Connection) -> bool:
    """Begin a transaction that writes; whether it had to wait for another process.

    SQLite's own waiting sleeps longer and longer, and may starve beside a process that takes the lock again and again.
    """
    give_up, waited = time.monotonic() + WAIT, False
    db.execute("PRAGMA busy_timeout = 0")
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            waited = True
            time.sleep(nap())
        else:
            db.execute(f"PRAGMA busy_timeout = {WAIT * 1000:.0f}")
            return waited


def salt_of(db: sqlite3.Connection) -> bytes | None:
    row = db.execute("SELECT name, value, digest FROM meta WHERE name = 'salt'").fetchone()
    return bytes.fromhex(row[1]) if row and row_digest(*row[:-1]) == row[-1] else None


def lasting_salt(db: sqlite3.Connection) -> bytes:
    """The salt; a new one where there is none that can be trusted, which only makes old fingerprints say nothing."""
    salt = salt_of(db)
    if salt is None:
        salt = secrets.token_bytes(32)
        put(db, "meta", ("name", "value"), ("salt", salt.hex()))
    return salt
