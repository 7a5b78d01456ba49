"""The lists that the tables are made of, and which rows a filter chooses, read on an open connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

from ._codec import dumps, instant, loads
from ._errors import BadInput
from ._history import History
from ._rows import Row, Rows
from ._schema import SUMMARY
from ._text import clean, nearest, storable
from ._values import Outcome, SaveState, Task


class Wanted(TypedDict, total=False):
    """Which rows: everything that is named must hold.

    Attributes:
        since: The task was submitted, or first seen, no earlier: a time, ISO text, or an age such as `"2h"`.
        until: The same, no later.
        provider: A name, or several.
        experiment: The same.
        outcome: An outcome, or several; `"pending"` for those without one.
        uids: Rows by name.
    """

    since: datetime | timedelta | str | None
    until: datetime | timedelta | str | None
    provider: str | Iterable[str] | None
    experiment: str | Iterable[str] | None
    outcome: str | Iterable[str] | None
    uids: Iterable[str] | None


Found = tuple[Any, ...]


def summaries(rows: Rows, db: sqlite3.Connection | None, wanted: Wanted) -> list[Found]:
    """The stored summaries, newest task last, as `told` takes them: `uid` and the columns of `SUMMARY`."""
    return _select(rows, db, _SUMMARIES, wanted)


def told(rows: Rows, found: list[Found], again: Callable[[str], Row | None]) -> Iterator[Row]:
    """One row per task out of what `summaries` found, whose memory is let go on the way.

    Args:
        rows: The store's.
        found: From `summaries`; empty afterwards.
        again: What sums up a task whose summary is damaged.
    """
    found.reverse()
    while found:
        uid, *values = found.pop()
        body = rows.summary(values) or again(uid)
        if body is not None:
            yield body


def histories(rows: Rows, db: sqlite3.Connection | None, wanted: Wanted) -> list[History]:
    """The histories of `summaries`, but for creates that have no id yet."""
    found = [rows.listed(db, uid) for (uid,) in _select(rows, db, _UIDS, wanted) if db]
    return [rows.load(db, row) for row in found if db and row and row["id"]]


def events(rows: Rows, db: sqlite3.Connection | None, wanted: Wanted) -> list[Row]:
    """Every observation of `summaries`: `uid`, `task`, `seq`, `at`, and `body` without the raw reply."""
    return [
        {"uid": row[3], "task": _text_of(*row[:3]), "seq": row[4], "at": row[5], "body": loads(row[7]) or {}}
        for row in _select(rows, db, _EVENTS, wanted)
        if rows.whole(row[3:])
    ]


def outputs(rows: Rows, db: sqlite3.Connection | None, wanted: Wanted) -> list[Row]:
    """Every saved file of `summaries`, by the newest word about it, its path as the store keeps it."""
    newest: dict[tuple[str, str], Row] = {}
    for row in _select(rows, db, _SAVED, wanted):
        body = loads(row[7]) if rows.whole(row[3:]) else None
        if isinstance(body, dict):
            newest[row[3], str(body.get("name"))] = {**body, "uid": row[3], "task": _text_of(*row[:3])}
    return [row for row in newest.values() if row.get("state", SaveState.SAVED) == SaveState.SAVED and "file" in row]


def submitted(db: sqlite3.Connection, provider: str, origin: str, request_digest: str) -> str | None:
    """The newest task of an identical request that is under way or succeeded."""
    found = db.execute(_SUBMITTED, (request_digest, provider, origin)).fetchone()
    return found[0] if found else None


def _select(rows: Rows, db: sqlite3.Connection | None, columns: str, wanted: Wanted) -> list[tuple[Any, ...]]:
    asked = _asked(wanted, rows.clock())  # also where nothing is kept yet: a wrong filter is told at once
    return [] if db is None else db.execute(columns + _WANTED, asked).fetchall()


def _asked(wanted: Wanted, now: datetime) -> Row:
    outcomes = _names(wanted, "outcome")
    known = [*Outcome, "pending"]
    for word in outcomes or ():
        if word not in known:
            raise BadInput(
                f'No outcome is called "{clean(word, 40)}".{nearest(word, known)} There are {", ".join(known)}.'
            )
    asked: Row = {name: _names(wanted, name) for name in ("provider", "experiment", "uids")}
    asked |= {name: instant(wanted.get(name), now, name) for name in ("since", "until")}
    return {
        name: value if value is None or isinstance(value, str) else dumps(value)
        for name, value in {**asked, "outcome": outcomes}.items()
    }


def _names(wanted: Mapping[str, Any], name: str) -> list[str] | None:
    value = wanted.get(name)
    if value is None:
        return None
    if not isinstance(value, Iterable):
        raise BadInput(f"{name} is a name or a list of names, not {type(value).__name__}.")
    return [storable(str(v)) for v in ([value] if isinstance(value, str) else value)]


def _text_of(provider: str, ident: str | None, extra: str) -> str | None:
    try:
        return str(Task(provider, ident, extra=loads(extra))) if ident else None
    except BadInput:
        return None


_SUBMITTED = (
    "SELECT t.uid FROM intents i JOIN tasks t ON t.uid = i.uid LEFT JOIN summaries s ON s.uid = i.uid"
    " WHERE i.request_digest = ? AND i.state = 'created' AND t.provider = ? AND t.origin = ?"
    " AND coalesce(s.outcome, '') NOT IN ('failed', 'cancelled', 'expired') ORDER BY t.uid DESC LIMIT 1"
)
_OF_TASKS = " FROM tasks t LEFT JOIN summaries s ON s.uid = t.uid"
_UIDS = f"SELECT t.uid {_OF_TASKS}"
_SUMMARIES = f"SELECT t.uid, {', '.join(f's.{name}' for name in (*SUMMARY, 'digest'))}{_OF_TASKS}"
_EVENTS = (
    "SELECT t.provider, t.id, t.extra, e.uid, e.seq, e.at, e.kind, e.body, e.reply, e.digest"
    f"{_OF_TASKS} JOIN events e ON e.uid = t.uid"
)
_SAVED = f"{_EVENTS} AND e.kind = 'saved'"
_WANTED = (
    " WHERE (:since IS NULL OR s.begun >= :since) AND (:until IS NULL OR s.begun <= :until)"
    " AND (:provider IS NULL OR t.provider IN (SELECT value FROM json_each(:provider)))"
    " AND (:experiment IS NULL OR t.experiment IN (SELECT value FROM json_each(:experiment)))"
    " AND (:outcome IS NULL OR coalesce(s.outcome, 'pending') IN (SELECT value FROM json_each(:outcome)))"
    " AND (:uids IS NULL OR t.uid IN (SELECT value FROM json_each(:uids))) ORDER BY t.uid"
)
