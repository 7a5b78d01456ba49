"""One task being watched: look, record, save, until there is an outcome. Runs inside the engine's loop.

Whoever watches is told after each observation is in the store. A fault in here ends in the outcome `lost`, never in
silence.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import StoreError
from ._gate import Gate
from ._history import History, verdict
from ._http import Forbidden, Http, Unreached
from ._landing import landed
from ._looks import Looks
from ._pace import JITTER, pause
from ._past import Past
from ._providers.reader import fill, read_link
from ._save import Place, Turns, save_bytes, save_link
from ._session import Connection
from ._text import clean
from ._values import Event, Mark, MarkWord, Miss, MissKind, Outcome, Output, Saved, SaveState, Seen, Snapshot, State

if TYPE_CHECKING:
    from ._store import Store

log = logging.getLogger("nbhelper")

Identity = tuple[str, str, str, tuple[tuple[str, str], ...]]
Listener = Callable[["Poller"], None]
_RESOLVE_PATIENCE = 600.0
_RESOLVE_PAUSE = 1.0
_LAST_REPLY = 2.0
"""Seconds that a look under way may still take when the watch is stopped."""
_OURS = frozenset({Outcome.STOPPED, Outcome.LOST})
"""Ends that are not the server's: watched again, the task is looked at again."""


def identity(history: History) -> Identity:
    """What makes two references the same task: provider, origin, id, extra."""
    task = history.task
    return task.provider, history.origin, task.id, tuple(task.extra.items())


def _ours(error: Exception) -> str:
    return f"nbhelper itself failed: {type(error).__name__}: {clean(error, 200)}"


