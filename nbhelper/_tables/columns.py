"""The columns of the tables: names, order and dtypes, and the pandas column of values of one kind.

The dictionaries `TASKS`, `EVENTS`, `OUTPUTS` and `PRICE_COLUMNS` are the one list of columns that frames, CSV files and
the tests of README go by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from .._model.json_text import dumps
from .._model.states import Outcome, State
from .._model.text import storable
from .._model.times import moment

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["string", "Int64", "Float64", "boolean", "time", "state", "outcome"]
"""What a column holds; each has one dtype."""

PARAM = "param_"
"""What the column of a parameter begins with."""

CATEGORIES: dict[Kind, list[str]] = {"state": [str(word) for word in State], "outcome": [str(word) for word in Outcome]}
"""The categories of a categorical kind, in their order."""

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
"""The columns of `tasks()`, in their order; those of the parameters follow."""

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
"""The columns of `events()`. `word` is the API's own for a snapshot, and nbhelper's for a mark or a saved file."""

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


def as_one(values: Sequence[Any]) -> tuple[Kind, list[Any]]:
    """The kind of a column of such values, and the values as that kind takes them; a mixture becomes text."""
    present = [value for value in values if value is not None]
    types = {type(value) for value in present}
    if types == {bool}:
        return "boolean", list(values)
    if types == {int} and all(-(2**63) <= value < 2**63 for value in present):
        return "Int64", list(values)
    is_exact = all(abs(value) <= 2**53 for value in present if type(value) is int)
    if types and types <= {int, float} and is_exact and all(map(math.isfinite, present)):
        return "Float64", list(values)
    return "string", [v if v is None or isinstance(v, str) else _as_text(v) for v in values]


def _as_text(value: Any) -> str:
    """A number or truth value as JSON writes it, anything else as `str` does."""
    return dumps(value) if isinstance(value, bool | int | float) and math.isfinite(value) else str(value)


def column(values: Sequence[Any], kind: Kind) -> pd.Series[Any]:
    """Values as one column of a kind; None, and what the kind cannot hold, is missing."""
    import numpy as np
    import pandas as pd

    types = set(map(type, values))
    if kind == "time":
        return pd.Series(pd.array(_instants(values).view("i8"), dtype=dtype_of(kind)))
    if kind == "Int64":
        if not types <= {int, _NONE} or _is_beyond_int64(values):
            values = [v if _is_int(v) else None for v in values]
            types = set(map(type, values))
        missing = np.array([v is None for v in values]) if _NONE in types else np.zeros(len(values), dtype=bool)
        numbers = np.array([v or 0 for v in values] if _NONE in types else values, dtype="int64")
        return pd.Series(pd.arrays.IntegerArray(numbers, missing))
    if kind == "Float64":
        if not types <= {int, float, _NONE}:
            values = [float(v) if _is_number(v) else None for v in values]
        numbers = np.array(values, dtype=float)
        return pd.Series(pd.arrays.FloatingArray(numbers, np.isnan(numbers)))
    if kind == "boolean":
        values = [v if isinstance(v, bool) else None for v in values]
    elif kind == "string":
        if not types <= {str, _NONE} or not _is_plain_ascii(values):
            values = [None if v is None else storable(str(v)) for v in values]
    else:
        code_of = {word: code for code, word in enumerate(CATEGORIES[kind])}
        codes = [code_of.get(v, -1) if isinstance(v, str) else -1 for v in values]
        return pd.Series(pd.Categorical.from_codes(np.array(codes, dtype="int8"), dtype=dtype_of(kind)))
    return pd.Series(pd.array(values, dtype=dtype_of(kind)))


def _is_beyond_int64(values: Sequence[Any]) -> bool:
    """Whether one of these integers needs more than 64 bits."""
    present = [v for v in values if v is not None]
    return bool(present) and not -(2**63) <= min(present) <= max(present) < 2**63


def _is_plain_ascii(values: Sequence[str | None]) -> bool:
    """Whether no text has a character that `storable` could have to escape: one check for all of them."""
    text = "".join(filter(None, values))
    return text.isascii() and "\x00" not in text


def _instants(values: Sequence[Any]) -> Any:
    """Times as an array of whole microseconds: pandas 2.2 parses through nanoseconds, which end in the year 2262."""
    import numpy as np

    present = [v for v in values if v is not None]
    try:
        # All times in the store have one form, which numpy parses at once.
        text = "".join(present).encode("ascii")
        at, t, zone = (np.ndarray(len(present), kind, text, offset, 32) for kind, offset in _STORED)
        if set(map(len, present)) <= {32} and (t == b"T").all() and (zone == b"+00:00").all():
            times = np.full(len(values), "NaT", dtype="datetime64[us]")
            times[[v is not None for v in values] if len(present) < len(values) else ...] = at.astype("datetime64[us]")
            return times
    except (TypeError, ValueError):  # times that are no text, or a day that no month has
        pass
    return np.array([_microseconds(value) for value in values], dtype="datetime64[us]")


_STORED = (("S26", 0), ("S1", 10), ("S6", 26))
"""The parts of a time as `iso` writes it, and where each begins: `2026-11-21T12:00:00.000000`, `T`, `+00:00`."""


def dtype_of(kind: Kind) -> Any:
    """The dtype of a column of this kind."""
    import pandas as pd

    match kind:
        case "time":
            return pd.DatetimeTZDtype("us", "UTC")
        case "string":
            return pd.StringDtype("python")
        case "state" | "outcome":
            return pd.CategoricalDtype(pd.Index(CATEGORIES[kind], dtype=pd.StringDtype("python")), ordered=True)
        case _:
            return {"Int64": pd.Int64Dtype, "Float64": pd.Float64Dtype, "boolean": pd.BooleanDtype}[kind]()


_NONE = type(None)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(value: Any) -> Any:
    """A datetime, or text as `iso` writes it, as numpy's; NaT for anything else."""
    import numpy as np

    at = value if isinstance(value, datetime) else moment(value)
    return np.datetime64("NaT") if at is None else np.datetime64((at - _EPOCH) // timedelta(microseconds=1), "us")


def _is_int(value: Any) -> bool:
    """Whether Int64 can hold it."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    """Whether Float64 can hold it; NaN is missing."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
