"""Binder: the files that its buildpack reads, and the environment that they give, which runs every notebook.

    python -m pytest tests/project/test_binder.py -m binder

builds that environment from PyPI (a few minutes), as repo2docker does: the base, then `requirements.txt`, then the
checkout, then `postBuild`. In the usual run it is left out.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"
REQUIREMENTS = [
    line.strip()
    for line in (BINDER / "requirements.txt").read_text("utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]
BASE = ("jupyterlab>=4.4", "notebook>=7.4", "ipywidgets>=8.1.5")
"""What the buildpack's own environment brings."""
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def name_of(requirement):
    return re.split(r"[^\w.-]", requirement)[0].casefold()


def test_the_buildpack_reads_the_folder_binder_alone():
    """With that folder there, the buildpack reads its three files and no other."""
    assert sorted(path.name for path in BINDER.iterdir()) == ["postBuild", "requirements.txt", "runtime.txt"]
    assert (BINDER / "runtime.txt").read_text("utf-8").strip() == "python-3.11"
    assert os.access(BINDER / "postBuild", os.X_OK)


def test_every_requirement_is_a_pinned_package():
    """A local path would have the whole environment built anew with each commit; the base's packages are the base's."""
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", requirement) for requirement in REQUIREMENTS)
    assert not {name_of(r) for r in REQUIREMENTS} & {"ipykernel", "ipywidgets", "jupyterlab", "notebook", "nbhelper"}


def test_the_requirements_are_all_that_the_notebooks_need():
    """The checkout is installed without its dependencies, so each of them is here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = {name_of(r) for r in (*project["dependencies"], *extras["demo"], *extras["plot"])} - {"ipywidgets"}

    assert needed == {name_of(r) for r in REQUIREMENTS}


def test_the_badge_opens_the_first_notebook():
    """The address behind the README's badge names a notebook that is there."""
    readme = (ROOT / "README.md").read_text("utf-8")
    badge = r"\[!\[Binder\]\(https://mybinder\.org/badge_logo\.svg\)\]"
    targets = re.findall(
        badge + r"\(https://mybinder\.org/v2/gh/[^/]+/[^/]+/HEAD\?urlpath=lab/tree/([\w./-]+)\)", readme
    )

    assert targets == ["notebooks/01-watch-a-task.ipynb"]
    assert (ROOT / targets[0]).is_file()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The environment, and the copy of the checkout in it."""
    folder = tmp_path_factory.mktemp("binder")
    checkout = folder / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", "nbhelper-*", "__pycache__", ".*_cache", ".conformance")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment["PATH"] = f"{folder / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def run(*command, cwd=checkout):
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout.strip()

    run(sys.executable, "-m", "venv", str(folder / "env"))
    run("pip", "install", "--quiet", *BASE)
    run("pip", "install", "--quiet", "--no-cache-dir", "-r", "binder/requirements.txt")
    run("./binder/postBuild")
    return run, folder / "env", checkout / "notebooks"


@pytest.mark.binder
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_on_binder(built, path):
    """Each notebook runs, in its folder of the checkout, with the package that postBuild installed."""
    run, environment, folder = built
    out = folder.parent / "executed" / path.name
    out.parent.mkdir(exist_ok=True)

    where = run("python", "-c", "import nbhelper; print(nbhelper.__file__)", cwd=folder)
    run("jupyter", "nbconvert", "--to", "notebook", "--execute", "--output", str(out), path.name, cwd=folder)

    assert where.startswith(str(environment))
    notebook = nbformat.read(out, as_version=4)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip())


@pytest.mark.binder
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_installed_command_has_the_notebooks(built, tmp_path):
    """`nbhelper notebooks` copies every notebook out of the wheel that postBuild made."""
    run, _, _ = built

    run("nbhelper", "notebooks", str(tmp_path / "out"), cwd=tmp_path)

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in NOTEBOOKS]
