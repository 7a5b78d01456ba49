"""Markup of cards and galleries: escaped by markupsafe, styled by the `.css` files beside this module.

`Markup("…{}…").format(…)` escapes what is filled in unless it is `Markup` itself, so text of a server cannot become a
tag wherever it is put. `clean` comes first: it takes out escapes and controls, and cuts.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from markupsafe import Markup

from .._model.text import clean

NOTHING = Markup()
SPAN = Markup("<span{}>{}</span>")
CELL = Markup("<td{}>{}</td>")
_STYLE = Markup("<style>\n{}</style>")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BREAKS = re.compile(r"\s*([{};,]|\n)\s*")
_TAIL = 10
"""Characters at a name's end that are never elided: there the names of a grid differ."""


@cache
def style(name: str) -> Markup:
    """The colours and the style sheet of this name as one element, without comments, a rule on each line."""
    sheets = (_sheet("colours"), _sheet(name))
    return _STYLE.format(Markup("").join(sheets))


def _sheet(name: str) -> Markup:
    text = _COMMENT.sub("", Path(__file__).with_name(f"{name}.css").read_text("utf-8"))
    short = _BREAKS.sub(lambda match: match[1].strip(), text).replace(";}", "}").replace("}", "}\n")
    return Markup(short)  # noqa: S704  # a file of ours


def titled(shown: object, title: object) -> Markup:
    """Text with a longer one as its title (the tooltip)."""
    return Markup('<span title="{}">{}</span>').format(title, shown)


def cut(text: object, limit: int, classes: str = "", *, title: object = None, element: Markup = SPAN) -> Markup:
    """A long text cut at the end, with the whole text as its title; with `classes` it always has a title.

    The style of a class may cut the text further.

    Args:
        text: The whole text.
        limit: How many characters stand in the markup at most.
        classes: CSS classes.
        title: The title, where it is not the whole text.
        element: `SPAN` or `CELL`.
    """
    whole = clean(text, 1000)
    shown = whole if len(whole) <= limit else whole[: limit - 1] + "…"
    hint = clean(whole if title is None else title, 2200)
    attributes = Markup(' class="{}"').format(classes) if classes else NOTHING
    if hint != shown or classes:
        attributes += Markup(' title="{}"').format(hint)
    return element.format(attributes, shown)


def elide_middle(text: object, limit: int, before: Markup = NOTHING) -> Markup:
    """A name in two parts, of which the style elides the end of the first where it has no room.

    Args:
        text: The name.
        limit: How many characters stand in the markup at most.
        before: Markup ahead of it, on the same line.
    """
    name = clean(text, 1000)
    if len(name) > limit:
        name = f"{name[: limit - _TAIL - 1]}…{name[-_TAIL:]}"
    at = len(name) - _TAIL if len(name) > 2 * _TAIL else len(name)
    return Markup('<span class="nbh-mid"><span>{}{}</span><span>{}</span></span>').format(before, name[:at], name[at:])
