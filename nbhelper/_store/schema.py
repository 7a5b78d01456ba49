"""The SQL tables of the file and their version number; write transactions; the salt of fingerprints."""

from __future__ import annotations

import contextlib
import functools
import secrets
import sqlite3
from collections.abc import Sequence
from typing import Any

from .history_to_row import COLUMNS

VERSION = 1003
"""`user_version` of the file: 1000 + n until the first release, raised with every change of the tables."""
APPLICATION = 0x6E626864
"""`application_id` in the file's header, ASCII `nbhd`: tells our file from another program's."""

LOOKED_UP = ("tasks", "intents", "links")
"""Tables whose rows are found by an index, one by one, to decide what is watched or paid for again."""

_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE tasks (
    uid TEXT PRIMARY KEY, provider TEXT NOT NULL, origin TEXT NOT NULL, id TEXT, extra TEXT NOT NULL, label TEXT,
    params TEXT NOT NULL, endpoint TEXT, model TEXT, experiment TEXT, repeat INTEGER, cell TEXT, fingerprint TEXT
);
CREATE UNIQUE INDEX tasks_identity ON tasks (provider, origin, id, extra) WHERE id IS NOT NULL;
CREATE INDEX tasks_experiment ON tasks (experiment, cell, repeat) WHERE experiment IS NOT NULL;

-- Derived from the events, so that 100,000 tasks are read without these. No column has a type, which would change
-- numbers that may be whole or not.
CREATE TABLE summaries ({", ".join(COLUMNS)}, PRIMARY KEY (uid));
CREATE INDEX summaries_begun ON summaries (begun);
CREATE INDEX summaries_outcome ON summaries (outcome);

CREATE TABLE events (
    uid TEXT NOT NULL, seq INTEGER NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, reply TEXT,
    PRIMARY KEY (uid, seq)
);
CREATE INDEX events_saved ON events (uid, seq) WHERE kind = 'saved';

-- Equal replies to the looks at one task are kept once.
CREATE TABLE replies (uid TEXT NOT NULL, digest TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (uid, digest));

-- Signed links are secrets: they stand apart from what is kept, and go when the file is saved.
CREATE TABLE links (uid TEXT NOT NULL, name TEXT NOT NULL, url TEXT NOT NULL, PRIMARY KEY (uid, name));

CREATE TABLE intents (
    uid TEXT PRIMARY KEY, at TEXT NOT NULL, state TEXT NOT NULL, request_digest TEXT NOT NULL, body_digest TEXT,
    request_id TEXT, code TEXT, note TEXT
);
CREATE INDEX intents_request ON intents (request_digest);
CREATE INDEX intents_open ON intents (state) WHERE state IN ('begun', 'sent', 'in_doubt');

-- One JSON per price that was set: its fields may grow without another schema.
CREATE TABLE prices (name TEXT PRIMARY KEY, at TEXT NOT NULL, body TEXT NOT NULL)
"""


def header(db: sqlite3.Connection) -> tuple[int, int, int]:
    """The file's `application_id`, its `user_version`, and how many tables and indexes it has."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return application, version, tables


def schema_of(db: sqlite3.Connection) -> set[str]:
    """The CREATE statements of a file's tables and indexes."""
    return {row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()}


@functools.cache
def expected_schema() -> set[str]:
    """What `schema_of` returns for an undamaged file of this version."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA)
        return schema_of(db)


def create(db: sqlite3.Connection) -> None:
    """Make the tables in an empty file."""
    with transaction(db):
        if header(db)[0] == 0:  # else another process has made them
            _run(db, _SCHEMA)
            ensure_salt(db)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Any:
    """A write transaction: committed at the end of the block, rolled back on an exception."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _run(db: sqlite3.Connection, script: str) -> None:
    for statement in script.strip().split(";\n"):  # executescript would commit first
        db.execute(statement)


# Rows


def insert(table: str, columns: Sequence[str]) -> str:
    """The statement that inserts or replaces one row. Table and columns are constants of this package, never data."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608


def read_salt(db: sqlite3.Connection) -> bytes | None:
    """The salt of the fingerprints; None where there is none, or it is damaged."""
    row = db.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()
    try:
        return bytes.fromhex(row[0]) if row else None
    except (TypeError, ValueError):
        return None


def ensure_salt(db: sqlite3.Connection) -> bytes:
    """The salt; where there is none, a new one is written, and older fingerprints match no key any more."""
    salt = read_salt(db)
    if salt is None:
        salt = secrets.token_bytes(32)
        db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('salt', ?)", (salt.hex(),))
    return salt
