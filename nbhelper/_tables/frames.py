"""Rows of the store as pandas DataFrames, whose columns, order and dtypes are always the same, also when empty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._model.fields import NOTHING
from .._model.history import History
from .._model.json_text import dumps
from .._store.history_to_row import summary_row
from .columns import EVENTS, OUTPUTS, PARAM, PRICE_COLUMNS, TASKS, Kind, as_one, column
from .params import flat
from .price_list import PRICES
from .prices import Price, as_row, costs_of

if TYPE_CHECKING:
    import pandas as pd


def tasks_frame(rows: Iterable[Mapping[str, Any]], prices: Iterable[Price] = PRICES) -> pd.DataFrame:
    """One row per task.

    Args:
        rows: From `Store.rows`, or `summary_row`; taken one by one, none is kept.
        prices: What `cost` is computed from, now and not when the task ran.
    """
    import pandas as pd

    cells: dict[str, list[Any]] = {name: [] for name in (*TASKS, "params")}
    for row in rows:
        for name, values in cells.items():
            values.append(row.get(name))
    cells["files"] = [dumps(files or []) for files in cells["files"]]
    params = flat(cells.pop("params"))
    costs = costs_of(cells, params, prices)
    for n, name in enumerate(("cost", "currency", "cost_source")):
        cells[name] = [cost[n] for cost in costs]
    columns = {name: column(cells.pop(name), kind) for name, kind in TASKS.items()}
    for name, values in params.items():
        kind, fit = as_one(values)
        columns[f"{PARAM}{name}"] = column(fit, kind)
    return pd.DataFrame(columns, copy=False)


def histories_frame(
    histories: Iterable[History],
    *,
    stored: Mapping[str, Mapping[str, Any]] = NOTHING,
    folder: Path | None = None,
    prices: Iterable[Price] = PRICES,
) -> pd.DataFrame:
    """One row per history, as `tasks_frame`.

    Args:
        histories: In the order of the rows.
        stored: Rows of `Store.rows` by `uid`, for what no event tells: endpoint, model, experiment and repeat.
        folder: The store's, which `files` is relative to; None leaves the paths absolute.
        prices: As for `tasks_frame`.
    """
    rows = []
    for history in histories:
        row = stored.get(history.uid, {})
        not_in_events = {name: row.get(name) for name in ("endpoint", "model", "experiment", "repeat")}
        rows.append(summary_row(history, folder, **not_in_events))
    return tasks_frame(rows, prices)


def events_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per observation, from `Store.event_rows`."""
    return _frame(map(_event, rows), EVENTS)


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of `EVENTS` that an observation has; which ones depends on what `seen` says."""
    body: Mapping[str, Any] = row.get("body") or {}
    cells = {name: row.get(name) for name in ("task", "seq", "at")} | {"seen": body.get("seen")}
    names: tuple[str, ...]
    match body.get("seen"):
        case "snapshot":
            error = body.get("error") or {}
            names = ("state", "word", "progress", "queue_position", "seconds_left", "credits", "trace")
            cells |= {"code": error.get("code"), "message": error.get("message") or None}
        case "miss":
            names = ("status", "code", "message", "retry_after", "trace")
            cells |= {"miss": body.get("kind")}
        case "saved":
            names = ("n_bytes", "message")
            cells |= {"word": body.get("state", "saved"), "output": body.get("name"), "path": body.get("file")}
        case _:
            names = ("word",)
            cells |= {"message": body.get("note")}
    return cells | {name: body.get(name) for name in names}


def outputs_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per saved file, from `Store.output_rows`."""
    return _frame(({"kind": "file", **row, "path": row.get("file")} for row in rows), OUTPUTS)


def prices_frame(prices: Iterable[Price]) -> pd.DataFrame:
    """One row per price, in this order."""
    rows = ({**as_row(price), "params": dumps(price.params) if price.params else None} for price in prices)
    return _frame(rows, PRICE_COLUMNS)


def _frame(rows: Iterable[Mapping[str, Any]], kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """A frame of these columns; a cell that a row lacks is missing."""
    import pandas as pd

    kept = list(rows)
    return pd.DataFrame({name: column([row.get(name) for row in kept], kind) for name, kind in kinds.items()})
