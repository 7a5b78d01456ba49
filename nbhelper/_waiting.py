"""Waiting in a way that no interrupt can harm.

`threading.Condition`, and `Event` and `Future.result` that are built on it, are written in Python: an interrupt that
comes while the one before is being dealt with can leave their lock held for ever, and then whoever would announce the
end waits for it too. A bare lock waits inside the interpreter: it is taken or it is not.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
_SLICE = 0.5
"""Seconds of one wait: on Windows an interrupt is only felt between two."""


class Bell:
    """Rung by any thread, without ever waiting; heard by one."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake whoever waits, now or when it comes to wait."""
        with contextlib.suppress(RuntimeError):  # rung already, and not yet heard
            self._silence.release()

    def wait(self, seconds: float) -> bool:
        """Whether it rang within so many seconds."""
        return self._silence.acquire(timeout=seconds)


def result_of(future: Future[T]) -> T:
    """What a future comes to, waited for in the thread that interrupts reach."""
    bell = Bell()
    future.add_done_callback(lambda _: bell.ring())
    while not bell.wait(_SLICE):
        pass
    return future.result()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let no further interrupt in for as long as a line takes to write."""
    try:
        # A function, not SIG_IGN: of an interrupt that is on its way already, Python would complain to stderr then.
        before = signal.signal(signal.SIGINT, lambda *_: None)
    except ValueError:  # not the main thread, and no interrupt comes to any other
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
