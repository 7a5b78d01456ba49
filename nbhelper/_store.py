"""Where histories are kept: one SQLite file that many notebooks may use at once.

`_database.py` is the file, `_writer.py` the one thread that writes to it; here is what is written and read. A write is
on the disk when its future is done, never before. Reading takes a connection of its own and waits for nobody.
"""

from __future__ import annotations

import atexit
import contextlib
import hmac
import os
import secrets
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from ._codec import NO_ID, decode, dumps, encode, instant, iso, loads, moment, plain, row_digest, row_of
from ._database import FOLDER, Database, lasting_salt, put, salt_of
from ._errors import BadInput, StoreError
from ._history import History
from ._price_list import PRICES
from ._prices import Price, as_row, from_row, place_of
from ._text import clean, nearest, storable
from ._values import Event, Mark, MarkWord, Outcome, Saved, SaveState, Task
from ._writer import Writer

Row = dict[str, Any]

_TASK = (
    "uid", "provider", "origin", "id", "extra", "label", "params", "endpoint", "model", "experiment", "repeat", "cell",
    "fingerprint",
)  # fmt: skip
_NOTES = _TASK[5:]
"""What a later call may fill in where the first one said nothing."""
_SUMMARY = ("uid", "begun", "outcome", "body")
_EVENT = ("uid", "seq", "at", "kind", "body", "reply")
_INTENT = ("uid", "at", "state", "request_digest", "body_digest", "request_id", "code", "note")

IntentState = Literal["begun", "sent", "created", "refused", "in_doubt"]
"""A create that is only `begun` was never sent; one that is `sent` without an answer is in doubt."""


def locate() -> Path:
    """The folder to use when nobody named one: a pure look-up, nothing is made.

    `NBHELPER_DATA`, else the nearest `nbhelper-data` in the working directory or its parents, else one that would be in
    the working directory. A parent's folder counts only when it is this user's: others may write to `/tmp`.

    Raises:
        StoreError: The working directory is gone.
    """
    named = os.environ.get("NBHELPER_DATA", "").strip()
    try:
        if named:
            return Path(os.path.abspath(Path(named).expanduser()))  # noqa: PTH100 - keeps the user's own links
        here = Path.cwd()
    except (OSError, RuntimeError) as error:
        raise StoreError(f"No folder for the store ({clean(error, 120)}). Set NBHELPER_DATA to one.") from None
    for place in (here, *here.parents):
        folder = place / FOLDER
        with contextlib.suppress(OSError):
            if folder.is_dir() and (place == here or folder.stat().st_uid == os.getuid()):
                return folder
    return here / FOLDER


