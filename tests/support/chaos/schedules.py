"""Many tasks, each with a schedule of faults of its own, on real sockets, with the library's timeouts made shorter.

A schedule is drawn from a seed: good replies, faults of every kind between them, an end, and files with faults too.
The outcome and files that must follow are known when it is drawn, without the library's code.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

from support.chaos.watching import scaled, uncaught
from support.mill import FLOOR, KEY, Answer, Mill, later, png, provider, reset, sha256
from support.raw_server import Conn, Request, reply
from support.scripts import environment

import nbhelper as nbh

SCALE = 200.0
"""The library's timeouts are divided by this: ten minutes take three seconds."""


async def _closed(conn: Conn, _: Request) -> None:
    """Close the connection without a byte."""
    await conn.send(b"")
    conn._writer.close()


async def _no_length(conn: Conn, _: Request) -> None:
    """Send part of a reply that has no length, then close."""
    await conn.send(reply(b'{"state": "err', length=None))
    conn._writer.close()


async def _half(conn: Conn, _: Request) -> None:
    """Send half of a reply, then reset."""
    await conn.send(reply({"state": "done"})[:-9])
    await conn.reset()


def _gzip(text: bytes) -> bytes:
    packed = gzip.compress(text)
    return reply(packed[: len(packed) // 2], headers={"content-encoding": "gzip"})


FAULTS: dict[str, Answer] = {
    "reset": reset,
    "closed": _closed,
    "half": _half,
    "slow": later(0.1, {"state": "working"}),
    "cut gzip": _gzip(json.dumps({"state": "error", "more": list(range(200))}).encode()),
    "no length": _no_length,
    "page": reply("<html>maintenance: state error</html>", headers={"content-type": "text/html"}),
    "empty": reply(b""),
    "204": reply(b"", 204),
    "list": reply([{"state": "error"}]),
    "two words": reply(b'{"state": "error", "state": "done"}'),
    "unknown word": reply({"state": "pondering"}),
    "other schema": reply({"status": "failed", "error": {"code": 1}}),
    "deep": reply(b"[" * 5000),
    "surrogate": reply(b'{"state": "working", "why": "\\ud800"}'),
    "429": reply({"message": "slow down"}, 429),
    "429 now": reply({"message": "slow down"}, 429, {"retry-after": "0"}),
    "429 nonsense": reply({"message": "slow down"}, 429, {"retry-after": "soon"}),
    "500": reply({"message": "failed"}, 500),
    "502 page": reply("<html>bad gateway</html>", 502),
    "503": reply({"state": "error"}, 503),
    "520": reply("error", 520),
    "401": reply({"message": "no"}, 401),
    "422": reply({"message": "no"}, 422),
    "402": reply({"message": "credit"}, 402),
    "redirect": reply(b"", 302, {"location": "/elsewhere"}),
    "redirect away": reply(b"", 307, {"location": "https://elsewhere.example/"}),
    "lying length": reply({"state": "error"}, length=5),
    "garbage": b"\x16\x03\x01 this is not HTTP\r\n\r\n",
}
GOOD = ("queued", "working", "working", "working")
_TWICE = {"401", "422", "402", "redirect", "redirect away", "lying length"}
"""Two of these in a row may end a watch, so a good reply stands behind each."""


@dataclass
class Plan:
    """One task: the answers to its looks, and the outcome and files that must follow."""

    ident: str
    answers: list[Answer]
    outcome: str
    files: list[str] = field(default_factory=list)
    """SHA-256 digests of the files that can be downloaded."""


@dataclass
class Figures:
    """Results of all runs.

    Attributes:
        runs: How many tasks.
        outcomes: How many tasks ended with each outcome.
        looks: Looks over all of them.
        most: The most looks at one task beyond its schedule.
        closest: The least seconds between two looks at one task.
        without_outcome: Tasks whose watch ended in none.
        lost_results: Files that could be downloaded and are not saved byte for byte.
        false_failures: Tasks that are called failed though the server did not say so.
        uncaught: Errors that were logged or ended a thread.
        wrong: Tasks that ended otherwise than their schedule says.
    """

    runs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    most: int = 0
    closest: float = 1e9
    without_outcome: int = 0
    lost_results: int = 0
    false_failures: int = 0
    uncaught: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Self) -> None:
        """Add the results of other runs."""
        self.most = max(self.most, other.most)
        self.closest = min(self.closest, other.closest)
        self.runs, self.looks = self.runs + other.runs, self.looks + other.looks
        self.outcomes.update(other.outcomes)
        self.without_outcome += other.without_outcome
        self.lost_results += other.lost_results
        self.false_failures += other.false_failures
        self.uncaught += other.uncaught
        self.wrong += other.wrong


def draw(mill: Mill, ident: str, rng: random.Random) -> Plan:
    """Draw a schedule at random."""
    answers: list[Answer] = []
    for _ in range(rng.randint(1, 5)):
        for name in rng.choices(list(FAULTS), k=rng.randint(0, 2)):
            answers.append(FAULTS[name])
            if name in _TWICE:
                answers.append({"state": "working"})
        answers.append({"state": rng.choice(GOOD), "percent": rng.choice([None, 5, 50, "90%", -1, 400])})
    end = rng.choices(
        ["done", "error", "stopped", "gone", "refused", "garbled", "never"], weights=[60, 12, 5, 5, 6, 3, 3]
    )[0]
    outcome = {
        "done": "succeeded", "error": "failed", "stopped": "cancelled", "gone": "expired", "refused": "lost",
        "garbled": "lost", "never": "stopped",
    }[end]  # fmt: skip
    if end in {"refused", "garbled", "never"}:
        last = {"refused": FAULTS["401"], "garbled": FAULTS["page"], "never": {"state": "working"}}[end]
        return Plan(ident, [*answers, {"state": "working"}, last], outcome)
    links, files = _files(mill, rng) if end == "done" or rng.random() < 0.3 else ([], [])
    first = {"state": end, "files": links, "why": "because"}
    return Plan(ident, [*answers, first], outcome, files)


def _files(mill: Mill, rng: random.Random) -> tuple[list[str], list[str]]:
    links, digests = [], []
    for _ in range(rng.randint(0, 2)):
        body = png(rng.choice([0, 100, 40_000]), rng.randrange(256))
        whole = reply(body, headers={"etag": f'"{sha256(body)[:8]}"'})
        trouble = rng.choices(
            [reset, _closed, whole[:-30], reply(b"", 404), reply(b"", 503), reply(b"", 429), reply(b"")],
            k=rng.choice([0, 0, 0, 1, 2]),
        )
        cut = [_torn(whole[:-30]) if t == whole[:-30] else t for t in trouble]
        links.append(mill.file(*cut, whole))
        digests.append(sha256(body))
    return links, digests


def _torn(data: bytes) -> Answer:
    async def act(conn: Conn, _: Request) -> None:
        await conn.send(data)
        await conn.reset()

    return act


def run(n: int = 5_000, *, seed: int = 0, wave: int = 500) -> Figures:
    """Watch `n` tasks, a wave at a time: one server, one engine and one store for all, ten tasks to an origin.

    Args:
        n: How many tasks.
        seed: The seed of the schedules.
        wave: How many tasks at once.
    """
    figures, rng = Figures(), random.Random(seed)
    with scaled(SCALE), uncaught() as errors:
        for begin in range(0, n, wave):
            mill, plans = Mill(), {}
            for k in range(begin, min(begin + wave, n)):
                name = f"torn-{(k - begin) // 10}"
                if k % 10 == 0:
                    root = mill.server.another()
                    nbh.register(provider(root, name, looks_per_second=2000, key_variable="MILL_API_KEY"))
                plan = draw(mill, f"s{seed}-{k}", rng)
                mill.jobs[plan.ident] = list(plan.answers)
                plans[f"{name}:{plan.ident}"] = plan
            # Those that never end do so with the watch's timeout, the others long before theirs.
            watches = [
                nbh.watch(refs, block=False, display=False, timeout=patience, interval=FLOOR)
                for refs, patience in ((_those(plans, "stopped"), 4), (_those(plans), 240))
                if refs
            ]
            for history in (history for watch in watches for history in watch.result(300)):
                _judge(figures, mill, plans[str(history.task)], history)
            mill.close()
            figures.uncaught += [repr(fault) for fault in mill.server.faults]
    figures.uncaught += errors
    return figures


def with_each(n: int, clients: Sequence[str] = ("httpx", "httpx2"), *, seed: int = 0) -> Figures:
    """Run `n` tasks, an equal share with each HTTP client, in one process for each client."""
    code = """
import json, sys
from support.chaos.schedules import run
print(json.dumps(vars(run(int(sys.argv[1]), seed=int(sys.argv[2])))))
"""
    figures = Figures()
    with tempfile.TemporaryDirectory() as where:
        started = []
        for at, client in enumerate(clients):
            work = Path(where, client)
            work.mkdir()
            variables = environment(MILL_API_KEY=KEY, NBHELPER_HTTP=client)
            command = [sys.executable, "-c", code, str(n // len(clients)), str(seed + at)]
            started.append(subprocess.Popen(command, cwd=work, env=variables, stdout=subprocess.PIPE, text=True))
        for process in started:
            printed = process.communicate()[0]
            assert process.returncode == 0, printed
            report = json.loads(printed.splitlines()[-1])
            figures.add(Figures(**{**report, "outcomes": Counter(report["outcomes"])}))
    return figures


def _those(plans: dict[str, Plan], outcome: str = "") -> list[str]:
    return [ref for ref, plan in plans.items() if (plan.outcome == outcome if outcome else plan.outcome != "stopped")]


def _judge(figures: Figures, mill: Mill, plan: Plan, history: nbh.History) -> None:
    looks = mill.looks.get(plan.ident, [])  # none, when an outage of the task's origin lasted to its timeout
    figures.runs += 1
    figures.outcomes[str(history.outcome)] += 1
    figures.without_outcome += history.outcome is None
    figures.looks += len(looks)
    # A request on a connection that was torn off, or left with bytes on it, is sent once more at once; no other one is.
    torn = {id(a) for a in (reset, _closed, _half, _no_length, FAULTS["garbage"], FAULTS["lying length"])}
    answers = [None, *plan.answers]
    for n, (earlier, later_) in enumerate(pairwise(looks)):
        if not {id(a) for a in answers[n : n + 2]} & torn:
            figures.closest = min(figures.closest, later_ - earlier)
    if plan.outcome in {"succeeded", "failed", "cancelled", "expired"}:
        figures.most = max(figures.most, len(looks) - len(plan.answers))
    saved = {sha256(file.read_bytes()) for file in history.files}
    figures.lost_results += len(set(plan.files) - saved)
    figures.false_failures += history.outcome == "failed" and plan.outcome != "failed"
    if str(history.outcome) != plan.outcome:
        figures.wrong.append(f"{history.task}: {history.outcome} instead of {plan.outcome}; {history.error}")
