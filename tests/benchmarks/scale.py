"""How far one core goes: `python tests/benchmarks/scale.py [--json FILE] [--only PART]`; about five minutes for all.

Each part runs in a process of its own, servers in another. Ratios are of one run: absolute figures differ by machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import peers
from servers import Bare, Emulated
from targets import Target, at_least, at_most, judged

WARM, SPAN = 3.0, 8.0
"""Seconds before, and of, each measurement of a rate."""


# The best bare loop of a transport


def bare(library: str, pools: int, width: int) -> dict[str, float]:
    """Looks per second of a loop that asks and parses, and does nothing else."""
    with Bare() as server:
        return asyncio.run(_bare(server, library, pools, width))


async def _bare(server: Bare, library: str, pools: int, width: int) -> dict[str, float]:
    url, clients = f"{server.about['root']}/v2/openapi/task/abc", []
    if library == "aiohttp":
        import aiohttp

        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=pools * width))

        async def ask(_: int) -> bytes:
            async with session.get(url, headers={"authorization": "Bearer x"}) as reply:
                return await reply.read()
    else:
        lib = __import__(library)
        limits = lib.Limits(max_connections=width, max_keepalive_connections=width)
        clients = [lib.AsyncClient(limits=limits, trust_env=False, timeout=None) for _ in range(pools)]

        async def ask(n: int) -> bytes:
            reply = await clients[n % pools].get(url, headers={"authorization": "Bearer x"})
            content: bytes = reply.content
            return content

    async def work(n: int) -> None:
        while True:
            json.loads(await ask(n))

    workers = [asyncio.create_task(work(n)) for n in range(pools * width)]
    await asyncio.sleep(1)
    found = await _rate(server)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    if library == "aiohttp":
        await session.close()
    for client in clients:
        await client.aclose()
    return found


async def _rate(server: Bare) -> dict[str, float]:
    before, cpu, begun = server.ask("looks"), time.process_time(), time.perf_counter()
    await asyncio.sleep(SPAN)
    looks, cpu, spent = server.ask("looks") - before, time.process_time() - cpu, time.perf_counter() - begun
    return {"per_second": looks / spent, "per_cpu_second": looks / cpu, "cores": cpu / spent}


# The whole engine


def engine(
    library: str,
    tasks: int,
    *,
    together: bool,
    still: bool = False,
    interval: float = 0.1,
    keep: Callable[[Any], None] | None = None,
) -> dict[str, float]:
    """Looks per second of watched tasks: request, reading, history, pace, store, and whoever listens.

    Each look finds the progress changed, but for `still`.
    """
    os.environ["NBHELPER_HTTP"] = library
    import nbhelper as nbh
    from nbhelper._providers import get

    with Bare() as server, tempfile.TemporaryDirectory() as folder:
        nbh.set_store(folder)
        tripo = get("tripo")
        root = server.about["root"] + "/v2/openapi"
        batch = tripo.batch if together else None
        spec = replace(tripo, name="mill", base_url=root, key_starts=(), floor=0.1, looks_per_second=1e6, batch=batch)
        nbh.register(spec)
        nbh.connect("mill", api_key="k" * 24)
        if still:
            server.ask("still")
        watched = [nbh.Task("mill", f"task-{n:08}") for n in range(tasks)]
        watch = nbh.watch(watched, interval=interval, save=False, display=False, block=False, preview=False)
        ends = time.monotonic() + 60
        while time.monotonic() < ends and any(h.facts.polls == 0 for h in watch):
            time.sleep(0.2)  # beginning to watch is another cost than looking
        time.sleep(WARM)
        found = asyncio.run(_rate(server))
        if keep is not None:
            keep(watch)
        watch.stop()
        watch.result(60)
        return found


def profile(library: str, tasks: int, *, together: bool) -> None:
    """Where the engine's thread spends its time, by function."""
    import cProfile
    import pstats

    from nbhelper import _engine

    profiler, serve = cProfile.Profile(), _engine.Engine._serve

    def profiled(self: Any) -> None:
        profiler.runcall(serve, self)

    _engine.Engine._serve = profiled  # type: ignore[method-assign]
    found = engine(library, tasks, together=together)
    _engine.engine().close()
    print(found)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


# Memory


