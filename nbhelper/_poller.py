"""One task being watched: look, record, save, until there is an outcome. Runs inside the engine's loop.

Between two looks there is nothing here but a place in the queue of `_looks`: each look is a step of its own, which ends
with planning the next. So thousands of tasks that wait cost little, and what a step saw is recorded whoever leaves
meanwhile.

Whoever watches is told after each observation is in the store. A fault in here ends in the outcome `lost`, never in
silence. While another process looks at the task, this one follows what that writes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import StoreError
from ._gate import Gate
from ._history import UNSAVED, History, verdict
from ._http import Forbidden, Http, Unreached
from ._landing import Landing
from ._leases import Held, Leases, Work
from ._looks import Looks
from ._pace import JITTER, pause
from ._page import aside
from ._past import Past
from ._providers.reader import read_link
from ._providers.templates import fill
from ._save import ELSEWHERE, Place, save_bytes, save_link
from ._session import Connection
from ._text import clean
from ._turns import Turns
from ._values import Event, Mark, MarkWord, Miss, MissKind, Outcome, Output, Saved, SaveState, Seen, Snapshot, State

if TYPE_CHECKING:
    from ._store import Store

log = logging.getLogger("nbhelper")

Identity = tuple[str, str, str, tuple[tuple[str, str], ...]]
Listener = Callable[["Poller"], None]
_RESOLVE_PATIENCE = 600.0
_RESOLVE_PAUSE = 1.0
_GLANCE = 1.0
"""Seconds between two glances, while files are saved, at whether another process has taken over."""
_LAST_REPLY = 2.0
"""Seconds that a look under way may still take when the watch is stopped."""
_LAST_RECORD = 10.0
"""Seconds that keeping what it saw may take then: another notebook may be writing just now."""
_OURS = frozenset({Outcome.STOPPED, Outcome.LOST})
"""Ends that are not the server's: watched again, the task is looked at again."""


def identity(history: History) -> Identity:
    """What makes two references the same task: provider, origin, id, extra."""
    task = history.task
    return task.provider, history.origin, task.id, tuple(task.extra.items())


def merged(stored: History, known: History) -> History:
    """What the store has, in its order; what this process saw itself keeps what the store does not, such as bytes."""

    def key(event: Event) -> tuple[datetime, type, str | None]:
        return event.at, type(event.seen), getattr(event.seen, "name", None)

    own = {key(event): event.seen for event in known.events}
    events = [replace(event, seen=own.get(key(event), event.seen)) for event in stored.events]
    return History.of(known.task, events, origin=known.origin, uid=known.uid)


def _ours(error: Exception) -> str:
    return f"nbhelper itself failed: {type(error).__name__}: {clean(error, 200)}"


