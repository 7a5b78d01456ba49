"""The command inside this process: help with examples, exit codes, errors on one line, and what each command writes."""

import re
import socket
from pathlib import Path

import pytest
from support.mill import DONE, WORKING, png
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh
from nbhelper import cli

pytestmark = pytest.mark.usefixtures("isolated")

COMMANDS = sorted(cli._parser()._subparsers._group_actions[0].choices)


def call(capsys, *arguments):
    """Run the command inside this process; its exit code, output and error output."""
    try:
        code = cli.main(arguments)
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_helps_with_an_example(command, capsys):
    """`--help` of each command says what it does and shows one line to copy."""
    code, out, err = call(capsys, command, "--help")

    assert (code, err) == (0, "")
    assert f"example: nbhelper {command}" in out


def test_the_command_alone_helps(capsys):
    """Without a command: the help, examples included, and exit code 2."""
    code, out, _ = call(capsys)

    assert code == 2
    assert "examples:" in out
    assert all(command in out for command in COMMANDS)


def test_the_version_is_the_packages(capsys):
    """`--version` says what `nbhelper.__version__` says."""
    assert call(capsys, "--version") == (0, f"nbhelper {nbh.__version__}\n", "")


WRONG = {
    "no such provider": ("watch", "kei:1"),
    "no reference": ("watch", "1ec04ced"),
    "control characters": ("watch", "tripo:x", "tripo:a\nb"),
    "no key": ("watch", "kie:1"),
    "timeout": ("watch", "kie:1", "--timeout", "-1"),
    "interval": ("watch", "kie:1", "--interval", "nan"),
    "since": ("export", "x.csv", "--since", "when?"),
    "outcome": ("export", "x.csv", "--outcome", "good"),
    "provider": ("export", "x.csv", "--provider", "tripoo"),
    "speed": ("emulate", "--speed", "0"),
    "port": ("emulate", "--port", "99999"),
    "faults": ("emulate", "--faults", "flakey"),
    "max age": ("resume", "--max-age", "old"),
    "timeout of a resume": ("resume", "--timeout", "-1"),
    "interval of a resume": ("resume", "--interval", "nan"),
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_one_line_and_code_two(arguments, capsys):
    """A wrong argument is one line on the error output, without a traceback, and no file is made."""
    code, out, err = call(capsys, *arguments)

    assert (code, out) == (2, "")
    assert err.startswith("nbhelper: ")
    assert err.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("arguments", [("wach",), ("watch",), ("watch", "kie:1", "--bogus"), ("export",)])
def test_a_mistyped_command_is_code_two(arguments, capsys):
    """What argparse refuses has its usage on the error output."""
    code, out, err = call(capsys, *arguments)

    assert (code, out) == (2, "")
    assert "usage:" in err


def test_watch_writes_lines_and_files(mill, capsys):
    """`nbhelper watch` writes one line per change, then the files, and ends with code 0."""
    ref = mill.job({"state": "done", "files": [mill.file(reply(png()))]})

    code, out, err = call(capsys, "watch", ref, "--save", "here")

    assert (code, err) == (0, "")
    assert re.match(r"\d\d:\d\d:\d\dZ mill:job-1 succeeded", out)
    assert out.splitlines()[-1].endswith(".png")
    assert "/here/" in out.splitlines()[-1]


def test_watch_of_a_failure_is_code_one(mill, capsys):
    """A task that did not succeed shows in the exit code."""
    code, out, _ = call(capsys, "watch", mill.job({"state": "error", "why": "too dark"}), mill.job(DONE), "--no-save")

    assert code == 1
    assert "too dark" in out


def test_a_watch_that_stops_is_code_one(mill, capsys):
    """A watch that the timeout ends, while the task goes on, shows in the exit code."""
    code, out, _ = call(capsys, "watch", mill.job({"state": "working"}), "--timeout", "0.3")

    assert code == 1
    assert "stopped" in out


def test_an_interrupted_watch_is_code_130(mill, monkeypatch, capsys):
    """Ctrl-C while the command watches gives exit code 130, as the shell expects."""
    monkeypatch.setattr("nbhelper._api.watch", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))

    assert call(capsys, "watch", "mill:x")[0] == 130


def test_export_writes_the_table(mill, capsys, tmp_path):
    """`nbhelper export` writes the tasks of the store, filtered, as CSV that reads back."""
    nbh.watch([mill.job(DONE), mill.job({"state": "error"})], display=False)

    code, out, _ = call(capsys, "export", "t.csv", "--since", "1h", "--outcome", "failed")

    assert code == 0
    assert out == f"1 task of {tmp_path / 'nbhelper-data'} in {tmp_path / 't.csv'}\n"
    assert list(nbh.read_csv("t.csv")["task_id"]) == ["job-2"]


def test_a_port_that_is_taken_is_one_line(capsys):
    """A port that another program has is one line on the error output, which names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = call(capsys, "emulate", "--port", port)

    assert (code, out) == (2, "")
    assert err.startswith("nbhelper: ")
    assert port in err
    assert err.count("\n") == 1


@pytest.fixture
def unfinished(mill, restart):
    """A task that was watched before a restart and goes on."""
    handle = nbh.watch(mill.job(WORKING, ident="x"), block=False, display=False)
    until(lambda: handle[0].state)
    restart()


def test_resume_watches_on_and_prints_the_files(mill, unfinished, capsys):
    """`nbhelper resume` writes a line for the end and the paths of the files; code 0 when all succeeded."""
    mill.jobs["x"][:] = [{**DONE, "files": [mill.file(reply(png(100)))]}]

    code, out, err = call(capsys, "resume")

    assert (code, err) == (0, "")
    assert "mill:x succeeded" in out
    assert out.splitlines()[-1].endswith("files-0.png")


def test_resume_of_a_task_that_fails_is_code_one(mill, unfinished, capsys):
    """A resumed task that fails shows in the exit code, as with `watch`."""
    mill.jobs["x"][:] = [{"state": "error", "why": "no"}]

    code, out, _ = call(capsys, "resume", "--no-save")

    assert code == 1
    assert "mill:x failed" in out


def test_nothing_to_resume_is_code_nought(mill, unfinished, capsys):
    """One line says that there is nothing to resume, another how many tasks are too old; the exit code is 0."""
    code, out, err = call(capsys, "resume", "--max-age", "0s")

    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"Nothing to resume in {Path.cwd() / 'nbhelper-data'}."
    assert "1 task older than 0s left pending" in out
