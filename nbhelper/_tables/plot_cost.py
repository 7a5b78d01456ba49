"""Cost against time: each group's medians and quartiles with its name beside them, single tasks behind.

A task of unknown cost is counted in the notes, never drawn at zero. Costs in several currencies are refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._model.errors import BadInput
from .._model.text import clean
from . import plot_axes
from . import plot_data as data
from .plot_axes import Key, TextStyle
from .plot_data import Group

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def cost(frame: pd.DataFrame, names: Sequence[str], ax: Axes | None) -> Axes:
    """Draw `cost` against `total_s` of the succeeded tasks, a mark for each group by `names`.

    Raises:
        BadInput: Costs in several currencies.
    """
    outcomes, totals, costs = data.texts(frame["outcome"]), data.numbers(frame["total_s"]), data.numbers(frame["cost"])
    moneys = data.texts(frame["currency"])
    currencies = sorted({moneys[row] or "an unnamed one" for row, paid in enumerate(costs) if paid is not None})
    if len(currencies) > 1:
        listed = f"{', '.join(currencies[:-1])} and {currencies[-1]}"
        raise BadInput(
            f"These tasks were paid in {clean(listed, 200)}, which one axis cannot show. Plot them apart, such as "
            f'frame[frame["currency"] == "{clean(currencies[0], 20)}"].'
        )
    ax, is_new = plot_axes.axes_or_new(ax, (7.5, 4.8))
    style = TextStyle(ax)
    groups = data.groups(frame, names, style)
    plot_axes.style_axes(ax, grid="both")
    succeeded = [row for row, outcome in enumerate(outcomes) if outcome == "succeeded"]
    points = {
        row: (t, c) for row in succeeded if (t := totals[row]) is not None and (c := costs[row]) is not None and t >= 0
    }
    notes = [data.counts(outcomes)]
    if unknown := sum(costs[row] is None for row in succeeded):
        notes.append(f"{unknown} of unknown cost, not drawn")
    if unknown := sum(costs[row] is not None and row not in points for row in succeeded):
        notes.append(f"{unknown} of unknown duration, not drawn")
    title = "Cost against time"
    if not points:
        why = "no success of known cost and duration" if succeeded else plot_axes.why_nothing(outcomes)
        plot_axes.write_instead(ax, style, why)
        plot_axes.draw_heading(ax, style, title, notes)
        return ax

    notes.append("large marks: medians and quartiles")
    notes += data.left_out(groups)
    drawn = [(group, [points[row] for row in group.rows if row in points]) for group in groups]
    drawn = [(group, pairs) for group, pairs in drawn if pairs and group.look is not None]
    seconds, unit = plot_axes.unit_of(max(t for _, pairs in drawn for t, _ in pairs))
    marks = []
    for group, pairs in drawn:
        xs, ys = [t / seconds for t, _ in pairs], [c for _, c in pairs]
        marks.append(_mark(ax, style, group, xs, ys))
    log_x = plot_axes.set_scale(ax.xaxis, [t / seconds for _, pairs in drawn for t, _ in pairs])
    log_y = plot_axes.set_scale(ax.yaxis, [c for _, pairs in drawn for _, c in pairs])
    ax.margins(0.12)
    if not log_x:
        ax.set_xlim(0, max(ax.get_xlim()[1], 1e-9))
    if not log_y:
        ax.set_ylim(0, max(max(c for _, pairs in drawn for _, c in pairs) * 1.15, 1e-9))
    ax.set_xlabel(f"total time ({unit}{', log scale' if log_x else ''})")
    money = style.plain(currencies[0], 12) if moneys and currencies[0] != "an unnamed one" else "unnamed currency"
    ax.set_ylabel(f"cost of a task ({money}{', log scale' if log_y else ''})", usetex=False)
    plot_axes.apply_layout(ax)
    plot_axes.draw_heading(ax, style, title, notes)
    plot_axes.apply_layout(ax)
    if not _beside(ax, style, marks):
        plot_axes.draw_heading_with_key(ax, style, title, notes, _point_key(marks), 4.2 if is_new else None)
    return ax


@dataclass(frozen=True, slots=True)
class _Mark:
    """A group's medians with quartiles, the name beside them, and the single tasks; in units of the axes.

    Attributes:
        group: The group.
        words: Its name, and its number of tasks.
        x: Median of the times.
        y: Median of the costs.
        quartiles: Lower and upper of the times, lower and upper of the costs.
        points: Time and cost of each task.
    """

    group: Group
    words: str
    x: float
    y: float
    quartiles: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]


def _mark(ax: Axes, style: TextStyle, group: Group, xs: Sequence[float], ys: Sequence[float]) -> _Mark:
    """Draw one group: single tasks faintly, quartiles as a cross, the medians as a large marker."""
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
        [x], [y], marker=group.marker, color=group.colour, markeredgecolor=style.background, markersize=9.5,
        linestyle="none", label=f"_median {group.name}", zorder=4, clip_on=False,
    )  # fmt: skip
    words = f"{group.name}, n = {len(xs)}" if group.name else f"n = {len(xs)}"
    return _Mark(group, words, x, y, (low_x, high_x, low_y, high_y), tuple(zip(xs, ys, strict=True)))


def _beside(ax: Axes, style: TextStyle, marks: Sequence[_Mark]) -> bool:
    """Write each name beside its mark, where it covers no other name and as little else as can be.

    Returns:
        False where a name has no such place, or there are more than `_BESIDE`; then none is written.
    """
    if len(marks) > _BESIDE:
        return False
    area, step = plot_axes.box_in_points(ax), plot_axes.line_height(ax, style)
    scale = 72 / ax.figure.dpi

    def spot(x: float, y: float) -> tuple[float, float]:
        """Where a time and a cost are drawn, in points."""
        right, up = ax.transData.transform((x, y)) * scale
        return float(right), float(up)

    solid: list[_Box] = []
    faint = [spot(*point) for mark in marks for point in mark.points[:200]]
    for mark in marks:
        x, y = spot(mark.x, mark.y)
        low_x, high_x, low_y, high_y = mark.quartiles
        solid.append((x - 6, y - 6, x + 6, y + 6))
        solid.append((spot(low_x, mark.y)[0], y - 1, spot(high_x, mark.y)[0], y + 1))
        solid.append((x - 1, spot(mark.x, low_y)[1], x + 1, spot(mark.x, high_y)[1]))
    placed: list[_Box] = []
    stems: list[tuple[float, float]] = []  # points along them
    names: list[tuple[_Mark, _Box]] = []
    for mark in sorted(marks, key=lambda mark: -mark.y):
        width = plot_axes.text_width(ax, mark.words, style)
        x, y = spot(mark.x, mark.y)
        best: tuple[float, _Box] | None = None
        for far in (9.0, 16.0, 26.0, 38.0, 52.0):
            for side, lift in _SIDES:
                if far > 20 and not (side and lift):  # a long stem along a whisker would be taken for one
                    continue
                left, low = x + far * side - width * (1 - side) / 2, y + far * lift - step / 2
                box = (left, low, left + width, low + step)
                inside = area.x0 <= box[0] and box[2] <= area.x1 + 2 and area.y0 <= box[1] and box[3] <= area.y1 + 4
                covers = any(_meet(box, other, 2) for other in placed) or any(_holds(box, point) for point in stems)
                crosses = any(_holds(other, point) for point in _stem(x, y, box) for other in placed)
                if not inside or covers or crosses:
                    continue
                penalty = far + 60 * sum(_meet(box, other, 1) for other in solid)
                penalty += 4 * sum(_holds(box, point) for point in faint)
                if best is None or penalty < best[0]:
                    best = (penalty, box)
        if best is None:
            return False
        placed.append(best[1])
        stems += _stem(x, y, best[1])
        names.append((mark, (best[1][0] - x, best[1][1] - y, best[1][2] - x, best[1][3] - y)))
    for mark, box in names:
        _name_mark(ax, style, mark, box)
    return True


_BESIDE = 14
"""How many names are written beside marks; more of them stand in a key."""
_Box = tuple[float, float, float, float]
_SIDES = ((1, 0), (1, 0.6), (1, -0.6), (-1, 0), (0, 1.3), (0, -1.3), (-1, 0.6), (-1, -0.6), (1, 1), (1, -1))
"""Where a name may stand: how far to the right and how far up."""


def _meet(one: _Box, other: _Box, air: float) -> bool:
    """Whether two boxes overlap, or are closer than `air`."""
    apart_x = one[2] + air <= other[0] or other[2] + air <= one[0]
    return not apart_x and not (one[3] + air <= other[1] or other[3] + air <= one[1])


def _holds(box: _Box, point: tuple[float, float]) -> bool:
    """Whether the point lies in the box."""
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _stem(x: float, y: float, box: _Box) -> list[tuple[float, float]]:
    """Points along the line from a mark to the box of its name; none where they are close enough without a line."""
    right, up = min(max(x, box[0]), box[2]) - x, min(max(y, box[1]), box[3]) - y
    return [(x + right * n / 12, y + up * n / 12) for n in range(1, 13)] if math.hypot(right, up) > 14 else []


def _name_mark(ax: Axes, style: TextStyle, mark: _Mark, box: _Box) -> None:
    """Write a name into its box, in points from the mark, with a stem where it stands far off."""
    from matplotlib.patheffects import withStroke

    if stem := _stem(0, 0, box):
        ax.annotate(
            "", (mark.x, mark.y), stem[-1], textcoords="offset points", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": style.ink, "alpha": 0.5, "lw": 0.6, "shrinkA": 0, "shrinkB": 5},
        )  # fmt: skip
    name = ax.annotate(
        mark.words, (mark.x, mark.y), box[:2], textcoords="offset points", ha="left", va="bottom", fontsize="small",
        annotation_clip=False, zorder=5, **style.options,
    )  # fmt: skip
    name.set_label("_name")
    if style.background[3] > 0.5:  # an outline keeps the name readable on lines behind it
        name.set_path_effects([withStroke(linewidth=2.5, foreground=style.background, alpha=0.8)])


def _point_key(marks: Sequence[_Mark]) -> Key:
    """The names of the groups, each with its marker."""
    from matplotlib.lines import Line2D

    samples = [
        Line2D([], [], color=mark.group.colour, marker=mark.group.marker, markersize=7, linestyle="none")
        for mark in marks
    ]
    return Key(samples, [mark.words for mark in marks])
