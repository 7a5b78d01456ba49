"""The paper that all pictures are drawn on: ink and fonts, the heading and the key above the axes, units and scales.

Heights above the axes are in points, and what depends on the size of the axes is measured after `settle`. Text from
servers passes `Pen.words` on its way in.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .._model.text import clean

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

LABEL = 40
"""Characters of a label or a group's name."""
_FALLBACKS = (
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC",
    "Hiragino Sans GB", "Hiragino Sans", "Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Arial Unicode MS", "Segoe UI Symbol", "Noto Emoji",
)  # fmt: skip
"""Fonts for what the usual one lacks, where they are installed: prompts are often Chinese."""


class Pen:
    """How text is written: the ink of the axes' own style, and the fonts that are there."""

    def __init__(self, ax: Axes) -> None:
        from matplotlib import font_manager, rcParams

        self.ink: Any = ax.title.get_color()
        self.ground: Any = ax.get_facecolor()
        have = set(font_manager.get_font_names())
        usual = [str(family) for family in rcParams["font.family"]]
        self.families = [*usual, *(name for name in _FALLBACKS if name in have and name not in usual)]
        self._faces: list[Any] = []
        for family in self.families:
            try:
                path = font_manager.findfont(font_manager.FontProperties(family=family), fallback_to_default=False)
            except ValueError:  # of the reader's own style and not installed
                continue
            self._faces.append(font_manager.get_font(path))

    def words(self, text: object, limit: int = LABEL) -> str:
        """Text of anybody's as plain text: one line, no formulas, a box for each character that no font has."""
        shown = "".join(c for c in clean(text, limit) if c.isascii() or unicodedata.category(c) != "Cf")
        shown = "".join(c if c.isascii() or self._has(c) else "\N{WHITE SQUARE}" for c in shown)
        return shown.replace("$", r"\$")

    def _has(self, character: str) -> bool:
        return any(face.get_char_index(ord(character)) for face in self._faces)

    @property
    def theirs(self) -> dict[str, Any]:
        """Options for text that is not ours; TeX, where the reader's style has it, would run what it says."""
        return {"fontfamily": self.families, "usetex": False, "color": self.ink}


@dataclass(frozen=True, slots=True)
class Key:
    """One block of the key above the axes: samples and what they stand for."""

    samples: Sequence[Artist]
    words: Sequence[str]


def axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Axes, bool]:
    """The axes, and whether the figure is ours."""
    if ax is not None:
        return ax, False
    import matplotlib.pyplot as plt

    _, made = plt.subplots(figsize=size, layout="constrained")
    return made, True


def dress(ax: Axes, *, grid: Literal["x", "y", "both"]) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=False)
    ax.grid(axis=grid, color=ax.title.get_color(), alpha=0.12, linewidth=0.8)
    ax.set_axisbelow(True)


def settle(ax: Axes) -> None:
    """Give the axes their final size, which the places of texts depend on."""
    figure: Figure = ax.figure.figure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def points(ax: Axes) -> Bbox:
    """The axes in points."""
    from matplotlib.transforms import Bbox

    box = ax.get_window_extent()
    return Bbox(box.get_points() * 72 / ax.figure.dpi)


def measure(ax: Axes, text: Any) -> tuple[float, float]:
    """Width and height in points."""
    box = text.get_window_extent()
    return box.width * 72 / ax.figure.dpi, box.height * 72 / ax.figure.dpi


def width(ax: Axes, words: str, pen: Pen) -> float:
    """How wide a small text will be, in points."""
    probe = ax.text(0, 0, words, fontsize="small", **pen.theirs)
    wide, _ = measure(ax, probe)
    probe.remove()
    return wide


def measure_line(ax: Axes, pen: Pen) -> float:
    """Height of a line of small text, in points."""
    probe = ax.text(0, 0, "Xg", fontsize="small", **pen.theirs)
    _, height = measure(ax, probe)
    probe.remove()
    return height


