"""Waiting for what must become true, with a deadline; no test sleeps a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], deadline: float = 30.0) -> T:
    """The condition's first true value.

    Raises:
        AssertionError: It never came true.
    """
    ends = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < ends, f"still not true after {deadline:g} s"
        time.sleep(0.005)
    return value


def end(engine):
    """Close an engine and wait until its thread has ended."""
    engine.close()
    until(lambda: not engine.alive)


def finished(emulator, *tasks):
    """Wait until tasks have ended at the emulator, so that the first look sees the end; gives them back."""
    for task in tasks:
        until(lambda task=task: emulator.ledger().task(task.provider, task.id).finished)
    return tasks[0] if len(tasks) == 1 else list(tasks)
