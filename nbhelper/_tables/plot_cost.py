"""What tasks cost against how long they took: each group's medians and quartiles, its name beside them.

An unknown cost is no cost of zero: it is counted in words. Two currencies never share an axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._model.errors import BadInput
from .._model.text import clean
from . import plot_data as data
from . import plot_sheet as sheet
from .plot_data import Group
from .plot_sheet import Key, Pen

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def cost(frame: pd.DataFrame, names: Sequence[str], ax: Axes | None) -> Axes:
    outcomes, totals, costs = data.texts(frame["outcome"]), data.numbers(frame["total_s"]), data.numbers(frame["cost"])
    moneys = data.texts(frame["currency"])
    currencies = sorted({moneys[row] or "an unnamed one" for row, paid in enumerate(costs) if paid is not None})
    if len(currencies) > 1:
        listed = f"{', '.join(currencies[:-1])} and {currencies[-1]}"
        raise BadInput(
            f"These tasks were paid in {clean(listed, 200)}, which one axis cannot show. Plot them apart, such as "
            f'frame[frame["currency"] == "{clean(currencies[0], 20)}"].'
        )
    ax, own = sheet.axes(ax, (7.5, 4.8))
    pen = Pen(ax)
    groups = data.groups(frame, names, pen)
    sheet.dress(ax, grid="both")
    good = [row for row, outcome in enumerate(outcomes) if outcome == "succeeded"]
    points = {
        row: (t, c) for row in good if (t := totals[row]) is not None and (c := costs[row]) is not None and t >= 0
    }
    notes = [data.counts(outcomes)]
    if unknown := sum(costs[row] is None for row in good):
        notes.append(f"{unknown} of unknown cost, not drawn")
    if unknown := sum(costs[row] is not None and row not in points for row in good):
        notes.append(f"{unknown} of unknown duration, not drawn")
    title = "Cost against time"
    if not points:
        sheet.nothing(ax, pen, "no success of known cost and duration" if good else sheet.none_of(outcomes))
        sheet.head(ax, pen, title, notes)
        return ax

    notes.append("large marks: medians and quartiles")
    notes += data.left_out(groups)
    drawn = [(group, [points[row] for row in group.rows if row in points]) for group in groups]
    drawn = [(group, pairs) for group, pairs in drawn if pairs and group.look is not None]
    seconds, unit = sheet.unit(max(t for _, pairs in drawn for t, _ in pairs))
    marks = []
    for group, pairs in drawn:
        xs, ys = [t / seconds for t, _ in pairs], [c for _, c in pairs]
        marks.append(_mark(ax, pen, group, xs, ys))
    log_x = sheet.scale(ax.xaxis, [t / seconds for _, pairs in drawn for t, _ in pairs])
    log_y = sheet.scale(ax.yaxis, [c for _, pairs in drawn for _, c in pairs])
    ax.margins(0.12)
    if not log_x:
        ax.set_xlim(0, max(ax.get_xlim()[1], 1e-9))
    if not log_y:
        ax.set_ylim(0, max(max(c for _, pairs in drawn for _, c in pairs) * 1.15, 1e-9))
    ax.set_xlabel(f"total time ({unit}{', log scale' if log_x else ''})")
    money = pen.words(currencies[0], 12) if moneys and currencies[0] != "an unnamed one" else "unnamed currency"
    ax.set_ylabel(f"cost of a task ({money}{', log scale' if log_y else ''})", usetex=False)
    sheet.settle(ax)
    sheet.head(ax, pen, title, notes)
    sheet.settle(ax)
    if not _beside(ax, pen, marks):
        sheet.keyed(ax, pen, title, notes, _point_key(marks), 4.2 if own else None)
    return ax


@dataclass(frozen=True, slots=True)
class _Mark:
    """A group's median, what is written beside it, and the single tasks behind it."""

    group: Group
    words: str
    x: float
    y: float
    whiskers: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]


def _mark(ax: Axes, pen: Pen, group: Group, xs: Sequence[float], ys: Sequence[float]) -> _Mark:
    """Single tasks faintly, their quartiles as a cross, the medians as a mark."""
    import numpy as np

    low_x, x, high_x = map(float, np.quantile(xs, (0.25, 0.5, 0.75)))
    low_y, y, high_y = map(float, np.quantile(ys, (0.25, 0.5, 0.75)))
    ax.plot(
        xs, ys, marker=group.marker, color=group.colour, alpha=0.45, markersize=4.5, markeredgewidth=0,
        linestyle="none", label=f"_tasks {group.name}", zorder=2,
    )  # fmt: skip
    ax.plot([low_x, high_x], [y, y], color=group.colour, linewidth=1.4, label="_whisker", zorder=3)
    ax.plot([x, x], [low_y, high_y], color=group.colour, linewidth=1.4, label="_whisker", zorder=3)
    ax.plot(
        [x], [y], marker=group.marker, color=group.colour, markeredgecolor=pen.ground, markersize=9.5, linestyle="none",
        label=f"_median {group.name}", zorder=4, clip_on=False,
    )  # fmt: skip
    words = f"{group.name}, n = {len(xs)}" if group.name else f"n = {len(xs)}"
    return _Mark(group, words, x, y, (low_x, high_x, low_y, high_y), tuple(zip(xs, ys, strict=True)))


