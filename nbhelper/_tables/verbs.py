"""The tables and what is made of them: thin and checked, each from the store or from the frame that it is given."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from datetime import date as datetime_date
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from .._model.errors import BadInput
from .._model.text import clean, kind_of
from .._session import session

if TYPE_CHECKING:
    from datetime import timedelta

    import pandas as pd
    from matplotlib.axes import Axes

    from .._model.history import History
    from .._model.task import Task
    from .._store.filter import Filter
    from .._store.store import Store
    from .._views.gallery import Gallery
    from .prices import Price

T = TypeVar("T")


class HasTable(Protocol):
    """Anything with a table of its own, such as a `Watch` or an `Experiment`."""

    def to_frame(self) -> pd.DataFrame:
        """One row per task; waits for their end."""


def tasks(
    since: str | datetime | timedelta | None = None,
    until: str | datetime | timedelta | None = None,
    provider: str | None = None,
    experiment: str | None = None,
    outcome: str | None = None,
) -> pd.DataFrame:
    """One row per task in the store, oldest first, always with all columns, their order and dtypes the same.

    * Times (`…_at`) are UTC. `submitted_at`, `first_seen_at`, `finished_seen_at` and `saved_at` are of this machine's
      clock; `created_at` is the server's, and so are `started_at` and `finished_at` where it tells them, else they are
      the middle between two looks.
    * Durations (`…_s`) are seconds. `total_s` is from created, else submitted, to finished, `delivered_s` from
      submitted to the last file saved, `lag_s` from the server's finish to the look that saw it. `uncertainty_s` is
      how far `total_s` may be off, `time_source` whose clock it is: `server`, `observed` or `mixed`.
    * `outcome` is missing while a task is pending. `lost` and `stopped` are ends of our watching: those tasks may go
      on and be billed. `polls` counts all looks, `misses` those that brought nothing.
    * `credits` are what the server states, `cost` is worked out from `prices()` now; `cost_source` says which. Missing
      is unknown, never zero.
    * `files` is a JSON list of paths, relative to the store's folder where they are in it.
    * What was asked for follows as `param_…`, nested names dotted: `param_input.prompt`.

    Args:
        since: A time, ISO text, or an age such as `"2h"` or `"3d"`.
        until: The same.
        provider: Only this provider's.
        experiment: Only this experiment's.
        outcome: Only these, such as `"failed"`; `"pending"` are those without one. Each of the last three takes a
            list, too.

    Raises:
        BadInput: A filter that cannot be, such as a provider that is neither registered nor in the store.

    Example:
        frame = nbh.tasks(since="2h", outcome=["failed", "expired"])
        frame[["provider", "label", "error_code", "error_message", "total_s"]]
    """
    from .frames import tasks_frame
    from .price_list import known_prices

    book, wanted = _wanted(since, until, provider, experiment, outcome)
    return _told(book, tasks_frame(book.rows(wanted), known_prices(book.prices())))


def pending(
    since: str | datetime | timedelta | None = None,
    until: str | datetime | timedelta | None = None,
    provider: str | None = None,
    experiment: str | None = None,
) -> pd.DataFrame:
    """What is unfinished and what is in doubt: rows of `tasks()`, and in the column `pending` why.

    That column is the fourth, behind `label`, so that a notebook shows it; all others are in the order of `tasks()`.

    `unfinished`: nobody has seen its end. `stopped`, `lost`: the watching ended before the task did, see
    `error_message`. `results missing`: over, and not all files are saved. `resume()` takes all of these up again.
    `in doubt`: a create was sent and no answer came, so it may exist and be billed; look in your account there.

    Args:
        since: As for `tasks`.
        until: The same.
        provider: Only this provider's.
        experiment: Only this experiment's.
    """
    from .frames import TASKS, frame_of, tasks_frame
    from .price_list import known_prices

    book, wanted = _wanted(since, until, provider, experiment)
    rows = book.pending_rows(wanted)
    frame = tasks_frame(rows, known_prices(book.prices()))
    why = frame_of({"pending": [row["pending"] for row in rows]}, {"pending": "string"})
    frame.insert(list(TASKS).index("label") + 1, "pending", why["pending"])
    return _told(book, frame)


def events(
    task: Task | History | str | Iterable[Task | History | str] | None = None,
    since: str | datetime | timedelta | None = None,
    until: str | datetime | timedelta | None = None,
    provider: str | None = None,
    experiment: str | None = None,
    outcome: str | None = None,
) -> pd.DataFrame:
    """One row per observation of the tasks that `tasks()` with the same filters has, by task and in order.

    `seen` says which columns are filled: a `snapshot` has `state`, `word` (the API's own), `progress` (0 to 1),
    `queue_position`, `seconds_left` and `credits`; a `miss`, a look that brought nothing, has `miss` (its kind),
    `status`, `code`, `message` and `retry_after` (seconds); `saved` has `output`, `path` and `n_bytes`; a `mark` is
    what we did ourselves. `at` is UTC by this machine's clock, `trace` the request id for the API's support.

    Args:
        task: Only these: a task, its text, a history, or a list of such; None is every task.
        since: As for `tasks`.
        until: The same.
        provider: The same.
        experiment: The same.
        outcome: The same.

    Raises:
        BadInput: A filter that cannot be, or something else than tasks.

    Example:
        nbh.events("tripo:1ec04ced-4b87-44f6-a296-beee80777941")[["at", "seen", "word", "progress"]]
    """
    from .frames import events_frame

    asked = None if task is None else _asked(task)
    book, wanted = _wanted(since, until, provider, experiment, outcome)
    if asked is not None:
        wanted = replace(wanted, uids=tuple(uid for one in asked for uid in book.uids(one)))
    return _told(book, events_frame(book.event_rows(wanted)))


def _asked(task: object) -> list[Task]:
    """The tasks that somebody asks for, none of which has to be in the store."""
    from .._model.history import History as Seen
    from .._model.task import Task as Reference

    items = [task] if isinstance(task, str | Reference | Seen) else task
    if isinstance(items, bytes | Mapping) or not isinstance(items, Iterable):
        raise BadInput(f"events() takes a task, its text, a history or a list of these, not {kind_of(task)}.")
    found: list[Task] = []
    for item in items:
        if not isinstance(item, str | Reference | Seen):
            raise BadInput(f"events() takes tasks, their texts or histories; one of them is {kind_of(item)}.")
        task_of_item = item.task if isinstance(item, Seen) else item
        found.append(Reference.parse(task_of_item) if isinstance(task_of_item, str) else task_of_item)
    return found


def outputs(
    since: str | datetime | timedelta | None = None,
    until: str | datetime | timedelta | None = None,
    provider: str | None = None,
    experiment: str | None = None,
    outcome: str | None = None,
) -> pd.DataFrame:
    """One row per result file of the tasks that `tasks()` with the same filters has.

    `name` is where the reply had it, such as `output.pbr_model`; `path` is relative to the store's folder where the
    file is in it; `width` and `height` are pixels, missing where the file is no picture; `sha256` is of its bytes.
    """
    from .frames import outputs_frame

    book, wanted = _wanted(since, until, provider, experiment, outcome)
    return _told(book, outputs_frame(book.output_rows(wanted)))


def _wanted(
    since: object, until: object, provider: object, experiment: object, outcome: object = None
) -> tuple[Store, Filter]:
    """The store, and the filter of a table of it: all that needs no file is checked before one is opened."""
    from .._store.filter import Filter

    wanted = Filter.of(
        datetime.now(UTC), since=since, until=until, provider=provider, experiment=experiment, outcome=outcome
    )
    book = session.store()
    return book, replace(wanted, provider=_known(book, wanted.provider))


def _known(book: Store, asked: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names, each of them registered or with tasks here: a slip would give an empty table."""
    from .._providers import get, names

    if asked is None:
        return None
    known = {*names()}
    if not known.issuperset(asked):
        known |= book.providers()
    return tuple(name if name in known else get(name).name for name in asked)


def _told(book: Store, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, after a warning of each thing the store has to say: what lacks rows must not look whole."""
    for note in book.news():
        warnings.warn(note, UserWarning, stacklevel=3)
    return frame


def prices() -> pd.DataFrame:
    """One row per known price: those that you set, newest first, then the published ones.

    `per` says what `amount` is for: a task, an image, a second, a credit, or an option that comes on top. An amount in
    the currency `credits` is what a task takes by the published list; `params` names the parameters it holds for.
    """
    from .frames import prices_frame
    from .price_list import known_prices

    return prices_frame(reversed(known_prices(session.store().prices())))


def set_price(
    provider: str,
    *,
    usd_per_credit: float | None = None,
    usd_per_task: float | None = None,
    usd_per_image: float | None = None,
    usd_per_second: float | None = None,
    model: str | None = None,
    params: Mapping[str, str | float] | None = None,
    failed_billed: bool | None = None,
    source: str = "",
    date: str | datetime_date | None = None,
    **amount: float,
) -> Price:
    """Say what something costs, for all tables from now on, of earlier tasks as well.

    It takes the place of a price that was set for the same provider, model and parameters. Of several that hold for a
    task the one with a model, and with more parameters, counts.

    Args:
        provider: A provider's name.
        usd_per_credit: For each credit that the server states, or that the published list has for the task.
        usd_per_task: For each task.
        usd_per_image: For each file that came back.
        usd_per_second: For each second that the parameter `duration` asked for.
        model: Only for this model; `*` stands for anything.
        params: Only for tasks with these parameters, such as `{"resolution": "2K"}`; `*` as above.
        failed_billed: Whether a task that did not succeed is billed; None where nobody says.
        source: Where you read it.
        date: The day of the price; None is today.
        amount: In another currency: `eur_per_image=0.04`. `credits_per_task=4` says what a task takes, for estimates.

    Raises:
        BadInput: Something that cannot be; nothing was kept.

    Example:
        nbh.set_price("kie", usd_per_credit=0.005, source="the pricing page", date="2026-11-21")
        nbh.set_price("aigptimage", eur_per_image=0.12, model="gpt-image*", params={"resolution": "2K"})
    """
    from .._providers import get
    from .prices import as_row, checked, place_of

    amounts: dict[str, object] = {
        "usd_per_credit": usd_per_credit,
        "usd_per_task": usd_per_task,
        "usd_per_image": usd_per_image,
        "usd_per_second": usd_per_second,
        **amount,
    }
    price = checked(
        get(provider).name,
        amounts,
        model=model,
        params=params,
        failed_billed=failed_billed,
        source=source,
        date=date,
        today=datetime.now(UTC).date(),
    )
    session.store().set_price(place_of(price), as_row(price)).result()
    return price


def to_frame(histories: Iterable[History] | HasTable | pd.DataFrame) -> pd.DataFrame:
    """One row per history, with the columns and dtypes of `tasks()`.

    Raises:
        BadInput: Something else than histories.
    """
    from .._model.history import History as Kind
    from .._store.filter import Filter
    from .frames import to_frame as frame_of
    from .price_list import known_prices

    frame = _given_frame(histories)
    if frame is not None:
        return frame
    items = [histories] if isinstance(histories, Kind) else histories
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise BadInput(f"to_frame() takes a list of histories, not {type(histories).__name__}.")
    found: list[History] = []
    for item in items:
        if not isinstance(item, Kind):
            raise BadInput(f"to_frame() takes a list of histories; one of them is {type(item).__name__}.")
        found.append(item)
    book = session.store()
    known = {str(row["uid"]): row for row in book.rows(Filter(uids=tuple(history.uid for history in found)))}
    return frame_of(found, known=known, folder=book.folder, prices=known_prices(book.prices()))


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
    from .summary import summary as summed

    if not isinstance(by, str) and not (isinstance(by, Sequence) and all(isinstance(name, str) for name in by)):
        raise BadInput("by is a column's name, or a list of them.")
    frame = tasks() if data is None else _frame(data, "summary")
    return summed(frame, by=by if isinstance(by, str) else list(by))


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
    from .._views.gallery import gallery as arranged

    folder = session.store().folder
    return arranged(to_frame(data), folder, row=row, col=col, size=size)


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

    Ink and ground are those of matplotlib's style: in a dark theme, `plt.style.use("dark_background")` comes first.

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
    from .plot import check
    from .plot import plot as drawn

    check(kind, ax)
    frame = tasks() if data is None else _frame(data, "plot")
    return drawn(frame, kind, by=by, ax=ax)


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
    from .csv_file import to_csv as write

    return write(_frame(data, "to_csv"), _printable(path))


def read_csv(path: str | Path) -> pd.DataFrame:
    """The table that `to_csv` wrote, dtypes and all.

    Raises:
        BadInput: There is no such file, or it is none of ours.
    """
    from .csv_file import read_csv as read

    return read(_printable(path))


def _printable(path: T) -> T:
    """A path, unless its text would break the lines of whatever says it."""
    if isinstance(path, str | Path) and not str(path).isprintable():
        raise BadInput(f'A file\'s name cannot hold control characters: "{clean(path, 60)}".')
    return path


def _given_frame(data: object) -> pd.DataFrame | None:
    """The frame behind a frame, a watch or anything that has `to_frame()`."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    own = getattr(data, "to_frame", None)
    if not callable(own) or isinstance(data, pd.Series | pd.Index | type):
        return None
    frame = own()
    return frame if isinstance(frame, pd.DataFrame) else None


def _frame(data: object, verb: str) -> pd.DataFrame:
    frame = _given_frame(data)
    if frame is None:
        raise BadInput(f"{verb}() takes a DataFrame such as nbhelper.tasks(), or a watch, not {type(data).__name__}.")
    return frame
