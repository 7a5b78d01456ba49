"""`nbhelper demo`: the main job end to end, as a stranger runs it."""

import hashlib
import io
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

import nbhelper as nbh
from nbhelper._demo import _SUMMARY, _columns_for, _table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The demo with and without `--json`, side by side in empty folders: the folder and what was printed there."""

    def run(folder, *options):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "nbhelper", "demo", *options],
            cwd=folder, capture_output=True, text=True, timeout=220,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return folder, done.stdout

    folders = [tmp_path_factory.mktemp("demo") for _ in range(2)]  # two threads may find the same name free
    with ThreadPoolExecutor(2) as pool:
        both = pool.submit(run, folders[0], "--json"), pool.submit(run, folders[1])
    return tuple(one.result() for one in both)


@pytest.fixture(scope="module")
def demo(runs):
    """The folder of the run with `--json`, and the report that it printed."""
    (folder, printed), _ = runs
    return folder, json.loads(printed)


def test_it_agrees_with_the_ledger(demo):
    """Outcomes, credits, poll floors and every file's sha256 are what the emulator says."""
    _, report = demo

    assert report["wrong"] == []
    assert report["agrees_with_ledger"]
    assert report["files"] >= 14


def test_it_covers_every_provider_in_time(demo):
    """17 tasks over all seven APIs, none missing from `tasks(since=...)`, two failing in different ways, in time."""
    _, report = demo
    rows = report["tasks"]
    reasons = {(row["error_code"], row["error_message"]) for row in rows if row["outcome"] == "failed"}

    assert len(rows) == 17
    assert {row["provider"] for row in rows} == {
        "ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie",
    }  # fmt: skip
    assert len(reasons) >= 2
    assert report["seconds"] < 60  # on a quiet machine under 30


def test_everything_is_in_its_folder(demo):
    """Store, pictures and CSV lie under ./nbhelper-demo, and nothing beside it."""
    folder, report = demo

    assert [p.name for p in folder.iterdir()] == ["nbhelper-demo"]
    assert (folder / "nbhelper-demo" / "history.db").is_file()
    frame = nbh.read_csv(folder / "nbhelper-demo" / "timings.csv")
    assert len(frame) == len(report["tasks"])
    for row in frame.to_dict("records"):
        for file in json.loads(row["files"]):
            assert (folder / "nbhelper-demo" / file).stat().st_size > 0


def test_files_are_named_by_label(demo):
    """A result's folder is named by label, its file by the reply's key path, its suffix by its bytes."""
    folder, _ = demo
    (owl,) = (folder / "nbhelper-demo" / "results" / "tripo").glob("owl-portrait-*/*")

    assert owl.suffix in {".png", ".webp", ".jpg"}
    assert len(hashlib.sha256(owl.read_bytes()).hexdigest()) == 64


def test_the_tables_fit_a_terminal(runs):
    """Without --json it prints a line per change, both tables and the verdict, and no terminal codes into a pipe."""
    _, (_, printed) = runs

    assert "The tables agree with what the emulator did." in printed
    assert "Summary" in printed
    assert "\x1b" not in printed


@pytest.mark.parametrize("width", [140, 110, 80])
def test_what_is_cut_in_a_table_says_so(demo, width):
    """In a narrow terminal the long texts end in an ellipsis, and the numbers on their right are whole."""
    folder, _ = demo
    frame = nbh.read_csv(folder / "nbhelper-demo" / "timings.csv")
    out = io.StringIO()
    console = Console(file=out, width=width)

    console.print(_table(frame, _columns_for(width), "Tasks"))
    console.print(_table(nbh.summary(frame, by="provider"), _columns_for(width, _SUMMARY), "Summary"))

    lines = out.getvalue().splitlines()
    refused = next(line for line in lines if " kie " in line and "failed" in line)
    assert "…" in next(line for line in lines if "aigptimage" in line)
    assert refused.rstrip().endswith("…" if width > 80 else " 0")
    assert any(re.search(r"^ kie +3 +2 +1 +67% \(21-94%\) .* 0\.040 *$", line) for line in lines)
