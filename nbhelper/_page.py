"""Python inside a browser's page, as in JupyterLite: one thread, no sockets, no processes, and a loop that runs always.

What differs there is decided by the functions in here, by the way the engine starts, and by `_fetch.py`.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ._errors import NbhelperError

P = ParamSpec("P")
T = TypeVar("T")
_LONGEST = 2_000_000.0
"""Seconds that a page's timer holds: it counts milliseconds in 31 bits."""


def in_page() -> bool:
    """Whether this Python runs inside a browser's page."""
    return sys.platform == "emscripten"


def need_a_machine(what: str, instead: str = "Open the notebook on a Jupyter server, such as Binder's.") -> None:
    """Refuse what cannot be had inside a page.

    Raises:
        NbhelperError: This is one.
    """
    if in_page():
        raise NbhelperError(f"{what} needs threads and sockets, which Python inside a browser does not have. {instead}")


def need_a_thread(what: str) -> None:
    """Refuse to wait where nothing goes on meanwhile.

    Raises:
        NbhelperError: This is a page, whose only thread would wait for itself.
    """
    if in_page():
        raise NbhelperError(
            f"{what} would never end: Python inside a browser has one thread. Use `await w` first, or "
            "`async for history in w.as_completed()`."
        )


async def aside(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function gives that waits for a disk: from another thread, or at once where there is no other."""
    return call(*args, **kwargs) if in_page() else await asyncio.to_thread(call, *args, **kwargs)


def alarm(seconds: float, call: Callable[[], None]) -> threading.Timer | asyncio.TimerHandle:
    """Call something after so many seconds, on whatever thread, unless `cancel()` comes first."""
    if in_page():
        return asyncio.get_running_loop().call_later(min(seconds, _LONGEST), call)
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer
