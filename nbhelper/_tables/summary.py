"""Counts, success rates, times and money per group of a tasks() frame; missing where the rows do not tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._model.errors import BadInput
from .._model.text import clean, nearest
from .columns import Kind, column

if TYPE_CHECKING:
    import pandas as pd

SUMMARY: dict[str, Kind] = {
    "n": "Int64",
    "succeeded": "Int64",
    "failed": "Int64",
    "lost": "Int64",
    "stopped": "Int64",
    "unfinished": "Int64",
    "success_rate": "Float64",
    "success_low": "Float64",
    "success_high": "Float64",
    "total_s_p50": "Float64",
    "total_s_p90": "Float64",
    "total_s_p95": "Float64",
    "lag_s_mean": "Float64",
    "polls_mean": "Float64",
    "credits": "Float64",
    "cost": "Float64",
    "cost_per_success": "Float64",
    "cost_per_output": "Float64",
}
"""The columns behind those of `by`, and their dtypes."""

_NEEDED = ("task_id", "outcome", "total_s", "lag_s", "polls", "credits", "cost", "currency", "n_outputs")
_Z = 1.959963984540054
"""Standard deviations on each side of a 95 % interval."""


def summary(frame: pd.DataFrame, by: str | Sequence[str] = ("provider", "model")) -> pd.DataFrame:
    """One row per group, with a group for missing values.

    * `success_rate` is over the tasks that the server ended (succeeded, failed, expired, cancelled), with its 95 %
      Wilson interval; lost, stopped and unfinished ones are counted apart.
    * Percentiles are over the known `total_s` of the group, whatever the outcome: the median always, `_p90` from 10
      and `_p95` from 20 of them.
    * `credits` and `cost` are sums over every task that may have been billed: all but the unfinished and the creates
      that were refused. Where one of these amounts is unknown the sum is missing, because unknown is not zero; `cost`
      is missing too where a group has several currencies, which are never added up: group by `currency` as well.

    Args:
        frame: The columns of `tasks()`.
        by: A column or several, `param_…` ones included; an empty list gives one row for all.

    Raises:
        BadInput: An unknown column, or a frame without the columns that are needed.
    """
    names = list(dict.fromkeys([by] if isinstance(by, str) else by))
    for name in names:
        if name not in frame.columns:
            raise BadInput(f'There is no column "{clean(name, 60)}" to group by.{nearest(str(name), frame.columns)}')
        if name in SUMMARY:
            raise BadInput(f'"{name}" is a column of the summary itself; group by another one.')
    missing = [name for name in _NEEDED if name not in frame.columns]
    if missing:
        raise BadInput(f"summary() needs the columns of tasks(); there is no {', '.join(missing)}.")

    rows = frame.reset_index(drop=True)
    if names:
        numbers = rows.groupby(names, dropna=False, observed=True, sort=True).ngroup().to_list()
    else:
        numbers = [0] * len(rows)
    groups: list[list[int]] = [[] for _ in range(max(numbers, default=-1) + 1)]
    for row, number in enumerate(numbers):
        groups[number].append(row)
    # Lists instead of one frame a group: pandas takes a millisecond for each column of each group.
    cells = {
        name: [None if missing else v for v, missing in zip(rows[name], rows[name].isna(), strict=True)]
        for name in _NEEDED
    }
    summed = [_row({name: [values[row] for row in group] for name, values in cells.items()}) for group in groups]
    keys = rows.loc[[group[0] for group in groups], names].reset_index(drop=True)
    return keys.assign(**{name: column([row[name] for row in summed], kind) for name, kind in SUMMARY.items()})


def _row(cells: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The row of `SUMMARY` for one group, from the columns of `_NEEDED`, None for what is missing."""
    outcomes = [None if outcome is None else str(outcome) for outcome in cells["outcome"]]
    count = {word: outcomes.count(word) for word in ("succeeded", "failed", "expired", "cancelled", "lost", "stopped")}
    ended = sum(count[word] for word in ("succeeded", "failed", "expired", "cancelled"))
    low, high = wilson(count["succeeded"], ended)
    totals = _known(cells["total_s"])

    # A create that was refused has failed and has no id.
    billed = [
        row
        for row, (outcome, task_id) in enumerate(zip(outcomes, cells["task_id"], strict=True))
        if outcome is not None and (outcome != "failed" or task_id is not None)
    ]
    sums = {name: _total([cells[name][row] for row in billed]) for name in ("credits", "cost", "n_outputs")}
    cost, outputs = sums["cost"], sums["n_outputs"]
    if len({currency for row in billed if (currency := cells["currency"][row]) is not None}) > 1:
        cost = None
    return {
        "n": len(outcomes),
        "succeeded": count["succeeded"],
        "failed": count["failed"],
        "lost": count["lost"],
        "stopped": count["stopped"],
        "unfinished": outcomes.count(None),
        "success_rate": count["succeeded"] / ended if ended else None,
        "success_low": low,
        "success_high": high,
        "total_s_p50": _quantile(totals, 0.50, least=1),
        "total_s_p90": _quantile(totals, 0.90, least=10),
        "total_s_p95": _quantile(totals, 0.95, least=20),
        "lag_s_mean": _mean(cells["lag_s"]),
        "polls_mean": _mean(cells["polls"]),
        "credits": sums["credits"],
        "cost": cost,
        "cost_per_success": cost / count["succeeded"] if cost is not None and count["succeeded"] else None,
        "cost_per_output": cost / outputs if cost is not None and outputs else None,
    }


def wilson(successes: int, trials: int) -> tuple[float | None, float | None]:
    """Wilson's 95 % interval of a rate, which unlike the normal one holds for few trials and for rates of 0 and 1."""
    if not trials:
        return None, None
    rate, square = successes / trials, _Z * _Z
    middle = (rate + square / (2 * trials)) / (1 + square / trials)
    half = _Z / (1 + square / trials) * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials * trials))
    low = 0.0 if successes == 0 else middle - half
    return low, 1.0 if successes == trials else middle + half


def _known(cells: Sequence[Any]) -> list[float]:
    """The cells that are not None."""
    return [float(value) for value in cells if value is not None]


def _mean(cells: Sequence[Any]) -> float | None:
    """The mean of the cells that are not None."""
    values = _known(cells)
    return math.fsum(values) / len(values) if values else None


def _total(cells: Sequence[Any]) -> float | None:
    """The sum; None where a cell is None, or where there is none."""
    return round(math.fsum(_known(cells)), 9) if cells and None not in cells else None


def _quantile(values: Sequence[float], share: float, *, least: int) -> float | None:
    """A quantile with linear interpolation, as pandas computes it; None below `least` values."""
    if len(values) < least:
        return None
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
