"""What is in the file: its tables, the steps from older versions to this one, and rows that carry a digest."""

from __future__ import annotations

import contextlib
import functools
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ._codec import row_digest
from ._json import dumps, loads
from ._text import storable
from ._values import NOTHING

VERSION = 2
APPLICATION = 0x6E626864
"""`nbhd` in the file's header: what tells our file from another program's."""

SUMMARY = (
    "uid", "begun", "seq", "provider", "task_id", "label", "experiment", "repeat", "model", "endpoint", "origin",
    "state", "outcome", "error_code", "error_message", "submitted_at", "created_at", "first_seen_at", "started_at",
    "finished_at", "finished_seen_at", "saved_at", "queue_s", "run_s", "total_s", "delivered_s", "time_source",
    "uncertainty_s", "lag_s", "polls", "misses", "rate_limited", "credits", "n_outputs", "n_saved", "n_bytes", "files",
    "params", "extra",
)  # fmt: skip
"""The row of a task in `summaries`; every column but `begun` is one of `row_of`."""
_AS_JSON: dict[str, type[list[Any] | dict[str, Any]]] = {"files": list, "params": dict, "extra": dict}

LOOKED_UP = ("tasks", "intents", "links")
"""Tables whose rows are found by an index, one by one, to decide what is watched or paid for again."""

_SUMMARIES = """
CREATE TABLE summaries (
    uid TEXT PRIMARY KEY, begun TEXT NOT NULL, seq INTEGER NOT NULL, provider TEXT NOT NULL, task_id TEXT, label TEXT,
    experiment TEXT, repeat INTEGER, model TEXT, endpoint TEXT, origin TEXT, state TEXT, outcome TEXT, error_code TEXT,
    error_message TEXT, submitted_at TEXT, created_at TEXT, first_seen_at TEXT, started_at TEXT, finished_at TEXT,
    finished_seen_at TEXT, saved_at TEXT, queue_s, run_s, total_s, delivered_s, time_source TEXT, uncertainty_s, lag_s,
    polls INTEGER, misses INTEGER, rate_limited INTEGER, credits, n_outputs INTEGER, n_saved INTEGER, n_bytes INTEGER,
    files TEXT NOT NULL, params TEXT NOT NULL, extra TEXT NOT NULL, digest TEXT NOT NULL
);
CREATE INDEX summaries_begun ON summaries (begun);
CREATE INDEX summaries_outcome ON summaries (outcome)
"""

_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, digest TEXT NOT NULL);

CREATE TABLE tasks (
    uid TEXT PRIMARY KEY, provider TEXT NOT NULL, origin TEXT NOT NULL, id TEXT, extra TEXT NOT NULL, label TEXT,
    params TEXT NOT NULL, endpoint TEXT, model TEXT, experiment TEXT, repeat INTEGER, cell TEXT, fingerprint TEXT,
    digest TEXT NOT NULL
);
CREATE UNIQUE INDEX tasks_identity ON tasks (provider, origin, id, extra) WHERE id IS NOT NULL;
CREATE INDEX tasks_experiment ON tasks (experiment, cell, repeat) WHERE experiment IS NOT NULL;

-- Derived from the events, and made again from them when it is damaged. A column of its own for each of the table's, so
-- that 100,000 tasks are read without parsing; numbers that may be whole or not have no type, which would change them.
{_SUMMARIES.strip()};

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

-- One JSON per price that was set: its fields may grow without another schema.
CREATE TABLE prices (name TEXT PRIMARY KEY, at TEXT NOT NULL, body TEXT NOT NULL, digest TEXT NOT NULL)
"""


# Versions


def header(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Whose file it is, the version of its schema, and how many tables and indexes it has."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return application, version, tables


def schema_of(db: sqlite3.Connection) -> set[str]:
    """The statements that made the tables and indexes."""
    return {row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()}


@functools.cache
def expected_schema() -> set[str]:
    """What `schema_of` must give for a file of this version."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA)
        return schema_of(db)


def create(db: sqlite3.Connection) -> None:
    """Make the tables in an empty file."""
    with transaction(db):
        if header(db)[0] == 0:  # else another process was quicker
            _run(db, _SCHEMA)
            lasting_salt(db)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")


