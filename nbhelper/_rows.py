"""One history as rows, read and written on an open connection; whoever calls has begun the transaction."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ._alike import text_of, told_from
from ._codec import decode, digest_of, encode, iso, moment, plain, row_digest, row_of, row_text, text_digest
from ._errors import BadInput, StoreError
from ._history import Facts, History
from ._json import JsonText, dumps, loads
from ._schema import SUMMARY, body_of, put, summary, task_of
from ._task import NO_ID, Task
from ._text import clean, storable
from ._values import Event, Mark, Saved, Snapshot, State

Row = dict[str, Any]


class TaskRow(NamedTuple):
    """The row of a task as it stands in the file, and its `Task`; the digest is empty for one that another row told."""

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
    digest: str
    task: Task


TASK = TaskRow._fields[:-2]
_NOTES = TASK[5:]
"""What a later call may fill in where the first one said nothing."""
EVENT = ("uid", "seq", "at", "kind", "body", "reply")
LINK = ("uid", "name", "url")


@dataclass(slots=True, eq=False)
class Append:
    """Observations that are to be kept: a piece of work for the thread that writes.

    Attributes:
        rows: Where.
        uid: Whose.
        events: What is new.
        links: Live links of outputs by name.
        history: With `events`.
    """

    rows: Rows
    uid: str
    events: Sequence[Event]
    links: Mapping[str, str]
    history: History

    def __call__(self, db: sqlite3.Connection) -> bool:
        return self.rows.append(db, self)

    @property
    def together(self) -> Callable[[sqlite3.Connection, Sequence[Append]], list[bool | None]]:
        """What does several at once, as far as that can be."""
        return self.rows.go_on


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
        self._tasks: dict[str, TaskRow] = {}
        self._newest: Sequence[Any] = ()
        self._sums: dict[str, _Sum] = {}

    def whole(self, row: Sequence[Any], uid: str | None = None) -> bool:
        """Whether a row is as it was written, and that of `uid`: a damaged index leads to whole rows of another task.

        One that is not is left out, and said once.
        """
        if digest_of(row[:-1]) == row[-1] and (uid is None or row[0] == uid):
            return True
        self.note_damage()
        return False

    def note_damage(self) -> None:
        """Say once that something is left out."""
        line = f"Damaged rows in {self.path} are left out; everything else is there."
        if line not in self.notes:
            self.notes.append(line)

    def task(self, db: sqlite3.Connection, uid: str) -> TaskRow | None:
        """The row of a task, with its `Task`; None when there is none that can be trusted.

        One that is damaged is told by the row that sums it up: what is forgotten may be paid for again.
        """
        found = db.execute(_ONE_TASK, (uid,)).fetchone()
        known = self._tasks.get(uid)
        if known is not None and known[:-1] == found:  # each look asks for it, and it hardly ever changes
            return known
        if found is None:
            return None
        values = self.told(db, found, uid)
        if values is None:
            return None
        told = self._shared(values)
        provider, _, ident, extra, label, params = told[1:7]
        try:
            task = Task(provider, ident or NO_ID, label, loads(params), loads(extra))
        except BadInput:
            return None
        if values is not found:
            return TaskRow._make((*told, "", task))
        if len(self._tasks) > _REMEMBERED:
            self._tasks.clear()
        row = TaskRow._make((*told, task))
        self._tasks[row.uid] = row
        return row

    def _shared(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values, with the objects of the row before where they are equal: most tasks have most texts in common."""
        known = self._newest  # another thread may read, too
        old = (*known, *values[len(known) :])
        self._newest = shared = [o if type(o) is type(v) and o == v else v for v, o in zip(values, old, strict=False)]
        return shared

    def told(self, db: sqlite3.Connection, found: tuple[Any, ...], uid: str) -> Sequence[Any] | None:
        """The values of `TASK` by a row of it, or by the one that sums it up; None when neither can be trusted."""
        if self.whole(found, uid):
            return found
        summed = db.execute(_ONE_SUMMARY, (uid,)).fetchone()
        return task_of(summed) if summed and self.whole(summed, uid) else None

    def _same_task(self, db: sqlite3.Connection, uid: str) -> TaskRow | None:
        """The row of a task that is known already, where its digest is still the same: each look asks for it."""
        known = self._tasks.get(uid)
        found = db.execute("SELECT digest FROM tasks WHERE uid = ?", (uid,)).fetchone() if known else None
        return known if known and found and known.digest == found[0] else None

    def listed(self, db: sqlite3.Connection, uid: str) -> TaskRow | None:
        """The row of a task that a listing named; one that is not there all the same was hidden by damage."""
        row = self.task(db, uid)
        if row is None:
            self.note_damage()
        return row

    def text(self, db: sqlite3.Connection, uid: str) -> str | None:
        """A task's text; None for a create without an id yet, and for one that nothing tells any more."""
        row = self.listed(db, uid)
        return str(row.task) if row and row.id else None

    def open(self, db: sqlite3.Connection, task: Task, origin: str, known: Sequence[Any]) -> History:
        """The stored history of a task, or an empty one with a row of its own; `known` fills in what was not."""
        uid = uid_of(db, task, origin)
        if uid is None or self.task(db, uid) is None:
            uid = uid or self.new_uid()
            put(db, "tasks", TASK, (uid, task.provider, origin, task.id, dumps(dict(task.extra)), *known))
        else:
            self.fill_in(db, uid, known)
        row = self.must(db, uid)
        history = self.load(db, row)
        self.sum_up(db, row, history)
        return history

    def append(self, db: sqlite3.Connection, new: Append) -> bool:
        """Keep observations, and the live links that came with them; whether the rows have these events' numbers."""
        uid, events, summary = new.uid, new.events, new.history
        row = self._same_task(db, uid) or self.task(db, uid)
        if row is None:
            # The file was deleted or moved aside under a running watch: all that is known goes into the new one.
            task, events = summary.task, summary.events
            own = (uid, task.provider, summary.origin, task.id, dumps(dict(task.extra)))
            put(db, "tasks", TASK, (*own, *notes_of(task)))
            row = self.must(db, uid)
        for name, url in new.links.items():
            put(db, "links", LINK, (uid, storable(name), storable(url)))
        last = self.put_events(db, uid, events)
        together = bool(summary.events) and last == summary.events[-1].seq
        self.sum_up(db, row, summary if together else self.load(db, row))
        return together

    def go_on(self, db: sqlite3.Connection, looks: Sequence[Append]) -> list[bool | None]:
        """Keep one more look each at tasks that go on, which nearly all are; None for those that `append` has to do.

        Of each the summary that this process wrote last stands in the file still: so nobody else has written, looks at
        it or has taken the file away, and nothing of that has to be asked for.
        """
        done: list[bool | None] = []
        moved, replies, events = [], [], []
        other: set[str] = set()
        for look in looks:
            known = None if look.uid in other else self._known(look)
            done.append(None if known is None else True)
            if known is None:
                other.add(look.uid)
                continue
            moved.append(known.move(look.history))
            event, reply = self._written(look.uid, look.events[0])
            row = (look.uid, look.events[0].seq, *event)
            events.append((*row, row_digest(*row)))
            replies += [reply] if reply else []
        try:
            if db.executemany(_AMEND, moved).rowcount in {len(moved), -1}:
                db.executemany(_REPLY, replies)
                db.executemany(_EVENT, events)
                return done
        except sqlite3.IntegrityError:  # there is a row which damage had hidden
            pass
        for look in looks:  # what was written of these is found, or written over
            self._sums.pop(look.uid, None)
        return [None] * len(looks)

    def _known(self, look: Append) -> _Sum | None:
        """The summary that was written last, where only what each look moves has to be written anew."""
        known, task = self._sums.get(look.uid), self._tasks.get(look.uid)
        if known is None or task is None or look.links or len(look.events) != 1:
            return None
        (event,) = look.events
        if known.seq + 1 != event.seq or event is not look.history.events[-1]:
            return None
        return known if known.stands(task, look.history) else None

    def history(self, db: sqlite3.Connection, uid: str) -> History | None:
        """The history of a row; None where there is no row that can be trusted."""
        row = self.task(db, uid)
        return self.load(db, row) if row else None

    def link(self, db: sqlite3.Connection, uid: str, name: str) -> str | None:
        """The live link of an output."""
        sql = f"SELECT {', '.join(LINK)}, digest FROM links WHERE uid = ? AND name = ?"  # noqa: S608
        row = db.execute(sql, (uid, storable(name))).fetchone()
        return str(row[2]) if row and self.whole(row, uid) else None

    def must(self, db: sqlite3.Connection, uid: str) -> TaskRow:
        row = self.task(db, uid)
        if row is None:
            raise StoreError(f'{self.path} has no row "{clean(uid, 60)}" any more.')
        return row

    def load(self, db: sqlite3.Connection, row: TaskRow) -> History:
        events: list[Event] = []
        replies: dict[str, JsonText] = {}
        before, like = JsonText(""), Snapshot(state=State.UNKNOWN)
        rows = db.execute(
            "SELECT e.uid, e.seq, e.at, e.kind, e.body, e.reply, e.digest, r.body FROM events e LEFT JOIN replies r"
            " ON r.uid = e.uid AND r.digest = e.reply WHERE e.uid = ? ORDER BY e.seq",
            (row.uid,),
        ).fetchall()
        whole = [r for r in rows if self.whole(r[:-1], row.uid)]
        # Numbers are given without gaps. A damaged index hides whole rows, and no digest is ever asked for them.
        if len(rows) < max(whole[-1][1] if whole else 0, self._last_seq(db, row.uid)):
            self.note_damage()
        for uid, seq, at, _, text, reply, _, raw in whole:
            body, when = loads(text), moment(at)
            if reply is not None and isinstance(body, dict):
                if reply not in replies:
                    if raw is None:  # hidden by a damaged index
                        self.note_damage()
                    elif self.whole((uid, raw, reply)):
                        replies[reply] = before = before.after(raw)
                body["reply"] = replies.get(reply)
            seen = decode(body, self.folder)
            if isinstance(seen, Snapshot):
                seen = like = _sharing(seen, like)
            if seen is not None and when is not None:
                events.append(Event(seq, when, seen))
        return History.of(row.task, events, origin=row.origin, uid=row.uid)

    def _last_seq(self, db: sqlite3.Connection, uid: str) -> int:
        """The number of the last event by the row that sums them up; 0 when that says nothing."""
        found = db.execute(_ONE_SUMMARY, (uid,)).fetchone()
        return int(found[SUMMARY.index("seq")]) if found and self.whole(found, uid) else 0

    def put_events(self, db: sqlite3.Connection, uid: str, events: Iterable[Event]) -> int:
        """Insert what is not there yet; the number of the last row."""
        found = db.execute(_LAST, (uid,)).fetchone()
        last: int = found[0] if found else 0
        for event in events:
            written, raw = self._written(uid, event)
            if raw is not None:
                db.execute(_REPLY, raw)
            at, _, body, reply = written
            if event.seq <= last and db.execute(_SAME, (uid, at, body, reply)).fetchone():
                continue
            last = max(last + 1, event.seq)
            put(db, "events", EVENT, (uid, last, *written))
            if isinstance(event.seen, Saved):
                db.execute("DELETE FROM links WHERE uid = ? AND name = ?", (uid, storable(event.seen.name)))
        return last

    def _written(self, uid: str, event: Event) -> tuple[tuple[Any, ...], tuple[str, str, str] | None]:
        """An event's time, kind, body and the digest of its reply as they are kept, and the row of that reply."""
        written, reply = encode(event.seen, self.folder), None
        if written.raw is not None:
            reply = row_digest(uid, written.raw)
        row = (iso(event.at), written.kind, written.body, reply)
        return row, None if written.raw is None or reply is None else (uid, written.raw, reply)

    def mark(self, db: sqlite3.Connection, uid: str, mark: Mark, at: datetime | None) -> None:
        """Add a mark of ours to a history."""
        row = self.must(db, uid)
        history = self.load(db, row).add(mark, at or self.clock())
        self.put_events(db, uid, history.events[-1:])
        self.sum_up(db, row, history)

    def sum_up(self, db: sqlite3.Connection, row: TaskRow, history: History) -> None:
        """Write the summary of a history."""
        known = self._sums.pop(history.uid, None)
        stands = known is not None and known.stands(row, history)
        if known is None or not stands or db.execute(_AMEND, known.move(history)).rowcount != 1:
            body = self.body(row, history)
            begun = body["submitted_at"] or body["first_seen_at"] or iso(_time_of(history.uid))
            # What was asked hardly ever changes, and may be long: its text is taken as it stands in the task's own row.
            texts = {"extra": row.extra} | ({"params": row.params} if row.params != "{}" else {})
            values = summary(body, begun, texts)
            put(db, "summaries", SUMMARY, values)
            known = _Sum.of(row, history, values, next(iter(self._sums.values()), None))
        if history.outcome is None:
            if len(self._sums) > _REMEMBERED:
                self._sums.clear()
            self._sums[history.uid] = known
        else:
            self._tasks.pop(history.uid, None)  # finished tasks live in the file, not here

    def body(self, row: TaskRow, history: History) -> Row:
        """The summary of a history, as `row_of` gives it."""
        return row_of(
            history,
            self.folder,
            task=row.task,
            endpoint=row.endpoint,
            model=row.model,
            experiment=row.experiment,
            repeat=row.repeat,
        )

    def again(self, db: sqlite3.Connection, uid: str) -> Row | None:
        """A summary made again from the events, where the stored one is damaged or missing."""
        row = self.listed(db, uid)
        if row is None:
            return None
        return self.body(row, self.load(db, row))

    def summary(self, uid: str, values: Sequence[Any]) -> Row | None:
        """A summary as it was stored; None for one that cannot be trusted."""
        return body_of(values) if values[0] is not None and self.whole(values, uid) else None

    def fill_in(self, db: sqlite3.Connection, uid: str, known: Sequence[Any]) -> None:
        row = self.must(db, uid)
        said = zip(_NOTES, known, strict=True)
        new = {n: v for n, v in said if v not in {None, "{}"} and getattr(row, n) in {None, "{}"}}
        if new or self._same_task(db, uid) is None:  # the row is damaged, and was told by another one
            put(db, "tasks", TASK, row._replace(**new)[: len(TASK)])

    def new_uid(self) -> str:
        """Sorts by time, also within one process whose clock is set back; unique across processes by chance."""
        now = int(self.clock().timestamp() * 1_000_000)
        self._last_uid = max(now, self._last_uid + 1)
        return f"{self._last_uid:014x}-{secrets.token_hex(5)}"


