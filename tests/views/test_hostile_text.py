"""Hostile text from servers and labels: in the terminal and in every repr it is one harmless line."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from rich.console import Console
from support.hostile import EVIL, SECRET, is_harmless
from support.raw_server import reply

import nbhelper as nbh
from nbhelper._model.text import slug
from nbhelper._views import terminal
from nbhelper._views.terminal import StateLines, block
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Output, Saved, SaveState, Snapshot, State, TaskError

pytestmark = pytest.mark.usefixtures("isolated")

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUICK = settings(max_examples=60, deadline=None)
PLAIN = settings(QUICK, max_examples=25)


def histories(word):
    """Tasks in every state, the same word in every place that takes one."""
    output = Output(name=word, url=f"https://cdn.example/a?sig={SECRET}", kind="image")
    seen = {
        "queued": [Snapshot(state=State.QUEUED, word=word, queue_position=3, model=word)],
        "running": [Snapshot(state=State.RUNNING, word=word, progress=0.5, seconds_left=9.0, outputs=(output,))],
        "odd": [Snapshot(state=State.UNKNOWN, word=word)],
        "failed": [Snapshot(state=State.FAILED, word=word, error=TaskError(word, word))],
        "missed": [Miss(kind=MissKind.SERVER, status=500, code=word, message=word, trace=word)],
        "lost": [Mark(word=MarkWord.LOST, note=word)],
        "unsaved": [
            Snapshot(state=State.SUCCEEDED, outputs=(output,), credits=1.5),
            Saved(name=word, state=SaveState.FAILED, message=word),
        ],
        "saved": [
            Snapshot(state=State.SUCCEEDED, outputs=(output,)),
            Saved(name=word, file=f"/x/{slug(word)}.png", kind="image", n_bytes=5, sha256="0" * 64),
        ],
    }  # fmt: skip
    grown = []
    for ident, events in seen.items():
        history = nbh.History(nbh.Task("kie", ident, label=word), uid=ident)
        for event in events:
            history = history.add(event, NOON)
        grown.append(history)
    return grown


@PLAIN
@given(EVIL)
def test_nothing_that_a_server_or_label_says_drives_the_terminal(word):
    """Lines and the live block at three widths: every line is harmless, none is wrapped, no link's query is in it."""
    tasks, lines = histories(word), []
    StateLines(lines.append).print(tasks, last=True)
    for width in (40, 80, 200):
        console = Console(width=width, force_terminal=True, color_system=None, highlight=False)
        with console.capture() as capture:
            console.print(block(tasks, console))
        drawn = capture.get().splitlines()
        assert len(drawn) == len(tasks) + 1
        lines += drawn

    assert lines
    for line in lines:
        assert is_harmless(line)
        assert SECRET not in line


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_thousand_tasks_fit_on_a_screen(width):
    """About twenty rows, those that went wrong among them, and how many more there are; no row is wider than asked."""
    states = [State.RUNNING] * 600 + [State.QUEUED] * 300 + [State.SUCCEEDED] * 97 + [State.FAILED] * 3
    tasks = [
        nbh.History(nbh.Task("kie", f"{n:032x}"), uid=str(n)).add(Snapshot(state=s, progress=None), NOON)
        for n, s in enumerate(states)
    ]
    console = Console(width=width, force_terminal=True, color_system=None, highlight=False)

    with console.capture() as capture:
        console.print(block(tasks, console))
    lines = capture.get().splitlines()

    assert len(lines) <= 22
    assert lines[-1].strip() == f"and {1000 - terminal.ROWS} more"
    assert sum("✗" in line for line in lines) == 3
    assert all(len(line) <= width for line in lines)


@PLAIN
@given(EVIL)
def test_every_value_reads_as_one_line(word):
    """Tasks, histories, events, requests and replies read back: one harmless line each, with nothing secret."""
    shown = [repr(value) for history in histories(word) for value in (history, history.task, *history.events)]
    shown += [repr(output) for history in histories(word) for output in history.outputs]
    shown.append(repr(nbh.Request("kie", {word: word, "prompt": word}, endpoint=word if word.strip() else None)))

    for text in shown:
        assert is_harmless(text)
        assert SECRET not in text
        assert len(text) < 1000 or text.startswith("<Event")


def test_an_emulator_reads_as_one_line(emulator):
    """Where it listens while it is open, and that it is closed."""
    assert repr(emulator) == f"<Emulator {emulator.root}>"
    emulator.close()
    assert repr(emulator) == "<Emulator closed>"


def test_a_hostile_server_through_the_whole_library(mill, capsys):
    """From the wire to the terminal: state word, error and label of a real watch print as harmless lines."""
    evil = "\x1b]0;owned\x07\x1b[31mred\u202e\x00\ud800\r\n$(reboot)"
    ref = mill.job(reply({"state": "error", "why": evil, "code": evil}))

    history = nbh.watch(nbh.Task("mill", ref.partition(":")[2], label="\x1b[2Jlabel"), display="text", block=True)[0]

    printed = capsys.readouterr().out
    assert history.outcome == "failed"
    assert all(is_harmless(line) for line in printed.splitlines())
    assert "$(reboot)" in printed
    assert is_harmless(nbh.tasks()["error_message"].iloc[0].replace("\\ud800", ""))
