"""The benchmark scripts: how many there are, that each starts, and that texts name only what is there."""

import re
import subprocess
import sys

import pytest
from support.scripts import ROOT, environment

FOLDER = ROOT / "tests" / "benchmarks"
SCRIPTS = {path.stem for path in FOLDER.glob("*.py")} - {"__main__"}


def helped(path):
    """What `--help` prints."""
    done = subprocess.run(
        [sys.executable, path, "--help"], env=environment(COLUMNS="1000"), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_at_most_six_scripts_run_by_one_command():
    """The one command runs every script, and there are no more than six."""
    (named,) = re.findall(r"NAME +default: ([\w, ]+)", helped(FOLDER))

    assert set(named.split(", ")) == SCRIPTS
    assert len(SCRIPTS) <= 6


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_each_script_starts(name):
    """A script imports what it needs, says what its parts are, and the README names each of them."""
    (listed,) = re.findall(r"^ +PART +default: (.+)", helped(FOLDER / f"{name}.py"), re.MULTILINE)
    parts = listed.replace("; only when named: ", ", ").split(", ")
    section = (FOLDER / "README.md").read_text("utf-8").partition(f"## {name}.py\n")[2].partition("\n## ")[0]

    assert [part for part in parts if f"| `{part}` |" not in section] == []


def test_texts_name_only_scripts_that_exist():
    """Where a text or a docstring names a file of tests/benchmarks, it is there."""
    texts = [
        ROOT / "README.md",
        *ROOT.glob("tests/**/*.md"),
        *ROOT.glob("tests/**/*.py"),
        *ROOT.glob("notebooks/*.ipynb"),
    ]
    named = {name for path in texts for name in re.findall(r"tests/benchmarks/(\w+)\.py", path.read_text("utf-8"))}

    assert named
    assert named <= SCRIPTS
