"""Where this process runs: a notebook's kernel, a headless run, a terminal or a script."""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

Environment = Literal["notebook", "headless", "terminal", "script"]


def kernel() -> Any:
    """The running Jupyter kernel, or None; IPython is not imported."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return None
    try:
        return getattr(ipython.get_ipython(), "kernel", None)
    except Exception:  # noqa: BLE001  # a half-imported or replaced IPython is as good as none
        return None


def place() -> Environment:
    """`notebook` (a person at a kernel), `headless` (nbclient, nbconvert, papermill), `terminal` or `script`.

    A headless client says `allow_stdin=False`, which ipykernel keeps in a private attribute; where it is missing, a
    person is assumed.
    """
    running = kernel()
    if running is not None:
        return "notebook" if getattr(running, "_allow_stdin", True) else "headless"
    return "terminal" if _is_terminal(sys.stdout) else "script"


def in_colab() -> bool:
    """Whether this is Google Colab, where updates from threads do not show once a cell has ended."""
    return "google.colab" in sys.modules


def in_vscode() -> bool:
    """Whether VS Code shows this notebook; it puts a variable of its own into the namespace."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return "__vsc_ipynb_file__" in getattr(shell, "user_ns", {})


def cell() -> tuple[str | None, int | None]:
    """The running cell: the front end's name for it and the execution count; None where there is none."""
    running = kernel()
    shell = getattr(running, "shell", None)
    if shell is None:
        return None, None
    try:
        name = running.get_parent("shell")["metadata"].get("cellId")
    except Exception:  # noqa: BLE001  # not every kernel and front end says
        name = None
    return name if isinstance(name, str) else None, getattr(shell, "execution_count", None)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):
        return False


def can_ask() -> bool:
    """Whether a person can answer a prompt."""
    where = place()
    return where == "notebook" or (where == "terminal" and _is_terminal(sys.stdin))


def flag(name: str) -> str:
    """An environment variable of ours, lower-case, empty when unset."""
    return os.environ.get(name, "").strip().casefold()
