"""Choose the view of a watch (widget card, HTML card, text or none) and show it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

from .._model.errors import BadInput
from .._model.text import clean
from .._session import environment

if TYPE_CHECKING:
    from .watch import Watch

Display = Literal["auto", "widget", "html", "text"]


def choose_view(display: object) -> str:
    """The view: `widget`, `html`, `text` or "" for none, by option, environment variable and front end."""
    if display is False:
        return ""
    if not isinstance(display, str) or display not in {"auto", "widget", "html", "text"}:
        raise BadInput('display is "auto", "widget", "html", "text" or False.')
    wish = environment.flag("NBHELPER_DISPLAY") if display == "auto" else ""
    if wish in {"0", "false", "none", "off"}:
        return ""
    if wish not in {"", "auto", "widget", "html", "text"}:
        raise BadInput(f'NBHELPER_DISPLAY is "{clean(wish, 40)}"; it takes auto, widget, html, text or off.')
    choice = wish or display
    if choice == "text" or environment.kernel() is None:
        return "text"
    if choice == "html" or environment.place() == "headless" or environment.in_colab():
        return "html"
    from .._views.live_card import can_show_widgets

    return "widget" if can_show_widgets() else "html"


def show_view(handle: Watch, kind: str, *, blocking: bool, side: int | None) -> None:
    """Give the handle its view: a card that lives by itself, or one that is drawn by whoever waits."""
    if environment.kernel() is not None:
        from .._views.history_line import register

        register()
    if not len(handle):
        if kind in {"widget", "html"}:
            from .._views.still_card import make_empty_card

            handle.keep_card(make_empty_card(handle))
            handle._card.show()  # noqa: SLF001
    elif kind == "text":
        from .._views.terminal import text_view

        handle._show = lambda watch: text_view(lambda: watch.histories)  # noqa: SLF001
    elif kind == "html" and blocking:
        from .._views.still_card import html_view

        handle._show = lambda watch: html_view(watch, side)  # noqa: SLF001
    elif kind:
        from .._views.live_card import LiveCard

        handle._card = LiveCard(handle, side, widgets=kind == "widget")  # noqa: SLF001
        handle._card.show()  # noqa: SLF001


def print_lines(handle: Watch, kind: str) -> None:
    """Print the lines of a card beside the text view, or warn with them where nothing is shown."""
    lines = handle.notes if len(handle) else (handle.nothing, *handle.notes)
    if kind == "text":
        for line in lines:
            print(line)  # noqa: T201  # this is the view
    elif not kind:
        for line in handle.notes:
            warnings.warn(line, UserWarning, stacklevel=4)
