"""When to look again: a pure function from what was seen to a pause.

Two budgets that never mix. While looks miss, the pause is a backoff with full jitter, as the AWS SDKs do it
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), and what the server asks for in
`Retry-After` wins over it. While looks succeed, the next one goes where it is expected to cost least: a look has a
price, and so has each second that an end stays unseen. In order of what is known of a task:

* *A finish that is told*: the server's time left, or the slope of its progress, with a doubt. A little later than
  expected is better than a little early, since a look too early costs its price and another floor: the newsvendor's
  problem (Arrow, Harris and Marschak, 1951), solved by `_aim`.
* *Durations of the same model before*: `_durations.schedule`, which takes in that the task is not over yet. Whichever
  of the two says it more exactly is followed.
* *Nothing*: durations differ by powers of ten, so of the tasks that ran so long half are taken to run as long again.
  Looks are then best a square root of the time apart (Keller, 1974, "Optimum checking schedules for systems subject to
  random failure", https://doi.org/10.1287/mnsc.21.3.256): a fixed interval wastes requests on long tasks, doubling sees
  the end late. The same holds for the time by which a task is overdue.

Queued and running are different clocks. While a task is queued all of its run is still to come. Then the run's own
clock counts where the looks tell its start better than queues differ, and otherwise the age of the whole task does: a
look that is aimed at an end leaves open when the queue was over. Nothing goes below the provider's floor.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from datetime import datetime, timedelta

from .._model.facts import SLOPE, Facts
from .._model.history import History
from .._model.misses import Miss, MissKind
from .._model.states import State
from .._model.timing import begin
from .durations import NOTHING_KNOWN, Curve, Durations, schedule

LONGEST = 60.0
"""Seconds: the longest pause while a task goes well, however long it takes."""
BACKOFF_CAP = 60.0
SLOW = 30.0
"""Seconds between looks that are unlikely to help: no credit, or replies that nobody can read."""
PRICE = 0.18
"""What a look is worth, in floors: an API that asks for 5 seconds between looks finds them dearer than one of 2."""
JITTER = (0.02, 0.02)
"""Shares that the jitter adds: at least, and by chance."""
_TRUST = 0.12
"""How far a server's time left is off, as a share of itself."""
_EVEN = 0.05
_BEND = 0.2
"""How far a finish by the slope is off, as shares of the time left: near the end, and so much more at the beginning,
where progress that is told in parts of a job rather than of its time misleads most."""


def pause(
    history: History,
    now: datetime,
    *,
    floor: float,
    interval: float | None = None,
    chance: float = 0.5,
    known: Durations = NOTHING_KNOWN,
    sharing: int = 1,
) -> float:
    """Seconds from the last reply to the next look.

    Args:
        history: What was seen so far.
        now: UTC.
        floor: The provider's least pause.
        interval: The user's wish for looks at a healthy task; never below the floor.
        chance: A random number from 0 to 1; tests pass their own.
        known: How long such tasks took before.
        sharing: How many tasks one request looks at, which share its price.
    """
    facts = history.facts
    if facts.last_look_at is None:
        return 0.0
    latest = facts.latest
    # The jitter only ever adds, so that the floor holds as the server's clock sees it.
    jitter = JITTER[0] + JITTER[1] * chance
    if facts.trouble is not None:
        return max(floor, _after_miss(facts, facts.trouble, floor, chance)) * (1 + jitter)
    if latest is not None and latest.state is State.UNKNOWN:
        return max(floor, SLOW if _is_unreadable(facts) else floor) * (1 + jitter)
    if interval is not None:
        return max(floor, interval) * (1 + jitter)
    best = _best(facts, now, floor, floor * PRICE / max(1, sharing), known)
    return max(floor, min(LONGEST, best)) + floor * jitter


def _after_miss(facts: Facts, miss: Miss, floor: float, chance: float) -> float:
    """Seconds to wait after a look that failed."""
    if miss.retry_after is not None:
        return miss.retry_after
    n = facts.misses_in_a_row
    match miss.kind:
        case MissKind.NETWORK | MissKind.SERVER | MissKind.RATE_LIMITED:
            top = min(BACKOFF_CAP, floor * 2.0 ** min(n, 10))
            return floor + (top - floor) * chance
        case MissKind.NO_CREDIT:
            return SLOW
        case MissKind.GARBLED:
            return SLOW if _is_unreadable(facts) else floor
        case MissKind.NOT_FOUND:
            return floor * min(n, 4)
        case MissKind.REFUSED | MissKind.BAD_REQUEST:
            return floor


def _is_unreadable(facts: Facts) -> bool:
    """Whether nobody could read the last three replies or more."""
    run = facts.unreadable
    return run is not None and run.looks >= 3


# While all goes well


def _best(facts: Facts, now: datetime, floor: float, price: float, known: Durations) -> float:
    """Seconds until the look that costs least."""
    latest = facts.latest
    if latest is None:
        return 0.0
    begun = _begun(facts, now)
    if latest.state is State.QUEUED:
        return _queued(facts, now, begun, floor, price, known)
    start, within = _started(facts, begun, now, known)
    curve, age = known.total, now - begun
    if known.run is not None and (curve is None or within <= _spread(known.queue)):
        curve, age = known.run, now - start
    predicted = _seconds_left(facts)
    if predicted is not None:
        left, doubt = predicted
        before = curve.left(age.total_seconds()) if curve is not None else None
        if before is None or doubt <= before[1]:
            overdue = now.timestamp() - min(facts.due, now.timestamp()) if facts.due is not None else 0.0
            return max(_aim(left, doubt, floor, price), _lindy(overdue, price) if overdue > 0 else 0.0)
    return _by_age(curve, age.total_seconds(), floor, price)


