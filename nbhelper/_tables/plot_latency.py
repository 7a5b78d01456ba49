"""How long tasks took: for each group, the share that succeeded within a time, as a line with its name at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import plot_axes
from . import plot_data as data
from .plot_axes import Key, TextStyle
from .plot_data import Group

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def latency(frame: pd.DataFrame, names: Sequence[str], ax: Axes | None) -> Axes:
    """Draw the empirical distribution of `total_s` of the succeeded tasks, one line for each group by `names`."""
    import numpy as np

    outcomes, totals = data.texts(frame["outcome"]), data.numbers(frame["total_s"])
    ax, is_new = plot_axes.axes_or_new(ax, (7.5, 4.4))
    style = TextStyle(ax)
    groups = data.groups(frame, names, style)
    total_of = {row: t for row, t in enumerate(totals) if t is not None and t >= 0 and outcomes[row] == "succeeded"}
    plot_axes.style_axes(ax, grid="both")
    notes = [data.counts(outcomes)]
    if unknown := outcomes.count("succeeded") - len(total_of):
        notes.append(f"{unknown} of unknown duration, not drawn")
    title = "Time to success"
    if not total_of:
        plot_axes.write_instead(ax, style, plot_axes.why_nothing(outcomes))
        plot_axes.draw_heading(ax, style, title, notes)
        return ax

    drawn = [(group, sorted(total_of[row] for row in group.rows if row in total_of)) for group in groups]
    drawn = [(group, values) for group, values in drawn if values and group.look is not None]
    notes += data.left_out(groups)
    seconds, unit = plot_axes.unit_of(max(value for _, values in drawn for value in values))
    lines = []
    for group, values in drawn:
        xs = [value / seconds for value in values]
        shares = [number / len(xs) for number in range(len(xs) + 1)]
        ax.plot(
            [xs[0], *xs], shares, drawstyle="steps-post", color=group.colour, linestyle=group.dashes, linewidth=1.8,
            label=f"_ecdf {group.name}",
        )  # fmt: skip
        ax.plot(
            [np.quantile(xs, 0.5)], [0.5], marker=group.marker, color=group.colour, markeredgecolor=style.background,
            markersize=8, linestyle="none", label=f"_p50 {group.name}", zorder=4,
        )  # fmt: skip
        lines.append(_Line(group, f"{group.name}, n = {len(xs)}" if group.name else f"n = {len(xs)}", xs[-1]))

    every = [value / seconds for _, values in drawn for value in values]
    log = plot_axes.set_scale(ax.xaxis, every)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "p50", "75 %", "100 %"], usetex=False)
    ax.set_ylim(0, 1)
    ax.axhline(0.5, color=style.ink, alpha=0.35, linewidth=0.8, linestyle=":", zorder=1)
    ax.set(xlabel=f"total time ({unit}{', log scale' if log else ''})", ylabel="share that succeeded within this time")
    ax.spines["left"].set_bounds(0, 1)
    left = min(every) / 1.25 if log else 0.0
    ax.set_xlim(left, max(every) * (1.25 if log else 1.05) or 1)
    plot_axes.apply_layout(ax)
    plot_axes.draw_heading(ax, style, title, notes)
    plot_axes.apply_layout(ax)
    if not _flags(ax, style, lines, left, log=log, is_new=is_new):
        plot_axes.draw_heading_with_key(ax, style, title, notes, _line_key(lines), 3.8 if is_new else None)
    return ax


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """The line of a distribution: its group, the name written at its end, and the time of that end."""

    group: Group
    words: str
    end: float


def _flags(ax: Axes, style: TextStyle, lines: Sequence[_Line], left: float, *, log: bool, is_new: bool) -> bool:
    """Write each line's name above the plot, on a stem from the line's end; False where there is no room for that.

    All names stand on the same side of their stems, each in the first row where neither it nor its stem crosses another
    one: to the left where there is room, else to the right, and then the axis is extended until the last one has room.
    """
    wide, high = plot_axes.box_in_points(ax).width, plot_axes.box_in_points(ax).height
    position = math.log10 if log else float
    zero, end = position(left), position(ax.get_xlim()[1])
    names = {line: plot_axes.text_width(ax, line.words, style) + 8 for line in lines}
    if max(names.values()) > 0.6 * wide:
        return False
    stems = {line: (position(line.end) - zero) / (end - zero) * wide for line in lines}
    leftwards = all(stems[line] - names[line] > -45 for line in lines)
    if not leftwards:
        end = max(zero + (position(line.end) - zero) / (1 - names[line] / wide) for line in lines)
        end = max(end, position(ax.get_xlim()[1]))
        stems = {line: (position(line.end) - zero) / (end - zero) * wide for line in lines}
    rows: dict[_Line, int] = {}
    for line in sorted(lines, key=lambda line: line.end if leftwards else -line.end):
        under = [rows[other] for other in rows if abs(stems[other] - stems[line]) < names[line]]
        rows[line] = max(under, default=-1) + 1
    step = plot_axes.line_height(ax, style) * 1.15
    need = (max(rows.values()) + 1) * step + 10
    if need > (200 if is_new else 0.5 * high):
        return False

    if is_new:
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
            ha="right" if leftwards else "left", va="bottom", fontsize="small", annotation_clip=False, **style.options,
        )  # fmt: skip
        name.set_label("_name")
    return True


def _line_key(lines: Sequence[_Line]) -> Key:
    """The names of the lines, each with a sample."""
    from matplotlib.lines import Line2D

    samples = [
        Line2D([], [], color=line.group.colour, linestyle=line.group.dashes, marker=line.group.marker, markersize=5)
        for line in lines
    ]
    return Key(samples, [line.words for line in lines])
