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
"""Characters at a name's end that stay in sight: there the names of a grid differ."""


@cache
def style(name: str) -> Markup:
    """The colours and the style sheet of this name as one element, without comments, a rule on each line."""
    sheets = (_sheet("colours"), _sheet(name))
    return _STYLE.format(Markup("").join(sheets))


def _sheet(name: str) -> Markup:
    text = _COMMENT.sub("", Path(__file__).with_name(f"{name}.css").read_text("utf-8"))
    short = _BREAKS.sub(lambda found: found[1].strip(), text).replace(";}", "}").replace("}", "}\n")
    return Markup(short)  # noqa: S704  # a file of ours


def titled(shown: object, title: object) -> Markup:
    """Text with a title that says more."""
    return Markup('<span title="{}">{}</span>').format(title, shown)


def cut(text: object, limit: int, classes: str = "", *, title: object = None, element: Markup = SPAN) -> Markup:
    """A long text cut, whole in its title; where the style may cut it further, the title is there in any case.

    Args:
        text: What is said.
        limit: Its most characters in the markup.
        classes: CSS classes.
        title: What the title says in place of the whole text.
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
    """A name that the style elides in its middle where it has no room; without styles it is whole.

    Args:
        text: The name.
        limit: Its most characters in the markup.
        before: Markup ahead of it, on the same line.
    """
    name = clean(text, 1000)
    if len(name) > limit:
        name = f"{name[: limit - _TAIL - 1]}…{name[-_TAIL:]}"
    at = len(name) - _TAIL if len(name) > 2 * _TAIL else len(name)
    return Markup('<span class="nbh-mid"><span>{}{}</span><span>{}</span></span>').format(before, name[:at], name[at:])
