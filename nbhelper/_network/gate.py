"""The rate limit of all requests with one key at one origin: what the server says to one of them holds for all.

A token bucket, with a limit on the requests in flight. It waits for as long as the server asks for ("Retry-After"), and
slows down for a while where a refusal names no time. While the whole origin is down it lets single probes through.
First come first served, except that a create, or the first look at a task, goes before the next look at a task that was
seen already: a thousand old tasks do not starve a new one.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from .._model.misses import Miss, MissKind

IN_FLIGHT = 20
"""Requests at a time: at 0.2 s for each, as many as the rate lets through."""
RATE = 100.0
"""Looks per second where the provider declares no limit of its own."""
_BURST = 1.0
"""Seconds' worth of looks that may go at once after a quiet time."""
_OUTAGE = 5
"""Faults in a row, over all tasks, from which on the origin counts as down."""
_PROBE_CAP = 60.0
"""Seconds between two probes of an origin that is down, at most."""
_SLOWEST = 2.0
"""Seconds between two requests, at most, after refusals that name no time to wait."""
_RECOVERY = 0.98
"""Factor by which each good reply shortens the time between two requests, down to the usual one."""


class Outage:
    """Whether a server is down, and the time before which nothing is requested from it.

    The looks with one key have one, and so have the downloads from one host. They share none even at the same origin:
    that a store of files is down says nothing of the API before it, and must not slow down its creates and looks.
    """

    def __init__(self) -> None:
        self._faults = 0
        self._probes = 0
        self._probing = 0
        self._next_probe = 0.0
        self._held_until = 0.0
        self._listeners: set[Callable[[], None]] = set()

    @property
    def is_down(self) -> bool:
        """Whether the latest requests, `_OUTAGE` at least, all met a fault."""
        return self._faults >= _OUTAGE

    @property
    def has_room(self) -> bool:
        """Whether one more request may be in flight: one at a time in an outage."""
        return not (self.is_down and self._probing)

    @property
    def until(self) -> float:
        """The monotonic time before which nothing is requested."""
        return max(self._next_probe, self._held_until)

    def add_listener(self, call: Callable[[], None]) -> None:
        """Call this whenever a probe or the outage is over."""
        self._listeners.add(call)

    def remove_listener(self, call: Callable[[], None]) -> None:
        """Call it no more."""
        self._listeners.discard(call)

    def begin(self) -> bool:
        """Count a request that is sent; whether it is a probe, which `end` takes."""
        is_probe = self.is_down
        self._probing += is_probe
        return is_probe

    def end(self, is_probe: bool) -> None:  # noqa: FBT001
        """Count a request that is over."""
        self._probing -= is_probe
        if is_probe:
            self._call_listeners()

    def fault(self) -> None:
        """Count a request to which there was no reply, or a server error."""
        self._faults += 1
        # Twelve requests that were in flight when the network went are one outage, not twelve failed probes.
        if self.is_down and time.monotonic() >= self.until:
            self._next_probe = time.monotonic() + min(_PROBE_CAP, 2.0 ** min(self._probes, 6))
            self._probes += 1

    def answered(self) -> None:
        """Count a request that the server answered: an outage is over."""
        was_down, self._faults, self._probes = self.is_down, 0, 0
        if was_down:
            self._next_probe = 0.0
            self._call_listeners()

    def hold(self, seconds: float) -> None:
        """Request nothing for so long, as the server asked; an earlier, longer hold stands."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)

    def _call_listeners(self) -> None:
        for call in tuple(self._listeners):
            call()


class Gate:
    """Rate limit and back-off of the requests with one key at one origin."""

    def __init__(self, rate: float | None = None, in_flight: int = IN_FLIGHT) -> None:
        self.outage = Outage()
        self.outage.add_listener(self._pump)
        self._most_in_flight = in_flight
        self._usual = self._spacing = 1.0 / (rate or RATE)
        self._next = 0.0
        self._in_flight = 0
        self._queue: list[tuple[bool, int, asyncio.Future[bool]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def passing(self, *, urgent: bool = True) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while the request is in flight.

        Args:
            urgent: A create or the first look at a task; the next looks at tasks wait behind those.
        """
        is_probe = await self._wait(urgent)
        try:
            yield
        finally:
            self._give_back(is_probe)

    async def _wait(self, urgent: bool) -> bool:  # noqa: FBT001
        """Wait for a turn; whether it is a probe."""
        if not self._queue and self._has_room() and self._seconds_left() <= 0:
            return self._take()
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (not urgent, next(self._order), turn))
        self._pump()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(turn.result())
            raise

    def _has_room(self) -> bool:
        return self._in_flight < self._most_in_flight and self.outage.has_room

    def _seconds_left(self) -> float:
        return max(self._next, self.outage.until) - time.monotonic()

    def _take(self) -> bool:
        """Take a turn; whether it is a probe."""
        self._in_flight += 1
        self._next = max(self._next, time.monotonic() - _BURST) + self._spacing
        return self.outage.begin()

    def _give_back(self, is_probe: bool) -> None:  # noqa: FBT001
        self._in_flight -= 1
        self.outage.end(is_probe)
        self._pump()

    def _pump(self) -> None:
        """Give turns to those that may have one; set a timer for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self._has_room():
            if self._queue[0][2].done():  # cancelled meanwhile
                heapq.heappop(self._queue)
                continue
            wait = self._seconds_left()
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._pump)
                return
            heapq.heappop(self._queue)[2].set_result(self._take())

    def judge(self, seen: object, floor: float) -> None:
        """Take into account what a request gave.

        Args:
            seen: A `Miss`, or anything else for a good reply.
            floor: Seconds to wait where a refusal names none.
        """
        kind = seen.kind if isinstance(seen, Miss) else None
        if kind in {MissKind.NETWORK, MissKind.SERVER}:
            self.outage.fault()
            return
        self.outage.answered()
        if isinstance(seen, Miss) and kind is MissKind.RATE_LIMITED:
            if seen.retry_after is None:
                self._spacing = min(_SLOWEST, max(self._spacing, self._usual) * 2)
            self.outage.hold(seen.retry_after or floor)
        else:
            self._spacing = max(self._usual, self._spacing * _RECOVERY)
