"""How fast looks are and what they cost: `python tests/benchmarks/speed.py [PART ...] [--quick] [--json FILE]`.

Each measurement runs in a process of its own, its server in another; the store is part of it. Absolute figures differ
by machine, so a bare httpx loop with as many connections is measured beside single looks.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import io
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from _lib.frame import Target, apart, at_least, at_most, none, run
from _lib.servers import Bare, Emulated

CONNECTIONS = 20
NAMES = ("ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie")


@contextmanager
def watching(
    tasks: int, server: Bare, interval: float | None = None, *, save: bool = False, **provider: Any
) -> Iterator[Any]:
    """Watch tasks at the bare server with a store of its own; stopped in the end.

    Args:
        tasks: How many.
        server: Where.
        interval: Seconds between looks at a task, in place of the pace.
        save: Whether files are saved.
        provider: What differs from Tripo.
    """
    import nbhelper as nbh
    from nbhelper._providers import get

    with tempfile.TemporaryDirectory() as folder:
        nbh.set_store(folder)
        nbh.register(replace(get("tripo"), name="mill", base_url=f"{server.about['root']}/v2/openapi", **provider))
        nbh.connect("mill", api_key="k" * 24)
        watched = [nbh.Task("mill", f"task-{n:08}") for n in range(tasks)]
        watch = nbh.watch(watched, interval=interval, save=save, display=False, block=False, preview=False)
        try:
            yield watch
        finally:
            watch.stop()
            watch.result(60)


FREE = {"key_starts": (), "floor": 0.1, "looks_per_second": 1e6}
"""A provider whose floor and rate do not limit anything; only the gate's number of requests in flight does."""


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until the condition holds, looking ten times a second; raise after `seconds`."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"not so after {seconds:g} s"
        time.sleep(0.1)


def polls(watch: Any) -> float:
    """Looks at a task so far, on average."""
    return statistics.fmean(history.facts.polls for history in watch)


# Looks a second


@dataclass(frozen=True)
class Rate:
    """Looks a second, by the server's count."""

    per_second: float
    per_cpu_second: float


def rate(server: Bare, seconds: float) -> Rate:
    """The rate of this process over the next `seconds`."""
    before, cpu, begun = server.ask("looks"), time.process_time(), time.perf_counter()
    time.sleep(seconds)
    looks, cpu, spent = server.ask("looks") - before, time.process_time() - cpu, time.perf_counter() - begun
    return Rate(looks / spent, looks / cpu)


def bare_rate(late: float, seconds: float) -> Rate:
    """A loop of httpx that asks and parses, and does nothing else."""
    import httpx

    async def ask(client: httpx.AsyncClient, url: str) -> None:
        while True:
            json.loads((await client.get(url, headers={"authorization": "Bearer x"})).content)

    async def main(server: Bare) -> Rate:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=None) as client:
            url = f"{server.about['root']}/v2/openapi/task/abc"
            asking = [asyncio.create_task(ask(client, url)) for _ in range(CONNECTIONS)]
            await asyncio.sleep(1)
            result = await asyncio.to_thread(rate, server, seconds)
            for one in asking:
                one.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            return result

    with Bare(late=late) as server:
        return asyncio.run(main(server))


def watched_rate(tasks: int, late: float, seconds: float, *, together: bool) -> Rate:
    """Watched tasks: request, reading, history, pace and store; each look finds other progress."""
    single = {} if together else {"batch": None}
    with Bare(late=late) as server, watching(tasks, server, 0.1, **FREE, **single) as watch:
        until(lambda: all(history.facts.polls for history in watch), 60)  # to begin is another cost than to look
        time.sleep(1)
        return rate(server, seconds)


