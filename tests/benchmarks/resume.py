"""A kernel killed at 20 points of a real run, each time resumed: `python tests/benchmarks/resume.py [20]`.

The emulator runs in this process, a real Jupyter kernel in another. A first run without a kill tells how long it takes;
then the kernel is killed at evenly spaced moments of it, started again, and `nbhelper.resume()` watches on. A point
counts as resumed when every task has its own end, every file on disk has the sha256 that the emulator's ledger has,
nothing is pending any more, no create was sent twice, no two looks were nearer than the floor, and there is one card.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "notebook")]

from kernels import Kernel, kinds  # noqa: E402  # found by the line above
from targets import at_least, judged, none  # noqa: E402

from nbhelper._emulated import server  # noqa: E402

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


def connect(emulator):
    """A first cell, as a person has it in the notebook."""
    names = dict.fromkeys(name for name, *_ in CREATES)
    lines = [f"nbh.connect({n!r}, api_key={emulator.key(n)!r}, base_url={emulator.url(n)!r})" for n in names]
    return "\n".join(["import time", "import nbhelper as nbh", *lines, ""])


def run(point, seconds):
    """One run in a folder of its own, killed after `point` of its length; what came of it."""
    with tempfile.TemporaryDirectory() as folder, server(speed=20, seed=1) as emulator:
        kernel = Kernel(Path(folder))
        try:
            kernel.run(connect(emulator))
            kernel.run(BEGIN.format(creates=CREATES))
            begun = time.monotonic()
            shown = 1
            if point is not None:
                time.sleep(max(0.0, begun + point * seconds - time.monotonic()))
                kernel.restart()
                kernel.run(connect(emulator))
                shown = kinds(kernel.run("w = nbh.resume()\nw", cell="resume")).count("display_data")
            found = json.loads(kernel.value(REPORT.format(seconds=90)).splitlines()[-1])
            spent = time.monotonic() - begun
        finally:
            kernel.close()
        ledger = emulator.ledger()
        parts = sum(download.status == 206 for task in ledger.tasks for download in task.downloads)
        wrong = faults(found, ledger) + [f"{shown} cards"] * (shown != 1)
        return found | {"seconds": spent, "wrong": ", ".join(wrong), "parts": parts}


def faults(found, ledger):
    """How what was kept differs from what the emulator did."""
    served = {}
    for provider, ident in zip(found["providers"], found["ids"], strict=True):
        record = ledger.task(provider, ident)
        served[f"{provider}:{ident}"] = sorted(f.sha256 for f in record.files.values() if f.sha256)
    kept = {task: [] for task in served}
    for task, _, path in found["files"]:
        with (Path(found["folder"]) / path).open("rb") as file:
            kept[task].append(hashlib.file_digest(file, "sha256").hexdigest())
    gap = min(gap for name in set(found["providers"]) for gap in ledger.gaps(name) or [9.9])
    wrong = {
        "outcomes": found["outcomes"] != ["succeeded"] * len(CREATES),
        f"{found['pending']} pending": found["pending"],
        f"{len(ledger.creates)} creates": len(ledger.creates) != len(CREATES),
        "other bytes": {task: sorted(set(digests)) for task, digests in kept.items()} != served,
        f"looks {gap:.2f} s apart": gap < 1.95,
    }
    return [name for name, is_so in wrong.items() if is_so]


def main():
    """Measure and print; 1 when a point was not resumed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", type=int, nargs="?", default=20)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    whole = run(None, 0.0)
    seconds = whole["seconds"]
    print(f"undisturbed: {seconds:.1f} s, {len(whole['files'])} files, {whole['wrong'] or 'right'}")
    figures = []
    for number in range(chosen.points):
        point = (number + 0.5) / chosen.points
        found = run(point, seconds)
        figures.append({"at_s": point * seconds, **{name: found[name] for name in ("resumed", "parts", "wrong")}})
        said = f"{found['resumed']} of {len(CREATES)} watched on, {found['parts']} downloads gone on with"
        print(f"killed at {point * seconds:4.1f} s: {said}, {found['wrong'] or 'same bytes'}", flush=True)
    good = sum(not one["wrong"] for one in figures)
    targets = [
        at_least(f"of {chosen.points} kills, resumed with the same bytes", good, chosen.points),
        none("faults of an undisturbed run", int(bool(whole["wrong"]))),
    ]
    return judged(targets, {"seconds": seconds, "kills": figures}, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
