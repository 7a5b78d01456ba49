"""What a schedule of looks costs, on a virtual clock: requests for each task, and seconds from its end to the look.

`python tests/benchmarks/pace.py [--json FILE]`. The schedules of others are their published intervals; ours is the real
`nbhelper._pace.pause` on real histories, batch looks as `nbhelper._looks` gathers them. Requests take no time here.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from targets import at_most, judged

from nbhelper._durations import NOTHING_KNOWN, Curve, Durations, Spell
from nbhelper._history import History
from nbhelper._pace import pause
from nbhelper._timing import timing
from nbhelper.types import Mark, MarkWord, Snapshot, State, Task

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
Schedule = Callable[[History, datetime, random.Random], float]


@dataclass(frozen=True)
class Job:
    """A task as it really is: seconds in the queue, and running."""

    queue: float
    run: float

    @property
    def total(self) -> float:
        """Seconds to its end."""
        return self.queue + self.run


@dataclass(frozen=True)
class Api:
    """What replies tell: whether a queue is told from a run, the progress in whole percents, the time left."""

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
    """What watching some tasks took."""

    requests: float
    lag: float
    p95: float

    @classmethod
    def of(cls, requests: int, lags: list[float]) -> Result:
        """Per task, from the sum of requests and each lag."""
        return cls(requests / len(lags), statistics.fmean(lags), sorted(lags)[math.ceil(0.95 * len(lags)) - 1])


def mean(results: list[Result]) -> Result:
    """Of several runs."""
    return Result(*(statistics.fmean(getattr(r, name) for r in results) for name in ("requests", "lag", "p95")))


def ours(floor: float, known: Durations = NOTHING_KNOWN, sharing: int = 1) -> Schedule:
    """The library's own pace."""

    def wait(history: History, now: datetime, dice: random.Random) -> float:
        return pause(history, now, floor=floor, chance=dice.random(), known=known, sharing=sharing)

    return wait


def fixed(seconds: float) -> Schedule:
    """Always the same."""
    return lambda history, now, dice: seconds


def doubling(first: float, longest: float) -> Schedule:
    """Doubled after each look."""
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
    """What a store would tell of these."""
    times = [timing(h) for h in histories]
    curves = (
        Curve.of(Spell(s, t.uncertainty_s or 0.0) for t in times if (s := getattr(t, name)) is not None)
        for name in ("total_s", "queue_s", "run_s")
    )
    return Durations(*curves)


def stored(jobs: list[Job]) -> Durations:
    """What a store tells of tasks whose times the server gave."""
    parts = ([j.total for j in jobs], [j.queue for j in jobs], [j.run for j in jobs])
    return Durations(*(Curve.of(map(Spell, part)) for part in parts))


def jobs_of(n: int, run: Callable[[random.Random], float], queue: float = 0.0, seed: int = 7) -> list[Job]:
    """Some tasks."""
    dice = random.Random(seed)
    return [Job(dice.uniform(0, queue), run(dice)) for _ in range(n)]


def mixed(dice: random.Random) -> float:
    """The runs of the scenarios: about 20 seconds, widely spread."""
    return dice.lognormvariate(2.9, 0.45)


def schedules() -> dict[str, dict[str, Result]]:
    """Requests and lag of each schedule for durations of four sizes, plus or minus 15 %."""
    found: dict[str, dict[str, Result]] = {}
    plain = Api(states=False)
    for seconds in (5, 20, 65, 180):

        def run(dice: random.Random, seconds: float = seconds) -> float:
            return seconds * dice.uniform(0.85, 1.15)

        jobs, before = jobs_of(200, run), jobs_of(200, run, seed=1)
        known = learnt(one_by_one(before, plain, ours(1.0))[1])
        rows: dict[str, tuple[Api, Schedule]] = {
            **{f"every {s:g} s": (plain, fixed(s)) for s in (0.5, 1, 5, 6)},
            "2 s doubling to 30 s": (plain, doubling(2, 30)),
            "ours, nothing known": (plain, ours(1.0)),
            "ours, 200 before": (plain, ours(1.0, known)),
            "ours, progress told": (Api(states=False, progress=True), ours(1.0)),
            "ours, time left told": (Api(states=False, left=True), ours(1.0)),
        }
        for name, (api, schedule) in rows.items():
            found.setdefault(name, {})[f"{seconds} s"] = one_by_one(jobs, api, schedule)[0]
    return found


def scenarios() -> list[tuple[str, Result, tuple[float, float] | None]]:
    """The cases: name, the mean of many runs, and at most how much lag and how many requests will do."""
    jobs = jobs_of(600, mixed, queue=4)
    tripo, left = Api(progress=True), Api(progress=True, left=True)
    batches = [together(jobs[k : k + 60], tripo, 2.0, seed=k) for k in range(0, 600, 60)]
    # What 200 durations teach differs from store to store, by more than the 600 tasks differ: the mean of twenty.
    stores = [stored(jobs_of(200, mixed, queue=4, seed=1000 + n)) for n in range(20)]
    known = [one_by_one(jobs, Api(), ours(5.0, store), seed=n)[0] for n, store in enumerate(stores)]

    def narrow(dice: random.Random) -> float:
        return 65 * dice.uniform(0.85, 1.15)

    exact = jobs_of(200, narrow, seed=1)
    seen = one_by_one(exact, Api(states=False), ours(1.0))[1]
    own: Durations = NOTHING_KNOWN
    for n in range(4):
        own = learnt(one_by_one(jobs_of(200, mixed, queue=4, seed=n), Api(), ours(5.0, own))[1])
    return [
        ("tripo, 60 tasks, batch looks", mean(batches), (1.2, 1)),
        ("tripo, progress, one by one", one_by_one(jobs, tripo, ours(2.0))[0], (1.5, 6.5)),
        ("tripo, time left, one by one", one_by_one(jobs, left, ours(2.0))[0], (1.0, 5)),
        ("ailab, 200 before, floor 5 s", mean(known), (3.3, 3.7)),
        ("the same, our own looks' fourth", one_by_one(jobs, Api(), ours(5.0, own))[0], None),
        (
            "65 s +-15 %, known, floor 1 s",
            one_by_one(jobs_of(600, narrow), Api(states=False), ours(1.0, stored(exact)))[0],
            (1.1, 7),
        ),
        (
            "the same, from our own looks",
            one_by_one(jobs_of(600, narrow), Api(states=False), ours(1.0, learnt(seen)))[0],
            None,
        ),
    ]


def main() -> int:
    """Measure and print; 1 when a target is not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    chosen = parser.parse_args()
    table, cases = schedules(), scenarios()
    print("requests per task / mean lag / p95 of the lag, in seconds; floor of ours 1 s")
    print(f"{'schedule':<22}" + "".join(f"{name:>22}" for name in next(iter(table.values()))))
    for name, row in table.items():
        print(f"{name:<22}" + "".join(f"{r.requests:>8.1f} /{r.lag:>5.2f} /{r.p95:>5.1f}" for r in row.values()))
    print(f"\n{'case':<32}{'requests':>9}{'lag':>7}{'p95':>7}")
    targets = []
    for name, r, most in cases:
        print(f"{name:<32}{r.requests:>9.2f}{r.lag:>7.2f}{r.p95:>7.2f}")
        if most is not None:
            targets.append(at_most(f"{name}: lag", r.lag, most[0], " s"))
            targets.append(at_most(f"{name}: requests per task", r.requests, most[1]))
    figures = {
        "schedules": {n: {d: vars(r) for d, r in row.items()} for n, row in table.items()},
        "cases": {name: vars(r) for name, r, _ in cases},
    }
    return judged(targets, figures, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