_REMEMBERED = 20_000
"""Running tasks of which something is remembered, so that the next look at them costs less."""
_MOVED = ("seq", "state", "polls", "misses", "rate_limited")
_PLACES = tuple(map(SUMMARY.index, _MOVED))
_QUEUE = SUMMARY.index("queue_s")


@dataclass(slots=True, eq=False)
class _Sum:
    """A summary as it was written: the next look at a task that goes on changes a few of its values.

    Attributes:
        row: What it follows from, besides the history: the task's row.
        task: The history's task and origin.
        origin: The same.
        facts: The history's facts then; of those that last, none may have changed.
        like: A text of another task's summary.
        told: What of this one's it does not say. The digest is of it, but with a value for each NUL, where one of
            `_MOVED` stands: no JSON text holds this character.
        queued: Whether a time in the queue is in it.
        seq: The number of the last event.
        digest: Of the row.
    """

    row: TaskRow
    task: Task
    origin: str
    facts: Facts
    like: bytes
    told: bytes
    queued: bool
    seq: int
    digest: str

    @classmethod
    def of(cls, row: TaskRow, history: History, values: Sequence[Any], other: _Sum | None) -> _Sum:
        """A row that has just been written, after that of another task."""
        pieces = ("\0" if place in _PLACES else row_text(value) for place, value in enumerate(values))
        text, queued = f"[{','.join(pieces)}]", values[_QUEUE] is not None
        like = other.like if other is not None else text.encode("utf-8", "surrogatepass")
        known = cls(row, history.task, history.origin, history.facts, like, told_from(like, text), queued, 0, "")
        known.move(history)
        return known

    def stands(self, row: TaskRow, history: History) -> bool:
        """Whether only what each look moves has to be written anew."""
        old, new = self.facts, history.facts
        if row != self.row or history.task != self.task or history.origin != self.origin:
            return False
        if old.lasting != new.lasting or (old.latest is None) != (new.latest is None):
            return False
        # Of a task without an outcome, the time in the queue is the one duration that two clocks may take part in.
        return history.outcome is None and not (self.queued and old.skew_s != new.skew_s)

    def move(self, history: History) -> tuple[Any, ...]:
        """Go on to after more looks.

        Returns:
            The values of `_AMEND`, which writes what has moved, where what was written last is still what stands there.
        """
        facts, old = history.facts, self.digest
        seq = history.events[-1].seq if history.events else 0  # asked for twice before the first look
        state = None if facts.latest is None else facts.latest.state.value
        word = "null" if state is None else f'"{state}"'
        a, b, c, d, e, f = text_of(self.like, self.told).split("\0")
        text = f"{a}{seq}{b}{word}{c}{facts.polls}{d}{facts.misses}{e}{facts.rate_limited}{f}"
        self.facts, self.seq, self.digest = facts, seq, text_digest(text)
        return seq, state, facts.polls, facts.misses, facts.rate_limited, self.digest, self.row.uid, old


