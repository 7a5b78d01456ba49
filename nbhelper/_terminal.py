"""The text view: one live block in a terminal, one line per change of state where output is no terminal.

It is drawn by whoever waits, from the histories alone; drawing it twice changes nothing.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ._environment import place
from ._lost_sight import too_new
from ._text import clean
from ._timing import timing
from ._values import Outcome, SaveState, State

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from ._history import History
    from ._watch import Watch

_WRONG = 1
ROWS = 20
"""Tasks that the live block shows; the rest is counted below them."""
_DRAW = 0.25
_TAIL = 14
"""Characters at a long name's end that stay in sight."""
_REPEAT = re.compile(r" #\d+$")
_OVERDUE = 10.0
"""Seconds behind the server's own estimate after which a task is said to take longer than usual."""

GLYPHS = {
    None: "◌",
    State.QUEUED: "○",
    State.RUNNING: "◐",
    State.UNKNOWN: "?",
    Outcome.SUCCEEDED: "✓",
    Outcome.FAILED: "✗",
    Outcome.CANCELLED: "⊘",
    Outcome.EXPIRED: "⌛",
    Outcome.LOST: "?",
    Outcome.STOPPED: "■",
}
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
def text_view(watch: Watch) -> Iterator[Callable[[], None]]:
    """Draw a watch while somebody waits for it."""
    if place() == "terminal" and _encoding().startswith("utf"):
        with _live(watch) as draw:
            yield draw
    else:
        lines = Lines()
        yield lambda: lines.print(watch.histories)
        lines.print(watch.histories, last=True)


# Words


def seconds(value: float) -> str:
    """A duration as people read it: `8.2 s`, `42 s`, `3:07`, `1:02:33`."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(n_bytes: int) -> str:
    """Bytes as people read them."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def state_of(history: History) -> State | Outcome | None:
    """What a row shows: the outcome once there is one."""
    return history.outcome or history.state


def word_of(history: History) -> str:
    """The state in a word: `unsent` for what waits to be submitted, `waiting` for the first look."""
    state = state_of(history)
    return str(state) if state is not None else "waiting" if history.created else "unsent"


def over(history: History) -> bool:
    """Whether the server has ended it. `lost` and `stopped` are ends of our watching: the task goes on."""
    return history.outcome not in {None, Outcome.LOST, Outcome.STOPPED}


def time_left(history: History, now: datetime) -> str:
    """`about 12 s left`, `should finish soon`, `longer than usual`, or nothing where the server does not say."""
    latest, looked = history.snapshot, history.facts.last_good_at
    if latest is None or latest.seconds_left is None or looked is None or history.outcome is not None:
        return ""
    left = latest.seconds_left - (now - looked).total_seconds()
    if left >= 1.5:
        return f"about {seconds(left)} left"
    return "longer than usual" if _overdue(history, now) else "should finish soon"


def _overdue(history: History, now: datetime) -> bool:
    """Whether it is late by half of what the server's first estimate allowed, and not by a moment."""
    first = history.facts.first_estimate
    assert first is not None  # the server has told one
    late = (now - first.at).total_seconds() - first.value
    return late > max(_OVERDUE, ((elapsed(history, now) or 0.0) - late) / 2)


def begun(history: History) -> datetime | None:
    """When the task began, else when it was first looked at; on our clock."""
    facts = history.facts
    if facts.created is not None:
        return facts.created - timedelta(seconds=facts.skew_s or 0.0)
    return facts.submitted_at or facts.submitting_at or facts.first_look_at


def elapsed(history: History, now: datetime) -> float | None:
    """Seconds since the task began, up to the last look where we stopped; once its end is seen, what the tables say."""
    facts = history.facts
    if facts.final_at is not None:
        return timing(history).total_s
    begin, end = begun(history), facts.last_look_at if history.outcome else now
    return max(0.0, (end - begin).total_seconds()) if begin and end else None


def start_known(history: History) -> bool:
    """Whether anybody knows when the task began: the server says it, or we created it."""
    facts = history.facts
    return (facts.created or facts.submitted_at or facts.submitting_at) is not None


def watched(history: History, now: datetime) -> str:
    """`watched for 8.2 s`, from the first look to the last: what is told of a task whose start nobody knows."""
    facts = history.facts
    until = facts.final_at or (facts.last_look_at if history.outcome else now)
    if facts.first_look_at is None or until is None or until <= facts.first_look_at:
        return ""
    return f"watched for {seconds((until - facts.first_look_at).total_seconds())}"


def took(history: History, now: datetime) -> str:
    """What stands behind the word for an end: ` after 8.2 s`, `, watched for 8.2 s`, or nothing."""
    if history.outcome is None:
        return ""
    if not start_known(history):
        return f", {words}" if (words := watched(history, now)) else ""
    span = elapsed(history, now)
    return f" after {seconds(span)}" if span is not None else ""


def detail(history: History, now: datetime) -> str:
    """What there is to say about a task besides its state."""
    facts, latest = history.facts, history.snapshot
    parts: list[str] = []
    if history.outcome is None:
        if latest is not None and latest.queue_position is not None:
            parts.append(f"{latest.queue_position} ahead in the queue")
        if left := time_left(history, now):
            parts.append(left)
        if latest is not None and latest.state is State.UNKNOWN:
            parts.append(f'the API says "{clean(latest.word, 30)}"')
        if facts.trouble is not None:
            parts.append(f"{trouble(history, 60)}, {_misses(facts.misses_in_a_row)}")
    elif history.error:
        parts.append(clean(history.error, 70))
    parts.extend(_files(history))
    if history.credits is not None:
        parts.append(f"{history.credits:g} credits")
    return ", ".join(parts)


