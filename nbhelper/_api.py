"""The verbs: thin, checked, and the only place where the parts meet."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from datetime import date as datetime_date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from . import _session
from ._begin import Display, check_interval, choices, opened
from ._errors import BadInput
from ._text import clean
from ._values import Task

if TYPE_CHECKING:
    from datetime import timedelta

    import pandas as pd
    from matplotlib.axes import Axes

    from ._filter import Filter
    from ._gallery import Gallery
    from ._history import History
    from ._prices import Price
    from ._providers.contract import Provider
    from ._session import Connection
    from ._store import Store
    from ._watch import Watch

T = TypeVar("T")


def connect(name: str, api_key: str | None = None, base_url: str | None = None, *, private: bool = False) -> Connection:
    """Choose the key and address of a provider for this process.

    Without it, a key is looked for at first use: environment variable, `.env` in the working directory, Colab's
    secrets, and in an interactive session a prompt.

    Args:
        name: A provider's name.
        api_key: The key; kept in memory only.
        base_url: Replaces the API's root, path prefix included: https, or http on this machine.
        private: Allow addresses of your own network, also for results.

    Raises:
        BadInput: Something in it cannot be; the text never holds the key.
        MissingAPIKey: No key was given and none found.
    """
    from ._keys import covered

    secret, api_key = covered(api_key), None  # no traceback prints it
    return _session.connect(name, secret, base_url, private=private)


def register(provider: Provider) -> Provider:
    """Add an API of your own, as data; see `nbhelper.Provider` and the example in its module.

    Raises:
        BadInput: It is not a `Provider`.
    """
    from ._providers import register as add

    return add(provider)


def submit(
    provider: str,
    request: Mapping[str, Any],
    *,
    endpoint: str | None = None,
    files: Mapping[str, Any] | None = None,
    label: str | None = None,
    params: Mapping[str, Any] | None = None,
    reuse: bool = False,
) -> Task:
    """Create one task at an API: sent once, never again by itself.

    Args:
        provider: A provider's name.
        request: The API's own parameters. Bytes, `pathlib.Path`s, Pillow pictures and arrays among them are uploaded,
            ahead of the create where the API wants a token (Tripo).
        endpoint: Short name or path, where the API has several ways to create.
        files: Parameter to path (also as text), bytes, picture or array, for uploads.
        label: A name for the card, the table and the folder of files.
        params: What the tables show instead of the request.
        reuse: Take the stored task of an identical request, if one did not fail.

    Raises:
        BadInput: Nothing was sent; the text says what to change.
        SubmitFailed: The API refused; nothing was made.
        SubmitUnknown: It was sent and the answer is lost: it may be billed.
    """
    from . import _submit
    from ._page import need_a_machine

    need_a_machine("submit()")
    if label is not None and not isinstance(label, str):
        raise BadInput(f"label must be text, not {type(label).__name__}.")
    if not isinstance(reuse, bool):
        raise BadInput("reuse is True or False.")
    create = _submit.prepare(provider, request, endpoint=endpoint, files=files, params=params)
    return _submit.send(create, label=label, reuse=reuse)


def watch(
    tasks: Task | str | Mapping[str, Any] | Iterable[Any],
    *,
    provider: str | None = None,
    timeout: float | Literal["auto"] | None = "auto",
    interval: float | None = None,
    save: bool | str | Path = True,
    preview: int | Literal[False] = 384,
    display: Display | Literal[False] = "auto",
    block: bool | Literal["auto"] = "auto",
) -> Watch:
    """Watch one or many tasks: progress while they run, results saved before their links expire.

    Args:
        tasks: A `Task`, text such as `"tripo:1ec04ced-…"`, a create call's reply, or a list, Series or `tasks()`
            frame of these. What appears twice is watched once and keeps both places.
        provider: Whose ids or replies these are, where they do not say so.
        timeout: Seconds until this watch ends with the outcome `stopped`; `"auto"` is no limit, or 3,600 s when
            blocking; 0 is one look.
        interval: Seconds between looks at a healthy task, never below the API's floor; None aims at the finish.
        save: Save results: `True` into the store's folder, a folder of your own, or `False` for none.
        preview: Longest side of previews in pixels, or False for none.
        display: `"auto"`, `"widget"`, `"html"`, `"text"`, or False for nothing.
        block: Whether to wait here. `"auto"` returns at once in a notebook and waits in scripts and headless runs.

    Returns:
        A handle: `w.result()`, `await w`, `for history in w.as_completed()`, `w.stop()`, `w.to_frame()`.

    Raises:
        BadInput: Nothing was sent; the text says what to change.
        MissingAPIKey: A provider's key was not found; the text names the variable.
    """
    from ._references import tasks_of

    found, single = tasks_of(tasks, provider)
    names = dict.fromkeys(task.provider for task in found)
    chosen = choices(
        names, timeout=timeout, interval=interval, save=save, preview=preview, display=display, block=block
    )
    return opened(found, {name: _session.connection(name) for name in names}, chosen, single=single)


def resume(
    tasks: Task | str | Mapping[str, Any] | Iterable[Any] | None = None,
    max_age: str | datetime | timedelta | None = "24h",
    *,
    provider: str | None = None,
    timeout: float | Literal["auto"] | None = "auto",
    interval: float | None = None,
    save: bool | str | Path = True,
    preview: int | Literal[False] = 384,
    display: Display | Literal[False] = "auto",
    block: bool | Literal["auto"] = "auto",
) -> Watch:
    """Watch again what is unfinished, after a kernel restart or whenever: `watch(pending())`.

    Earlier events are kept, and downloads go on where they were. A task that is done but for its files is asked at most
    once for fresh links. What is in doubt, or cannot be reached from here, is told in a line and left as it is; nothing
    is ever sent again.

    Args:
        tasks: Only these, in any form that `watch` takes; None for everything in `pending()`.
        max_age: With None above: only what was submitted or first seen no longer ago; a time, ISO text, an age such as
            `"24h"`, or None for everything.
        provider: As for `watch`; so are all that follow.
        timeout: Seconds until this watch ends.
        interval: Seconds between looks.
        save: Whether and where results are saved.
        preview: Longest side of previews.
        display: What is shown.
        block: Whether to wait here.

    Returns:
        A watch in any case; with nothing to do a finished one, whose `len` is 0.

    Raises:
        BadInput: Nothing was sent; the text says what to change.
    """
    from . import _resume

    chosen = choices((), timeout=timeout, interval=interval, save=save, preview=preview, display=display, block=block)
    book = _session.store()
    plan = _resume.everything(book, max_age) if tasks is None else _resume.chosen(book, tasks, provider)
    check_interval(interval, plan.connections)
    return opened(plan.tasks, plan.connections, chosen, single=plan.single, lines=plan.lines, again=True)


# Tables


def tasks(
    since: str | datetime | timedelta | None = None,
    until: str | datetime | timedelta | None = None,
    provider: str | None = None,
    experiment: str | None = None,
    outcome: str | None = None,
) -> pd.DataFrame:
    """One row per task in the store, oldest first, always with all columns.

    Args:
        since: A time, ISO text, or an age such as `"2h"` or `"3d"`.
        until: The same.
        provider: Only this provider's.
        experiment: Only this experiment's.
        outcome: Only these, such as `"failed"`.

    Raises:
        BadInput: A filter that cannot be, such as a provider that is neither registered nor in the store.
    """
    from ._tables import frame_of_columns

    book, wanted = _wanted(since, until, provider, experiment, outcome)
    return _told(book, frame_of_columns(book.columns(wanted), book.prices()))


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
    from ._resume import pending_rows
    from ._tables import TASKS, frame_of, tasks_frame

    book, wanted = _wanted(since, until, provider, experiment)
    rows = pending_rows(book, wanted)
    frame = tasks_frame(rows, book.prices())
    why = frame_of({"pending": [row["pending"] for row in rows]}, {"pending": "string"})
    frame.insert(list(TASKS).index("label") + 1, "pending", why["pending"])
    return _told(book, frame)


def events(
    since: str | datetime | timedelta | None = None,
    until: str | datetime | timedelta | None = None,
    provider: str | None = None,
    experiment: str | None = None,
    outcome: str | None = None,
) -> pd.DataFrame:
    """One row per observation of the tasks that `tasks()` with the same filters has."""
    from ._tables import events_frame

    book, wanted = _wanted(since, until, provider, experiment, outcome)
    return _told(book, events_frame(book.event_rows(wanted)))


def outputs(
    since: str | datetime | timedelta | None = None,
    until: str | datetime | timedelta | None = None,
    provider: str | None = None,
    experiment: str | None = None,
    outcome: str | None = None,
) -> pd.DataFrame:
    """One row per result file of the tasks that `tasks()` with the same filters has."""
    from ._tables import outputs_frame

    book, wanted = _wanted(since, until, provider, experiment, outcome)
    return _told(book, outputs_frame(book.output_rows(wanted)))


def _wanted(
    since: object, until: object, provider: object, experiment: object, outcome: object = None
) -> tuple[Store, Filter]:
    """The store, and the filter of a table of it: all that needs no file is checked before one is opened."""
    from ._filter import Filter

    wanted = Filter.of(
        datetime.now(UTC), since=since, until=until, provider=provider, experiment=experiment, outcome=outcome
    )
    book = _session.store()
    return book, replace(wanted, provider=_known(book, wanted.provider))


def _known(book: Store, asked: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names, each of them registered or with tasks here: a slip would give an empty table."""
    from ._providers import get, names

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
    from ._tables import prices_frame

    return prices_frame(reversed(_session.store().prices()))


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
    """
    from ._prices import checked
    from ._providers import get

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
    _session.store().set_price(price).result()
    return price


def providers() -> pd.DataFrame:
    """One row per registered API: where its key was found (never the key), its address, endpoints and docs."""
    import pandas as pd

    from ._providers import get, names

    rows = [
        {
            "provider": name,
            "key_variable": " or ".join(spec.variables),
            "key_found": _session.key_source(name) or "not found",
            "base_url": _session.base_url(name),
            "endpoints": ", ".join(spec.creates),
            "floor_s": spec.floor,
            "link_lifetime_s": spec.lifetime,
            "docs": spec.docs,
        }
        for name in names()
        for spec in [get(name)]
    ]
    text = pd.StringDtype("python")
    numbers = {"floor_s": "Float64", "link_lifetime_s": "Float64"}
    frame = pd.DataFrame(rows)
    return frame.astype({column: numbers.get(column, text) for column in frame.columns})


def to_frame(histories: Iterable[History] | Watch | pd.DataFrame) -> pd.DataFrame:
    """One row per history, with the columns and dtypes of `tasks()`.

    Raises:
        BadInput: Something else than histories.
    """
    from ._filter import Filter
    from ._history import History as Kind
    from ._tables import to_frame as frame_of

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
    book = _session.store()
    known = {str(row["uid"]): row for row in book.rows(Filter(uids=tuple(history.uid for history in found)))}
    return frame_of(found, known=known, folder=book.folder, prices=book.prices())


def summary(data: pd.DataFrame | Watch | None = None, by: str | Sequence[str] = ("provider", "model")) -> pd.DataFrame:
    """Counts, success rate with its interval, times and cost per group.

    Args:
        data: A frame of `tasks()`, or a watch, whose end is waited for; None is every task in the store.
        by: A column or several, `param_…` columns included. Tasks without a value form a group of their own.

    Raises:
        BadInput: Another kind of data, or an unknown column; the text offers the nearest.
    """
    from ._summary import summary as summed

    if not isinstance(by, str) and not (isinstance(by, Sequence) and all(isinstance(name, str) for name in by)):
        raise BadInput("by is a column's name, or a list of them.")
    frame = tasks() if data is None else _frame(data, "summary")
    return summed(frame, by=by if isinstance(by, str) else list(by))


def gallery(
    data: pd.DataFrame | Watch | Iterable[History], row: str | None = None, col: str | None = None, size: int = 256
) -> Gallery:
    """The pictures of tasks in a grid by up to two parameters, as static HTML with `.save(path)`.

    Args:
        data: A frame of `tasks()`, a watch, or histories.
        row: A column that the rows go by, or a parameter's name such as `"prompt"`.
        col: The same for the columns.
        size: Longest side of a thumbnail in pixels.

    Raises:
        BadInput: Another kind of data, or an unknown column; the text offers the nearest.
    """
    from ._gallery import gallery as arranged

    folder = _session.store().folder
    return arranged(to_frame(data), folder, row=row, col=col, size=size)


def plot(
    data: pd.DataFrame | Watch | None = None,
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
    from ._plot import check
    from ._plot import plot as drawn

    check(kind, ax)
    frame = tasks() if data is None else _frame(data, "plot")
    return drawn(frame, kind, by=by, ax=ax)


def to_csv(data: pd.DataFrame | Watch, path: str | Path) -> Path:
    """Write a table so that `read_csv` gives the same one back and no spreadsheet computes anything in it.

    Returns:
        The file, absolute; it is replaced as a whole or not at all.

    Raises:
        BadInput: Another kind of data, or a path that cannot be a file.
    """
    from ._csv import to_csv as write

    return write(_frame(data, "to_csv"), _printable(path))


def read_csv(path: str | Path) -> pd.DataFrame:
    """The table that `to_csv` wrote, dtypes and all.

    Raises:
        BadInput: There is no such file, or it is none of ours.
    """
    from ._csv import read_csv as read

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


def set_store(folder: str | Path) -> Path:
    """Keep histories and files in another folder from now on; returns it, absolute.

    Raises:
        BadInput: That names no folder.
        StoreError: It cannot be used.
    """
    return _session.set_store(folder)
