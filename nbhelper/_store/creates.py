"""Creates, from the intent to the id: what is sent has its row first, and what may have been sent is never forgotten.

Each function is one step inside a transaction. A create that is only `begun` was never sent; one that is `sent` without
an answer is in doubt.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from .._model.errors import StoreError
from .._model.history import History
from .._model.json_text import dumps
from .._model.seen import Mark, MarkWord, Outcome
from .._model.task import Task
from .._model.text import clean, storable
from .._model.times import iso, moment
from .rows import PUT_TASK, TASK, Rows, notes_of, uid_of
from .schema import insert

INTENT = ("uid", "at", "state", "request_digest", "body_digest", "request_id", "code", "note")
_PUT_INTENT = insert("intents", INTENT)

State = Literal["begun", "sent", "created", "refused", "in_doubt"]
_STATES = get_args(State)


@dataclass(frozen=True, slots=True)
class Create:
    """What is kept of one create of an experiment.

    Attributes:
        uid: Its row.
        origin: Where it was sent.
        cell: Which parameters; empty where that is lost.
        params: As they are kept, a JSON text.
        repeat: Which repetition, from 1.
        state: How far it came.
        at: When it was begun, UTC.
        request_digest: Of the request.
        request_id: What makes it safe to ask again, where the API has such a thing.
        fingerprint: Of the key it was sent with.
    """

    uid: str
    origin: str
    cell: str
    params: str
    repeat: int
    state: State
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
    """A new row for a create, before anything leaves.

    Args:
        rows: The store's.
        db: The connection.
        task: The columns of `TASK` behind `uid`.
        digests: Of the request and of its body, and the request's own id.
        at: When, if not now.
    """
    uid = rows.new_uid()
    db.execute(PUT_TASK, (uid, *task))
    db.execute(_PUT_INTENT, (uid, iso(at or rows.clock()), "begun", *digests, None, None))
    rows.mark(db, uid, Mark(word=MarkWord.SUBMITTING), at)
    return uid


def turn(rows: Rows, db: sqlite3.Connection, uid: str, state: State, code: str = "", note: str = "") -> None:
    """The create's new state."""
    row = {**_intent(rows, db, uid), "state": state, "code": code or None, "note": note or None}
    db.execute(_PUT_INTENT, [row[name] for name in INTENT])


def created(rows: Rows, db: sqlite3.Connection, uid: str, task: Task, at: datetime | None) -> History:
    """The API answered with an id: it fills the row, or the row joins the one which that id already has."""
    turn(rows, db, uid, "created")
    row = rows.must(db, uid)
    there = uid_of(db, task, row.origin)
    rows.mark(db, uid, Mark(word=MarkWord.SUBMITTED), at)
    if there is None or there == uid:
        row = row._replace(id=task.id, extra=dumps(dict(task.extra)))
        db.execute(PUT_TASK, row[: len(TASK)])
        there = uid
    else:
        _join(rows, db, uid, there)
    rows.fill_in(db, there, notes_of(task))
    row = rows.must(db, there)
    history = rows.load(db, row)
    rows.sum_up(db, row, history)
    return history


def refused(rows: Rows, db: sqlite3.Connection, uid: str, code: str, words: str) -> None:
    """Nothing was made; the row's outcome is failed."""
    turn(rows, db, uid, "refused", clean(code, 100), clean(words))
    rows.mark(db, uid, Mark(word=MarkWord.REFUSED, note=clean(words), code=clean(code, 100) or None), None)


def in_doubt(rows: Rows, db: sqlite3.Connection, uid: str, note: str, at: datetime | None) -> None:
    """It was sent, and its answer is lost."""
    turn(rows, db, uid, "in_doubt", note=clean(note))
    rows.mark(db, uid, Mark(word=MarkWord.LOST, note=clean(note)), at)


def of_experiment(db: sqlite3.Connection, experiment: str) -> list[Create]:
    """Every create of an experiment, oldest first.

    What decides whether something is sent again is never left out for damage: a create whose state is lost counts as in
    doubt, and no index is asked, since a damaged one hides whole rows.
    """
    found = []
    for values in db.execute(f"{_CREATES} WHERE t.experiment = ? ORDER BY t.uid", (storable(experiment),)).fetchall():
        row, intent = dict(zip(TASK, values, strict=False)), dict(zip(INTENT, values[len(TASK) :], strict=True))
        state: State = intent["state"] if intent["state"] in _STATES else "in_doubt"
        found.append(
            Create(
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
    return found


def doubtful(db: sqlite3.Connection) -> set[str]:
    """Every create without an id that may have been sent, also where nothing says any more how far it is."""
    sql = "SELECT t.uid, i.state FROM tasks t NOT INDEXED LEFT JOIN intents i ON i.uid = t.uid WHERE t.id IS NULL"
    return {uid for uid, state in db.execute(sql).fetchall() if state not in {"begun", "refused"}}


def submitted(rows: Rows, db: sqlite3.Connection, provider: str, origin: str, request_digest: str) -> History | None:
    """The newest task of an identical request that is under way or succeeded."""
    found = db.execute("SELECT uid FROM intents WHERE request_digest = ? ORDER BY uid DESC", (request_digest,))
    for (uid,) in found.fetchall():
        history = rows.history(db, uid)
        if history is None or (history.task.provider, history.origin) != (provider, origin):
            continue
        if rows.must(db, uid).id is not None and history.outcome not in _OVER:
            return history
    return None


_OVER = {Outcome.FAILED, Outcome.CANCELLED, Outcome.EXPIRED}
_COLUMNS = ", ".join([*(f"t.{name}" for name in TASK), *(f"i.{name}" for name in INTENT)])
_CREATES = f"SELECT {_COLUMNS} FROM tasks t NOT INDEXED LEFT JOIN intents i ON i.uid = t.uid"  # noqa: S608


def _intent(rows: Rows, db: sqlite3.Connection, uid: str) -> dict[str, Any]:
    found = db.execute(f"SELECT {', '.join(INTENT)} FROM intents WHERE uid = ?", (uid,)).fetchone()  # noqa: S608
    if found is None:
        raise StoreError(f'{rows.path} has no create "{clean(uid, 60)}".')
    return dict(zip(INTENT, found, strict=True))


def _join(rows: Rows, db: sqlite3.Connection, uid: str, there: str) -> None:
    """Move what we did for a create into the row that its id already has."""
    rows.put_events(db, there, rows.events(db, uid))
    row = {**_intent(rows, db, uid), "uid": there}
    for table in ("tasks", "summaries", "events", "replies", "links", "intents"):
        db.execute(f"DELETE FROM {table} WHERE uid = ?", (uid,))  # noqa: S608
    db.execute(_PUT_INTENT, [row[name] for name in INTENT])
