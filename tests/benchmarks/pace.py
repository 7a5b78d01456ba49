"""What watching costs an API and how late it sees an end: `python tests/benchmarks/pace.py [PART ...] [--quick]`.

Requests per task, and seconds from a task's end to the look that sees it.

* `clock`: schedules on a virtual clock: the published intervals of others, and the library's pace.
* `live`: 60 tasks at once on the emulator, in real time; the same tasks on the virtual clock beside it.
* `peers`: `live` with the official clients among them; installs them, and runs only when it is named.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

from _lib import clock, live
from _lib.clock import Api, Result, Schedule
from _lib.frame import Target, at_most, run

Case = tuple[str, Result, tuple[float, float] | None]
"""Name, result, and the goals: requests per task, and seconds of lag, both at most."""


def schedules(tasks: int) -> dict[str, dict[str, Result]]:
    """Each schedule for durations of four sizes, plus or minus 15 %."""
    table: dict[str, dict[str, Result]] = {}
    plain = Api(states=False)
    for seconds in (5, 20, 65, 180):

        def duration(dice: random.Random, seconds: float = seconds) -> float:
            return seconds * dice.uniform(0.85, 1.15)

        jobs, before = clock.jobs_of(tasks, duration), clock.jobs_of(200, duration, seed=1)
        known = clock.learnt(clock.one_by_one(before, plain, clock.ours(1.0))[1])
        rows: dict[str, tuple[Api, Schedule]] = {
            **{f"every {s:g} s": (plain, clock.fixed(s)) for s in (0.5, 1, 5, 6)},
            "2 s doubling to 30 s": (plain, clock.doubling(2, 30)),
            "ours, nothing known": (plain, clock.ours(1.0)),
            "ours, 200 before": (plain, clock.ours(1.0, known)),
            "ours, progress told": (Api(states=False, progress=True), clock.ours(1.0)),
            "ours, time left told": (Api(states=False, left=True), clock.ours(1.0)),
        }
        for name, (api, schedule) in rows.items():
            table.setdefault(name, {})[f"{seconds} s"] = clock.one_by_one(jobs, api, schedule)[0]
    return table


def cases(tasks: int, stores: int) -> list[Case]:
    """What APIs tell and stores know, in the combinations that have goals.

    Args:
        tasks: In each case.
        stores: How many different ones the row of known durations is the mean of: what 200 durations teach differs
            from store to store, by more than 600 tasks differ.
    """
    jobs = clock.jobs_of(tasks, clock.mixed, queue=4)
    tripo, left, plain = Api(progress=True), Api(progress=True, left=True), Api(states=False)
    batches = [clock.together(jobs[k : k + 60], tripo, 2.0, seed=k) for k in range(0, tasks, 60)]
    known = [
        clock.one_by_one(jobs, Api(), clock.ours(5.0, clock.stored(live.before(n))), seed=n)[0] for n in range(stores)
    ]

    def narrow(dice: random.Random) -> float:
        return 65 * dice.uniform(0.85, 1.15)

    narrow_jobs, narrow_before = clock.jobs_of(tasks, narrow), clock.jobs_of(200, narrow, seed=1)
    exact = clock.stored(narrow_before)
    seen = clock.learnt(clock.one_by_one(narrow_before, plain, clock.ours(1.0))[1])
    own = clock.NOTHING_KNOWN
    for n in range(4):
        before = clock.jobs_of(200, clock.mixed, queue=4, seed=n)
        own = clock.learnt(clock.one_by_one(before, Api(), clock.ours(5.0, own))[1])
    return [
        ("tripo, 60 tasks, batch looks", clock.mean(batches), (1, 1.2)),
        ("tripo, progress, one by one", clock.one_by_one(jobs, tripo, clock.ours(2.0))[0], (6.5, 1.5)),
        ("tripo, time left, one by one", clock.one_by_one(jobs, left, clock.ours(2.0))[0], (5, 1.0)),
        ("ailab, 200 before, floor 5 s", clock.mean(known), (3.7, 3.3)),
        ("the same, our own looks' fourth", clock.one_by_one(jobs, Api(), clock.ours(5.0, own))[0], None),
        ("65 s +-15 %, known, floor 1 s", clock.one_by_one(narrow_jobs, plain, clock.ours(1.0, exact))[0], (7, 1.1)),
        ("the same, from our own looks", clock.one_by_one(narrow_jobs, plain, clock.ours(1.0, seen))[0], None),
    ]


def goals(name: str, requests: float, lag: float, most_requests: float, most_lag: float) -> Iterator[Target]:
    """The targets of one row."""
    yield at_most(f"{name}: lag", lag, most_lag, " s")
    yield at_most(f"{name}: requests per task", requests, most_requests)


def on_the_clock(*, quick: bool) -> Iterator[Target]:
    """Print both tables; the cases have goals."""
    table = schedules(20 if quick else 200)
    print("requests per task / mean lag / p95 of the lag, in seconds; floor of ours 1 s")
    print(f"{'schedule':<22}" + "".join(f"{name:>22}" for name in next(iter(table.values()))))
    for name, row in table.items():
        print(f"{name:<22}" + "".join(f"{r.requests:>8.1f} /{r.lag:>5.2f} /{r.p95:>5.1f}" for r in row.values()))
    print(f"\n{'case':<32}{'requests':>9}{'lag':>7}{'p95':>7}")
    results = cases(600, 5 if quick else 20)
    for name, r, _ in results:
        print(f"{name:<32}{r.requests:>9.2f}{r.lag:>7.2f}{r.p95:>7.2f}")
    for name, r, most in results:
        if most is not None:
            yield from goals(name, r.requests, r.lag, *most)


def watched(names: list[str], samples: int) -> Iterator[Target]:
    """Print a row for each client; ours have goals."""
    figures = live.measure(names, samples)
    print(f"{live.N} tasks at once, live{'requests':>20}{'lag':>14}{'p95':>7}   on the virtual clock: requests, lag")
    for name, f in figures.items():
        line = f"{name:<30}{f['requests']:>8.2f} ±{f['requests_error']:.2f}{f['lag']:>9.2f} ±{f['lag_error']:.2f}"
        line += f"{f['p95']:>7.2f}"
        if (simulate := SIMULATED.get(name)) is not None:
            on_clock = clock.mean([simulate(n) for n in range(samples if live.CLIENTS[name].known else 1)])
            line += f"{on_clock.requests:>26.2f}{on_clock.lag:>7.2f}"
        print(line, flush=True)
    for name, most in GOALS.items():
        yield from goals(name, figures[name]["requests"], figures[name]["lag"], *most)


SIMULATED = {
    "ours, batch looks": lambda n: clock.together(live.sixty(n), Api(progress=True), 2.0),
    "ours, one by one": lambda n: clock.one_by_one(live.sixty(n), Api(progress=True), clock.ours(2.0))[0],
    "ours, one by one, time left": lambda n: clock.one_by_one(
        live.sixty(n), Api(progress=True, left=True), clock.ours(2.0)
    )[0],
    "ours, ailab, nothing known": lambda n: clock.one_by_one(live.sixty(n), Api(), clock.ours(5.0))[0],
    "ours, ailab, 200 before": lambda n: clock.one_by_one(
        live.sixty(n), Api(), clock.ours(5.0, clock.stored(live.before(n)))
    )[0],
}
"""The same tasks without a network, by row; the argument is the sample's number."""
GOALS = {
    "ours, batch looks": (1.0, 1.2),
    "ours, one by one": (6.5, 1.5),
    "ours, one by one, time left": (5.0, 1.0),
    "ours, ailab, 200 before": (3.7, 3.3),
}
"""Requests per task, and seconds of lag, both at most."""


def ours_live(*, quick: bool) -> Iterator[Target]:
    """The library alone."""
    yield from watched([name for name, client in live.CLIENTS.items() if client.own], 1 if quick else 4)


def peers_live(*, quick: bool) -> Iterator[Target]:
    """The library and the official clients."""
    yield from watched(list(live.CLIENTS), 1 if quick else 4)


PARTS = {"clock": on_the_clock, "live": ours_live, "peers": peers_live}

if __name__ == "__main__":
    sys.exit(run(__doc__, PARTS, on_request=["peers"]))
