"""CSV files: read back as they were, and nothing in them that a spreadsheet computes."""

from __future__ import annotations

import csv
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbhelper
from nbhelper import BadInput, StoreError
from nbhelper._model.states import Outcome, State
from nbhelper._tables.columns import EVENTS, OUTPUTS, PRICE_COLUMNS, TASKS, column
from nbhelper._tables.csv_file import read_csv, to_csv
from nbhelper._tables.frames import tasks_frame
from nbhelper._tables.summary import SUMMARY, summary

HOSTILE = [
    "", " ", "'", "''", "'\\", "'\\\"", "=1+1", "+1", "-1", "@x", " =1", "\t=1", "\n=1", "\u3000=1", "'=1", "\t",
    "\r", "\n", "a\rb", "a\nb", "a\r\nb", "\x00", "a\x00b", "\ud800", "x\udfffy", "00123", "1", "1.0", "1e5",
    "-1.5e-07", "NA", "NaN", "nan", "inf", "-inf", "null", "None", "<NA>", "true", "True", "1234567890" * 2 + "123",
    "🦉", 'say "hi"', "a,b;c", "\ufeff", "2026-11-21T12:00:00.000000+00:00", "\uff1dHYPERLINK()", "x" * 200_000,
    "dtypes: {}", "--ar 16:9", "an owl, -1 --no text", "\x1b[31m", "\u2028", "\x85", "#N/A",
]  # fmt: skip
ROOT = Path(nbhelper.__file__).parents[1]
hostile = st.sampled_from(HOSTILE) | st.text(max_size=8) | st.text(st.characters(codec=None), max_size=4)
FORMULA = tuple("=+-@\t\r\n\x00\uff1d\uff0b\uff0d\uff20")
FULL = {
    "provider": "kie", "task_id": "00123", "label": "=1", "repeat": 3, "state": "succeeded", "outcome": "succeeded",
    "submitted_at": "2026-11-21T12:00:00.000001+00:00", "total_s": 0.1, "polls": 7, "credits": 5, "files": ["a.png"],
    "params": {"seed": -1, "scale": 7.5, "hd": True, "size": "1024", "prompt": "-1 owl", "tags": ["a"]},
}  # fmt: skip


def same(path, frame):
    """Write a frame, read it, and compare values and dtypes."""
    pd.testing.assert_frame_equal(read_csv(to_csv(frame, path)), frame.reset_index(drop=True), check_column_type=False)


def cells(path):
    """The cells of a file as Python's csv module reads them."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    "frame",
    [
        tasks_frame([]),
        tasks_frame([{}]),
        tasks_frame([FULL]),
        tasks_frame([FULL, {}, {"params": {"x": None, "y": 2**70}}]),
        tasks_frame([FULL, {}]).iloc[1:],
        tasks_frame([FULL]).iloc[:0],
        summary(tasks_frame([FULL, {}])),
        summary(tasks_frame([FULL]), by=["param_seed", "outcome"]),
    ],
    ids=[
        "no rows", "an empty row", "a full row", "mixed", "all missing", "cut to nothing", "summary",
        "summary by parameter",
    ],
)  # fmt: skip
def test_our_tables_come_back(tmp_path, frame):
    """A frame of nbhelper is the same after a round trip, also without rows."""
    same(tmp_path / "t.csv", frame)


@pytest.mark.parametrize(
    "kinds",
    [TASKS, EVENTS, OUTPUTS, PRICE_COLUMNS, SUMMARY],
    ids=["tasks", "events", "outputs", "prices", "summary"],
)
@pytest.mark.parametrize("rows", [0, 2])
def test_dtypes_of_our_columns_are_known(tmp_path, kinds, rows):
    """The columns of each table keep their dtypes without any value, and without a header that names dtypes."""
    same(tmp_path / "t.csv", pd.DataFrame({name: column([None] * rows, kind) for name, kind in kinds.items()}))

    assert cells(tmp_path / "t.csv")[0] == list(kinds)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1 owl", "@SUM(A1)", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", " @x", "\u3000=1", "\t=1",
        "\r1", "\n1",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_begins_as_a_formula_has_an_apostrophe(tmp_path, text):
    """A text or a column's name that a spreadsheet could compute is written with an apostrophe in front."""
    same(tmp_path / "t.csv", pd.DataFrame({text: column([text], "string")}))

    assert cells(tmp_path / "t.csv") == [[f"'{text}"], [f"'{text}"]]


