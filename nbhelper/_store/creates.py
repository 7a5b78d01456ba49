"""Creates: the row that is written before a request is sent, and the task's id afterwards.

Each function runs inside a transaction of its caller. The table `intents` has the state of each create: one that is
`begun` was never sent; one that is `sent` and has no answer is in doubt.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from .._model.errors import StoreError
from .._model.events import Mark
from .._model.history import History
from .._model.json_text import dumps
from .._model.states import MarkWord, Outcome
from .._model.task import Task
from .._model.text import clean, storable
from .._model.times import iso, moment
from .rows import PUT_TASK, TASK, Rows, notes_of, uid_of
from .schema import insert

INTENT = ("uid", "at", "state", "request_digest", "body_digest", "request_id", "code", "note")
_PUT_INTENT = insert("intents", INTENT)

CreateState = Literal["begun", "sent", "created", "refused", "in_doubt"]
_STATES = get_args(CreateState)


@dataclass(frozen=True, slots=True)
class CreateRow:
    """One create of an experiment: its columns in the tables `tasks` and `intents`.

    Attributes:
        uid: The key of its row.
        origin: Scheme and host where it was sent.
        cell: The key of the grid's cell; empty where damage lost it.
        params: The parameters as JSON text.
        repeat: The number of the repetition, from 1; 0 where damage lost it.
        state: How far the create came.
        at: When the create was begun, UTC.
        request_digest: The digest of the request.
        request_id: The idempotency key, where the API takes one: with it the request can be sent again.
        fingerprint: The fingerprint of the API key that the create was sent with.
    """

    uid: str
    origin: str
    cell: str
    params: str
    repeat: int
    state: CreateState
    at: datetime | None
    request_digest: str
    request_id: str | None
    fingerprint: str | None


def begin(
    rows: Rows,
    db: sqlite3.Connection,
    task: Sequence[Any],
    digests: tuple[str, str | None, str | None],
    at: datetime | None,
) -> str:
    """Insert the rows of a create before its request is sent; returns their uid.

    Args:
        rows: The rows of the store.
        db: The connection.
        task: The values of the columns `TASK` after `uid`.
        digests: Request digest, body digest and request id.
        at: The time of the create; None is now.
    """
    uid = rows.new_uid()
    db.execute(PUT_TASK, (uid, *task))
    db.execute(_PUT_INTENT, (uid, iso(at or rows.clock()), "begun", *digests, None, None))
    rows.add_mark(db, uid, Mark(word=MarkWord.SUBMITTING), at)
    return uid


def set_state(rows: Rows, db: sqlite3.Connection, uid: str, state: CreateState, code: str = "", note: str = "") -> None:
    """Write the state of a create."""
    row = {**_intent(rows, db, uid), "state": state, "code": code or None, "note": note or None}
    db.execute(_PUT_INTENT, [row[name] for name in INTENT])


def record_created(rows: Rows, db: sqlite3.Connection, uid: str, task: Task, at: datetime | None) -> History:
    """Write the id that the API answered with; where that id has a row already, move this create's events into it."""
    set_state(rows, db, uid, "created")
    row = rows.require_task(db, uid)
    existing = uid_of(db, task, row.origin)
    rows.add_mark(db, uid, Mark(word=MarkWord.SUBMITTED), at)
    if existing is None or existing == uid:
        row = row._replace(id=task.id, extra=dumps(dict(task.extra)))
        db.execute(PUT_TASK, row[: len(TASK)])
        existing = uid
    else:
        _merge(rows, db, uid, existing)
    rows.fill_in(db, existing, notes_of(task))
    row = rows.require_task(db, existing)
    history = rows.load(db, row)
    rows.write_summary(db, row, history)
    return history


def record_refused(rows: Rows, db: sqlite3.Connection, uid: str, code: str, message: str) -> None:
    """Write that the API made no task: the row's outcome is failed."""
    set_state(rows, db, uid, "refused", clean(code, 100), clean(message))
    rows.add_mark(db, uid, Mark(word=MarkWord.REFUSED, note=clean(message), code=clean(code, 100) or None), None)


