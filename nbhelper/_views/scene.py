"""What a drawing of a card needs besides the histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .._model.states import Outcome, State
from .preview import Thumbnail

_COLOURS: Mapping[str, str] = {
    State.QUEUED: "nbh-wait",
    State.RUNNING: "nbh-run",
    State.UNKNOWN: "nbh-warn",
    Outcome.SUCCEEDED: "nbh-good",
    Outcome.FAILED: "nbh-bad",
    Outcome.CANCELLED: "nbh-warn",
    Outcome.EXPIRED: "nbh-warn",
    Outcome.LOST: "nbh-warn",
    Outcome.STOPPED: "nbh-warn",
}
"""The CSS class that colours each state; its glyph and its word say the same."""


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
        notes: Faults on our side, such as a full disk.
        nothing: The text in place of tasks where there are none.
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


def colour_of(state: str | None) -> str:
    """The CSS class of a state or of a word for one; None is a task that nobody has seen yet."""
    return "nbh-wait" if state is None else _COLOURS.get(state, "nbh-wait")
