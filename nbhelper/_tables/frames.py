"""Histories as pandas DataFrames: the same columns, order and dtypes always, on pandas 2.2 and 3, also when empty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._model.history import History
from .._model.json_text import dumps
from .._model.seen import NOTHING, Outcome, State
from .._model.text import storable
from .._model.times import moment
from .._store.summary_row import summary_row
from .params import flat
from .price_list import PRICES
from .prices import Price, as_row, costs_of

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["string", "Int64", "Float64", "boolean", "time", "state", "outcome"]
"""What a column holds; each has one dtype."""
PARAM = "param_"
WORDS: dict[Kind, list[str]] = {"state": [str(word) for word in State], "outcome": [str(word) for word in Outcome]}
"""The categories, in their order."""

TASKS: dict[str, Kind] = {
    "provider": "string",
    "task_id": "string",
    "label": "string",
    "experiment": "string",
    "repeat": "Int64",
    "model": "string",
    "endpoint": "string",
    "origin": "string",
    "state": "state",
    "outcome": "outcome",
    "error_code": "string",
    "error_message": "string",
    "submitted_at": "time",
    "created_at": "time",
    "first_seen_at": "time",
    "started_at": "time",
    "finished_at": "time",
    "finished_seen_at": "time",
    "saved_at": "time",
    "queue_s": "Float64",
    "run_s": "Float64",
    "total_s": "Float64",
    "delivered_s": "Float64",
    "time_source": "string",
    "uncertainty_s": "Float64",
    "lag_s": "Float64",
    "polls": "Int64",
    "misses": "Int64",
    "rate_limited": "Int64",
    "credits": "Float64",
    "cost": "Float64",
    "currency": "string",
    "cost_source": "string",
    "n_outputs": "Int64",
    "n_saved": "Int64",
    "n_bytes": "Int64",
    "files": "string",
}
"""The columns of `tasks()`; those of the parameters follow."""

EVENTS: dict[str, Kind] = {
    "task": "string",
    "seq": "Int64",
    "at": "time",
    "seen": "string",
    "state": "state",
    "word": "string",
    "progress": "Float64",
    "queue_position": "Int64",
    "seconds_left": "Float64",
    "credits": "Float64",
    "miss": "string",
    "status": "Int64",
    "code": "string",
    "message": "string",
    "retry_after": "Float64",
    "trace": "string",
    "output": "string",
    "path": "string",
    "n_bytes": "Int64",
}
"""The columns of `events()`. `word` is the provider's for a snapshot, and ours for a mark or a saved file."""

OUTPUTS: dict[str, Kind] = {
    "task": "string",
    "name": "string",
    "kind": "string",
    "path": "string",
    "n_bytes": "Int64",
    "width": "Int64",
    "height": "Int64",
    "sha256": "string",
}
"""The columns of `outputs()`; `path` is relative to the store's folder where the file is inside it."""


PRICE_COLUMNS: dict[str, Kind] = {
    "provider": "string",
    "model": "string",
    "params": "string",
    "per": "string",
    "amount": "Float64",
    "currency": "string",
    "failed_billed": "boolean",
    "source": "string",
    "date": "string",
}
"""The columns of `prices()`; `params` is JSON text."""


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
    found = [_event(row) for row in rows]
    return frame_of({name: [row.get(name) for row in found] for name in EVENTS}, EVENTS)


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
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
    found = [{"kind": "file", **row, "path": row.get("file")} for row in rows]
    return frame_of({name: [row.get(name) for row in found] for name in OUTPUTS}, OUTPUTS)


def prices_frame(prices: Iterable[Price]) -> pd.DataFrame:
    """One row per price, in this order."""
    found = [as_row(price) for price in prices]
    found = [{**row, "params": dumps(row["params"]) if row["params"] else None} for row in found]
    return frame_of({name: [row[name] for row in found] for name in PRICE_COLUMNS}, PRICE_COLUMNS)


# Columns


def as_one(values: Sequence[Any]) -> tuple[Kind, list[Any]]:
    """What a column of such values holds, and the values fit for it; a mixture becomes text."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {bool}:
        return "boolean", list(values)
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in present):
        return "Int64", list(values)
    exact = all(abs(value) <= 2**53 for value in present if type(value) is int)
    if kinds and kinds <= {int, float} and exact and all(map(math.isfinite, present)):
        return "Float64", list(values)
    return "string", [v if v is None or isinstance(v, str) else _word(v) for v in values]


def _word(value: Any) -> str:
    return dumps(value) if isinstance(value, bool | int | float) and math.isfinite(value) else str(value)


def frame_of(columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """A frame with these columns in this order."""
    import pandas as pd

    return pd.DataFrame({name: column(values, kinds[name]) for name, values in columns.items()})


def column(values: Sequence[Any], kind: Kind) -> pd.Series[Any]:
    """Values as one column; None, and what does not fit, is missing."""
    import numpy as np
    import pandas as pd

    found = set(map(type, values))
    if kind == "time":
        return pd.Series(pd.array(_instants(values).view("i8"), dtype=dtype_of(kind)))
    if kind == "Int64":
        if not found <= {int, _NONE} or _beyond(values):
            values = [v if _is_int(v) else None for v in values]
            found = set(map(type, values))
        missing = np.array([v is None for v in values]) if _NONE in found else np.zeros(len(values), dtype=bool)
        numbers = np.array([v or 0 for v in values] if _NONE in found else values, dtype="int64")
        return pd.Series(pd.arrays.IntegerArray(numbers, missing))
    if kind == "Float64":
        if not found <= {int, float, _NONE}:
            values = [float(v) if _is_number(v) else None for v in values]
        numbers = np.array(values, dtype=float)
        return pd.Series(pd.arrays.FloatingArray(numbers, np.isnan(numbers)))
    if kind == "boolean":
        values = [v if isinstance(v, bool) else None for v in values]
    elif kind == "string":
        if not found <= {str, _NONE} or not _plain(values):
            values = [None if v is None else storable(str(v)) for v in values]
    else:
        place = {word: number for number, word in enumerate(WORDS[kind])}
        codes = [place.get(v, -1) if isinstance(v, str) else -1 for v in values]
        return pd.Series(pd.Categorical.from_codes(np.array(codes, dtype="int8"), dtype=dtype_of(kind)))
    return pd.Series(pd.array(values, dtype=dtype_of(kind)))


def _beyond(values: Sequence[Any]) -> bool:
    present = [v for v in values if v is not None]
    return bool(present) and not -(2**63) <= min(present) <= max(present) < 2**63


def _plain(values: Sequence[str | None]) -> bool:
    """Whether no text of these has a character that `storable` looks for."""
    text = "".join(filter(None, values))
    return text.isascii() and "\x00" not in text


def _instants(values: Sequence[Any]) -> Any:
    """Times as whole microseconds: pandas 2.2 goes through nanoseconds, which end in the year 2262."""
    import numpy as np

    told = [v for v in values if v is not None]
    try:
        # What the store writes is of one form, and numpy reads it in one go.
        text = "".join(told).encode("ascii")
        at, t, zone = (np.ndarray(len(told), kind, text, place, 32) for kind, place in _STORED)
        if set(map(len, told)) <= {32} and (t == b"T").all() and (zone == b"+00:00").all():
            found = np.full(len(values), "NaT", dtype="datetime64[us]")
            found[[v is not None for v in values] if len(told) < len(values) else ...] = at.astype("datetime64[us]")
            return found
    except (TypeError, ValueError):  # times that are no text, or a day that no month has
        pass
    return np.array([_microseconds(value) for value in values], dtype="datetime64[us]")


_STORED = (("S26", 0), ("S1", 10), ("S6", 26))
"""The parts of a time as `iso` writes it, and where each begins: `2026-11-21T12:00:00.000000`, `T`, `+00:00`."""


def dtype_of(kind: Kind) -> Any:
    """The dtype of a column."""
    import pandas as pd

    match kind:
        case "time":
            return pd.DatetimeTZDtype("us", "UTC")
        case "string":
            return pd.StringDtype("python")
        case "state" | "outcome":
            return pd.CategoricalDtype(pd.Index(WORDS[kind], dtype=pd.StringDtype("python")), ordered=True)
        case _:
            return {"Int64": pd.Int64Dtype, "Float64": pd.Float64Dtype, "boolean": pd.BooleanDtype}[kind]()


_NONE = type(None)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(value: Any) -> Any:
    import numpy as np

    at = value if isinstance(value, datetime) else moment(value)
    return np.datetime64("NaT") if at is None else np.datetime64((at - _EPOCH) // timedelta(microseconds=1), "us")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
