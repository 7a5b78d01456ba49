"""How often a view is drawn: at most so many times a second, less often the more a drawing costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_SHARE = 1 / 20
"""Of a core's time, what drawing may take: a view of very many tasks is drawn less often."""
_LONGEST = 2.0
"""Seconds between two drawings, at most."""


class DrawLimit:
    """The pause between two drawings of one view.

    Attributes:
        pause: Seconds from one drawing to the next.
    """

    def __init__(self, least: float) -> None:
        self.pause = self._least = least
        self._due = 0.0

    def is_due(self) -> bool:
        """Whether the pause after the last measured drawing is over."""
        return time.monotonic() >= self._due

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Around one drawing: the next is due later the more processor time this one took."""
        begun = time.thread_time()  # not the clock on the wall: a busy machine makes no drawing dearer
        try:
            yield
        finally:
            self.pause = min(_LONGEST, max(self._least, (time.thread_time() - begun) / _SHARE))
            self._due = time.monotonic() + self.pause
