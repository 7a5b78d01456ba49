"""Whose turn it is to download: few at a time, the most urgent first, and of a host that is down only a probe."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .gate import Outage

AT_ONCE = 32
"""Downloads under way. More at a time are asked for sooner: that is when a link has to be alive."""


class Trouble(Exception):
    """One attempt gave no file.

    Attributes:
        dead: The link will not come back.
        hopeless: No link for this file can be better.
        missing: The server has no such file, or not yet.
        empty: The file is there, without a byte in it, or not yet.
        fault: There was no server, or a broken one: what is true of this file is true of others there.
        wait: Seconds that the server asked everybody to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        dead: bool = False,
        hopeless: bool = False,
        missing: bool = False,
        empty: bool = False,
        fault: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fault = fault
        self.wait = wait
        self.dead = dead
        self.hopeless = hopeless
        self.missing = missing
        self.empty = empty


class _Host:
    def __init__(self, outage: Outage) -> None:
        self.outage = outage
        self.users = 0
        # Who waits: faults met, when the link dies, order, how long to wait, and what is done when it is their turn.
        self.queue: list[tuple[int, float, int, float, asyncio.Future[bool]]] = []

    def tidy(self, now: float) -> None:
        """Drop who was cancelled, and who has waited long enough for a host that is down."""
        if self.outage.down:
            for *_, until, ready in self.queue:
                if until < now and not ready.done():
                    ready.set_exception(Trouble("the file's host does not answer", fault=True))
        while self.queue and self.queue[0][-1].done():
            heapq.heappop(self.queue)


class Turns:
    """At most `AT_ONCE` downloads; of those whose host answers, the most urgent is next.

    A host that is down is asked by one of them at a time, ever less often, as an API is by its gate; they all go on
    when it answers. Meanwhile the others have the turns.
    """

    def __init__(self, slots: int = AT_ONCE) -> None:
        self._free = slots
        self._outages: defaultdict[str, Outage] = defaultdict(Outage)
        self._hosts: dict[str, _Host] = {}
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def down(self, origin: str) -> bool:
        """Whether nobody has reached it lately."""
        return origin in self._outages and self._outages[origin].down

    @asynccontextmanager
    async def turn(
        self, deadline: float, origin: str = "", *, faults: int = 0, until: float = math.inf
    ) -> AsyncIterator[None]:
        """Hold a turn, and learn from how it ends.

        Args:
            deadline: When the link dies, on any clock that all callers share.
            origin: Who is asked.
            faults: How often this file has met no server: in an outage it is another's turn to try.
            until: Monotonic time until which to wait for a host that is down.

        Raises:
            Trouble: It was down until then.
        """
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(self._outages[origin])
            host.outage.tell(self._pump)
        host.users += 1
        try:
            probe = await self._wait(host, deadline, faults, until)
            try:
                yield
            except Trouble as trouble:
                if trouble.wait:
                    host.outage.wish(trouble.wait)
                (host.outage.fault if trouble.fault else host.outage.answered)()
                raise
            else:
                host.outage.answered()
            finally:
                self._give_back(host, probe)
        finally:
            host.users -= 1
            if not host.users:
                host.outage.forget(self._pump)
                del self._hosts[origin]

    async def _wait(self, host: _Host, deadline: float, faults: int, until: float) -> bool:
        ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        rank = faults if host.outage.down else 0
        heapq.heappush(host.queue, (rank, deadline, next(self._count), until, ready))
        self._pump()
        try:
            return await ready
        except asyncio.CancelledError:
            if ready.done() and not ready.cancelled():
                self._give_back(host, ready.result())
            raise

    def _give_back(self, host: _Host, probe: bool) -> None:  # noqa: FBT001
        self._free += 1
        host.outage.end(probe)
        self._pump()

    def _pump(self) -> None:
        """Give turns to whoever may have one; come again when the next may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        for host in self._hosts.values():
            host.tidy(now)
        while self._free > 0:
            able = [host for host in self._hosts.values() if host.queue and host.outage.free]
            if not able:
                return
            wait = min(host.outage.until for host in able) - now
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._pump)
                return
            host = min((h for h in able if h.outage.until <= now), key=lambda h: h.queue[0][:3])
            ready = heapq.heappop(host.queue)[-1]
            host.tidy(now)
            self._free -= 1
            ready.set_result(host.outage.begin())
