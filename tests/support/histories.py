"""Fixtures of the tests of the model and of the tables: histories whose events have given times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from nbhelper._model.history import History
from nbhelper._model.seen import Seen
from nbhelper._model.task import Task

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def at() -> Callable[[float], datetime]:
    """Seconds after a fixed noon, as a time."""
    return lambda seconds: NOON + timedelta(seconds=seconds)


@pytest.fixture
def history() -> Callable[..., History]:
    """A history from pairs of seconds after noon and what was seen then."""

    def make(*events: tuple[float, Seen], task: Task | None = None, **more: str) -> History:
        found = History(task or Task("kie", "t1"), **more)
        for seconds, seen in events:
            found = found.add(seen, NOON + timedelta(seconds=seconds))
        return found

    return make
