"""Frames of tasks, events and outputs: columns, dtypes and cells."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pandas as pd
import pytest

from nbhelper._model.events import Mark, Output, Saved, Snapshot, TaskError
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, SaveState, State
from nbhelper._model.task import Task
from nbhelper._store import history_to_row
from nbhelper._store.history_to_row import summary_row
from nbhelper._store.store import Store
from nbhelper._tables.columns import EVENTS, OUTPUTS, TASKS
from nbhelper._tables.frames import events_frame, histories_frame, outputs_frame, tasks_frame

COLUMNS = list(TASKS)
"""Which they are, and in which order, is compared with README's table in its tests."""
TEXT, WHOLE, NUMBER, TIME = (
    pd.StringDtype("python"),
    pd.Int64Dtype(),
    pd.Float64Dtype(),
    pd.DatetimeTZDtype("us", "UTC"),
)
EXPECTED = (
    dict.fromkeys(COLUMNS, TEXT)
    | dict.fromkeys(["repeat", "polls", "misses", "rate_limited", *(c for c in COLUMNS if c.startswith("n_"))], WHOLE)
    | dict.fromkeys(["credits", "cost", *(c for c in COLUMNS if c.endswith("_s"))], NUMBER)
    | dict.fromkeys([c for c in COLUMNS if c.endswith("_at")], TIME)
)


def words(categories):
    """An ordered categorical of texts."""
    return pd.CategoricalDtype(pd.Index(categories, dtype=TEXT), ordered=True)


EXPECTED["state"] = words(["queued", "running", "succeeded", "failed", "cancelled", "expired", "unknown"])
EXPECTED["outcome"] = words(["succeeded", "failed", "cancelled", "expired", "lost", "stopped"])

MANY = [
    (0, Mark(word=MarkWord.SUBMITTED)),
    (2, Miss(kind=MissKind.RATE_LIMITED, status=429, retry_after=1.5)),
    (
        4,
        Snapshot(
            state=State.RUNNING, word="generating", progress=0.25, queue_position=3, seconds_left=7.5, model="m-1"
        ),
    ),
    (8, Snapshot(state=State.SUCCEEDED, credits=4.5, outputs=(Output(name="a"), Output(name="b")), trace="T1")),
    (9, Saved(name="a", file="/data/results/a.png", n_bytes=10, kind="image", width=2, height=3, sha256="ff")),
    (10, Saved(name="b", state=SaveState.EXPIRED, message="gone")),
]


def dtypes(frame):
    """The dtypes of a frame by column."""
    return dict(frame.dtypes.items())


@pytest.mark.parametrize("rows", [[], [{}], "filled"], ids=["no row", "an empty row", "filled"])
def test_tasks_columns_and_dtypes(rows, history):
    """Columns, order and dtypes are always the same, also without rows: `…_at` is a time, `…_s` a number of seconds."""
    summaries = [summary_row(history(*MANY))] if rows == "filled" else rows
    frame = tasks_frame(summaries)

    assert list(frame.columns) == COLUMNS
    assert dtypes(frame) == EXPECTED
    assert isinstance(frame.index, pd.RangeIndex)
    assert len(frame) == len(summaries)


def test_a_filled_row(history):
    """Every cell has the value that follows from the history."""
    task = Task("kie", "00123", label="owl", params={"prompt": "an owl"})
    frame = histories_frame([history(*MANY, task=task, origin="https://api.kie.ai", uid="u")])
    row = frame.iloc[0]

    assert (row["provider"], row["task_id"], row["label"], row["origin"]) == (
        "kie",
        "00123",
        "owl",
        "https://api.kie.ai",
    )
    assert (row["state"], row["outcome"], row["model"]) == ("succeeded", "succeeded", "m-1")
    assert (row["polls"], row["misses"], row["rate_limited"]) == (3, 1, 1)
    assert (row["n_outputs"], row["n_saved"], row["n_bytes"]) == (2, 1, 10)
    assert (row["total_s"], row["uncertainty_s"], row["time_source"]) == (6.0, 2.0, "observed")
    assert (row["credits"], row["cost"], row["currency"], row["cost_source"]) == (4.5, 0.0225, "USD", "server")
    assert json.loads(row["files"]) == ["/data/results/a.png"]
    assert row["submitted_at"] == pd.Timestamp("2026-11-21T12:00:00Z")
    assert row["param_prompt"] == "an owl"