class Store:
    """The histories in one folder. Cheap to make: nothing is touched before the first use.

    Every method that writes returns a `concurrent.futures.Future`, done when the row is on the disk: await it through
    `asyncio.wrap_future`, or wait with `.result()`. Methods that read return at once what is on the disk by then.

    Attributes:
        folder: Absolute.
        notes: Lines for a person, oldest first: a file moved aside, damaged rows that were left out.
    """

    def __init__(self, folder: str | Path, *, clock: Callable[[], datetime] | None = None) -> None:
        self.folder = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 - keeps the user's own links
        self.notes: list[str] = []
        self._clock = clock or (lambda: datetime.now(UTC))
        self._database = Database(self.folder, self.notes)
        self._writer = Writer(self._database)
        self._last_uid = 0
        self._damaged: set[object] = set()
        self._salt: bytes | None = None
        _STORES.add(self)

    def __repr__(self) -> str:
        return f"<Store {self.folder}>"

    def close(self) -> None:
        """Write what is left and let go of the file; the next use opens it again."""
        self._writer.stop()
        self._database.close()

    def fingerprint(self, key: str) -> str:
        """Eight hex digits that tell two keys apart in this store, and say nothing about either."""
        if self._salt is None:
            self._salt = self._read_salt() or self._writer.put(lasting_salt).result()
        return hmac.new(self._salt, key.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:8]

    def _read_salt(self) -> bytes | None:
        with self._database.reading() as db:
            return None if db is None else salt_of(db)

    # Writing

    def open_task(
        self,
        task: Task,
        origin: str,
        *,
        fingerprint: str | None = None,
        endpoint: str | None = None,
        model: str | None = None,
        experiment: str | None = None,
        repeat: int | None = None,
        cell: str | None = None,
    ) -> Future[History]:
        """The stored history of this task, or an empty one with a row of its own.

        What a later call knows and the first one did not (label, params, endpoint and so on) is filled in.
        """
        known = _notes(task, endpoint, model, experiment, repeat, cell, fingerprint)

        def work(db: sqlite3.Connection) -> History:
            uid = _uid_of(db, task, origin)
            if uid is None or self._task(db, uid) is None:
                uid = uid or self._new_uid()
                self._put_task(db, [uid, task.provider, origin, task.id, dumps(dict(task.extra)), *known])
            else:
                self._fill_in(db, uid, known)
            history = self._load(db, self._must(db, uid))
            self._sum_up(db, history)
            return history

        return self._writer.put(work)

    def append(
        self,
        uid: str,
        events: Sequence[Event],
        *,
        links: Mapping[str, str] | None = None,
        summary: History,
    ) -> Future[None]:
        """Keep observations. Asking again for what is already kept changes nothing.

        Where another process has used a number meanwhile, the observation takes the next free one: both are kept.

        Args:
            uid: The row, from `History.uid`.
            events: What is new.
            links: Live links of outputs by name; each is dropped when its output is saved or given up.
            summary: The history including `events`.
        """

        def work(db: sqlite3.Connection) -> None:
            new, row = events, self._task(db, uid)
            if row is None:
                # The file was deleted or moved aside under a running watch: all that is known goes into the new one.
                task, new = summary.task, summary.events
                own = [uid, task.provider, summary.origin, task.id, dumps(dict(task.extra))]
                self._put_task(db, [*own, *_notes(task)])
            for name, url in (links or {}).items():
                put(db, "links", ("uid", "name", "url"), (uid, storable(name), storable(url)))
            last = self._put_events(db, uid, new)
            together = bool(summary.events) and last == summary.events[-1].seq
            self._sum_up(db, summary if together else self._load(db, self._must(db, uid)))

        return self._writer.put(work)

    def begin_intent(
        self,
        *,
        provider: str,
        origin: str,
        request_digest: str,
        endpoint: str | None = None,
        model: str | None = None,
        body_digest: str | None = None,
        params: Mapping[str, Any] | None = None,
        label: str | None = None,
        request_id: str | None = None,
        fingerprint: str | None = None,
        experiment: str | None = None,
        repeat: int | None = None,
        cell: str | None = None,
        at: datetime | None = None,
    ) -> Future[str]:
        """The row of a create that is about to be sent; send nothing before the future is done."""
        task = Task(provider, NO_ID, label=label, params=params or {})
        known = _notes(task, endpoint, model, experiment, repeat, cell, fingerprint)

        def work(db: sqlite3.Connection) -> str:
            uid = self._new_uid()
            self._put_task(db, [uid, provider, origin, None, "{}", *known])
            begun = iso(at or self._clock())
            intent = (uid, begun, "begun", request_digest, body_digest, request_id, None, None)
            put(db, "intents", _INTENT, intent)
            self._mark(db, uid, MarkWord.SUBMITTING, "", at)
            return uid

        return self._writer.put(work)

    def intent_sent(self, uid: str) -> Future[None]:
        """The first byte may have left: without an answer this create is in doubt from now on."""
        return self._writer.put(lambda db: self._turn(db, uid, "sent"))

    def intent_created(self, uid: str, task: Task, *, at: datetime | None = None) -> Future[History]:
        """The API answered with an id. Where a row of that id exists (an idempotent create) this one joins it."""

        def work(db: sqlite3.Connection) -> History:
            self._turn(db, uid, "created")
            row = self._must(db, uid)
            there = _uid_of(db, task, row["origin"])
            self._mark(db, uid, MarkWord.SUBMITTED, "", at)
            if there is None or there == uid:
                row |= {"id": task.id, "extra": dumps(dict(task.extra))}
                self._put_task(db, [row[name] for name in _TASK])
                there = uid
            else:
                self._join(db, uid, there)
            self._fill_in(db, there, _notes(task))
            history = self._load(db, self._must(db, there))
            self._sum_up(db, history)
            return history

        return self._writer.put(work)

    def intent_refused(self, uid: str, code: str, words: str) -> Future[None]:
        """The API refused, or nothing was sent: nothing was made, and the row's outcome is failed."""

        def work(db: sqlite3.Connection) -> None:
            self._turn(db, uid, "refused", clean(code, 100), clean(words))
            self._sum_up(db, self._load(db, self._must(db, uid)))

        return self._writer.put(work)

    def intent_in_doubt(self, uid: str, note: str, *, at: datetime | None = None) -> Future[None]:
        """It was sent and its answer lost: it may exist, and may be billed. It is listed, and never sent again."""

        def work(db: sqlite3.Connection) -> None:
            self._turn(db, uid, "in_doubt", note=clean(note))
            self._mark(db, uid, MarkWord.LOST, clean(note), at)

        return self._writer.put(work)

    def set_price(self, price: Price) -> Future[None]:
        """Keep a price; it takes the place of one that was for the same."""
        name, body, at = dumps(place_of(price)), dumps(as_row(price)), iso(self._clock())
        return self._writer.put(
            lambda db: put(db, "prices", ("name", "at", "body"), (storable(name), at, storable(body)))
        )

    # Reading

    def prices(self) -> list[Price]:
        """The published prices, then those that were set here, oldest first: a later one counts before an earlier."""
        sql = "SELECT name, at, body, digest FROM prices ORDER BY at, name"
        with self._database.reading() as db:
            rows = [row for row in (db.execute(sql).fetchall() if db else []) if self._whole(row)]
        return [*PRICES, *filter(None, (from_row(loads(body)) for _, _, body, _ in rows))]

    def load(self, uid: str) -> History | None:
        """The history of one row. One without an id of the API's yet has the id `(no id yet)`."""
        with self._database.reading() as db:
            row = self._task(db, uid) if db else None
            return self._load(db, row) if db and row else None

    def find(self, task: Task, origin: str) -> History | None:
        """The history of this task at this origin."""
        with self._database.reading() as db:
            uid = _uid_of(db, task, origin) if db else None
        return self.load(uid) if uid else None

    def find_submitted(self, provider: str, origin: str, request_digest: str) -> History | None:
        """The newest task of an identical request that is under way or succeeded."""
        with self._database.reading() as db:
            found = db.execute(_SUBMITTED, (request_digest, provider, origin)).fetchone() if db else None
        return self.load(found[0]) if found else None

    def link(self, uid: str, name: str) -> str | None:
        """The live link of an output that is not saved yet."""
        sql = "SELECT uid, name, url, digest FROM links WHERE uid = ? AND name = ?"
        with self._database.reading() as db:
            row = db.execute(sql, (uid, storable(name))).fetchone() if db else None
        return str(row[2]) if row and self._whole(row) else None

    def rows(self, **wanted: Unpack[Wanted]) -> list[Row]:
        """What `tasks()` shows, one row per task, newest last; the keywords are those of `Wanted`."""
        with self._database.reading() as db:
            found = self._select(db, _SUMMARIES, wanted)
            return [body for row in found if db and (body := self._summary(db, row)) is not None]

    def histories(self, **wanted: Unpack[Wanted]) -> list[History]:
        """The histories of `rows(**wanted)`, but for creates that have no id yet."""
        with self._database.reading() as db:
            rows = [self._listed(db, uid) for uid, *_ in self._select(db, _SUMMARIES, wanted) if db]
            return [self._load(db, row) for row in rows if db and row and row["id"]]

    def event_rows(self, **wanted: Unpack[Wanted]) -> list[Row]:
        """Every observation of `rows(**wanted)`: `uid`, `task`, `seq`, `at`, and `body` without the raw reply."""
        with self._database.reading() as db:
            return [
                {"uid": row[3], "task": _text_of(*row[:3]), "seq": row[4], "at": row[5], "body": loads(row[7]) or {}}
                for row in self._select(db, _EVENTS, wanted)
                if self._whole(row[3:])
            ]

    def output_rows(self, **wanted: Unpack[Wanted]) -> list[Row]:
        """Every saved file of `rows(**wanted)`, by the newest word about it, its path as the store keeps it."""
        newest: dict[tuple[str, str], Row] = {}
        with self._database.reading() as db:
            for row in self._select(db, _SAVED, wanted):
                body = loads(row[7]) if self._whole(row[3:]) else None
                if isinstance(body, dict):
                    newest[row[3], str(body.get("name"))] = {**body, "uid": row[3], "task": _text_of(*row[:3])}
        return [
            row for row in newest.values() if row.get("state", SaveState.SAVED) == SaveState.SAVED and "file" in row
        ]

    # Rows

    def _select(self, db: sqlite3.Connection | None, columns: str, wanted: Wanted) -> list[tuple[Any, ...]]:
        asked = _asked(wanted, self._clock())  # also where nothing is kept yet: a wrong filter is told at once
        return [] if db is None else db.execute(columns + _WANTED, asked).fetchall()

    def _whole(self, row: Sequence[Any]) -> bool:
        """Whether a row is as it was written. One that is not is left out, and said once."""
        if row_digest(*row[:-1]) == row[-1]:
            return True
        self._note_damage(row[:2])
        return False

    def _note_damage(self, where: object) -> None:
        if not self._damaged:
            self.notes.append(f"Damaged rows in {self._database.path} are left out; everything else is there.")
        self._damaged.add(where)

    def _task(self, db: sqlite3.Connection, uid: str) -> Row | None:
        """The row of a task, with its `Task`; None when there is none that can be trusted."""
        found = db.execute(f"SELECT {', '.join(_TASK)}, digest FROM tasks WHERE uid = ?", (uid,)).fetchone()  # noqa: S608
        if found is None or not self._whole(found):
            return None
        row = dict(zip(_TASK, found, strict=False))
        try:
            extra, params = loads(row["extra"]), loads(row["params"])
            row["task"] = Task(row["provider"], row["id"] or NO_ID, row["label"], params, extra)
        except BadInput:
            return None
        return row

    def _listed(self, db: sqlite3.Connection, uid: str) -> Row | None:
        """The row of a task that a listing named; one that is not there all the same was hidden by damage."""
        row = self._task(db, uid)
        if row is None:
            self._note_damage(uid)
        return row

    def _must(self, db: sqlite3.Connection, uid: str) -> Row:
        row = self._task(db, uid)
        if row is None:
            raise StoreError(f'{self._database.path} has no row "{clean(uid, 60)}" any more.')
        return row

    def _load(self, db: sqlite3.Connection, row: Row) -> History:
        events: list[Event] = []
        replies: dict[str, Any] = {}
        rows = db.execute(
            "SELECT e.uid, e.seq, e.at, e.kind, e.body, e.reply, e.digest, r.body FROM events e LEFT JOIN replies r"
            " ON r.uid = e.uid AND r.digest = e.reply WHERE e.uid = ? ORDER BY e.seq",
            (row["uid"],),
        ).fetchall()
        whole = [r for r in rows if self._whole(r[:-1])]
        # Numbers are given without gaps. A damaged index hides whole rows, and no digest is ever asked for them.
        if len(rows) < max(whole[-1][1] if whole else 0, self._last_seq(db, row["uid"])):
            self._note_damage(row["uid"])
        for uid, seq, at, _, text, reply, _, raw in whole:
            body, when = loads(text), moment(at)
            if reply is not None and isinstance(body, dict):
                if reply not in replies:
                    replies[reply] = loads(raw) if raw is not None and self._whole((uid, raw, reply)) else None
                body["raw"] = replies[reply]
            seen = decode(body, self.folder)
            if seen is not None and when is not None:
                events.append(Event(seq, when, seen))
        return History.of(row["task"], events, origin=row["origin"], uid=row["uid"])

    def _last_seq(self, db: sqlite3.Connection, uid: str) -> int:
        """The number of the last event by the row that sums them up; 0 when that says nothing."""
        sql = "SELECT uid, begun, outcome, body, digest FROM summaries WHERE uid = ?"
        found = db.execute(sql, (uid,)).fetchone()
        body = loads(found[3]) if found and self._whole(found) else None
        return int(body.get("seq", 0)) if isinstance(body, dict) else 0

    def _put_events(self, db: sqlite3.Connection, uid: str, events: Iterable[Event]) -> int:
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
            put(db, "events", _EVENT, (uid, last, at, kind, text, reply))
            if isinstance(event.seen, Saved):
                db.execute("DELETE FROM links WHERE uid = ? AND name = ?", (uid, storable(event.seen.name)))
        return last

    def _mark(self, db: sqlite3.Connection, uid: str, word: MarkWord, note: str, at: datetime | None) -> None:
        history = self._load(db, self._must(db, uid)).add(Mark(word=word, note=note), at or self._clock())
        self._put_events(db, uid, history.events[-1:])
        self._sum_up(db, history)

    def _sum_up(self, db: sqlite3.Connection, history: History) -> None:
        body = self._body(db, history)
        begun = body["submitted_at"] or body["first_seen_at"] or iso(_time_of(history.uid))
        put(db, "summaries", _SUMMARY, (history.uid, begun, body["outcome"], dumps(body)))

    def _body(self, db: sqlite3.Connection, history: History) -> Row:
        row = self._must(db, history.uid)
        told = {name: row[name] for name in ("endpoint", "model", "experiment", "repeat")}
        body = row_of(replace(history, task=row["task"]), self.folder, **told)
        if row["id"] is None:
            found = db.execute("SELECT state, code, note FROM intents WHERE uid = ?", (history.uid,)).fetchone()
            if found and found[0] == "refused":
                body |= {"outcome": Outcome.FAILED, "error_code": found[1], "error_message": found[2]}
        return body

    def _summary(self, db: sqlite3.Connection, row: tuple[Any, ...]) -> Row | None:
        uid, summary = row[0], row[1:]
        if summary[0] is not None and self._whole(summary) and isinstance(body := loads(summary[3]), dict):
            return body
        task = self._listed(db, uid)
        return None if task is None else self._body(db, self._load(db, task))

    def _put_task(self, db: sqlite3.Connection, values: Sequence[Any]) -> None:
        put(db, "tasks", _TASK, values)

    def _fill_in(self, db: sqlite3.Connection, uid: str, known: Sequence[Any]) -> None:
        row = self._must(db, uid)
        new = {n: v for n, v in zip(_NOTES, known, strict=True) if v not in {None, "{}"} and row[n] in {None, "{}"}}
        if new:
            self._put_task(db, [{**row, **new}[name] for name in _TASK])

    def _turn(self, db: sqlite3.Connection, uid: str, state: IntentState, code: str = "", note: str = "") -> None:
        columns = ", ".join(_INTENT)
        found = db.execute(f"SELECT {columns} FROM intents WHERE uid = ?", (uid,)).fetchone()  # noqa: S608
        if found is None:
            raise StoreError(f'{self._database.path} has no create "{clean(uid, 60)}".')
        row = {**dict(zip(_INTENT, found, strict=True)), "state": state, "code": code or None, "note": note or None}
        put(db, "intents", _INTENT, [row[name] for name in _INTENT])

    def _join(self, db: sqlite3.Connection, uid: str, there: str) -> None:
        """Move what we did for a create into the row that its id already has."""
        self._put_events(db, there, self._load(db, self._must(db, uid)).events)
        for table in ("tasks", "summaries", "events", "replies", "links"):
            db.execute(f"DELETE FROM {table} WHERE uid = ?", (uid,))  # noqa: S608
        columns = ", ".join(_INTENT[1:])
        found = db.execute(f"SELECT {columns} FROM intents WHERE uid = ?", (uid,)).fetchone()  # noqa: S608
        put(db, "intents", _INTENT, (there, *found))
        db.execute("DELETE FROM intents WHERE uid = ?", (uid,))

    def _new_uid(self) -> str:
        """Sorts by time, also within one process whose clock is set back; unique across processes by chance."""
        now = int(self._clock().timestamp() * 1_000_000)
        self._last_uid = max(now, self._last_uid + 1)
        return f"{self._last_uid:014x}-{secrets.token_hex(5)}"

    # A child process

    def _before_fork(self) -> None:
        self._database.pause()

    def _after_fork(self) -> None:
        self._database.resume()

    def _in_child(self) -> None:
        self._database.forget()
        self._writer.forget()


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


