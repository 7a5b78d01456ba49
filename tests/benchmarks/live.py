"""Ours beside the official clients, live at the emulator: `python tests/benchmarks/live.py [--json FILE]`.

Sixty tasks at once for each client, the same durations for all, in real time (about 90 s); requests and lag are read
from the server's own record, so they mean the same for everybody. Each client is up before its tasks are made, and has
seen them before the next client's are made: one that was still being imported, or that waited for the processor, would
find them older, and seeing old tasks for the first time is another case.

Sixty tasks by chance differ from sixty others by a quarter of a second of mean lag and of a request. So the sixty are
spread evenly over their distributions, each figure has its standard error, the row that depends on what a store knows
is the mean of four samples with a store each, and beside ours stands what the same tasks give on the virtual clock of
`pace.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pace
import peers
from pace import Api, Job, Result
from servers import Emulated
from targets import at_most, judged

N = 60
SAMPLES = 4
"""So many times sixty tasks are watched in the row that depends on what was stored, with 200 other durations each."""
TARGETS = {
    "ours, batch looks": (1.0, 1.2),
    "ours, one by one": (6.5, 1.5),
    "ours, one by one, time left": (5.0, 1.0),
    "ours, ailab, 200 before": (3.7, 3.3),
}
"""Requests per task, and seconds of lag, both at most."""

TRIPO = """
import asyncio, json, sys
from tripo3d import TripoClient
about = json.loads(sys.stdin.readline())
TripoClient.BASE_URL = about["url"]
async def main():
    client = TripoClient(about["key"], IS_GLOBAL=True)
    print("ready", flush=True)
    ids = json.loads(sys.stdin.readline())
    await asyncio.gather(*(client.wait_for_task(i) for i in ids))
    await client.close()
asyncio.run(main())
"""
AILAB = """
import asyncio, json, sys
from ailabtools import AILabClient
about = json.loads(sys.stdin.readline())
async def main():
    client = AILabClient(about["key"], base_url=about["root"])
    print("ready", flush=True)
    ids = json.loads(sys.stdin.readline())
    await asyncio.gather(*(client.wait_for_task(i) for i in ids))
