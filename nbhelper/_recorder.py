"""What is seen of one task: into the store first, then to whoever watches. Runs inside the engine's loop.

One observation is written after the other, each with the history that the one before it left. Looks come by here by the
thousand, so a call is told when one is on the disk, and no coroutine has to wait for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ._errors import StoreError
from ._history import History
from ._landing import Landing
from ._leases import Leases
from ._page import aside
from ._text import clean, without_query
from ._values import NOTHING, Event, Miss, Output, Seen, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._store import Store

log = logging.getLogger("nbhelper")

Then = Callable[[Exception | None], None]
"""What is called when an observation is kept, or with why it was not."""


class _Record(Landing):
    """Observations on their way to the disk."""

    __slots__ = ("claim", "fresh", "history", "reading", "seen", "then", "whose")

    history: History
    fresh: tuple[Event, ...]
    reading: asyncio.Task[None]

    def __init__(self, whose: Recorder, seen: tuple[Seen, ...], then: Then, *, claim: bool) -> None:
        super().__init__()
        self.whose = whose
        self.seen = seen
        self.then = then
        self.claim = claim

    def landed(self, value: Any, error: Any) -> None:
        self.whose.landed(self, error, apart=value is False)


class Recorder:
    """A history that grows, and is told of; `Poller` is one that looks.

    Attributes:
        history: Everything seen so far, all of it in the store.
        note: Trouble of our own worth showing, such as a full disk.
    """

    __slots__ = ("_leases", "_links", "_queue", "_store", "_unwritten", "_writing", "history", "note")

    def __init__(self, history: History, store: Store, leases: Leases) -> None:
        self.history = history
        self.note = ""
        self._store = store
        self._leases = leases
        self._links: Mapping[str, str] = NOTHING
        """The newest live link of each output; a stored history has none."""
        self._unwritten: tuple[Event, ...] = ()
        self._writing: _Record | None = None
        self._queue: tuple[_Record, ...] = ()

    def _over(self, history: History) -> bool:
        """Whether nothing more will come after this."""
        raise NotImplementedError

    def _tell(self) -> None:
        """The history has grown."""
        raise NotImplementedError

    async def record(self, *seen: Seen, claim: bool = False) -> None:
        """Add observations: into the store first, then to whoever watches. They are kept even if this is cancelled.

        Args:
            seen: What was observed.
            claim: Make this process the one that looks.

        Raises:
            Held: Another process looks at the task; what is no look of ours was not kept.
        """
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def then(error: Exception | None) -> None:
            if kept.done():  # whoever waited was cancelled
                return
            if error is not None:
                kept.set_exception(error)
            else:
                kept.set_result(None)

        self.put(seen, then, claim=claim)
        await kept

    def put(self, seen: tuple[Seen, ...], then: Then, *, claim: bool = False) -> None:
        """The same, for whoever does not wait; it raises nothing, and `then` is called by the loop."""
        record = _Record(self, seen, then, claim=claim)
        if self._writing is None:
            self._write(record)
        else:
            self._queue += (record,)

    def _write(self, record: _Record) -> None:
        self._writing = record
        try:
            now, known = datetime.now(UTC), self.history
            history, fresh = known, [*self._unwritten]
            for item in record.seen:
                history = history.add(item, now)
                fresh.append(history.events[-1])
            record.history = history
            record.fresh = tuple(fresh)
            links = {o.name: o.url for s in record.seen if isinstance(s, Snapshot) for o in s.outputs if o.url}
            if links:
                self._links = {**self._links, **links}
                links = {name: url for name, url in links.items() if name not in history.saves}
            if record.claim:
                lease = self._leases.take(history.uid)
            else:
                lease = self._leases.keep(history.uid, looked=_looked(record.seen), over=self._over(history))
            self._store.append_for(record, history.uid, record.fresh, links=links, summary=history, also=lease)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            record.set_exception(error)

    def landed(self, record: _Record, error: Exception | None, *, apart: bool) -> None:
        """It is on the disk, or not; `apart` from where this process put it, where another has written, too."""
        if apart:
            record.reading = asyncio.create_task(self._read(record))
        else:
            self._done(record, record.history if error is None else None, error)

    async def _read(self, record: _Record) -> None:
        """Another process has written, too."""
        try:
            self._done(record, await self._stored(record.history), None)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            self._done(record, None, error)

    def _done(self, record: _Record, history: History | None, error: Exception | None) -> None:
        if isinstance(error, StoreError):
            # Looking goes on in memory, loudly; the next observation tries to write this one again.
            self._unwritten, self.note = record.fresh, clean(error)
            log.warning("%s: %s", record.history.task, self.note)
            history, error = record.history, None
        elif error is None:
            self._unwritten, self.note = (), ""
        self._writing = None
        if history is not None:
            self.history = history
            self._tell()
        try:
            record.then(error)
        finally:
            if self._queue and self._writing is None:
                following, *queue = self._queue
                self._queue = tuple(queue)
                self._write(following)

    async def _stored(self, known: History) -> History:
        """The history as the store has it, when another process has written too."""
        with suppress(StoreError):
            stored = await aside(self._store.load, known.uid)
            return known if stored is None else merged(stored, known)
        return known


def _looked(seen: Sequence[Seen]) -> bool:
    return any(isinstance(s, Snapshot | Miss) for s in seen)


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
