"""What one drawing of a card costs, and how large it is: `python tests/benchmarks/card.py`."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2]))

import nbhelper as nbh
from nbhelper._card import card, live_below, live_body
from nbhelper._painter import Painter
from nbhelper._preview import Thumbnail
from nbhelper.types import Miss, MissKind, Output, Saved, Snapshot, State, TaskError

NOW = datetime.now(UTC)
PICTURE = Thumbnail("image/jpeg", bytes(15_000), 384, 384, (1024, 1024))


class Watched:
    """As much of a watch as a drawing looks at."""

    folder = Path("nbhelper-data").absolute()
    emulated = False
    next_look = 3.0
    elsewhere = frozenset()
    notes = ()

    def __init__(self, n: int) -> None:
        self.histories = [history(i) for i in range(n)]

    def costs(self, histories):
        """As a watch without a store."""
        return nbh.Watch.costs(SimpleNamespace(_store=None), histories)


def history(i: int) -> nbh.History:
    """A task in one of five conditions, with twenty looks behind it."""
    task = nbh.Task("kie", f"{i:032x}", params={"input": {"prompt": f"an owl of carved wood, number {i}"}})
    made = nbh.History(task, uid=f"{i:020}")
    for k in range(20):
        seen = Snapshot(state=State.RUNNING, word="running", progress=k / 20)
        made = made.add(seen, NOW - timedelta(seconds=60 - 2 * k))
    if i % 5 == 1:
        made = made.add(Miss(kind=MissKind.SERVER, status=502, message="bad gateway"), NOW)
    elif i % 5 == 2:
        made = made.add(Snapshot(state=State.FAILED, word="fail", error=TaskError("400", "content policy")), NOW)
    elif i % 5 > 2:
        out = Output(name="resultUrls[0]", url="https://x.example/a.png", kind="image")
        made = made.add(Snapshot(state=State.SUCCEEDED, word="success", outputs=(out,), credits=4), NOW)
        file = f"{Watched.folder}/results/kie/{i}/a.png"
        made = made.add(Saved(name=out.name, file=file, kind="image", n_bytes=900_000), NOW)
    return made


def cost(call: Callable[[], str]) -> tuple[float, int]:
    """Median milliseconds, and the size of what was drawn."""
    times = []
    for _ in range(15):
        begun = time.perf_counter()
        text = call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000, len(text)


def main() -> None:
    """Print a line for each size and drawing."""
    print(f"{'tasks':>6} {'drawing':<12} {'ms':>8} {'kB':>8}")
    for n in (1, 20, 100, 1000):
        watched, painter = Watched(n), Painter(384)
        for one in watched.histories:
            painter.thumbnails |= dict.fromkeys(one.files, PICTURE)
        painter.ask_costs(watched, painter.find_unpriced(watched))
        histories = watched.histories
        drawings = {
            "live body": lambda w=watched, p=painter, h=histories: live_body(h, p.scene(w, h, live=True)),
            "live below": lambda w=watched, p=painter, h=histories: live_below(h, p.scene(w, h, live=True)),
            "frozen": lambda w=watched, p=painter, h=histories: card(h, p.scene(w, h, live=False)),
        }
        for name, call in drawings.items():
            ms, size = cost(call)
            print(f"{n:>6} {name:<12} {ms:>8.2f} {size / 1000:>8.1f}")


if __name__ == "__main__":
    main()
