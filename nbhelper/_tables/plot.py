"""Check the arguments of a plot of a tasks() frame, and call the function that draws its kind.

Matplotlib is imported by this module and the `plot_*` beside it alone, and only when something is drawn. In every plot,
no two groups differ by colour alone, and no number is drawn that the rows do not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from .._model.errors import BadInput
from .._model.text import clean, nearest
from .._model.timing import TIMES
from .plot_cost import cost
from .plot_latency import latency
from .plot_timeline import timeline

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Kind = Literal["timeline", "latency", "cost"]
KINDS: tuple[Kind, ...] = ("timeline", "latency", "cost")
_NEEDED: dict[Kind, tuple[str, ...]] = {
    "timeline": (
        "provider", "task_id", "label", "state", "outcome", "error_code", *TIMES, "queue_s", "total_s", "lag_s",
        "time_source", "uncertainty_s",
    ),
    "latency": ("outcome", "total_s"),
    "cost": ("outcome", "total_s", "cost", "currency"),
}  # fmt: skip


def check(kind: object, ax: object) -> None:
    """Refuse what can be refused before any data is waited for.

    Raises:
        BadInput: An unknown kind, something else than Axes, or no matplotlib.
    """
    if kind not in KINDS:
        raise BadInput(
            f'There is no plot "{clean(kind, 40)}"; kind is "timeline", "latency" or "cost".'
            f"{nearest(clean(kind, 40), KINDS)}"
        )
    try:
        from matplotlib.axes import Axes
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise BadInput('Plots need matplotlib: pip install "nbhelper[plot]".') from None
    if ax is not None and not isinstance(ax, Axes):
        raise BadInput(f"ax is one matplotlib Axes, or None for a new figure, not {type(ax).__name__}.")


def plot(
    frame: pd.DataFrame,
    kind: Kind = "timeline",
    by: str | Sequence[str] = ("provider", "model"),
    ax: Axes | None = None,
) -> Axes:
    """Draw one kind of plot.

    Args:
        frame: The columns of `tasks()`.
        kind: See `nbhelper.plot`.
        by: A column or several that colour, line and mark go by; an empty list for none.
        ax: Axes to draw on; None makes a figure through pyplot, which a notebook shows by itself.

    Raises:
        BadInput: An unknown kind or column, a column that is missing, several currencies, or no matplotlib.
    """
    check(kind, ax)
    names = _names(frame, by)
    missing = [name for name in _NEEDED[kind] if name not in frame.columns]
    if missing:
        raise BadInput(f'plot("{kind}") needs the columns of tasks(); there is no {", ".join(missing)}.')
    frame = frame.reset_index(drop=True)
    match kind:
        case "timeline":
            return timeline(frame, names, ax)
        case "latency":
            return latency(frame, names, ax)
        case "cost":
            return cost(frame, names, ax)


def _names(frame: pd.DataFrame, by: object) -> list[str]:
    """The columns that `by` names, each once.

    Raises:
        BadInput: Something else than names, or a column that the frame does not have.
    """
    given: object = [by] if isinstance(by, str) else by
    if not isinstance(given, Iterable):
        raise BadInput(f"by is a column's name or several, not {type(by).__name__}.")
    names = list(dict.fromkeys(given))
    for name in names:
        if name not in frame.columns:
            raise BadInput(f'There is no column "{clean(name, 60)}" to group by.{nearest(str(name), frame.columns)}')
    return names
