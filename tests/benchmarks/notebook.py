"""What the card costs: `python tests/benchmarks/notebook.py [PART ...] [--quick] [--json FILE]`.

* `thumbnail`: a thumbnail in the warm worker beside the same work in process.
* `messages`: what a front end receives from a real kernel, and what drawing costs that kernel.
* `drawing`: milliseconds and size of one drawing of a card.
* `saved`: the size of a saved notebook with pictures.
* `examples`: seconds of each example notebook, run from top to bottom in an empty folder, the kernel's start included.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
from _lib import ROOT
from _lib.frame import Target, at_most, run
from kernels import SETUP, Kernel, of_type, variables
from nbclient import NotebookClient
from PIL import Image
from support.mill import DONE, Mill
from support.raw_server import reply

import nbhelper as nbh
from nbhelper._views.card import card, live_below, live_body
from nbhelper._views.painter import Painter
from nbhelper._views.preview import SIDE, Previewer, Thumbnail
from nbhelper.types import Miss, MissKind, Output, Saved, Snapshot, State, TaskError


def median_seconds(turns: int, *calls: Callable[[], object]) -> list[float]:
    """The median seconds of each call, the calls taken in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(turns):
        for spent, call in zip(times, calls, strict=True):
            begun = time.perf_counter()
            call()
            spent.append(time.perf_counter() - begun)
    return [statistics.median(spent) for spent in times]


@contextmanager
def mill() -> Iterator[Mill]:
    """A generation API of the tests' own, closed in the end."""
    made = Mill()
    yield made
    made.close()


# Pictures


def photo(size: int, seed: int = 0) -> Image.Image:
    """Light, edges and grain, as photos have them."""
    shade = Image.radial_gradient("L").resize((size, size))
    grain = Image.effect_noise((size, size), 24)
    bands = [Image.blend(band, grain, 0.35) for band in (shade, shade.rotate(90 + seed), shade.rotate(200))]
    return Image.merge("RGB", bands)


def encoded(picture: Image.Image, form: str) -> bytes:
    """The bytes of a picture's file."""
    buffer = io.BytesIO()
    picture.save(buffer, form, quality=92)
    return buffer.getvalue()


def in_process(path: Path) -> None:
    """A thumbnail made by Pillow in this process."""
    with Image.open(path) as opened:
        opened.draft("RGB", (SIDE, SIDE))
        opened.thumbnail((SIDE, SIDE))
        opened.save(io.BytesIO(), "JPEG")


