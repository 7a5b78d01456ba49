"""Promises that hold for every watch of a test, whatever goes wrong meanwhile: counted here, asserted by the tests.

The library's own report is not trusted: a failure must be named by a word of the reply, as the corpus of sample replies
lists it; a saved file must exist on the disk; an error is uncaught when it was logged or ended a thread.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.chaos.watching import uncaught
from support.provider_samples import NAMES, ended_rightly
from support.waiting import until

import nbhelper as nbh
from nbhelper._watching import engine
from nbhelper._watching import watch as _watch
from nbhelper._watching.watch import place_of
from nbhelper.types import Outcome, SaveState


@dataclass
class PromiseCounts:
    """Counts over the watches of one test, and each broken promise in words."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Texts of errors that a test provokes inside the library: a logged line with one of them is not counted."""

    def judge(self, watches: list[nbh.Watch], errors: list[str]) -> None:
        """Count how these watches ended, and the errors that were logged meanwhile."""
        for watch in watches:
            for history in {h.uid: h for h in watch}.values():
                self.counts["watches"] += 1
                if history.outcome is None:
                    self._note("without an outcome", history)
                if history.outcome is Outcome.FAILED and not _is_named(history):
                    self._note("false failures", history)
                for _ in range(_count_lost(watch, history)):
                    self._note("lost results", history)
        for line in errors:
            if not any(words in line for words in self.expected):
                self._note("uncaught", line)

    def _note(self, what: str, where: object) -> None:
        self.counts[what] += 1
        self.broken.append(f"{what}: {where!r}"[:2000])


def _is_named(history: nbh.History) -> bool:
    """Whether a reply named this failure, by words that are written down beside the sample replies."""
    name = history.task.provider.removeprefix("quick-")
    end = history.snapshot
    if end is None or end.state != "failed":
        return False
    if name in NAMES:
        return ended_rightly(name, "failed", end.word, end.raw)
    return end.raw.get("state", "") in {"error", " error ", "broken"}  # the tests' own APIs


def _count_lost(watch: nbh.Watch, history: nbh.History) -> int:
    """How many results that replies named are neither on the disk nor have a reason why not."""
    saves = history.saves.values()
    gone = [s for s in saves if s.state is SaveState.SAVED and not (s.file and Path(s.file).is_file())]
    silent = [s for s in saves if s.state is not SaveState.SAVED and not s.message]
    entry = watch._entries[place_of(history)]  # a watch that is stopped leaves files still missing to the next watch
    is_due = entry.over and not entry.parting and watch._saving and history.outcome is not Outcome.STOPPED
    forgotten = {o.name for o in history.outputs} - set(history.saves) if is_due else ()
    return len(gone) + len(silent) + len(forgotten)


@contextlib.contextmanager
def promised() -> Iterator[PromiseCounts]:
    """Collect every watch that begins inside; at the end stop them, and judge each by its outcome and files."""
    kept, watches, start = PromiseCounts(), [], _watch.Watch._start

    def record_start(watch: nbh.Watch, *arguments: object) -> None:
        watches.append(watch)
        start(watch, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, uncaught() as errors:
        patch.setattr(_watch.Watch, "_start", record_start)
        yield kept
        alive = engine._engine is not None and engine._engine.alive
        for watch in watches:
            if alive and not watch.done:
                watch.stop()
        for watch in watches:
            with contextlib.suppress(AssertionError):  # counted below
                until(lambda watch=watch: not alive or all(h.outcome for h in watch), 8)
        kept.judge([w for w in watches if alive or w.done], errors)