def _beside(ax: Axes, pen: Pen, marks: Sequence[_Mark]) -> bool:
    """Write each name beside its mark, nudged to where it covers no other name and as little else as can be."""
    if len(marks) > _BESIDE:
        return False
    area, step = sheet.points(ax), sheet.measure_line(ax, pen)
    scale = 72 / ax.figure.dpi

    def spot(x: float, y: float) -> tuple[float, float]:
        found = ax.transData.transform((x, y)) * scale
        return float(found[0]), float(found[1])

    solid: list[_Box] = []
    faint = [spot(*point) for mark in marks for point in mark.points[:200]]
    for mark in marks:
        x, y = spot(mark.x, mark.y)
        low_x, high_x, low_y, high_y = mark.whiskers
        solid.append((x - 6, y - 6, x + 6, y + 6))
        solid.append((spot(low_x, mark.y)[0], y - 1, spot(high_x, mark.y)[0], y + 1))
        solid.append((x - 1, spot(mark.x, low_y)[1], x + 1, spot(mark.x, high_y)[1]))
    taken: list[_Box] = []
    stems: list[tuple[float, float]] = []  # points along them
    found: list[tuple[_Mark, _Box]] = []
    for mark in sorted(marks, key=lambda mark: -mark.y):
        width = sheet.width(ax, mark.words, pen)
        x, y = spot(mark.x, mark.y)
        best: tuple[float, _Box] | None = None
        for far in (9.0, 16.0, 26.0, 38.0, 52.0):
            for side, lift in _SIDES:
                if far > 20 and not (side and lift):  # a long stem along a whisker would be taken for one
                    continue
                left, low = x + far * side - width * (1 - side) / 2, y + far * lift - step / 2
                box = (left, low, left + width, low + step)
                inside = area.x0 <= box[0] and box[2] <= area.x1 + 2 and area.y0 <= box[1] and box[3] <= area.y1 + 4
                covers = any(_meet(box, other, 2) for other in taken) or any(_holds(box, point) for point in stems)
                crosses = any(_holds(other, point) for point in _stem(x, y, box) for other in taken)
                if not inside or covers or crosses:
                    continue
                burden = far + 60 * sum(_meet(box, other, 1) for other in solid)
                burden += 4 * sum(_holds(box, point) for point in faint)
                if best is None or burden < best[0]:
                    best = (burden, box)
        if best is None:
            return False
        taken.append(best[1])
        stems += _stem(x, y, best[1])
        found.append((mark, (best[1][0] - x, best[1][1] - y, best[1][2] - x, best[1][3] - y)))
    for mark, box in found:
        _name_mark(ax, pen, mark, box)
    return True


_BESIDE = 14
"""Names among the marks; more of them stand in a key."""
_Box = tuple[float, float, float, float]
_SIDES = ((1, 0), (1, 0.6), (1, -0.6), (-1, 0), (0, 1.3), (0, -1.3), (-1, 0.6), (-1, -0.6), (1, 1), (1, -1))
"""Where a name may stand: how far to the right and how far up."""


def _meet(one: _Box, other: _Box, air: float) -> bool:
    apart_x = one[2] + air <= other[0] or other[2] + air <= one[0]
    return not apart_x and not (one[3] + air <= other[1] or other[3] + air <= one[1])


def _holds(box: _Box, point: tuple[float, float]) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _stem(x: float, y: float, box: _Box) -> list[tuple[float, float]]:
    """Points from a mark to the nearest one of its name's box; none where they are close enough without a stem."""
    right, up = min(max(x, box[0]), box[2]) - x, min(max(y, box[1]), box[3]) - y
    return [(x + right * n / 12, y + up * n / 12) for n in range(1, 13)] if math.hypot(right, up) > 14 else []


def _name_mark(ax: Axes, pen: Pen, mark: _Mark, box: _Box) -> None:
    """Write a name into its box, in points from the mark, with a stem where it stands far off."""
    from matplotlib.patheffects import withStroke

    if stem := _stem(0, 0, box):
        ax.annotate(
            "", (mark.x, mark.y), stem[-1], textcoords="offset points", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": pen.ink, "alpha": 0.5, "lw": 0.6, "shrinkA": 0, "shrinkB": 5},
        )  # fmt: skip
    name = ax.annotate(
        mark.words, (mark.x, mark.y), box[:2], textcoords="offset points", ha="left", va="bottom", fontsize="small",
        annotation_clip=False, zorder=5, **pen.theirs,
    )  # fmt: skip
    name.set_label("_name")
    if pen.ground[3] > 0.5:  # what passes behind a name leaves it readable
        name.set_path_effects([withStroke(linewidth=2.5, foreground=pen.ground, alpha=0.8)])


def _point_key(marks: Sequence[_Mark]) -> Key:
    from matplotlib.lines import Line2D

    samples = [
        Line2D([], [], color=mark.group.colour, marker=mark.group.marker, markersize=7, linestyle="none")
        for mark in marks
    ]
    return Key(samples, [mark.words for mark in marks])
