"""How long tasks took before, and when to look at one of which only its age is known.

A `Curve` is the distribution of a duration, from finished tasks and from those that we stopped watching: "at least so
long" is all that is known of these, and leaving them out would make every model look quicker than it is (Kaplan and
Meier, 1958, https://doi.org/10.1080/01621459.1958.10501452). Between the durations seen lies equal chance, and as much
again before the first and behind the last (Hill's A(n), 1968), so that three durations promise as little as they ought.

When to look is an old question of people who inspect machines: the schedule with the least expected cost, a price for
each look against the time that an end stays unseen (Barlow, Hunter and Proschan, "Optimum checking procedures", J. SIAM
11, 1963, 1078-1095). `schedule` solves it backwards over the curve, once per curve, floor and price.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

MOST = 16
"""Groups of durations that a curve keeps apart, evenly by rank: more would take chance for a pattern."""
_FINE, _COARSE = 1.03, 1.1
"""How far two neighbouring moments of a curve lie apart at most, as a ratio: looks happen at such moments, or at the
floor. Where durations were seen, and before and behind that."""
_PIECES = 4
"""In how many parts the time between two looks is split, somewhere in which a task ended."""
_TAIL = 5.0
"""Beyond the longest duration seen lies some chance, up to so many times as far."""


@dataclass(frozen=True, slots=True)
class Spell:
    """One duration: it was `over` after so many seconds, give or take `doubt`, or still going on when last seen."""

    seconds: float
    doubt: float = 0.0
    over: bool = True

    def spread(self) -> Iterable[Spell]:
        """The same in pieces: an end between two looks may have come anywhere between them."""
        for piece in range(_PIECES):
            part = (2 * piece + 1) / _PIECES - 1
            yield Spell(max(self.seconds + part * self.doubt, 0.01), 0.0, self.over)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The distribution of a duration in cells: `mass[k]` lies evenly between `edges[k]` and `edges[k + 1]`."""

    edges: Sequence[float]
    mass: Sequence[float]

    @classmethod
    def of(cls, spells: Iterable[Spell]) -> Curve | None:
        """The curve of these spells; None when none of them is over."""
        known = [s for s in spells if 0 < s.seconds < 1e7]
        steps = _kaplan_meier([piece for s in known for piece in s.spread()])
        if not steps:
            return None
        thin = math.ceil(len(steps) / MOST)
        # Each of n durations has one part in n + 1; the last part belongs to what is longer than all of them.
        over = sum(s.over for s in known)
        share = over / (over + 1)
        edges, gathered = [steps[0][0] / 2], 0.0
        mass: list[float] = []
        _append(edges, mass, steps[0][0], steps[0][1] * share, _COARSE)
        for rank, (at, drop) in enumerate(steps[1:], 1):
            gathered += drop * share
            if rank % thin == 0 or rank == len(steps) - 1:
                _append(edges, mass, at, gathered, _FINE)
                gathered = 0.0
        _append(edges, mass, edges[-1] * _TAIL, max(0.0, 1 - sum(mass)), _COARSE, evenly=False)
        return cls(array("d", edges), array("d", mass))

    def left(self, age: float) -> tuple[float, float] | None:
        """Mean and standard deviation of what is left at an age; None beyond the curve."""
        total = mean = square = 0.0
        for low, high, mass in zip(self.edges, self.edges[1:], self.mass, strict=False):
            if high <= age:
                continue
            begin = max(low, age)
            part = mass * (high - begin) / (high - low) if high > low else mass
            middle = (begin + high) / 2 - age
            total += part
            mean += part * middle
            square += part * (middle * middle + (high - begin) ** 2 / 12)
        if total <= 1e-9:
            return None
        mean /= total
        return mean, math.sqrt(max(0.0, square / total - mean * mean))


def _kaplan_meier(spells: Sequence[Spell]) -> list[tuple[float, float]]:
    """Each duration that ended, and by how much the share of those still going on drops there."""
    steps: list[tuple[float, float]] = []
    left, at_risk = 1.0, len(spells)
    # Of two that are equal, the one that went on was at risk when the other ended.
    for spell in sorted(spells, key=lambda s: (s.seconds, not s.over)):
        if spell.over:
            drop = left / at_risk
            steps.append((spell.seconds, drop))
            left -= drop
        at_risk -= 1
    return steps


