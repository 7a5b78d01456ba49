"""`nbhelper demo`: tasks of all seven APIs on the emulator, from create to table, checked by the emulator's ledger."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _api
from ._emulated import Emulator
from ._model.task import Task
from ._model.text import seconds, size
from ._session.environment import place
from ._tables import store_verbs, verbs

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = {
    "provider": "provider",
    "model": "model",
    "outcome": "outcome",
    "queue_s": "queue",
    "run_s": "run",
    "total_s": "total",
    "uncertainty_s": "±",
    "polls": "looks",
    "credits": "credits",
    "cost": "cost",
    "n_saved": "files",
    "error_message": "why",
}
_SUMMARY = {
    "provider": "provider",
    "n": "n",
    "succeeded": "ok",
    "failed": "failed",
    "success_rate": "success rate",
    "total_s_p50": "median",
    "polls_mean": "looks",
    "credits": "credits",
    "cost": "cost",
}


def run(folder: Path, *, as_json: bool) -> int:
    """Create, watch, tabulate and check; 0 when the tables agree with the emulator's ledger."""
    folder = folder.expanduser().absolute()
    begun = time.monotonic()
    with Emulator(speed=10, seed=7) as emulator:
        store = _api.set_store(folder)
        if not as_json:
            print("Seven APIs on an emulator on this machine: no key, no cost, no internet.")
            print(f"Everything goes to {folder}\n")
        since = _now()
        tasks = _submit_all(emulator)
        watched = _api.watch(tasks, display=False if as_json else "text", block=True, timeout=120)
        frame = store_verbs.tasks(since=since)
        checks = _check(emulator, frame, store)
        csv = verbs.to_csv(frame, folder / "timings.csv")
        spent = time.monotonic() - begun
        if as_json:
            print(json.dumps(_as_json(frame, checks, folder, csv, spent), indent=2))
        else:
            _print_tables(frame)
            total = sum(p.stat().st_size for p in watched.files)
            print(f"\n{len(watched.files)} files ({size(total)}) and timings.csv in {folder}")
            for line in checks["wrong"]:
                print(f"WRONG: {line}")
            agreed = "agree" if not checks["wrong"] else "do not agree"
            print(f"The tables {agreed} with what the emulator did. {seconds(spent)} in all.")
    return 1 if checks["wrong"] else 0


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat()


def _picture() -> bytes:
    """A small portrait-like picture to upload."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (256, 256), "#dfe7ee")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((78, 48, 178, 168), fill="#e8b796")
    draw.ellipse((40, 170, 216, 330), fill="#41719c")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _submit_all(emulator: Emulator) -> list[Task]:
    """Create 17 tasks over all seven APIs, two of which fail in different ways."""
    portrait = _picture()
    creates = [
        ("ailab", {"image": portrait, "hair_style": "BuzzCut"}, "hairstyle-pro", "buzz cut"),
        ("ailab", {"image": portrait}, "bald", "bald"),
        ("ailab-legacy", {"image": portrait, "mode": "AUTO"}, "hd-color-migration", "warmer colours"),
        ("ailab-legacy", {"image": portrait, "index": 1}, "anime", "me as cartoon"),
        ("gptge", {"model": "MiniMax-Hailuo-02", "prompt": "waves at dusk", "duration": 6}, "hailuo", "waves"),
        ("gptge", {"model": "doubao-seedance-1-0-lite", "prompt": "a paper boat"}, "seedance", "paper boat"),
        ("gptge", {"model": "wan2.2-t2v-plus", "input": {"prompt": "fog in a forest"}}, "bailian", "fog"),
        ("tripo", {"type": "text_to_model", "prompt": "an owl of wood"}, "task", "wooden owl"),
        ("tripo", {"type": "text_to_image", "prompt": "an owl, studio light"}, "task", "owl portrait"),
        ("tripo", {"type": "text_to_model", "prompt": "a banned thing emu:banned"}, "task", "banned"),
        ("tripo-v3", {"prompt": "a small chair", "model": "v2.5-20250123"}, "text-to-model", "chair"),
        ("aigptimage", _image("gpt-image-2-text-to-image", "a lighthouse", resolution="1K"), None, "lighthouse"),
        ("aigptimage", _image("gpt-image-2-text-to-image", "a lighthouse", resolution="2K"), None, "lighthouse 2K"),
        ("kie", _image("google/nano-banana", "a fox in snow"), None, "fox"),
        ("kie", _image("google/nano-banana", "a fox in a suit"), None, "fox in a suit"),
        ("kie", _image("google/nano-banana", "somebody famous emu:policy"), None, "refused"),
    ]
    tasks = [
        _api.submit(provider, request, endpoint=endpoint, label=label)  # type: ignore[arg-type]
        for provider, request, endpoint, label in creates
    ]
    return [*tasks, Task("gptge", emulator.make_jimeng(), "jimeng")]


def _image(model: str, prompt: str, **more: str) -> dict[str, Any]:
    return {"model": model, "input": {"prompt": prompt, **more}}


def _check(emulator: Emulator, frame: pd.DataFrame, store: Path) -> dict[str, Any]:
    """The tables against the emulator's own record: ids, outcomes, credits, files by sha256, and the poll floors."""
    from ._providers import get

    ledger = emulator.ledger()
    wrong: list[str] = []
    files = 0
    for row in frame.to_dict("records"):
        truth = ledger.task(row["provider"], row["task_id"])
        name = f"{row['provider']}:{row['task_id']}"
        if truth.state != row["outcome"]:
            wrong.append(f"{name} is {row['outcome']} in the table and {truth.state} in the ledger")
        saved = {hashlib.sha256((store / f).read_bytes()).hexdigest() for f in json.loads(row["files"])}
        served = {record.sha256 for record in truth.files.values() if record.sha256}
        files += len(saved)
        if saved != served:
            wrong.append(f"{name} saved {len(saved)} of {len(served)} files as they were served")
        stated = row["credits"]
        if isinstance(stated, float) and truth.credits is not None and abs(stated - truth.credits) > 1e-6:
            wrong.append(f"{name} has {stated:g} credits in the table and {truth.credits:g} in the ledger")
    for provider in sorted(set(frame["provider"])):
        floor = get(provider).floor
        gaps = ledger.gaps(provider)
        if gaps and min(gaps) < floor:
            wrong.append(f"{provider} was looked at after {min(gaps):.3f} s, below its floor of {floor:g} s")
    return {"wrong": wrong, "files": files, "tasks": len(frame)}


