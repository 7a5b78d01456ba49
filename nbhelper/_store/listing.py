"""Queries on an open connection for `tasks()`, `events()`, `outputs()`, `pending()` and `resume()`, by a `Filter`."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Container, Iterable, Iterator
from typing import Any, Literal, TypeVar

from .._model.history import History
from .._model.json_text import dumps, loads
from .._model.states import Outcome, SaveState
from .._model.text import storable
from . import creates
from .filter import Filter
from .history_to_row import COLUMNS, Row, from_values
from .rows import Rows

T = TypeVar("T")
Why = Literal["unfinished", "lost", "stopped", "in doubt", "results missing"]


def summaries(db: sqlite3.Connection, conditions: Filter) -> Iterator[Row]:
    """One row per task, newest last. All are read at once; the JSON of each is parsed when the iterator reaches it."""
    return filter(None, map(from_values, _pop_each(_select(db, _SUMMARIES, conditions))))


def histories(rows: Rows, db: sqlite3.Connection, conditions: Filter) -> list[History]:
    """The histories of the same tasks as `summaries`, but for creates that have no id yet."""
    task_rows = [rows.task(db, uid) for (uid,) in _select(db, _UIDS, conditions)]
    return [rows.load(db, row) for row in task_rows if row and row.id]


def events(rows: Rows, db: sqlite3.Connection, conditions: Filter) -> list[Row]:
    """Every observation of the tasks of `summaries`: `uid`, `task`, `seq`, `at`, and `body` without the raw reply."""
    return [
        {"uid": uid, "task": task, "seq": seq, "at": at, "body": body}
        for uid, task, observed in _events_by_task(rows, db, _EVENTS, conditions)
        for seq, at, body in observed
    ]


def outputs(rows: Rows, db: sqlite3.Connection, conditions: Filter) -> list[Row]:
    """Every saved file of the tasks of `summaries`, by its newest `Saved`, its path as the store keeps it."""
    listed: list[Row] = []
    for uid, task, observed in _events_by_task(rows, db, _SAVED, conditions):
        newest = {str(body.get("name")): body for _, _, body in observed}
        saved = (body for body in newest.values() if body.get("state", SaveState.SAVED) == SaveState.SAVED)
        listed += [{**body, "uid": uid, "task": task} for body in saved if "file" in body]
    return listed


def _events_by_task(
    rows: Rows, db: sqlite3.Connection, columns: str, conditions: Filter
) -> Iterator[tuple[str, str | None, list[tuple[int, str, Row]]]]:
    """For each task its uid, its text such as `kie:t1`, and number, time and body of its events."""
    for uid, group in itertools.groupby(_select(db, columns, conditions), lambda row: row[0]):
        observed = [(seq, at, body) for _, seq, at, text in group if isinstance(body := loads(text), dict)]
        yield uid, rows.text(db, uid), observed


def recent(db: sqlite3.Connection, provider: str, origin: str, most: int) -> list[Row]:
    """The newest tasks of one API, at most `most`, oldest first, with the time of the last snapshot of each."""
    newest_first = db.execute(_RECENT, (provider, origin, most)).fetchall()
    bodies = [(from_values(values), at) for at, *values in reversed(newest_first)]
    return [{**body, "last_good_at": at} for body, at in bodies if body is not None]


def models(db: sqlite3.Connection, uids: Iterable[str]) -> dict[str, str]:
    """The model that each of these rows was created with, where that is known."""
    return dict(db.execute(_MODELS, (dumps(list(uids)),)).fetchall())


def last_seqs(db: sqlite3.Connection, uids: Iterable[str]) -> dict[str, int]:
    """The number of the last event of each of these rows that has one."""
    return dict(db.execute(_LAST_SEQS, (dumps(list(uids)),)).fetchall())


def providers(db: sqlite3.Connection) -> set[str]:
    """The providers of all tasks."""
    return {name for (name,) in db.execute("SELECT DISTINCT provider FROM tasks").fetchall()}


def pending(rows: Rows, db: sqlite3.Connection, conditions: Filter) -> list[Row]:
    """The summaries that are unfinished or in doubt, each with its reason as `pending`."""
    in_doubt = creates.uids_in_doubt(db)
    reasons = ((row, _why(rows, db, row, in_doubt)) for row in summaries(db, conditions))
    return [{**row, "pending": why} for row, why in reasons if why is not None]


def _why(rows: Rows, db: sqlite3.Connection, row: Row, in_doubt: Container[str]) -> Why | None:
    if row["task_id"] is None:  # a create that was begun and never sent made no task
        return "in doubt" if row["uid"] in in_doubt else None
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
    """The summaries of all tasks with one of these ids, of every provider."""
    sql = "SELECT uid FROM tasks WHERE id IN (SELECT value FROM json_each(?))"
    uids = db.execute(sql, (dumps([storable(ident) for ident in idents]),)).fetchall()
    return list(summaries(db, Filter(uids=tuple(uid for (uid,) in uids))))


def fingerprints(db: sqlite3.Connection, uids: Iterable[str]) -> list[tuple[str, str | None]]:
    """Provider and fingerprint of the API key of each of these rows."""
    sql = "SELECT provider, fingerprint FROM tasks WHERE uid IN (SELECT value FROM json_each(?))"
    return db.execute(sql, (dumps(list(uids)),)).fetchall()


def _select(db: sqlite3.Connection, columns: str, conditions: Filter) -> list[tuple[Any, ...]]:
    parameters, lenient = conditions.parameters(), db.text_factory
    try:
        db.text_factory = str  # takes a third less time, and raises where a text is damaged
        return db.execute(columns + _WHERE, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
        db.text_factory = lenient
        return db.execute(columns + _WHERE, parameters).fetchall()
    finally:
        db.text_factory = lenient


def _pop_each(items: list[T]) -> Iterator[T]:
    """Yield the items in their order, and remove each from the list, so that its memory is freed."""
    items.reverse()
    while items:
        yield items.pop()


_OF_TASKS = " FROM tasks t JOIN summaries s ON s.uid = t.uid"
_VALUES = ", ".join(f"s.{name}" for name in COLUMNS)
_UIDS = f"SELECT t.uid {_OF_TASKS}"
_SUMMARIES = f"SELECT {_VALUES}{_OF_TASKS}"
_LAST_GOOD = "(SELECT max(e.at) FROM events e WHERE e.uid = t.uid AND e.kind = 'snapshot')"
_RECENT = f"SELECT {_LAST_GOOD}, {_VALUES}{_OF_TASKS} WHERE t.provider = ? AND t.origin = ? ORDER BY t.uid DESC LIMIT ?"
_MODELS = "SELECT uid, model FROM tasks WHERE model IS NOT NULL AND uid IN (SELECT value FROM json_each(?))"
_LAST_SEQS = "SELECT uid, max(seq) FROM events WHERE uid IN (SELECT value FROM json_each(?)) GROUP BY uid"
_EVENTS = f"SELECT t.uid, e.seq, e.at, e.body{_OF_TASKS} JOIN events e ON e.uid = t.uid"
_SAVED = f"{_EVENTS} AND e.kind = 'saved'"
_WHERE = (
    " WHERE (:since IS NULL OR s.begun >= :since) AND (:until IS NULL OR s.begun <= :until)"
    " AND (:provider IS NULL OR t.provider IN (SELECT value FROM json_each(:provider)))"
    " AND (:experiment IS NULL OR t.experiment IN (SELECT value FROM json_each(:experiment)))"
    " AND (:outcome IS NULL OR coalesce(s.outcome, 'pending') IN (SELECT value FROM json_each(:outcome)))"
    " AND (:uids IS NULL OR t.uid IN (SELECT value FROM json_each(:uids))) ORDER BY t.uid"
)
