"""What a drawing of a card needs besides the histories, and how a server's words get into it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ._history import History
from ._preview import Thumbnail
from ._text import clean
from ._values import Outcome, State

CLASSES = {
    State.QUEUED: "wait",
    State.RUNNING: "run",
    State.UNKNOWN: "warn",
    Outcome.SUCCEEDED: "good",
    Outcome.FAILED: "bad",
    Outcome.CANCELLED: "warn",
    Outcome.EXPIRED: "warn",
    Outcome.LOST: "warn",
    Outcome.STOPPED: "warn",
}
"""The colour of each state; its glyph and its word say the same."""


@dataclass(frozen=True, slots=True)
class Money:
    """What histories took, as far as it is known."""

    credits: float | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    """By currency: currencies are never added up."""
    unknown: int = 0
    """Finished tasks whose cost nobody knows; they are not free."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a drawing needs besides the histories.

    Attributes:
        now: UTC.
        thumbnails: By file; text says why there is none.
        money: Of all histories.
        folder: Where files and histories are kept.
        base: The notebook's folder, which links are relative to.
        live: Whether the drawing will be replaced; a frozen one links and embeds files.
        emulated: Whether an emulator answers.
        next_look: Seconds until the next look at the task, for a single one.
        elsewhere: The rows of the tasks that another notebook looks at.
        previews: Whether thumbnails are being made at all.
        notes: Trouble of our own, such as a full disk.
        nothing: What is said where there is no task.
        stopping: Whether a person has asked to stop, and the engine has not yet.
    """

    now: datetime
    thumbnails: Mapping[Path, Thumbnail | str] = field(default_factory=dict)
    money: Money = field(default_factory=Money)
    folder: str = ""
    base: Path = field(default_factory=Path)
    live: bool = True
    emulated: bool = False
    next_look: float | None = None
    elsewhere: frozenset[str] = frozenset()
    previews: bool = True
    notes: Sequence[str] = ()
    nothing: str = "Nothing to resume."
    stopping: bool = False


def escaped(text: object, limit: int = 200) -> str:
    """Text for HTML: cleaned, cut, escaped. Nothing from a server enters the page in any other way."""
    return html.escape(clean(text, limit), quote=True)


def cut(text: object, limit: int, tag: str = "span", klass: str = "", *, title: object = None) -> str:
    """A long text cut, whole in its title; where the style may cut it further, the title is there in any case."""
    whole = clean(text, 1000)
    shown = whole if len(whole) <= limit else whole[: limit - 1] + "…"
    told = clean(whole if title is None else title, 2200)
    hint = f' title="{html.escape(told, quote=True)}"' if told != shown or klass else ""
    return f"<{tag}{f' class={chr(34)}{klass}{chr(34)}' if klass else ''}{hint}>{html.escape(shown)}</{tag}>"


_TAIL = 10
"""Characters at a name's end that stay in sight: there the names of a grid differ."""


def middled(text: object, limit: int, before: str = "") -> str:
    """A name that gives way in its middle where it has no room; without styles it is whole.

    Args:
        text: The name.
        limit: Its most characters in the markup.
        before: Markup ahead of it, on the same line.
    """
    name = clean(text, 1000)
    if len(name) > limit:
        name = f"{name[: limit - _TAIL - 1]}…{name[-_TAIL:]}"
    at = len(name) - _TAIL if len(name) > 2 * _TAIL else len(name)
    head, tail = html.escape(name[:at]), html.escape(name[at:])
    return f'<span class="mid"><span>{before}{head}</span><span>{tail}</span></span>'


def name_of(history: History) -> str:
    """What a person calls a task: its label, else its prompt, else its id."""
    if history.task.label:
        return history.task.label
    for params in (history.task.params, history.snapshot.params if history.snapshot else {}):
        inner = params.get("input")
        for holder in (params, inner if isinstance(inner, Mapping) else {}):
            prompt = holder.get("prompt")
            if isinstance(prompt, str) and prompt.strip():
                return prompt
    return history.task.id if history.created else history.task.provider


def class_of(state: State | Outcome | None) -> str:
    """The colour of a state; None is a task that nobody has seen yet."""
    return "wait" if state is None else CLASSES.get(state, "wait")
