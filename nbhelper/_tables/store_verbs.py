"""`tasks()`, `pending()`, `events()` and `outputs()`: tables read from the store, through one filter.

The parameters of the filter stand in each signature, because `help()` and editors show them from there; what they mean
is `Filter` of the store.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .. import _providers
from .._model.errors import BadInput
from .._model.history import History
from .._model.task import Task
from .._model.text import kind_of
from .._session import session
from .._store.filter import Filter
from .columns import TASKS, column
from .frames import events_frame, outputs_frame, tasks_frame
from .price_list import known_prices

if TYPE_CHECKING:
    import pandas as pd

    from .._store.store import Store

When = str | datetime | timedelta | None
"""A time, ISO text, or an age such as `"2h"`; None is no limit."""
Names = str | Iterable[str] | None
"""A name or several; None is no condition."""


def tasks(
    since: When = None,
    until: When = None,
    provider: Names = None,
    experiment: Names = None,
    outcome: Names = None,
) -> pd.DataFrame:
    """One row per task in the store, oldest first, always with all columns, their order and dtypes the same.

    * Times (`…_at`) are UTC. `submitted_at`, `first_seen_at`, `finished_seen_at` and `saved_at` are of this machine's
      clock; `created_at` is the server's, and so are `started_at` and `finished_at` where it tells them, else they are
      the middle between two looks.
    * Durations (`…_s`) are seconds. `total_s` is from created, else submitted, to finished; from submitted, too, where
      the end is our observation and no `Date` header tells how the clocks differ. `delivered_s` is from
      submitted to the last file saved, `lag_s` from the server's finish to the look that saw it. `uncertainty_s` is
      how far `total_s` may be off, `time_source` whose clock it is: `server`, `observed` or `mixed`.
    * `outcome` is missing while a task is pending. `lost` and `stopped` are ends of our watching: those tasks may go
      on and be billed. `polls` counts all looks, `misses` those that brought nothing.
    * `credits` are what the server states, `cost` is worked out from `prices()` now; `cost_source` says which. Missing
      is unknown, never zero.
    * `files` is a JSON list of paths, relative to the store's folder where they are in it.
    * What was asked for follows as `param_…`, nested names dotted: `param_input.prompt`.

    Args:
        since: A time, ISO text, or an age such as `"2h"` or `"3d"`: only tasks that began then or later. A task begins
            with its create, by our clock; one that another program created, when the server says so, else with our
            first look.
        until: The same, for tasks that began then or earlier.
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
    store, chosen = _store_and_filter(since, until, provider, experiment, outcome)
    return _with_warnings(store, tasks_frame(store.each_row(chosen), known_prices(store.prices())))


def pending(
    since: When = None,
    until: When = None,
    provider: Names = None,
    experiment: Names = None,
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
    store, chosen = _store_and_filter(since, until, provider, experiment)
    rows = store.pending_rows(chosen)
    frame = tasks_frame(rows, known_prices(store.prices()))
    frame.insert(list(TASKS).index("label") + 1, "pending", column([row["pending"] for row in rows], "string"))
    return _with_warnings(store, frame)


def events(
    task: Task | History | str | Iterable[Task | History | str] | None = None,
    since: When = None,
    until: When = None,
    provider: Names = None,
    experiment: Names = None,
    outcome: Names = None,
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
    references = None if task is None else _references(task)
    store, chosen = _store_and_filter(since, until, provider, experiment, outcome)
    if references is not None:
        chosen = replace(chosen, uids=tuple(uid for reference in references for uid in store.uids(reference)))
    return _with_warnings(store, events_frame(store.event_rows(chosen)))


def outputs(
    since: When = None,
    until: When = None,
    provider: Names = None,
    experiment: Names = None,
    outcome: Names = None,
) -> pd.DataFrame:
    """One row per result file of the tasks that `tasks()` with the same filters has.

    `name` is where the reply had it, such as `output.pbr_model`; `path` is relative to the store's folder where the
    file is in it; `width` and `height` are pixels, missing where the file is no picture; `sha256` is of its bytes.
    """
    store, chosen = _store_and_filter(since, until, provider, experiment, outcome)
    return _with_warnings(store, outputs_frame(store.output_rows(chosen)))


def _references(task: object) -> list[Task]:
    """The tasks that `events()` is asked for, none of which has to be in the store.

    Raises:
        BadInput: Something else than tasks, their texts or histories.
    """
    items = [task] if isinstance(task, str | Task | History) else task
    if isinstance(items, bytes | Mapping) or not isinstance(items, Iterable):
        raise BadInput(f"events() takes a task, its text, a history or a list of these, not {kind_of(task)}.")
    references: list[Task] = []
    for item in items:
        if not isinstance(item, str | Task | History):
            raise BadInput(f"events() takes tasks, their texts or histories; one of them is {kind_of(item)}.")
        reference = item.task if isinstance(item, History) else item
        references.append(Task.parse(reference) if isinstance(reference, str) else reference)
    return references


def _store_and_filter(
    since: object, until: object, provider: object, experiment: object, outcome: object = None
) -> tuple[Store, Filter]:
    """The store, and the checked filter; whatever can be checked without a file is checked before the store is opened.

    Raises:
        BadInput: A filter that cannot be.
    """
    chosen = Filter.of(
        datetime.now(UTC), since=since, until=until, provider=provider, experiment=experiment, outcome=outcome
    )
    store = session.store()
    return store, replace(chosen, provider=_known_providers(store, chosen.provider))


def _known_providers(store: Store, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The same names, each registered or with tasks in the store: a misspelt one would give an empty table.

    Raises:
        BadInput: A name that is neither; the text offers the nearest.
    """
    if given is None:
        return None
    known = {*_providers.names()}
    if not known.issuperset(given):
        known |= store.providers()
    return tuple(name if name in known else _providers.get(name).name for name in given)


def _with_warnings(store: Store, frame: pd.DataFrame) -> pd.DataFrame:
    """The same frame, after a warning for each new note of the store: a table that lacks rows must not look whole."""
    for note in store.take_notes():
        warnings.warn(note, UserWarning, stacklevel=3)
    return frame
