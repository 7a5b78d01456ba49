"""Python in a process of its own, with this checkout on its path."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PATHS = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
"""`PYTHONPATH` of a process: the library of this checkout, and `support`."""


def environment(**more: str) -> dict[str, str]:
    """This process's variables without API keys, NBHELPER_ settings and pytest's own."""
    ours = ("NBHELPER_", "PYTEST_")
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and not k.startswith(ours)}
    return {**kept, "PYTHONPATH": PATHS, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1", **more}


def start(code: str, *arguments: str, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a script in a process of its own, its output and error output piped."""
    return subprocess.Popen(
        [sys.executable, "-c", dedent(code), *arguments],
        cwd=cwd,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def starting(head: str, *given: str, cwd: Path, **variables: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Yield a function that starts `head` and more code as a script, `given` first arguments; at the end kill all."""
    begun: list[subprocess.Popen[str]] = []

    def begin(code: str, *arguments: str) -> subprocess.Popen[str]:
        begun.append(start(head + dedent(code), *given, *arguments, cwd=cwd, **variables))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def run(
    code: str, *arguments: str, cwd: Path, timeout: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    with start(code, *arguments, cwd=cwd, **variables) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
