"""A rate limit for the drawings of one view: the more processor time a drawing takes, the longer the pause."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_SHARE = 1 / 20
"""The share of one core that drawing may take."""
_LONGEST = 2.0
"""The longest pause in seconds, however much a drawing takes."""


class DrawLimit:
    """The pause between two drawings of one view.

    Args:
        shortest: The pause in seconds of a view that is quickly drawn.

    Attributes:
        pause: Seconds from the last drawing to the next.
    """

    def __init__(self, shortest: float) -> None:
        self.pause = self._shortest = shortest
        self._due = 0.0

    def is_due(self) -> bool:
        """Whether the pause after the last measured drawing is over."""
        return time.monotonic() >= self._due

    @contextmanager
    def measured(self) -> Iterator[None]:
        """A context manager around one drawing; sets the pause behind it by the processor time that it took."""
        begun = time.thread_time()  # no wall-clock time, which other processes make longer
        try:
            yield
        finally:
            self.pause = min(_LONGEST, max(self._shortest, (time.thread_time() - begun) / _SHARE))
            self._due = time.monotonic() + self.pause
