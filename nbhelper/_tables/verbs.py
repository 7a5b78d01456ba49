"""`to_frame()`, `summary()`, `gallery()`, `plot()`, `to_csv()` and `read_csv()`: what is made of a table that is given.

Data that is given is a DataFrame, or anything with `to_frame()` (`HasTable`): so a `Watch` and an `Experiment`, which
stand above this folder, are never imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from .._model.errors import BadInput
from .._model.history import History
from .._model.text import clean
from .._session import session
from .._store.filter import Filter
from .csv_file import read_csv as read_file
from .csv_file import to_csv as write_file
from .frames import histories_frame
from .plot import check as check_plot
from .plot import plot as draw
from .price_list import known_prices
from .store_verbs import tasks
from .summary import summary as summarise

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from .._views.gallery import Gallery

T = TypeVar("T")


class HasTable(Protocol):
    """Anything with `to_frame()`, such as a `Watch` or an `Experiment`."""

    def to_frame(self) -> pd.DataFrame:
        """One row per task; waits for their end."""


def to_frame(histories: Iterable[History] | HasTable | pd.DataFrame) -> pd.DataFrame:
    """One row per history, with the columns and dtypes of `tasks()`.

    Raises:
        BadInput: Something else than histories.
    """
    frame = _given_frame(histories)
    if frame is not None:
        return frame
    items = [histories] if isinstance(histories, History) else histories
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise BadInput(f"to_frame() takes a list of histories, not {type(histories).__name__}.")
    checked: list[History] = []
    for item in items:
        if not isinstance(item, History):
            raise BadInput(f"to_frame() takes a list of histories; one of them is {type(item).__name__}.")
        checked.append(item)
    store = session.store()
    stored = {str(row["uid"]): row for row in store.rows(Filter(uids=tuple(history.uid for history in checked)))}
    return histories_frame(checked, stored=stored, folder=store.folder, prices=known_prices(store.prices()))


def summary(
    data: pd.DataFrame | HasTable | None = None, by: str | Sequence[str] = ("provider", "model")
) -> pd.DataFrame:
    """Counts, success rate with its interval, times and cost per group.

    * `success_rate` is over what the server ended: succeeded, failed, expired, cancelled. `success_low` and
      `success_high` are its 95 % Wilson interval. `lost`, `stopped` and `unfinished` tasks are counted apart.
    * `total_s_p50` is the median of the known `total_s`, in seconds, whatever the outcome; `_p90` is there from 10
      tasks on, `_p95` from 20.
    * `credits` and `cost` are sums over all tasks that may have been billed. One unknown among them makes the sum
      missing, and so do several currencies in one group: group by `currency`, too.

    Args:
        data: A frame of `tasks()`, or a watch, whose end is waited for; None is every task in the store.
        by: A column or several, `param_…` columns included. Tasks without a value form a group of their own.

    Raises:
        BadInput: Another kind of data, or an unknown column; the text offers the nearest.

    Example:
        nbh.summary(nbh.tasks(since="1d"), by=["provider", "model", "currency"])
    """
    if not isinstance(by, str) and not (isinstance(by, Sequence) and all(isinstance(name, str) for name in by)):
        raise BadInput("by is a column's name, or a list of them.")
    frame = tasks() if data is None else _frame(data, "summary")
    return summarise(frame, by=by if isinstance(by, str) else list(by))


def gallery(
    data: pd.DataFrame | HasTable | Iterable[History], row: str | None = None, col: str | None = None, size: int = 256
) -> Gallery:
    """The pictures of tasks in a grid by up to two parameters, as static HTML with `.save(path)`.

    Below each picture stand its time and cost; a task without one says why. At most 400 pictures are drawn. Nothing is
    fetched: they are the files on disk.

    Args:
        data: A frame of `tasks()`, a watch, or histories.
        row: A column that the rows go by, or a parameter's name such as `"prompt"`.
        col: The same for the columns.
        size: Longest side of a thumbnail in pixels.

    Raises:
        BadInput: Another kind of data, or an unknown column; the text offers the nearest.

    Example:
        nbh.gallery(nbh.tasks(), row="provider", size=200).save("gallery.html")
    """
    from .._views.gallery import gallery as arrange

    folder = session.store().folder
    return arrange(to_frame(data), folder, row=row, col=col, size=size)


def plot(
    data: pd.DataFrame | HasTable | None = None,
    kind: Literal["timeline", "latency", "cost"] = "timeline",
    by: str | Sequence[str] = ("provider", "model"),
    ax: Axes | None = None,
) -> Axes:
    """Draw tasks with matplotlib: `"timeline"`, `"latency"` or `"cost"`.

    * `timeline`: a bar per task from its start to its finish, queue and run apart where both are known, all on this
      machine's clock; ends that nobody saw fade. The latest 60 tasks are drawn.
    * `latency`: the share of the succeeded tasks of each group that took at most so long (`total_s`).
    * `cost`: medians and quartiles of `cost` against `total_s` of the succeeded tasks of each group.

    The colours of text and background are those of matplotlib's style: in a dark theme,
    `plt.style.use("dark_background")` comes first.

    Args:
        data: A frame of `tasks()`, or a watch, whose end is waited for (`w.to_frame(wait=False)` does not wait); None
            is every task in the store.
        kind: Which picture.
        by: What colour, line and mark go by: a column or several, `param_…` columns included.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes, to be changed at will: `nbhelper.plot(data).figure.savefig("timeline.png")`.

    Raises:
        BadInput: Another kind of data or picture, an unknown column, costs in several currencies, or matplotlib is not
            installed.
    """
    check_plot(kind, ax)
    frame = tasks() if data is None else _frame(data, "plot")
    return draw(frame, kind, by=by, ax=ax)


def to_csv(data: pd.DataFrame | HasTable, path: str | Path) -> Path:
    """Write a table so that `read_csv` gives the same one back and no spreadsheet computes anything in it.

    UTF-8, all text in quotes, times in ISO 8601. A cell that a spreadsheet would take for a formula begins with an
    apostrophe, which `read_csv` takes away again.

    Args:
        data: A frame such as `nbhelper.tasks()`, or a watch, whose end is waited for.
        path: The file; an older one of that name is replaced.

    Returns:
        The file, absolute; it is replaced as a whole or not at all.

    Raises:
        BadInput: Another kind of data, or a path that cannot be a file.

    Example:
        nbh.to_csv(nbh.tasks(since="7d"), "timings.csv")
        frame = nbh.read_csv("timings.csv")
    """
    return write_file(_frame(data, "to_csv"), _printable(path))


def read_csv(path: str | Path) -> pd.DataFrame:
    """The table that `to_csv` wrote, dtypes and all.

    Raises:
        BadInput: There is no such file, or it is none of ours.
    """
    return read_file(_printable(path))


def _printable(path: T) -> T:
    """The same path, unless its text has control characters, which would break the lines that name it."""
    if isinstance(path, str | Path) and not str(path).isprintable():
        raise BadInput(f'A file\'s name cannot hold control characters: "{clean(path, 60)}".')
    return path


def _given_frame(data: object) -> pd.DataFrame | None:
    """A DataFrame itself, or what `to_frame()` gives; None for everything else.

    The `to_frame()` of pandas' own Series and Index is another one, and a class has none.
    """
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    to_frame_of_data = getattr(data, "to_frame", None)
    if not callable(to_frame_of_data) or isinstance(data, pd.Series | pd.Index | type):
        return None
    frame = to_frame_of_data()
    return frame if isinstance(frame, pd.DataFrame) else None


def _frame(data: object, verb: str) -> pd.DataFrame:
    """As `_given_frame`; anything else is refused in the name of `verb`."""
    frame = _given_frame(data)
    if frame is None:
        raise BadInput(f"{verb}() takes a DataFrame such as nbhelper.tasks(), or a watch, not {type(data).__name__}.")
    return frame
