"""When a create may leave: the way to one API with one key. Pure: the clock comes in as seconds.

It keeps the API's create limit, waits when the server says so, lets one try before the others follow, and closes when
going on would only do harm.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .._model.seen import Miss, MissKind
from .._model.text import seconds

T = TypeVar("T")

IN_FLIGHT = 4
"""Creates that fly at once to one API."""
_FIRST_WAIT = 2.0
_LONGEST_WAIT = 60.0
"""Seconds between two creates at an API that asks to wait and does not say how long: twice as many each time."""
_MOST_ASKED = 600.0
"""Seconds of a Retry-After that are believed."""
_TOO_OFTEN = 3
"""Creates in a row that the key, the credit or the connection spoiled: the rest would fare no better."""
_UNREACHED = 6
"""Times in a row that an API cannot be reached, nothing sent, before it is given up."""
_SPOILED = {
    MissKind.REFUSED: "refused the key",
    MissKind.NO_CREDIT: "said that there is no credit",
}


@dataclass(slots=True)
class Door(Generic[T]):
    """The way of creates to one API with one key."""

    name: str
    limit: tuple[int, float] | None
    waiting: deque[T] = field(default_factory=deque)
    closed: str = ""
    """Why nothing more is sent here."""
    flying: int = 0
    not_before: float = 0.0
    careful: bool = False
    """The last answer was "wait": one create tries before the others follow."""
    backoff: float = field(default_factory=lambda: _FIRST_WAIT)
    spoiled: int = 0
    unreached: int = 0
    begun: deque[float] = field(default_factory=deque)
    """When the latest creates left, as many as the limit looks back to."""

    def pause(self, now: float) -> float | None:
        """Seconds until a create may leave; None while others have to come back first."""
        if self.flying >= (1 if self.careful else IN_FLIGHT):
            return None
        wait = self.not_before - now
        if self.limit is not None:
            most, span = self.limit
            while self.begun and self.begun[0] <= now - span:
                self.begun.popleft()
            if len(self.begun) >= most:
                wait = max(wait, self.begun[0] + span - now)
        return max(0.0, wait)

    def leave(self, now: float) -> T:
        """The next create goes."""
        self.flying += 1
        self.begun.append(now)
        return self.waiting.popleft()

    def judge(self, miss: Miss | None, now: float, *, doubt: bool = False, sent: bool = True) -> bool:
        """Learn from an answer; whether the same create is to be sent once more, later.

        Args:
            miss: Why nothing was made; None when it was.
            now: Seconds.
            doubt: Whether it may have been made all the same.
            sent: Whether anything left this machine.
        """
        if miss is None:
            self.spoiled = self.unreached = 0
            if now >= self.not_before:  # else it flew along with one that was told to wait
                self.careful, self.backoff = False, _FIRST_WAIT
            return False
        if miss.kind is MissKind.RATE_LIMITED:
            self.hold(now, miss.retry_after)
            return True
        if not sent and miss.kind is MissKind.NETWORK:
            self.unreached += 1
            if self.unreached < _UNREACHED:
                self.hold(now, None)
                return True
            self.closed = f"{self.name} cannot be reached"
            return False
        self.unreached = 0
        if not doubt and miss.kind not in _SPOILED:
            self.spoiled = 0
            return False
        self.spoiled += 1
        if self.spoiled >= _TOO_OFTEN:
            what = "gave no clear answer" if doubt else _SPOILED[miss.kind]
            self.closed = f"{self.name} {what} {_TOO_OFTEN} times in a row"
        return False

    def hold(self, now: float, asked: float | None) -> None:
        """Let nothing through for a while; several that flew together and were all told to wait count once."""
        if asked:
            self.not_before = max(self.not_before, now + min(asked, _MOST_ASKED))
        elif now >= self.not_before:
            self.not_before = now + self.backoff
            self.backoff = min(_LONGEST_WAIT, self.backoff * 2)
        self.careful = True

    def note(self, now: float) -> str:
        """What a person should know of it."""
        if not self.waiting or self.closed or self.not_before <= now + 1:
            return ""
        n = len(self.waiting)
        return (
            f"{self.name} asks to wait {seconds(self.not_before - now)}; {n} task{'s' * (n != 1)} to be submitted there"
        )