def _columns(db: sqlite3.Connection) -> None:
    """From 1 to 2: a summary was one JSON text. One that is damaged is left out, and made again from the events."""
    old = db.execute("SELECT uid, begun, outcome, body, digest FROM summaries ORDER BY uid").fetchall()
    db.execute("DROP TABLE summaries")
    db.execute("DROP TABLE leases")
    _run(db, _SUMMARIES)
    for row in old:
        if (new := from_json(row)) is not None:
            put(db, "summaries", SUMMARY, new)


def from_json(row: Sequence[Any]) -> Sequence[Any] | None:
    """A summary of version 1 as one of this version; None when it is damaged."""
    if row_digest(*row[:-1]) != row[-1] or not isinstance(body := loads(row[3]), dict):
        return None
    return summary(body, row[1]) if {*SUMMARY} - {*body} == {"begun"} else None


STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _columns}
"""What brings a file of each older version to the next one, inside a transaction."""


def migrate(db: sqlite3.Connection) -> None:
    """Bring an older file to this version, as part of the caller's transaction.

    Raises:
        sqlite3.Error: Its tables are not those of its version.
    """
    for version in range(header(db)[1], VERSION):
        STEPS[version](db)
    if schema_of(db) != expected_schema():
        db.execute("SELECT * FROM what_its_version_says")
    db.execute(f"PRAGMA user_version = {VERSION}")


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Any:
    """One transaction that writes: all of it, or nothing."""
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


def put(db: sqlite3.Connection, table: str, columns: Sequence[str], values: Sequence[Any]) -> None:
    """Insert or replace one row, with its digest. Table and columns are this library's own words, never data."""
    db.execute(_insert(table, tuple(columns)), (*values, row_digest(*values)))


@functools.cache
def _insert(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * (len(columns) + 1))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}, digest) VALUES ({marks})"  # noqa: S608


def summary(body: Mapping[str, Any], begun: str, texts: Mapping[str, str] = NOTHING) -> list[Any]:
    """The values of `SUMMARY` for a row of `row_of`.

    Args:
        body: The row.
        begun: What `since` and `until` go by.
        texts: Columns whose JSON is at hand.
    """
    found = {**body, "begun": begun, **{name: texts.get(name) or _json(body[name]) for name in _AS_JSON}}
    # Hardly any value needs a second look, and every look at a task comes through here.
    return [v if v is None or type(v) is float else _bound(v) for v in map(found.get, SUMMARY)]


def _json(value: Any) -> str:
    return dumps(value) if value else "[]" if isinstance(value, list) else "{}"


def _bound(value: Any) -> Any:
    if isinstance(value, str):
        return storable(str(value))  # a plain str: SQLite is slow with the words of an enumeration
    if isinstance(value, int) and not -(2**63) <= value < 2**63:  # a server may state any number
        return float(value) if abs(value) < 10**300 else None
    return value


def body_of(values: Sequence[Any]) -> dict[str, Any] | None:
    """The row of `row_of` again; None when it cannot be understood."""
    body = dict(zip(SUMMARY, values, strict=False))
    del body["begun"]
    for name, kind in _AS_JSON.items():
        body[name] = value = loads(body[name])
        if type(value) is not kind:
            return None
    return body


def task_of(values: Sequence[Any]) -> list[Any]:
    """A task's own row from the one that sums it up, which has all of it but `cell` and `fingerprint`."""
    row = dict(zip(SUMMARY, values, strict=False))
    names = ("uid", "provider", "origin", "task_id", "extra", "label", "params", "endpoint", "model", "experiment")
    return [*(row[name] for name in names), row["repeat"], None, None]


def salt_of(db: sqlite3.Connection) -> bytes | None:
    """The salt of the fingerprints; None where there is none that can be trusted."""
    row = db.execute("SELECT name, value, digest FROM meta WHERE name = 'salt'").fetchone()
    return bytes.fromhex(row[1]) if row and row_digest(*row[:-1]) == row[-1] else None


def lasting_salt(db: sqlite3.Connection) -> bytes:
    """The salt; a new one where there is none that can be trusted, which only makes old fingerprints say nothing."""
    salt = salt_of(db)
    if salt is None:
        salt = secrets.token_bytes(32)
        put(db, "meta", ("name", "value"), ("salt", salt.hex()))
    return salt


def put_all(db: sqlite3.Connection, table: str, rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows that carry their digests, where there is no such row yet."""
    for row in rows:
        db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})", tuple(row))  # noqa: S608
