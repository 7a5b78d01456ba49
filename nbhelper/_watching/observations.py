"""What `Watch.events()` gives: each event of a task with the history up to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from .._model.errors import StoreError
from .._model.events import Event, Seen
from .._model.history import History
from .._model.task import Task

if TYPE_CHECKING:
    from .._store.store import Store


@dataclass(frozen=True, slots=True)
class Observation:
    """One event of one of the watched tasks.

    Attributes:
        history: The task's history up to and including it.
        event: What was seen.
    """

    history: History
    event: Event

    @property
    def task(self) -> Task:
        """Which task."""
        return self.history.task

    @property
    def at(self) -> datetime:
        """When, UTC."""
        return self.event.at

    @property
    def seen(self) -> Seen:
        """What."""
        return self.event.seen

    def __repr__(self) -> str:
        return f"<Observation {self.task} {self.event!r}>"


async def observations_after(known: History, newest: History, store: Store | None) -> AsyncGenerator[Observation, None]:
    """The events of `newest` behind the last one of `known`; those that it holds no longer are read from the store."""
    if known.uid != newest.uid:  # a planned create has become a task
        known = History(newest.task, origin=newest.origin, uid=newest.uid)
    events = [event for event in newest.events if event.seq > known.seq]
    if store is not None and events and events[0].seq > known.seq + 1:
        with suppress(StoreError):
            stored = await asyncio.to_thread(store.events, newest.uid, known.seq)
            events[:0] = [event for event in stored if event.seq < events[0].seq]
    for event in events:
        known = known.add_event(event)
        yield Observation(known, event)
