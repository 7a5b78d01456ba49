"""The text view: one live block in a terminal, one line per change of state where output is no terminal.

The waiting call draws it, from the histories alone; drawing it twice changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from .._model.events import Event, Mark, Snapshot
from .._model.history import History
from .._model.states import MarkWord, Outcome, State
from .._model.text import clean, seconds
from .._session.environment import place
from .draw_limit import DrawLimit
from .words import (
    describe_counts,
    describe_details,
    describe_end,
    elapsed,
    ends_with_provider,
    glyph_of,
    is_over,
    key_of,
    select_rows,
    state_of,
    unique,
    word_of,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Histories = Callable[[], Sequence[History]]
"""Gives the tasks as they stand now."""


class _Draw(Protocol):
    def __call__(self, *, last: bool) -> None: ...


ROWS = 20
"""Tasks that the live block shows; the rest is counted below them."""
_DRAW = 0.25
"""Seconds between two drawings, at least."""
_TAIL = 14
"""Characters at a long name's end that stay in sight."""
_STYLES = {
    State.RUNNING: "cyan",
    Outcome.SUCCEEDED: "green",
    Outcome.FAILED: "red",
    Outcome.CANCELLED: "yellow",
    Outcome.EXPIRED: "yellow",
    Outcome.LOST: "yellow",
    Outcome.STOPPED: "yellow",
}


_ENDS = frozenset({MarkWord.STOPPED, MarkWord.LOST, MarkWord.REFUSED})
"""The marks after which a task's outcome is ours."""


@contextmanager
def text_view(histories: Histories) -> Iterator[Callable[[], None]]:
    """Draw tasks while somebody waits for them; `draw()` may be called as often as one likes."""
    can_move = place() == "terminal" and _encoding().startswith("utf")
    with (_live_block if can_move else _lines)(histories) as draw:
        limit = DrawLimit(_DRAW)

        def draw_when_due() -> None:
            if limit.is_due():
                with limit.measured():
                    draw(last=False)

        yield draw_when_due
        draw(last=True)


# One line for each change of state


class StateLines:
    """One line for each change of a task's state, with the time: made for logs.

    A state that was over before the next call has its line too, as far as the histories' newest events tell it. The
    line of an end waits for the files, for `_WAIT` seconds at most, so that one line says both.
    """

    _WAIT = 3.0

    def __init__(self, write: Callable[[str], Any] | None = None, begun: Iterable[History] = ()) -> None:
        self._write = write
        self._read = {key_of(history): history for history in begun}
        """The histories as they were at the last call: only later events are changes."""
        self._printed: dict[str, tuple[State | Outcome | None, bool]] = {}
        """The state of each task's last line, and whether that line told what became of its files."""

    def print(self, histories: Sequence[History], *, last: bool = False) -> None:
        """Print what changed since the last call; the last call leaves nothing for later."""
        now = datetime.now(UTC)
        lines = [line for history in histories for line in self._changes(history, now, last=last)]
        for at, line in sorted(lines, key=itemgetter(0)):
            self._put(f"{at:%H:%M:%S}Z {line}")

    def _changes(self, history: History, now: datetime, *, last: bool) -> Iterator[tuple[datetime, str]]:
        """The lines of one task, each with its time."""
        key = key_of(history)
        read = self._read.get(key)
        if read is not history:
            for passed in _passed_states(read or History(history.task), history):
                at = passed.events[-1].at
                self._printed[key] = state_of(passed), passed.settled
                yield at, _line(passed, at)
            self._read[key] = history
        state = state_of(history), history.settled
        end = history.facts.final_at
        waits = end is not None and not history.settled and (now - end).total_seconds() < self._WAIT and not last
        if state[0] is not None and state != self._printed.get(key) and not waits:
            self._printed[key] = state
            yield now, _line(history, now)

    def _put(self, line: str) -> None:
        if self._write is not None:
            self._write(line)
        else:
            code = _encoding()
            text = line.encode(code, "replace").decode(code)
            print(f"{text}\n", end="", flush=True)  # noqa: T201  # in one write: another thread may print too


def _passed_states(before: History, history: History) -> list[History]:
    """The history as it was at the first event of each state between two calls, without the state it is in now."""
    state, events = state_of(before), [event for event in history.events if event.seq > before.seq]
    if all(isinstance(event.seen, Snapshot) and event.seen.state == state for event in events):
        return []  # ordinary looks
    passed = [before]
    for event in events:
        before = before.add_event(event)
        if _tells_state(event) and state_of(before) != state_of(passed[-1]):
            passed.append(before)
    if state_of(passed[-1]) == state_of(history):
        passed.pop()
    return passed[1:]