def _append(
    edges: list[float], mass: list[float], at: float, gathered: float, wide: float, *, evenly: bool = True
) -> None:
    """One more cell, in pieces narrow enough; evenly in time, or (the tail) evenly in its logarithm."""
    begin = edges[-1]
    pieces = max(1, math.ceil(math.log(at / begin) / math.log(wide) - 1e-9)) if at > begin else 1
    for piece in range(1, pieces + 1):
        edge = begin * (at / begin) ** (piece / pieces)
        width = (edge - edges[-1]) / (at - begin) if evenly and at > begin else 1 / pieces
        edges.append(edge)
        mass.append(gathered * width)


@dataclass(frozen=True, slots=True)
class Durations:
    """What is known of tasks of one kind; queue and run are told apart where the API does."""

    total: Curve | None = None
    queue: Curve | None = None
    run: Curve | None = None


NOTHING_KNOWN = Durations()


@dataclass(frozen=True, slots=True)
class Schedule:
    """The best looks for a task of which only the age is known."""

    edges: Sequence[float]
    gone: Sequence[float]
    """The share that has ended by each edge."""
    moment: Sequence[float]
    """The sum of their durations, up to each edge."""
    cost: Sequence[float]
    """Of all that follows when a look at this edge finds the task unfinished, times the share that is."""
    floor: float

    def next(self, age: float) -> float | None:
        """Seconds from a look at this age to the next; None where the curve says nothing any more."""
        edges, gone, moment, cost = self.edges, self.gone, self.moment, self.cost
        if age >= edges[-1]:
            return None
        ended, lived, _ = _at(edges, gone, moment, cost, age)
        if ended > 1 - 1e-6:
            return None
        soon = age + self.floor
        best, choice = math.inf, 0.0
        # Those that end before a look are seen there; the rest cost what follows.
        if edges[0] < soon < edges[-1]:
            over, lasted, then = _at(edges, gone, moment, cost, soon)
            best, choice = soon * (over - ended) - (lasted - lived) + then, soon
        for j in range(bisect_left(edges, soon), len(edges)):
            value = edges[j] * (gone[j] - ended) - (moment[j] - lived) + cost[j]
            if value < best:
                best, choice = value, edges[j]
        return choice - age if choice else None


def _at(
    edges: Sequence[float], gone: Sequence[float], moment: Sequence[float], cost: Sequence[float], age: float
) -> tuple[float, float, float]:
    """What has ended, the sum of its durations, and what follows, at an age between two edges."""
    k = bisect_left(edges, age)
    if k == 0:
        return 0.0, 0.0, cost[0]
    low, high = edges[k - 1], edges[k]
    part = (age - low) / (high - low) if high > low else 1.0
    share = (gone[k] - gone[k - 1]) * part
    return gone[k - 1] + share, moment[k - 1] + share * (low + age) / 2, cost[k - 1] + (cost[k] - cost[k - 1]) * part


@lru_cache(maxsize=64)  # a few for each model and its parts; as tasks end, others take their place
def schedule(curve: Curve, floor: float, price: float) -> Schedule:
    """The looks at a curve's tasks that cost least, a look being worth `price` seconds of an end unseen."""
    edges = curve.edges
    gone, moment = [0.0], [0.0]
    for low, high, mass in zip(edges, edges[1:], curve.mass, strict=False):
        gone.append(gone[-1] + mass)
        moment.append(moment[-1] + mass * (low + high) / 2)
    last = len(edges) - 1
    cost = [0.0] * len(edges)
    for i in range(last - 1, -1, -1):
        here, soon = 1 - gone[i], edges[i] + floor
        j = bisect_left(edges, soon, lo=i + 1)
        # The floor may reach beyond the curve: one look, then, for all that are left.
        best = max(soon, edges[last]) * (gone[last] - gone[i]) - (moment[last] - moment[i])
        if i + 1 < j <= last:
            over, lasted, then = _at(edges, gone, moment, cost, soon)
            best = min(best, soon * (over - gone[i]) - (lasted - moment[i]) + then)
        for k in range(j, last + 1):
            value = edges[k] * (gone[k] - gone[i]) - (moment[k] - moment[i]) + cost[k]
            best = min(best, value)
        cost[i] = best + price * here
    return Schedule(edges, array("d", gone), array("d", moment), array("d", cost), floor)