asyncio.run(main())
"""


def ours() -> None:
    """Watch what comes on stdin, in a folder of its own; the pace may know 200 tasks of before."""
    import nbhelper as nbh
    from nbhelper import _engine

    about = json.loads(sys.stdin.readline())
    if not about["batch"]:
        from nbhelper import _looks

        _looks.Looks._batch = None  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        nbh.set_store(folder)
        nbh.connect(about["provider"], api_key=about["key"], base_url=about["url"])
        if about["known"]:
            remember(about["provider"], about["root"], before(about["sample"]))
        _engine.engine()
        print("ready", flush=True)
        tasks = [nbh.Task(about["provider"], ident) for ident in json.loads(sys.stdin.readline())]
        nbh.watch(tasks, save=False, display=False, block=True, preview=False)


def sixty(sample: int) -> list[Job]:
    """Tasks that queue 0 to 4 s and run for lognormal(2.9, 0.45) s: a Latin hypercube of the two distributions."""
    dice, runs = random.Random(sample), statistics.NormalDist(2.9, 0.45)

    def even() -> list[float]:
        places = [(k + dice.random()) / N for k in range(N)]
        dice.shuffle(places)
        return places

    return [Job(4 * queue, math.exp(runs.inv_cdf(run))) for queue, run in zip(even(), even(), strict=True)]


def before(sample: int) -> list[Job]:
    """The 200 tasks of the same distribution that a store knows."""
    return pace.jobs_of(200, pace.mixed, queue=4, seed=1000 + sample)


def remember(provider: str, origin: str, jobs: list[Job]) -> None:
    """Fill the store with such tasks, as if each had been watched closely."""
    from nbhelper import _session
    from nbhelper.types import Mark, MarkWord, Snapshot, State, Task

    store, written = _session.store(), []
    for n, job in enumerate(jobs):
        history = store.open_task(Task(provider, f"before-{n}"), origin).result()
        at = datetime.now(UTC) - timedelta(days=1)
        running = at + timedelta(seconds=job.queue)
        over = running + timedelta(seconds=job.run)
        near = timedelta(seconds=0.05)
        for when, seen in (
            (at, Mark(word=MarkWord.SUBMITTED)),
            (running - near, Snapshot(state=State.QUEUED, word="0")),
            (running + near, Snapshot(state=State.RUNNING, word="1")),
            (over - near, Snapshot(state=State.RUNNING, word="1")),
            (over + near, Snapshot(state=State.SUCCEEDED, word="2")),
        ):
            history = history.add(seen, max(when, at))
        written.append(store.append(history.uid, history.events, summary=history))
    for future in written:
        future.result()


def create(served: Emulated, provider: str, jobs: list[Job]) -> list[str]:
    """These tasks at an API; their ids."""
    url, key = served.about["url"][provider], served.about["key"][provider]
    ids = []
    for job in jobs:
        wish = f"emu:queue={job.queue:.6f} emu:seconds={job.run:.6f}"
        if provider == "tripo":
            body = json.dumps({"type": "text_to_model", "prompt": f"an owl {wish}"}).encode()
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            request = urllib.request.Request(url + "/task", body, headers)
        else:
            parts = {"task_type": "async", "hair_style": f"BuzzCut {wish}", "image": ""}
            body = b"".join(
                b'--b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
                % (
                    name.encode(),
                    b'; filename="a.png"\r\ncontent-type: image/png' if name == "image" else b"",
                    value.encode() or b"\x89PNG\r\n\x1a\n" + bytes(64),
                )
                for name, value in parts.items()
            )
            headers = {"ailabapi-api-key": key, "content-type": "multipart/form-data; boundary=b"}
            path = "/api/portrait/effects/hairstyle-editor-pro"
            request = urllib.request.Request(url + path, body + b"--b--\r\n", headers)
        with urllib.request.urlopen(request, timeout=30) as reply:
            made = json.load(reply)
        ids.append(made["data"]["task_id"] if provider == "tripo" else made["task_id"])
    return ids


def say(client: subprocess.Popen[str], words: Any) -> None:
    """One line for a client."""
    assert client.stdin is not None
    client.stdin.write(json.dumps(words) + "\n")
    client.stdin.flush()


def seen_by(served: Emulated, ids: list[str]) -> None:
    """Wait until a client has looked at each of its tasks once."""
    wanted, until = set(ids), time.monotonic() + 15
    while wanted and time.monotonic() < until:
        time.sleep(0.1)
        wanted -= {task["id"] for task in served.ask("ledger") if task["polls"]}


def figures(told: list[dict[str, Any]], samples: list[list[str]]) -> dict[str, float]:
    """Requests per task and lag, from the server's record, and their standard errors; one batch look is one request.

    What batches share has no error of its own, and the errors know nothing of what differs from store to store.
    """
    wanted = {ident for ids in samples for ident in ids}
    tasks = [task for task in told if task["id"] in wanted]
    lags = [min(at for at, _ in t["polls"] if at >= t["finished"]) - t["finished"] for t in tasks]
    single = [sum(not batch for _, batch in t["polls"]) for t in tasks]
    moments = sorted(at for t in tasks for at, batch in t["polls"] if batch)
    together = sum(b - a > 0.03 for a, b in zip([-math.inf, *moments], moments, strict=False))
    return {
        "requests": (sum(single) + together) / len(tasks),
        "requests_error": 0.0 if together else statistics.stdev(single) / math.sqrt(len(tasks)),
        "lag": statistics.fmean(lags),
        "lag_error": statistics.stdev(lags) / math.sqrt(len(tasks)),
        "p95": sorted(lags)[math.ceil(0.95 * len(lags)) - 1],
    }


def on_the_clock(name: str, samples: int) -> Result | None:
    """What the same tasks give without a network; None for a row that is not ours."""
    tripo, left = Api(progress=True), Api(progress=True, left=True)
    watch = {
        "ours, batch looks": lambda jobs, known: pace.together(jobs, tripo, 2.0),
        "ours, one by one": lambda jobs, known: pace.one_by_one(jobs, tripo, pace.ours(2.0))[0],
        "ours, one by one, time left": lambda jobs, known: pace.one_by_one(jobs, left, pace.ours(2.0))[0],
        "ours, ailab, nothing known": lambda jobs, known: pace.one_by_one(jobs, Api(), pace.ours(5.0))[0],
        "ours, ailab, 200 before": lambda jobs, known: pace.one_by_one(jobs, Api(), pace.ours(5.0, known))[0],
    }.get(name)
    return watch and pace.mean([watch(sixty(n), pace.stored(before(n))) for n in range(samples)])


def main() -> int:
    """Measure and print; 1 when a target is not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only-ours", action="store_true", help="leave out the clients of others")
    chosen = parser.parse_args()
    if chosen.ours:
        ours()
        return 0
    theirs, own = ([] if chosen.only_ours else [str(peers.python()), "-c"]), [sys.executable, __file__, "--ours"]
    with Emulated(left=False) as without, Emulated(left=True) as with_left:
        rows: list[tuple[str, Emulated, str, list[str], dict[str, Any], int]] = [
            ("tripo3d 0.4.2, no time left", without, "tripo", [*theirs, TRIPO], {}, 1),
            ("ours, batch looks", without, "tripo", own, {"batch": True}, 1),
            ("ours, one by one", without, "tripo", own, {}, 1),
            ("tripo3d 0.4.2, time left", with_left, "tripo", [*theirs, TRIPO], {}, 1),
            ("ours, one by one, time left", with_left, "tripo", own, {}, 1),
            ("ailabtools-sdk 0.5.4", without, "ailab", [*theirs, AILAB], {}, 1),
            ("ours, ailab, nothing known", without, "ailab", own, {}, 1),
            ("ours, ailab, 200 before", without, "ailab", own, {"known": True}, SAMPLES),
        ]
        rows = [row for row in rows if theirs or row[3] is own]
        found: dict[str, dict[str, Any]] = {}
        clients = []
        for name, served, provider, command, more, samples in rows:
            for sample in range(samples):
                client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                about = {
                    "provider": provider, "root": served.about["root"], "url": served.about["url"][provider],
                    "key": served.about["key"][provider], "batch": False, "known": False, "sample": sample, **more,
                }  # fmt: skip
                say(client, about)
                assert client.stdout is not None
                if client.stdout.readline() != "ready\n":
                    raise SystemExit(f"{name} did not begin")
                clients.append((name, served, provider, sample, client))
        watched: dict[str, list[list[str]]] = {}
        for name, served, provider, sample, client in clients:
            ids = create(served, provider, sixty(sample))
            say(client, ids)
            watched.setdefault(name, []).append(ids)
            seen_by(served, ids)
        for name, *_, client in clients:
            if client.wait(300):
                raise SystemExit(f"{name} failed")
        time.sleep(0.5)
        for name, served, *_, samples in rows:
            found[name] = figures(served.ask("ledger"), watched[name])
            if (clock := on_the_clock(name, samples)) is not None:
                found[name] |= {"clock": vars(clock)}
    print(f"{'60 tasks at once, live':<30}{'requests':>14}{'lag':>14}{'p95':>7}   on the virtual clock: requests, lag")
    for name, f in found.items():
        line = f"{name:<30}{f['requests']:>8.2f} ±{f['requests_error']:.2f}{f['lag']:>9.2f} ±{f['lag_error']:.2f}"
        line += f"{f['p95']:>7.2f}"
        print(line + (f"{f['clock']['requests']:>26.2f}{f['clock']['lag']:>7.2f}" if "clock" in f else ""))
    targets = []
    for name, (requests, lag) in TARGETS.items():
        targets.append(at_most(f"{name}: lag", found[name]["lag"], lag, " s"))
        targets.append(at_most(f"{name}: requests per task", found[name]["requests"], requests))
    return judged(targets, found, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
