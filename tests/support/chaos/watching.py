"""Errors of the library that no caller sees, collected while it runs, and its timeouts made shorter."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(self.format(record))


@contextmanager
def uncaught() -> Iterator[list[str]]:
    """Collect every error that the library or asyncio logs, and every exception that ends a thread."""
    handler = _Errors()
    loggers = [logging.getLogger(name) for name in ("nbhelper", "asyncio")]
    before = threading.excepthook
    threading.excepthook = lambda args: handler.errors.append(repr(args.exc_value))
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield handler.errors
    finally:
        threading.excepthook = before
        for logger in loggers:
            logger.removeHandler(handler)


@contextmanager
def scaled(factor: float) -> Iterator[None]:
    """Divide the library's patience and pauses by `factor`; the providers' floors stay."""
    from nbhelper._model import lost_sight
    from nbhelper._network import downloads, gate
    from nbhelper._watching import pace, saving

    seconds = [
        (pace, "LONGEST"), (pace, "BACKOFF_CAP"), (pace, "SLOW"), (downloads, "_PAUSE"), (saving, "_RESOLVE_PAUSE"),
        (gate, "_PROBE_CAP"),
    ]  # fmt: skip
    spans = [(lost_sight, "GRACE"), (lost_sight, "PATIENCE")]
    kept = [(module, name, getattr(module, name)) for module, name in (*seconds, *spans)]
    for module, name, value in kept:
        setattr(module, name, value / factor)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
