"""`nbhelper notebooks` copies the examples, from a checkout or the wheel, and overwrites no changed file silently."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from support.scripts import environment

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def nbhelper(*arguments, cwd, path=ROOT):
    """The command as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "nbhelper", *map(str, arguments)],
        cwd=cwd, env=environment(PYTHONPATH=str(path)), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_notebooks_are_copied_into_a_new_folder(tmp_path):
    """Every notebook is copied byte for byte, and the command that opens them is printed."""
    done = nbhelper("notebooks", "my examples", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "my examples").iterdir()) == NAMES
    for name in NAMES:
        assert (tmp_path / "my examples" / name).read_bytes() == (ROOT / "notebooks" / name).read_bytes()
    assert done.stdout.count(" copied\n") == len(NAMES)
    assert "jupyter lab" in done.stdout


def test_a_changed_notebook_is_kept_without_overwrite(tmp_path):
    """A second copy keeps what differs and says so; --overwrite replaces it and says so."""
    nbhelper("notebooks", ".", cwd=tmp_path)
    mine = tmp_path / NAMES[0]
    mine.write_text("my own work", "utf-8")

    kept = nbhelper("notebooks", ".", cwd=tmp_path)
    assert mine.read_text("utf-8") == "my own work"
    assert f"{mine} is there and differs: kept (--overwrite replaces it)" in kept.stdout
    assert kept.stdout.count("is there already") == len(NAMES) - 1

    replaced = nbhelper("notebooks", ".", "--overwrite", cwd=tmp_path)
    assert mine.read_bytes() == (ROOT / "notebooks" / NAMES[0]).read_bytes()
    assert f"{mine} replaced" in replaced.stdout


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path):
    """Where a file has the name of the folder, the command ends in one line with code 2."""
    (tmp_path / "taken").write_text("x", "utf-8")
    done = nbhelper("notebooks", "taken", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("nbhelper: The notebooks cannot be written to")
    assert done.stderr.count("\n") == 1


def test_the_notebooks_are_in_the_wheel(tmp_path):
    """In a folder laid out as the wheel lays it out, without a checkout, the command has the notebooks too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        shutil.copytree(ROOT / package, tmp_path / "site" / package)
    for source, target in wheel["force-include"].items():
        shutil.copytree(ROOT / source, tmp_path / "site" / target)

    copied = nbhelper("notebooks", "out", cwd=tmp_path, path=tmp_path / "site")

    assert copied.returncode == 0, copied.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == NAMES
