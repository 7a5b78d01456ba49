"""Ours beside the official clients, live at the emulator: `python tests/benchmarks/live.py [--json FILE]`.

Sixty tasks at once for each client, the same durations for all, in real time (about 80 s); requests and lag are read
from the server's own record, so they mean the same for everybody. Each client is up before its tasks are made: one
that was still being imported would find them older, and seeing old tasks for the first time is another case.
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

import peers
from servers import Emulated
from targets import at_most, judged

N = 60
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
            remember(about["provider"], about["root"])
        _engine.engine()
        print("ready", flush=True)
        tasks = [nbh.Task(about["provider"], ident) for ident in json.loads(sys.stdin.readline())]
        nbh.watch(tasks, save=False, display=False, block=True, preview=False)


def remember(provider: str, origin: str) -> None:
    """Fill the store with 200 tasks of the same distribution, as if each had been watched closely."""
    from nbhelper import _session
    from nbhelper.types import Mark, MarkWord, Snapshot, State, Task

    store, dice, written = _session.store(), random.Random(1), []
    for n in range(200):
        history = store.open_task(Task(provider, f"before-{n}"), origin).result()
        at = datetime.now(UTC) - timedelta(days=1)
        running = at + timedelta(seconds=dice.uniform(0, 4))
        over = running + timedelta(seconds=dice.lognormvariate(2.9, 0.45))
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


def create(served: Emulated, provider: str) -> list[str]:
    """Sixty tasks of an API; their ids."""
    url, key = served.about["url"][provider], served.about["key"][provider]
    ids = []
    for _ in range(N):
        if provider == "tripo":
            body = json.dumps({"type": "text_to_model", "prompt": "an owl"}).encode()
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            request = urllib.request.Request(url + "/task", body, headers)
        else:
            parts = {"task_type": "async", "hair_style": "BuzzCut", "image": ""}
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


def figures(told: list[dict[str, Any]], ids: list[str]) -> dict[str, float]:
    """Requests per task and lag, from the server's record; one batch look is one request."""
    tasks = [task for task in told if task["id"] in set(ids)]
    lags = [min(at for at, _ in t["polls"] if at >= t["finished"]) - t["finished"] for t in tasks]
    single = sum(not batch for t in tasks for _, batch in t["polls"])
    moments = sorted(at for t in tasks for at, batch in t["polls"] if batch)
    together = sum(b - a > 0.03 for a, b in zip([-math.inf, *moments], moments, strict=False))
    return {
        "requests": (single + together) / len(tasks),
        "lag": statistics.fmean(lags),
        "p95": sorted(lags)[math.ceil(0.95 * len(lags)) - 1],
    }


def main() -> int:
    """Measure and print; 1 when a target is not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ours:
        ours()
        return 0
    theirs, own = [str(peers.python()), "-c"], [sys.executable, __file__, "--ours"]
    with Emulated(left=False) as without, Emulated(left=True) as with_left:
        runs = [
            ("tripo3d 0.4.2, no time left", without, "tripo", [*theirs, TRIPO], {}),
            ("ours, batch looks", without, "tripo", own, {"batch": True}),
            ("ours, one by one", without, "tripo", own, {}),
            ("tripo3d 0.4.2, time left", with_left, "tripo", [*theirs, TRIPO], {}),
            ("ours, one by one, time left", with_left, "tripo", own, {}),
            ("ailabtools-sdk 0.5.4", without, "ailab", [*theirs, AILAB], {}),
            ("ours, ailab, nothing known", without, "ailab", own, {}),
            ("ours, ailab, 200 before", without, "ailab", own, {"known": True}),
        ]
        found: dict[str, dict[str, float]] = {}
        clients, waiting = [], []
        for name, served, provider, command, more in runs:
            client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            about = {
                "provider": provider, "root": served.about["root"], "url": served.about["url"][provider],
                "key": served.about["key"][provider], "batch": False, "known": False, **more,
            }  # fmt: skip
            say(client, about)
            assert client.stdout is not None
            if client.stdout.readline() != "ready\n":
                raise SystemExit(f"{name} did not begin")
            clients.append((name, served, provider, client))
        for name, served, provider, client in clients:
            ids = create(served, provider)
            say(client, ids)
            waiting.append((name, served, ids, client))
        for name, _, _, client in waiting:
            if client.wait(300):
                raise SystemExit(f"{name} failed")
        time.sleep(0.5)
        for name, served, ids, _ in waiting:
            found[name] = figures(served.ask("ledger"), ids)
    print(f"{'60 tasks at once, live':<32}{'requests':>9}{'lag':>7}{'p95':>7}")
    for name, f in found.items():
        print(f"{name:<32}{f['requests']:>9.2f}{f['lag']:>7.2f}{f['p95']:>7.2f}")
    targets = []
    for name, (requests, lag) in TARGETS.items():
        targets.append(at_most(f"{name}: lag", found[name]["lag"], lag, " s"))
        targets.append(at_most(f"{name}: requests per task", found[name]["requests"], requests))
    return judged(targets, found, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
