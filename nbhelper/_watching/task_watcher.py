"""One task being watched: look, record, save, plan, until it is over. Runs inside the engine's loop.

`TaskWatcher._watch` is the whole of it. It waits for one `asyncio.Event`, `_news`, which is set when a look is
answered, a file is saved, or a listener joins or leaves. An exception in here ends in the outcome `lost`. While another
process holds the task's lease, this one reads what that process writes to the store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from .._model.events import Mark
from .._model.history import UNSAVED, History
from .._model.lost_sight import verdict
from .._model.states import MarkWord, Outcome
from .._model.text import clean
from .._session.session import Connection
from .._store.leases import Leases
from .looks import Look, Looks
from .past import Past
from .recording import Recorder
from .saving import Network, Saves
from .timetable import Timetable

if TYPE_CHECKING:
    from .._store.store import Store

log = logging.getLogger("nbhelper")

Identity = tuple[str, str, str, tuple[tuple[str, str], ...]]
Listener = Callable[["TaskWatcher"], None]
_LAST_REPLY = 2.0
"""Seconds that a look under way may still take when the watch is stopped."""
_LAST_RECORD = 10.0
"""Seconds that keeping its answer may take then: another notebook may be writing just now."""
_OURS = frozenset({Outcome.STOPPED, Outcome.LOST})
"""Ends that are not the server's: watched again, the task is looked at again."""


def identity(history: History) -> Identity:
    """What makes two references the same task: provider, origin, id, extra."""
    task = history.task
    return task.provider, history.origin, task.id, tuple(task.extra.items())


