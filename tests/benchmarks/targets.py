"""What a benchmark was meant to reach and what it measured: a line for each, a file for all, an exit code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """One of them.

    Attributes:
        fact: What was measured.
        target: What it was meant to be, in words.
        found: What it was, in words.
        met: Whether that will do.
    """

    fact: str
    target: str
    found: str
    met: bool


def at_most(fact: str, found: float, most: float, unit: str = "") -> Target:
    """A figure that has to be small."""
    return Target(fact, f"at most {most:g}{unit}", f"{found:.3g}{unit}", found <= most)


def at_least(fact: str, found: float, least: float, unit: str = "") -> Target:
    """A figure that has to be large."""
    return Target(fact, f"at least {least:g}{unit}", f"{found:.4g}{unit}", found >= least)


def none(fact: str, wrong: int) -> Target:
    """Something that must not be."""
    return Target(fact, "none", f"{wrong:,}" if wrong else "none", not wrong)


def judged(targets: list[Target], figures: dict[str, Any], file: Path | None) -> int:
    """Print a line for each target, write everything to `file`; 1 when one is not met."""
    for one in targets:
        print(f"{'met    ' if one.met else 'NOT MET'}  {one.fact}: {one.found} ({one.target})", flush=True)
    if file is not None:
        file.write_text(json.dumps({"facts": [asdict(one) for one in targets], **figures}, indent=1) + "\n")
    return 0 if all(one.met for one in targets) else 1
