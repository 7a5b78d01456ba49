"""The command: help with examples, exit codes, errors on one line, and the real thing as a process."""

import re
import signal
import subprocess
import sys

import httpx
import pytest
from support.mill import DONE, KEY
from support.scripts import environment

import nbhelper as nbh
from nbhelper import cli

pytestmark = pytest.mark.usefixtures("isolated")

COMMANDS = sorted(cli._parser()._subparsers._group_actions[0].choices)


def run(*arguments, cwd, timeout=60, **variables):
    return subprocess.run(
        [sys.executable, "-m", "nbhelper", *arguments],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def call(capsys, *arguments):
    """The command inside this process: its code and what it wrote."""
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
    "no key": ("watch", "kie:1"),
    "timeout": ("watch", "kie:1", "--timeout", "-1"),
    "interval": ("watch", "kie:1", "--interval", "nan"),
    "since": ("export", "x.csv", "--since", "when?"),
    "outcome": ("export", "x.csv", "--outcome", "good"),
    "speed": ("emulate", "--speed", "0"),
    "port": ("emulate", "--port", "99999"),
    "faults": ("emulate", "--faults", "flakey"),
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_what_cannot_be_done_is_one_line_and_code_two(arguments, capsys):
    """On the error output, without a traceback."""
    code, out, err = call(capsys, *arguments)

    assert (code, out) == (2, "")
    assert err.startswith("nbhelper: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("wach",), ("watch",), ("watch", "kie:1", "--bogus"), ("export",)])
def test_a_mistyped_command_is_code_two(arguments, capsys):
    """What argparse refuses has its usage on the error output."""
    code, out, err = call(capsys, *arguments)

    assert (code, out) == (2, "")
    assert "usage:" in err


def test_watch_writes_lines_and_files(mill, capsys):
    """One line per change, then the files, and code 0."""
    from support.mill import png
    from support.raw_server import reply

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
    """The timeout ends it, the task goes on."""
    code, out, _ = call(capsys, "watch", mill.job({"state": "working"}), "--timeout", "0.3")

    assert code == 1
    assert "stopped" in out


def test_export_writes_the_table(mill, capsys, tmp_path):
    """The tasks of the store, filtered, as CSV that reads back."""
    nbh.watch([mill.job(DONE), mill.job({"state": "error"})], display=False)

    code, out, _ = call(capsys, "export", "t.csv", "--since", "1h", "--outcome", "failed")

    assert code == 0
    assert out == f"1 task of {tmp_path / 'nbhelper-data'} in {tmp_path / 't.csv'}\n"
    assert list(nbh.read_csv("t.csv")["task_id"]) == ["job-2"]


def test_watch_without_a_key_as_a_process(mill, tmp_path):
    """`python -m nbhelper watch` without a key: one line, code 2, and nothing left behind."""
    done = run("watch", "kie:1", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith('nbhelper: No key for "kie"')
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_not_in_what_the_command_writes(tmp_path):
    """Not even when it is the mistake."""
    done = run("watch", f"kie:sk-{KEY}", cwd=tmp_path, KIE_API_KEY=f'"{KEY}"')

    assert done.returncode == 2
    assert KEY not in done.stdout + done.stderr


def test_emulate_serves_until_it_is_interrupted(tmp_path):
    """It prints each API's address and key, answers there, and ends with Ctrl-C and code 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nbhelper", "emulate", "--speed", "100", "--faults", "slow"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [process.stdout.readline() for _ in range(10)]
        table = {line.split()[0]: line.split()[1:] for line in lines[3:]}
        url, key = table["kie"]
        answer = httpx.get(f"{url}/api/v1/chat/credit", headers={"authorization": f"Bearer {key}"}, trust_env=False)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()

    assert set(table) == {"ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie"}
    assert answer.json()["code"] == 200
    assert (process.returncode, err) == (0, "")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    """`nbhelper … | head` ends in silence."""
    done = subprocess.run(
        f"{sys.executable} -m nbhelper --help | head -1",
        shell=True,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.startswith("usage: nbhelper")
    assert done.stderr == ""


def test_an_interrupted_watch_is_code_130(mill, monkeypatch, capsys):
    """As the shell expects it."""
    monkeypatch.setattr("nbhelper._api.watch", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))

    assert call(capsys, "watch", "mill:x")[0] == 130
