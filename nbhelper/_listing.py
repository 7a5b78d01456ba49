"""The lists that the tables are made of, and which rows a filter chooses, read on an open connection."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ._codec import digest_of
from ._filter import Filter
from ._history import History
from ._json import dumps, loads
from ._rows import Row, Rows
from ._schema import SUMMARY, summary
from ._values import SaveState

Found = tuple[Any, ...]


def summaries(db: sqlite3.Connection | None, wanted: Filter) -> list[Found]:
    """The stored summaries, newest task last, as `told` and `columns` take them: `uid` and the columns of `SUMMARY`."""
    return _select(db, _SUMMARIES, wanted)


def told(rows: Rows, found: list[Found], again: Callable[[str], Row | None]) -> list[Row]:
    """One row per task out of what `summaries` found; `again` sums up a task whose summary is damaged."""
    bodies = (rows.summary(row[0], row[1:]) or again(row[0]) for row in found)
    return [body for body in bodies if body is not None]


Columns = tuple[dict[str, list[Any]], Iterable[Mapping[str, Any] | None]]
"""Most columns of `row_of`, with `files` as JSON text, and the parameters apart, to be read once."""
_FOUND = ("task", *SUMMARY)
_ASKED = [name for name in SUMMARY if name not in {"uid", "begun", "seq", "extra"}]
_AT_ONCE = 5_000
_PARSED = 250
"""Texts that are parsed together: that takes a fraction of the time, and mappings take several times their memory."""


def columns(rows: Rows, found: list[Found], again: Callable[[str], Row | None]) -> Columns:
    """What `told` gives, as columns; each row's memory is let go on the way: `found` is empty then."""
    cells: dict[str, list[Any]] = {name: [] for name in _ASKED}
    found.reverse()
    while found:
        some, found[-_AT_ONCE:] = found[: -_AT_ONCE - 1 : -1], []
        whole = (
            row if row[0] == row[1] and digest_of(row[1:-1]) == row[-1] else _summed_up(rows, row, again)
            for row in some
        )
        for name, values in zip(_FOUND, zip(*filter(None, whole), strict=True), strict=False):
            if name in cells:
                cells[name] += values
    return cells, _parsed(cells.pop("params"))


def _summed_up(rows: Rows, row: Found, again: Callable[[str], Row | None]) -> Found:
    """A row in place of one that is damaged; an empty one where nothing can be said."""
    body = rows.summary(row[0], row[1:]) or again(row[0])  # which say what is damaged
    return () if body is None else (row[0], *summary(body, ""), None)


def _parsed(texts: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(texts), _PARSED):
        some = texts[start : start + _PARSED]
        values = loads(f"[{','.join(some)}]")
        if not isinstance(values, list) or len(values) != len(some):
            values = list(map(loads, some))
        yield from (value if isinstance(value, dict) else {} for value in values)


def histories(rows: Rows, db: sqlite3.Connection | None, wanted: Filter) -> list[History]:
    """The histories of `summaries`, but for creates that have no id yet."""
    found = [rows.listed(db, uid) for (uid,) in _select(db, _UIDS, wanted) if db]
    return [rows.load(db, row) for row in found if db and row and row.id]


def events(rows: Rows, db: sqlite3.Connection | None, wanted: Filter) -> list[Row]:
    """Every observation of `summaries`: `uid`, `task`, `seq`, `at`, and `body` without the raw reply."""
    listed: list[Row] = []
    for uid, task, last, found in _observed(rows, db, _EVENTS, wanted):
        # Numbers are given without gaps. A damaged index hides whole rows, and no digest is ever asked for them.
        if len(found) < max([last, *(seq for _, seq, *_ in found if isinstance(seq, int))]):
            rows.note_damage()
        listed += [
            {"uid": uid, "task": task, "seq": row[1], "at": row[2], "body": loads(row[4]) or {}}
            for row in found
            if rows.whole(row, uid)
        ]
    return listed


def outputs(rows: Rows, db: sqlite3.Connection | None, wanted: Filter) -> list[Row]:
    """Every saved file of `summaries`, by the newest word about it, its path as the store keeps it."""
    listed: list[Row] = []
    for uid, task, count, found in _observed(rows, db, _SAVED, wanted):
        bodies = [loads(row[4]) for row in found if rows.whole(row, uid)]
        newest = {str(body.get("name")): body for body in bodies if isinstance(body, dict)}
        saved = [body for body in newest.values() if body.get("state", SaveState.SAVED) == SaveState.SAVED]
        if len(saved) < count:
            rows.note_damage()
        listed += [{**body, "uid": uid, "task": task} for body in saved if "file" in body]
    return listed