class Poller:
    """Watches one task for any number of listeners.

    Attributes:
        history: Everything seen so far, all of it in the store.
        over: Whether nothing more will come.
        note: Trouble of our own worth showing, such as a full disk.
    """

    def __init__(
        self,
        history: History,
        connection: Connection,
        *,
        http: Http,
        gate: Gate,
        looks: Looks,
        past: Past,
        turns: Turns,
        store: Store,
        folder: Path | None,
        interval: float | None,
        ended: Listener,
    ) -> None:
        self.history = history
        self.connection = connection
        self.folder = folder
        self.interval = interval
        self.over = False
        self.note = ""
        self._listeners: set[Listener] = set()
        self._parting: set[Listener] = set()
        self._ended = ended
        self._http = http
        self._gate = gate
        self._looks = looks
        self._past = past
        self._turns = turns
        self._store = store
        self._recording = asyncio.Lock()
        self._unwritten: tuple[Event, ...] = ()
        self._saves: dict[str, asyncio.Task[None]] = {}
        self._looking = asyncio.Lock()
        self._replied = 0.0
        self._flying = False
        self._planned: tuple[History | None, float | None, float] = (None, None, 0.0)
        self._step: asyncio.Task[bool] | None = None
        self._work: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def next_at(self) -> datetime | None:
        """When the next look is due, None when there is none to come."""
        if self.over or self.history.outcome is not None or self.history.facts.last_look_at is None:
            return None
        return datetime.now(UTC) + timedelta(seconds=self._due())

    # Whoever watches

    def join(self, listener: Listener) -> None:
        """Let one more listen. A task that was given up meanwhile is looked at again."""
        self._listeners.add(listener)
        self._parting.discard(listener)
        if self._work is None:
            self._begin(self._run())
        elif not self._stopping and self.history.outcome in _OURS:
            self._work.cancel()  # it only waits for downloads, which go on
            self._listeners -= self._parting
            self._begin(self._run())
        else:
            listener(self)

    async def part(self, listener: Listener, note: str) -> None:
        """Let one listen no more; when it was the last, looking stops. What the server already named is still saved."""
        if listener not in self._listeners or self.over:
            return
        self._parting.add(listener)
        if self._listeners - self._parting:
            self._listeners.discard(listener)
            self._parting.discard(listener)
        else:
            await self._stop(note)  # the last one still hears how it ends

    async def end(self, note: str, patience: float) -> None:
        """Stop for everybody, and give up what is not saved in time."""
        self._parting |= self._listeners
        await self._stop(note)
        if self._work is not None:
            await asyncio.wait([self._work], timeout=patience)
        if not self.over:
            await self.abandon()
            await self._finish()

    async def abandon(self) -> None:
        """Drop everything at once: the process ends, and the store knows what is unfinished."""
        tasks = [t for t in (self._work, self._step, *self._saves.values()) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = asyncio.create_task(work, name=f"watch {self.history.task}")

    async def _stop(self, note: str) -> None:
        if self.over or self._stopping or self._work is None or self.history.outcome is not None:
            return
        self._stopping = True
        try:
            self._work.cancel()
            await asyncio.wait([self._work])
            if self._step is not None:
                # A reply that is on its way may be the only one with the result in it.
                await asyncio.wait([self._step], timeout=_LAST_REPLY if self._flying else 0)
                self._step.cancel()
                await asyncio.gather(self._step, return_exceptions=True)
            if self.history.outcome is None:
                await self.record(Mark(word=MarkWord.STOPPED, note=note))
        finally:
            self._stopping = False
        if self._listeners - self._parting:  # somebody came meanwhile
            self._listeners -= self._parting
            self._begin(self._run())
        else:
            self._begin(self._finish())

    # Recording

    async def record(self, *seen: Seen) -> None:
        """Add observations: into the store first, then to whoever watches."""
        async with self._recording:
            history = self.history
            for item in seen:
                history = history.add(item, datetime.now(UTC))
            fresh = (*self._unwritten, *history.events[len(self.history.events) :])
            links = {o.name: o.url for s in seen if isinstance(s, Snapshot) for o in s.outputs if o.url}
            links = {name: url for name, url in links.items() if name not in history.saves}
            try:
                await landed(self._store.append(history.uid, fresh, links=links, summary=history))
                self._unwritten, self.note = (), ""
            except StoreError as error:
                # Looking goes on in memory, loudly; the next observation tries to write this one again.
                self._unwritten, self.note = fresh, clean(error)
                log.warning("%s: %s", history.task, self.note)
            self.history = history
        self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(self)
            except Exception:  # whoever listens cannot end the watch
                log.exception("telling of %s", self.history.task)

    # Looking

    async def _run(self) -> None:
        try:
            await self._watch()
        except Exception as error:  # a fault of ours must still end in an outcome
            log.exception("watching %s", self.history.task)
            mark = Mark(word=MarkWord.LOST, note=_ours(error))
            try:
                await self.record(mark)
            except Exception:
                log.exception("recording the end of %s", self.history.task)
                self.history = self.history.add(mark, datetime.now(UTC))
        await self._finish()

    async def _finish(self) -> None:
        try:
            await self._settle()
        except Exception:  # a fault of ours must not leave anybody waiting
            log.exception("saving the results of %s", self.history.task)
        self.over = True
        self._past.add(self.history)
        self._ended(self)
        self._tell()

    async def _watch(self) -> None:
        if not (self.history.snapshot and self.history.snapshot.state.final):
            began = MarkWord.RESUMED if self.history.outcome is not None else MarkWord.WATCHING
            await self.record(Mark(word=began))
        elif self._unsaved():
            await self._take(self._since_look)  # the stored history has no live links any more
        while self.history.outcome is None:
            await self._take(self._due)
            lost = verdict(self.history, datetime.now(UTC), confirm=self.connection.provider.confirm)
            if lost is not None and self.history.outcome is None:
                await self.record(lost)

    async def _take(self, due: Callable[[], float]) -> None:
        """One look when it is due, as a task of its own: what it saw is recorded whoever is cancelled meanwhile."""
        await self._looks.due(due(), self._soonest())
        self._step = asyncio.create_task(self._look_if(lambda: min(due(), self._soonest())))
        await asyncio.shield(self._step)

    async def _look_if(self, due: Callable[[], float]) -> bool:
        """Look, unless another look came first: an output may want a fresh link while the watch goes on."""
        async with self._looking:
            if due() > 0:
                return False
            await self._see(await self._look())
            return True

    def _due(self) -> float:
        """Seconds until the next look."""
        last = self.history.facts.last_look_at
        if last is None:
            return 0.0
        history, interval, wait = self._planned
        if history is not self.history or interval != self.interval:
            wait = pause(
                self.history,
                last,
                floor=self.connection.provider.floor,
                interval=self.interval,
                chance=random.random(),  # noqa: S311  # jitter
                known=self._past.of(self.history),
                sharing=self._looks.shared,
            )
            self._planned = self.history, self.interval, wait
        return max(0.0, wait - self._passed())

    def _soonest(self) -> float:
        """Seconds until a look is welcome that costs nothing: at the floor, but in trouble not before it is due."""
        latest = self.history.facts.latest
        unwell = self.history.facts.trouble is not None or (latest is not None and latest.state is State.UNKNOWN)
        return self._due() if unwell or self.interval is not None else self._since_look()

    def _since_look(self) -> float:
        """Seconds until the floor allows another look."""
        if self.history.facts.last_look_at is None:
            return 0.0
        return max(0.0, self.connection.provider.floor * (1 + JITTER[0]) - self._passed())

    def _passed(self) -> float:
        """Seconds since the last look."""
        last = self.history.facts.last_look_at
        assert last is not None
        # Our own looks are timed by the monotonic clock; another process's by the wall clock, which may have jumped.
        passed = time.monotonic() - self._replied if self._replied else (datetime.now(UTC) - last).total_seconds()
        return max(0.0, passed)

    async def _look(self) -> Snapshot | Miss:
        try:
            return await self._looks.at(self.history.task, self._fly, first=self.history.facts.polls == 0)
        finally:
            self._replied = time.monotonic()

    def _fly(self, *, flying: bool) -> None:
        self._flying = flying

    async def _see(self, seen: Snapshot | Miss) -> None:
        """Record a look. Bytes that came inside the reply are on disk before their row is."""
        if isinstance(seen, Snapshot) and self.folder is not None:
            inline = [o for o in seen.outputs if o.data is not None and o.name not in self.history.saves]
            saves = [await asyncio.to_thread(save_bytes, self._place(), o) for o in inline]
            # What could not be written stays in memory, the only place where it still is.
            kept = {s.name for s in saves if s.state is not SaveState.SAVED}
            seen = replace(seen, outputs=tuple(o if o.name in kept else replace(o, data=None) for o in seen.outputs))
            await self.record(seen, *saves)
        else:
            await self.record(seen)
        self._start_saves()

    # Saving

    def _place(self) -> Place:
        assert self.folder is not None
        task = self.history.task
        return Place.of(self.folder, task.provider, task.label or task.id, repr(identity(self.history)))

    def _unsaved(self) -> list[Output]:
        if self.folder is None:
            return []
        return [o for o in self.history.outputs if o.name not in self.history.saves]

    def _start_saves(self) -> None:
        for output in self._unsaved():
            if output.name not in self._saves and (output.url or output.ref):
                self._saves[output.name] = asyncio.create_task(self._save(output), name=f"save {output.name}")

    async def _settle(self) -> None:
        """Wait until every output is saved or given up."""
        while pending := [t for t in self._saves.values() if not t.done()]:
            await asyncio.wait(pending)
        for output in self._unsaved():
            gone = (
                "it was delivered once, in a reply that is gone"
                if not (output.url or output.ref)
                else "it was not saved"
            )
            await self.record(Saved(name=output.name, state=SaveState.FAILED, kind=output.kind, message=gone))

    async def _save(self, output: Output) -> None:
        try:
            link: str | Miss | None = output.url
            if link is None:
                link = await self._resolve(output)
            if isinstance(link, Miss):
                saved = Saved(name=output.name, state=SaveState.FAILED, kind=output.kind, message=clean(link))
            else:
                saved = await save_link(
                    self._http,
                    self._turns,
                    self._place(),
                    replace(output, url=link, lifetime=output.lifetime or self._lifetime(output)),
                    connection=self.connection,
                    fresh=lambda: self._fresh(output, link),
                )
        except Exception as error:  # an output's trouble is never the task's
            log.exception("saving %s of %s", output.name, self.history.task)
            saved = Saved(name=output.name, state=SaveState.FAILED, kind=output.kind, message=_ours(error))
        await self.record(saved)

    def _lifetime(self, output: Output) -> float | None:
        resolve = self.connection.provider.resolve
        return resolve.lifetime if output.ref and resolve else None

    async def _fresh(self, output: Output, dead: str | None) -> str | None:
        """A newer link for an output whose link died: one that came meanwhile, or one more look."""
        if output.ref:
            link = await self._resolve(output)
            return link if isinstance(link, str) else None
        looked = False
        while (known := self.history.facts.outputs[output.name].url) == dead and not looked:
            await asyncio.sleep(self._since_look())
            looked = await self._look_if(self._since_look)
        return known

    async def _resolve(self, output: Output) -> str | Miss:
        """The link behind a `ref`, by the API's second request; its misses are the output's and never the task's."""
        provider = self.connection.provider
        if provider.resolve is None or output.ref is None:
            return Miss(kind=MissKind.BAD_REQUEST, message="this provider has no second request for a reference")
        request = fill(provider.resolve.request, {"ref": output.ref})
        begun, wait, refusals = time.monotonic(), _RESOLVE_PAUSE, 0
        while True:
            async with self._gate.passing():
                try:
                    reply = await self._http.api(self.connection, request)
                except Unreached as error:
                    found: str | Miss = Miss(kind=MissKind.NETWORK, message=clean(error))
                except Forbidden as error:
                    found = Miss(kind=MissKind.REFUSED, message=clean(error))
                else:
                    found = read_link(provider, reply, (self.connection.key.reveal(),))
                self._gate.judge(found, provider.floor)
            if isinstance(found, str):
                return found
            refusals += found.kind not in {MissKind.NETWORK, MissKind.SERVER, MissKind.RATE_LIMITED}
            if refusals >= 4 or time.monotonic() - begun > _RESOLVE_PATIENCE:
                return found
            await asyncio.sleep(max(wait, found.retry_after or 0.0) * (1 + 0.2 * random.random()))  # noqa: S311
            wait = min(wait * 2, 30.0)
