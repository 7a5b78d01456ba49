"""The server's clock: monotonic seconds, and the formats in which APIs write times."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate

#: Bailian writes its times in this zone and does not say so.
CHINA = timezone(timedelta(hours=8))


class Clock:
    """Monotonic seconds since the server began; wall-clock times derive from one reading of the wall clock.

    So a task's state and its timestamps agree even if the system clock is set while it runs.

    Args:
        skew: Seconds by which times in replies are ahead of the system clock; times in the ledger are not.
    """

    def __init__(self, skew: float = 0.0) -> None:
        self._zero = time.monotonic()
        self._began = time.time()
        self._skew = skew

    def now(self) -> float:
        """Seconds since the server began."""
        return time.monotonic() - self._zero

    def epoch(self, at: float) -> float:
        """Convert to Unix time, with the skew."""
        return self._began + self._skew + at

    def utc(self, at: float) -> datetime:
        """Convert to a UTC datetime, without the skew."""
        return datetime.fromtimestamp(self._began + at, UTC)

    def iso(self, at: float) -> str:
        """Format as Tripo v3 does: ``2026-05-01T00:00:00.123Z``."""
        return datetime.fromtimestamp(self.epoch(at), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def china(self, at: float) -> str:
        """Format as Bailian does: local time in China, without a zone."""
        return datetime.fromtimestamp(self.epoch(at), CHINA).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

    def date(self, at: float) -> str:
        """Format for the ``Date`` header, in whole seconds."""
        return formatdate(int(self.epoch(at)), usegmt=True)
