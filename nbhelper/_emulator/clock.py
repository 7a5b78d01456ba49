"""One clock for the whole emulator."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate

#: Bailian writes its times in this zone and does not say so.
CHINA = timezone(timedelta(hours=8))


class Clock:
    """Monotonic seconds since the server began, with wall-clock stamps derived from them.

    A wall clock may be set while a task runs; a task's state and its stamps must then still agree, so
    the wall clock is read once.

    Args:
        skew: Seconds by which the server's own clock is ahead: of all that it says, never of the ledger.
    """

    def __init__(self, skew: float = 0.0) -> None:
        self._zero = time.monotonic()
        self._began = time.time()
        self._skew = skew

    def now(self) -> float:
        """Seconds since the server began."""
        return time.monotonic() - self._zero

    def epoch(self, at: float) -> float:
        """The moment as the server tells it, in Unix time."""
        return self._began + self._skew + at

    def utc(self, at: float) -> datetime:
        """The true moment, as a UTC datetime."""
        return datetime.fromtimestamp(self._began + at, UTC)

    def iso(self, at: float) -> str:
        """The moment as Tripo v3 writes it: ``2026-05-01T00:00:00.123Z``."""
        return datetime.fromtimestamp(self.epoch(at), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def china(self, at: float) -> str:
        """The moment as Bailian writes it: local time without a zone."""
        return datetime.fromtimestamp(self.epoch(at), CHINA).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

    def date(self, at: float) -> str:
        """The moment as a reply's ``Date``: cut to whole seconds."""
        return formatdate(int(self.epoch(at)), usegmt=True)