def _tells_state(event: Event) -> bool:
    """Whether an event is a word about the task, not about files, faults or the beginning of a watch."""
    seen = event.seen
    return isinstance(seen, Snapshot) or (isinstance(seen, Mark) and seen.word in _ENDS)


def _line(history: History, now: datetime) -> str:
    more = describe_details(history, now)
    return f"{_name(history)} {state_of(history)}{describe_end(history, now)}{f': {more}' if more else ''}"


def _encoding() -> str:
    """What standard output can write; glyphs and labels need more than some logs and consoles have."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").casefold()


def _name(history: History, limit: int = 60) -> str:
    label = _elide_middle(clean(history.task.label, 1000), 28) if history.task.label else ""
    text = clean(history.task, limit)
    return f"{text} ({label})" if label else text


@contextmanager
def _lines(histories: Histories) -> Iterator[_Draw]:
    lines = StateLines(begun=histories())
    yield lambda *, last: lines.print(histories(), last=last)


# The live block


@contextmanager
def _live_block(histories: Histories) -> Iterator[_Draw]:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        yield lambda *, last: live.update(block(histories(), console), refresh=True)  # noqa: ARG005


def block(histories: Sequence[History], console: Console | None = None) -> RenderableType:
    """The whole present state: a line over all, then the tasks, running first, failures always among them."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    now = datetime.now(UTC)
    width = console.width if console is not None else 120
    narrow, tiny = width < 90, width < 56
    named = 12 if tiny else 22 if narrow else 32
    tasks = unique(histories)
    shown = select_rows(tasks, ROWS)
    # Widths are fixed but for the last, which takes what is left: nothing jumps, and long words never push others out.
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=1)
    table.add_column(no_wrap=True, overflow="ellipsis", width=named)
    table.add_column(no_wrap=True, overflow="ellipsis", width=9)
    if not tiny:
        table.add_column(width=8 if narrow else 12)
    table.add_column(justify="right", width=7, no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for history in shown:
        state = state_of(history)
        style = _STYLES.get(state, "dim") if state is not None else "dim"
        spent = elapsed(history, now)
        progress = 1.0 if history.succeeded else history.facts.progress
        bar: RenderableType = Text("")
        if history.outcome is None and progress is not None:
            bar = ProgressBar(total=1.0, completed=progress)
        elif history.succeeded:
            bar = ProgressBar(total=1.0, completed=1.0)
        table.add_row(
            Text(glyph_of(state), style),
            Text(_elide_middle(_short(history), named)),
            Text(word_of(history), style),
            *([] if tiny else [bar]),
            Text("" if spent is None else seconds(spent), "dim"),
            Text(describe_details(history, now), "dim"),
        )
    parts: list[RenderableType] = []
    if len(tasks) > 1:
        parts.append(_headline(tasks, 10 if narrow else 24))
    parts.append(table)
    if len(tasks) > len(shown):
        parts.append(Text(f"  and {len(tasks) - len(shown)} more", "dim"))
    return Group(*parts)


def _short(history: History) -> str:
    provider, label = history.task.provider, clean(history.task.label or "", 1000)
    if label:
        return label if ends_with_provider(label, provider) else f"{provider} {label}"
    return clean(history.task, 1100) if history.created else provider


def _elide_middle(name: str, width: int) -> str:
    """Elide in the middle, to so many cells: at their ends the names of a grid differ."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(name) <= width:
        return name
    most = min(_TAIL, width // 2)
    tail = name[-most:]
    while cell_len(tail) > most:  # some letters take two cells
        tail = tail[1:]
    return f"{set_cell_size(name, width - 1 - cell_len(tail)).rstrip()}…{tail}"


def _headline(histories: Sequence[History], width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    ended = sum(map(is_over, histories))
    text = Text(f"{ended} of {len(histories)} over", "bold")
    text.append(f"   {describe_counts(histories)}", "dim")
    known = [h.credits for h in histories if h.credits is not None]
    if known:
        unknown = len(histories) - len(known)
        text.append(f"   {sum(known):g} credits{f', {unknown} unknown' if unknown else ''}", "dim")
    line = Table.grid(padding=(0, 2))
    line.add_column(width=width)
    line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_row(ProgressBar(total=len(histories), completed=ended, width=width), text)
    return line