def _queued(facts: Facts, now: datetime, begun: datetime, floor: float, price: float, known: Durations) -> float:
    """Until the task's age is worth a look, and not before a run that begins now is."""
    queued = (now - begun).total_seconds()
    wait = _queue_left(facts)
    if known.run is None:
        if known.total is not None:
            return _by_age(known.total, queued, floor, price)
        return _lindy(queued, price) if wait is None else wait
    run = _by_age(known.run, 0.0, floor, price)  # all of it is still to come
    if wait is not None:
        return wait + run
    if known.total is not None:
        return max(run, _by_age(known.total, queued, floor, price))
    left = known.queue.left(queued) if known.queue is not None else None
    return run + (left[0] if left is not None else 0.0)


def _queue_left(facts: Facts) -> float | None:
    """Seconds until the start, if the queue goes on as it went; None while that is not seen."""
    first, latest, at = facts.first_place, facts.latest, facts.last_good_at
    if first is None or latest is None or latest.queue_position is None or at is None:
        return None
    gone, spent = first.value - latest.queue_position, (at - first.at).total_seconds()
    return latest.queue_position * spent / gone if gone > 0 else None


def _by_age(curve: Curve | None, age: float, floor: float, price: float) -> float:
    best = schedule(curve, floor, price).next(age) if curve is not None else None
    return _lindy(age, price) if best is None else best


def _lindy(age: float, price: float) -> float:
    """The pause where half of those that went on so long go on as long again."""
    return math.sqrt(2 * price * max(0.0, age))


def _begun(facts: Facts, now: datetime) -> datetime:
    """When the task began, and never later than now."""
    begun = begin(facts)
    return min(begun.at, now) if begun else now


def _started(facts: Facts, begun: datetime, now: datetime, known: Durations) -> tuple[datetime, float]:
    """When it began to run, and within how many seconds: as the server says, else as the looks and queues tell."""
    if facts.started is not None and facts.skew_s is not None:
        return min(facts.started - timedelta(seconds=facts.skew_s), now), 0.0
    latest = facts.running_at or facts.first_look_at or now
    earliest = min(facts.before_running_at or begun, latest)
    queue = known.queue.left(0.0) if known.queue is not None else None
    expected = begun + timedelta(seconds=queue[0]) if queue is not None else earliest + (latest - earliest) / 2
    return min(max(expected, earliest), latest), (latest - earliest).total_seconds() / math.sqrt(12)


def _spread(curve: Curve | None) -> float:
    """How far durations differ: their standard deviation; without any, nothing is known to differ less."""
    left = curve.left(0.0) if curve is not None else None
    return math.inf if left is None else left[1]


def _seconds_left(facts: Facts) -> tuple[float, float] | None:
    """Seconds left as the server tells them, itself or by its progress, and how far that may be off."""
    latest = facts.latest
    assert latest is not None
    if latest.seconds_left is not None:
        # A whole number was rounded, most often up: a server that says 0 seconds looks as if it were done.
        half, fine = (0.5, 0.3) if latest.seconds_left.is_integer() else (0.0, 0.05)
        left = max(0.0, latest.seconds_left - half)
        return left, math.hypot(fine, _TRUST * left)
    return _by_slope(facts)


def _by_slope(facts: Facts) -> tuple[float, float] | None:
    """Seconds left if progress goes on as it lately went, and the doubt that rounding to whole percents leaves."""
    latest, at = facts.latest, facts.last_good_at
    if not facts.climb or latest is None or latest.progress is None or at is None:
        return None
    far = (point for point in reversed(facts.climb) if latest.progress - point.value >= SLOPE)
    older = next(far, facts.climb[0])
    gain, spent = latest.progress - older.value, max((at - older.at).total_seconds(), 0.001)
    if gain < 0.02:
        return None
    # Cut to whole percents, both ends are half a percent further on average.
    left = max(0.0, 0.995 - latest.progress) * spent / gain
    return left, math.hypot(
        0.003 * spent / gain, left * 0.004 / gain, (_EVEN + _BEND * (1 - latest.progress)) * left, 0.1
    )


def _aim(left: float, doubt: float, floor: float, price: float) -> float:
    """Where to look when the finish is told with a doubt.

    Waiting a moment longer costs that moment if the task is over, and saves a look and another floor if it ends just
    then: best where the two balance, at the quantile whose chance over density is the cost of a miss in doubts.
    """
    at = min(bisect_left(_RATIOS, (price + floor) / doubt), len(_RATIOS) - 1)
    return max(0.0, left + _QUANTILES[at] * doubt)


_QUANTILES = tuple(z / 10 for z in range(-30, 31))
_RATIOS = tuple(
    (1 + math.erf(z / math.sqrt(2))) / 2 / (math.exp(-z * z / 2) / math.sqrt(2 * math.pi)) for z in _QUANTILES
)