def thumbnail(*, quick: bool) -> Iterator[Target]:
    """Seconds for a thumbnail of a 4096 x 4096 JPEG, against Pillow."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        path.write_bytes(encoded(photo(4096), "JPEG"))
        worker = Previewer()
        assert isinstance(worker.thumbnail(path), Thumbnail)
        in_process(path)
        ours, plain = median_seconds(3 if quick else 15, lambda: worker.thumbnail(path), lambda: in_process(path))
        worker.close()
    beside = f" ({ours * 1000:.0f} ms, Pillow in process {plain * 1000:.0f} ms)"
    yield at_most("a thumbnail in the warm worker against in process", ours / plain, 1.3, " times", beside=beside)


def notebook_size(folder: Path, mill: Mill, pictures: list[bytes]) -> int:
    """Bytes of a notebook that watched one task for each picture, run and saved by nbclient."""
    refs = [mill.job({**DONE, "files": [mill.file(reply(data))]}) for data in pictures]
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(c) for c in (SETUP.format(root=mill.root), f"w = nbh.watch({refs!r})")]
    NotebookClient(book, resources={"metadata": {"path": str(folder)}}).execute(env=variables(folder))
    html = str(book.cells[1].outputs[0]["data"]["text/html"])
    assert html.count("data:image") == len(pictures)
    nbformat.write(book, folder / "book.ipynb")
    return (folder / "book.ipynb").stat().st_size


def saved(*, quick: bool) -> Iterator[Target]:
    """Bytes of a notebook that nbclient ran and saved."""
    number = 6 if quick else 24
    plates = [encoded(photo(1024, seed), "PNG") for seed in range(number)]
    with tempfile.TemporaryDirectory() as folder, mill() as api:
        size = notebook_size(Path(folder), api, plates)
    yield at_most(f"a saved notebook with {number} grainy photos of 1024 x 1024", size / 1000, 700, " kB")


# Messages

COUNT = f"sys.path.append({str(ROOT / 'tests' / 'benchmarks')!r})\nfrom _lib.drawings import drawing"


def busy(api: Mill, n: int) -> list[str]:
    """Running tasks whose progress changes with each look."""
    answers = [{"state": "working", "percent": p, "left": 100 - p} for p in range(100)]
    return [api.job(*answers, ident=f"busy-{n}-{i}") for i in range(n)]


def watching(kernel: Kernel, refs: list[str], seconds: float) -> tuple[float, float, float, float]:
    """Messages and bytes a second, drawings a second, and the share of a core spent on drawing."""
    kernel.run(f"w = nbh.watch({refs!r})", cell=f"cell-{len(refs)}")
    kernel.run("drawing[:] = 0, 0.0; begun = time.monotonic()")
    begun, messages, n_bytes = time.monotonic(), 0, 0
    while (left := seconds - (time.monotonic() - begun)) > 0:
        message = kernel.next(left)
        if message is not None and of_type([message], "comm_msg", "display_data", "update_display_data"):
            messages += 1
            n_bytes += len(json.dumps(message["content"])) + sum(map(len, message["buffers"]))
    drawn, cpu, spent = json.loads(kernel.value("print([drawing[0], drawing[1], time.monotonic() - begun])"))
    kernel.run("w.stop(); w.result(60);", seconds=90)
    return messages / seconds, n_bytes / seconds, drawn / spent, cpu / spent


def messages(*, quick: bool) -> Iterator[Target]:
    """Messages and CPU time of one card with one, many and very many running tasks."""
    with tempfile.TemporaryDirectory() as folder, mill() as api:
        kernel = Kernel(Path(folder))
        try:
            kernel.run(SETUP.format(root=api.root) + COUNT)
            for n in (1, 50) if quick else (1, 300, 1000):
                sent, n_bytes, drawn, share = watching(kernel, busy(api, n), 3 if quick else 10)
                yield at_most(
                    f"{n} running: messages", sent, 4, " a second", beside=f", drawn {drawn:.2f} times a second"
                )
                yield at_most(f"{n} running: to the front end", n_bytes / 1000, 50, " kB a second")
                yield at_most(f"{n} running: drawing", 100 * share, 5, " % of a core")
        finally:
            kernel.close()


# One drawing

NOW = datetime.now(UTC)
PICTURE = Thumbnail("image/jpeg", bytes(15_000), 384, 384, (1024, 1024))


class Watched:
    """The attributes of a watch that a drawing reads."""

    folder = Path("nbhelper-data").absolute()
    emulated = False
    next_look = 3.0
    elsewhere = frozenset()
    notes = ()

    def __init__(self, n: int) -> None:
        self.histories = [history(i) for i in range(n)]

    def costs(self, histories: Any) -> Any:
        """No costs, as for a watch without a store."""
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


def drawing(*, quick: bool) -> Iterator[Target]:
    """Print a line for each size and drawing; none has a goal of its own, see `messages`."""
    print(f"{'tasks':>6} {'drawing':<12} {'ms':>8} {'kB':>8}")
    for n in (1, 20) if quick else (1, 20, 100, 1000):
        watched, painter = Watched(n), Painter(384)
        for one in watched.histories:
            painter.thumbnails |= dict.fromkeys(one.files, PICTURE)
        drawings: dict[str, Callable[[], str]] = {
            "live body": lambda w=watched, p=painter: live_body(w.histories, p.scene(w, w.histories, live=True)),
            "live below": lambda w=watched, p=painter: live_below(w.histories, p.scene(w, w.histories, live=True)),
            "frozen": lambda w=watched, p=painter: card(w.histories, p.scene(w, w.histories, live=False)),
        }
        for name, call in drawings.items():
            (seconds,) = median_seconds(15, call)
            print(f"{n:>6} {name:<12} {seconds * 1000:>8.2f} {len(call()) / 1000:>8.1f}", flush=True)
    yield from ()


# The example notebooks


class Timed(NotebookClient):
    """A client that notes how long each cell takes."""

    def seconds(self) -> tuple[float, dict[str, float]]:
        """Run it all; the whole time, and that of each cell of code by its first line."""
        self.taken: dict[str, float] = {}
        begun = time.monotonic()
        self.execute()
        return time.monotonic() - begun, self.taken

    async def async_execute_cell(self, cell: nbformat.NotebookNode, *args: object, **options: object) -> object:
        begun = time.monotonic()
        done = await super().async_execute_cell(cell, *args, **options)
        self.taken[cell.source.partition("\n")[0]] = time.monotonic() - begun
        return done


def example(path: Path) -> tuple[float, dict[str, float]]:
    """One notebook in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        return Timed(nbformat.read(path, 4), timeout=120, resources={"metadata": {"path": folder}}).seconds()


def examples(*, quick: bool) -> Iterator[Target]:
    """The median of some runs of each, and where the time of the last went."""
    os.environ["PYTHONPATH"] = str(ROOT)
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in paths[:1] if quick else paths:
        runs = [example(path) for _ in range(1 if quick else 3)]
        longest = sorted(runs[-1][1].items(), key=lambda item: -item[1])[:3]
        cells = "; ".join(f"{seconds:.1f} s {line[:40]}" for line, seconds in longest)
        yield at_most(path.stem, statistics.median(seconds for seconds, _ in runs), 15, " s", beside=f"; {cells}")


PARTS = {
    "thumbnail": thumbnail, "messages": messages, "drawing": drawing, "saved": saved, "examples": examples,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(run(__doc__, PARTS))
