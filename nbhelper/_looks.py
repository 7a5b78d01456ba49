"""One look at a task, alone or together with others: whoever asks does not know which.

Where the API answers for many ids at once, the looks of one key that are due share a request. The first that is due
opens a batch. It takes along every task whose floor has passed, due or not, since one more id costs nothing; and it
waits a little for those whose floor is about to pass, so that tasks begun at different times fall into step.
A task that the batch leaves out is looked at alone next time, and when the batch itself fails, all are, for a while.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ._gate import Gate
from ._http import Http
from ._http_faults import Forbidden, Unreached
from ._providers.reader import read, read_batch
from ._providers.reply_parts import Batch
from ._providers.templates import fill, look_request
from ._session import Connection
from ._task import Task
from ._text import clean
from ._values import Miss, MissKind, Snapshot

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
    """Who looks at one task. None of this raises anything."""

    def go(self) -> None:
        """It is time to ask for a look."""

    def seen(self, seen: Snapshot | Miss) -> None:
        """What the look gave."""

    def failed(self, error: Exception) -> None:
        """The look met a fault of ours."""


@dataclass(slots=True, eq=False)
class Asked:
    """One look that somebody waits for.

    Attributes:
        who: Whoever waits; None once they have left.
        task: What is looked at.
        first: Whether nobody has seen this task yet.
        last: What the last good look gave.
        flying: Whether the request is on its way.
    """

    who: Looker | None
    task: Task
    first: bool
    last: Snapshot | None
    flying: bool = False
    request: asyncio.Task[None] | None = None


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
        self._waiting: dict[Looker, tuple[float, asyncio.TimerHandle]] = {}
        """Since when each may be taken along, and when it goes anyway."""
        self._asked: list[Asked] = []
        self._alone: set[str] = set()
        self._opened: asyncio.TimerHandle | None = None
        self._broken_until = 0.0
        self._requests: dict[asyncio.Task[None], int] = {}
        """What is under way, and how many wait for it."""
        self._context = contextvars.Context()  # one for all timers: each would else copy the one that it is set in

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
        timer = asyncio.get_running_loop().call_later(wait, self._go, who, context=self._context)
        self._waiting[who] = may, timer

    def forget(self, who: Looker) -> None:
        """Plan no look."""
        if (planned := self._waiting.pop(who, None)) is not None:
            planned[1].cancel()

    def _go(self, who: Looker) -> None:
        self.forget(who)
        who.go()

    def ask(self, who: Looker, task: Task, *, first: bool, last: Snapshot | None = None) -> Asked:
        """Look at a task, and tell `who` what that gave.

        Args:
            who: Whoever waits.
            task: Which.
            first: Whether nobody has seen this task yet.
            last: What the last good look gave.
        """
        asked = Asked(who, task, first, last)
        if self._batch is not None and not task.extra and task.id not in self._alone:
            self._asked.append(asked)
            self._open(first=first)
        else:
            self._request([asked])
        return asked

    def leave(self, asked: Asked) -> None:
        """Wait no longer; a request that nobody waits for any more is given up."""
        if asked.who is None:
            return
        asked.who = None
        if asked.request is not None:
            self._requests[asked.request] -= 1
            if not self._requests[asked.request]:
                asked.request.cancel()

    # Requests

    def _request(self, asked: Sequence[Asked]) -> None:
        """Begin a request for one or many who wait."""
        waiting = [one for one in asked if one.who is not None]
        if not waiting:
            return
        request = asyncio.create_task(self._send(waiting), name="look")
        self._requests[request] = len(waiting)
        request.add_done_callback(self._requests.pop)
        for one in waiting:
            one.request = request

    async def _send(self, asked: Sequence[Asked]) -> None:
        provider = self.connection.provider
        try:
            if len(asked) == 1:
                self._answer(asked[0], await self._single(asked[0]))
                return
            found = await self._together(asked)
        except Exception as error:
            log.exception("looking at %d tasks of %s", len(asked), provider.name)
            if len(asked) == 1:
                self._answer(asked[0], error)
                return
            self._broken_until = time.monotonic() + _BROKEN
            found = {}
        for one in asked:
            if (seen := found.get(one.task.id)) is not None:
                self._answer(one, seen)
            elif one.who is not None:
                # The batch failed, and may have counted as a look at each of its tasks.
                one.flying, one.request = False, None
                asyncio.get_running_loop().call_later(provider.floor * 1.02, self._request, [one])

    def _answer(self, asked: Asked, seen: Snapshot | Miss | Exception) -> None:
        who, asked.who, asked.flying = asked.who, None, False
        if who is None:
            return
        if isinstance(seen, Exception):
            who.failed(seen)
        else:
            who.seen(seen)

    async def _single(self, asked: Asked) -> Snapshot | Miss:
        provider, task = self.connection.provider, asked.task
        async with self._gate.passing(urgent=asked.first):
            asked.flying = True
            try:
                reply = await self._http.api(self.connection, look_request(provider, task.id, task.extra))
            except Unreached as error:
                seen: Snapshot | Miss = Miss(kind=MissKind.NETWORK, message=clean(error))
            except Forbidden as error:
                seen = Miss(kind=MissKind.REFUSED, message=clean(error))
            else:
                secrets = (self.connection.key.reveal(),)
                seen = read(provider, reply, ident=task.id, secrets=secrets, last=asked.last)
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
        going, self._asked = [one for one in self._asked if one.who is not None], []  # some may have left meanwhile
        batch = self.connection.provider.batch
        assert batch is not None
        for begin in range(0, len(going), batch.size):
            self._request(going[begin : begin + batch.size])

    async def _together(self, asked: Sequence[Asked]) -> Mapping[str, Snapshot | Miss]:
        """What one request says of many tasks; nothing where the batch was no use."""
        provider = self.connection.provider
        async with self._gate.passing(urgent=any(one.first for one in asked)):
            last = {one.task.id: one.last for one in asked if one.who is not None}
            for one in asked:
                one.flying = True
            found = await self._reply(last)
            self._gate.judge(found, provider.floor)
        self.shared = len(last)
        if not isinstance(found, Miss):
            self._alone.update(ident for ident, seen in found.items() if isinstance(seen, Miss))
            return found
        if found.kind in _KEPT:
            return dict.fromkeys(last, found)
        self._broken_until = time.monotonic() + _BROKEN
        log.warning("%s: looking at tasks one by one, since a batch failed: %s", provider.name, found)
        return {}

    async def _reply(self, last: Mapping[str, Snapshot | None]) -> Mapping[str, Snapshot | Miss] | Miss:
        """What the reply says of each task, or what is wrong with all of it."""
        provider = self.connection.provider
        assert provider.batch is not None
        cap = provider.max_reply * max(1, len(last) // 4)
        try:
            reply = await self._http.api(self.connection, fill(provider.batch.request, {}, last), cap=cap)
        except Unreached as error:
            return Miss(kind=MissKind.NETWORK, message=clean(error))
        except Forbidden as error:
            return Miss(kind=MissKind.REFUSED, message=clean(error))
        return read_batch(provider, reply, last, (self.connection.key.reveal(),))
