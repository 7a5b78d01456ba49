"""Recording what is seen of one task: written to the store first, then told to the listeners, in the engine's loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from .._model.errors import StoreError
from .._model.events import Event, Output, Seen, Snapshot
from .._model.fields import NOTHING
from .._model.history import History
from .._model.text import clean, without_query

if TYPE_CHECKING:
    from .._store.store import Store

log = logging.getLogger("nbhelper")


class Recorder:
    """Adds observations to a history, one after another, each in the store before it is shown.

    Args:
        history: What is known so far, all of it in the store.
        store: Where it is kept.
        tell: Called after the history has grown.

    Attributes:
        history: Everything seen so far.
        links: The newest live link of each output by name; a history read from the store has none.
        note: An error of the store worth showing, such as a full disk.
    """

    __slots__ = ("_store", "_tell", "_turn", "_unwritten", "_writes", "history", "links", "note")

    def __init__(self, history: History, store: Store, tell: Callable[[], None]) -> None:
        self.history = history
        self.links: Mapping[str, str] = NOTHING
        self.note = ""
        self._store = store
        self._tell = tell
        self._turn = asyncio.Lock()
        self._unwritten: tuple[Event, ...] = ()
        """Events that a failing disk refused, for the next write."""
        self._writes: set[asyncio.Task[None]] = set()
        """Writes under way: the loop itself has only weak references to its tasks."""

    async def record(self, *seen: Seen) -> None:
        """Keep observations; they are kept also when the caller is cancelled meanwhile."""
        write = asyncio.create_task(self._write(seen), name=f"record {self.history.task}")
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        await asyncio.shield(write)

    async def _write(self, seen: tuple[Seen, ...]) -> None:
        async with self._turn:
            now, history, fresh = datetime.now(UTC), self.history, self._unwritten
            for item in seen:
                history = history.add(item, now)
                fresh += history.events[-1:]
            links = {o.name: o.url for s in seen if isinstance(s, Snapshot) for o in s.outputs if o.url}
            if links:
                self.links = {**self.links, **links}
                links = {name: url for name, url in links.items() if name not in history.saves}
            try:
                write = self._store.append(history.uid, fresh, links=links, summary=history)
                is_alone = await asyncio.wrap_future(write)
            except StoreError as error:
                # Looking goes on in memory, loudly; the next observation tries to write this one again.
                self._unwritten, self.note = fresh, clean(error)
                log.warning("%s: %s", history.task, self.note)
            else:
                self._unwritten, self.note = (), ""
                if not is_alone:  # another process has used our numbers meanwhile
                    history = await self.read(history)
            self.history = history
        self._tell()

    async def read(self, known: History) -> History:
        """The history as the store has it, when another process writes too; `known` where it cannot be read."""
        with suppress(StoreError):
            stored = await asyncio.to_thread(self._store.load, known.uid)
            return known if stored is None else merged(stored, known)
        return known

    async def read_link(self, name: str) -> None:
        """Take the live link of an output that the store kept into `links`."""
        with suppress(StoreError):
            link = await asyncio.to_thread(self._store.link, self.history.uid, name)
            if link:
                self.links = {**self.links, name: link}


def merged(stored: History, known: History) -> History:
    """The stored history, with what the store does not keep of its outputs: bytes, and the queries of their links."""
    own = known.facts.outputs
    outputs = {name: _completed(output, own.get(name)) for name, output in stored.facts.outputs.items()}
    facts = stored.facts._replace(outputs=MappingProxyType(outputs))
    return replace(stored, task=known.task, facts=facts)


def _completed(stored: Output, known: Output | None) -> Output:
    """An output with the bytes and the whole link that this process has of it, unless the store has another link."""
    if known is None or without_query(known.url or "") != (stored.url or ""):
        return stored
    return replace(stored, url=known.url, data=known.data)
