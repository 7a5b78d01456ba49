"""One task watched in two processes: the code of the other process, and the history as both print it."""

from __future__ import annotations

from subprocess import Popen

from support.mill import DONE, Mill, png
from support.raw_server import reply
from support.watched import events_of

import nbhelper as nbh

WATCH = """
w = nbh.watch("mill:x", block=False, display=False)
while not w[0].state: time.sleep(0.01)
print("ready", flush=True)
show(w.result()[0] if isinstance(w.result(), list) else w.result())
"""
PNG = png(3000)


def finish(mill: Mill, ident: str = "x") -> None:
    """Let the task succeed at the next look, with a file."""
    mill.jobs[ident][:] = [{**DONE, "files": [mill.file(reply(PNG))]}]


def as_printed(history: nbh.History) -> list[str]:
    """A history as `show` prints it."""
    lines = [
        f"{e.seq} {e.at.isoformat()} {type(e.seen).__name__} {getattr(e.seen, 'word', '')}" for e in events_of(history)
    ]
    return [*(line.strip() for line in lines), f"{history.outcome} {[path.name for path in history.files]}"]


def shown(process: Popen[str]) -> list[str]:
    """The lines that `show` printed in a process that has ended."""
    out, err = process.communicate(timeout=30)
    assert err == ""
    return [line.strip() for line in out.splitlines() if line != "ready"]
