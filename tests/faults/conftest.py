"""Fixtures of the fault tests; `support.fault_table` makes the table of rows."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.mill import KEY, Mill, provider
from support.promises import PromiseCounts, promised
from support.scripts import starting

import nbhelper as nbh
from nbhelper._network.http import Http


@pytest.fixture(autouse=True)
def _isolated(isolated: Path) -> Path:
    """No API keys, proxy variables or store of the user who runs the tests."""
    return isolated


@pytest.fixture
def mill_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mill]]:
    """Start a Mill with options (TLS, a port), registered under its own root or another; closed after the test."""
    monkeypatch.setenv("MILL_API_KEY", KEY)
    made: list[Mill] = []

    def begin(root: str | None = None, **options: Any) -> Mill:
        made.append(Mill(**options))
        nbh.register(provider(root or made[-1].root))
        return made[-1]

    yield begin
    for mill in made:
        mill.close()
        assert mill.server.faults == []


SCRIPT = """
import os, sys, time
import nbhelper as nbh
from support.mill import provider
from support.waiting import until

nbh.register(provider(sys.argv[1], looks_per_second=500))

def watch(*names, **more):
    return nbh.watch([f"mill:{n}" for n in names], **{"block": False, "display": False, "interval": 0.1, **more})
"""


@pytest.fixture
def script(mill: Mill, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start scripts in which the mill is registered, with `watch(*ids)` and `until(condition)`."""
    with starting(SCRIPT, mill.root, cwd=tmp_path, MILL_API_KEY=KEY) as begin:
        yield begin


@pytest.fixture
def hasty_looks(monkeypatch: pytest.MonkeyPatch) -> float:
    """The deadline of a look is 0.33 seconds instead of 30."""
    assert Http.api.__kwdefaults__ is not None
    monkeypatch.setitem(Http.api.__kwdefaults__, "deadline", 0.33)
    return 0.33


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Record a measured value as text for the table of rows."""
    return lambda text: request.node.user_properties.append(("figure", text))


@pytest.fixture
def bound(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Assert that a count (of requests, if not named) is within a bound, and record both for the table of rows."""

    def check(n: float, most: float, what: str = "requests") -> None:
        request.node.user_properties.append(("bound", (round(n, 3), most, what)))
        assert n <= most, f"{n:g} {what}, at most {most:g}"

    return check


@pytest.fixture(autouse=True)
def promises(isolated: Path, request: pytest.FixtureRequest) -> Iterator[PromiseCounts]:
    """Assert in every test what must hold in every row: see `support.promises`."""
    with promised() as kept:
        yield kept
    request.node.user_properties.append(("promises", dict(kept.counts)))
    assert kept.broken == []