_EVENT = f"INSERT INTO events ({', '.join(EVENT)}, digest) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_REPLY = "INSERT OR IGNORE INTO replies (uid, body, digest) VALUES (?, ?, ?)"
_SAME = "SELECT 1 FROM events WHERE uid = ? AND at = ? AND body = ? AND reply IS ?"
_AMEND = f"UPDATE summaries SET {' = ?, '.join(_MOVED)} = ?, digest = ? WHERE uid = ? AND digest = ?"  # noqa: S608
_LAST = "SELECT seq FROM events WHERE uid = ? AND typeof(seq) = 'integer' ORDER BY seq DESC LIMIT 1"
_ONE_TASK = f"SELECT {', '.join(TASK)}, digest FROM tasks WHERE uid = ?"  # noqa: S608
_ONE_SUMMARY = f"SELECT {', '.join(SUMMARY)}, digest FROM summaries WHERE uid = ?"  # noqa: S608


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


def _sharing(seen: Snapshot, last: Snapshot) -> Snapshot:
    """A look with the objects of the one before where they say the same, as reading keeps them."""
    same = {}
    for name in ("word", "credits", "created_at", "started_at", "finished_at", "resolution_s", "model", "params"):
        new, old = getattr(seen, name), getattr(last, name)
        if new is old or type(new) is not type(old) or new != old:
            continue
        if name != "params" or dumps(dict(new)) == dumps(dict(old)):  # 1, 1.0 and true are equal, and not the same
            same[name] = old
    return replace(seen, **same) if same else seen


def _time_of(uid: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(uid[:14], 16) / 1_000_000, UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
