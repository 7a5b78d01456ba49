"""Read and write the rows of one task in all tables, inside a transaction of the caller's."""

from __future__ import annotations

import functools
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from .._model.errors import BadInput, StoreError
from .._model.events import Event, Mark, Saved
from .._model.history import History
from .._model.json_text import dumps, loads
from .._model.task import NO_ID, Task
from .._model.text import clean, storable
from .._model.times import iso, moment
from .codec import decode, encode, plain
from .history_to_row import COLUMNS, summary_row
from .schema import insert


class TaskRow(NamedTuple):
    """One row of the table `tasks`, and the `Task` that its columns describe."""

    uid: str
    provider: str
    origin: str
    id: str | None
    extra: str
    label: str | None
    params: str
    endpoint: str | None
    model: str | None
    experiment: str | None
    repeat: int | None
    cell: str | None
    fingerprint: str | None
    task: Task


TASK = TaskRow._fields[:-1]
_NOTES = TASK[5:]
"""Columns of `tasks` that a later call may fill in where they are empty."""
EVENT = ("uid", "seq", "at", "kind", "body", "reply")
PUT_TASK = insert("tasks", TASK)
PUT_EVENT = insert("events", EVENT)
_PUT_LINK = insert("links", ("uid", "name", "url"))
_PUT_REPLY = "INSERT OR IGNORE INTO replies (uid, digest, body) VALUES (?, ?, ?)"
_PUT_SUMMARY = insert("summaries", COLUMNS)


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


class Rows:
    """The rows of histories in one file.

    Attributes:
        path: The file, for messages.
        folder: The store's folder, to which the paths of saved files are relative.
        clock: Returns the time now, UTC.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self.path = path
        self.folder = path.parent
        self.clock = clock
        self._last_uid = 0

    def task(self, db: sqlite3.Connection, uid: str) -> TaskRow | None:
        """The row of a task; None where there is none, or its columns are no `Task`."""
        values = db.execute(_ONE_TASK, (uid,)).fetchone()
        if values is None:
            return None
        _, provider, _, ident, extra, label, params, *_ = values
        task = _task_of(provider, ident, label, params, extra)
        return None if task is None else TaskRow._make((*values, task))

    def text(self, db: sqlite3.Connection, uid: str) -> str | None:
        """A task's text such as `kie:t1`; None for a create without an id yet."""
        row = self.task(db, uid)
        return str(row.task) if row and row.id else None

    def open_task(self, db: sqlite3.Connection, task: Task, origin: str, known: Sequence[Any]) -> History:
        """The stored history of a task, or an empty one with a new row; `known` fills in columns that are empty."""
        uid = uid_of(db, task, origin)
        if uid is None or self.task(db, uid) is None:
            uid = uid or self.new_uid()
            db.execute(PUT_TASK, (uid, task.provider, origin, task.id, dumps(dict(task.extra)), *known))
        else:
            self.fill_in(db, uid, known)
        row = self.require_task(db, uid)
        history = self.load(db, row)
        self.write_summary(db, row, history)
        return history

    def append(
        self, db: sqlite3.Connection, uid: str, events: Sequence[Event], links: Mapping[str, str], history: History
    ) -> bool:
        """Keep observations of a task, and live links of its outputs by name.

        Args:
            db: The connection.
            uid: The task's row.
            events: The new events.
            links: Live links that came with the events.
            history: The history including `events`.

        Returns:
            Whether the rows got the numbers of `events`.
        """
        row = self.task(db, uid)
        if row is None:
            # The file was deleted or renamed during a watch: what `history` still holds goes into the new file.
            task, events = history.task, history.events
            own = (uid, task.provider, history.origin, task.id, dumps(dict(task.extra)))
            db.execute(PUT_TASK, (*own, *notes_of(task)))
            row = self.require_task(db, uid)
        for name, url in links.items():
            db.execute(_PUT_LINK, (uid, storable(name), storable(url)))
        are_alone = self.insert_events(db, uid, events) == history.seq > 0
        self.write_summary(db, row, history if are_alone else self.load(db, row))
        return are_alone

    def history(self, db: sqlite3.Connection, uid: str) -> History | None:
        """The history of a row; None where there is no such row."""
        row = self.task(db, uid)
        return self.load(db, row) if row else None

    def link(self, db: sqlite3.Connection, uid: str, name: str) -> str | None:
        """The live link of an output; None where it is not kept, or no longer."""
        row = db.execute("SELECT url FROM links WHERE uid = ? AND name = ?", (uid, storable(name))).fetchone()
        return str(row[0]) if row else None

    def require_task(self, db: sqlite3.Connection, uid: str) -> TaskRow:
        """The row of a task.

        Raises:
            StoreError: There is no such row.
        """
        row = self.task(db, uid)
        if row is None:
            raise StoreError(f'{self.path} has no row "{clean(uid, 60)}" any more.')
        return row

    def load(self, db: sqlite3.Connection, row: TaskRow) -> History:
        """The history of a row, made of all its events."""
        return History.of(row.task, self.events(db, row.uid), origin=row.origin, uid=row.uid)

    def events(self, db: sqlite3.Connection, uid: str, after: int = 0) -> list[Event]:
        """The observations of a task with a number above `after`, in order."""
        events: list[Event] = []
        replies: dict[str, str] = {}
        rows = db.execute(
            "SELECT e.seq, e.at, e.body, e.reply, r.body FROM events e LEFT JOIN replies r"
            " ON r.uid = e.uid AND r.digest = e.reply WHERE e.uid = ? AND e.seq > ? ORDER BY e.seq",
            (uid, after),
        )
        for seq, at, text, reply, raw in rows.fetchall():
            body, when = loads(text), moment(at)
            if raw is not None and isinstance(body, dict):
                if reply not in replies:
                    replies[reply] = raw
                body["reply"] = replies[reply]
            seen = decode(body, self.folder)
            if seen is not None and when is not None:
                events.append(Event(seq, when, seen))
        return events

    def insert_events(self, db: sqlite3.Connection, uid: str, events: Iterable[Event]) -> int:
        """Insert the events that have no row yet; one whose number is taken gets the next free one.

        Returns:
            The number of the last row.
        """
        row = db.execute(_LAST, (uid,)).fetchone()
        last: int = row[0] if row else 0
        for event in events:
            at, written, reply = iso(event.at), encode(event.seen, self.folder), None
            if written.raw is not None:
                reply = sha256(written.raw.encode()).hexdigest()[:16]
                db.execute(_PUT_REPLY, (uid, reply, written.raw))
            if event.seq <= last and db.execute(_SAME, (uid, at, written.body, reply)).fetchone():
                continue
            last = max(last + 1, event.seq)
            db.execute(PUT_EVENT, (uid, last, at, written.kind, written.body, reply))
            if isinstance(event.seen, Saved):
                db.execute("DELETE FROM links WHERE uid = ? AND name = ?", (uid, storable(event.seen.name)))
        return last

    def add_mark(self, db: sqlite3.Connection, uid: str, mark: Mark, at: datetime | None) -> None:
        """Add a `Mark` to a history."""
        row = self.require_task(db, uid)
        history = self.load(db, row).add(mark, at or self.clock())
        self.insert_events(db, uid, history.events[-1:])
        self.write_summary(db, row, history)

    def write_summary(self, db: sqlite3.Connection, row: TaskRow, history: History) -> None:
        """Insert or replace the row of `summaries` for a history."""
        summary = summary_row(
            history,
            self.folder,
            task=row.task,
            endpoint=row.endpoint,
            model=row.model,
            experiment=row.experiment,
            repeat=row.repeat,
        )
        # The request's parameters may be long: their JSON text is copied from the task's row.
        params = row.params if row.params != "{}" else dumps(summary["params"])
        texts = {"files": dumps(summary["files"]), "params": params, "extra": row.extra}
        # State and outcome are members of a StrEnum, with which SQLite is slow: as plain str.
        values = [str(v) if isinstance(v, str) else v for v in {**summary, **texts}.values()]
        db.execute(_PUT_SUMMARY, values)

    def fill_in(self, db: sqlite3.Connection, uid: str, known: Sequence[Any]) -> None:
        """Write the values of the columns `_NOTES` where a task's row has none."""
        row = self.require_task(db, uid)
        given = zip(_NOTES, known, strict=True)
        new = {n: v for n, v in given if v not in {None, "{}"} and getattr(row, n) in {None, "{}"}}
        if new:
            db.execute(PUT_TASK, row._replace(**new)[: len(TASK)])

    def new_uid(self) -> str:
        """A new key for a row: sorts by time, also when this process's clock is set back; ends in 40 random bits."""
        now = int(self.clock().timestamp() * 1_000_000)
        self._last_uid = max(now, self._last_uid + 1)
        return f"{self._last_uid:014x}-{secrets.token_hex(5)}"