@settings(deadline=None)
@given(st.lists(st.none() | hostile, max_size=6), st.lists(st.none() | hostile, max_size=6))
def test_hostile_text_comes_back(tmp_path_factory, known, other):
    """Any text is the same after a round trip, missing and empty ones differ, and no cell begins as a formula."""
    length = max(len(known), len(other))
    data = {
        "task_id": column([*known, *[None] * length][:length], "string"),
        "param_x": column([*other, *[None] * length][:length], "string"),
    }
    path = tmp_path_factory.getbasetemp() / "hostile.csv"
    same(path, pd.DataFrame(data))

    limit = csv.field_size_limit(10_000_000)
    written = [cell for row in cells(path) for cell in row]
    csv.field_size_limit(limit)
    assert not [cell for cell in written if cell.lstrip().startswith(FORMULA) or cell.startswith(FORMULA)]


values = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda v: column(v, "Int64")),
    st.lists(st.none() | st.floats(allow_nan=False), max_size=4).map(lambda v: column(v, "Float64")),
    st.lists(st.none() | st.booleans(), max_size=4).map(lambda v: column(v, "boolean")),
    st.lists(st.none() | hostile, max_size=4).map(lambda v: column(v, "string")),
    st.lists(st.none() | st.sampled_from(State), max_size=4).map(lambda v: column(v, "state")),
    st.lists(st.none() | st.sampled_from(Outcome), max_size=4).map(lambda v: column(v, "outcome")),
    st.lists(st.none() | st.datetimes().map(lambda d: d.isoformat(timespec="microseconds") + "+00:00"), max_size=4).map(
        lambda v: column(v, "time")
    ),
)


@settings(deadline=None)
@given(
    st.sampled_from(["param_x", "task_id", "polls", "state", "total_s", "mine", "=x", "'", "dtypes: x", "\ud800"]),
    values,
)
def test_any_dtype_under_any_name(tmp_path_factory, name, series):
    """A column of any of our dtypes keeps it, under a known name, an unknown one, or a hostile one."""
    same(tmp_path_factory.getbasetemp() / "dtype.csv", pd.DataFrame({name: series}))


def test_a_plain_file(tmp_path):
    """One header row of the columns' names, text quoted, numbers bare, ISO times with microseconds and zone."""
    path = to_csv(tasks_frame([FULL]).drop(columns=["param_size"]), tmp_path / "t.csv")
    lines = path.read_text("utf-8").split("\n")
    cell = dict(zip(*cells(path), strict=True))

    assert lines[0].startswith('"provider","task_id","label"')
    assert (len(lines), lines[2]) == (3, "")
    assert '"00123"' in lines[1]
    assert ",7," in lines[1]
    assert cell["submitted_at"] == "2026-11-21T12:00:00.000001+00:00"
    assert (cell["label"], cell["param_prompt"]) == ("'=1", "'-1 owl")
    assert (cell["param_seed"], cell["param_scale"], cell["param_hd"]) == ("-1", "7.5", "true")
    assert (cell["model"], cell["files"]) == ("", '["a.png"]')
    assert "dtypes" not in lines[0]


def test_text_that_looks_like_a_number(tmp_path):
    """The dtype of a column of texts such as "1024" stands in one more cell of the header, without another row."""
    path = to_csv(tasks_frame([FULL])[["task_id", "param_size", "param_seed"]], tmp_path / "t.csv")

    assert cells(path) == [
        ["task_id", "param_size", "param_seed", 'dtypes: {"param_size": "string"}'],
        ["00123", "1024", "-1", ""],
    ]
    assert read_csv(path)["param_size"][0] == "1024"


