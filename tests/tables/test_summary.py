"""Counts, rates, times and money per group of tasks."""

from __future__ import annotations

import pandas as pd
import pytest

from nbhelper import BadInput
from nbhelper._tables.frames import tasks_frame
from nbhelper._tables.summary import summary, wilson

COLUMNS = [
    "n",
    "succeeded",
    "failed",
    "lost",
    "stopped",
    "unfinished",
    "success_rate",
    "success_low",
    "success_high",
    "total_s_p50",
    "total_s_p90",
    "total_s_p95",
    "lag_s_mean",
    "polls_mean",
    "credits",
    "cost",
    "cost_per_success",
    "cost_per_output",
]


def row(outcome="succeeded", *, provider="tripo", **more):
    """A row of `tasks()` with an id and 10 credits."""
    return {"provider": provider, "task_id": "1", "outcome": outcome, "credits": 10, "n_outputs": 1, "polls": 3, **more}


def one(*rows, **options):
    """The only row of the summary of these rows."""
    result = summary(tasks_frame(rows), **options)
    assert len(result) == 1
    return result.iloc[0]


@pytest.mark.parametrize("rows", [[], [row()]], ids=["empty", "filled"])
def test_columns_and_dtypes(rows):
    """Columns and dtypes are the same with and without rows; those of `by` keep theirs."""
    result = summary(tasks_frame(rows), by=["provider", "outcome", "repeat"])

    assert list(result.columns) == ["provider", "outcome", "repeat", *COLUMNS]
    assert [str(d) for d in result.dtypes] == ["string", "category", "Int64", *["Int64"] * 6, *["Float64"] * 12]


def test_counts():
    """Lost, stopped and unfinished tasks have counts of their own; the rate is over those that the server ended."""
    ends = ["succeeded"] * 6 + ["failed", "expired", "cancelled"] + ["lost"] * 2 + ["stopped"] + [None] * 3
    result = one(*map(row, ends))

    assert result[["n", "succeeded", "failed", "lost", "stopped", "unfinished"]].to_list() == [15, 6, 1, 2, 1, 3]
    assert result["success_rate"] == pytest.approx(6 / 9)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
        (1, 1, 0.2065, 1),
    ],
    ids=str,
)
def test_wilson(successes, trials, low, high):
    """The interval is Wilson's at 95 %, compared with published values."""
    assert wilson(successes, trials) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_no_rate_without_an_end():
    """Where no task ended, rate and interval are missing."""
    result = one(row(None), row("lost"))

    assert result[["success_rate", "success_low", "success_high"]].isna().all()


@pytest.mark.parametrize(
    ("count", "p50", "p90", "p95"),
    [
        (0, None, None, None),
        (1, 1, None, None),
        (9, 5, None, None),
        (10, 5.5, 9.1, None),
        (19, 10, 17.2, None),
        (20, 10.5, 18.1, 19.05),
    ],
    ids=str,
)
def test_percentiles(count, p50, p90, p95):
    """The median always, the 90th percentile from 10 known times and the 95th from 20, as pandas computes them."""
    times = [float(n) for n in range(1, count + 1)]
    result = one(row(), *(row(total_s=t) for t in reversed(times)))

    cells = [result[f"total_s_{p}"] for p in ("p50", "p90", "p95")]
    assert [None if pd.isna(c) else round(c, 9) for c in cells] == [p50, p90, p95]
    if count == 20:
        assert cells == pytest.approx(list(pd.Series(times).quantile([0.5, 0.9, 0.95])))


def test_means():
    """Means are over the values that are known."""
    result = one(row(lag_s=1.0, polls=2), row(lag_s=None, polls=4), row(lag_s=2.0, polls=6))

    assert (result["lag_s_mean"], result["polls_mean"]) == (1.5, 4.0)


