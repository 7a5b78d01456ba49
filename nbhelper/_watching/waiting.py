"""Waits that an interrupt cannot leave in a broken state: for a future, and for the changes of a watch.

`threading.Condition`, and `Event` and `Future.result`, which are built on it, are written in Python: a second interrupt
while the first is handled can leave their lock held for ever, and then the thread that announces the end blocks on it.
A bare lock waits inside the interpreter: it is taken or it is not.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from .._model.errors import BadInput, WatchTimeout
from .._model.history import History

T = TypeVar("T")
_SLICE = 0.5
"""Seconds of one wait: on Windows an interrupt is only felt between two."""
_DRAWN = 0.2
"""Seconds of one wait for a watch: short, so that an interrupt is felt at once and a view is drawn."""


class WakeUp:
    """A wake-up flag: any thread sets it, one waits."""

    def __init__(self) -> None:
        self._unset = threading.Lock()
        """Held while the flag is not set."""
        self._unset.acquire()

    def set(self) -> None:
        """Wake the thread that waits, now or when it next waits; this never blocks."""
        with suppress(RuntimeError):  # it is set already
            self._unset.release()

    def wait(self, seconds: float) -> bool:
        """Wait until the flag is set, and unset it; whether it was set within so many seconds."""
        return self._unset.acquire(timeout=seconds)


def result_of(future: Future[T]) -> T:
    """The result of a future, waited for in a way that an interrupt cannot harm."""
    flag = WakeUp()
    future.add_done_callback(lambda _: flag.set())
    while not flag.wait(_SLICE):
        pass
    return future.result()


def checked_seconds(value: object, name: str) -> float | None:
    """Seconds or None.

    Raises:
        BadInput: Negative, not a finite number, or of another type.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{name} is seconds or None, not {type(value).__name__}.")
    if not 0 <= value < 1e300:
        raise BadInput(f"{name} is zero or more seconds, or None for no limit.")
    return float(value)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore SIGINT inside the block, if this is the main thread."""
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


class Waiting(ABC):
    """Base of `Watch`: blocking and asynchronous waits for `done`, and call-backs after each change."""

    def __init__(self) -> None:
        # Not a condition: nobody waits here, so no interrupt can leave it held against the engine.
        self._lock = threading.RLock()
        self._calls: list[Callable[[], None]] = []
        self._show: Callable[[Any], Any] | None = None
        """The view that is drawn while somebody waits: from this object to a context manager that gives `draw()`."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether it is over."""

    @abstractmethod
    def _interrupted(self) -> str:
        """The line for a person who interrupted the wait."""

    @abstractmethod
    def _late(self, limit: float | None) -> str:
        """The text of the `WatchTimeout`."""

    def _notify(self) -> None:
        """Run the call-backs after a change; the caller holds the lock."""
        for call in tuple(self._calls):
            call()

    def on_change(self, call: Callable[[], None]) -> None:
        """Call something after each change, in the engine's thread: it must be quick and must not draw."""
        with self._lock:
            self._calls.append(call)

    def off_change(self, call: Callable[[], None]) -> None:
        """Remove a call-back."""
        with self._lock:
            self._calls.remove(call)

    def _wait(self, ready: Callable[[], bool], limit: float | None) -> None:
        """Sleep until `ready()`; on an interrupt print one line that says what goes on, and re-raise."""
        try:
            self._sleep(ready, limit)
        except KeyboardInterrupt:
            # An impatient second interrupt may come anywhere in here, and must not swallow what a person needs now: no
            # context manager, whose own code it could fall into.
            is_printed = False
            while not is_printed:
                try:
                    with undisturbed():
                        print(self._interrupted())  # noqa: T201  # the one line
                        is_printed = True
                except KeyboardInterrupt:
                    pass
            raise

    def _sleep(self, ready: Callable[[], bool], limit: float | None) -> None:
        """Sleep in short slices until `ready()`, and draw the text view after each.

        Raises:
            WatchTimeout: `limit` seconds are over first.
        """
        ends = None if limit is None else time.monotonic() + limit
        with self._drawing() as draw, self._woken() as flag:
            while True:
                left = _DRAWN if ends is None else min(_DRAWN, ends - time.monotonic())
                if not ready() and left > 0:
                    flag.wait(left)
                over = ready()
                draw()
                if over:
                    return
                if ends is not None and time.monotonic() >= ends:
                    with self._lock:
                        if ready():
                            return
                        raise WatchTimeout(self._late(limit))

    @contextmanager
    def _woken(self) -> Iterator[WakeUp]:
        """A wake-up flag that is set after each change."""
        flag = WakeUp()
        self.on_change(flag.set)
        try:
            yield flag
        finally:
            self.off_change(flag.set)

    @contextmanager
    def _drawing(self) -> Iterator[Callable[[], None]]:
        """The text view while somebody waits; no view, no output."""
        show, self._show = self._show, None  # a wait inside a wait does not draw twice
        if show is None:
            yield lambda: None
            return
        try:
            with show(self) as draw:
                yield draw
        finally:
            self._show = None if self.done else show  # once it stands there whole, another wait adds no copy

    async def _until_done(self) -> None:
        """Wait for the end without blocking the loop, drawing as `_sleep` does."""
        with self._waking() as changed, self._drawing() as draw:
            while not self.done:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _DRAWN)
                changed.clear()
                draw()
            draw()

    @contextmanager
    def _waking(self) -> Iterator[asyncio.Event]:
        """An `asyncio.Event` of the running loop, set after each change."""
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # that loop may be closed by now
                loop.call_soon_threadsafe(event.set)

        self.on_change(wake)
        try:
            yield event
        finally:
            self.off_change(wake)


class Completed:
    """Histories in the order of their ends; iterate with `for` or `async for`.

    Args:
        waiting: The watch that is waited for.
        ended: Gives (key, history) of each task that is over so far.
        n: The number of tasks.
    """

    def __init__(self, waiting: Waiting, ended: Callable[[], Iterator[tuple[Hashable, History]]], n: int) -> None:
        self._waiting = waiting
        self._ended = ended
        self._n = n
        self._given: set[Hashable] = set()

    def _next(self) -> History | None:
        for key, history in self._ended():
            if key not in self._given:
                self._given.add(key)
                return history
        return None

    def _all(self) -> bool:
        return len(self._given) == self._n

    def _any(self) -> bool:
        return any(key not in self._given for key, _ in self._ended())

    def __iter__(self) -> Iterator[History]:
        while not self._all():
            self._waiting._wait(self._any, None)  # noqa: SLF001  # one thought in two classes
            while (history := self._next()) is not None:
                yield history

    async def __aiter__(self) -> AsyncGenerator[History, None]:
        with self._waiting._waking() as changed:  # noqa: SLF001
            while True:
                while (history := self._next()) is not None:
                    yield history
                if self._all():
                    return
                await changed.wait()
                changed.clear()
