"""A batch over all APIs of the emulator, and its table compared with the ledger, which has what really happened."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

import nbhelper as nbh

SHADE = 5e-6
"""Seconds that rounding to microseconds may add to a difference of four times."""


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "JPEG")
    return buffer.getvalue()


def _kinds(words: str, picture: bytes) -> list[tuple[str, dict[str, Any], str | None]]:
    """One create for each way that an API tells its times."""
    prompt = {"prompt": f"a fox {words}"}
    return [
        ("ailab", {"image": picture, "hair_style": f"BuzzCut {words}"}, "hairstyle-pro"),
        ("kie", {"model": "google/nano-banana", "input": prompt}, None),
        ("tripo", {"type": "text_to_model", **prompt}, None),
        ("gptge", {"model": "MiniMax-Hailuo-02", **prompt}, "hailuo"),
        ("aigptimage", {"model": "gpt-image-2-text-to-image", "input": {**prompt, "resolution": "1K"}}, None),
        ("gptge", {"model": "wan2.2-t2v-plus", "input": prompt}, "bailian"),
        ("tripo-v3", {"model": "v2.5-20250123", **prompt}, "text-to-model"),
        ("ailab-legacy", {"image": picture, "index": f"1 {words}"}, "anime"),
        ("gptge", {"model": "doubao-seedance-1-0-lite", **prompt}, "seedance"),
    ]


_WISHES = ("", "", "emu:policy", "", "emu:server-error=1", "", "emu:fail", "", "emu:rate-limit=1", "", "emu:cancelled")
_STUCK = 12
"""One task in so many never ends, and its watch is stopped; one in four is watched by id alone, in another store."""


def batch(n: int, *, speed: float, skew: float, seed: int = 0, patience: float = 8.0) -> tuple[pd.DataFrame, Any]:
    """Make and watch `n` tasks; their rows of `tasks()`, and the ledger.

    Args:
        n: How many tasks.
        speed: The emulator's speed.
        skew: Seconds by which the APIs' clock is ahead of ours.
        seed: The emulator's seed.
        patience: Seconds after which the tasks that never end are stopped.
    """
    picture = _picture()
    with nbh.Emulator(speed=speed, seed=seed, skew=skew) as emulator:
        own = nbh.set_store(Path.cwd() / f"truth-{seed}")
        endless, known, foreign = [], [], []
        for i in range(n):
            stuck = i % _STUCK == 5
            kinds = _kinds("emu:stuck" if stuck else _WISHES[i % len(_WISHES)], picture)
            name, request, endpoint = kinds[(i * 7 + i // len(kinds)) % len(kinds)]
            task = nbh.submit(name, request, endpoint=endpoint)
            (endless if stuck else foreign if i % 4 == 3 else known).append(task)
        watched = [
            nbh.watch(known, display=False, block=False),
            nbh.watch(endless, display=False, block=False, timeout=patience),
        ]
        nbh.set_store(own.with_name(f"{own.name}-foreign"))
        watched.append(nbh.watch([str(task) for task in foreign], display=False, block=False))
        for watch in watched:
            watch.result(timeout=300)
        met = nbh.tasks()
        nbh.set_store(own)
        made = nbh.tasks()
        made = made[~made["task_id"].isin(met["task_id"])]  # there they are only known to have been created
        return pd.concat([made, met], ignore_index=True), emulator.ledger()


@dataclass(slots=True)
class Verdict:
    """How many rows were compared, which were within their `uncertainty_s` by kind, and what is wrong."""

    rows: int = 0
    within: dict[str, list[bool]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def share(self, *kinds: str) -> float:
        """The share of rows of these kinds that are within their `uncertainty_s`, 0 to 1; NaN for none."""
        results = [result for kind in kinds for result in self.within.get(kind, ())]
        return sum(results) / len(results) if results else float("nan")

    def lines(self) -> Iterator[str]:
        """One line of text for each kind."""
        for kind, results in sorted(self.within.items()):
            yield f"{kind:<28} {sum(results)} of {len(results)} ({100 * sum(results) / len(results):.1f} %)"


def judge(frame: pd.DataFrame, ledger: Any, verdict: Verdict | None = None) -> Verdict:
    """Compare each row with the ledger's record of its task."""
    verdict = verdict or Verdict()
    for row in frame.to_dict("records"):
        record = ledger.task(row["provider"], row["task_id"])
        known = {name: value for name, value in row.items() if not pd.isna(value)}
        which = f"{row['provider']} {row['model']}: {known.get('outcome')}"
        verdict.rows += 1
        for problem in _problems(known, record):
            verdict.wrong.append(f"{which}: {problem}")
        if record.finished is None or known.get("outcome") == "stopped":
            continue
        source, doubt = known.get("time_source"), known.get("uncertainty_s")
        if source is None:
            verdict.within.setdefault("over before anybody looked", []).append("finished_at" not in known)
            continue
        if doubt is None:
            verdict.wrong.append(f"{which}: a finish by {source} without its uncertainty")
            continue
        if "total_s" in known:
            error = abs(known["total_s"] - _seconds(record.created, record.finished))
            verdict.within.setdefault(f"total_s, {source}", []).append(error <= doubt + SHADE)
        if known.get("lag_s") is None:  # no server's finish: the column is on our own clock
            error = abs(_seconds(record.finished, known["finished_at"].to_pydatetime()))
            verdict.within.setdefault("finished_at, looks only", []).append(error <= doubt + SHADE)
        else:
            seen = _seconds(record.finished, known["finished_seen_at"].to_pydatetime())
            # Half a second for the `Date` header, the clock's resolution, and a quarter for a slow machine.
            verdict.within.setdefault("lag_s", []).append(abs(known["lag_s"] - seen) <= 0.5 + doubt + 0.25)
    return verdict


def _problems(known: dict[str, Any], record: Any) -> Iterator[str]:
    """What is wrong with a row, whatever the clocks show."""
    ended = known.get("outcome") not in {"stopped", "lost", None}
    if known.get("outcome") == "lost" and record.finished is not None:
        yield f"lost, where it has {record.state}"
    if known.get("credits") != (record.credits if ended else None):
        yield f"credits {known.get('credits')} where the server said {record.credits}"
    if ended and known["outcome"] != record.state:
        yield f"the server's end is {record.state}"
    if ("cost" in known) != (known["cost_source"] != "unknown"):
        yield f"cost {known.get('cost')} from {known['cost_source']}"
    if known.get("cost") == 0 and record.billed != 0:
        yield f"cost 0 where {record.billed} was billed"
    zero = [name for name in ("queue_s", "run_s", "total_s", "delivered_s", "uncertainty_s") if known.get(name) == 0]
    if zero:
        yield f"{', '.join(zero)} shown as 0"
    if not ended:
        shown = {"finished_at", "finished_seen_at", "total_s", "run_s", "lag_s", "cost", "uncertainty_s"} & known.keys()
        if shown:
            yield f"not ended, and {', '.join(sorted(shown))} shown"


def _seconds(begin: datetime, end: datetime) -> float:
    return (end - begin).total_seconds()