def trouble(history: History, limit: int) -> str:
    """What the last look missed, the server's words cut; before them ours where its words alone would puzzle."""
    words = clean(history.facts.trouble or "", limit)
    return f"the API does not know this id yet ({words})" if too_new(history) else words


def _misses(n: int) -> str:
    return "trying again" if n == 1 else f"{n} misses, trying again"


def _files(history: History) -> list[str]:
    saves = history.saves
    saved = [s for s in saves.values() if s.state is SaveState.SAVED]
    words = []
    if saved:
        total = sum(s.n_bytes or 0 for s in saved)
        words.append(f"{len(saved)} file{'s' * (len(saved) != 1)}, {size(total)}")
    unsaved = len(history.outputs) - len(saves)
    if unsaved > 0:
        words.append(f"saving {unsaved}")
    words += [
        f"{clean(s.name, 24)} not saved: {clean(s.message, 50)}"
        for s in saves.values()
        if s.state is not SaveState.SAVED
    ]
    if history.outcome is Outcome.SUCCEEDED and not history.outputs:
        words.append("no file in the reply")
    return words


# Lines


class Lines:
    """One line for each change of a task's state, with the time: made for logs.

    An end waits a moment for the files, so that one line says both.
    """

    _MOMENT = 3.0

    def __init__(self, write: Callable[[str], Any] | None = None) -> None:
        self._write = write
        self._said: dict[str, tuple[Any, ...]] = {}

    def print(self, histories: Sequence[History], *, last: bool = False) -> None:
        """Print what changed since the last call; the last call leaves nothing for later."""
        now = datetime.now(UTC)
        for history in histories:
            key = history.uid or str(history.task)
            state = (state_of(history), history.settled)
            if self._said.get(key) == state or state[0] is None:
                continue
            seen = history.facts.final_at
            if seen is not None and not history.settled and (now - seen).total_seconds() < self._MOMENT and not last:
                continue
            self._said[key] = state
            more = detail(history, now)
            line = f"{now:%H:%M:%S}Z {_name(history)} {state[0]}{took(history, now)}{f': {more}' if more else ''}"
            if self._write is not None:
                self._write(line)
            else:
                code = _encoding()
                print(line.encode(code, "replace").decode(code), flush=True)  # noqa: T201  # this is the view


def _encoding() -> str:
    """What standard output can write; glyphs and labels need more than some logs and consoles have."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").casefold()


def _name(history: History, limit: int = 60) -> str:
    label = _middled(clean(history.task.label, 1000), 28) if history.task.label else ""
    text = clean(history.task, limit)
    return f"{text} ({label})" if label else text


# The live block


@contextmanager
def _live(watch: Watch) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        drawn = [0.0]

        def draw(*, last: bool = False) -> None:
            if last or time.monotonic() - drawn[0] >= _DRAW:
                drawn[0] = time.monotonic()
                live.update(block(watch.histories, console), refresh=True)

        yield draw
        draw(last=True)


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
    unique = list({h.uid or str(h.task): h for h in histories}.values())
    rows = sorted(unique, key=_rank)
    shown = _shown(rows)
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
            Text(GLYPHS.get(state, "◌"), style),
            Text(_middled(_short(history), named)),
            Text(word_of(history), style),
            *([] if tiny else [bar]),
            Text("" if spent is None else seconds(spent), "dim"),
            Text(detail(history, now), "dim"),
        )
    parts: list[RenderableType] = []
    if len(unique) > 1:
        parts.append(_headline(unique, 10 if narrow else 24))
    parts.append(table)
    if len(rows) > len(shown):
        parts.append(Text(f"  and {len(rows) - len(shown)} more", "dim"))
    return Group(*parts)


def _short(history: History) -> str:
    provider, label = history.task.provider, clean(history.task.label or "", 1000)
    if label:
        return label if ends_in(label, provider) else f"{provider} {label}"
    return clean(history.task, 1100) if history.created else provider


def ends_in(name: str, provider: str) -> bool:
    """Whether a name says its provider, as those of a grid over APIs do: `an owl, kie`, `an owl, kie #2`."""
    return _REPEAT.sub("", name.casefold()).endswith(provider.casefold())


def _middled(name: str, width: int) -> str:
    """A name that gives way in its middle where it has no room: at their ends the names of a grid differ."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(name) <= width:
        return name
    most = min(_TAIL, width // 2)
    tail = name[-most:]
    while cell_len(tail) > most:  # some letters take two cells
        tail = tail[1:]
    return f"{set_cell_size(name, width - 1 - cell_len(tail)).rstrip()}…{tail}"


def _rank(history: History) -> int:
    state = state_of(history)
    if state in {Outcome.FAILED, Outcome.LOST, Outcome.EXPIRED, Outcome.CANCELLED, Outcome.STOPPED}:
        return _WRONG
    order = {State.RUNNING: 0, State.UNKNOWN: 2, State.QUEUED: 3, None: 4, Outcome.SUCCEEDED: 5}
    return order.get(state, 4)


def _shown(rows: Sequence[History]) -> list[History]:
    """As many as fit, in their order; those that went wrong are seen however many are running."""
    wrong = [h for h in rows[ROWS:] if _rank(h) == _WRONG][: ROWS // 2]
    return [*rows[: ROWS - len(wrong)], *wrong]


def _headline(histories: Sequence[History], width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts: dict[str, int] = {}
    for history in histories:
        word = word_of(history)
        counts[word] = counts.get(word, 0) + 1
    ended = sum(map(over, histories))
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
