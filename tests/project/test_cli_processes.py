"""The command in processes of its own: an emulator in one, tasks watched from another, Ctrl-C, pipes that close."""

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from support.mill import KEY
from support.scripts import environment, run

import nbhelper as nbh

pytestmark = pytest.mark.usefixtures("isolated")


def command(*arguments, cwd, **variables):
    """`python -m nbhelper …` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "nbhelper", *arguments],
        cwd=cwd, env=environment(**variables), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture
def emulate(tmp_path):
    """`nbhelper emulate` in a process, and its table: address and key by provider."""
    processes = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "nbhelper", "emulate", *arguments],
            cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        lines = [process.stdout.readline() for _ in range(10)]
        return process, {line.split()[0]: line.split()[1:] for line in lines[3:]}

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


WATCH = """
import sys
import nbhelper as nbh
from nbhelper.cli import main

nbh.connect("tripo", api_key=sys.argv[2], base_url=sys.argv[1])
sys.exit(main(sys.argv[3:]))
"""
ENDS = {"succeeded": ("an owl", 0), "failed": ("an owl emu:fail", 1), "cancelled": ("an owl emu:cancelled", 1)}


def test_tasks_of_an_emulator_in_another_process(emulate, tmp_path):
    """Tasks created in this process and watched by the command: its code says how they ended, export tabulates them."""
    _, table = emulate("--speed", "1000")
    url, key = table["tripo"]
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


def test_emulate_serves_until_it_is_interrupted(emulate):
    """`nbhelper emulate` prints a line for each API; Ctrl-C ends it with code 0 while clients keep connections open."""
    process, table = emulate("--speed", "100", "--faults", "slow")
    url, key = table["kie"]
    port = int(url.partition("127.0.0.1:")[2].partition("/")[0])
    with httpx.Client(trust_env=False, verify=False) as client, socket.create_connection(("127.0.0.1", port)):
        answer = client.get(f"{url}/api/v1/chat/credit", headers={"authorization": f"Bearer {key}"})
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert set(table) == {"ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie"}
    assert answer.json()["code"] == 200
    assert (process.returncode, err) == (0, "")


def test_a_key_is_not_in_what_the_command_writes(tmp_path):
    """Not even a key given in the wrong place is repeated; the command ends in one line and leaves no file behind."""
    done = command("watch", f"kie:sk-{KEY}", cwd=tmp_path, KIE_API_KEY=f'"{KEY}"')

    assert done.returncode == 2
    assert KEY not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


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
            timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (1, "")


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
    """To an output that is ASCII alone, other letters of labels and errors are written as `?`, and end no watch."""
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
