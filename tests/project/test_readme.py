"""The README: its code runs, and its pictures, names, columns, notebooks and commands are the project's."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import nbhelper

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_first_forty_lines():
    """A sentence, the two commands, and five lines that run in a cell without a key, with what they give."""
    head = "\n".join(README.splitlines()[:40])

    assert 'pip install ".[demo]" && nbhelper demo' in head
    assert re.search(r"^pip install .* && python -m pytest -n 3 --dist loadfile$", head, re.MULTILINE)
    assert len(BLOCKS[0].strip().splitlines()) == 5
    assert BLOCKS[0] in head + "\n"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_python_blocks_run_in_order(tmp_path):
    """Pasted one after the other into one script, they run on the emulator and save files."""
    script = tmp_path / "readme.py"
    script.write_text("\n".join(BLOCKS), "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=220
    )

    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout
    assert list(tmp_path.rglob("*.glb"))
    assert (tmp_path / "owls.zip").is_file()


def test_every_picture_is_there_in_both_themes():
    """The README shows all pictures of the folder, each in a dark variant too, at half their size to be sharp."""
    light = dict(re.findall(r'<img src="([^"]+)" width="(\d+)" alt="[^"]{20,}">', README))
    dark = re.findall(r'<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">', README)
    folder = ROOT / "tests" / "views" / "pictures"

    assert dark == [f"{path.removesuffix('.webp')}-dark.webp" for path in light]
    assert {ROOT / path for path in (*light, *dark)} == set(folder.iterdir())
    for path, width in light.items():
        with Image.open(ROOT / path) as picture:
            assert abs(picture.width - 2 * int(width)) <= 2 * 24


def test_the_gate_runs_the_readme_s_test_command():
    """`.ci/run` finds the command in the README instead of repeating it."""
    gate = (ROOT / ".ci/run").read_text("utf-8")

    assert "README.md" in gate
    assert "python -m pytest" not in gate.replace("&& python -m pytest' README.md", "")


def section(title):
    """The text below a heading, up to the next one."""
    return re.split(r"^## ", README.partition(f"## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(title):
    """The names in the first column of a section's table."""
    rows = re.findall(r"^\| (`[^|]+) \|", section(title), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_the_reference_has_every_public_name_once():
    """What can be used is listed, and what is listed can be used; the version is no name to call."""
    assert sorted(first_cells("Reference")) == sorted(set(nbhelper.__all__) - {"__version__"})


def test_every_column_is_explained():
    """The table of columns is that of `tasks()`, in its order, and the parameters behind it."""
    from nbhelper._tables.columns import TASKS

    assert first_cells("Tables") == [*TASKS, "param_…"]


def test_every_notebook_stands_in_the_readme_with_its_question():
    """The table has each notebook of the project, and the question that the notebook begins with."""
    listed = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section("Notebooks"), re.MULTILINE))

    for path in (ROOT / "notebooks").glob("*.ipynb"):
        first = json.loads(path.read_text("utf-8"))["cells"][0]["source"]
        assert f"*{listed[path.stem]}*" in "".join(first)


def test_every_command_stands_in_the_readme():
    """The README names each command of `nbhelper --help`, and no other."""
    done = subprocess.run([sys.executable, "-m", "nbhelper", "--help"], capture_output=True, text=True, timeout=60)
    commands = re.findall(r"^    (\w+)\b", done.stdout.partition("commands:")[2], re.MULTILINE)
    named = re.findall(r"^nbhelper (\w+)", section("On the command line"), re.MULTILINE)

    assert sorted(named) == sorted(commands)
