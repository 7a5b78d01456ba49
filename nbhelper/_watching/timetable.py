"""When the next look at one task goes out, by the monotonic clock; `_pace` says how long the pause is."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime

from .._model.history import History
from .._model.states import State
from .looks import Looks
from .pace import JITTER, pause
from .past import Past


class Timetable:
    """The time of the next look at one task.

    Attributes:
        interval: The user's wish for seconds between looks at a healthy task.
        not_before: The monotonic time before which no look goes out, whatever the history says.
        replied: The monotonic time of the last answer that this process knows of; 0 before the first.
    """

    __slots__ = ("_floor", "_looks", "_past", "_pause", "interval", "not_before", "replied")

    def __init__(self, looks: Looks, past: Past) -> None:
        self.interval: float | None = None
        self.not_before = 0.0
        self.replied = 0.0
        self._floor = looks.connection.provider.floor
        self._looks = looks
        self._past = past
        self._pause: tuple[History | None, float | None, float] = (None, None, 0.0)

    def due(self, history: History) -> float:
        """When the next look is worth its price."""
        last = history.facts.last_look_at
        if last is None:
            return max(time.monotonic(), self.not_before)
        known, interval, wait = self._pause
        if known is not history or interval != self.interval:
            wait = pause(
                history,
                last,
                floor=self._floor,
                interval=self.interval,
                chance=random.random(),  # noqa: S311  # jitter
                known=self._past.of(history),
                sharing=self._looks.shared,
            )
            self._pause = history, self.interval, wait
        return max(self._last_reply(last) + wait, self.not_before)

    def soonest(self, history: History) -> float:
        """When a batch may take the look along: at the floor, but not before it is due in trouble or by a wish."""
        latest = history.facts.latest
        is_unwell = history.facts.trouble is not None or (latest is not None and latest.state is State.UNKNOWN)
        return self.due(history) if is_unwell or self.interval is not None else self.allowed(history)

    def allowed(self, history: History) -> float:
        """When the floor allows another look."""
        last = history.facts.last_look_at
        if last is None:
            return max(time.monotonic(), self.not_before)
        return max(self._last_reply(last) + self._floor * (1 + JITTER[0]), self.not_before)

    def hold_back(self) -> None:
        """Let a floor pass from now: a look may have been made whose answer is not known here."""
        self.not_before = max(self.not_before, time.monotonic() + self._floor * 1.02)

    def _last_reply(self, last: datetime) -> float:
        """The time of the last answer; another process's is told by the wall clock, which may have jumped."""
        return self.replied or time.monotonic() - max(0.0, (datetime.now(UTC) - last).total_seconds())
