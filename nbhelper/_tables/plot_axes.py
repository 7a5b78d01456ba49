"""What all plots share of matplotlib: fonts and colours of text, heading and key above the axes, units and scales.

Heights above the axes are in points, and what depends on the size of the axes is measured after `apply_layout`. Text
from servers is drawn as `TextStyle.plain` gives it.
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
"""Fonts for characters that the usual one lacks, where they are installed: prompts are often Chinese."""


class TextStyle:
    """How text is drawn: colours of the axes' own style, and the fonts that are installed.

    Attributes:
        ink: The colour of text.
        background: The colour of the axes.
        families: The style's fonts, then the fallbacks that are installed.
    """

    def __init__(self, ax: Axes) -> None:
        from matplotlib import font_manager, rcParams

        self.ink: Any = ax.title.get_color()
        self.background: Any = ax.get_facecolor()
        installed = set(font_manager.get_font_names())
        usual = [str(family) for family in rcParams["font.family"]]
        self.families = [*usual, *(name for name in _FALLBACKS if name in installed and name not in usual)]
        self._faces: list[Any] = []
        for family in self.families:
            try:
                path = font_manager.findfont(font_manager.FontProperties(family=family), fallback_to_default=False)
            except ValueError:  # one that the user's style names and that is not installed
                continue
            self._faces.append(font_manager.get_font(path))

    def plain(self, text: object, limit: int = LABEL) -> str:
        """Any text as one line that matplotlib takes for no formula, a box for each character that no font has."""
        shown = "".join(c for c in clean(text, limit) if c.isascii() or unicodedata.category(c) != "Cf")
        shown = "".join(c if c.isascii() or self._has(c) else "\N{WHITE SQUARE}" for c in shown)
        return shown.replace("$", r"\$")

    def _has(self, character: str) -> bool:
        """Whether one of the fonts has a glyph for it."""
        return any(face.get_char_index(ord(character)) for face in self._faces)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for text from users and servers, never through TeX, which would run its commands."""
        return {"fontfamily": self.families, "usetex": False, "color": self.ink}


@dataclass(frozen=True, slots=True)
class Key:
    """One block of the key above the axes: sample artists, and the words for each."""

    samples: Sequence[Artist]
    words: Sequence[str]


def axes_or_new(ax: Axes | None, size: tuple[float, float]) -> tuple[Axes, bool]:
    """The given axes, or those of a new figure; and whether the figure is new."""
    if ax is not None:
        return ax, False
    import matplotlib.pyplot as plt

    _, made = plt.subplots(figsize=size, layout="constrained")
    return made, True


def style_axes(ax: Axes, *, grid: Literal["x", "y", "both"]) -> None:
    """No frame above and to the right, and a faint grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=False)
    ax.grid(axis=grid, color=ax.title.get_color(), alpha=0.12, linewidth=0.8)
    ax.set_axisbelow(True)


def apply_layout(ax: Axes) -> None:
    """Run the figure's layout engine, so that the axes have the size by which texts are placed."""
    figure: Figure = ax.figure.figure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def box_in_points(ax: Axes) -> Bbox:
    """The extent of the axes in points."""
    from matplotlib.transforms import Bbox

    box = ax.get_window_extent()
    return Bbox(box.get_points() * 72 / ax.figure.dpi)


def size_in_points(ax: Axes, text: Any) -> tuple[float, float]:
    """Width and height of an artist in points."""
    box = text.get_window_extent()
    return box.width * 72 / ax.figure.dpi, box.height * 72 / ax.figure.dpi


def text_width(ax: Axes, words: str, style: TextStyle) -> float:
    """Width of a small text in points."""
    probe = ax.text(0, 0, words, fontsize="small", **style.options)
    wide, _ = size_in_points(ax, probe)
    probe.remove()
    return wide


def line_height(ax: Axes, style: TextStyle) -> float:
    """Height of a line of small text, in points."""
    probe = ax.text(0, 0, "Xg", fontsize="small", **style.options)
    _, height = size_in_points(ax, probe)
    probe.remove()
    return height


