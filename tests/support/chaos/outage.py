"""An API that is away for ten minutes under many tasks, with the clock made quicker."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from support.chaos.watching import scaled, uncaught
from support.mill import DONE, WORKING, Mill, provider
from support.raw_server import Conn
from support.waiting import until

import nbhelper as nbh


@dataclass
class Figures:
    """What the outage came to.

    Attributes:
        tasks: How many were watched.
        first: Requests in the first two minutes.
        later: Requests a minute in the eight minutes behind them.
        pending: Tasks that had no end when it returned.
        back: Minutes from its return until the last task was over.
        outcomes: How the tasks ended.
        faults: What must not be.
    """

    tasks: int = 0
    first: int = 0
    later: float = 0.0
    pending: int = 0
    back: float = 0.0
    outcomes: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


class _Away(Mill):
    """A mill that hangs up on everybody while it is away."""

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
    """Be away for ten minutes of so many seconds each."""
    figures = Figures(tasks)
    with scaled(60 / minute), uncaught() as said:
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
    figures.faults += [*said, *map(repr, mill.server.faults)]
    return figures


def _hang_up(mill: Mill) -> None:
    """Tear off what is connected; runs in the server's loop."""
    for task in mill.server._open.values():
        task.cancel()
