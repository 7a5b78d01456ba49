"""One line of HTML for a value that a cell ends with: what it is, and how it stands."""

from __future__ import annotations

from ._card_scene import class_of, cut, escaped, name_of
from ._card_style import LINE
from ._history import History
from ._task import Task
from ._terminal import GLYPHS, detail, elapsed, seconds, state_of


def line(*parts: str) -> str:
    """Parts side by side, each already HTML."""
    style = LINE.replace("\n", "")
    return f'{style}<div class="nbhl mathjax_ignore tex2jax_ignore">{" ".join(filter(None, parts))}</div>'


def task_line(task: Task) -> str:
    """What was asked, and the reference to watch."""
    name = name_of(History(task))
    return line(
        f"<strong>Task</strong> {escaped(name, 80)}" if name != task.id else "<strong>Task</strong>",
        cut(task, 1400, "samp"),
    )


def history_line(history: History) -> str:
    """How it ended or stands, as of its last event: a history does not go on by itself."""
    state = state_of(history)
    at = history.events[-1].at if history.events else None
    spent = elapsed(history, at) if at is not None else None
    name = name_of(history)
    word = escaped(state or "not looked at yet")
    return line(
        f'<strong class="{class_of(state)}"><span aria-hidden="true">{GLYPHS.get(state, "◌")}</span> {word}</strong>',
        escaped(name, 80) if name != history.task.id else "",
        f"<samp>{escaped(history.task, 1400)}</samp>",
        f"<span>{seconds(spent)}</span>" if spent is not None else "",
        f"<span>{escaped(detail(history, at), 300)}</span>" if at is not None else "",
    )
