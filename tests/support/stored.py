"""Histories and their events in a store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from nbhelper._model.events import Output, Seen, Snapshot
from nbhelper._model.history import History
from nbhelper._model.states import State
from nbhelper._model.task import Task
from nbhelper._store.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORIGIN = "https://api.example"
LINK = "https://cdn.example/a.png?signature=SECRET"
DONE = Snapshot(
    state=State.SUCCEEDED,
    word="success",
    outputs=(Output(name="a", url=LINK, kind="image"),),
    reply='{"status":"success"}',
)


def opened(store: Store, ident: str = "t1", **known: Any) -> History:
    """The history of a task of kie's, with a row in the store."""
    return store.open_task(Task("kie", ident), ORIGIN, **known).result()


def grown(history: History, *seen: Seen, start: datetime = NOON) -> History:
    """The history with more observations, a second apart."""
    for number, item in enumerate(seen):
        history = history.add(item, start + timedelta(seconds=number))
    return history


def kept(store: Store, history: History, *seen: Seen, **options: Any) -> History:
    """The history with more observations, which were appended to the store."""
    added = []
    for number, item in enumerate(seen):
        history = history.add(item, NOON + timedelta(seconds=number))
        added.append(history.events[-1])
    store.append(history.uid, added, summary=history, **options).result()
    return history
