"""A Jupyter kernel killed in the middle of a run, and the tasks resumed by `nbhelper.resume()` in the next kernel.

The emulator runs in this process, the kernel in another. A run is right when every task has its own end, every file on
disk has the sha256 that the emulator's ledger has, nothing is pending any more, no create was sent twice, no two looks
were nearer than the floor, and there is one card.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernels import Kernel, kinds

from nbhelper._emulated import server

CREATES = [
    ("tripo", {"type": "text_to_model", "prompt": "an owl emu:real-seconds=1 emu:queue=0"}, None),
    ("tripo", {"type": "text_to_model", "prompt": "a fox emu:real-seconds=4 emu:queue=0 emu:huge=64"}, None),
    ("tripo-v3", {"model": "v2.5-20250123", "prompt": "a chair emu:real-seconds=3"}, "text-to-model"),
    ("aigptimage", {"model": "gpt-image-2-text-to-image", "input": {"prompt": "tea emu:real-seconds=2"}}, None),
    ("kie", {"model": "google/nano-banana", "input": {"prompt": "a lamp emu:real-seconds=5"}}, None),
    ("gptge", {"model": "MiniMax-Hailuo-02", "prompt": "waves emu:real-seconds=4"}, "hailuo"),
]
BEGIN = """
tasks = [nbh.submit(name, request, endpoint=endpoint) for name, request, endpoint in {creates!r}]
w = nbh.watch(tasks);
"""
REPORT = """
import json
histories = list(w.result({seconds}))
events = nbh.events()
marks = [events.loc[(events["task"] == str(h.task)) & (events["seen"] == "mark"), "word"].tolist() for h in histories]
rows = nbh.tasks()
files = nbh.outputs()
print(json.dumps({{
    "resumed": sum("resumed" in m for m in marks), "outcomes": rows["outcome"].astype(str).tolist(),
    "ids": rows["task_id"].tolist(), "providers": rows["provider"].tolist(), "pending": len(nbh.pending()),
    "files": [[t, n, str(p)] for t, n, p in zip(files["task"], files["name"], files["path"])],
    "folder": str(w.folder),
}}))
"""


def connect(emulator: Any) -> str:
    """The notebook's first cell: connect to the emulator."""
    names = dict.fromkeys(name for name, *_ in CREATES)
    lines = [f"nbh.connect({n!r}, api_key={emulator.key(n)!r}, base_url={emulator.url(n)!r})" for n in names]
    return "\n".join(["import time", "import nbhelper as nbh", *lines, ""])


@dataclass(frozen=True)
class Figures:
    """Results of one run.

    Attributes:
        seconds: From the first watch to the last end.
        resumed: Tasks whose watch was resumed.
        parts: Downloads that continued a partial file (HTTP 206).
        faults: What must not happen and did, in words.
    """

    seconds: float
    resumed: int
    parts: int
    faults: list[str]


def run(at: float | None = None) -> Figures:
    """One run in a folder of its own, its kernel killed and started again so many seconds after the watch began."""
    with tempfile.TemporaryDirectory() as folder, server(speed=20, seed=1) as emulator:
        kernel = Kernel(Path(folder))
        try:
            kernel.run(connect(emulator))
            kernel.run(BEGIN.format(creates=CREATES))
            begun = time.monotonic()
            shown = 1
            if at is not None:
                time.sleep(max(0.0, begun + at - time.monotonic()))
                kernel.restart()
                kernel.run(connect(emulator))
                shown = kinds(kernel.run("w = nbh.resume()\nw", cell="resume")).count("display_data")
            report = json.loads(kernel.value(REPORT.format(seconds=90)).splitlines()[-1])
            spent = time.monotonic() - begun
        finally:
            kernel.close()
        ledger = emulator.ledger()
        parts = sum(download.status == 206 for task in ledger.tasks for download in task.downloads)
        faults = _faults(report, ledger) + [f"{shown} cards"] * (shown != 1)
        return Figures(spent, report["resumed"], parts, faults)


def _faults(report: dict[str, Any], ledger: Any) -> list[str]:
    """Differences between the store and the emulator's ledger, in words."""
    served: dict[str, list[str]] = {}
    for provider, ident in zip(report["providers"], report["ids"], strict=True):
        record = ledger.task(provider, ident)
        served[f"{provider}:{ident}"] = sorted(f.sha256 for f in record.files.values() if f.sha256)
    kept: dict[str, list[str]] = {task: [] for task in served}
    for task, _, path in report["files"]:
        with (Path(report["folder"]) / path).open("rb") as file:
            kept[task].append(hashlib.file_digest(file, "sha256").hexdigest())
    gap = min(gap for name in set(report["providers"]) for gap in ledger.gaps(name) or [9.9])
    wrong = {
        "outcomes": report["outcomes"] != ["succeeded"] * len(CREATES),
        f"{report['pending']} pending": report["pending"],
        f"{len(ledger.creates)} creates": len(ledger.creates) != len(CREATES),
        "other bytes": {task: sorted(set(digests)) for task, digests in kept.items()} != served,
        f"looks {gap:.2f} s apart": gap < 1.95,
    }
    return [name for name, is_so in wrong.items() if is_so]
