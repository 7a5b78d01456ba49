"""An API that cannot be reached for ten minutes while many tasks are watched: by a quicker clock, and in real time."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from support.chaos.watching import scaled, uncaught
from support.mill import DONE, WORKING, Mill, provider
from support.raw_server import Conn
from support.waiting import until

import nbhelper as nbh
from nbhelper.testing import Fault


@dataclass
class Figures:
    """Results of one outage.

    Attributes:
        tasks: How many were watched.
        first: Requests in the first two minutes.
        later: Requests a minute in the eight minutes after them.
        pending: Tasks that had no end when the API returned.
        back: Minutes from the API's return until the last task was over.
        outcomes: How the tasks ended.
        faults: What must not happen and did, in words.
    """

    tasks: int = 0
    first: int = 0
    later: float = 0.0
    pending: int = 0
    back: float = 0.0
    outcomes: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


class _Away(Mill):
    """A mill that resets every connection while `away` is set."""

    away = False

    def __init__(self) -> None:
        self.at: list[float] = []
        super().__init__()

    async def _play(self, conn: Conn) -> None:
        if self.away:
            self.at.append(time.monotonic())
            await conn.reset()
            return
        await super()._play(conn)


def run(tasks: int = 200, *, minute: float = 1.0) -> Figures:
    """Watch tasks through an outage of ten minutes, of `minute` seconds each."""
    figures = Figures(tasks)
    with scaled(60 / minute), uncaught() as errors:
        mill = _Away()
        nbh.register(provider(mill.root, "away", looks_per_second=500, key_variable="MILL_API_KEY"))
        for n in range(tasks):
            mill.job(WORKING, ident=f"o{n}")
        watch = nbh.watch([f"away:o{n}" for n in range(tasks)], block=False, display=False, interval=0.2)
        until(lambda: all(len(mill.looks.get(f"o{n}", ())) for n in range(tasks)), 60)
        mill.away = True
        mill.server._loop.call_soon_threadsafe(_hang_up, mill)
        gone = time.monotonic()
        until(lambda: mill.at, 60)
        for n in range(tasks):
            mill.jobs[f"o{n}"][:] = [DONE]
        until(lambda: time.monotonic() - gone > 10 * minute, 11 * minute)
        figures.pending = sum(history.outcome is None for history in watch)
        mill.away, back = False, time.monotonic()
        histories = watch.result(120)
        figures.back = (time.monotonic() - back) / minute
        figures.first = sum(at - gone < 2 * minute for at in mill.at)
        figures.later = sum(2 * minute <= at - gone for at in mill.at) / 8
        figures.outcomes = {str(h.outcome) for h in histories}
        mill.close()
    figures.faults += [*errors, *map(repr, mill.server.faults)]
    return figures


def _hang_up(mill: Mill) -> None:
    """Cut every open connection of the mill; runs in its server's loop."""
    for task in mill.server._open.values():
        task.cancel()


# In real time

FIRST = 3
"""Minutes at the start of an outage in which probes may be less than a minute apart."""


def _created(n: int, seconds: int) -> list[nbh.Task]:
    """Create `n` tasks of `seconds` each."""
    body = {"model": "google/nano-banana", "input": {"prompt": f"owl emu:real-seconds={seconds}"}}
    return [nbh.submit("kie", body) for _ in range(n)]


def in_real_time(minutes: int, n_tasks: int) -> dict[str, Any]:
    """Reset every connection to the emulator, its request unread, for so many real minutes; figures by name.

    Half of the tasks still run when the network goes, and half have ended, with their files still to be fetched. The
    API and the host of the files count as two, although here they are one server.
    """
    with nbh.Emulator(speed=1, faults=(Fault("reset", on="file"),)) as emulator:
        done = nbh.watch(_created(n_tasks // 2, 1), display=False, block=False)
        while any(history.facts.final_at is None for history in done):
            time.sleep(0.1)
        running = nbh.watch(_created(n_tasks - n_tasks // 2, 90), display=False, block=False)
        while any(history.facts.polls == 0 for history in running):
            time.sleep(0.1)
        creates, earlier = len(emulator.ledger().creates), len(emulator.ledger().faults)
        gone, cpu = time.monotonic(), time.process_time()
        emulator.fail(Fault("reset", on="any"))
        time.sleep(minutes * 60)
        cpu = time.process_time() - cpu
        struck = emulator.ledger().faults[earlier:]
        emulator.fail()
        back = time.monotonic()
        histories = [*done.result(900), *running.result(900)]
        ended, ledger = time.monotonic(), emulator.ledger()

    at = {on: [(f.at - struck[0].at).total_seconds() for f in struck if f.on == on] for on in ("look", "file")}
    by_minute = {on: Counter(int(seconds // 60) for seconds in times) for on, times in at.items()}
    late = {on: [seconds for seconds in times if seconds > FIRST * 60] for on, times in at.items()}
    return {
        **{f"{on}s_by_minute": [by[minute] for minute in range(minutes)] for on, by in by_minute.items()},
        **{
            f"least_gap_of_{on}s": min((b - a for a, b in pairwise(times)), default=math.inf)
            for on, times in late.items()
        },
        "seconds_to_the_last_end": ended - back,
        "outcomes": dict(Counter(str(history.outcome) for history in histories)),
        "saved": sum(bool(history.files) for history in histories),
        "creates": len(ledger.creates) - creates,
        "cores": cpu / (back - gone),
    }
