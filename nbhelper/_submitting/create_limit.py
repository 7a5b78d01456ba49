"""Rate limit and back-off for creates with one key. Pure: the clock comes in as seconds.

It keeps the API's create limit and the pauses that the server asks for, lets one create try after a pause before the
others follow, and gives up where more creates would only be refused too.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .._model.misses import Miss, MissKind
from .._model.text import seconds

T = TypeVar("T")

IN_FLIGHT = 4
"""Creates that are in flight at a time, to one API."""
_FIRST_WAIT = 2.0
_LONGEST_WAIT = 60.0
"""Seconds without creates after a refusal that names no time: twice as many each time, up to these."""
_MAX_RETRY_AFTER = 600.0
"""Seconds of a Retry-After that are believed."""
_MAX_SPOILED = 3
"""Creates in a row that the key, the credit or the connection spoiled, after which nothing more is sent."""
_MAX_UNREACHED = 6
"""Attempts in a row to reach an API, nothing sent, after which nothing more is sent."""
_SPOILED = {
    MissKind.REFUSED: "refused the key",
    MissKind.NO_CREDIT: "said that there is no credit",
}


@dataclass(slots=True)
class CreateLimit(Generic[T]):
    """Rate limit and back-off for creates with one key.

    Attributes:
        name: The provider's, for texts.
        limit: The API's limit: how many creates in how many seconds.
        waiting: The creates that are to be sent, in their order.
        closed: Why nothing more is sent; empty while creates are.
        flying: How many creates are in flight.
        not_before: When the pause that the server asked for is over.
        is_trying: Whether the latest reply asked for a pause: one create tries before the others follow.
        backoff: Seconds of the next pause, where a refusal names none.
        spoiled: How many creates in a row the key, the credit or the connection spoiled.
        unreached: How many attempts in a row did not reach the API.
        begun: When the latest creates were sent, as many as `limit` looks back to.
    """

    name: str
    limit: tuple[int, float] | None
    waiting: deque[T] = field(default_factory=deque)
    closed: str = ""
    flying: int = 0
    not_before: float = 0.0
    is_trying: bool = False
    backoff: float = field(default_factory=lambda: _FIRST_WAIT)
    spoiled: int = 0
    unreached: int = 0
    begun: deque[float] = field(default_factory=deque)

    def pause(self, now: float) -> float | None:
        """Seconds until a create may be sent; None while replies have to come first."""
        if self.flying >= (1 if self.is_trying else IN_FLIGHT):
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
        """Take the next create, which is sent now."""
        self.flying += 1
        self.begun.append(now)
        return self.waiting.popleft()

    def judge(self, miss: Miss | None, now: float, *, is_in_doubt: bool = False, is_sent: bool = True) -> bool:
        """Take a create's reply into account.

        Args:
            miss: Why nothing was made; None when it was.
            now: Seconds.
            is_in_doubt: Whether it may have been made all the same.
            is_sent: Whether bytes of the request left this machine.

        Returns:
            Whether to send the same create once more, later.
        """
        if miss is None:
            self.spoiled = self.unreached = 0
            if now >= self.not_before:  # else it was in flight together with one that was refused
                self.is_trying, self.backoff = False, _FIRST_WAIT
            return False
        if miss.kind is MissKind.RATE_LIMITED:
            self.hold(now, miss.retry_after)
            return True
        if not is_sent and miss.kind is MissKind.NETWORK:
            self.unreached += 1
            if self.unreached < _MAX_UNREACHED:
                self.hold(now, None)
                return True
            self.closed = f"{self.name} cannot be reached"
            return False
        self.unreached = 0
        if not is_in_doubt and miss.kind not in _SPOILED:
            self.spoiled = 0
            return False
        self.spoiled += 1
        if self.spoiled >= _MAX_SPOILED:
            what = _SPOILED.get(miss.kind, "gave no clear answer")
            self.closed = f"{self.name} {what} {_MAX_SPOILED} times in a row"
        return False

    def hold(self, now: float, retry_after: float | None) -> None:
        """Send nothing for a while; several creates in flight that were all refused lengthen the back-off once."""
        if retry_after:
            self.not_before = max(self.not_before, now + min(retry_after, _MAX_RETRY_AFTER))
        elif now >= self.not_before:
            self.not_before = now + self.backoff
            self.backoff = min(_LONGEST_WAIT, self.backoff * 2)
        self.is_trying = True

    def note(self, now: float) -> str:
        """What the card shows of a pause; empty where there is none, or hardly any."""
        if not self.waiting or self.closed or self.not_before <= now + 1:
            return ""
        n = len(self.waiting)
        return (
            f"{self.name} asks to wait {seconds(self.not_before - now)}; {n} task{'s' * (n != 1)} to be submitted there"
        )