def memory(tasks: int = 5000) -> dict[str, float]:
    """What a running task adds after ten looks with a progress that changes, and what a dropped watch leaves behind."""
    import gc

    import psutil

    found: dict[str, float] = {}

    def rss() -> int:
        gc.collect()
        return psutil.Process().memory_info().rss

    def keep(watch: Any) -> None:
        ends = time.monotonic() + 60
        while time.monotonic() < ends and statistics.fmean(h.facts.polls for h in watch) < 10:
            time.sleep(0.5)
        found["looks"] = statistics.fmean(h.facts.polls for h in watch)
        found["kB_per_task"] = (rss() - base) / 1000 / tasks

    engine("httpx", 50, together=True)  # what is loaded once is not counted
    base = rss()
    engine("httpx", tasks, together=True, interval=1.0, keep=keep)
    found["left_kB_per_task"] = (rss() - base) / 1000 / tasks
    return found


def finished(tasks: int = 10_000) -> dict[str, float]:
    """What finished tasks leave in the kernel when nobody holds their watch any more."""
    import gc

    import psutil

    import nbhelper as nbh
    from nbhelper._providers import get

    def rss() -> int:
        gc.collect()
        return psutil.Process().memory_info().rss

    with Bare() as server, tempfile.TemporaryDirectory() as folder:
        nbh.set_store(folder)
        server.ask("finish")
        nbh.register(replace(get("tripo"), name="mill", base_url=server.about["root"] + "/v2/openapi", key_starts=()))
        nbh.connect("mill", api_key="k" * 24)
        sizes = []
        for begin in range(0, tasks + 1000, 1000):
            watched = [nbh.Task("mill", f"task-{n:08}") for n in range(begin, begin + 1000)]
            nbh.watch(watched, save=False, display=False, block=True, preview=False)
            sizes.append(rss())
    return {"kB_per_history": (sizes[-1] - sizes[0]) / 1000 / tasks, "histories": float(tasks)}


# All APIs at once


def fleet(tasks: int = 5000, speed: float = 10.0) -> dict[str, float]:
    """Thousands of tasks over all APIs that take one to ten minutes, the emulator ten times as fast: about 80 s.

    A hundred short ones come first: what is loaded, or connected to, once is not counted as memory of a task.
    """
    import io
    import random
    from concurrent.futures import ThreadPoolExecutor

    import psutil
    from PIL import Image

    import nbhelper as nbh
    from nbhelper._providers import get

    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "JPEG")
    dice = random.Random(5)

    def create(n: int, seconds: float | None = None) -> nbh.Task:
        seconds, queue = seconds or dice.uniform(60, 540), dice.uniform(0, 60)
        words = f"BuzzCut emu:seconds={seconds:.0f} emu:queue={queue:.0f}"
        name, body, endpoint = (
            ("ailab", {"image": picture.getvalue(), "hair_style": words}, "hairstyle-pro"),
            ("gptge", {"model": "MiniMax-Hailuo-02", "prompt": words}, "hailuo"),
            ("tripo", {"type": "text_to_model", "prompt": words}, None),
            ("tripo-v3", {"model": "v2.5-20250123", "prompt": words}, "text-to-model"),
            ("aigptimage", {"model": "gpt-image-2-text-to-image", "input": {"prompt": words}}, None),
            ("kie", {"model": "google/nano-banana", "input": {"prompt": words}}, None),
        )[n % 6]
        return nbh.submit(name, body, endpoint=endpoint)

    with Emulated(speed=speed, even=False) as served, tempfile.TemporaryDirectory() as folder:
        nbh.set_store(folder)
        names = ("ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie")
        for name in names:
            nbh.connect(name, api_key=served.about["key"][name], base_url=served.about["url"][name])
        with ThreadPoolExecutor(16) as pool:
            warm = [create(n, 10) for n in range(102)]
            nbh.watch(warm, save=False, display=False, block=True, preview=False)
            made = list(pool.map(create, range(tasks)))
        base, peak = psutil.Process().memory_info().rss, 0
        cpu, begun = time.process_time(), time.perf_counter()
        watch = nbh.watch(made, save=False, display=False, block=False, preview=False)
        while not watch.done and time.perf_counter() - begun < 300:
            time.sleep(0.5)
            peak = max(peak, psutil.Process().memory_info().rss)
        cpu, spent = time.process_time() - cpu, time.perf_counter() - begun
        told = served.ask("ledger")
    gaps: dict[str, float] = {}
    lags = []
    for task in told:
        polls = [at for at, _ in task["polls"]]
        for a, b in pairwise(polls):
            gaps[task["provider"]] = min(gaps.get(task["provider"], 99.0), b - a)
        seen = [at for at in polls if task["finished"] and at >= task["finished"]]
        lags += [seen[0] - task["finished"]] if seen else []
    return {
        "tasks": tasks,
        "succeeded": sum(h.succeeded for h in watch),
        "seconds": spent,
        "cores": cpu / spent,
        "peak_kB_per_task": (peak - base) / 1000 / tasks,
        "looks_per_task": statistics.fmean(h.facts.polls for h in watch),
        "lag": statistics.fmean(lags),
        "least_gap_over_floor": min(gap - get(name).floor for name, gap in gaps.items()),
    }


