"""What a frame's rows say, in plain values, and which of them look alike.

Groups stand in the order of `summary`, and a group looks the same in all pictures of one frame: by colour, by mark and
dashes or hatch, so that it is never told by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._model.text import clean
from .plot_sheet import LABEL, Pen

if TYPE_CHECKING:
    import pandas as pd

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "")
"""Okabe and Ito's, which colour-blind people tell apart, for white and for dark grounds: without their yellow, which
white swallows, and with the ink of the text (the empty one) for their black."""
_MARKERS = "osD^vPX"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 1.5, 1, 1.5)))
_HATCHES = ("", "xxxx", "....", "++++")
_STYLES = len(_COLOURS) * len(_DASHES)
"""Groups that can be told apart; beyond these, the smaller ones are left out or grey."""


def numbers(cells: pd.Series[Any]) -> list[float | None]:
    import pandas as pd

    return [
        float(value) if not pd.isna(value) and math.isfinite(value) else None
        for value in pd.to_numeric(cells, errors="coerce")
    ]


def times(cells: pd.Series[Any]) -> list[float | None]:
    """Seconds since 1970."""
    import pandas as pd

    moments = cells
    if not isinstance(cells.dtype, pd.DatetimeTZDtype):
        moments = pd.to_datetime(cells, utc=True, errors="coerce", format="ISO8601")
    return [None if pd.isna(value) else value.timestamp() for value in moments]


def texts(cells: pd.Series[Any]) -> list[str | None]:
    return [None if missing else str(value) for value, missing in zip(cells, cells.isna(), strict=True)]


def counts(outcomes: Sequence[str | None]) -> str:
    """`14 succeeded of 17`, the rest by their words."""
    if not outcomes:
        return "no tasks"
    parts = [f"{outcomes.count('succeeded')} succeeded of {len(outcomes)}"]
    others = {word: outcomes.count(word) for word in ("failed", "cancelled", "expired", "lost", "stopped")}
    others["unfinished"] = outcomes.count(None)
    return ", ".join([*parts, *(f"{number} {word}" for word, number in others.items() if number)])


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Rows drawn alike.

    Attributes:
        name: To be drawn; empty where nothing was grouped.
        rows: Numbers of the rows.
        look: Which colour, mark, dashes and hatch; None is grey, where there are too many groups.
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


def groups(frame: pd.DataFrame, names: Sequence[str], pen: Pen) -> list[Group]:
    """In the order of `summary`; the same rows look the same in all three plots."""
    if names:
        found = [group for _, group in frame.groupby(list(names), dropna=False, observed=True, sort=True)]
    else:
        found = [frame] if len(frame) else []
    largest = sorted(range(len(found)), key=lambda index: -len(found[index]))[:_STYLES]
    looks = {index: number for number, index in enumerate(sorted(largest))}
    made = []
    for index, group in enumerate(found):
        head = group.iloc[0]
        # A missing model adds nothing to its provider's name, unless nothing else is there.
        words = [str(head[name]) for name in names if not _missing(head[name])] or (["(none)"] if names else [])
        name = pen.words(" · ".join(clean(word, LABEL) for word in words))
        made.append(Group(name, tuple(group.index), looks.get(index), pen.ink))
    return made


def _missing(value: object) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or value is pd.NaT or value != value  # noqa: PLR0124  # NaN


def left_out(groups: Sequence[Group]) -> list[str]:
    styled = sum(group.look is not None for group in groups)
    return [f"the {styled} largest of {len(groups)} groups"] if styled < len(groups) else []
