"""Clients that watch the same tasks at once on the emulator, in real time; its record has the requests of each.

Sixty tasks by chance differ from sixty others by a quarter of a second of mean lag and by a request. So the sixty are
spread evenly over their distributions, each figure has its standard error, and the row that depends on what a store
knows is the mean of several samples with a store each. Each client is up before its tasks are made, and has seen them
before the next client's are made: one that was still being imported would find them older, and seeing old tasks for the
first time is another case.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from _lib import ROOT, peers
from _lib.clock import Job, jobs_of, mixed
from _lib.servers import Emulated

N = 60

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
OURS = "from _lib.live import ours; ours()"


@dataclass(frozen=True)
class Client:
    """One row of the table.

    Attributes:
        provider: The API.
        script: What the client runs.
        left: Whether the API tells the time left.
        batch: Whether looks may share a request.
        known: Whether the store knows 200 such tasks.
    """

    provider: str = "tripo"
    script: str = OURS
    left: bool = False
    batch: bool = False
    known: bool = False

    @property
    def own(self) -> bool:
        """Whether it is the library."""
        return self.script == OURS


CLIENTS = {
    "tripo3d 0.4.2, no time left": Client(script=TRIPO),
    "ours, batch looks": Client(batch=True),
    "ours, one by one": Client(),
    "tripo3d 0.4.2, time left": Client(script=TRIPO, left=True),
    "ours, one by one, time left": Client(left=True),
    "ailabtools-sdk 0.5.4": Client("ailab", AILAB),
    "ours, ailab, nothing known": Client("ailab"),
    "ours, ailab, 200 before": Client("ailab", known=True),
}


def ours() -> None:
    """Watch the tasks that come on stdin, with a store of its own."""
    import nbhelper as nbh
    from nbhelper._providers import get
    from nbhelper._watching import engine

    about = json.loads(sys.stdin.readline())
    name = about["provider"]
    if not about["batch"]:
        nbh.register(replace(get(name), batch=None))
    with tempfile.TemporaryDirectory() as folder:
        nbh.set_store(folder)
        nbh.connect(name, api_key=about["key"], base_url=about["url"])
        if about["known"]:
            remember(name, about["root"], before(about["sample"]))
        engine.engine()
        print("ready", flush=True)
        tasks = [nbh.Task(name, ident) for ident in json.loads(sys.stdin.readline())]
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
    return jobs_of(200, mixed, queue=4, seed=1000 + sample)


def remember(provider: str, origin: str, jobs: list[Job]) -> None:
    """Fill the store with such tasks, as if each had been watched closely."""
    from nbhelper._session import session
    from nbhelper.types import Mark, MarkWord, Snapshot, State, Task

    store, written = session.store(), []
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
    """Write a line of JSON to a client's input."""
    assert client.stdin is not None
    client.stdin.write(json.dumps(words) + "\n")
    client.stdin.flush()


def seen_by(served: Emulated, ids: list[str]) -> None:
    """Wait until a client has looked at each of its tasks once."""
    ids_left, until = set(ids), time.monotonic() + 15
    while ids_left and time.monotonic() < until:
        time.sleep(0.1)
        ids_left -= {task["id"] for task in served.ask("ledger") if task["polls"]}


def figures(record: list[dict[str, Any]], watched: list[str]) -> dict[str, float]:
    """Requests per task and lag, from the server's record, and their standard errors; one batch look is one request.

    What batches share has no error of its own, and the errors know nothing of what differs from store to store.
    """
    ids_left = set(watched)
    tasks = [task for task in record if task["id"] in ids_left]
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


def measure(names: list[str], samples: int) -> dict[str, dict[str, float]]:
    """Watch with these clients, all at the same time, and return the figures of each.

    Args:
        names: Of `CLIENTS`.
        samples: How many times sixty tasks are watched in the row that depends on what was stored.
    """
    with Emulated(left=False) as without, Emulated(left=True) as with_left, ExitStack() as ends:
        running = []
        for name in names:
            client = CLIENTS[name]
            served = with_left if client.left else without
            for sample in range(samples if client.known else 1):
                python = sys.executable if client.own else str(peers.python())
                process = subprocess.Popen(
                    [python, "-c", client.script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                    cwd=ROOT / "tests" / "benchmarks",
                )  # fmt: skip
                about = {
                    "provider": client.provider, "root": served.about["root"],
                    "url": served.about["url"][client.provider], "key": served.about["key"][client.provider],
                    "batch": client.batch, "known": client.known, "sample": sample,
                }  # fmt: skip
                ends.callback(process.kill)
                say(process, about)
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise SystemExit(f"{name} did not begin")
                running.append((name, client, served, sample, process))
        watched: dict[str, list[str]] = {name: [] for name in names}
        for name, client, served, sample, process in running:
            ids = create(served, client.provider, sixty(sample))
            say(process, ids)
            watched[name] += ids
            seen_by(served, ids)
        for name, *_, process in running:
            if process.wait(300):
                raise SystemExit(f"{name} failed")
        time.sleep(0.5)  # the record of the last looks
        records = {True: with_left.ask("ledger"), False: without.ask("ledger")}
    return {name: figures(records[CLIENTS[name].left], watched[name]) for name in names}
