"""The history of one task: each observation is written to the store first, then told to whoever watches.

Belongs to the engine's loop. An `asyncio.Lock` lets one observation be written after the other, each with the history
that the one before it left.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ._errors import StoreError
from ._history import History
from ._text import clean
from ._values import NOTHING, Event, Seen, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._store import Store

log = logging.getLogger("nbhelper")


class Recorder:
    """A history that grows; `Poller` is one that looks.

    Attributes:
        history: Everything seen so far, all of it in the store.
        note: Trouble of our own worth showing, such as a full disk.
    """

    __slots__ = ("_links", "_one_at_a_time", "_store", "_unwritten", "_writing", "history", "note")

    def __init__(self, history: History, store: Store) -> None:
        self.history = history
        self.note = ""
        self._store = store
        self._links: Mapping[str, str] = NOTHING
        """The newest live link of each output; a stored history has none."""
        self._unwritten: tuple[Event, ...] = ()
        """Events that a failing disk refused, for the next write."""
        self._one_at_a_time = asyncio.Lock()
        self._writing: frozenset[asyncio.Task[None]] = frozenset()
        """Writes under way, by strong references: the loop itself has only weak ones to its tasks."""

    def _tell(self) -> None:
        """The history has grown."""
        raise NotImplementedError

    async def record(self, *seen: Seen) -> None:
        """Add observations to the history: into the store first, then to whoever watches.

        Shielded from cancellation: what was seen is kept even when the caller is cancelled.
        """
        write = asyncio.create_task(self._write(seen), name=f"record {self.history.task}")
        self._writing |= {write}
        write.add_done_callback(self._written)
        await asyncio.shield(write)

    def _written(self, write: asyncio.Task[None]) -> None:
        self._writing -= {write}

    async def _write(self, seen: Sequence[Seen]) -> None:
        async with self._one_at_a_time:
            now, known = datetime.now(UTC), self.history
            history = known
            for item in seen:
                history = history.add(item, now)
            fresh = (*self._unwritten, *history.events[len(known.events) :])
            links = {o.name: o.url for s in seen if isinstance(s, Snapshot) for o in s.outputs if o.url}
            if links:
                self._links = {**self._links, **links}
                links = {name: url for name, url in links.items() if name not in history.saves}
            try:
                append = self._store.append(history.uid, fresh, links=links, summary=history)
                if not await asyncio.wrap_future(append):
                    history = await self._stored(history)
            except StoreError as error:
                # Looking goes on in memory, loudly; the next observation tries to write this one again.
                self._unwritten, self.note = fresh, clean(error)
                log.warning("%s: %s", history.task, self.note)
            else:
                self._unwritten, self.note = (), ""
            self.history = history
            self._tell()

    async def _stored(self, known: History) -> History:
        """The history as the store has it, when another process has written too."""
        with suppress(StoreError):
            stored = await asyncio.to_thread(self._store.load, known.uid)
            return known if stored is None else merged(stored, known)
        return known


def merged(stored: History, known: History) -> History:
    """What the store has, in its order; what this process saw itself keeps what the store does not, such as bytes."""

    def key(event: Event) -> tuple[datetime, type, str | None]:
        return event.at, type(event.seen), getattr(event.seen, "name", None)

    own = {key(event): event.seen for event in known.events}
    events = [replace(event, seen=own.get(key(event), event.seen)) for event in stored.events]
    return History.of(known.task, events, origin=known.origin, uid=known.uid)
