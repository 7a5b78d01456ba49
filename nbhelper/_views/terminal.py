"""The text view: one live block in a terminal, one line per change of state where output is no terminal.

It is drawn by whoever waits, from the histories alone; drawing it twice changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from .._model.history import History
from .._model.seen import Outcome, State
from .._model.text import clean, seconds
from .._session.environment import place
from .draw_limit import DrawLimit
from .words import (
    count_states,
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


# Lines


class Lines:
    """One line for each change of a task's state, with the time: made for logs.

    The line of an end waits for the files, for `_WAIT` seconds at most, so that one line says both.
    """

    _WAIT = 3.0

    def __init__(self, write: Callable[[str], Any] | None = None) -> None:
        self._write = write
        self._printed: dict[str, tuple[Any, ...]] = {}

    def print(self, histories: Sequence[History], *, last: bool = False) -> None:
        """Print what changed since the last call; the last call leaves nothing for later."""
        now = datetime.now(UTC)
        for history in histories:
            key = key_of(history)
            state = (state_of(history), history.settled)
            if self._printed.get(key) == state or state[0] is None:
                continue
            end = history.facts.final_at
            if end is not None and not history.settled and (now - end).total_seconds() < self._WAIT and not last:
                continue
            self._printed[key] = state
            more = describe_details(history, now)
            words = f"{state[0]}{describe_end(history, now)}{f': {more}' if more else ''}"
            line = f"{now:%H:%M:%S}Z {_name(history)} {words}"
            if self._write is not None:
                self._write(line)
            else:
                code = _encoding()
                text = line.encode(code, "replace").decode(code)
                print(f"{text}\n", end="", flush=True)  # noqa: T201  # in one write: another thread may print too


def _encoding() -> str:
    """What standard output can write; glyphs and labels need more than some logs and consoles have."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").casefold()


def _name(history: History, limit: int = 60) -> str:
    label = _elide_middle(clean(history.task.label, 1000), 28) if history.task.label else ""
    text = clean(history.task, limit)
    return f"{text} ({label})" if label else text


@contextmanager
def _lines(histories: Histories) -> Iterator[_Draw]:
    lines = Lines()
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

    counts = count_states(histories)
    ended = sum(map(is_over, histories))
    text = Text(f"{ended} of {len(histories)} over", "bold")
    text.append(f"   {', '.join(f'{n} {word}' for word, n in counts.items())}", "dim")
    known = [h.credits for h in histories if h.credits is not None]
    if known:
        unknown = len(histories) - len(known)
        text.append(f"   {sum(known):g} credits{f', {unknown} unknown' if unknown else ''}", "dim")
    line = Table.grid(padding=(0, 2))
    line.add_column(width=width)
    line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_row(ProgressBar(total=len(histories), completed=ended, width=width), text)
    return line