def test_pandas_reads_it_too(tmp_path):
    """Another reader than ours gets the same rows and columns."""
    frame = pd.read_csv(to_csv(tasks_frame([FULL, {"label": "a\rb"}]), tmp_path / "t.csv"), dtype=str)

    assert frame["task_id"][0] == "00123"
    assert frame["label"][1] == "a\rb"
    assert len(frame) == 2


def test_sorted_in_a_spreadsheet(tmp_path):
    """A file saved by a spreadsheet is read: rows in another order, no quotes, `TRUE`, a byte order mark."""
    frame = tasks_frame([{**FULL, "repeat": n} for n in range(3)])
    rows = cells(to_csv(frame, tmp_path / "t.csv"))
    header, *body = [["TRUE" if cell == "true" else cell for cell in row] for row in rows]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([header, *body[::-1]])

    pd.testing.assert_frame_equal(
        read_csv(tmp_path / "t.csv"), frame.iloc[::-1].reset_index(drop=True), check_column_type=False
    )


def test_other_dtypes_become_the_nearest(tmp_path):
    """A column of a dtype that no table of ours has is read back with the nearest one."""
    frame = pd.DataFrame(
        {
            "a": [1, 2], "b": [0.5, float("nan")], "c": [True, False], "d": ["x", None],
            "e": pd.to_datetime(["2026-11-21", None]), "f": pd.Categorical(["1", "2"]), "g": [1, "1"],
        }
    )  # fmt: skip
    again = read_csv(to_csv(frame, tmp_path / "t.csv"))

    assert [str(d) for d in again.dtypes] == [
        "Int64",
        "Float64",
        "boolean",
        "string",
        "datetime64[us, UTC]",
        "string",
        "string",
    ]
    assert again["e"][0] == pd.Timestamp("2026-11-21T00:00:00Z")
    assert list(again["f"]) == ["1", "2"]


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("soffice"), reason="LibreOffice is not installed: apt-get install libreoffice-calc"
)
def test_libreoffice_computes_nothing(tmp_path):
    """LibreOffice computes no cell of a hostile table, and does compute a bare formula."""
    texts = [text for text in HOSTILE if len(text) < 1000] + ["\u00a0=1", "\u200b=1", "\x0b=1", "--ar 16:9", "=1|=2"]
    rows = [{"provider": t, "task_id": t, "label": t, "error_message": t, "params": {"prompt": t}} for t in texts]
    to_csv(tasks_frame(rows), tmp_path / "ours.csv")
    (tmp_path / "bare.csv").write_text('"=1+1",=1+1\n')
    command = ["soffice", "--headless", f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"]
    options = ["--infilter=CSV:44,34,76,1", "--convert-to", "fods", "--outdir", tmp_path]
    subprocess.run([*command, *options, tmp_path / "ours.csv", tmp_path / "bare.csv"], capture_output=True, check=True)
    sheets = {name: (tmp_path / f"{name}.fods").read_text("utf-8") for name in ("ours", "bare")}

    assert "table:formula" in sheets["bare"]
    assert "table:formula" not in sheets["ours"]
    assert "--ar 16:9" in sheets["ours"]
    assert "🦉" in sheets["ours"]


def test_times_of_any_zone(tmp_path):
    """Times of other zones, of several in one column, or of none come back as the same moments in UTC."""
    noon = pd.Timestamp("2026-11-21T12:00:00.123456Z")
    china, berlin = noon.tz_convert("Asia/Shanghai"), noon.tz_convert("Europe/Berlin")
    frame = pd.DataFrame(
        {
            "one": pd.Series([china, pd.NaT]),
            "several": pd.Series([china, berlin.to_pydatetime()], dtype=object),
            "gone": pd.Series([None, berlin], dtype=object),
            "none": pd.Series([noon.tz_localize(None), pd.NaT]),
        }
    )
    again = read_csv(to_csv(frame, tmp_path / "t.csv"))

    assert {str(dtype) for dtype in again.dtypes} == {"datetime64[us, UTC]"}
    assert {value for value in again.to_numpy().ravel() if not pd.isna(value)} == {noon}
    assert int(again.isna().sum().sum()) == 3


# Files


def test_the_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    """A write that fails at the last moment leaves the old file and no other; one that succeeds leaves one file."""
    path = tmp_path / "t.csv"
    to_csv(tasks_frame([{}]), path)
    before = path.read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="was not written: No space left"):
            to_csv(tasks_frame([FULL]), path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (before, [path])

    to_csv(tasks_frame([FULL]), path)
    assert list(tmp_path.iterdir()) == [path]
    assert len(read_csv(path)) == 1


def test_links_and_modes_are_the_users(tmp_path):
    """A link to a file stays a link, and a new file has the mode that the user's umask gives."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "t.csv")
    before = os.umask(0o022)
    written = to_csv(tasks_frame([]), tmp_path / "link.csv")
    os.umask(before)

    assert written == tmp_path / "real" / "t.csv"
    assert (tmp_path / "link.csv").is_symlink()
    assert stat.S_IMODE(written.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (".", "is a folder. Name a file"), ("no/t.csv", "There is no folder"), ("", "named by a path"),
        ("a\x00b", "named by a path"), (5, "named by a path"), ("loop/t.csv", "cannot be a file|no folder"),
        ("x" * 300, "cannot be a file|was not written"),
    ],
    ids=["folder", "missing parent", "empty", "NUL", "number", "loop of links", "too long"],
)  # fmt: skip
def test_targets_that_cannot_be(tmp_path, monkeypatch, path, words):
    """A path that cannot be a file is refused, and the text says what to do."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    with pytest.raises((BadInput, StoreError), match=words):
        to_csv(tasks_frame([]), path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "There is no file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a,a\n1,2\n", "two columns of the same name"),
        (b"a,b\n1\n", "Row 2 of .* has 1 cells where the header has 2"),
        (b"polls\n1\nmany\n", 'Row 3, column "polls".*"many" is no whole number'),
        (b"polls\n1.0\n", "no whole number"),
        (b"total_s\nfast\n", "no number"),
        (b"saved_at\nyesterday\n", "no time with its zone"),
        (b"state\nhappy\n", "no state"),
        (b'a\n"x\n', "is not a CSV file"),
    ],
    ids=[
        "missing", "nothing", "no header", "not UTF-8", "same names", "short row", "word for a number", "fraction",
        "word", "no time", "no state", "open quote",
    ],
)  # fmt: skip
def test_files_that_are_none_of_ours(tmp_path, content, words):
    """A file that cannot be read as a table is refused, and the text says where it fails."""
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)

    with pytest.raises(BadInput, match=words):
        read_csv(tmp_path / "t.csv")


