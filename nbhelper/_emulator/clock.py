"""One clock for the whole emulator."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

#: Bailian writes its times in this zone and does not say so.
CHINA = timezone(timedelta(hours=8))


class Clock:
    """Monotonic seconds since the server began, with wall-clock stamps derived from them.

    A wall clock may be set while a task runs; a task's state and its stamps must then still agree, so
    the wall clock is read once.
    """

    def __init__(self) -> None:
        self._zero = time.monotonic()
        self._began = time.time()

    def now(self) -> float:
        """Seconds since the server began."""
        return time.monotonic() - self._zero

    def epoch(self, at: float) -> float:
        """Unix time of a moment of this clock."""
        return self._began + at

    def utc(self, at: float) -> datetime:
        """The moment as a UTC datetime."""
        return datetime.fromtimestamp(self._began + at, UTC)

    def iso(self, at: float) -> str:
        """The moment as Tripo v3 writes it: ``2026-05-01T00:00:00.123Z``."""
        return self.utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def china(self, at: float) -> str:
        """The moment as Bailian writes it: local time without a zone."""
        return self.utc(at).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