def record_in_doubt(rows: Rows, db: sqlite3.Connection, uid: str, note: str, at: datetime | None) -> None:
    """Write that the create was sent and its answer was lost: the row's outcome is lost."""
    set_state(rows, db, uid, "in_doubt", note=clean(note))
    rows.add_mark(db, uid, Mark(word=MarkWord.LOST, note=clean(note)), at)


def creates_of(db: sqlite3.Connection, experiment: str) -> list[CreateRow]:
    """Every create of an experiment, oldest first.

    Damage must not hide a create, which would then be sent again: one whose state is lost counts as in doubt, and the
    query is NOT INDEXED, since a damaged index hides whole rows.
    """
    creates = []
    for values in db.execute(f"{_CREATES} WHERE t.experiment = ? ORDER BY t.uid", (storable(experiment),)).fetchall():
        row, intent = dict(zip(TASK, values, strict=False)), dict(zip(INTENT, values[len(TASK) :], strict=True))
        state: CreateState = intent["state"] if intent["state"] in _STATES else "in_doubt"
        creates.append(
            CreateRow(
                uid=row["uid"],
                origin=row["origin"],
                cell=row["cell"] or "",
                params=row["params"],
                repeat=row["repeat"] or 0,
                state=state if row["id"] is None else "created",
                at=moment(intent["at"]),
                request_digest=intent["request_digest"] or "",
                request_id=intent["request_id"],
                fingerprint=row["fingerprint"],
            )
        )
    return creates


def uids_in_doubt(db: sqlite3.Connection) -> set[str]:
    """The uids of creates without an id that may have been sent, those whose state is damaged included."""
    sql = "SELECT t.uid, i.state FROM tasks t NOT INDEXED LEFT JOIN intents i ON i.uid = t.uid WHERE t.id IS NULL"
    return {uid for uid, state in db.execute(sql).fetchall() if state not in {"begun", "refused"}}


def find_submitted(
    rows: Rows, db: sqlite3.Connection, provider: str, origin: str, request_digest: str
) -> History | None:
    """The newest task of an identical request that is under way or succeeded."""
    uids = db.execute("SELECT uid FROM intents WHERE request_digest = ? ORDER BY uid DESC", (request_digest,))
    for (uid,) in uids.fetchall():
        history = rows.history(db, uid)
        if history is None or (history.task.provider, history.origin) != (provider, origin):
            continue
        if rows.require_task(db, uid).id is not None and history.outcome not in _OVER:
            return history
    return None


_OVER = {Outcome.FAILED, Outcome.CANCELLED, Outcome.EXPIRED}
_COLUMNS = ", ".join([*(f"t.{name}" for name in TASK), *(f"i.{name}" for name in INTENT)])
_CREATES = f"SELECT {_COLUMNS} FROM tasks t NOT INDEXED LEFT JOIN intents i ON i.uid = t.uid"  # noqa: S608


def _intent(rows: Rows, db: sqlite3.Connection, uid: str) -> dict[str, Any]:
    values = db.execute(f"SELECT {', '.join(INTENT)} FROM intents WHERE uid = ?", (uid,)).fetchone()  # noqa: S608
    if values is None:
        raise StoreError(f'{rows.path} has no create "{clean(uid, 60)}".')
    return dict(zip(INTENT, values, strict=True))


def _merge(rows: Rows, db: sqlite3.Connection, uid: str, existing: str) -> None:
    """Move the events of a create into the row that its id already has, and delete its own rows."""
    rows.insert_events(db, existing, rows.events(db, uid))
    row = {**_intent(rows, db, uid), "uid": existing}
    for table in ("tasks", "summaries", "events", "replies", "links", "intents"):
        db.execute(f"DELETE FROM {table} WHERE uid = ?", (uid,))  # noqa: S608
    db.execute(_PUT_INTENT, [row[name] for name in INTENT])
