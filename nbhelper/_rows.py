"""One history as rows, read and written on an open connection; whoever calls has begun the transaction."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ._codec import decode, dumps, encode, iso, loads, moment, plain, row_digest, row_of
from ._database import put
from ._errors import BadInput, StoreError
from ._history import History
from ._text import clean, storable
from ._values import NO_ID, Event, Mark, Saved, Task

Row = dict[str, Any]

TASK = (
    "uid", "provider", "origin", "id", "extra", "label", "params", "endpoint", "model", "experiment", "repeat", "cell",
    "fingerprint",
)  # fmt: skip
_NOTES = TASK[5:]
"""What a later call may fill in where the first one said nothing."""
SUMMARY = ("uid", "begun", "outcome", "body")
EVENT = ("uid", "seq", "at", "kind", "body", "reply")
LINK = ("uid", "name", "url")


class Rows:
    """The rows of histories in one file.

    Attributes:
        path: The file, for messages.
        folder: The store's, which saved files are relative to.
        notes: Where damage is said, once.
        clock: UTC.
    """

    def __init__(self, path: Path, notes: list[str], clock: Callable[[], datetime]) -> None:
        self.path = path
        self.folder = path.parent
        self.notes = notes
        self.clock = clock
        self._last_uid = 0
        self._damaged: set[object] = set()

    def whole(self, row: Sequence[Any]) -> bool:
        """Whether a row is as it was written. One that is not is left out, and said once."""
        if row_digest(*row[:-1]) == row[-1]:
            return True
        self.note_damage(row[:2])
        return False

    def note_damage(self, where: object) -> None:
        if not self._damaged:
            self.notes.append(f"Damaged rows in {self.path} are left out; everything else is there.")
        self._damaged.add(where)

    def task(self, db: sqlite3.Connection, uid: str) -> Row | None:
        """The row of a task, with its `Task`; None when there is none that can be trusted."""
        found = db.execute(f"SELECT {', '.join(TASK)}, digest FROM tasks WHERE uid = ?", (uid,)).fetchone()  # noqa: S608
        if found is None or not self.whole(found):
            return None
        row = dict(zip(TASK, found, strict=False))
        try:
            extra, params = loads(row["extra"]), loads(row["params"])
            row["task"] = Task(row["provider"], row["id"] or NO_ID, row["label"], params, extra)
        except BadInput:
            return None
        return row

    def listed(self, db: sqlite3.Connection, uid: str) -> Row | None:
        """The row of a task that a listing named; one that is not there all the same was hidden by damage."""
        row = self.task(db, uid)
        if row is None:
            self.note_damage(uid)
        return row

    def open(self, db: sqlite3.Connection, task: Task, origin: str, known: Sequence[Any]) -> History:
        """The stored history of a task, or an empty one with a row of its own; `known` fills in what was not."""
        uid = uid_of(db, task, origin)
        if uid is None or self.task(db, uid) is None:
            uid = uid or self.new_uid()
            put(db, "tasks", TASK, (uid, task.provider, origin, task.id, dumps(dict(task.extra)), *known))
        else:
            self.fill_in(db, uid, known)
        history = self.load(db, self.must(db, uid))
        self.sum_up(db, history)
        return history

    def append(
        self, db: sqlite3.Connection, uid: str, events: Sequence[Event], links: Mapping[str, str], summary: History
    ) -> None:
        """Keep observations, and the live links that came with them."""
        if self.task(db, uid) is None:
            # The file was deleted or moved aside under a running watch: all that is known goes into the new one.
            task, events = summary.task, summary.events
            own = (uid, task.provider, summary.origin, task.id, dumps(dict(task.extra)))
            put(db, "tasks", TASK, (*own, *notes_of(task)))
        for name, url in links.items():
            put(db, "links", LINK, (uid, storable(name), storable(url)))
        last = self.put_events(db, uid, events)
        together = bool(summary.events) and last == summary.events[-1].seq
        self.sum_up(db, summary if together else self.load(db, self.must(db, uid)))

    def history(self, db: sqlite3.Connection, uid: str) -> History | None:
        """The history of a row; None where there is no row that can be trusted."""
        row = self.task(db, uid)
        return self.load(db, row) if row else None

    def link(self, db: sqlite3.Connection, uid: str, name: str) -> str | None:
        """The live link of an output."""
        sql = f"SELECT {', '.join(LINK)}, digest FROM links WHERE uid = ? AND name = ?"  # noqa: S608
        row = db.execute(sql, (uid, storable(name))).fetchone()
        return str(row[2]) if row and self.whole(row) else None

    def must(self, db: sqlite3.Connection, uid: str) -> Row:
        row = self.task(db, uid)
        if row is None:
            raise StoreError(f'{self.path} has no row "{clean(uid, 60)}" any more.')
        return row

    def load(self, db: sqlite3.Connection, row: Row) -> History:
        events: list[Event] = []
        replies: dict[str, Any] = {}
        rows = db.execute(
            "SELECT e.uid, e.seq, e.at, e.kind, e.body, e.reply, e.digest, r.body FROM events e LEFT JOIN replies r"
            " ON r.uid = e.uid AND r.digest = e.reply WHERE e.uid = ? ORDER BY e.seq",
            (row["uid"],),
        ).fetchall()
        whole = [r for r in rows if self.whole(r[:-1])]
        # Numbers are given without gaps. A damaged index hides whole rows, and no digest is ever asked for them.
        if len(rows) < max(whole[-1][1] if whole else 0, self._last_seq(db, row["uid"])):
            self.note_damage(row["uid"])
        for uid, seq, at, _, text, reply, _, raw in whole:
            body, when = loads(text), moment(at)
            if reply is not None and isinstance(body, dict):
                if reply not in replies:
                    replies[reply] = loads(raw) if raw is not None and self.whole((uid, raw, reply)) else None
                body["raw"] = replies[reply]
            seen = decode(body, self.folder)
            if seen is not None and when is not None:
                events.append(Event(seq, when, seen))
        return History.of(row["task"], events, origin=row["origin"], uid=row["uid"])

    def _last_seq(self, db: sqlite3.Connection, uid: str) -> int:
        """The number of the last event by the row that sums them up; 0 when that says nothing."""
        sql = "SELECT uid, begun, outcome, body, digest FROM summaries WHERE uid = ?"
        found = db.execute(sql, (uid,)).fetchone()
        body = loads(found[3]) if found and self.whole(found) else None
        return int(body.get("seq", 0)) if isinstance(body, dict) else 0

    def put_events(self, db: sqlite3.Connection, uid: str, events: Iterable[Event]) -> int:
        """Insert what is not there yet; the number of the last row."""
        last: int = db.execute(
            "SELECT coalesce(max(seq), 0) FROM events WHERE uid = ? AND typeof(seq) = 'integer'", (uid,)
        ).fetchone()[0]
        for event in events:
            body, reply, at = encode(event.seen, self.folder), None, iso(event.at)
            if "raw" in body:
                text = dumps(body.pop("raw"))
                reply = row_digest(uid, text)
                db.execute("INSERT OR IGNORE INTO replies (uid, body, digest) VALUES (?, ?, ?)", (uid, text, reply))
            kind, text = body["seen"], dumps(body)
            if (
                event.seq <= last
                and db.execute(
                    "SELECT 1 FROM events WHERE uid = ? AND at = ? AND body = ? AND reply IS ?", (uid, at, text, reply)
                ).fetchone()
            ):
                continue
            last = max(last + 1, event.seq)
            put(db, "events", EVENT, (uid, last, at, kind, text, reply))
            if isinstance(event.seen, Saved):
                db.execute("DELETE FROM links WHERE uid = ? AND name = ?", (uid, storable(event.seen.name)))
        return last

    def mark(self, db: sqlite3.Connection, uid: str, mark: Mark, at: datetime | None) -> None:
        history = self.load(db, self.must(db, uid)).add(mark, at or self.clock())
        self.put_events(db, uid, history.events[-1:])
        self.sum_up(db, history)

    def sum_up(self, db: sqlite3.Connection, history: History) -> None:
        body = self.body(db, history)
        begun = body["submitted_at"] or body["first_seen_at"] or iso(_time_of(history.uid))
        put(db, "summaries", SUMMARY, (history.uid, begun, body["outcome"], dumps(body)))

    def body(self, db: sqlite3.Connection, history: History) -> Row:
        row = self.must(db, history.uid)
        told = {name: row[name] for name in ("endpoint", "model", "experiment", "repeat")}
        return row_of(replace(history, task=row["task"]), self.folder, **told)

    def summary(self, db: sqlite3.Connection, row: tuple[Any, ...]) -> Row | None:
        uid, summary = row[0], row[1:]
        if summary[0] is not None and self.whole(summary) and isinstance(body := loads(summary[3]), dict):
            return body
        task = self.listed(db, uid)
        return None if task is None else self.body(db, self.load(db, task))

    def fill_in(self, db: sqlite3.Connection, uid: str, known: Sequence[Any]) -> None:
        row = self.must(db, uid)
        new = {n: v for n, v in zip(_NOTES, known, strict=True) if v not in {None, "{}"} and row[n] in {None, "{}"}}
        if new:
            put(db, "tasks", TASK, [{**row, **new}[name] for name in TASK])

    def new_uid(self) -> str:
        """Sorts by time, also within one process whose clock is set back; unique across processes by chance."""
        now = int(self.clock().timestamp() * 1_000_000)
        self._last_uid = max(now, self._last_uid + 1)
        return f"{self._last_uid:014x}-{secrets.token_hex(5)}"


def uid_of(db: sqlite3.Connection, task: Task, origin: str) -> str | None:
    found = db.execute(
        "SELECT uid FROM tasks WHERE provider = ? AND origin = ? AND id = ? AND extra = ?",
        (task.provider, origin, task.id, dumps(dict(task.extra))),
    ).fetchone()
    return found[0] if found else None


def notes_of(
    task: Task,
    endpoint: str | None = None,
    model: str | None = None,
    experiment: str | None = None,
    repeat: int | None = None,
    cell: str | None = None,
    fingerprint: str | None = None,
) -> list[Any]:
    """The values of `_NOTES`, fit to be kept."""
    values = (task.label, dumps(plain(task.params)), endpoint, model, experiment, repeat, cell, fingerprint)
    return [storable(value) if isinstance(value, str) else value for value in values]


def _time_of(uid: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(uid[:14], 16) / 1_000_000, UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
