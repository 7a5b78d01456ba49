"""One look at a task, alone or together with others: whoever asks does not know which.

Where the API answers for many ids at once, the looks of one key that are due share a request. The first that is due
opens a batch. It takes along every task whose floor has passed, due or not, since one more id costs nothing; and it
waits a little for those whose floor is about to pass, so that tasks begun at different times fall into step.
A task that the batch leaves out is looked at alone next time, and when the batch itself fails, all are, for a while.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from ._gate import Gate
from ._http import Forbidden, Http, Unreached
from ._providers.contract import Batch
from ._providers.reader import read, read_batch
from ._providers.templates import fill, look_request
from ._session import Connection
from ._text import clean
from ._values import Miss, MissKind, Snapshot, Task

log = logging.getLogger("nbhelper")

_GATHER = 0.02
"""Seconds that a batch waits for whoever it woke."""
_CLOCK = 0.001
"""Seconds that a timer may be early by."""
_STEP = 0.25
"""For so much of a floor a batch waits for tasks that it may take along then."""
_BROKEN = 600.0
"""Seconds without batches after one that failed."""
_KEPT = {MissKind.NETWORK, MissKind.RATE_LIMITED}
"""Misses of a batch that say the same of each task in it."""


class Looker(Protocol):
    """Who looks at one task."""

    def go(self) -> None:
        """It is time to ask for a look, by `Looks.at`."""


class _Asked(NamedTuple):
    """One look that waits for its batch; the reply is None when the batch was no use."""

    task: Task
    sent: Callable[..., None]
    first: bool
    last: Snapshot | None
    reply: asyncio.Future[Snapshot | Miss | None]


class Looks:
    """All looks with one key at one API.

    Attributes:
        shared: How many tasks the last request looked at.
    """

    def __init__(self, connection: Connection, http: Http, gate: Gate) -> None:
        self.connection = connection
        self._http = http
        self._gate = gate
        self.shared = 1
        self._asked: list[_Asked] = []
        self._waiting: dict[Looker, tuple[float, asyncio.TimerHandle]] = {}
        """Since when each may be taken along, and when it goes anyway."""
        self._alone: set[str] = set()
        self._opened: asyncio.TimerHandle | None = None
        self._broken_until = 0.0
        self._requests: set[asyncio.Task[None]] = set()

    @property
    def _batch(self) -> Batch | None:
        batch = self.connection.provider.batch
        return batch if batch is not None and time.monotonic() >= self._broken_until else None

    def later(self, who: Looker, wait: float, soonest: float) -> None:
        """Let somebody look when it is time, which replaces what was planned before.

        Args:
            who: Who is told to go.
            wait: Seconds until the look is due.
            soonest: Seconds until a batch may take it along.
        """
        self.forget(who)
        may = math.inf if soonest >= wait or self._batch is None else time.monotonic() + soonest
        self._waiting[who] = may, asyncio.get_running_loop().call_later(wait, self._go, who)

    def forget(self, who: Looker) -> None:
        """Plan no look."""
        if (planned := self._waiting.pop(who, None)) is not None:
            planned[1].cancel()

    def _go(self, who: Looker) -> None:
        self.forget(who)
        who.go()

    async def at(
        self, task: Task, sent: Callable[..., None], *, first: bool, last: Snapshot | None = None
    ) -> Snapshot | Miss:
        """Look at a task.

        Args:
            task: Which.
            sent: Called with `flying=True` when the request goes out, and with `flying=False` when it is over.
            first: Whether nobody has seen this task yet.
            last: What the last good look gave.
        """
        if self._batch is not None and not task.extra and task.id not in self._alone:
            asked = _Asked(task, sent, first, last, asyncio.get_running_loop().create_future())
            self._asked.append(asked)
            self._open(first=first)
            try:
                seen = await asked.reply
            finally:
                sent(flying=False)
            if seen is not None:
                return seen
            # The batch failed, and may have counted as a look at each of its tasks.
            await asyncio.sleep(self.connection.provider.floor * 1.02)
        return await self._single(task, sent, first=first, last=last)

    async def _single(
        self, task: Task, sent: Callable[..., None], *, first: bool, last: Snapshot | None
    ) -> Snapshot | Miss:
        provider = self.connection.provider
        async with self._gate.passing(urgent=first):
            sent(flying=True)
            try:
                reply = await self._http.api(self.connection, look_request(provider, task.id, task.extra))
            except Unreached as error:
                seen: Snapshot | Miss = Miss(kind=MissKind.NETWORK, message=clean(error))
            except Forbidden as error:
                seen = Miss(kind=MissKind.REFUSED, message=clean(error))
            else:
                seen = read(provider, reply, ident=task.id, secrets=(self.connection.key.reveal(),), last=last)
            finally:
                sent(flying=False)
            self._gate.judge(seen, provider.floor)
        self.shared = 1
        if isinstance(seen, Snapshot):
            self._alone.discard(task.id)
        return seen

    # Batches

    def _open(self, *, first: bool) -> None:
        """Wake whom the batch can take along, and send it when they have come."""
        if self._opened is not None:
            return
        now = time.monotonic()
        patience = 0.0 if first else self.connection.provider.floor * _STEP
        near = [may - now for may, _ in self._waiting.values() if may <= now + patience]
        self._opened = asyncio.get_running_loop().call_later(max(0.0, *near, 0.0), self._gather)

    def _gather(self) -> None:
        ready = time.monotonic() + _CLOCK
        for who in [who for who, (may, _) in self._waiting.items() if may <= ready]:
            self._go(who)
        self._opened = asyncio.get_running_loop().call_later(_GATHER, self._depart)

    def _depart(self) -> None:
        self._opened = None
        going, self._asked = [a for a in self._asked if not a.reply.done()], []  # some may have left meanwhile
        batch = self.connection.provider.batch
        assert batch is not None
        for begin in range(0, len(going), batch.size):
            request = asyncio.create_task(self._send(batch, going[begin : begin + batch.size]), name="look at many")
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)

    async def _send(self, batch: Batch, asked: list[_Asked]) -> None:
        """One request for many tasks."""
        provider = self.connection.provider
        found: Mapping[str, Snapshot | Miss | None] = {}
        try:
            if len(asked) == 1:
                (one,) = asked
                found = {one.task.id: await self._single(one.task, one.sent, first=one.first, last=one.last)}
            else:
                found = await self._together(batch, [a for a in asked if not a.reply.done()])
        except Exception:  # a fault of ours must not leave anybody waiting
            log.exception("looking at %d tasks of %s", len(asked), provider.name)
            self._broken_until = time.monotonic() + _BROKEN
        finally:
            for one in asked:
                if not one.reply.done():
                    one.reply.set_result(found.get(one.task.id))

    async def _together(self, batch: Batch, asked: list[_Asked]) -> Mapping[str, Snapshot | Miss]:
        provider = self.connection.provider
        last = {a.task.id: a.last for a in asked}
        idents = list(last)
        async with self._gate.passing(urgent=any(a.first for a in asked)):
            for one in asked:
                one.sent(flying=True)
            found = await self._request(batch, last)
            self._gate.judge(found, provider.floor)
        self.shared = len(idents)
        if not isinstance(found, Miss):
            self._alone.update(ident for ident, seen in found.items() if isinstance(seen, Miss))
            return found
        if found.kind in _KEPT:
            return dict.fromkeys(idents, found)
        self._broken_until = time.monotonic() + _BROKEN
        log.warning("%s: looking at tasks one by one, since a batch failed: %s", provider.name, found)
        return {}

    async def _request(self, batch: Batch, last: Mapping[str, Snapshot | None]) -> Mapping[str, Snapshot | Miss] | Miss:
        """What the reply says of each task, or what is wrong with all of it."""
        provider = self.connection.provider
        cap = provider.max_reply * max(1, len(last) // 4)
        try:
            reply = await self._http.api(self.connection, fill(batch.request, {}, last), cap=cap)
        except Unreached as error:
            return Miss(kind=MissKind.NETWORK, message=clean(error))
        except Forbidden as error:
            return Miss(kind=MissKind.REFUSED, message=clean(error))
        return read_batch(provider, reply, last, (self.connection.key.reveal(),))
