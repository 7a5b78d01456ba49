"""Watching on a virtual clock: the library's own pace, or another schedule, on tasks whose durations are known.

Requests take no time here. The library's pace is the real one, on real histories; batch looks are gathered as the
engine gathers them. The library's insides are used in `ours`, `learnt`, `stored` and `begun` only.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nbhelper._model.history import History
from nbhelper._model.timing import timing
from nbhelper._watching.durations import NOTHING_KNOWN, Curve, Durations, Spell
from nbhelper._watching.pace import pause
from nbhelper.types import Mark, MarkWord, Snapshot, State, Task

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
Schedule = Callable[[History, datetime, random.Random], float]


@dataclass(frozen=True)
class Job:
    """A task's true durations: seconds in the queue, and running."""

    queue: float
    run: float

    @property
    def total(self) -> float:
        """Seconds from the submission to the end."""
        return self.queue + self.run


@dataclass(frozen=True)
class Api:
    """What replies tell: queued and running as two states, the progress in whole percents, the time left."""

    states: bool = True
    progress: bool = False
    left: bool = False

    def look(self, job: Job, at: float) -> Snapshot:
        """The reply to a look."""
        if at >= job.total:
            return Snapshot(state=State.SUCCEEDED)
        if at < job.queue and self.states:
            return Snapshot(state=State.QUEUED)
        done = max(0.0, at - job.queue) / job.run
        return Snapshot(
            state=State.RUNNING,
            progress=min(99, max(1, int(100 * done))) / 100 if self.progress else None,
            seconds_left=float(math.ceil(job.total - at)) if self.left else None,
        )


@dataclass(frozen=True)
class Result:
    """Requests and lag of watching some tasks."""

    requests: float
    lag: float
    p95: float

    @classmethod
    def of(cls, requests: int, lags: list[float]) -> Result:
        """Per task, from the sum of requests and each lag."""
        return cls(requests / len(lags), statistics.fmean(lags), sorted(lags)[math.ceil(0.95 * len(lags)) - 1])


def mean(results: list[Result]) -> Result:
    """The mean of several results."""
    return Result(*(statistics.fmean(getattr(r, name) for r in results) for name in ("requests", "lag", "p95")))


def ours(floor: float, known: Durations = NOTHING_KNOWN, sharing: int = 1) -> Schedule:
    """The library's own pace."""

    def wait(history: History, now: datetime, dice: random.Random) -> float:
        return pause(history, now, floor=floor, chance=dice.random(), known=known, sharing=sharing)

    return wait


def fixed(seconds: float) -> Schedule:
    """A fixed interval."""
    return lambda history, now, dice: seconds


def doubling(first: float, longest: float) -> Schedule:
    """An interval that doubles after each look, up to a cap."""
    return lambda history, now, dice: min(longest, first * 2 ** (history.facts.polls - 1))


def one_by_one(jobs: list[Job], api: Api, schedule: Schedule, seed: int = 0) -> tuple[Result, list[History]]:
    """Each task watched alone."""
    dice, requests, lags, histories = random.Random(seed), 0, [], []
    for job in jobs:
        history, at = begun(), 0.0
        while True:
            requests += 1
            now = T0 + timedelta(seconds=at)
            history = history.add(api.look(job, at), now)
            if history.outcome is not None:
                break
            at += schedule(history, now, dice)
        lags.append(at - job.total)
        histories.append(history)
    return Result.of(requests, lags), histories


def together(jobs: list[Job], api: Api, floor: float, seed: int = 0, known: Durations = NOTHING_KNOWN) -> Result:
    """All watched at once with batch looks: one that is due takes along all whose floor has passed."""
    dice, requests, lags = random.Random(seed), 0, []
    histories = {n: begun() for n in range(len(jobs))}
    last = dict.fromkeys(histories, -math.inf)
    due = [(0.0, n) for n in histories]
    planned = dict.fromkeys(histories, 0.0)
    while histories:
        at, n = heapq.heappop(due)
        if n not in histories or planned[n] > at:
            continue
        taken = [m for m in histories if at - last[m] >= floor * 1.02]
        requests += -(-len(taken) // 100)
        now = T0 + timedelta(seconds=at)
        for m in taken:
            histories[m] = histories[m].add(api.look(jobs[m], at), now)
            last[m] = at
            if histories[m].outcome is not None:
                lags.append(at - jobs[m].total)
                del histories[m]
        for m in taken:
            if m in histories:
                sharing = ours(floor, known, len(histories))
                planned[m] = at + sharing(histories[m], now, dice)
                heapq.heappush(due, (planned[m], m))
    return Result.of(requests, lags)


def begun() -> History:
    """A task that was just submitted."""
    return History(Task("mill", "x")).add(Mark(word=MarkWord.SUBMITTED), T0)


def learnt(histories: list[History]) -> Durations:
    """The durations that a store of these jobs gives."""
    times = [timing(h) for h in histories]
    curves = (
        Curve.of(Spell(s, t.uncertainty_s or 0.0) for t in times if (s := getattr(t, name)) is not None)
        for name in ("total_s", "queue_s", "run_s")
    )
    return Durations(*curves)


def stored(jobs: list[Job]) -> Durations:
    """The durations that a store gives for tasks whose times the server told."""
    parts = ([j.total for j in jobs], [j.queue for j in jobs], [j.run for j in jobs])
    return Durations(*(Curve.of(map(Spell, part)) for part in parts))


def jobs_of(n: int, run: Callable[[random.Random], float], queue: float = 0.0, seed: int = 7) -> list[Job]:
    """Draw tasks of this duration."""
    dice = random.Random(seed)
    return [Job(dice.uniform(0, queue), run(dice)) for _ in range(n)]


def mixed(dice: random.Random) -> float:
    """The runs of the scenarios: about 20 seconds, widely spread."""
    return dice.lognormvariate(2.9, 0.45)