def _print_tables(frame: pd.DataFrame) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, width=None if place() == "terminal" else 160)
    console.print()
    console.print(_table(frame, _columns_for(console.width), "Tasks (seconds)"))
    summary = verbs.summary(frame, by="provider")
    title = "Summary (success rate with its 95 % interval, times in seconds)"
    console.print(_table(summary, _columns_for(console.width, _SUMMARY), title))


def _columns_for(width: int, columns: dict[str, str] = _COLUMNS) -> dict[str, str]:
    """The columns that fit into a terminal of this width."""
    left_out: set[str] = set()
    if width < 132:
        left_out |= {"queue_s", "run_s", "uncertainty_s", "polls"}
    if width < 110:
        left_out |= {"error_message", "polls_mean"}
    return {column: heading for column, heading in columns.items() if column not in left_out}


def _table(frame: pd.DataFrame, columns: dict[str, str], title: str) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ._model.text import clean

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    records = frame.to_dict("records")
    rows = [[clean(_cell(column, row[column], row), 80) for column in columns] for row in records]
    for index, (column, heading) in enumerate(columns.items()):
        text = column in {"provider", "model", "outcome", "error_message"}
        # In a narrow terminal the long texts give way, never a number.
        shrinks = column in {"model", "error_message"}
        width = max(len(heading), *(len(row[index]) for row in rows))
        table.add_column(
            heading,
            justify="left" if text else "right",
            no_wrap=not shrinks,  # rich makes only columns narrower that might wrap; their texts do not
            min_width=min(8, width) if shrinks else width,
            max_width=40 if shrinks else None,
        )
    for record, row in zip(records, rows, strict=True):
        cells = [Text(words, no_wrap=True, overflow="ellipsis") for words in row]
        table.add_row(*cells, style="red" if record.get("outcome") == "failed" else "")
    return table


def _cell(column: str, value: Any, row: Mapping[Any, Any]) -> str:
    if value is None or value != value or str(value) == "<NA>":  # noqa: PLR0124  # NaN
        return "-"
    if column == "cost":
        return f"{value:.3f} {row.get('currency') or ''}".strip()
    if column == "success_rate":
        return f"{value:.0%} ({100 * row['success_low']:.0f}-{row['success_high']:.0%})"
    if column == "polls_mean":
        return f"{value:.1f}"
    if isinstance(value, float):
        return f"{value:g}" if column == "credits" else f"{value:.2f}"
    return str(value)


def _as_json(frame: pd.DataFrame, checks: dict[str, Any], folder: Path, csv: Path, spent: float) -> dict[str, Any]:
    rows = json.loads(frame.to_json(orient="records", date_format="iso"))
    return {
        "tasks": rows,
        "summary": json.loads(verbs.summary(frame, by="provider").to_json(orient="records")),
        "agrees_with_ledger": not checks["wrong"],
        "wrong": checks["wrong"],
        "files": checks["files"],
        "folder": str(folder),
        "csv": str(csv),
        "seconds": round(spent, 2),
    }
