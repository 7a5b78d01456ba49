"""Copy what SQLite can still read of a damaged file into a new one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .rows import Rows

TABLES = ("meta", "tasks", "summaries", "events", "replies", "links", "intents", "prices")
GIVE_UP = 1000
"""Consecutive failures after which nothing more is read of a table: they have skipped 17,000 row ids."""

_TASKS = """
INSERT OR IGNORE INTO tasks (uid, provider, origin, id, extra, label, params, endpoint, model, experiment, repeat)
SELECT uid, provider, origin, task_id, extra, label, params, endpoint, model, experiment, repeat FROM summaries
"""


def salvage(old: sqlite3.Connection, new: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Copy every readable row of a damaged file into an empty one; returns how many tasks and events `new` has then."""
    new.execute("DELETE FROM meta")  # of the salts the old one is kept; a new one is made at first use
    for table in TABLES:
        columns = [name for _, name, *_ in new.execute(f"PRAGMA table_info({table})")]
        marks = ", ".join("?" * len(columns))
        new.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", _readable(old, table, columns))  # noqa: S608
    new.execute(_TASKS)  # tasks that only their summary still has: one that is forgotten may be paid for again
    rows = Rows(path)
    for (uid,) in new.execute("SELECT uid FROM tasks WHERE uid NOT IN (SELECT uid FROM summaries)").fetchall():
        if (row := rows.task(new, uid)) is not None:
            rows.write_summary(new, row, rows.load(new, row))
    tasks, events = (new.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("tasks", "events"))  # noqa: S608
    return tasks, events


def _readable(db: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    """Yield rows by ranges of row ids: ever shorter ones before an unreadable row, ever larger steps after it."""
    sql = f"SELECT rowid, {', '.join(columns)} FROM {table} NOT INDEXED WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608
    last, many, missed = 0, 1000, 0
    try:
        db.execute(f"SELECT 1 FROM {table} LIMIT 0")  # noqa: S608 - reads the schema alone
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return
    while missed < GIVE_UP:
        try:
            rows = db.execute(sql, (last, many)).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError):
            if many > 1:
                many //= 2
            else:
                missed += 1
                last += 1 + missed // 30
            continue
        if not rows:
            return
        yield from (values for _, *values in rows)
        last, many, missed = max(last + 1, *(rowid for rowid, *_ in rows)), min(2 * many, 1000), 0
