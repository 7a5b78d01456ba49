"""Watch asynchronous generation tasks from a notebook: live progress, saved results, honest tables.

    import nbhelper as nbh

    w = nbh.watch("tripo:1ec04ced-…")     # a live card; the cell returns at once
    w.result()                            # everything seen, results already on disk
    nbh.tasks()                           # one row per task: times, credits, money, files

Verbs are functions, nouns are classes, plural nouns are tables read from the store. Nothing heavy is loaded until a
name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from ._api import connect, providers, register, resume, set_store, submit, watch
    from ._emulated import Emulator
    from ._experiments.experiment import Experiment
    from ._model.errors import (
        BadInput,
        EmulatorError,
        MissingAPIKey,
        NbhelperError,
        StoreError,
        SubmitFailed,
        SubmitUnknown,
        WatchTimeout,
    )
    from ._model.history import History, TaskFailed
    from ._model.task import Request, Task
    from ._providers.provider import Provider
    from ._sync import run_sync
    from ._tables.price_verbs import prices, set_price
    from ._tables.store_verbs import events, outputs, pending, tasks
    from ._tables.verbs import gallery, plot, read_csv, summary, to_csv, to_frame
    from ._watching.watch import Watch

_NAMES = {
    "_tables.price_verbs": ("prices", "set_price"),
    "_tables.store_verbs": ("events", "outputs", "pending", "tasks"),
    "_tables.verbs": ("gallery", "plot", "read_csv", "summary", "to_csv", "to_frame"),
    "_api": ("connect", "providers", "register", "resume", "set_store", "submit", "watch"),
    "_emulated": ("Emulator",),
    "_model.errors": (
        "BadInput", "EmulatorError", "MissingAPIKey", "NbhelperError", "StoreError", "SubmitFailed", "SubmitUnknown",
        "WatchTimeout",
    ),
    "_experiments.experiment": ("Experiment",),
    "_model.history": ("History", "TaskFailed"),
    "_providers.provider": ("Provider",),
    "_sync": ("run_sync",),
    "_model.task": ("Request", "Task"),
    "_watching.watch": ("Watch",),
}  # fmt: skip
_MODULE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "BadInput",
    "Emulator",
    "EmulatorError",
    "Experiment",
    "History",
    "MissingAPIKey",
    "NbhelperError",
    "Provider",
    "Request",
    "StoreError",
    "SubmitFailed",
    "SubmitUnknown",
    "Task",
    "TaskFailed",
    "Watch",
    "WatchTimeout",
    "__version__",
    "connect",
    "events",
    "gallery",
    "outputs",
    "pending",
    "plot",
    "prices",
    "providers",
    "read_csv",
    "register",
    "resume",
    "run_sync",
    "set_price",
    "set_store",
    "submit",
    "summary",
    "tasks",
    "to_csv",
    "to_frame",
    "watch",
]


if not TYPE_CHECKING:  # with `__getattr__` in sight, a type checker accepts every misspelt name

    def __getattr__(name: str) -> Any:
        module = _MODULE.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f".{module}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """What `%load_ext nbhelper` calls: adds `%watch`."""
    from ._magic import load

    load(ipython)