def test_unknown_is_missing_never_zero(history):
    """What is unknown is missing in the frame."""
    row = histories_frame([history((0, Snapshot(state=State.FAILED, error=TaskError(None))))]).iloc[0]
    unknown = [name for name in COLUMNS if pd.isna(row[name])]

    assert {"credits", "cost", "currency", "total_s", "lag_s", "error_code", "error_message", "label"} <= set(unknown)
    assert row["cost_source"] == "unknown"
    assert row["files"] == "[]"


def test_what_no_event_tells(history):
    """Endpoint, model, experiment and repeat come from the stored row, where one is given."""
    watched = history((0, Mark(word=MarkWord.WATCHING)), uid="u1")
    known = {"u1": {"endpoint": "image", "model": "m", "experiment": "owls", "repeat": 3}}
    row = histories_frame([watched], stored=known).iloc[0]

    assert [row[name] for name in ("endpoint", "model", "experiment", "repeat")] == ["image", "m", "owls", 3]


def with_params(*params):
    """The frame of tasks with these parameters."""
    return tasks_frame([{"params": p} for p in params])


@pytest.mark.parametrize(
    ("values", "dtype", "cells"),
    [
        ([1, 2, None], "Int64", [1, 2, None]),
        ([1, 2.5], "Float64", [1.0, 2.5]),
        ([True, None, False], "boolean", [True, None, False]),
        (["a", None], "string", ["a", None]),
        ([1, "1"], "string", ["1", "1"]),
        ([True, 1], "string", ["true", "1"]),
        ([2**63, 1], "string", [str(2**63), "1"]),
        ([2**60, 0.5], "string", [str(2**60), "0.5"]),
        ([[1, "x"], []], "string", ['[1,"x"]', "[]"]),
        ([{}, None], "string", ["{}", None]),
        ([None, None], "string", [None, None]),
        (["", "NA"], "string", ["", "NA"]),
        (["\ud800", "\x00"], "string", ["\\ud800", "\\u0000"]),
    ],
    ids=str,
)
def test_parameter_columns(values, dtype, cells):
    """A parameter's dtype follows from its values alone; a mixture is text."""
    frame = with_params(*({"x": value} for value in values))
    result = [None if pd.isna(cell) else cell for cell in frame["param_x"]]

    assert str(frame["param_x"].dtype) == dtype
    assert result == cells


def test_nested_parameters():
    """Nested parameters have dotted names, in the order of their first appearance; bytes stand as digest and size."""
    frame = with_params({"b": 1, "input": {"prompt": "owl", "image": {"sha256": "ff", "n_bytes": 3}}}, {"a": 1, "b": 2})

    assert list(frame.columns[len(COLUMNS) :]) == [
        "param_b", "param_input.prompt", "param_input.image.sha256", "param_input.image.n_bytes", "param_a",
    ]  # fmt: skip


def test_one_name_for_two_parameters():
    """Where a dotted name and a nested one are the same, the column has the first value, and one cell a row."""
    frame = with_params({"a.b": 1, "a": {"b": 2}})

    assert list(frame["param_a.b"]) == [1]


