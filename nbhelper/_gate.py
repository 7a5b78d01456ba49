"""One gate for all looks with one key at one origin: what the server asks of one task holds for all of them.

It keeps a rate, lets a few requests fly at once, first come first served, waits when the server says "too many", and
turns an outage of the whole origin into single probes instead of a storm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

IN_FLIGHT = 12
RATE = 50.0
"""Looks per second where the provider declares no limit of its own."""
_OUTAGE = 5
"""Faults in a row, over all tasks, from which on the origin counts as down."""
_PROBE_CAP = 60.0


class Gate:
    """Passed by every request that carries a key."""

    def __init__(self, rate: float | None = None, in_flight: int = IN_FLIGHT) -> None:
        self._slots = asyncio.Semaphore(in_flight)
        self._spacing = 1.0 / (rate or RATE)
        self._next = 0.0
        self._not_before = 0.0
        self._faults = 0
        self._probes = 0
        self._queue = asyncio.Lock()
        self._probing = asyncio.Lock()
        self._opened = asyncio.Event()

    @property
    def down(self) -> bool:
        """Whether the origin counts as down: nothing but faults lately."""
        return self._faults >= _OUTAGE

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while the request flies."""
        async with self._slots:
            await self._turn()
            if self.down:
                async with self._probing:
                    await self._turn()
                    if self.down:
                        yield
                        return
            # Also whoever waited while a probe succeeded.
            yield

    async def _turn(self) -> None:
        async with self._queue:
            while (wait := max(self._next, self._not_before) - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._opened.wait(), wait)
                    self._opened.clear()
            self._next = max(self._next, time.monotonic() - 1.0) + self._spacing

    def slow_down(self, seconds: float) -> None:
        """The server asked all of us to wait."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def fault(self) -> None:
        """A request met no server, or a broken one."""
        self._faults += 1
        # Twelve requests that were under way when the network went are one outage, not twelve failed probes.
        if self.down and time.monotonic() >= self._not_before:
            self.slow_down(min(_PROBE_CAP, 2.0 ** min(self._probes, 6)))
            self._probes += 1

    def fine(self) -> None:
        """A request was answered: an outage is over for everybody."""
        if self.down:
            self._not_before = 0.0
            self._opened.set()
        self._faults = self._probes = 0
