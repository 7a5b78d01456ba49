"""Columns of a frame as lists of plain values, and its rows in groups, each with colour, marker, dashes and hatch.

Groups stand in the order of `summary`, and a group looks the same in all plots of one frame. Groups of one colour
differ by marker, and by dashes or hatch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._model.text import clean
from .plot_axes import LABEL, TextStyle

if TYPE_CHECKING:
    import pandas as pd

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "")
"""Okabe and Ito's, which colour-blind people can tell apart, for light and dark backgrounds: without their yellow,
which cannot be seen on white, and with the colour of the text (the empty one) for their black."""
_MARKERS = "osD^vPX"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 1.5, 1, 1.5)))
_HATCHES = ("", "xxxx", "....", "++++")
_STYLES = len(_COLOURS) * len(_DASHES)
"""How many groups look different; of more, the smaller ones are left out or grey."""


def numbers(cells: pd.Series[Any]) -> list[float | None]:
    """Finite numbers; None for anything else."""
    import pandas as pd

    return [
        float(value) if not pd.isna(value) and math.isfinite(value) else None
        for value in pd.to_numeric(cells, errors="coerce")
    ]


def times(cells: pd.Series[Any]) -> list[float | None]:
    """Seconds since 1970; None for what is no time."""
    import pandas as pd

    moments = cells
    if not isinstance(cells.dtype, pd.DatetimeTZDtype):
        moments = pd.to_datetime(cells, utc=True, errors="coerce", format="ISO8601")
    return [None if pd.isna(value) else value.timestamp() for value in moments]


def texts(cells: pd.Series[Any]) -> list[str | None]:
    """Texts; None for a missing value."""
    return [None if missing else str(value) for value, missing in zip(cells, cells.isna(), strict=True)]


def counts(outcomes: Sequence[str | None]) -> str:
    """How many tasks ended in which way, in words: `14 succeeded of 17, 2 failed, 1 unfinished`."""
    if not outcomes:
        return "no tasks"
    parts = [f"{outcomes.count('succeeded')} succeeded of {len(outcomes)}"]
    others = {word: outcomes.count(word) for word in ("failed", "cancelled", "expired", "lost", "stopped")}
    others["unfinished"] = outcomes.count(None)
    return ", ".join([*parts, *(f"{number} {word}" for word, number in others.items() if number)])


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Rows that are drawn alike.

    Attributes:
        name: As it is drawn; empty where rows are not grouped.
        rows: Numbers of the rows.
        look: Number of the combination of colour, marker, dashes and hatch; None is grey, for one group too many.
        ink: The colour of text.
    """

    name: str
    rows: tuple[int, ...]
    look: int | None
    ink: Any

    @property
    def colour(self) -> Any:
        if self.look is None:
            return "#888888"
        return _COLOURS[self.look % len(_COLOURS)] or self.ink

    @property
    def marker(self) -> str:
        return _MARKERS[((self.look or 0) + (self.look or 0) // len(_COLOURS)) % len(_MARKERS)]

    @property
    def dashes(self) -> Any:
        return _DASHES[(self.look or 0) // len(_COLOURS) % len(_DASHES)]

    @property
    def hatch(self) -> str:
        return _HATCHES[(self.look or 0) // len(_COLOURS) % len(_HATCHES)]


def groups(frame: pd.DataFrame, names: Sequence[str], style: TextStyle) -> list[Group]:
    """The groups of a frame by the columns `names`, in the order of `summary`."""
    if names:
        frames = [group for _, group in frame.groupby(list(names), dropna=False, observed=True, sort=True)]
    else:
        frames = [frame] if len(frame) else []
    largest = sorted(range(len(frames)), key=lambda index: -len(frames[index]))[:_STYLES]
    looks = {index: number for number, index in enumerate(sorted(largest))}
    made = []
    for index, group in enumerate(frames):
        first = group.iloc[0]
        # A missing value adds nothing to the name, unless all are missing.
        words = [str(first[name]) for name in names if not _is_missing(first[name])] or (["(none)"] if names else [])
        name = style.plain(" · ".join(clean(word, LABEL) for word in words))
        made.append(Group(name, tuple(group.index), looks.get(index), style.ink))
    return made


def _is_missing(value: object) -> bool:
    """Whether a cell is None, NaN, NaT or NA; `pd.isna` of a list would be a list."""
    import pandas as pd

    return value is None or value is pd.NA or value is pd.NaT or value != value  # noqa: PLR0124  # NaN


def left_out(groups: Sequence[Group]) -> list[str]:
    """A note of how many groups are drawn, where not all are."""
    styled = sum(group.look is not None for group in groups)
    return [f"the {styled} largest of {len(groups)} groups"] if styled < len(groups) else []
