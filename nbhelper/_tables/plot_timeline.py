"""When each task ran: a bar a row, the earliest on top, all on this machine's clock.

A table keeps each server's times as the server told them; how far that clock is off follows from the columns that were
corrected for it (`lag_s`, `total_s`), for the row itself or else for the provider's other rows.

What is not known is not drawn as if it were: an unknown end fades, a start that nobody saw has a caret, and an observed
end has a whisker as long as its doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .._model.timing import TIMES
from . import plot_data as data
from . import plot_sheet as sheet
from .plot_data import Group
from .plot_sheet import Key, Pen

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_OURS = ("submitted_at", "first_seen_at", "finished_seen_at", "saved_at")
"""The columns that are always on this machine's clock."""
ROWS = 60
"""Tasks of one timeline; the others are counted."""


@dataclass(frozen=True, slots=True)
class _Bar:
    """One row of the timeline; times in seconds since 1970, or in the axis' unit since its zero.

    Attributes:
        split: When it left the queue, where that is known.
        known: The last time that is known of it: the end, where that is.
        stop: Where the drawing ends: behind `known` where it fades.
        doubt: Seconds that an observed end may be off.
        early: Whether it began before it was first seen, nobody knows when.
    """

    name: str
    group: Group
    start: float
    split: float | None
    end: float | None
    known: float
    stop: float
    doubt: float
    early: bool
    outcome: str | None
    word: str

    def on_axis(self, origin: float, last: float, unit: float) -> _Bar:
        """The same in the axis' unit, an open end drawn to the last time that is known of anything."""
        tail = self.known + max((last - origin) * 0.05, 0.02)
        stop = self.known if self.end is not None else max(tail, last) if self.outcome is None else tail
        return replace(
            self,
            start=(self.start - origin) / unit,
            split=None if self.split is None else (self.split - origin) / unit,
            end=None if self.end is None else (self.end - origin) / unit,
            known=(self.known - origin) / unit,
            stop=(stop - origin) / unit,
            doubt=self.doubt / unit,
        )


def timeline(frame: pd.DataFrame, names: Sequence[str], ax: Axes | None) -> Axes:
    rows = min(len(frame), ROWS)
    ax, own = sheet.axes(ax, (8.5, 1.9 + 0.2 * max(rows, 3)))
    pen = Pen(ax)
    groups = data.groups(frame, names, pen)
    bars, timeless = _bars(frame, groups, pen)
    sheet.dress(ax, grid="x")
    notes = [data.counts(data.texts(frame["outcome"]))]
    if timeless:
        notes.append(f"{timeless} without any time, not drawn")
    if not bars:
        sheet.nothing(ax, pen, "no tasks" if not len(frame) else "no task with a time")
        sheet.head(ax, pen, "Tasks over time", notes)
        return ax

    most = rows if own else min(ROWS, max(4, int(sheet.points(ax).height / 10)))
    left_out = len(bars) - most
    bars = bars[-most:]
    if left_out > 0:
        notes.append(f"the latest {most}, and {left_out} more before them")
    origin = min(bar.start for bar in bars)
    last = max(bar.known for bar in bars)
    if any(bar.outcome is None for bar in bars):
        last = max(last, *(t for name in _OURS for t in data.times(frame[name]) if t is not None))
    seconds, unit = sheet.unit(last - origin)
    bars = [bar.on_axis(origin, last, seconds) for bar in bars]
    for row, bar in enumerate(bars):
        _draw(ax, pen, bar, row)

    letters = 8.0 if own else min(8.0, max(5.0, sheet.points(ax).height / len(bars) * 0.8))
    ax.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=letters, **pen.theirs)
    ax.set_ylim(len(bars) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"{_LONG[unit]} since the first start, {_clock(origin)}")
    drawn = [group for group in groups if group.look is not None and any(bar.group is group for bar in bars)]
    keys = [_group_key(drawn, bars, pen) if names else Key((), ()), _mark_key(bars, pen)]
    sheet.settle(ax)
    head = sheet.head(ax, pen, "Tasks over time", notes, keys)
    if own:
        ax.figure.figure.set_size_inches(8.5, 0.7 + head / 72 + 0.2 * max(len(bars), 3))
    sheet.settle(ax)
    _words(ax, pen, bars, letters)
    return ax


_LONG = {"s": "seconds", "min": "minutes", "h": "hours", "days": "days"}


