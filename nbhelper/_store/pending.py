"""Which rows are unfinished or in doubt, and what `resume()` asks of rows, read on an open connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable
from typing import Literal

from .._model.json_text import dumps
from .._model.seen import Outcome
from .._model.text import storable
from . import creates, listing
from .filter import Filter
from .rows import Rows
from .summary_row import Row

Why = Literal["unfinished", "lost", "stopped", "in doubt", "results missing"]


def pending(rows: Rows, db: sqlite3.Connection, wanted: Filter) -> list[Row]:
    """The summaries that are unfinished or in doubt, each with its reason as `pending`."""
    doubtful = creates.doubtful(db)
    found = ((row, _why(rows, db, row, doubtful)) for row in listing.summaries(db, wanted))
    return [{**row, "pending": why} for row, why in found if why is not None]


def _why(rows: Rows, db: sqlite3.Connection, row: Row, doubtful: Container[str]) -> Why | None:
    if row["task_id"] is None:  # one that was begun and never sent made nothing
        return "in doubt" if row["uid"] in doubtful else None
    match row["outcome"]:
        case None:
            return "unfinished"
        case Outcome.LOST:
            return "lost"
        case Outcome.STOPPED:
            return "stopped"
    if (row["n_outputs"] or 0) <= (row["n_saved"] or 0):
        return None
    history = rows.history(db, row["uid"])
    return "results missing" if history is not None and history.missing else None


def with_ids(db: sqlite3.Connection, idents: Iterable[str]) -> list[Row]:
    """The summaries of all tasks with one of these ids, of whatever provider."""
    sql = "SELECT uid FROM tasks WHERE id IN (SELECT value FROM json_each(?))"
    uids = db.execute(sql, (dumps([storable(ident) for ident in idents]),)).fetchall()
    return list(listing.summaries(db, Filter(uids=tuple(uid for (uid,) in uids))))


def fingerprints(db: sqlite3.Connection, uids: Iterable[str]) -> list[tuple[str, str | None]]:
    """Provider and key's fingerprint of each of these rows."""
    sql = "SELECT provider, fingerprint FROM tasks WHERE uid IN (SELECT value FROM json_each(?))"
    return db.execute(sql, (dumps(list(uids)),)).fetchall()
