"""All benchmarks by one command: `python tests/benchmarks [NAME ...] [--quick] [--json FILE]`.

Runs the scripts of this folder one after another, each in a process of its own, and lets them print. Then prints a line
for each target with what was measured, and ends with 1 where one is missed or a script broke.
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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _lib.frame import Target

HERE = Path(__file__).parent
NAMES = ("speed", "pace", "store", "notebook", "faults", "truth")


def script(name: str, *, quick: bool) -> list[Target]:
    """Run one script; its targets, and one more that is not met where the script broke."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "targets.json"
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(file), *(["--quick"] if quick else [])]
        code = subprocess.run(command, check=False).returncode
        records: list[dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.exists() else []
    targets = [Target(**one) for one in records]
    if code and all(target.met for target in targets):
        targets.append(Target("exit code", "0", str(code), met=False))
    return targets


def main() -> int:
    """Run and print; 1 when a target is not met."""
    parser = argparse.ArgumentParser(
        prog="tests/benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="less of everything, in a few minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all targets to this file too")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"no such script: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    cores = len(os.sched_getaffinity(0))
    where = f"Python {platform.python_version()}, {platform.machine()}, {cores} cores, {time.strftime('%Y-%m-%d')}"
    by_script: dict[str, list[Target]] = {}
    for name in chosen.names or NAMES:
        print(f"\n== {name}", flush=True)
        by_script[name] = script(name, quick=chosen.quick)
    print(f"\n== all targets; {where}{', quick' if chosen.quick else ''}")
    for name, targets in by_script.items():
        print(*(f"{name:<9} {target}" for target in targets), sep="\n")
    if chosen.json:
        records = {name: [asdict(target) for target in targets] for name, targets in by_script.items()}
        chosen.json.write_text(json.dumps({"where": where, "quick": chosen.quick, **records}, indent=1) + "\n", "utf-8")
    return 0 if all(target.met for targets in by_script.values() for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
