"""`nbhelper demo`: the main job end to end, as a stranger runs it."""

import hashlib
import json
import subprocess
import sys

import pytest

import nbhelper as nbh


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One run of the demo, in an empty folder: what it printed as JSON."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "nbhelper", "demo", "--json"],
        cwd=folder, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads(done.stdout)


def test_it_agrees_with_the_ledger(demo):
    """Outcomes, credits, poll floors and every file's sha256 are what the emulator says."""
    _, told = demo

    assert told["wrong"] == []
    assert told["agrees_with_ledger"]
    assert told["files"] >= 14


def test_it_covers_every_provider_in_time(demo):
    """At least 14 tasks over all seven APIs, at least two failing in different ways, in under 30 s."""
    _, told = demo
    rows = told["tasks"]
    reasons = {(row["error_code"], row["error_message"]) for row in rows if row["outcome"] == "failed"}

    assert len(rows) >= 14
    assert {row["provider"] for row in rows} == {
        "ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie",
    }  # fmt: skip
    assert len(reasons) >= 2
    assert told["seconds"] < 30


def test_everything_is_in_its_folder(demo):
    """Store, pictures and CSV lie under ./nbhelper-demo, and nothing beside it."""
    folder, told = demo

    assert [p.name for p in folder.iterdir()] == ["nbhelper-demo"]
    assert (folder / "nbhelper-demo" / "history.db").is_file()
    frame = nbh.read_csv(folder / "nbhelper-demo" / "timings.csv")
    assert len(frame) == len(told["tasks"])
    for row in frame.to_dict("records"):
        for file in json.loads(row["files"]):
            assert (folder / "nbhelper-demo" / file).stat().st_size > 0


def test_files_are_named_by_label(demo):
    """A person finds the owl: folder by label, file by the reply's key path, suffix by its bytes."""
    folder, _ = demo
    (owl,) = (folder / "nbhelper-demo" / "results" / "tripo").glob("owl-portrait-*/*")

    assert owl.suffix in {".png", ".webp", ".jpg"}
    assert len(hashlib.sha256(owl.read_bytes()).hexdigest()) == 64


def test_the_tables_fit_a_terminal(tmp_path):
    """Without --json it prints a line per change, both tables and the verdict, and no terminal codes into a pipe."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "nbhelper", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "The tables agree with what the emulator did." in done.stdout
    assert "Summary" in done.stdout
    assert "\x1b" not in done.stdout