def downloads(n: int = 50, rounds: int = 5) -> dict[str, float]:
    """Seconds from seeing a success to asking for its file: fifty tasks that end together, 2 MB each.

    Beside it the same files by a bare loop of httpx, as many at a time, which writes them and does nothing else: how
    soon the last can be asked for at all. The medians of some rounds of both in turn, and the ratio of each round.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = [_downloads(n, Path(folder), k) | _bare_downloads(n, Path(folder)) for k in range(rounds)]
    for one in found:
        one["asked_ratio"] = one["asked_p99"] / one["bare_asked_p99"]
    told = {name: statistics.median(one[name] for one in found) for name in found[0]}
    return {"n": n, **told, "asked_p99_best": min(one["asked_p99"] for one in found)}


def _p99(waits: list[float]) -> float:
    return sorted(waits)[math.ceil(0.99 * len(waits)) - 1]


def _downloads(n: int, folder: Path, k: int) -> dict[str, float]:
    import nbhelper as nbh
    from nbhelper._providers import get

    with Bare() as server:
        nbh.set_store(folder / "store")
        root, name = server.about["root"] + "/v2/openapi", f"mill-{k}"
        nbh.register(replace(get("tripo"), name=name, base_url=root, key_starts=(), floor=0.1))
        nbh.connect(name, api_key="k" * 24)
        watched = [nbh.Task(name, f"task-{i:08}") for i in range(n)]
        watch = nbh.watch(watched, display=False, block=False, preview=False)
        time.sleep(1)
        cpu = time.process_time()
        server.ask("finish")
        watch.result(120)
        cpu = time.process_time() - cpu
        asked = sorted(server.ask("files"))
        seen = sorted(at.timestamp() for h in watch if (at := h.facts.final_at) is not None)
        waits = [a - b for a, b in zip(asked, seen, strict=True)]
        whole = [(h.facts.saved_at - h.facts.final_at).total_seconds() for h in watch if h.facts.saved_at]
        assert len(watch.files) == n
        return {
            "asked_mean": statistics.fmean(waits),
            "asked_p99": _p99(waits),
            "saved_mean": statistics.fmean(whole),
            "saved_max": max(whole),
            "cpu_ms_per_file": cpu / n * 1000,
        }


def _bare_downloads(n: int, folder: Path) -> dict[str, float]:
    import httpx

    from nbhelper._turns import AT_ONCE

    async def fetch(client: httpx.AsyncClient, turns: asyncio.Semaphore, url: str, path: Path) -> None:
        async with turns, client.stream("GET", url) as reply:
            with path.open("wb") as file:
                async for piece in reply.aiter_raw():
                    file.write(piece)

    async def main(server: Bare) -> dict[str, float]:
        root, turns = server.about["root"], asyncio.Semaphore(AT_ONCE)
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=None) as client:
            await client.get(f"{root}/v2/openapi/task/abc")
            begun, cpu = time.time(), time.process_time()
            await asyncio.gather(*(fetch(client, turns, f"{root}/file/{i}.glb", folder / f"{i}") for i in range(n)))
            spent, cpu = time.time() - begun, time.process_time() - cpu
        waits = [at - begun for at in server.ask("files")]
        return {"bare_asked_p99": _p99(waits), "bare_saved_max": spent, "bare_cpu_ms_per_file": cpu / n * 1000}

    with Bare() as server:
        return asyncio.run(main(server))


# Others


def imports() -> dict[str, float]:
    """Milliseconds over a bare interpreter, the quickest of nine runs in turn: what else runs here is no part of it."""
    theirs, own = str(peers.python()), sys.executable
    commands = {
        "(nbhelper's interpreter)": (own, "pass"),
        "nbhelper": (own, "import nbhelper"),
        "(the others' interpreter)": (theirs, "pass"),
        "replicate": (theirs, "import replicate"),
        "fal-client": (theirs, "import fal_client"),
        "tripo3d": (theirs, "import tripo3d"),
        "openai": (theirs, "import openai"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(10):
        for name, (python, code) in commands.items():
            begun = time.perf_counter()
            subprocess.run([python, "-c", code], check=True)
            times[name].append(time.perf_counter() - begun)
    ms = {name: min(spent[1:]) * 1000 for name, spent in times.items()}
    return {
        name: value - ms["(nbhelper's interpreter)" if name == "nbhelper" else "(the others' interpreter)"]
        for name, value in ms.items()
        if name[0] != "("
    }


# Parts


PARTS: dict[str, Callable[[], Any]] = {
    **{
        f"bare {library} {pools} x {width}": lambda a=(library, pools, width): bare(*a)
        for library in ("httpx", "httpx2")
        for pools, width in ((1, 4), (1, 8), (1, 16), (2, 6), (3, 4), (3, 6), (1, 50))
    },
    "bare aiohttp 1 x 12": lambda: bare("aiohttp", 1, 12),
    "engine httpx": lambda: engine("httpx", 400, together=False),
    "engine httpx2": lambda: engine("httpx2", 400, together=False),
    "engine httpx batch": lambda: engine("httpx", 1500, together=True),
    "engine httpx batch, nothing new": lambda: engine("httpx", 1500, together=True, still=True),
    "memory": memory,
    "finished": finished,
    "fleet": fleet,
    "downloads": downloads,
    "imports": imports,
    "profile httpx2": lambda: profile("httpx2", 400, together=False),
    "profile batch": lambda: profile("httpx", 1500, together=True),
}


# Targets


Found = dict[str, dict[str, float]]


def share(found: Found, library: str) -> float:
    """The engine's rate as a share of the best bare loop of the same transport, in this run."""
    return found[f"engine {library}"]["per_second"] / max(
        rates["per_second"] for part, rates in found.items() if part.startswith(f"bare {library} ")
    )


