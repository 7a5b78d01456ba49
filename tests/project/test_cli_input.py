"""The command in processes of its own: an emulator in one, tasks watched from another, Ctrl-C, pipes that close."""

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from support.scripts import environment, run

import nbhelper as nbh

pytestmark = pytest.mark.usefixtures("isolated")


def command(*arguments, cwd, **variables):
    """`python -m nbhelper …` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "nbhelper", *arguments],
        cwd=cwd, env=environment(**variables), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Emulate:
    """`nbhelper emulate`, and what it printed."""

    def __init__(self, cwd, *arguments):
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nbhelper", "emulate", "--port", str(self.port), *arguments],
            cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines = [self.process.stdout.readline() for _ in range(10)]
        self.table = {line.split()[0]: line.split()[1:] for line in self.lines[3:]}

    def interrupt(self):
        """Ctrl-C; exit code, and what else it said."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def emulate(tmp_path):
    begun = []

    def begin(*arguments):
        begun.append(Emulate(tmp_path, *arguments))
        return begun[-1]

    yield begin
    for one in begun:
        one.process.kill()
        one.process.communicate()


WATCH = """
import sys
import nbhelper as nbh
from nbhelper.cli import main

nbh.connect("tripo", api_key=sys.argv[2], base_url=sys.argv[1])
sys.exit(main(sys.argv[3:]))
"""
ENDS = {"succeeded": ("an owl", 0), "failed": ("an owl emu:fail", 1), "cancelled": ("an owl emu:cancelled", 1)}


def test_tasks_of_an_emulator_in_another_process(emulate, tmp_path):
    """Created here, watched by the command there: the exit code says how they ended, export tabulates them."""
    emulator = emulate("--speed", "1000")
    url, key = emulator.table["tripo"]
    nbh.connect("tripo", api_key=key, base_url=url)
    tasks = {
        word: nbh.submit("tripo", {"type": "text_to_model", "prompt": prompt}) for word, (prompt, _) in ENDS.items()
    }

    for word, (_, code) in ENDS.items():
        done = run(WATCH, url, key, "watch", str(tasks[word]), "--timeout", "30", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (code, "")
        assert f"{tasks[word]} {word}" in done.stdout
        assert ("nbhelper-data/results/tripo/" in done.stdout) is (word == "succeeded")
    done = command("export", "timings.csv", "--since", "1h", "--provider", "tripo", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"3 tasks of {tmp_path / 'nbhelper-data'} in {tmp_path / 'timings.csv'}\n"
    assert nbh.read_csv("timings.csv")["outcome"].tolist() == list(ENDS)
    assert key not in (tmp_path / "timings.csv").read_text()


def test_a_provider_that_nobody_knows_exports_nothing(tmp_path):
    """A slip in a provider's name is one line and code two, and no empty table is written."""
    done = command("export", "timings.csv", "--provider", "tripoo", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('nbhelper: No provider is called "tripoo". Did you mean "tripo"?')
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_reference_that_cannot_be_is_code_two(emulate, tmp_path):
    """Wrong input is told apart from a task that failed."""
    url, key = emulate().table["tripo"]

    done = run(WATCH, url, key, "watch", "tripo:x", "tripo:a\nb", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nbhelper: The task id holds control characters")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_emulator_whoever_is_connected(emulate, tmp_path):
    """Clients that keep their connections open do not hold it: it ends at once, code 0, nothing on stderr."""
    emulator = emulate()
    url, key = emulator.table["kie"]
    with httpx.Client(trust_env=False, verify=False) as client, socket.create_connection(("127.0.0.1", emulator.port)):
        client.get(f"{url}/api/v1/chat/credit", headers={"authorization": f"Bearer {key}"})

        code, _, err = emulator.interrupt()

    assert (code, err) == (0, "")


def test_a_port_that_is_taken_is_one_line(emulate, tmp_path):
    """A second emulator on the same port says so."""
    first = emulate()

    done = command("emulate", "--port", str(first.port), cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nbhelper: ")
    assert str(first.port) in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], [], ["watch", "--help"], ["export", "x.csv"], ["emulate"]],
    ids=lambda a: " ".join(a) or "no command",
)
def test_a_reader_that_is_gone_is_no_traceback(tmp_path, arguments):
    """Output into a pipe that nobody reads any more ends the command in silence, also the one that serves for ever."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "nbhelper", *arguments],
            cwd=tmp_path, env=environment(PYTHONUNBUFFERED=""), stdout=writer, stderr=subprocess.PIPE, text=True,
            timeout=30,
        )  # fmt: skip
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (1, "")


COMMANDS = ["demo", "watch", "export", "emulate"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_an_example(tmp_path, name):
    """One line that can be copied, and no word on the error output."""
    done = command(name, "--help", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"example: nbhelper {name}" in done.stdout


def test_the_version_costs_no_heavy_import(tmp_path):
    """`nbhelper --version` and `--help` answer before pandas, httpx or a widget would be loaded."""
    code = """
    import sys
    from nbhelper.cli import main
    for word in ("--version", "--help"):
        try:
            main([word])
        except SystemExit as end:
            assert end.code == 0
    heavy = {"pandas", "numpy", "httpx", "ipywidgets", "IPython", "PIL", "rich", "asyncio", "jmespath", "sqlite3"}
    print(sorted(heavy & set(sys.modules)))
    """

    done = run(code, cwd=tmp_path)

    assert (done.stdout.splitlines()[-1], done.stderr) == ("[]", "")


def test_a_log_that_has_no_unicode_gets_every_line(mill, tmp_path):
    """Labels and servers speak every script; output that is ASCII alone is no reason to end a watch."""
    ref = mill.job({"state": "error", "why": "zu dunkel \u2013 \U0001f989"})
    code = """
    import sys
    import nbhelper as nbh

    nbh.register(nbh.Provider(
        name="mill", base_url=sys.argv[1], key_variable="MILL_API_KEY", floor=0.1, poll="GET /jobs/{id}",
        state="state", words={"error": "failed"}, error_message="why",
    ))
    nbh.watch(nbh.Task("mill", sys.argv[2].partition(":")[2], label="\u017b\u00f3\u0142w"))
    """

    done = run(code, mill.root, ref, cwd=tmp_path, MILL_API_KEY="mill-key-0123456789", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    assert "failed" in done.stdout
    assert "zu dunkel ? ?" in done.stdout