def test_money():
    """Cost is the sum over all tasks that may have been billed; per success and per output it is divided."""
    result = one(row(n_outputs=2), row(), row("failed", credits=0, n_outputs=0), row(None, credits=None))

    assert (result["credits"], result["cost"]) == (20.0, 0.2)
    assert result["cost_per_success"] == pytest.approx(0.1)
    assert result["cost_per_output"] == pytest.approx(0.2 / 3)


@pytest.mark.parametrize(
    "rows",
    [
        [row(), row(credits=None)],
        [row(), row("lost", credits=None)],
        [row(), row("stopped")],
        [row(), row("lost", task_id=None)],
        [row(None)],
    ],
    ids=["unknown credits", "lost", "stopped", "create in doubt", "none ended"],
)
def test_an_unknown_cost_makes_the_sum_unknown(rows):
    """Where one task that may have been billed has no known cost, the sum is missing."""
    result = one(*rows)

    assert result[["cost", "cost_per_success", "cost_per_output"]].isna().all()


def test_a_refused_create_costs_nothing():
    """A create that was refused adds nothing to the cost and does not make it unknown."""
    assert one(row(), row("failed", task_id=None, credits=None))["cost"] == 0.1


def test_currencies_are_never_added_up():
    """The cost of a group of several currencies is missing; its credits are added up."""
    frame = tasks_frame([row(), row()])
    frame.loc[1, "currency"] = "EUR"
    result = summary(frame).iloc[0]

    assert pd.isna(result["cost"])
    assert result["credits"] == 20


def test_missing_keys_form_a_group():
    """Tasks without a value in `by` are a group of their own, also beside a category."""
    frame = tasks_frame([row(model="a"), row(), row("failed"), row(None, model="a")])

    assert list(summary(frame)["n"]) == [2, 2]
    result = summary(frame, by=["model", "outcome"])
    groups = zip(result["model"].fillna("-"), result["outcome"].astype(object).fillna("-"), result["n"], strict=True)
    assert sorted(groups) == [("-", "failed", 1), ("-", "succeeded", 1), ("a", "-", 1), ("a", "succeeded", 1)]


def test_failures_by_reason():
    """Grouped by `error_code`, failures are counted by code; tasks without one are the last group."""
    reasons = [("failed", "1302"), ("failed", "policy"), ("failed", "1302"), ("succeeded", None), ("lost", None)]
    frame = tasks_frame([row(outcome, error_code=code) for outcome, code in [*reasons, (None, None)]])
    result = summary(frame, by="error_code")
    apart = summary(frame, by=["outcome", "error_code"])

    assert result["error_code"].fillna("-").to_list() == ["1302", "policy", "-"]
    assert result[["n", "failed", "succeeded", "lost", "unfinished"]].to_numpy().tolist() == [
        [2, 2, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [3, 0, 1, 1, 1],
    ]
    assert apart["n"].to_list() == [1, 2, 1, 1, 1]


@pytest.mark.parametrize("index", [[5, 5, 5], [9, 1, 4]], ids=["repeated", "any"])
def test_any_index_and_any_column(index):
    """Parameters are columns to group by, whatever the index; an empty list gives one row for all tasks."""
    frame = tasks_frame([row(params={"seed": 1}), row(params={"seed": 2}), row(params={"seed": 1})])
    frame.index = index

    assert summary(frame, by="param_seed")[["param_seed", "n"]].to_numpy().tolist() == [[1, 2], [2, 1]]
    assert list(summary(frame, by=[])["n"]) == [3]
    assert list(summary(frame.iloc[:0], by=[])["n"]) == []


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("modell", 'Did you mean "model"'),
        ("cost", "a column of the summary itself"),
        (["provider", "x"], 'no column "x"'),
    ],
    ids=str,
)
def test_columns_that_cannot_be(by, words):
    """An unknown column to group by is refused with the nearest one, and so is a column of the summary itself."""
    with pytest.raises(BadInput, match=words):
        summary(tasks_frame([]), by=by)


def test_another_table():
    """A frame without the needed columns is refused by their names."""
    with pytest.raises(BadInput, match="there is no task_id, outcome"):
        summary(pd.DataFrame({"provider": []}), by="provider")
