"""One daemon thread with an event loop, in which all live cards of this process are drawn.

Not in the engine's loop: a drawing takes the longer the more tasks it shows, and a frozen card reads videos from disk.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from typing import Any

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}
"""The event loop by process id: a forked child inherits the loop, and not the thread that runs it."""


def run_in_card_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in the cards' thread, in an empty `contextvars` context.

    In the calling cell's context, ipykernel would take what is sent from there for output of that cell.
    """
    with _lock:
        loop = _loops.get(os.getpid()) or _start()
    running: set[asyncio.Task[None]] = set()

    def begin() -> None:
        task = loop.create_task(coroutine)
        running.add(task)  # asyncio itself keeps tasks by weak references
        task.add_done_callback(running.discard)

    loop.call_soon_threadsafe(begin, context=contextvars.Context())


def _start() -> asyncio.AbstractEventLoop:
    loop = _loops[os.getpid()] = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="nbhelper-cards", daemon=True)
    contextvars.Context().run(thread.start)
    return loop