_SAME = "SELECT 1 FROM events WHERE uid = ? AND at = ? AND body = ? AND reply IS ?"
_LAST = "SELECT seq FROM events WHERE uid = ? AND typeof(seq) = 'integer' ORDER BY seq DESC LIMIT 1"
_ONE_TASK = f"SELECT {', '.join(TASK)} FROM tasks WHERE uid = ?"  # noqa: S608


@functools.lru_cache(maxsize=1024)
def _task_of(provider: str, ident: str | None, label: str | None, params: str, extra: str) -> Task | None:
    """The `Task` of these columns; None where they are no task. Cached, since every append parses the same few."""
    try:
        return Task(provider, ident or NO_ID, label, loads(params), loads(extra))
    except BadInput:
        return None


def uid_of(db: sqlite3.Connection, task: Task, origin: str) -> str | None:
    """The uid of a task's row at one origin, or None."""
    row = db.execute(
        "SELECT uid FROM tasks WHERE provider = ? AND origin = ? AND id = ? AND extra = ?",
        (task.provider, origin, task.id, dumps(dict(task.extra))),
    ).fetchone()
    return row[0] if row else None


def uids_of(db: sqlite3.Connection, task: Task) -> list[str]:
    """The uids of a task's rows, one for each origin."""
    rows = db.execute(
        "SELECT uid FROM tasks WHERE provider = ? AND id = ? AND extra = ? ORDER BY uid",
        (task.provider, task.id, dumps(dict(task.extra))),
    )
    return [uid for (uid,) in rows.fetchall()]


def notes_of(
    task: Task,
    endpoint: str | None = None,
    model: str | None = None,
    experiment: str | None = None,
    repeat: int | None = None,
    cell: str | None = None,
    fingerprint: str | None = None,
) -> list[Any]:
    """The values of the columns `_NOTES`, texts without characters that SQLite cannot store."""
    values = (task.label, dumps(plain(task.params)), endpoint, model, experiment, repeat, cell, fingerprint)
    return [storable(value) if isinstance(value, str) else value for value in values]