class Poller:
    """Watches one task for any number of listeners.

    Attributes:
        history: Everything seen so far, all of it in the store.
        over: Whether nothing more will come.
        note: Trouble of our own worth showing, such as a full disk.
    """

    __slots__ = (
        "_ended", "_flying", "_following", "_gate", "_http", "_keeping", "_leading", "_leases", "_links", "_listeners",
        "_looks", "_not_before", "_parting", "_past", "_planned", "_recording", "_replied", "_saves", "_step",
        "_stopping", "_store", "_turns", "_unwritten", "_work", "connection", "folder", "history", "interval", "note",
        "over",
    )  # fmt: skip

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
        leases: Leases,
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
        self._leases = leases
        self._following = False
        self._links: dict[str, str] = {}
        """The newest live link of each output; a stored history has none."""
        self._recording = asyncio.Lock()
        self._unwritten: tuple[Event, ...] = ()
        self._saves: dict[str, asyncio.Task[None]] = {}
        self._replied = 0.0
        self._not_before = 0.0
        self._flying = False
        self._keeping = False
        self._planned: tuple[History | None, float | None, float] = (None, None, 0.0)
        self._leading = False
        self._step: asyncio.Task[None] | None = None
        """The look that is under way."""
        self._work: asyncio.Task[None] | None = None
        """What comes before the looks and after them, and following another process."""
        self._stopping = False

    @property
    def next_at(self) -> datetime | None:
        """When the next look is due, None when there is none to come."""
        looked = self.history.facts.last_look_at is not None
        if self.over or self._following or self.history.outcome is not None or not looked:
            return None
        return datetime.now(UTC) + timedelta(seconds=self._due())

    @property
    def elsewhere(self) -> bool:
        """Whether another process looks at the task, and this one shows what that has written."""
        return self._following and not self.over

    # Whoever watches

    def join(self, listener: Listener) -> None:
        """Let one more listen. A task that was given up meanwhile is looked at again."""
        self._listeners.add(listener)
        self._parting.discard(listener)
        if self._work is None and not self._leading:
            self._begin(self._run())
        elif self._work is not None and not self._stopping and self.history.outcome in _OURS:
            self._work.cancel()  # it only waits for downloads, which go on
            self._listeners -= self._parting
            self._begin(self._run())
        else:
            listener(self)
            self._go_on()  # whoever comes may want to look more often

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
        self._leading = False
        self._looks.forget(self)
        tasks = [t for t in (self._work, self._step, *self._saves.values()) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = asyncio.create_task(work, name=f"watch {self.history.task}")

    async def _stop(self, note: str) -> None:
        begun = self._work is not None or self._leading
        if self.over or self._stopping or not begun or self.history.outcome is not None:
            return
        self._stopping = True
        try:
            self._looks.forget(self)
            if self._work is not None:
                self._work.cancel()
                await asyncio.wait([self._work])
            if (step := self._step) is not None:
                # A reply that is on its way, or on the way to the disk, may be the only one with the result in it.
                await asyncio.wait([step], timeout=_LAST_REPLY if self._flying else 0)
                await asyncio.wait([step], timeout=_LAST_RECORD if self._keeping else 0)
                step.cancel()
                await asyncio.wait([step])
            if self.history.outcome is None:
                await self._mark_stopped(Mark(word=MarkWord.STOPPED, note=note))
        finally:
            self._stopping = self._leading = False
        if self._listeners - self._parting:  # somebody came meanwhile
            self._listeners -= self._parting
            self._begin(self._run())
        else:
            self._begin(self._finish())

    async def _mark_stopped(self, mark: Mark) -> None:
        try:
            if not self._following:
                await self.record(mark)
        except Held:
            self._following = True
        if self._following:  # whoever looks at it has not stopped: the store goes on without this mark
            self.history = self.history.add(mark, datetime.now(UTC))

    # Recording

    async def record(self, *seen: Seen, claim: bool = False) -> None:
        """Add observations: into the store first, then to whoever watches.

        Args:
            seen: What was observed.
            claim: Make this process the one that looks.

        Raises:
            Held: Another process looks at the task; what is no look of ours was not kept.
        """
        async with self._recording:
            history = self.history
            for item in seen:
                history = history.add(item, datetime.now(UTC))
            fresh = (*self._unwritten, *history.events[len(self.history.events) :])
            links = {o.name: o.url for s in seen if isinstance(s, Snapshot) for o in s.outputs if o.url}
            self._links |= links
            links = {name: url for name, url in links.items() if name not in history.saves}
            lease = self._leases.take(history.uid) if claim else self._keep(history, seen)
            try:
                together: Landing[bool] = Landing()
                self._store.append_for(together, history.uid, fresh, links=links, summary=history, also=lease)
                self._unwritten, self.note = (), ""
                self.history = history if await together else await self._stored(history)
            except StoreError as error:
                # Looking goes on in memory, loudly; the next observation tries to write this one again.
                self._unwritten, self.note = fresh, clean(error)
                log.warning("%s: %s", history.task, self.note)
                self.history = history
        self._tell()

    def _keep(self, history: History, seen: Sequence[Seen]) -> Work:
        """What becomes of the lease with these observations: it ends when nothing more will come."""
        over = history.outcome is not None and not self._unsaved(history)
        return self._leases.keep(history.uid, looked=any(isinstance(s, Snapshot | Miss) for s in seen), over=over)

    async def _stored(self, known: History) -> History:
        """The history as the store has it, when another process has written too."""
        with suppress(StoreError):
            stored = await aside(self._store.load, known.uid)
            return known if stored is None else merged(stored, known)
        return known

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(self)
            except Exception:  # whoever listens cannot end the watch
                log.exception("telling of %s", self.history.task)

    # Looking

    async def _run(self) -> None:
        """Begin to look, or follow another process until it ends or this one takes over."""
        over = False
        try:
            over = self._following and await self._follow()
            while not over:
                try:
                    await self._lead()
                    break
                except Held:
                    over = await self._follow()
        except Exception as error:
            log.exception("watching %s", self.history.task)
            await self._fail(error)
        if over or self.history.outcome is not None:
            await self._finish()
        else:
            self._work, self._leading = None, True
            self._go_on()

    async def _fail(self, error: Exception) -> None:
        """A fault of ours must still end in an outcome."""
        mark = Mark(word=MarkWord.LOST, note=_ours(error))
        try:
            await self.record(mark)
        except Exception:
            log.exception("recording the end of %s", self.history.task)
            self.history = self.history.add(mark, datetime.now(UTC))

    async def _finish(self) -> None:
        try:
            if not self._following:
                await self._settle()
        except Held:  # another process took over while this one was stopped
            self._following = True
            self._drop_saves()
            if self._listeners - self._parting:
                self._begin(self._run())
                return
        except Exception:  # a fault of ours must not leave anybody waiting
            log.exception("saving the results of %s", self.history.task)
        self._leases.release(self.history.uid)
        self.over = True
        self._past.add(self.history)
        self._ended(self)
        self._tell()

    async def _lead(self) -> None:
        """Become the one that looks.

        Raises:
            Held: Another process is.
        """
        began = MarkWord.RESUMED if self.history.facts.watching else MarkWord.WATCHING
        await self.record(Mark(word=began, note="" if self.folder else UNSAVED), claim=True)
        self._following = False
        if self._leases.inherited(self.history.uid):
            self._not_before = time.monotonic() + self.connection.provider.floor * 1.02
        await self._save_what_is_known()

    async def _save_what_is_known(self) -> None:
        """Save what an earlier watch left, from the links that were kept; for others a finished task is looked at."""
        self._saves = {name: save for name, save in self._saves.items() if not save.done()}
        missing = self._unsaved()
        for output in missing:
            with suppress(StoreError):
                link = await aside(self._store.link, self.history.uid, output.name)
                self._links |= {output.name: link} if link else {}
        self._start_saves()
        if self.history.outcome is not None and any(o.name not in self._saves for o in missing):
            await asyncio.sleep(max(self._since_look(), self._not_before - time.monotonic()))
            if not await self._leases.holds(self.history.uid):
                raise Held
            await self._look_now()

    async def _follow(self) -> bool:
        """Show what the process that looks has written; whether all is over, or else this one is to look."""
        self._following = True
        self._drop_saves()
        free = False
        while True:
            looked = self.history.facts.polls
            self.history = await self._stored(self.history)
            if self.history.facts.polls > looked:
                self._replied = time.monotonic()
            self._tell()
            if self.history.outcome not in {None, *_OURS} and not self._unsaved():
                return True
            if free:
                return self.history.outcome is Outcome.LOST
            last = self.history.events[-1].seq if self.history.events else 0
            free = await self._leases.news(self.history.uid, last)

    def go(self) -> None:
        """It is time for a look."""
        if self._step is None:
            self._step = asyncio.create_task(self._round())

    async def _look_now(self) -> bool:
        """A look beside the planned ones, or the end of one that is under way; whether it was a look of its own."""
        own = self._step is None
        self.go()
        step = self._step
        assert step is not None
        await asyncio.wait([step])
        return own and not step.cancelled()

    async def _round(self) -> None:
        """One look, and what follows from it."""
        try:
            if not await self._leases.holds(self.history.uid):
                raise Held
            seen = await self._look()
            self._keeping = True
            await self._see(seen)
            lost = verdict(self.history, datetime.now(UTC), confirm=self.connection.provider.confirm)
            if lost is not None and self.history.outcome is None:
                await self.record(lost)
        except Held:
            self._following = self._following or self._leading
        except Exception as error:
            log.exception("looking at %s", self.history.task)
            await self._fail(error)
        finally:
            self._step, self._keeping = None, False
        self._go_on()

    def _go_on(self) -> None:
        """Plan the next look, or begin what comes after looking."""
        if not self._leading or self._stopping or self._step is not None:
            return
        if not self._following and self.history.outcome is None:
            due, soonest = self._due(), self._soonest()
            if (early := self._not_before - time.monotonic()) > 0:
                due, soonest = max(due, early), max(soonest, early)
            self._looks.later(self, due, soonest)
            return
        self._leading = False
        self._looks.forget(self)
        self._begin(self._run() if self._following else self._finish())

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
            return await self._looks.at(
                self.history.task, self._fly, first=self.history.facts.polls == 0, last=self.history.facts.latest
            )
        finally:
            self._replied = time.monotonic()

    def _fly(self, *, flying: bool) -> None:
        self._flying = flying

    async def _see(self, seen: Snapshot | Miss) -> None:
        """Record a look. Bytes that came inside the reply are on disk before their row is."""
        if isinstance(seen, Snapshot) and self.folder is not None:
            inline = [o for o in seen.outputs if o.data is not None and o.name not in self.history.saves]
            saves = [await aside(save_bytes, self._place(), o) for o in inline]
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

    def _unsaved(self, history: History | None = None) -> list[Output]:
        if self.folder is None:
            return []
        history = history or self.history
        return [o for o in history.outputs if o.name not in history.saves]

    def _start_saves(self) -> None:
        for output in self._unsaved():
            if output.name not in self._saves and (output.name in self._links or output.ref):
                self._saves[output.name] = asyncio.create_task(self._save(output), name=f"save {output.name}")

    async def _settle(self) -> None:
        """Wait until every output is saved or given up.

        Raises:
            Held: Another process has taken over; it saves them, too.
        """
        while True:
            if self._unsaved() and not await self._leases.holds(self.history.uid):
                raise Held
            pending = [t for t in self._saves.values() if not t.done()]
            if not pending:
                break
            await asyncio.wait(pending, timeout=_GLANCE)
        for output in self._unsaved():
            gone = (
                "it was delivered once, in a reply that is gone"
                if not (output.url or output.ref)
                else "it was not saved"
            )
            await self.record(Saved(name=output.name, state=SaveState.FAILED, kind=output.kind, message=gone))

    def _drop_saves(self) -> None:
        """Leave the saving to another process."""
        for save in self._saves.values():
            save.cancel(ELSEWHERE)
        self._saves.clear()

    async def _save(self, output: Output) -> None:
        try:
            link: str | Miss | None = self._links.get(output.name)
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
        with suppress(Held):  # whoever took over while this process was stopped has its own
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
        while (known := self._links.get(output.name)) == dead and not looked:
            await asyncio.sleep(self._since_look())
            looked = await self._look_now()
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