def head(ax: Axes, pen: Pen, title: str, notes: Sequence[str], keys: Sequence[Key] = ()) -> float:
    """Title, what the picture leaves out, and the key, stacked above the axes in points: it survives resizing.

    Returns:
        The height of it all in points.
    """
    for text in [text for text in ax.texts if text.get_label() == "_notes"]:
        text.remove()
    height = 4.0
    for key in reversed(keys):
        if key.samples:
            height += _legend(ax, pen, key, height) + 6
    wide = max(points(ax).width, 150.0)
    lines = _wrapped(ax, pen, notes, wide)
    small = 0.0
    if lines:
        note = ax.annotate(
            "\n".join(lines), (0, 1), (0, height + 2), xycoords="axes fraction", textcoords="offset points",
            ha="left", va="bottom", fontsize="small", color=pen.ink, alpha=0.75, annotation_clip=False,
        )  # fmt: skip
        note.set_label("_notes")
        small = measure(ax, note)[1] + 4
    ax.set_title(title, loc="left", pad=height + small + 2, fontsize="medium", fontweight="bold")
    return height + small + 16


def keyed(ax: Axes, pen: Pen, title: str, notes: Sequence[str], key: Key, plain: float | None) -> None:
    """The heading with a key, where names found no room in the picture.

    Args:
        ax: The axes.
        pen: How text is written.
        title: As for `head`.
        notes: As for `head`.
        key: The key.
        plain: Inches of the figure's height without the key, which it grows by; None for a figure that is not ours.
    """
    high = points(ax).height
    above = head(ax, pen, title, notes, [key])
    if plain is not None:
        figure = ax.figure.figure
        figure.set_size_inches(figure.get_size_inches()[0], plain + above / 72)
        settle(ax)
    elif above > 0.6 * high:
        for legend in [artist for artist in ax.get_children() if artist.get_gid() == _KEY]:
            legend.remove()
        head(ax, pen, title, [*notes, f"{len(key.samples)} groups, too many to be named here"])


_KEY = "nbhelper key"


def _wrapped(ax: Axes, pen: Pen, notes: Sequence[str], wide: float) -> list[str]:
    """Notes side by side as far as they fit; broken between them, and inside one that is too long alone."""
    import textwrap

    lines: list[str] = []
    for note in notes:
        joined = f"{lines[-1]}; {note}" if lines else note
        if lines and width(ax, joined, pen) <= wide:
            lines[-1] = joined
        else:
            letters = max(20, int(len(note) * wide / max(width(ax, note, pen), 1)))
            lines.extend(textwrap.wrap(note, letters))
    return lines


def _legend(ax: Axes, pen: Pen, key: Key, above: float) -> float:
    """Samples in as many columns as fit; returns the height in points."""
    from matplotlib.legend import Legend
    from matplotlib.transforms import offset_copy

    wide = points(ax).width
    corner = offset_copy(ax.transAxes, ax.figure.figure, 0, above, units="points")
    legend: Legend | None = None
    for columns in range(min(len(key.samples), 6), 0, -1):
        if legend is not None:
            legend.remove()
        legend = Legend(
            ax, list(key.samples), [" " for _ in key.words], loc="lower left", bbox_to_anchor=(0, 1),
            bbox_transform=corner, ncols=columns, frameon=False, borderaxespad=0, borderpad=0, fontsize="small",
            handlelength=1.6, handleheight=0.9, columnspacing=1.4, labelspacing=0.35, handletextpad=0.6,
        )  # fmt: skip
        for text, words in zip(legend.get_texts(), key.words, strict=True):
            text.set(text=words, **pen.theirs)  # afterwards, because a name may begin with "_", which hides it
        legend.set_gid(_KEY)
        ax.add_artist(legend)
        if measure(ax, legend)[0] <= wide:
            break
    return measure(ax, legend)[1]


def nothing(ax: Axes, pen: Pen, words: str) -> None:
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", color=pen.ink, alpha=0.75)


def none_of(outcomes: Sequence[str | None]) -> str:
    """What stands where nothing can be drawn of successes."""
    return "no tasks" if not outcomes else "no task has succeeded" if None not in outcomes else "no success yet"


_UNITS = ((180.0, 1.0, "s"), (180 * 60.0, 60.0, "min"), (72 * 3600.0, 3600.0, "h"), (math.inf, 86400.0, "days"))


def unit(span: float) -> tuple[float, str]:
    """Seconds in the unit that so long a time is read in, and its name."""
    return next((seconds, name) for most, seconds, name in _UNITS if span < most)


def scale(axis: Any, values: Sequence[float]) -> bool:
    """Numbers as people write them; logarithmic only where they span more than a factor of 30."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    wide = min(values) > 0 and max(values) / min(values) > 30
    if wide:
        decades = math.log10(max(values) / min(values))
        (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return wide
