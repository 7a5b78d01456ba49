"""Histories at fixed times, and matplotlib without a display."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from nbhelper._model.history import History
from nbhelper._model.seen import Seen
from nbhelper._model.task import Task

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def at() -> Callable[[float], datetime]:
    """The time so many seconds after a fixed noon."""
    return lambda seconds: NOON + timedelta(seconds=seconds)


@pytest.fixture
def closed_figures() -> Iterator[None]:
    """Matplotlib without a display and with its default style; every figure is closed again."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    with plt.style.context("default"):
        yield
        plt.close("all")


@pytest.fixture
def history() -> Callable[..., History]:
    """A history of observations, each given with its seconds after noon."""

    def make(*events: tuple[float, Seen], task: Task | None = None, **more: str) -> History:
        made = History(task or Task("kie", "t1"), **more)
        for seconds, seen in events:
            made = made.add(seen, NOON + timedelta(seconds=seconds))
        return made

    return make
