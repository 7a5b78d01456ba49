"""An empty store, times, and Python processes beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import nbhelper
from nbhelper._store.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def at() -> Callable[[float], datetime]:
    """Seconds after a fixed noon, as a time."""
    return lambda seconds: NOON + timedelta(seconds=seconds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store that is closed afterwards."""
    made = Store(tmp_path / "nbhelper-data")
    yield made
    made.close()


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a script in a Python process of its own, with nbhelper to import and warnings as errors."""

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        root = str(Path(nbhelper.__file__).parents[1])
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": root},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
