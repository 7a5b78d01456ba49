"""The command line of a benchmark script: run its parts, print each target and what was measured, return an exit code.

A part is a generator function that takes `quick`, prints what is worth reading and yields a `Target` for each goal.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """One goal and what was measured.

    Attributes:
        fact: What was measured.
        goal: What it should be, in words.
        measured: The value, in words.
        met: Whether the goal is met.
        details: What was wrong, one line each; the first ten are printed where the goal is not met.
    """

    fact: str
    goal: str
    measured: str
    met: bool
    details: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{'met    ' if self.met else 'NOT MET'}  {self.fact}: {self.measured} ({self.goal})"


Part = Callable[..., Iterator[Target]]


def at_most(fact: str, value: float, most: float, unit: str = "", *, beside: str = "") -> Target:
    """A figure that must be small; `beside` is printed behind it."""
    return Target(fact, f"at most {most:g}{unit}", f"{value:.3g}{unit}{beside}", value <= most)


def at_least(fact: str, value: float, least: float, unit: str = "", *, beside: str = "") -> Target:
    """A figure that must be large; `beside` is printed behind it."""
    return Target(fact, f"at least {least:g}{unit}", f"{value:.4g}{unit}{beside}", value >= least)


def none(fact: str, wrong: Sequence[Any], goal: str = "none", *, of: str = "") -> Target:
    """A list that must be empty; `of` says what was searched."""
    return Target(fact, goal, f"{len(wrong) or 'none'}{of}", not wrong, [str(one) for one in wrong])


def run(text: str, parts: Mapping[str, Part], *, on_request: Collection[str] = ()) -> int:
    """Parse the arguments, run the parts in order, print; 1 when a target is not met.

    Args:
        text: The script's docstring, shown by `--help`.
        parts: Part by name.
        on_request: Names of parts that run only when they are named.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [name for name in parts if name not in on_request]
    named = f"; only when named: {', '.join(on_request)}" if on_request else ""
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: {', '.join(usual)}{named}")
    parser.add_argument("--quick", action="store_true", help="less of everything, in seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the targets to this file too")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    file = chosen.json and chosen.json.resolve()
    targets: list[Target] = []
    for name in chosen.parts or usual:
        begun = time.monotonic()
        print(f"-- {name}", flush=True)
        for target in parts[name](quick=chosen.quick):
            targets.append(target)
            print(target, flush=True)
            if not target.met:
                print("".join(f"    {line[:600]}\n" for line in target.details[:10]), end="", flush=True)
            if file is not None:  # each time: an hour's work is not lost with its last minute
                file.write_text(json.dumps([asdict(one) for one in targets], indent=1) + "\n", "utf-8")
        print(f"   ({time.monotonic() - begun:.0f} s)", flush=True)
    return 0 if all(target.met for target in targets) else 1


def apart(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """What a function of a script's top level returns, called in a new interpreter."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments, **named).result()
