"""The command for a topic's figures: what it runs, and how it reads what the scripts write."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FIGURES = runpy.run_path(str(BENCHMARKS / "figures.py"))


def test_every_script_is_there():
    """Each script that a topic names is there, and stands under one topic alone."""
    named = [command.split()[0] for commands in FIGURES["TOPICS"].values() for command in commands]

    assert len(named) == len(set(named))
    assert [name for name in named if not (BENCHMARKS / name).is_file()] == []


@pytest.mark.parametrize(
    "written",
    [
        {"facts": [{"fact": "kills", "target": "none lost", "found": "2", "met": False}]},
        {"verdicts": {"first": [{"target": "kills", "found": "2", "ok": False}]}},
        [{"name": "kills", "found": "2", "kept": False}],
    ],
    ids=["fact, met", "target, ok", "name, kept"],
)
def test_verdicts_are_read(written):
    """What scripts call the parts of a verdict differs; each is found with its name and its figure."""
    (told,) = FIGURES["verdicts"](written)

    assert (told["fact"], told["found"], told["met"]) == ("kills", "2", False)


def test_figures_beside_a_verdict():
    """A verdict without words for what was found shows the numbers that stand beside it."""
    (told,) = FIGURES["verdicts"]({"facts": [{"fact": "cuts", "met": True, "done": 20_000, "unnoticed": []}]})

    assert told["found"] == "done 20,000"


def test_a_script_that_breaks_is_not_met(tmp_path):
    """A topic ends with code 1 when one of its scripts does, and what was met before is still told and written."""
    (tmp_path / "good.py").write_text(
        "import json, sys\n"
        'assert sys.argv[1] == "--json"\n'
        'json.dump([{"fact": "speed", "found": "2", "target": "3", "met": True}], open(sys.argv[2], "w"))\n'
    )
    (tmp_path / "bad.py").write_text("raise SystemExit(7)\n")
    code = (BENCHMARKS / "figures.py").read_text("utf-8").replace('"card.py"', '"bad.py"')
    (tmp_path / "figures.py").write_text(code.replace('"notebook.py"', '"good.py"'))
    done = subprocess.run(
        [sys.executable, "figures.py", "notebook"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    runs = json.loads((tmp_path / "figures-notebook.json").read_text())["runs"]

    assert done.returncode == 1
    assert "met      good.py: speed: 2 (3)" in done.stdout
    assert "NOT MET  bad.py: exit code: 7 (0)" in done.stdout
    assert [run["code"] for run in runs] == [0, 7]
