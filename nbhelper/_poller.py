"""One task being watched: look, record, save, until there is an outcome. Runs inside the engine's loop.

While looks go on, nothing waits in here: `_looks` calls `go` when one is due and `seen` with what it gave, which is
recorded, and then the next is planned. So thousands of tasks cost little, and what was seen is kept whoever leaves
meanwhile. Only what comes before and after is a task of its own.

Whoever watches is told after each observation is in the store. A fault in here ends in the outcome `lost`, never in
silence. While another process looks at the task, this one follows what that writes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import StoreError
from ._gate import Gate
from ._history import UNSAVED, History, verdict
from ._http import Forbidden, Http, Unreached
from ._leases import Leases
from ._looks import Asked, Looks
from ._pace import JITTER, pause
from ._past import Past
from ._providers.reader import read_link
from ._providers.templates import fill
from ._recorder import Recorder
from ._save import Place, save_bytes, save_link
from ._session import Connection
from ._text import clean
from ._turns import Turns
from ._values import NOTHING, Mark, MarkWord, Miss, MissKind, Outcome, Output, Saved, SaveState, Seen, Snapshot, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._store import Store

log = logging.getLogger("nbhelper")

Identity = tuple[str, str, str, tuple[tuple[str, str], ...]]
Listener = Callable[["Poller"], None]
_RESOLVE_PATIENCE = 600.0
_RESOLVE_PAUSE = 1.0
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


_UNPLANNED: tuple[None, None, float] = (None, None, 0.0)


def _without(listeners: tuple[Listener, ...], *gone: Listener) -> tuple[Listener, ...]:
    return tuple(listener for listener in listeners if listener not in gone)


def _ours(error: Exception) -> str:
    return f"nbhelper itself failed: {type(error).__name__}: {clean(error, 200)}"


class Poller(Recorder):
    """Watches one task for any number of listeners.

    Attributes:
        key: Which task this is.
        not_before: The monotonic time before which no look goes out, whatever the history says.
        over: Whether nothing more will come.
    """

    __slots__ = (
        "_asked", "_beginning", "_ended", "_following", "_gate", "_http", "_keeping", "_leading", "_leases",
        "_listeners", "_looked", "_looking", "_looks", "_parting", "_past", "_planned", "_recordings", "_replied",
        "_saves", "_step", "_stopping", "_turns", "_work", "connection", "folder", "interval", "key", "not_before",
        "over",
    )  # fmt: skip

    def __init__(
        self,
        history: History,
        connection: Connection,
        *,
        key: Identity,
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
        super().__init__(history, store)
        self._leases = leases
        self.key = key
        self.connection = connection
        self.folder = folder
        self.interval = interval
        self.over = False
        self._listeners: tuple[Listener, ...] = ()
        self._parting: tuple[Listener, ...] = ()
        self._ended = ended
        self._http = http
        self._gate = gate
        self._looks = looks
        self._past = past
        self._turns = turns
        self._following = False
        self._saves: Mapping[str, asyncio.Task[None]] = NOTHING
        self._replied = 0.0
        self.not_before = 0.0
        self._planned: tuple[History | None, float | None, float] = _UNPLANNED
        self._beginning = False
        """Whether the mark of the watch's beginning is being recorded."""
        self._leading = False
        """Whether looks go on, one after the other."""
        self._looking = False
        """Whether one is under way, from `go` until it is recorded."""
        self._asked: Asked | None = None
        """That one, until its reply has come."""
        self._keeping = False
        """Whether its reply is being recorded."""
        self._looked: asyncio.Future[bool] | None = None
        """Done when it is over, or given up, for whoever waits for that."""
        self._step: asyncio.Task[None] | None = None
        """What the look has to wait for beside the server and the store."""
        self._work: asyncio.Task[None] | None = None
        """What comes before the looks and after them, and following another process."""
        self._stopping = False
        self._recordings: frozenset[asyncio.Task[None]] = frozenset()

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
        self._listeners = (*_without(self._listeners, listener), listener)
        self._parting = _without(self._parting, listener)
        if not self._begun:
            self._start()
        elif self._work is not None and not self._stopping and self.history.outcome in _OURS:
            self._work.cancel()  # it only waits for downloads, which go on
            self._drop_who_left()
            self._start()
        else:
            listener(self)
            self._go_on()  # whoever comes may want to look more often

    async def part(self, listener: Listener, note: str) -> None:
        """Let one listen no more; when it was the last, looking stops. What the server already named is still saved."""
        if listener not in self._listeners or self.over:
            return
        if _without(self._listeners, listener, *self._parting):
            self._listeners = _without(self._listeners, listener)
            self._parting = _without(self._parting, listener)
        else:
            self._parting = (*_without(self._parting, listener), listener)
            await self._stop(note)  # the last one still hears how it ends

    async def end(self, note: str, patience: float) -> None:
        """Stop for everybody, and give up what is not saved in time."""
        self._parting = self._listeners
        await self._stop(note)
        if self._work is not None:
            await asyncio.wait([self._work], timeout=patience)
        if not self.over:
            await self.abandon()
            await self._finish()

    async def abandon(self) -> None:
        """Drop everything at once: the process ends, and the store knows what is unfinished."""
        self._beginning = self._leading = False
        self._looks.forget(self)
        self._drop_look()
        tasks = [t for t in (self._work, *self._saves.values()) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop_who_left(self) -> None:
        """Tell those who left of nothing more, since somebody else came."""
        self._listeners, self._parting = _without(self._listeners, *self._parting), ()

    @property
    def _begun(self) -> bool:
        return self._beginning or self._leading or self._stopping or self._work is not None

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = asyncio.create_task(work, name=f"watch {self.history.task}")

    async def _stop(self, note: str) -> None:
        if self.over or self._stopping or not self._begun or self.history.outcome is not None:
            return
        self._stopping, self._beginning = True, False
        try:
            self._looks.forget(self)
            if self._work is not None:
                self._work.cancel()
                await asyncio.wait([self._work])
            # A reply that is on its way, or on the way to the disk, may be the only one with the result in it.
            if self._asked is not None and self._asked.flying:
                await self._until_looked(_LAST_REPLY)
            if self._keeping:
                await self._until_looked(_LAST_RECORD)
            self._drop_look()
            if self.history.outcome is None:
                await self._mark_stopped(Mark(word=MarkWord.STOPPED, note=note))
        finally:
            self._stopping = self._leading = False
        if _without(self._listeners, *self._parting):  # somebody came meanwhile
            self._drop_who_left()
            self._start()
        else:
            self._begin(self._finish())

    async def _mark_stopped(self, mark: Mark) -> None:
        if self._following:  # whoever looks at it has not stopped: the store goes on without this mark
            self.history = self.history.add(mark, datetime.now(UTC))
        else:
            await self.record(mark)

    # Recording

    def put(self, seen: tuple[Seen, ...], then: Callable[[Exception | None], None]) -> None:
        """Begin to record, and call `then` when that is done, with the error or None."""

        def done(recording: asyncio.Task[None]) -> None:
            self._recordings -= {recording}
            if not recording.cancelled():
                error = recording.exception()
                then(error if isinstance(error, Exception) else None)

        recording = asyncio.create_task(self.record(*seen))
        self._recordings |= {recording}
        recording.add_done_callback(done)

    def _tell(self) -> None:
        for listener in self._listeners:
            try:
                listener(self)
            except Exception:  # whoever listens cannot end the watch
                log.exception("telling of %s", self.history.task)

    # Looking

    def _start(self) -> None:
        """Become the one that looks, or follow another process."""
        self._following = not self._leases.take(self.history.uid)
        if self._following:
            self._begin(self._run())
            return
        facts = self.history.facts
        if facts.watching is not None and facts.ended is None:
            self._wait_a_floor()
        self._beginning, self._work = True, None
        self.put((self._first_mark(),), self._started)

    def _started(self, error: Exception | None) -> None:
        """The beginning is recorded, or why it is not."""
        if not self._beginning:
            return  # it was stopped meanwhile
        self._beginning = False
        if error is None and self.history.outcome is None and not self._unsaved():
            self._leading = True
            self._go_on()
        elif error is None:
            self._begin(self._run())
        else:
            log.error("watching %s", self.history.task, exc_info=error)
            self._begin(self._give_up(error))

    async def _give_up(self, error: Exception) -> None:
        await self._fail(error)
        await self._finish()

    async def _run(self) -> None:
        """What may come before looks, or instead of them: what an earlier watch left, and another process."""
        over = False
        try:
            if self._following:
                over = await self._follow()
            if not over:
                if self._following:
                    self._following = False
                    self._wait_a_floor()
                    await self.record(self._first_mark())
                await self._save_what_is_known()
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
        except Exception:  # a fault of ours must not leave anybody waiting
            log.exception("saving the results of %s", self.history.task)
        self._leases.release(self.history.uid)
        self.over = True
        self._past.add(self.history)
        self._ended(self)
        self._tell()

    def _first_mark(self) -> Mark:
        began = MarkWord.RESUMED if self.history.facts.watching else MarkWord.WATCHING
        return Mark(word=began, note="" if self.folder else UNSAVED)

    def _wait_a_floor(self) -> None:
        """Keep the floor after another process's last look, which may have died with it before it was recorded."""
        self.not_before = max(self.not_before, time.monotonic() + self.connection.provider.floor * 1.02)

    async def _save_what_is_known(self) -> None:
        """Save what an earlier watch left, from the links that were kept; for others a finished task is looked at."""
        self._saves = {name: save for name, save in self._saves.items() if not save.done()}
        missing = self._unsaved()
        for output in missing:
            with suppress(StoreError):
                link = await asyncio.to_thread(self._store.link, self.history.uid, output.name)
                self._links = {**self._links, output.name: link} if link else self._links
        self._start_saves()
        if self.history.outcome is not None and any(o.name not in self._saves for o in missing):
            await asyncio.sleep(max(self._since_look(), self.not_before - time.monotonic()))
            await self._look_now()

    async def _follow(self) -> bool:
        """Show what the process that looks has written; whether all is over, or else this one is to look."""
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
            free = await self._leases.follow(self.history.uid, last)

    def go(self) -> None:
        """It is time for a look."""
        if self._looking:
            return
        self._looking = True
        facts = self.history.facts
        self._asked = self._looks.ask(self, self.history.task, first=facts.polls == 0, last=facts.latest)

    def seen(self, seen: Snapshot | Miss) -> None:
        """What the look gave is recorded. Bytes that came inside the reply are on disk before their row is."""
        self._replied = time.monotonic()
        self._asked, self._keeping = None, True
        inline = []
        if self.folder is not None and isinstance(seen, Snapshot):
            inline = [o for o in seen.outputs if o.data is not None and o.name not in self.history.saves]
        if inline:
            self._step = asyncio.create_task(self._keep_bytes(seen, inline))
        else:
            self.put((seen,), self._kept)

    async def _keep_bytes(self, seen: Snapshot | Miss, inline: list[Output]) -> None:
        assert isinstance(seen, Snapshot)
        try:
            saves = [await asyncio.to_thread(save_bytes, self._place(), o) for o in inline]
        except Exception as error:
            log.exception("saving what came with %s", self.history.task)
            await self._lose(error)
            return
        self._step = None
        # What could not be written stays in memory, the only place where it still is.
        kept = {s.name for s in saves if s.state is not SaveState.SAVED}
        seen = replace(seen, outputs=tuple(o if o.name in kept else replace(o, data=None) for o in seen.outputs))
        self.put((seen, *saves), self._kept)

    def failed(self, error: Exception) -> None:
        """The look met a fault of ours, which is in the log."""
        self._replied = time.monotonic()
        self._asked = None
        self._step = asyncio.create_task(self._lose(error))

    def _kept(self, error: Exception | None) -> None:
        """What the look gave is recorded, or what follows from it is."""
        if not self._looking:
            return  # it was given up meanwhile
        try:
            if error is not None:
                raise error
            self._start_saves()
            lost = verdict(self.history, datetime.now(UTC), confirm=self.connection.provider.confirm)
        except Exception as fault:
            log.exception("looking at %s", self.history.task)
            self._step = asyncio.create_task(self._lose(fault))
            return
        else:
            if lost is not None and self.history.outcome is None:
                self.put((lost,), self._kept)
                return
        self._end_look()

    async def _lose(self, error: Exception) -> None:
        await self._fail(error)
        self._end_look()

    def _end_look(self, *, done: bool = True) -> None:
        """The look is over, or given up."""
        self._looking = self._keeping = False
        self._asked = self._step = None
        if self._looked is not None and not self._looked.done():
            self._looked.set_result(done)
        self._looked = None
        self._go_on()

    def _drop_look(self) -> None:
        """Give up the look that is under way."""
        if self._asked is not None:
            if self._asked.flying:  # the server may count it all the same
                self.not_before = time.monotonic() + self.connection.provider.floor * 1.02
            self._looks.leave(self._asked)
        if self._step is not None:
            self._step.cancel()
        if self._looking:
            self._end_look(done=False)

    async def _until_looked(self, patience: float | None = None) -> bool:
        """Wait until no look is under way, so many seconds; whether one came to its end."""
        if not self._looking:
            return False
        if self._looked is None:
            self._looked = asyncio.get_running_loop().create_future()
        looked = self._looked
        await asyncio.wait([looked], timeout=patience)
        return looked.done() and looked.result()

    async def _look_now(self) -> bool:
        """A look beside the planned ones, or the end of one that is under way; whether it was a look of its own."""
        own = not self._looking
        self.go()
        return await self._until_looked() and own

    def _go_on(self) -> None:
        """Plan the next look, or begin what comes after looking."""
        if not self._leading or self._stopping or self._looking:
            return
        if self.history.outcome is None:
            try:
                self._plan()
            except Exception as error:
                log.exception("planning the next look at %s", self.history.task)
                self._leading = False
                self._begin(self._give_up(error))
            return
        self._leading = False
        self._looks.forget(self)
        self._begin(self._finish())

    def _plan(self) -> None:
        due, soonest = self._due(), self._soonest()
        if (early := self.not_before - time.monotonic()) > 0:
            due, soonest = max(due, early), max(soonest, early)
        self._looks.later(self, due, soonest)

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
            if output.name not in self._saves and (output.name in self._links or output.ref):
                save = asyncio.create_task(self._save(output), name=f"save {output.name}")
                self._saves = {**self._saves, output.name: save}

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