def draw_heading(ax: Axes, style: TextStyle, title: str, notes: Sequence[str], keys: Sequence[Key] = ()) -> float:
    """Draw title, notes and keys above the axes, stacked in points, so that resizing keeps them apart.

    Returns:
        The height of all three in points.
    """
    for text in [text for text in ax.texts if text.get_label() == "_notes"]:
        text.remove()
    height = 4.0
    for key in reversed(keys):
        if key.samples:
            height += _legend(ax, style, key, height) + 6
    wide = max(box_in_points(ax).width, 150.0)
    lines = _wrapped(ax, style, notes, wide)
    small = 0.0
    if lines:
        note = ax.annotate(
            "\n".join(lines), (0, 1), (0, height + 2), xycoords="axes fraction", textcoords="offset points",
            ha="left", va="bottom", fontsize="small", color=style.ink, alpha=0.75, annotation_clip=False,
        )  # fmt: skip
        note.set_label("_notes")
        small = size_in_points(ax, note)[1] + 4
    ax.set_title(title, loc="left", pad=height + small + 2, fontsize="medium", fontweight="bold")
    return height + small + 16


def draw_heading_with_key(
    ax: Axes, style: TextStyle, title: str, notes: Sequence[str], key: Key, inches: float | None
) -> None:
    """Draw the heading with a key, for names that have no room in the plot; where that has none either, a note.

    Args:
        ax: The axes.
        style: How text is drawn.
        title: As for `draw_heading`.
        notes: As for `draw_heading`.
        key: The names.
        inches: Height of a new figure without the key, which it grows by; None for a figure of the user's.
    """
    high = box_in_points(ax).height
    above = draw_heading(ax, style, title, notes, [key])
    if inches is not None:
        figure = ax.figure.figure
        figure.set_size_inches(figure.get_size_inches()[0], inches + above / 72)
        apply_layout(ax)
    elif above > 0.6 * high:
        for legend in [artist for artist in ax.get_children() if artist.get_gid() == _KEY]:
            legend.remove()
        draw_heading(ax, style, title, [*notes, f"{len(key.samples)} groups, too many to be named here"])


_KEY = "nbhelper key"


def _wrapped(ax: Axes, style: TextStyle, notes: Sequence[str], wide: float) -> list[str]:
    """Lines of notes, as many in a line as fit; a note that is too long for a line is broken."""
    import textwrap

    lines: list[str] = []
    for note in notes:
        joined = f"{lines[-1]}; {note}" if lines else note
        if lines and text_width(ax, joined, style) <= wide:
            lines[-1] = joined
        else:
            letters = max(20, int(len(note) * wide / max(text_width(ax, note, style), 1)))
            lines.extend(textwrap.wrap(note, letters))
    return lines


def _legend(ax: Axes, style: TextStyle, key: Key, above: float) -> float:
    """Draw a key in as many columns as fit, `above` points over the axes; returns its height in points."""
    from matplotlib.legend import Legend
    from matplotlib.transforms import offset_copy

    wide = box_in_points(ax).width
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
            text.set(text=words, **style.options)  # afterwards, because a name may begin with "_", which hides it
        legend.set_gid(_KEY)
        ax.add_artist(legend)
        if size_in_points(ax, legend)[0] <= wide:
            break
    return size_in_points(ax, legend)[1]


def write_instead(ax: Axes, style: TextStyle, words: str) -> None:
    """Write why nothing can be drawn, in the middle of axes without ticks."""
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", color=style.ink, alpha=0.75)


def why_nothing(outcomes: Sequence[str | None]) -> str:
    """Why a plot of succeeded tasks is empty, in words."""
    return "no tasks" if not outcomes else "no task has succeeded" if None not in outcomes else "no success yet"


_UNITS = ((180.0, 1.0, "s"), (180 * 60.0, 60.0, "min"), (72 * 3600.0, 3600.0, "h"), (math.inf, 86400.0, "days"))


def unit_of(span: float) -> tuple[float, str]:
    """The unit in which people read a time of so many seconds: its length in seconds, and its name."""
    return next((seconds, name) for most, seconds, name in _UNITS if span < most)


def set_scale(axis: Any, values: Sequence[float]) -> bool:
    """Write the axis' numbers without exponents; logarithmic only from a factor of 30 on, which is returned."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    is_log = min(values) > 0 and max(values) / min(values) > 30
    if is_log:
        decades = math.log10(max(values) / min(values))
        (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return is_log
