"""The card without widgets: one HTML output that the waiting cell draws, and cards that are over."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from .._session import environment
from .painter import Painter, Watched
from .words import state_of

_CLOCK = 1.0
"""Seconds between two updates of an output, at least."""
_BYTES = 50_000
"""Bytes a second of an output without widgets: it is sent whole, pictures and all, so less often the heavier it is."""
_LATE = 30.0
"""Seconds that a card waits for thumbnails after the end."""


class Shown(Watched, Protocol):
    """A watch that shows its card again in later cells."""

    def keep_card(self, card: Any) -> None:
        """Keep the card: something with `is_shown_here()` and `show()`."""


@contextmanager
def html_view(watch: Shown, side: int | None) -> Iterator[Callable[[], None]]:
    """One HTML output without any widget, updated while the cell waits, and complete when it ends."""
    from IPython.display import display, update_display

    ident = f"nbhelper-{uuid.uuid4().hex[:12]}"
    painter = Painter(side)
    watched_live = environment.place() != "headless"  # in a log, each update would be one more line
    display(painter.bundle(watch, live=True), raw=True, display_id=ident)
    drawn: list[object] = [None]
    due = [time.monotonic() + _CLOCK]

    def draw() -> None:
        if time.monotonic() < due[0]:
            return
        states = [(state_of(h), len(h.saves)) for h in watch.histories]
        if watched_live or states != drawn[0]:
            drawn[0] = states
            painter.fetch_costs(watch, painter.find_unpriced(watch))
            bundle = painter.bundle(watch, live=True)
            update_display(bundle, raw=True, display_id=ident)
            due[0] = time.monotonic() + pause_after(bundle)

    try:
        yield draw
        late = time.monotonic() + _LATE
        for path in painter.find_unpainted(watch):
            if time.monotonic() < late:
                painter.paint(path)
    finally:
        painter.fetch_costs(watch, painter.find_unpriced(watch))
        frozen = painter.bundle(watch, live=False)
        update_display(frozen, raw=True, display_id=ident)
        watch.keep_card(StillCard(frozen))


def pause_after(bundle: dict[str, str]) -> float:
    """Seconds until an output of this size may be sent again."""
    return max(_CLOCK, sum(map(len, bundle.values())) / _BYTES)


class StillCard:
    """A card that is over: shown again in later cells, not in the one that drew it."""

    def __init__(self, bundle: dict[str, str]) -> None:
        self._bundle = bundle
        self._cell = environment.cell()

    def is_shown_here(self) -> bool:
        """Whether the running cell shows the card already."""
        here, self._cell = self._cell, (None, None)
        return here[1] is not None and here == environment.cell()

    def show(self) -> None:
        """Show the card under the running cell."""
        from IPython.display import display

        display(self._bundle, raw=True)


def make_empty_card(watch: Watched) -> StillCard:
    """The card of a watch without tasks."""
    bundle = Painter(None).bundle(watch, live=False)
    return StillCard(bundle | {"text/plain": "\n".join((bundle["text/plain"], *watch.notes))})