_SUBMITTED = (
    "SELECT t.uid FROM intents i JOIN tasks t ON t.uid = i.uid LEFT JOIN summaries s ON s.uid = i.uid"
    " WHERE i.request_digest = ? AND i.state = 'created' AND t.provider = ? AND t.origin = ?"
    " AND coalesce(s.outcome, '') NOT IN ('failed', 'cancelled', 'expired') ORDER BY t.uid DESC LIMIT 1"
)
_SUMMARIES = (
    "SELECT t.uid, s.uid, s.begun, s.outcome, s.body, s.digest FROM tasks t LEFT JOIN summaries s ON s.uid = t.uid"
)
_EVENTS = (
    "SELECT t.provider, t.id, t.extra, e.uid, e.seq, e.at, e.kind, e.body, e.reply, e.digest"
    " FROM tasks t LEFT JOIN summaries s ON s.uid = t.uid JOIN events e ON e.uid = t.uid"
)
_SAVED = f"{_EVENTS} AND e.kind = 'saved'"
_WANTED = (
    " WHERE (:since IS NULL OR s.begun >= :since) AND (:until IS NULL OR s.begun <= :until)"
    " AND (:provider IS NULL OR t.provider IN (SELECT value FROM json_each(:provider)))"
    " AND (:experiment IS NULL OR t.experiment IN (SELECT value FROM json_each(:experiment)))"
    " AND (:outcome IS NULL OR coalesce(s.outcome, 'pending') IN (SELECT value FROM json_each(:outcome)))"
    " AND (:uids IS NULL OR t.uid IN (SELECT value FROM json_each(:uids))) ORDER BY t.uid"
)


def _uid_of(db: sqlite3.Connection, task: Task, origin: str) -> str | None:
    found = db.execute(
        "SELECT uid FROM tasks WHERE provider = ? AND origin = ? AND id = ? AND extra = ?",
        (task.provider, origin, task.id, dumps(dict(task.extra))),
    ).fetchone()
    return found[0] if found else None


def _notes(
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


def _text_of(provider: str, ident: str | None, extra: str) -> str | None:
    try:
        return str(Task(provider, ident, extra=loads(extra))) if ident else None
    except BadInput:
        return None


def _time_of(uid: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(uid[:14], 16) / 1_000_000, UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


# Every store of this process, for its end and for its children

_STORES: weakref.WeakSet[Store] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for store in list(_STORES):
        store.close()


def _each(act: Callable[[Store], None]) -> Callable[[], None]:
    def do() -> None:
        for store in list(_STORES):
            act(store)

    return do


os.register_at_fork(
    before=_each(Store._before_fork),  # noqa: SLF001
    after_in_parent=_each(Store._after_fork),  # noqa: SLF001
    after_in_child=_each(Store._in_child),  # noqa: SLF001
)