Judge = Callable[..., Target]
TARGETS: tuple[tuple[str, Callable[[Found], float], Judge, float, str], ...] = (
    ("single looks, httpx: share of the best bare loop", lambda f: share(f, "httpx"), at_least, 0.6, ""),
    ("single looks, httpx2: share of the best bare loop", lambda f: share(f, "httpx2"), at_least, 0.6, ""),
    ("single looks, httpx", lambda f: f["engine httpx"]["per_second"], at_least, 700, " a second"),
    ("single looks, httpx2", lambda f: f["engine httpx2"]["per_second"], at_least, 1200, " a second"),
    ("task looks in batches", lambda f: f["engine httpx batch"]["per_second"], at_least, 5000, " a second"),
    ("a running task", lambda f: f["memory"]["kB_per_task"], at_most, 8, " kB"),
    ("what a finished history leaves", lambda f: f["finished"]["kB_per_history"], at_most, 0.5, " kB"),
    ("fleet: tasks not seen to succeed", lambda f: f["fleet"]["tasks"] - f["fleet"]["succeeded"], at_most, 0, ""),
    ("fleet: cores", lambda f: f["fleet"]["cores"], at_most, 1, ""),
    ("fleet: the least time above the floor", lambda f: f["fleet"]["least_gap_over_floor"], at_least, 0, " s"),
    ("fleet: a task, at the peak", lambda f: f["fleet"]["peak_kB_per_task"], at_most, 8, " kB"),
    ("success seen to download asked for, p99", lambda f: f["downloads"]["asked_p99"], at_most, 0.5, " s"),
    ("import", lambda f: f["imports"]["nbhelper"], at_most, 50, " ms"),
)


def verdicts(found: Found) -> list[Target]:
    """Each target whose parts were measured."""
    told = []
    for fact, value_of, judge, limit, unit in TARGETS:
        with suppress(KeyError, ValueError):
            told.append(judge(fact, value_of(found), limit, unit))
    return told


def run(part: str) -> Any:
    """One part in a process of its own."""
    python = str(peers.python()) if "aiohttp" in part else sys.executable
    done = subprocess.run([python, __file__, "--part", part], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Measure and print; 1 when a target is not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--only", help="parts whose name begins so")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        print(json.dumps(PARTS[chosen.part]()))
        return 0
    wanted = [p for p in PARTS if p.startswith(chosen.only or "") and (chosen.only or not p.startswith("profile"))]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    found: Found = {}
    for part in wanted:
        if part.startswith("profile"):
            PARTS[part]()
            continue
        found[part] = run(part)
        print(f"{part:<26}" + "  ".join(f"{name} {value:,.2f}" for name, value in found[part].items()), flush=True)
    return judged(verdicts(found), found, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
