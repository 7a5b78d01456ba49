"""How long tasks took: for each group, the share that succeeded within a time, as a line with its name at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import plot_data as data
from . import plot_sheet as sheet
from .plot_data import Group
from .plot_sheet import Key, Pen

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def latency(frame: pd.DataFrame, names: Sequence[str], ax: Axes | None) -> Axes:
    import numpy as np

    outcomes, totals = data.texts(frame["outcome"]), data.numbers(frame["total_s"])
    ax, own = sheet.axes(ax, (7.5, 4.4))
    pen = Pen(ax)
    groups = data.groups(frame, names, pen)
    ready = {row: t for row, t in enumerate(totals) if t is not None and t >= 0 and outcomes[row] == "succeeded"}
    sheet.dress(ax, grid="both")
    notes = [data.counts(outcomes)]
    if unknown := outcomes.count("succeeded") - len(ready):
        notes.append(f"{unknown} of unknown duration, not drawn")
    title = "Time to success"
    if not ready:
        sheet.nothing(ax, pen, sheet.none_of(outcomes))
        sheet.head(ax, pen, title, notes)
        return ax

    drawn = [(group, sorted(ready[row] for row in group.rows if row in ready)) for group in groups]
    drawn = [(group, values) for group, values in drawn if values and group.look is not None]
    notes += data.left_out(groups)
    seconds, unit = sheet.unit(max(value for _, values in drawn for value in values))
    lines = []
    for group, values in drawn:
        xs = [value / seconds for value in values]
        shares = [number / len(xs) for number in range(len(xs) + 1)]
        ax.plot(
            [xs[0], *xs], shares, drawstyle="steps-post", color=group.colour, linestyle=group.dashes, linewidth=1.8,
            label=f"_ecdf {group.name}",
        )  # fmt: skip
        ax.plot(
            [np.quantile(xs, 0.5)], [0.5], marker=group.marker, color=group.colour, markeredgecolor=pen.ground,
            markersize=8, linestyle="none", label=f"_p50 {group.name}", zorder=4,
        )  # fmt: skip
        lines.append(_Line(group, f"{group.name}, n = {len(xs)}" if group.name else f"n = {len(xs)}", xs[-1]))

    every = [value / seconds for _, values in drawn for value in values]
    log = sheet.scale(ax.xaxis, every)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "p50", "75 %", "100 %"], usetex=False)
    ax.set_ylim(0, 1)
    ax.axhline(0.5, color=pen.ink, alpha=0.35, linewidth=0.8, linestyle=":", zorder=1)
    ax.set(xlabel=f"total time ({unit}{', log scale' if log else ''})", ylabel="share that succeeded within this time")
    ax.spines["left"].set_bounds(0, 1)
    left = min(every) / 1.25 if log else 0.0
    ax.set_xlim(left, max(every) * (1.25 if log else 1.05) or 1)
    sheet.settle(ax)
    sheet.head(ax, pen, title, notes)
    sheet.settle(ax)
    if not _flags(ax, pen, lines, left, log=log, own=own):
        sheet.keyed(ax, pen, title, notes, _line_key(lines), 3.8 if own else None)
    return ax


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """A distribution's line: whose, what is written at its end, and where that is."""

    group: Group
    words: str
    end: float


def _flags(ax: Axes, pen: Pen, lines: Sequence[_Line], left: float, *, log: bool, own: bool) -> bool:
    """Write each line's name at its end, above the plot; False where that cannot be read.

    All names hang on one side of their stems, each one row above those whose stems it would cross: so no name lies on
    another one, and no stem crosses a name. They hang to the left where there is room; else to the right, and the axis
    goes on until the last one has room.
    """
    wide, high = sheet.points(ax).width, sheet.points(ax).height
    place = math.log10 if log else float
    zero, end = place(left), place(ax.get_xlim()[1])
    names = {line: sheet.width(ax, line.words, pen) + 8 for line in lines}
    if max(names.values()) > 0.6 * wide:
        return False
    stems = {line: (place(line.end) - zero) / (end - zero) * wide for line in lines}
    leftwards = all(stems[line] - names[line] > -45 for line in lines)
    if not leftwards:
        end = max(zero + (place(line.end) - zero) / (1 - names[line] / wide) for line in lines)
        end = max(end, place(ax.get_xlim()[1]))
        stems = {line: (place(line.end) - zero) / (end - zero) * wide for line in lines}
    rows: dict[_Line, int] = {}
    for line in sorted(lines, key=lambda line: line.end if leftwards else -line.end):
        under = [rows[other] for other in rows if abs(stems[other] - stems[line]) < names[line]]
        rows[line] = max(under, default=-1) + 1
    step = sheet.measure_line(ax, pen) * 1.15
    need = (max(rows.values()) + 1) * step + 10
    if need > (200 if own else 0.5 * high):
        return False

    if own:
        ax.figure.figure.set_size_inches(7.5, 4.4 + need / 72)
        high += need
    ax.set_xlim(left, 10**end if log else end)
    ax.set_ylim(0, high / (high - need))
    for line in lines:
        up = 6 + rows[line] * step
        stem = {"arrowstyle": "-", "color": line.group.colour, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
        ax.annotate(
            "", (line.end, 1), (0, up + step * 0.8), textcoords="offset points", annotation_clip=False, arrowprops=stem
        )
        name = ax.annotate(
            line.words, (line.end, 1), (-4 if leftwards else 4, up), textcoords="offset points",
            ha="right" if leftwards else "left", va="bottom", fontsize="small", annotation_clip=False, **pen.theirs,
        )  # fmt: skip
        name.set_label("_name")
    return True


def _line_key(lines: Sequence[_Line]) -> Key:
    from matplotlib.lines import Line2D

    samples = [
        Line2D([], [], color=line.group.colour, linestyle=line.group.dashes, marker=line.group.marker, markersize=5)
        for line in lines
    ]
    return Key(samples, [line.words for line in lines])
