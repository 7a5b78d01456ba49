"""`nbhelper resume`: the same from a terminal."""

from pathlib import Path

import pytest
from support.mill import DONE, WORKING, png
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh
from nbhelper import cli

pytestmark = pytest.mark.usefixtures("isolated")


@pytest.fixture
def unfinished(mill, restart):
    handle = nbh.watch(mill.job(WORKING, ident="x"), block=False, display=False)
    until(lambda: handle[0].state)
    restart()


def test_the_command_watches_on_and_prints_the_files(mill, unfinished, capsys):
    """A line for the end, the paths of the files, and 0 when all succeeded."""
    mill.jobs["x"][:] = [{**DONE, "files": [mill.file(reply(png(100)))]}]

    code = cli.main(["resume"])

    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "mill:x succeeded" in out
    assert out.splitlines()[-1].endswith("files-0.png")


def test_a_task_that_fails_is_code_one(mill, unfinished, capsys):
    """As with `watch`."""
    mill.jobs["x"][:] = [{"state": "error", "why": "no"}]

    assert cli.main(["resume", "--no-save"]) == 1
    assert "mill:x failed" in capsys.readouterr().out


def test_nothing_to_resume_is_code_nought(mill, unfinished, capsys):
    """One line says so; what is too old is counted in another."""
    code = cli.main(["resume", "--max-age", "0s"])

    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"Nothing to resume in {Path.cwd() / 'nbhelper-data'}."
    assert "1 task older than 0s left pending" in out


@pytest.mark.parametrize("arguments", [("--max-age", "old"), ("--timeout", "-1"), ("--interval", "nan")], ids=str)
def test_what_cannot_be_done_is_one_line_and_code_two(arguments, capsys):
    """On the error output, without a traceback."""
    code = cli.main(["resume", *arguments])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("nbhelper: ")
    assert err.count("\n") == 1