def _clock(at: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _bars(frame: pd.DataFrame, groups: Sequence[Group], pen: Pen) -> tuple[list[_Bar], int]:
    """In order of their starts, and how many rows have no time at all."""
    of = {row: group for group in groups for row in group.rows}
    times = {name: data.times(frame[name]) for name in TIMES}
    numbers = {name: data.numbers(frame[name]) for name in ("queue_s", "total_s", "uncertainty_s")}
    lags = data.numbers(frame["lag_s"])
    texts = {
        name: data.texts(frame[name]) for name in ("task_id", "label", "state", "outcome", "error_code", "time_source")
    }
    skews = _skews(frame)
    bars = []
    for row in range(len(frame)):
        told = {name: texts[name][row] for name in texts}
        found = {name: at for name in TIMES if (at := times[name][row]) is not None}
        if "created_at" in found:
            found["created_at"] -= skews[row]
        if lags[row] is not None:
            found["finished_at"] -= skews[row]
        begins = ["created_at", "submitted_at", "first_seen_at"]
        if told["time_source"] == "observed":  # then `total_s` is from the submission
            begins.remove("created_at")
        start = next((found[n] for n in begins if n in found), None)
        if start is None:
            continue
        total, queue, doubt = (numbers[name][row] for name in ("total_s", "queue_s", "uncertainty_s"))
        end = start + total if total is not None and total >= 0 else found.get("finished_at")
        if end is not None and end < start:
            end = None
        split = start + queue if queue is not None and queue >= 0 else None
        ours = [found[name] for name in found if name != "started_at"]  # it may be on either clock
        known = end if end is not None else max(start, split or start, *ours)
        if split is not None and split > known:
            split = None
        outcome = told["outcome"]
        word = "" if outcome == "succeeded" else outcome or told["state"] or "waiting"
        if outcome not in {None, "succeeded"} and told["error_code"]:
            word += f" ({pen.words(told['error_code'], 24)})"
        label = told["label"] if told["label"] and told["label"].strip() else None
        bars.append(
            _Bar(
                name=pen.words(label) if label else pen.words(told["task_id"] or "(no id)", 14),
                group=of[row],
                start=start,
                split=split,
                end=end,
                known=known,
                stop=known,
                doubt=doubt if doubt is not None and doubt > 0 and told["time_source"] != "server" and end else 0.0,
                early="created_at" not in found and "submitted_at" not in found,
                outcome=outcome,
                word=word,
            )
        )
    bars.sort(key=lambda bar: (bar.start, bar.known))
    return bars, len(frame) - len(bars)


def _skews(frame: pd.DataFrame) -> list[float]:
    """Seconds by which the clock behind each row's server times is ahead of ours; 0 where nothing tells."""
    from statistics import median

    created, finished, seen = (data.times(frame[name]) for name in ("created_at", "finished_at", "finished_seen_at"))
    lags, totals = data.numbers(frame["lag_s"]), data.numbers(frame["total_s"])
    providers, sources = data.texts(frame["provider"]), data.texts(frame["time_source"])

    def told(row: int) -> float | None:
        end, begin, look, lag, total = finished[row], created[row], seen[row], lags[row], totals[row]
        if end is not None and look is not None and lag is not None:
            return end + lag - look
        if end is not None and begin is not None and total is not None and sources[row] == "mixed":
            return begin + total - end
        return None

    found = [told(row) for row in range(len(frame))]
    known: dict[str | None, list[float]] = {}
    for provider, skew in zip(providers, found, strict=True):
        if skew is not None:
            known.setdefault(provider, []).append(skew)
    usual = {provider: median(skews) for provider, skews in known.items()}
    return [usual.get(whose, 0.0) if skew is None else skew for whose, skew in zip(providers, found, strict=True)]


_HEIGHT = 0.62
_CARET: Any = 4
"""Matplotlib's caret to the left, its tip on the spot."""


def _draw(ax: Axes, pen: Pen, bar: _Bar, row: int) -> None:
    if bar.split is None:
        _box(ax, pen, bar.group, row, bar.start, bar.known, "whole")
    else:
        _box(ax, pen, bar.group, row, bar.start, bar.split, "queue")
        if bar.known > bar.split or bar.end is not None:
            _box(ax, pen, bar.group, row, bar.split, bar.known, "run")
    if bar.end is None:
        _fade(ax, bar.group, row, bar.known, bar.stop)
    if bar.early:
        ax.plot(
            [bar.start], [row], marker=_CARET, color=bar.group.colour, markersize=5, linestyle="none",
            clip_on=False, label="_early", zorder=3,
        )  # fmt: skip
    if bar.doubt:
        span = [max(bar.start, bar.known - bar.doubt), bar.known + bar.doubt]
        ax.plot(
            span, [row, row], color=pen.ink, linewidth=0.9, marker="|", markersize=4, markeredgewidth=0.9,
            label="_whisker", zorder=3,
        )  # fmt: skip
    _outcome(ax, pen, bar, row)


def _box(ax: Axes, pen: Pen, group: Group, row: int, left: float, right: float, part: str) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    colour = to_rgba(group.colour)
    looks: dict[str, dict[str, Any]] = {
        "queue": {"facecolor": (*colour[:3], 0.12), "edgecolor": colour, "linewidth": 0, "hatch": "//////"},
        "run": {"facecolor": colour, "edgecolor": pen.ground if group.hatch else colour, "linewidth": 0.8},
        "whole": {"facecolor": (*colour[:3], 0.35), "edgecolor": colour, "linewidth": 0.8},
    }
    looks["run"]["hatch"] = looks["whole"]["hatch"] = group.hatch
    ax.add_patch(Rectangle((left, row - _HEIGHT / 2), right - left, _HEIGHT, label=f"_{part}", zorder=2, **looks[part]))


def _fade(ax: Axes, group: Group, row: int, left: float, right: float) -> None:
    """A bar that goes on into the unknown."""
    import numpy as np
    from matplotlib.colors import to_rgba

    shade = np.empty((1, 64, 4))
    shade[..., :3] = to_rgba(group.colour)[:3]
    shade[..., 3] = np.linspace(0.45, 0.03, 64)
    half = _HEIGHT / 2
    ax.imshow(
        shade, aspect="auto", extent=(left, right, row + half, row - half), interpolation="bilinear", label="_open",
        zorder=1.9,
    )  # fmt: skip


def _outcome(ax: Axes, pen: Pen, bar: _Bar, row: int) -> None:
    """How it ended, as a mark of our own drawing, which no font can lack, and in a word unless all is well."""
    from matplotlib.path import Path
    from matplotlib.transforms import offset_copy

    tick = Path([(-0.5, 0.0), (-0.15, -0.4), (0.5, 0.45)])
    glass = Path([(-0.4, 0.5), (0.4, 0.5), (-0.4, -0.5), (0.4, -0.5), (-0.4, 0.5)])
    marks: dict[str | None, Any] = {
        "succeeded": tick, "failed": "x", "cancelled": "o", "expired": glass, "lost": "D", "stopped": "s", None: ">",
    }  # fmt: skip
    ax.plot(
        [bar.stop + bar.doubt], [row], marker=marks.get(bar.outcome, "D"), color=pen.ink, markerfacecolor="none",
        markersize=5.5, markeredgewidth=1.2, alpha=0.7 if bar.outcome == "succeeded" else 1.0, linestyle="none",
        clip_on=False, transform=offset_copy(ax.transData, ax.figure.figure, _GAP, 0, units="points"),
        label=f"_{bar.outcome or 'open'}_end",
    )  # fmt: skip


_GAP = 8.0
"""Points from a bar's end to its mark, and from there to the word."""


def _words(ax: Axes, pen: Pen, bars: Sequence[_Bar], letters: float) -> None:
    """Write the words behind the bars, and end the axis where the longest of them does."""
    wide, right = sheet.points(ax).width, 0.0
    for row, bar in enumerate(bars):
        at, needed = bar.stop + bar.doubt, 2 * _GAP
        if bar.word:
            text = ax.annotate(
                bar.word, (at, row), (2 * _GAP, 0), textcoords="offset points", va="center_baseline",
                fontsize=letters, annotation_clip=False, **pen.theirs,
            )  # fmt: skip
            text.set_label("_word")
            needed += sheet.measure(ax, text)[0] + 4
        right = max(right, at / (1 - min(needed / wide, 0.6)))
    ax.set_xlim(0, right or 1)


def _group_key(groups: Sequence[Group], bars: Sequence[_Bar], pen: Pen) -> Key:
    from matplotlib.patches import Patch

    samples: list[Artist] = [
        Patch(facecolor=group.colour, edgecolor=pen.ground if group.hatch else group.colour, hatch=group.hatch)
        for group in groups
    ]
    words = [group.name for group in groups]
    if any(bar.group.look is None for bar in bars):
        samples.append(Patch(facecolor="#888888"))
        words.append("other groups")
    return Key(samples, words)


def _mark_key(bars: Sequence[_Bar], pen: Pen) -> Key:
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    faint = to_rgba(pen.ink, 0.12)
    marks: dict[str, tuple[bool, Artist]] = {
        "queued": (
            any(bar.split is not None for bar in bars),
            Patch(facecolor=faint, edgecolor=pen.ink, linewidth=0, hatch="//////"),
        ),
        "running": (any(bar.split is not None for bar in bars), Patch(facecolor=pen.ink, edgecolor=pen.ink)),
        "queue and run not told apart": (
            any(bar.split is None for bar in bars),
            Patch(facecolor=to_rgba(pen.ink, 0.3), edgecolor=pen.ink, linewidth=0.8),
        ),
        "the end lies in here": (
            any(bar.doubt for bar in bars),
            Line2D([], [], color=pen.ink, linewidth=0.9, marker="|", markersize=5),
        ),
        "fading: end not known": (
            any(bar.end is None for bar in bars),
            Patch(facecolor=to_rgba(pen.ink, 0.15)),
        ),
        "began before it was first seen": (
            any(bar.early for bar in bars),
            Line2D([], [], color=pen.ink, marker=_CARET, markersize=5, linestyle="none"),
        ),
    }
    used = {words: sample for words, (there, sample) in marks.items() if there}
    if set(used) == {"queue and run not told apart"}:
        return Key((), ())
    return Key(list(used.values()), list(used))