class TaskWatcher:
    """Watches one task for any number of listeners.

    Attributes:
        key: The task's identity.
        connection: The API and the key.
        timetable: The time of the next look.
        is_over: Whether the history will not grow any more.
    """

    __slots__ = (
        "_again", "_ended", "_is_following", "_leases", "_least_polls", "_listeners", "_look", "_looked", "_looks",
        "_news", "_parting", "_past", "_recorder", "_saves", "_stop_note", "_stopped", "_work",
        "connection", "is_over", "key", "timetable",
    )  # fmt: skip

    def __init__(
        self,
        history: History,
        connection: Connection,
        *,
        key: Identity,
        network: Network,
        looks: Looks,
        past: Past,
        store: Store,
        leases: Leases,
        ended: Listener,
    ) -> None:
        self.key = key
        self.connection = connection
        self.timetable = Timetable(looks, past)
        self.is_over = False
        self._looks = looks
        self._past = past
        self._leases = leases
        self._ended = ended
        self._news = asyncio.Event()
        self._recorder = Recorder(history, store, self._tell)
        self._saves = Saves(connection, network, self._recorder, key, refresh=self._newer_link, on_end=self._news.set)
        self._listeners: tuple[Listener, ...] = ()
        self._parting: tuple[Listener, ...] = ()
        """Listeners that left and are told until the watch has stopped."""
        self._work: asyncio.Task[None] | None = None
        self._again = False
        """Whether a listener joined while the watch was stopping or given up, so that it begins anew."""
        self._stop_note: str | None = None
        """The note of the `stopped` mark, from the request to stop until the mark is recorded."""
        self._stopped: asyncio.Future[None] | None = None
        """Done when the `stopped` mark is recorded."""
        self._is_following = False
        """Whether another process holds the lease."""
        self._look: Look | None = None
        self._looked: asyncio.Future[None] | None = None
        """Done when the next look is recorded or given up."""
        self._least_polls = 0
        """Looks go on until `facts.polls` is so large, also after the outcome: a save waits for a newer link."""

    @property
    def history(self) -> History:
        """Everything seen so far."""
        return self._recorder.history

    @property
    def note(self) -> str:
        """Trouble of our own worth showing, such as a full disk."""
        return self._recorder.note

    @property
    def next_at(self) -> datetime | None:
        """When the next look is due, None when there is none to come."""
        history = self.history
        if self.is_over or self._is_following or history.outcome is not None or history.facts.last_look_at is None:
            return None
        wait = self.timetable.due(history) - time.monotonic()
        return datetime.now(UTC) + timedelta(seconds=max(0.0, wait))

    @property
    def is_elsewhere(self) -> bool:
        """Whether another process looks at the task, and this one reads what it writes."""
        return self._is_following and not self.is_over

    # Listeners

    def join(self, listener: Listener, folder: Path | None, interval: float | None) -> None:
        """Add a listener. A task that was stopped or lost is looked at again.

        Args:
            listener: Called with this watcher after the history has grown.
            folder: Where results go; the first one given counts.
            interval: Wanted seconds between looks; the shortest counts.
        """
        self._saves.folder = self._saves.folder or folder
        if interval is not None:
            self.timetable.interval = min(interval, self.timetable.interval or interval)
        self._listeners = (*_without(self._listeners, listener), listener)
        self._parting = _without(self._parting, listener)
        if self._work is None:
            self._work = asyncio.create_task(self._run(), name=f"watch {self.history.task}")
        elif self._stop_note is not None or self.history.outcome in _OURS:
            self._again = True
        else:
            listener(self)
        self._news.set()  # the new listener may want looks more often, or the results saved

    async def leave(self, listener: Listener, note: str) -> None:
        """Remove a listener; with the last one, looking stops. Outputs that the server has named are still saved."""
        if listener not in self._listeners or self.is_over:
            return
        if _without(self._listeners, listener, *self._parting):
            self._listeners = _without(self._listeners, listener)
            self._parting = _without(self._parting, listener)
        else:
            self._parting = (*_without(self._parting, listener), listener)
            await self._stop(note)

    async def end(self, note: str, patience: float) -> None:
        """Stop for all listeners, and give up files that are not saved within `patience` seconds."""
        self._parting = self._listeners
        await self._stop(note)
        if self._work is not None:
            await asyncio.wait([self._work], timeout=patience)
        if not self.is_over:
            await self.abandon()
            await self._finish_saves()
            self._close()

    async def abandon(self) -> None:
        """Cancel everything at once, because the process ends; the store knows what is unfinished."""
        self._drop_look()
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self._saves.cancel()

    async def _stop(self, note: str) -> None:
        """Ask `_watch` to stop looking, and wait until it has."""
        if self.is_over or self._is_final:
            return
        self._again = False
        if self._stopped is None or self._stopped.done():
            self._stop_note = note
            self._stopped = asyncio.get_running_loop().create_future()
            self._news.set()
        await asyncio.wait([self._stopped], timeout=_LAST_REPLY + _LAST_RECORD)

    def _tell(self) -> None:
        for listener in self._listeners:
            try:
                listener(self)
            except Exception:  # a listener's exception cannot end the watch
                log.exception("telling of %s", self.history.task)

    # The watch

    async def _run(self) -> None:
        """Watch until it is over; an exception is recorded as the outcome `lost`."""
        try:
            await self._watch()
        except Exception as error:
            log.exception("watching %s", self.history.task)
            self._drop_look()
            await self._record_fault(error)
        try:
            await self._finish_saves()
        except Exception:  # an exception must not leave a listener waiting
            log.exception("saving the results of %s", self.history.task)
        if self._again and not self._is_final:
            self._work = asyncio.create_task(self._run(), name=f"watch {self.history.task}")
        else:
            self._close()

    async def _watch(self) -> None:
        """Look, record, save, plan, until the task is over and its results are saved or given up."""
        await self._begin()
        while not self._is_settled:
            if self._is_following:
                await self._follow()
            else:
                look = self._plan()
                await self._news.wait()
                self._news.clear()
                if look is not None and look.answer.done():
                    await self._take_in(look)
                if self._stop_note is not None:
                    await self._stop_looking(self._stop_note)
                self._saves.start()
            if self._again and self._stop_note is None:
                self._again = False
                if self.history.outcome in _OURS:
                    await self._begin()

    @property
    def _is_final(self) -> bool:
        """Whether the server said how it ended."""
        return self.history.outcome not in {None, *_OURS}

    @property
    def _is_settled(self) -> bool:
        """Whether there is an outcome, and no file or look to wait for."""
        is_saving = self._saves.is_busy or (self._is_following and self._is_final and bool(self._saves.unsaved))
        return self.history.outcome is not None and not is_saving and not self._wants_look

    @property
    def _wants_look(self) -> bool:
        """Whether a look is needed although the task is over."""
        return self.history.facts.polls < self._least_polls

    async def _begin(self) -> None:
        """Take the lease, record the mark and resume unfinished saves; or follow the process that has the lease."""
        self._listeners, self._parting = _without(self._listeners, *self._parting), ()
        self._again = False
        self._is_following = not self._leases.take(self.history.uid)
        if self._is_following:
            return
        facts = self.history.facts
        if facts.watching is not None and self.history.outcome is None:
            # The process that watched it was killed: its last look may not be recorded.
            self.timetable.hold_back()
        word = MarkWord.RESUMED if facts.watching else MarkWord.WATCHING
        self._looks.beginning += 1
        try:
            await self._recorder.record(Mark(word=word, note="" if self._saves.folder else UNSAVED))
        finally:
            self._looks.beginning -= 1
        if self._saves.unsaved and not await self._saves.go_on() and self.history.outcome is not None:
            self._least_polls = self.history.facts.polls + 1

    async def _take_in(self, look: Look) -> None:
        """Record the answer of a look; `_watch` then begins to save the outputs it names."""
        self._look = None
        seen = look.answer.result()
        self.timetable.replied = time.monotonic()
        await self._recorder.record(*await self._saves.keep_bytes(seen))
        lost = verdict(self.history, datetime.now(UTC), confirm=self.connection.provider.confirm)
        if lost is not None and self.history.outcome is None:
            await self._recorder.record(lost)
        self._end_look()

    def _end_look(self) -> None:
        """Wake the saves that wait for a look: it is recorded, or was given up."""
        if self._looked is not None:
            self._looked.set_result(None)
            self._looked = None

    async def _stop_looking(self, note: str) -> None:
        """Look no more. An answer under way may be the only one with the result in it: it gets two seconds."""
        look = self._look
        if look is not None and look.is_sent:
            await asyncio.wait([look.answer], timeout=_LAST_REPLY)
        if look is not None and look.answer.done():
            await self._take_in(look)
        self._drop_look()
        mark = Mark(word=MarkWord.STOPPED, note=note)
        if self.history.outcome is None and self._is_following:
            # The other process has not stopped, so the mark is not for the store.
            self._recorder.history = self.history.add(mark, datetime.now(UTC))
        elif self.history.outcome is None:
            await self._recorder.record(mark)
        self._stop_note = None
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    async def _record_fault(self, error: Exception) -> None:
        mark = Mark(word=MarkWord.LOST, note=f"nbhelper itself failed: {type(error).__name__}: {clean(error, 200)}")
        try:
            await self._recorder.record(mark)
        except Exception:
            log.exception("recording the end of %s", self.history.task)
            self._recorder.history = self.history.add(mark, datetime.now(UTC))

    def _close(self) -> None:
        """Release the lease and tell the listeners that the watch is over."""
        self._leases.release(self.history.uid)
        self.is_over = True
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)
        self._past.add(self.history)
        self._ended(self)
        self._tell()

    async def _follow(self) -> None:
        """Read what the other process writes, until the task is over, that process releases the lease, or we stop."""
        is_free = False
        while True:
            polls = self.history.facts.polls
            self._recorder.history = await self._recorder.read(self.history)
            if self.history.facts.polls > polls:
                self.timetable.replied = time.monotonic()
            self._tell()
            if self._stop_note is not None:
                await self._stop_looking(self._stop_note)
                return
            if self._is_final and not self._saves.unsaved:
                return
            if is_free:
                if self.history.outcome is not Outcome.LOST:
                    await self._begin()
                return
            is_free = await self._hear_of_other()

    async def _hear_of_other(self) -> bool:
        """Wait until the other process wrote more, or `_news` is set; whether this process has the lease now."""
        last = self.history.seq
        reading = asyncio.ensure_future(self._leases.follow(self.history.uid, last))
        woken = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({reading, woken}, return_when=asyncio.FIRST_COMPLETED)
            return reading.done() and reading.result()
        finally:
            self._news.clear()
            reading.cancel()
            woken.cancel()
            await asyncio.gather(reading, woken, return_exceptions=True)  # so that neither outlives the loop

    # Planning

    def _plan(self) -> Look | None:
        """The next look, planned by what is known now; None when none is needed."""
        history, times = self.history, self.timetable
        if self._stop_note is not None or (history.outcome is not None and not self._wants_look):
            return self._look
        if self._wants_look:
            due = soonest = times.allowed(history)
        else:
            due, soonest = times.due(history), times.soonest(history)
        if self._look is None:
            facts = history.facts
            self._look = self._looks.plan(history.task, due, soonest, is_first=facts.polls == 0, last=facts.latest)
            self._look.answer.add_done_callback(lambda _: self._news.set())
        else:
            self._looks.move(self._look, due, soonest)
        return self._look

    def _drop_look(self) -> None:
        """Give up the look that is planned or under way."""
        if self._look is not None:
            if self._look.is_sent:  # the server may count it all the same
                self.timetable.hold_back()
            self._looks.give_up(self._look)
            self._look = None
        self._end_look()

    async def _newer_link(self, name: str, dead: str) -> str | None:
        """A newer link than one that died: one that came meanwhile, or what one more look gives."""
        is_asked = self._look is not None and self._look.is_asked  # its answer may be older than the link's death
        for _ in range(2 if is_asked else 1):
            if self._recorder.links.get(name) != dead:
                break
            self._least_polls = max(self._least_polls, self.history.facts.polls + 1)
            if self._looked is None:
                self._looked = asyncio.get_running_loop().create_future()
            self._news.set()
            await asyncio.shield(self._looked)
        return self._recorder.links.get(name)

    async def _finish_saves(self) -> None:
        """Wait for the saves under way, and record a failed save for each output that then has no file."""
        if self._is_following:  # the process that looks saves them
            return
        while self._saves.is_busy:
            await self._news.wait()
            self._news.clear()
        await self._saves.give_up()


def _without(listeners: tuple[Listener, ...], *gone: Listener) -> tuple[Listener, ...]:
    return tuple(listener for listener in listeners if listener not in gone)
