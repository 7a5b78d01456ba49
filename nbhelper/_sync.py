"""`run_sync`: run a coroutine to its end from a plain cell, whether or not a loop runs there."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from ._model.errors import BadInput
from ._model.text import clean

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T], *, nested: bool = False) -> T:
    """Run a coroutine and return its result, in a cell, a script or a test alike.

    It runs on a loop of its own in a helper thread, so that nothing is patched and cells that wait in the queue are
    not disturbed. An interrupt cancels it.

    Args:
        coroutine: What `async def` functions return when called.
        nested: Run it on the loop that already runs here, for objects that are bound to that loop. This patches the
            loop for the whole process: with nest-asyncio2 on ipykernel 7 and later, where nest-asyncio breaks cells
            that were queued ("cannot enter context"), else with nest-asyncio.

    Raises:
        BadInput: `coroutine` is not a coroutine, or `nested` is not possible on the loop that runs here.

    Example:
        async def first(w):
            async for history in w.as_completed():
                return history

        w = nbh.watch(nbh.submit("kie", {"model": "nano-banana-pro", "input": {"prompt": "an owl"}}), block=False)
        nbh.run_sync(first(w))
    """
    _check(coroutine, nested)
    if nested:
        return _run_nested(coroutine)
    results: list[T] = []
    errors: list[BaseException] = []
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []
    over = threading.Event()
    cancelled = threading.Event()

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        started.append((asyncio.get_running_loop(), task))
        if cancelled.is_set():  # before there was anything to cancel
            task.cancel()
        return await coroutine

    def work() -> None:
        try:
            with asyncio.Runner() as runner:
                results.append(runner.run(main()))
        except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
            errors.append(error)
        finally:
            over.set()

    # The coroutine runs in a copy of the caller's context variables.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="nbhelper-sync", daemon=True)

    def cancel() -> None:
        cancelled.set()
        for loop, task in started:
            with contextlib.suppress(RuntimeError):  # it ended meanwhile
                loop.call_soon_threadsafe(task.cancel)

    # Inside `asyncio.run` an interrupt first cancels the current task, and raises no exception here.
    caller = _current_task()
    cancellations = caller.cancelling() if caller is not None else 0
    try:
        thread.start()  # in here: an interrupt may come as soon as the coroutine runs
        # Not join(): when interrupted, it marks a thread that still runs as ended (until Python 3.13).
        while not over.wait(0.2):
            if caller is not None and caller.cancelling() > cancellations:
                cancellations = caller.cancelling()
                cancel()
    except KeyboardInterrupt:
        cancel()
        over.wait(1)
        raise
    if errors:
        raise errors[0]
    return results[0]


def _check(given: object, nested: object) -> None:
    """Refuse anything but a coroutine and a bool; a refused coroutine is closed."""
    if not inspect.iscoroutine(given):
        hint = "; call the function: run_sync(f())" if inspect.iscoroutinefunction(given) else ""
        raise BadInput(f"run_sync() takes a coroutine, not {type(given).__name__}{hint}.")
    if not isinstance(nested, bool):
        given.close()
        raise BadInput("nested is True or False.")


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return None


def _run_nested(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    try:
        patch(loop)
    except ValueError as error:  # uvloop and other loops that are not asyncio's own
        coroutine.close()
        raise BadInput(f"nested=True cannot be had here: {clean(error, 120)}. Leave it out.") from None
    result: T = loop.run_until_complete(coroutine)
    return result


def patch(loop: asyncio.AbstractEventLoop) -> None:
    """Let a running loop be run again from within, by the package that fits the kernel."""
    if _kernel_version() >= (7,):
        import nest_asyncio2 as nest

        kind = type(loop)
        if "_nest_patched" in vars(kind) and not hasattr(kind, "_nest_asyncio2"):
            # nest-asyncio was applied already, and nest-asyncio2 skips a loop class with its mark.
            del kind._nest_patched  # type: ignore[attr-defined]  # noqa: SLF001
    else:
        import nest_asyncio as nest
    nest.apply(loop)


def _kernel_version() -> tuple[int, ...]:
    """The version of ipykernel, when this process is a kernel."""
    import sys

    module = sys.modules.get("ipykernel")
    return tuple(getattr(module, "version_info", ()))[:1] if module else ()