def single(*, quick: bool) -> Iterator[Target]:
    """One request for each look."""
    tasks, seconds = (100, 2) if quick else (400, 10)
    for name, late, goal in (("replies at once", 0.0, 250), ("replies 0.2 s late", 0.2, 90)):
        bare = apart(bare_rate, late, seconds)
        ours = apart(watched_rate, tasks, late, seconds, together=False)
        beside = f", {ours.per_cpu_second:.0f} a CPU-second; a bare httpx loop {bare.per_second:.0f}"
        beside += f" and {bare.per_cpu_second:.0f}"
        yield at_least(f"single looks, {name}", ours.per_second, goal, " a second", beside=beside)


def batches(*, quick: bool) -> Iterator[Target]:
    """Up to a hundred looks in a request."""
    result = apart(watched_rate, 300 if quick else 1500, 0.0, 2 if quick else 10, together=True)
    yield at_least("task looks in batches, store included", result.per_second, 2000, " a second")


# Memory


def rss() -> int:
    """Bytes that this process holds, without what is free to be given back."""
    import psutil

    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def running_sizes(tasks: int, interval: float, looks: tuple[int, ...]) -> list[float]:
    """Bytes that a running task holds after so many looks at each, `interval` seconds apart."""
    with Bare() as server:
        with watching(50, server, 0.1, **FREE) as watch:  # what is loaded once is not counted
            until(lambda: polls(watch) >= 8, 60)
        base, sizes = rss(), []
        with watching(tasks, server, interval, **FREE) as watch:
            for number in looks:
                until(lambda number=number: polls(watch) >= number, 900)
                sizes.append((rss() - base) / tasks)
    return sizes


def finished_size(tasks: int) -> float:
    """Bytes that a finished task leaves in the process when nobody holds its watch any more."""
    import nbhelper as nbh

    sizes = []
    with Bare() as server:
        server.ask("finish")
        with watching(1, server, key_starts=(), floor=0.1) as watch:
            watch.result(60)
            for begin in range(0, tasks + 1000, 1000):
                watched = [nbh.Task("mill", f"other-{n:08}") for n in range(begin, begin + 1000)]
                nbh.watch(watched, save=False, display=False, block=True, preview=False)
                sizes.append(rss())
    return (sizes[-1] - sizes[0]) / tasks


def memory(*, quick: bool) -> Iterator[Target]:
    """Of running tasks early and late, and of finished ones."""
    tasks = 500 if quick else 2000  # so many that buffers, such as SQLite's 2 MB, do not count
    yield at_most("a running task after 8 looks", apart(running_sizes, tasks, tasks / 400, (8,))[0] / 1000, 8, " kB")
    few, many = 8, 60 if quick else 1000
    early, late = apart(running_sizes, 500, 0.4, (few, many))
    yield at_most(f"growth from {few} to {many} looks", (late - early) / 1000, 1, " kB")
    yield at_most("a finished task", apart(finished_size, 2000 if quick else 10_000) / 1000, 0.5, " kB")


# Downloads


def download_waits(tasks: int) -> list[float]:
    """Seconds from the look that saw a success to the request for its file, for tasks that end together."""
    with Bare() as server, watching(tasks, server, save=True, key_starts=(), floor=0.1) as watch:
        until(lambda: all(history.facts.polls for history in watch), 60)
        server.ask("finish")
        watch.result(120)
        assert len(watch.files) == tasks
        times = sorted(server.ask("files"))
        seen = sorted(at.timestamp() for history in watch if (at := history.facts.final_at) is not None)
        return [a - b for a, b in zip(times, seen, strict=True)]


def downloads(*, quick: bool) -> Iterator[Target]:
    """Files of 2 MB that are ready at once; the median of some runs."""
    last = [sorted(apart(download_waits, 50))[math.ceil(0.99 * 50) - 1] for _ in range(1 if quick else 5)]
    yield at_most("50 files that are ready at once: asked for within (99 %)", statistics.median(last), 0.5, " s")


# All APIs at once


