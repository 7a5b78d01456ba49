"""One line of HTML for a history that a cell ends with."""

from __future__ import annotations

from markupsafe import Markup

from .._model.history import History
from .._model.text import clean, seconds
from .._session import environment
from .markup import NOTHING, style
from .scene import colour_of
from .words import describe_details, elapsed, glyph_of, name_of, state_of


def register() -> None:
    """Have IPython show every history by `history_line`, besides its repr; without a kernel, do nothing."""
    shell = getattr(environment.kernel(), "shell", None)
    if shell is not None:
        shell.display_formatter.formatters["text/html"].for_type(History, history_line)


def history_line(history: History) -> str:
    """How it ended or stands, as of its last event: a history does not go on by itself."""
    state = state_of(history)
    at = history.events[-1].at if history.events else None
    spent = elapsed(history, at) if at is not None else None
    name = name_of(history)
    parts = ["" if spent is None else seconds(spent), "" if at is None else clean(describe_details(history, at), 300)]
    drawn = Markup(
        '{}<div class="nbh-history mathjax_ignore tex2jax_ignore"><strong class="{}"><span aria-hidden="true">{}</span>'
        " {}</strong> {} <samp>{}</samp>{}</div>"
    ).format(
        style("history"),
        colour_of(state),
        glyph_of(state),
        clean(state or "not looked at yet", 200),
        clean(name, 80) if name != history.task.id else "",
        clean(history.task, 1400),
        NOTHING.join(Markup(" <span>{}</span>").format(words) for words in parts if words),
    )
    return str(drawn)
