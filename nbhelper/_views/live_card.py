"""The live card: a widget that turns into static HTML, or an HTML output where there are no widgets.

From the cards' thread only traits and display-id updates are sent: no print, no `display`, no `Output`, which would
land in whatever cell ran last. A fault while drawing is logged and never reaches the polling.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from .._model.history import History
from .._session import environment
from .card import final_words, live_below, live_body
from .card_loop import run_in_card_loop
from .draw_limit import DrawLimit
from .painter import Painter, Watched, text_of
from .still_card import pause_after
from .words import unique

log = logging.getLogger("nbhelper")
WIDGET = "application/vnd.jupyter.widget-view+json"
_DRAW = 0.25
"""Seconds between two pushes of the body; VS Code's rendering is slower, so twice that there."""
_CLOCK = 1.0
"""Seconds between two pushes when nothing changed but the clock, and between two pushes of the pictures."""
_SPOKEN = 1.0
"""Seconds that the live card stays after the end, so that a screen reader finds what it was told."""
_LATE = 30.0
"""Seconds that a card waits for costs and thumbnails after the end."""
_GIVE_UP = 5
"""Faults in a row after which drawing stops; watching goes on."""
_KEPT = 20
"""Finished cards whose handle is gone, and whose models stay for a page that was reloaded meanwhile."""
_cards: weakref.WeakSet[LiveCard] = weakref.WeakSet()
"""Every card that something still holds: its handle, its drawing, or `_dropped`."""
_dropped: deque[LiveCard] = deque()


class LiveWatch(Watched, Protocol):
    """What a live card needs of a watch."""

    @property
    def done(self) -> bool:
        """Whether every task is over and every result saved or given up."""

    def stop(self, note: str) -> None:
        """Stop watching."""

    def on_change(self, call: Callable[[], None]) -> None:
        """Call something after each change, on any thread."""

    def off_change(self, call: Callable[[], None]) -> None:
        """Do not call it any more."""


def can_show_widgets() -> bool:
    """Whether ipywidgets is installed and this is a kernel."""
    if environment.kernel() is None:
        return False
    try:
        import ipywidgets  # noqa: F401
    except ImportError:
        return False
    return True


