"""What another thread finished, taken up by the loop: one wake-up for many at once.

`asyncio.wrap_future` wakes the loop once for each future, by a byte through a socket. The store ends hundreds of writes
in one go, so their number and not their cost would set the pace.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class _Landing:
    """Futures of other threads that are done, for one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # who lives as long as its loop must not keep it alive
        self._done: deque[tuple[Future[Any], asyncio.Future[Any]]] = deque()
        self._woken = False
        self._lock = threading.Lock()

    def put(self, theirs: Future[Any], ours: asyncio.Future[Any]) -> None:
        self._done.append((theirs, ours))
        with self._lock:
            if self._woken:
                return
            self._woken = True
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._take)
        except RuntimeError:  # the loop is closed, and nobody waits any more
            self._done.clear()

    def _take(self) -> None:
        with self._lock:
            self._woken = False
        while self._done:
            theirs, ours = self._done.popleft()
            if ours.done():
                continue  # whoever waited was cancelled
            error = theirs.exception()
            if error is not None:
                ours.set_exception(error)
            else:
                ours.set_result(theirs.result())


_landings: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Landing] = weakref.WeakKeyDictionary()


def landed(future: Future[T]) -> asyncio.Future[T]:
    """The future of another thread, to be awaited in the running loop; cancelling the wait does not cancel the work."""
    loop = asyncio.get_running_loop()
    landing = _landings.get(loop)
    if landing is None:
        landing = _landings[loop] = _Landing(loop)
    ours: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(lambda done: landing.put(done, ours))
    return ours
