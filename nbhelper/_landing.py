"""What another thread finished, taken up by the loop: one wake-up for many at once.

`asyncio.wrap_future` wakes the loop once for each future, by a byte through a socket, and the future of another thread
takes a lock of its own along. The store ends hundreds of writes in one go, so their number and not their cost would set
the pace.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections import deque
from typing import Any

log = logging.getLogger("nbhelper")


class Landing:
    """What another thread is to finish, by `set_result` or `set_exception`; its loop then calls `landed`."""

    __slots__ = ("_error", "_ground", "_value")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        ground = _grounds.get(loop)
        if ground is None:
            ground = _grounds[loop] = _Ground(loop)
        self._ground = ground
        self._value: Any = None
        self._error: Any = None

    def landed(self, value: Any, error: Any) -> None:
        """It is done, or came to nothing."""
        raise NotImplementedError

    def set_result(self, value: Any) -> None:
        """It is done."""
        self._value = value
        self._ground.put(self)

    def set_exception(self, error: BaseException) -> None:
        """It came to nothing."""
        self._error = error
        self._ground.put(self)

    def land(self) -> None:
        """Pass it on to whoever waits."""
        self.landed(self._value, self._error)


class _Ground:
    """Where what is finished lands, one for each loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # who lives as long as its loop must not keep it alive
        self._done: deque[Landing] = deque()
        self._woken = False
        self._lock = threading.Lock()

    def put(self, landing: Landing) -> None:
        self._done.append(landing)
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
            try:
                self._done.popleft().land()
            except Exception:  # a fault of ours with one must not keep the others waiting
                log.exception("taking up what the store has done")


_grounds: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Ground] = weakref.WeakKeyDictionary()
