"""The figures of one topic by one command: `python tests/benchmarks/figures.py TOPIC … [--json FILE]`.

Runs the topic's scripts one after another, each in a process of its own, and lets them print; then prints a line for
each target with what was measured: as the script wrote it (`--json`), or its exit code where it names no targets.
Everything goes to one file, `figures-TOPIC.json` unless another is named. Ends with code 1 when a target was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOPICS = {
    "history": ("store.py", "truth.py 500", "resume.py 20", "store_torture.py"),
    "experiment": ("experiment.py",),
    "scale": ("import_time.py", "pace.py", "live.py", "scale.py", "many_tasks.py"),
    "faults": ("torture.py", "outage.py"),
    "notebook": ("notebook.py", "card.py"),
}
NAMES = {"fact": ("fact", "name", "target"), "found": ("found", "measured"), "met": ("met", "ok", "kept")}
"""What scripts call the parts of a verdict."""


def run(command: str) -> dict[str, Any]:
    """One script: its exit code, its seconds and what it wrote."""
    script, *arguments = command.split()
    begun = time.monotonic()
    print(f"\n== {command}", flush=True)
    with tempfile.TemporaryDirectory() as space:
        file = Path(space) / "figures.json"
        if '"--json"' in (HERE / script).read_text("utf-8"):
            arguments += ["--json", str(file)]
        code = subprocess.run(
            [sys.executable, HERE / script, *arguments], env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
            check=False,
        ).returncode  # fmt: skip
        written = json.loads(file.read_text("utf-8")) if file.exists() else None
    return {"command": command, "code": code, "seconds": round(time.monotonic() - begun, 1), "figures": written}


def verdicts(node: Any) -> Iterator[dict[str, Any]]:
    """Every verdict in what a script wrote, however deep it lies, under the names that are used here."""
    if isinstance(node, dict):
        told = {name: next((node[word] for word in words if word in node), None) for name, words in NAMES.items()}
        if isinstance(told["met"], bool) and told["fact"] is not None:
            yield {**told, "target": node.get("target", "")}
            return
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from verdicts(inner)


def main() -> int:
    """Run and print; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="+", choices=TOPICS, metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--json", type=Path, help="the file for all figures")
    chosen = parser.parse_args()
    file = chosen.json or Path(f"figures-{'-'.join(chosen.topics)}.json")
    about = {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "python": platform.python_version()}
    about |= {"system": platform.platform(), "cores": len(os.sched_getaffinity(0))}
    runs = []
    for command in (command for topic in chosen.topics for command in TOPICS[topic]):
        done = run(command)
        by_code = {"fact": "exit code", "found": done["code"], "met": done["code"] == 0, "target": "0"}
        told = list(verdicts(done["figures"]))
        if not told or (done["code"] and all(one["met"] for one in told)):  # it broke behind what it wrote
            told.append(by_code)
        runs.append({**done, "verdicts": told})
        file.write_text(json.dumps({**about, "runs": runs}, indent=1) + "\n", "utf-8")
    print(f"\n== {', '.join(chosen.topics)}: targets")
    for done in runs:
        for one in done["verdicts"]:
            mark = "met    " if one["met"] else "NOT MET"
            print(f"{mark}  {done['command']}: {one['fact']}: {one['found']} ({one['target']})")
    print(f"written to {file}")
    return 0 if all(one["met"] for done in runs for one in done["verdicts"]) else 1


if __name__ == "__main__":
    sys.exit(main())