def _observed(
    rows: Rows, db: sqlite3.Connection | None, columns: str, wanted: Filter
) -> Iterator[tuple[str, str | None, int, list[Found]]]:
    """For each task: its row's name, its text, a number of its summary, and the rows of its events."""
    for (uid, number), group in itertools.groupby(_select(db, columns, wanted), lambda row: row[:2]):
        text = rows.text(db, uid) if db else None
        yield uid, text, number if isinstance(number, int) else 0, [row[2:] for row in group if row[2] is not None]


def recent(rows: Rows, db: sqlite3.Connection, provider: str, origin: str, most: int) -> list[Row]:
    """The newest tasks of one API, oldest first, each with the time of its last good look."""
    found = db.execute(_RECENT, (provider, origin, most)).fetchall()
    bodies = [(rows.summary(uid, values), at) for uid, at, *values in reversed(found)]
    return [{**body, "last_good_at": at} for body, at in bodies if body is not None]


def models(db: sqlite3.Connection, uids: Iterable[str]) -> dict[str, str]:
    """The model that each of these rows was created with, where that is known."""
    return dict(db.execute(_MODELS, (dumps(list(uids)),)).fetchall())


def last_seqs(db: sqlite3.Connection, uids: Iterable[str]) -> dict[str, int]:
    """The number of the last event of each of these rows that has one."""
    return dict(db.execute(_LAST_SEQS, (dumps(list(uids)),)).fetchall())


def providers(db: sqlite3.Connection) -> set[str]:
    """Every provider that a task is kept of."""
    return {name for (name,) in db.execute("SELECT DISTINCT provider FROM tasks").fetchall()}


def _select(db: sqlite3.Connection | None, columns: str, wanted: Filter) -> list[tuple[Any, ...]]:
    if db is None:
        return []
    asked, lenient = wanted.parameters(), db.text_factory
    try:
        db.text_factory = str  # four times as quick, and refuses what is no text
        return db.execute(columns + _WANTED, asked).fetchall()
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
        db.text_factory = lenient
        return db.execute(columns + _WANTED, asked).fetchall()
    finally:
        db.text_factory = lenient


_OF_TASKS = " FROM tasks t LEFT JOIN summaries s ON s.uid = t.uid"
_UIDS = f"SELECT t.uid {_OF_TASKS}"
_SUMMARIES = f"SELECT t.uid, {', '.join(f's.{name}' for name in (*SUMMARY, 'digest'))}{_OF_TASKS}"
_LAST_GOOD = "(SELECT max(e.at) FROM events e WHERE e.uid = t.uid AND e.kind = 'snapshot')"
_RECENT = (
    f"SELECT t.uid, {_LAST_GOOD}, {', '.join(f's.{name}' for name in (*SUMMARY, 'digest'))}{_OF_TASKS}"
    " WHERE t.provider = ? AND t.origin = ? ORDER BY t.uid DESC LIMIT ?"
)
_MODELS = "SELECT uid, model FROM tasks WHERE model IS NOT NULL AND uid IN (SELECT value FROM json_each(?))"
_LAST_SEQS = "SELECT uid, max(seq) FROM events WHERE uid IN (SELECT value FROM json_each(?)) GROUP BY uid"
_EVENT = "e.uid, e.seq, e.at, e.kind, e.body, e.reply, e.digest"
_EVENTS = f"SELECT t.uid, s.seq, {_EVENT}{_OF_TASKS} LEFT JOIN events e ON e.uid = t.uid"
_SAVED = f"SELECT t.uid, s.n_saved, {_EVENT}{_OF_TASKS} LEFT JOIN events e ON e.uid = t.uid AND e.kind = 'saved'"
_WANTED = (
    " WHERE (:since IS NULL OR s.begun >= :since) AND (:until IS NULL OR s.begun <= :until)"
    " AND (:provider IS NULL OR t.provider IN (SELECT value FROM json_each(:provider)))"
    " AND (:experiment IS NULL OR t.experiment IN (SELECT value FROM json_each(:experiment)))"
    " AND (:outcome IS NULL OR coalesce(s.outcome, 'pending') IN (SELECT value FROM json_each(:outcome)))"
    " AND (:uids IS NULL OR t.uid IN (SELECT value FROM json_each(:uids))) ORDER BY t.uid"
)
