"""The queue of downloads: few run at a time, the link that expires first is next, a host that is down gets probes."""

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
"""Downloads at a time: more of them would each be slower, and the last bytes of all come later."""


class DownloadError(Exception):
    """One attempt to download a file failed.

    Attributes:
        is_expired: The link will not work again.
        is_hopeless: No other link to this file would work either.
        is_missing: The host has no such file, or not yet.
        is_empty: The file has no bytes, or not yet.
        is_fault: The host did not answer, or with a fault of its own: an attempt at its other files would fail too.
        retry_after: Seconds for which the host asked for no requests.
    """

    def __init__(
        self,
        message: str,
        *,
        is_expired: bool = False,
        is_hopeless: bool = False,
        is_missing: bool = False,
        is_empty: bool = False,
        is_fault: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.is_expired = is_expired
        self.is_hopeless = is_hopeless
        self.is_missing = is_missing
        self.is_empty = is_empty
        self.is_fault = is_fault
        self.retry_after = retry_after


class _Host:
    """The downloads from one host.

    Attributes:
        outage: Whether the host is down.
        users: How many downloads run or wait.
        queue: A heap of those that wait: earlier faults, when the link expires, order of arrival, when to give up
            waiting for a host that is down, and the future that is set when it is their turn.
    """

    def __init__(self, outage: Outage) -> None:
        self.outage = outage
        self.users = 0
        self.queue: list[tuple[int, float, int, float, asyncio.Future[bool]]] = []

    def drop_done(self, now: float) -> None:
        """Fail those that have waited long enough for a host that is down; drop those that failed or were cancelled."""
        if self.outage.is_down:
            for *_, until, ready in self.queue:
                if until < now and not ready.done():
                    ready.set_exception(DownloadError("the file's host does not answer", is_fault=True))
        while self.queue and self.queue[0][-1].done():
            heapq.heappop(self.queue)


class DownloadQueue:
    """At most `AT_ONCE` downloads run; of those whose host may be asked, the most urgent is next.

    Of a host that is down, one download at a time is let through, ever less often, as a gate does it for an API; the
    others from it wait, and downloads from other hosts have the places. When it answers, all go on.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._outages: defaultdict[str, Outage] = defaultdict(Outage)
        self._hosts: dict[str, _Host] = {}
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def is_down(self, origin: str) -> bool:
        """Whether the latest downloads from a host all met a fault."""
        return origin in self._outages and self._outages[origin].is_down

    @asynccontextmanager
    async def turn(
        self, expires: float, origin: str = "", *, faults: int = 0, until: float = math.inf
    ) -> AsyncIterator[None]:
        """Wait for a turn and hold it; how the block ends tells whether the host is down.

        Args:
            expires: When the link expires, on any clock that all callers share.
            origin: The file's host.
            faults: How many attempts at this file met a fault: in an outage, the file with the fewest is the probe.
            until: Monotonic time until which to wait for a host that is down.

        Raises:
            DownloadError: The host was down until then.
        """
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(self._outages[origin])
            host.outage.add_listener(self._pump)
        host.users += 1
        try:
            is_probe = await self._wait(host, expires, faults, until)
            try:
                yield
            except DownloadError as error:
                if error.retry_after:
                    host.outage.hold(error.retry_after)
                (host.outage.fault if error.is_fault else host.outage.answered)()
                raise
            else:
                host.outage.answered()
            finally:
                self._give_back(host, is_probe)
        finally:
            host.users -= 1
            if not host.users:
                host.outage.remove_listener(self._pump)
                del self._hosts[origin]

    async def _wait(self, host: _Host, expires: float, faults: int, until: float) -> bool:
        """Wait for a turn; whether it is a probe."""
        ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        rank = faults if host.outage.is_down else 0
        heapq.heappush(host.queue, (rank, expires, next(self._count), until, ready))
        self._pump()
        try:
            return await ready
        except asyncio.CancelledError:
            if ready.done() and not ready.cancelled():
                self._give_back(host, ready.result())
            raise

    def _give_back(self, host: _Host, is_probe: bool) -> None:  # noqa: FBT001
        self._free += 1
        host.outage.end(is_probe)
        self._pump()

    def _pump(self) -> None:
        """Give free turns to downloads that may run; set a timer for the next one that may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        for host in self._hosts.values():
            host.drop_done(now)
        while self._free > 0:
            able = [host for host in self._hosts.values() if host.queue and host.outage.has_room]
            if not able:
                return
            wait = min(host.outage.until for host in able) - now
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._pump)
                return
            host = min((h for h in able if h.outage.until <= now), key=lambda h: h.queue[0][:3])
            ready = heapq.heappop(host.queue)[-1]
            host.drop_done(now)
            self._free -= 1
            ready.set_result(host.outage.begin())