def many_tasks(tasks: int) -> dict[str, Any]:
    """Tasks over all APIs, watched and saved: what they cost, and how they differ from the server's record."""
    from PIL import Image

    import nbhelper as nbh
    from nbhelper._providers import get

    picture, dice = io.BytesIO(), random.Random(5)
    Image.new("RGB", (64, 64), "teal").save(picture, "JPEG")

    def create(n: int) -> Any:
        words = f"BuzzCut emu:real-seconds={dice.uniform(5, 40):.1f}"
        name, body, endpoint = (
            ("ailab", {"image": picture.getvalue(), "hair_style": words}, "hairstyle-pro"),
            ("gptge", {"model": "MiniMax-Hailuo-02", "prompt": words}, "hailuo"),
            ("tripo", {"type": "text_to_model", "prompt": words}, None),
            ("tripo-v3", {"model": "v2.5-20250123", "prompt": words}, "text-to-model"),
            ("aigptimage", {"model": "gpt-image-2-text-to-image", "input": {"prompt": words}}, None),
            ("kie", {"model": "google/nano-banana", "input": {"prompt": words}}, None),
        )[n % 6]
        return nbh.submit(name, body, endpoint=endpoint)

    with Emulated(speed=10, even=False) as served, tempfile.TemporaryDirectory() as folder:
        nbh.set_store(folder)
        for name in NAMES:
            nbh.connect(name, api_key=served.about["key"][name], base_url=served.about["url"][name])
        with ThreadPoolExecutor(12) as pool:
            made = list(pool.map(create, range(tasks)))
        cpu, begun = time.process_time(), time.perf_counter()
        watch = nbh.watch(made, display=False, block=False, preview=False)
        histories = watch.result(600)
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
        record = {(task["provider"], task["id"]): task for task in served.ask("ledger")}
    gaps = dict.fromkeys(NAMES, math.inf)
    for task in record.values():
        least = min((b - a for (a, _), (b, _) in pairwise(task["polls"])), default=math.inf)
        gaps[task["provider"]] = min(gaps[task["provider"]], least)
    return {
        "seconds": seconds,
        "cores": cpu / seconds,
        "outcomes": dict(Counter(str(history.outcome) for history in histories)),
        "other": [
            str(history.task)
            for history in histories
            if sorted(save.sha256 for save in history.saves.values())
            != record[history.task.provider, history.task.id]["sha256"]
        ],
        "below": [f"{name}: {gap:.3f} s" for name, gap in gaps.items() if gap < get(name).floor],
        "above": min(gap - get(name).floor for name, gap in gaps.items()),
    }


def many(*, quick: bool) -> Iterator[Target]:
    """Every file whole, every floor kept, little of a core used."""
    tasks = 60 if quick else 480
    figures = apart(many_tasks, tasks)
    print(f"{tasks} tasks over {len(NAMES)} APIs, watched for {figures['seconds']:.0f} s: {figures['outcomes']}")
    fact = "tasks over all APIs"
    yield at_least(f"{fact}: seen to succeed", figures["outcomes"].get("succeeded", 0), tasks)
    yield none(f"{fact}: with other bytes than were served", figures["other"])
    yield none(
        f"{fact}: APIs looked at below their floor", figures["below"], of=f", the least {figures['above']:.3f} s above"
    )
    yield at_most(f"{fact}: watching and saving", figures["cores"], 1, " core")


# Import


def seconds_of(code: str) -> float:
    """Wall-clock time of a new interpreter that runs the code."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begun


def imports(*, quick: bool) -> Iterator[Target]:
    """Seconds of `import nbhelper` over a bare interpreter, both in turn; the quickest of each, without other load."""
    seconds_of("import nbhelper")  # byte code is written, files are cached
    pairs = [(seconds_of("pass"), seconds_of("import nbhelper")) for _ in range(3 if quick else 15)]
    bare, full = (min(column) * 1000 for column in zip(*pairs, strict=True))
    yield at_most("import nbhelper, over a bare interpreter", full - bare, 50, " ms", beside=f" over {bare:.0f} ms")


PARTS = {
    "single": single, "batches": batches, "memory": memory, "downloads": downloads, "many": many, "import": imports,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(run(__doc__, PARTS))
