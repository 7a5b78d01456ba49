"""The card in a real kernel: `python tests/benchmarks/notebook.py`.

Prints what a front end receives, what drawing costs the kernel, how large a saved notebook becomes, and what a
thumbnail in the worker costs beside the same work in process. Each figure stands beside what it is meant to reach;
ratios and medians are of one run, so that a busy machine moves both sides.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "notebook")]

import nbformat  # noqa: E402
from kernels import SETUP, Kernel, of, variables  # noqa: E402
from nbclient import NotebookClient  # noqa: E402
from PIL import Image  # noqa: E402
from support.mill import DONE, Mill  # noqa: E402
from support.raw_server import reply  # noqa: E402

from nbhelper._preview import SIDE, Previewer, Thumbnail  # noqa: E402

SECONDS = 10.0
"""How long messages are counted."""
COUNT = """
import threading
from nbhelper import _live_card
drawing, draw = [0, 0.0], _live_card.LiveCard._draw
def counted(*a):
    begun = time.thread_time()
    draw(*a)
    drawing[0] += 1
    drawing[1] += time.thread_time() - begun
_live_card.LiveCard._draw = counted
"""
"""Counts the drawings in a kernel, and the processor's seconds that they take."""


def busy(mill: Mill, n: int) -> list[str]:
    """Running tasks whose progress changes with each look."""
    answers = [{"state": "working", "percent": p, "left": 100 - p} for p in range(100)]
    return [mill.job(*answers, ident=f"busy-{n}-{i}") for i in range(n)]


def watching(kernel: Kernel, refs: list[str]) -> tuple[float, float, float, float]:
    """Messages and bytes a second, drawings a second, and the share of a core spent on drawing."""
    kernel.run(f"w = nbh.watch({refs!r})", cell=f"cell-{len(refs)}")
    kernel.run("drawing[:] = 0, 0.0; begun = time.monotonic()")
    begun, messages, n_bytes = time.monotonic(), 0, 0
    while (left := SECONDS - (time.monotonic() - begun)) > 0:
        message = kernel.next(left)
        if message is not None and of([message], "comm_msg", "display_data", "update_display_data"):
            messages += 1
            n_bytes += len(json.dumps(message["content"])) + sum(map(len, message["buffers"]))
    told = json.loads(kernel.value("print([drawing[0], drawing[1], time.monotonic() - begun])"))
    kernel.run("w.stop(); w.result(60);", seconds=90)
    return messages / SECONDS, n_bytes / SECONDS, told[0] / told[2], told[1] / told[2]


def photo(size: int, seed: int = 0) -> Image.Image:
    """Light, edges and grain, as photos have them."""
    shade = Image.radial_gradient("L").resize((size, size))
    grain = Image.effect_noise((size, size), 24)
    bands = [Image.blend(band, grain, 0.35) for band in (shade, shade.rotate(90 + seed), shade.rotate(200))]
    return Image.merge("RGB", bands)


def encoded(picture: Image.Image, form: str) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, form, quality=92)
    return buffer.getvalue()


def saved(folder: Path, mill: Mill, pictures: list[bytes]) -> int:
    """Bytes of a notebook that watched one task for each picture, run and saved by nbclient."""
    refs = [mill.job({**DONE, "files": [mill.file(reply(data))]}) for data in pictures]
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(c) for c in (SETUP.format(root=mill.root), f"w = nbh.watch({refs!r})")]
    folder.mkdir()
    NotebookClient(book, resources={"metadata": {"path": str(folder)}}).execute(env=variables(folder))
    html = str(book.cells[1].outputs[0]["data"]["text/html"])
    assert html.count("data:image") == len(pictures)
    nbformat.write(book, folder / "book.ipynb")
    return (folder / "book.ipynb").stat().st_size


def in_process(path: Path) -> None:
    """What one would write with Pillow."""
    with Image.open(path) as opened:
        opened.draft("RGB", (SIDE, SIDE))
        opened.thumbnail((SIDE, SIDE))
        opened.save(io.BytesIO(), "JPEG")


def thumbnails(folder: Path) -> tuple[float, float]:
    """Median seconds of one thumbnail in the warm worker and in process, taken in turn."""
    path = folder / "large.jpg"
    path.write_bytes(encoded(photo(4096), "JPEG"))
    worker = Previewer()
    assert isinstance(worker.thumbnail(path), Thumbnail)
    in_process(path)

    def spent(call: Callable[[Path], object]) -> float:
        begun = time.perf_counter()
        call(path)
        return time.perf_counter() - begun

    pairs = [(spent(worker.thumbnail), spent(in_process)) for _ in range(15)]
    worker.close()
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def line(what: str, found: str, meant: str) -> None:
    """One row of the table."""
    print(f"{what:<62} {found:>12}   {meant}", flush=True)


def main() -> None:
    """Measure and print."""
    line("", "found", "meant")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, plain = thumbnails(folder)
        line("thumbnail of a 4096 x 4096 JPEG, warm worker, in ms", f"{ours * 1000:.1f}", "")
        line("the same with Pillow in process, in ms", f"{plain * 1000:.1f}", "")
        line("ratio", f"{ours / plain:.2f}", "at most 1.3")
        mill = Mill()
        kernel = Kernel(folder)
        try:
            kernel.run(SETUP.format(root=mill.root) + COUNT)
            for n in (1, 300, 1000):
                messages, n_bytes, drawings, share = watching(kernel, busy(mill, n))
                line(f"{n} running: messages a second", f"{messages:.2f}", "at most 4")
                line(f"{n} running: kB a second", f"{n_bytes / 1000:.1f}", "at most 50")
                line(f"{n} running: drawings a second", f"{drawings:.2f}", "")
                line(f"{n} running: share of a core spent on drawing", f"{share:.2%}", "under 5 %")
        finally:
            kernel.close()
        plates = [encoded(photo(1024, seed), "PNG") for seed in range(24)]
        line(
            "24 grainy photos of 1024 x 1024: kB of the saved notebook",
            f"{saved(folder / 'a', mill, plates) / 1000:.0f}",
            "under 700",
        )
        mill.close()


if __name__ == "__main__":
    main()