def test_times_of_any_zone_are_in_utc():
    """A time with any offset becomes the same moment in UTC; a time without a zone is missing."""
    noons = ["2026-11-21T20:00:00+08:00", "2026-11-21T13:00:00.000000+01:00", "2026-11-21T12:00:00Z", None]
    frame = tasks_frame([{"created_at": at} for at in [*noons, "2026-11-21T12:00:00"]])

    assert str(frame["created_at"].dtype) == "datetime64[us, UTC]"
    assert set(frame["created_at"][:3]) == {pd.Timestamp("2026-11-21T12:00:00Z")}
    assert frame["created_at"][3:].isna().all()


def test_times_far_away(history):
    """Times in the years 1 and 9999 keep their microseconds, though pandas' nanoseconds cannot hold them."""
    early, late = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    frame = histories_frame([history((0, Snapshot(state=State.SUCCEEDED, created_at=early, finished_at=late)))])

    assert frame["created_at"].dt.year[0] == 1
    assert frame["finished_at"].dt.microsecond[0] == 999999


def test_states_sort_and_compare(history):
    """States sort and compare in the order in which a task goes through them."""
    states = [State.FAILED, State.QUEUED, State.RUNNING]
    frame = histories_frame([history((0, Snapshot(state=state))) for state in states])

    assert list(frame.sort_values("state")["state"]) == ["queued", "running", "failed"]
    assert list(frame["state"] < "succeeded") == [False, True, True]


@pytest.fixture
def stored(tmp_path, at):
    """A store with one task that has each kind of observation."""
    store = Store(tmp_path / "s")
    history = store.open_task(Task("kie", "t/1", extra={"type": "x"}), "https://a").result()
    for seconds, seen in MANY:
        history = history.add(seen, at(seconds))
    store.append(history.uid, history.events, summary=history).result()
    yield store
    store.close()


def test_events_columns(stored):
    """`events()` has one row per observation, and the same dtypes without any."""
    frame = events_frame(stored.event_rows())

    assert list(frame.columns) == list(EVENTS)
    assert dtypes(frame) == dtypes(events_frame([]))
    assert list(frame["seen"]) == ["mark", "miss", "snapshot", "snapshot", "saved", "saved"]
    assert set(frame["task"]) == {"kie:t%2F1?type=x"}
    assert list(frame["seq"]) == [1, 2, 3, 4, 5, 6]
    assert list(frame["word"].fillna("-")) == ["submitted", "-", "generating", "-", "saved", "expired"]
    assert frame["miss"][1] == "rate_limited"
    assert (frame["status"][1], frame["retry_after"][1]) == (429, 1.5)
    assert (frame["progress"][2], frame["queue_position"][2], frame["seconds_left"][2]) == (0.25, 3, 7.5)
    assert (frame["credits"][3], frame["trace"][3]) == (4.5, "T1")
    assert (frame["output"][5], frame["message"][5]) == ("b", "gone")


def test_outputs_columns(stored):
    """`outputs()` has one row per file, and the same dtypes without any."""
    frame = outputs_frame(stored.output_rows())

    assert (
        list(frame.columns) == list(OUTPUTS) == ["task", "name", "kind", "path", "n_bytes", "width", "height", "sha256"]
    )
    assert dtypes(frame) == dtypes(outputs_frame([]))
    assert frame.iloc[0].to_list() == ["kie:t%2F1?type=x", "a", "image", "/data/results/a.png", 10, 2, 3, "ff"]


def test_rows_of_a_store_and_of_a_history_agree(stored):
    """The frame of the store's rows equals the frame of the histories in it."""
    rows = stored.rows()
    again = histories_frame(stored.histories(), stored={row["uid"]: row for row in rows}, folder=stored.folder)

    pd.testing.assert_frame_equal(tasks_frame(rows), again)


def test_every_value_of_a_summary_is_a_column():
    """`TASKS` has each value of a summary row but four, and no other column than those computed from prices."""
    hidden = {"uid", "begun", "params", "extra"}
    priced = {"cost", "currency", "cost_source"}

    assert {*TASKS} - priced == {*history_to_row.COLUMNS} - hidden