class LiveCard:
    """Five widgets for any number of tasks: a box, the body, the pictures below, the text for screen readers, Stop.

    Without widgets it is one HTML output that is updated by its display id.
    """

    def __init__(self, watch: LiveWatch, side: int | None, *, widgets: bool = True) -> None:
        self._watch: LiveWatch | None = watch
        self._painter = Painter(side)
        self._shown: list[str] = []
        self._frozen: dict[str, str] | None = None
        self._faults = 0
        self._limit = DrawLimit(_DRAW * 2 if environment.in_vscode() else _DRAW)
        self._cell = self._home = environment.cell()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._painting: asyncio.Task[None] | None = None
        self._pricing: asyncio.Task[None] | None = None
        self._due = self._sent_pictures = 0.0
        self._drawn_below = (-1, -1)
        """Files and thumbnails that the live card shows."""
        self._retired = False
        self.box: Any = None
        if widgets:
            with self._surviving_faults():
                self._make_box()
        weakref.finalize(watch, self._drop)
        self._retire_earlier()

    def _make_box(self) -> None:
        import ipywidgets

        self._body = ipywidgets.HTML()
        self._below = ipywidgets.HTML()
        self._says = ipywidgets.HTML(value=final_words([]))
        self._stop = ipywidgets.Button(
            description="Stop",
            tooltip="Stop watching. The task goes on and may be billed. Takes effect when the running cell ends.",
        )
        self._says.add_class("nbh-says")
        self._stop.add_class("nbh-stop")
        # The callback may come on a thread of the kernel's; it only asks, nothing is drawn from it.
        self._stop.on_click(lambda _: self._ask_stop())
        self.box = ipywidgets.VBox([self._body, self._below, self._stop, self._says])
        self.box.add_class("nbh-card")

    def _retire_earlier(self) -> None:
        """A cell that is run again drops the cards that its earlier run showed, each once it is over."""
        name, run = self._home
        if name is not None:
            for card in tuple(_cards):
                if card._home[0] == name and card._home[1] != run:  # noqa: SLF001
                    card.retire()
        _cards.add(self)

    def retire(self) -> None:
        """Close the widgets' models, at once or when the card is frozen: no output shows them any more."""
        self._retired = True
        if self.over:
            _close_all(self.box)

    def _drop(self) -> None:
        """Keep a few cards whose watch was garbage-collected: a page that was reloaded may still show them."""
        _dropped.append(self)
        while len(_dropped) > _KEPT:
            _dropped.popleft().retire()

    def _ask_stop(self) -> None:
        watch = self._watch
        if watch is not None:
            self._painter.stopping = True
            watch.stop("stopped with the card's button")
            self._wake()

    def _wake(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._changed.set)

    # In the cell

    def show(self) -> None:
        """Show the card under the running cell: live, or frozen once all tasks are over."""
        from IPython.display import display

        if self._frozen is not None:
            display(self._frozen, raw=True)
            return
        assert self._watch is not None
        ident = f"nbhelper-{uuid.uuid4().hex[:12]}"
        bundle: dict[str, Any] = {}
        with self._surviving_faults():
            bundle |= self._painter.bundle(self._watch, live=True, notes=self._as_of())
        if self.box is not None:
            with self._surviving_faults():
                self._draw_widget(self._watch)
                bundle[WIDGET] = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        bundle.setdefault("text/plain", repr(self._watch))
        self._shown.append(ident)
        display(bundle, raw=True, display_id=ident)

    def _as_of(self) -> list[str]:
        """Beside a widget, HTML and text stay as they were first: a file that is saved meanwhile says so."""
        if self.box is None:
            return []
        return [f"As of {datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z; a live card is not kept in the file until it is over."]

    def is_shown_here(self) -> bool:
        """Whether the running cell is the one that made this card, so that it need not be drawn again."""
        here, self._cell = self._cell, (None, None)
        return here[1] is not None and here == environment.cell()

    @property
    def over(self) -> bool:
        """Whether the card is frozen."""
        return self._frozen is not None

    def start(self) -> None:
        """Begin to follow the watch, in the cards' thread."""
        run_in_card_loop(self._follow())

    @contextmanager
    def _surviving_faults(self) -> Iterator[None]:
        """Log and count an exception of a drawing or of the front end's widgets; the watching goes on."""
        try:
            yield
        except Exception:
            self._faults += 1
            log.debug("drawing the card", exc_info=True)
        else:
            self._faults = 0

    # In the cards' thread

    async def _follow(self) -> None:
        watch = self._watch
        assert watch is not None
        self._loop = asyncio.get_running_loop()
        watch.on_change(self._wake)
        try:
            while not watch.done:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _CLOCK)
                self._changed.clear()
                self._draw(watch)
                await asyncio.sleep(self._limit.pause)
            await self._end(watch)
        finally:
            watch.off_change(self._wake)
            self._watch = None  # the handle may be dropped now, and with it the models
            if self._retired:
                _close_all(self.box)

    async def _end(self, watch: LiveWatch) -> None:
        """The last drawings: the end at once, costs and pictures as they come, then the frozen card."""
        self._faults = 0
        self._draw(watch)
        late = time.monotonic() + _LATE
        while (fetching := self._fetching()) and time.monotonic() < late:
            await asyncio.wait(fetching, timeout=_CLOCK)
            self._draw(watch)
        self._sent_pictures = 0.0
        self._draw(watch)
        if self.box is not None:
            await asyncio.sleep(_SPOKEN)
        frozen = {"text/plain": text_of(watch)}
        with self._surviving_faults():
            frozen = self._painter.bundle(watch, live=False)
        self._frozen = frozen
        with self._surviving_faults():
            self._update(frozen)

    def _draw(self, watch: LiveWatch) -> None:
        with self._limit.measured():
            if self._faults >= _GIVE_UP:
                return
            with self._surviving_faults():
                self._begin_fetching(watch)
                if self.box is not None:
                    self._draw_widget(watch)
                elif time.monotonic() >= self._due:
                    drawn = self._painter.bundle(watch, live=True)
                    self._update(drawn)
                    self._due = time.monotonic() + pause_after(drawn)

    def _draw_widget(self, watch: LiveWatch) -> None:
        histories = unique(watch.histories)
        scene = self._painter.scene(watch, histories, live=True)
        self._body.value = live_body(histories, scene)
        self._says.value = final_words(histories)
        now = time.monotonic()
        below = sum(len(h.saves) for h in histories), len(scene.thumbnails)
        if below != self._drawn_below and now - self._sent_pictures >= _CLOCK:
            self._below.value = live_below(histories, scene)
            self._drawn_below, self._sent_pictures = below, now
        if self._painter.stopping:
            self._stop.disabled = True
        if watch.done:
            self._stop.layout.display = "none"

    def _begin_fetching(self, watch: LiveWatch) -> None:
        """Have missing thumbnails made and missing costs read, each beside the drawing and one after another."""
        if _is_free(self._painting):
            paths = self._painter.find_unpainted(watch)
            self._painting = asyncio.create_task(self._paint(paths)) if paths else None
        if _is_free(self._pricing):
            ended = self._painter.find_unpriced(watch)
            self._pricing = asyncio.create_task(self._price(watch, ended)) if ended else None

    def _fetching(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._painting, self._pricing) if task is not None]

    async def _paint(self, paths: Sequence[Path]) -> None:
        for path in paths:
            await _in_thread(lambda path=path: self._painter.paint(path))  # type: ignore[misc]  # bound now
            self._painter.thumbnails.setdefault(path, "no preview")
            self._changed.set()

    async def _price(self, watch: LiveWatch, histories: Sequence[History]) -> None:
        await _in_thread(lambda: self._painter.fetch_costs(watch, histories))
        self._changed.set()

    def _update(self, bundle: dict[str, str]) -> None:
        """Replace every output that shows this card."""
        from IPython.display import update_display

        for ident in self._shown:
            update_display(bundle, raw=True, display_id=ident)


def _is_free(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()


async def _in_thread(call: Callable[[], object]) -> None:
    """Run a blocking function in a daemon thread of its own; an exception of it is dropped.

    No pool: a picture that hangs must hold neither another one nor the interpreter's end.
    """
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def work() -> None:
        with contextlib.suppress(Exception):  # a picture without a preview, a cost that stays unknown
            call()
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=work, name="nbhelper-card-data", daemon=True).start()
    await done.wait()


def _close_all(box: Any) -> None:
    """Close every model behind a box; layouts and styles are models of their own."""
    if box is None:
        return
    with contextlib.suppress(Exception):  # the kernel may be going down
        for widget in (*box.children, box):
            for model in (widget, getattr(widget, "style", None), widget.layout):
                if model is not None:
                    model.close()
