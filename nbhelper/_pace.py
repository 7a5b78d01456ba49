"""When to look again: a pure function from what was seen to a pause.

Two budgets that never mix. While looks succeed, the pause aims at the expected finish: the server's own estimate, else
the slope of its progress, else a pause that grows with the time already spent (a fixed interval wastes requests on
long tasks, doubling sees the end late). While looks miss, it is a backoff with full jitter, as the AWS SDKs do it, and
what the server asks for in `Retry-After` wins over both. Nothing goes below the provider's floor.
"""

from __future__ import annotations

from datetime import datetime

from ._history import History
from ._values import Miss, MissKind, Snapshot, State

LONGEST = 15.0
"""Seconds: the longest pause while a task goes well, however long it takes."""
BACKOFF_CAP = 60.0
SLOW = 30.0
"""Seconds between looks that are unlikely to help: no credit, or replies that nobody can read."""
_AIM = 1.02
"""A little behind the expected finish: a look just before the end is a look wasted."""


def pause(
    history: History, now: datetime, *, floor: float, interval: float | None = None, chance: float = 0.5
) -> float:
    """Seconds from the last reply to the next look.

    Args:
        history: What was seen so far.
        now: UTC.
        floor: The provider's least pause.
        interval: The user's wish for looks at a healthy task; never below the floor.
        chance: A random number from 0 to 1; tests pass their own.
    """
    facts = history.facts
    if facts.last_look_at is None:
        return 0.0
    latest = facts.latest
    # The jitter only ever adds, so that the floor holds as the server's clock sees it.
    jitter = 0.02 + 0.05 * chance
    if facts.trouble is not None:
        return max(floor, _after_miss(history, facts.trouble, floor, chance)) * (1 + jitter)
    if latest is not None and latest.state is State.UNKNOWN:
        return max(floor, SLOW if _unreadable_in_a_row(history) >= 3 else floor) * (1 + jitter)
    if interval is not None:
        return max(floor, interval) * (1 + jitter)
    return max(floor, min(LONGEST, _expected(history, now))) * (1 + jitter)


def _after_miss(history: History, miss: Miss, floor: float, chance: float) -> float:
    """Seconds to wait after a look that failed."""
    if miss.retry_after is not None:
        return miss.retry_after
    n = history.facts.misses_in_a_row
    match miss.kind:
        case MissKind.NETWORK | MissKind.SERVER | MissKind.RATE_LIMITED:
            top = min(BACKOFF_CAP, floor * 2.0 ** min(n, 10))
            return floor + (top - floor) * chance
        case MissKind.NO_CREDIT:
            return SLOW
        case MissKind.GARBLED:
            return SLOW if _unreadable_in_a_row(history) >= 3 else floor
        case MissKind.NOT_FOUND:
            return floor * min(n, 4)
        case MissKind.REFUSED | MissKind.BAD_REQUEST:
            return floor


def _unreadable_in_a_row(history: History) -> int:
    """Looks whose reply nobody could read; what the network lost in between is none of them."""
    n = 0
    for event in history.looks():
        seen = event.seen
        garbled = isinstance(seen, Miss) and seen.kind is MissKind.GARBLED
        unknown = isinstance(seen, Snapshot) and seen.state is State.UNKNOWN
        if not garbled and not unknown:
            break
        n += 1
    return n


def _expected(history: History, now: datetime) -> float:
    """Seconds until the finish is expected, or until it is worth looking whether one can be expected."""
    facts = history.facts
    latest = facts.latest
    assert facts.last_look_at is not None
    if latest is None:
        return 0.0
    if latest.state is State.RUNNING:
        if latest.seconds_left is not None:
            return latest.seconds_left * _AIM + 0.1
        left = _by_slope(history)
        if left is not None:
            return left * _AIM + 0.1
    begun = facts.running_at if latest.state is State.RUNNING else facts.first_look_at
    spent = (now - (begun or facts.last_look_at)).total_seconds()
    # A sixth of the time already spent: at 60 s a pause of 10 s, so the end is seen 5 s late on average at worst.
    return max(0.0, spent) / 6


def _by_slope(history: History) -> float | None:
    """Seconds left if progress goes on as it went between the first and the newest running look."""
    first: tuple[datetime, float] | None = None
    newest: tuple[datetime, float] | None = None
    for event in history.looks():
        seen = event.seen
        if not isinstance(seen, Snapshot):
            continue
        if seen.state is not State.RUNNING or seen.progress is None:
            break
        newest = newest or (event.at, seen.progress)
        first = (event.at, seen.progress)
    if first is None or newest is None or newest[1] - first[1] < 0.02:
        return None
    slope = (newest[1] - first[1]) / max((newest[0] - first[0]).total_seconds(), 0.001)
    return (1 - newest[1]) / slope
