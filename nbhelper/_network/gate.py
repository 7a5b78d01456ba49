"""One gate for all looks with one key at one origin: what the server asks of one task holds for all of them.

It is a token bucket that lets a few requests fly at once. It waits when the server says "too many" (and goes slower for
a while where the server does not say how long), and turns an outage of the whole origin into single probes instead of
a storm. Whoever waits goes first come first served, except that a first look, or a create, goes before the next look of
tasks that were seen already: a thousand old tasks do not starve a new one.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from .._model.seen import Miss, MissKind

IN_FLIGHT = 20
"""Requests at a time: at a fifth of a second for each, as many as the rate lets through."""
RATE = 100.0
"""Looks per second where the provider declares no limit of its own."""
_BURST = 1.0
"""Seconds' worth of looks that may go at once after a quiet time."""
_OUTAGE = 5
"""Faults in a row, over all tasks, from which on the origin counts as down."""
_PROBE_CAP = 60.0
_SLOWEST = 2.0
"""Seconds between two requests, the most that refusals without a word on how long to wait lead to."""
_RECOVERY = 0.98
"""Each good answer brings the pace between requests so much nearer to the usual one."""


class Outage:
    """Whether a server answers, as all who ask it in the same way have found.

    Looks with a key have one, and so have the files of a host. They share none even at the same origin: a broken store
    of files says nothing of the API before it, and must not slow down creates and looks.
    """

    def __init__(self) -> None:
        self._faults = 0
        self._probes = 0
        self._probing = 0
        self._next_probe = 0.0
        self._wished = 0.0
        self._waiting: set[Callable[[], None]] = set()

    @property
    def down(self) -> bool:
        """Whether there was nothing but faults lately."""
        return self._faults >= _OUTAGE

    @property
    def free(self) -> bool:
        """Whether one more may ask: in an outage, one at a time."""
        return not (self.down and self._probing)

    @property
    def until(self) -> float:
        """The time, of the monotonic clock, before which nobody asks."""
        return max(self._next_probe, self._wished)

    def tell(self, waiting: Callable[[], None]) -> None:
        """Call this whenever more may ask than before."""
        self._waiting.add(waiting)

    def forget(self, waiting: Callable[[], None]) -> None:
        """Call it no more."""
        self._waiting.discard(waiting)

    def begin(self) -> bool:
        """A request goes out; whether it is a probe, which `end` has to be told."""
        probe = self.down
        self._probing += probe
        return probe

    def end(self, probe: bool) -> None:  # noqa: FBT001
        """A request is over."""
        self._probing -= probe
        if probe:
            self._wake()

    def fault(self) -> None:
        """A request met no server, or a broken one."""
        self._faults += 1
        # Twelve requests that were under way when the network went are one outage, not twelve failed probes.
        if self.down and time.monotonic() >= self.until:
            self._next_probe = time.monotonic() + min(_PROBE_CAP, 2.0 ** min(self._probes, 6))
            self._probes += 1

    def answered(self) -> None:
        """A request was answered: an outage is over for everybody."""
        over, self._faults, self._probes = self.down, 0, 0
        if over:
            self._next_probe = 0.0
            self._wake()

    def wish(self, seconds: float) -> None:
        """The server asked all of us to wait."""
        self._wished = max(self._wished, time.monotonic() + seconds)

    def _wake(self) -> None:
        for waiting in tuple(self._waiting):
            waiting()


class Gate:
    """Passed by every request that carries a key."""

    def __init__(self, rate: float | None = None, in_flight: int = IN_FLIGHT) -> None:
        self.outage = Outage()
        self.outage.tell(self._pump)
        self._in_flight = in_flight
        self._usual = self._spacing = 1.0 / (rate or RATE)
        self._next = 0.0
        self._not_before = 0.0
        self._flying = 0
        self._queue: list[tuple[bool, int, asyncio.Future[bool]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def down(self) -> bool:
        """Whether the origin counts as down: nothing but faults lately."""
        return self.outage.down

    @asynccontextmanager
    async def passing(self, *, urgent: bool = True) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while the request flies.

        Args:
            urgent: Whether somebody has seen nothing yet; the next look of many waits behind those.
        """
        probe = await self._turn(urgent)
        try:
            yield
        finally:
            self._give_back(probe)

    async def _turn(self, urgent: bool) -> bool:  # noqa: FBT001
        if not self._queue and self._free() and self._wait() <= 0:
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

    def _free(self) -> bool:
        return self._flying < self._in_flight and self.outage.free

    def _wait(self) -> float:
        return max(self._next, self._not_before, self.outage.until) - time.monotonic()

    def _take(self) -> bool:
        """One turn; True when it is a probe in an outage."""
        self._flying += 1
        self._next = max(self._next, time.monotonic() - _BURST) + self._spacing
        return self.outage.begin()

    def _give_back(self, probe: bool) -> None:  # noqa: FBT001
        self._flying -= 1
        self.outage.end(probe)
        self._pump()

    def _pump(self) -> None:
        """Let pass whoever may; wake again when the next may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self._free():
            if self._queue[0][2].done():  # cancelled meanwhile
                heapq.heappop(self._queue)
                continue
            wait = self._wait()
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._pump)
                return
            heapq.heappop(self._queue)[2].set_result(self._take())

    # What the server says

    def judge(self, seen: object, floor: float) -> None:
        """Take in what one request gave: a `Miss`, or anything else for a good answer."""
        if not isinstance(seen, Miss):
            self.fine()
        elif seen.kind in {MissKind.NETWORK, MissKind.SERVER}:
            self.fault()
        elif seen.kind is MissKind.RATE_LIMITED:
            self.outage.answered()
            if seen.retry_after is None:
                self._spacing = min(_SLOWEST, max(self._spacing, self._usual) * 2)
            self.slow_down(seen.retry_after or floor)
        else:
            self.fine()

    def slow_down(self, seconds: float) -> None:
        """The server asked all of us to wait."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def fault(self) -> None:
        """A request met no server, or a broken one."""
        self.outage.fault()

    def fine(self) -> None:
        """A request was answered."""
        self._spacing = max(self._usual, self._spacing * _RECOVERY)
        self.outage.answered()