@pytest.mark.parametrize("names", [["a", "a"], ["a", 5], ["", "b"]], ids=str)
def test_names_of_columns(tmp_path, names):
    """A table with two columns of one name, or a column without a name, is not written."""
    with pytest.raises(BadInput, match="name of its own"):
        to_csv(pd.DataFrame([[1, 2]], columns=names), tmp_path / "t.csv")


CHILD = """
import os, resource, sys
from nbhelper._tables.csv_file import to_csv
from nbhelper._tables.frames import tasks_frame
frame = tasks_frame([{"label": "owl " * 10}] * 3000)
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # Python ignores SIGXFSZ: writes fail as on a full disk
else:
    os.setgid(65534), os.setuid(65534)
try:
    to_csv(frame, sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def open_folder():
    """A folder that other users may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


@pytest.mark.parametrize(
    "trouble",
    ["full", pytest.param("nobody", marks=pytest.mark.skipif(os.getuid() != 0, reason="only root can be another"))],
)
def test_a_disk_that_refuses(open_folder, trouble):
    """On a full disk, or in another user's folder, one line says so, and the old file stays, without another one."""
    path = to_csv(tasks_frame([{}]), open_folder / "t.csv")
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", CHILD, path, trouble], capture_output=True, text=True, cwd=ROOT)

    assert done.stdout.startswith(f"StoreError {path} was not written: ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert (path.read_bytes(), list(open_folder.iterdir())) == (before, [path])
