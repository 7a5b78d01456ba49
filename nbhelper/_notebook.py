"""The card in a Jupyter front end: a live widget that turns into static HTML, or HTML alone where nobody watches live.

From the engine's thread only traits and display-id updates are sent: no print, no `display`, no `Output`, which would
land in whatever cell ran last. A fault while drawing is logged and never reaches the polling.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _environment
from ._card import card, final_words, live_below, live_body
from ._card_scene import Money, Scene
from ._card_tiles import PICTURES
from ._engine import engine
from ._history import History
from ._preview import Thumbnail, can_preview, previewer
from ._terminal import detail, state_of, took, word_of
from ._text import clean
from ._values import SaveState

if TYPE_CHECKING:
    from ._watch import Watch

log = logging.getLogger("nbhelper")
WIDGET = "application/vnd.jupyter.widget-view+json"
_DRAW = 0.25
"""Seconds between two pushes of the body; VS Code's rendering is slower, so twice that there."""
_SHARE = 1 / 20
"""Of a core's time, what drawing may take: a card of very many tasks is drawn less often."""
_SLOWEST = 2.0
"""Seconds between two pushes of the body, at most."""
_CLOCK = 1.0
"""Seconds between two pushes when nothing changed but the clock, and between two pushes of the pictures."""
_BYTES = 50_000
"""Bytes a second of an output without widgets: it is sent whole, pictures and all, so less often the heavier it is."""
_SPOKEN = 1.0
"""Seconds that the live card stays after the end, so that a screen reader finds what it was told."""
_LATE = 30.0
"""Seconds that a card waits for thumbnails after the end."""
_GIVE_UP = 5
"""Faults in a row after which drawing stops; watching goes on."""
_KEPT = 20
"""Finished cards whose handle is gone, and whose models stay for a page that was reloaded meanwhile."""
_in_cell: dict[str, list[LiveCard]] = {}
_dropped: deque[LiveCard] = deque()


def available() -> bool:
    """Whether ipywidgets can be had and a front end is there to show it."""
    if _environment.kernel() is None:
        return False
    try:
        import ipywidgets  # noqa: F401
    except ImportError:
        return False
    return True


# What is drawn


def histories_of(watch: Watch) -> list[History]:
    """Each task once, in the order given."""
    return list({_name(h): h for h in watch.histories}.values())


def _name(history: History) -> str:
    return history.uid or str(history.task)


class Painter:
    """What a card keeps between two drawings of one watch: thumbnails, what each finished task cost, where it is."""

    def __init__(self, side: int | None) -> None:
        self.side = side
        self.thumbnails: dict[Path, Thumbnail | str] = {}
        self.stopping = False
        self._base = Path.cwd()  # links are relative to the notebook, wherever a later cell changes to
        self._costs: dict[str, tuple[History, tuple[float | None, str | None]]] = {}

    def scene(self, watch: Watch, histories: Sequence[History], *, live: bool, notes: Sequence[str] = ()) -> Scene:
        """What a drawing needs besides the histories."""
        return Scene(
            now=datetime.now(UTC),
            thumbnails=dict(self.thumbnails),
            money=self.money(watch, histories),
            folder=self._folder(watch.folder),
            base=self._base,
            live=live,
            emulated=watch.emulated,
            next_look=watch.next_look,
            elsewhere=watch.elsewhere,
            previews=self.side is not None,
            notes=(*watch.notes, *notes),
            nothing="" if histories else watch.nothing,
            stopping=self.stopping,
        )

    def money(self, watch: Watch, histories: Sequence[History]) -> Money:
        """Credits as the servers state them, cost as `tasks()` has it; what nobody knows is counted, not zero."""
        known = [h.credits for h in histories if h.credits is not None]
        over = [h for h in histories if h.outcome is not None]
        self._learn(watch, over)
        cost: dict[str, float] = {}
        unknown = 0
        for history in over:
            amount, currency = self._costs[_name(history)][1]
            if amount is not None and currency is not None:
                cost[currency] = cost.get(currency, 0.0) + amount
            else:
                unknown += 1
        return Money(sum(known) if known else None, cost, unknown)

    def _learn(self, watch: Watch, over: Sequence[History]) -> None:
        """What each task that is over cost, asked once for each word about it."""
        new = [h for h in over if self._costs.get(_name(h), (None,))[0] is not h]
        for history, (amount, currency, _) in zip(new, watch.costs(new) if new else (), strict=True):
            self._costs[_name(history)] = history, (amount, currency)

    def _folder(self, folder: Path | None) -> str:
        if folder is None:
            return ""
        with contextlib.suppress(ValueError):  # another drive
            relative = os.path.relpath(folder, self._base)
            return relative if not relative.startswith("..") else str(folder)
        return str(folder)

    def bundle(self, watch: Watch, *, live: bool, notes: Sequence[str] = ()) -> dict[str, str]:
        """The whole card as HTML and as text."""
        histories = histories_of(watch)
        text = "\n".join((text_of(histories) or watch.nothing, *notes))
        return {"text/html": card(histories, self.scene(watch, histories, live=live, notes=notes)), "text/plain": text}

    def missing(self, watch: Watch) -> list[Path]:
        """The saved pictures that have no thumbnail yet, as many as one card shows."""
        if self.side is None:
            return []
        saved = (s for h in histories_of(watch) for s in h.saves.values() if s.state is SaveState.SAVED and s.file)
        wanted = [path for path in dict.fromkeys(Path(str(s.file)) for s in saved) if can_preview(path)]
        return [path for path in wanted[:PICTURES] if path not in self.thumbnails]

    def paint(self, path: Path) -> None:
        """Make one thumbnail; blocks."""
        assert self.side is not None
        self.thumbnails[path] = previewer().thumbnail(path, self.side)


def text_of(histories: Sequence[History]) -> str:
    """The card in plain text: what a saved notebook says where no HTML is shown; nothing of no task."""
    now = datetime.now(UTC)
    lines: list[str] = []
    for history in histories[:50]:
        more = detail(history, now)
        name = f" ({clean(history.task.label, 60)})" if history.task.label else ""
        task = clean(history.task, 100) if history.created else history.task.provider
        lines.append(f"{task}{name}: {word_of(history)}{took(history, now)}{f', {more}' if more else ''}")
    if (rest := len(histories) - 50) > 0:
        lines.append(f"and {rest} more")
    return "\n".join(lines)


# Headless: HTML by display id, drawn by the cell that waits


@contextmanager
def html_view(watch: Watch, side: int | None) -> Iterator[Callable[[], None]]:
    """One HTML output without any widget, updated while the cell waits, and complete when it ends."""
    from IPython.display import display, update_display

    ident = f"nbhelper-{uuid.uuid4().hex[:12]}"
    painter = Painter(side)
    watched_live = _environment.place() != "headless"  # in a log, each update would be one more line
    display(painter.bundle(watch, live=True), raw=True, display_id=ident)
    said: list[object] = [None]
    due = [time.monotonic() + _CLOCK]

    def draw() -> None:
        if time.monotonic() < due[0]:
            return
        states = [(state_of(h), len(h.saves)) for h in watch.histories]
        if watched_live or states != said[0]:
            said[0] = states
            drawn = painter.bundle(watch, live=True)
            update_display(drawn, raw=True, display_id=ident)
            due[0] = time.monotonic() + _rest(drawn)

    def freeze() -> None:
        frozen = painter.bundle(watch, live=False)
        update_display(frozen, raw=True, display_id=ident)
        watch.drawn_as(Drawn(frozen))

    try:
        yield draw
        late = time.monotonic() + _LATE
        for path in painter.missing(watch):
            if time.monotonic() < late:
                painter.paint(path)
    finally:
        freeze()


def _rest(bundle: dict[str, str]) -> float:
    """Seconds until an output of this size may be sent again."""
    return max(_CLOCK, sum(map(len, bundle.values())) / _BYTES)


class Drawn:
    """A card that is over: shown again in later cells, not in the one that drew it."""

    def __init__(self, bundle: dict[str, str]) -> None:
        self._bundle = bundle
        self._cell = _environment.cell()

    def shown_here(self) -> bool:
        """Whether the running cell has it already."""
        here, self._cell = self._cell, (None, None)
        return here[1] is not None and here == _environment.cell()

    def show(self) -> None:
        """Show it under the running cell."""
        from IPython.display import display

        display(self._bundle, raw=True)


def still(watch: Watch) -> Drawn:
    """The card of a watch that has nothing to do."""
    bundle = Painter(None).bundle(watch, live=False)
    return Drawn(bundle | {"text/plain": "\n".join((bundle["text/plain"], *watch.notes))})


# Live: a widget that freezes


class LiveCard:
    """Five widgets for any number of tasks: a box, the body, what is below, the spoken end, Stop.

    Without widgets it is one HTML output that is updated by its display id.
    """

    def __init__(self, watch: Watch, side: int | None, *, widgets: bool = True) -> None:
        self._watch: Watch | None = watch
        self._painter = Painter(side)
        self._shown: list[str] = []
        self._frozen: dict[str, str] | None = None
        self._faults = 0
        self._least = _DRAW * 2 if _environment.in_vscode() else _DRAW
        self._pause = self._least
        self._cell = self._home = _environment.cell()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._making: asyncio.Task[None] | None = None
        self._due = self._sent_pictures = 0.0
        self._drawn_below = (-1, -1)
        """Files and thumbnails that the live card shows."""
        self._retired = False
        self.box: Any = None
        if widgets:
            with self._bearing():
                self._make_box()
        weakref.finalize(watch, self._drop)
        self._succeed()

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
        self.box.add_class("nbh")

    def _succeed(self) -> None:
        """A cell that is run again drops the cards that its earlier run showed, each once it is over."""
        name, count = self._home
        if name is None:
            return
        mine = [self]
        for card_ in _in_cell.get(name, ()):
            if card_._home[1] == count:  # noqa: SLF001  # one of several in this run
                mine.insert(-1, card_)
            else:
                card_.retire()
        _in_cell[name] = mine

    def retire(self) -> None:
        """Close the models, now or at the end: what showed them is gone."""
        self._retired = True
        if self.over:
            _close_all(self.box)

    def _drop(self) -> None:
        """The handle is gone. A page that was reloaded may still show the widget, so a few are kept."""
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
            with contextlib.suppress(RuntimeError):  # the engine has ended meanwhile
                self._loop.call_soon_threadsafe(self._changed.set)

    # In the cell

    def show(self) -> None:
        """Show it under the running cell: live, or frozen once all is over."""
        from IPython.display import display

        if self._frozen is not None:
            display(self._frozen, raw=True)
            return
        assert self._watch is not None
        ident = f"nbhelper-{uuid.uuid4().hex[:12]}"
        bundle: dict[str, Any] = {}
        with self._bearing():
            bundle |= self._painter.bundle(self._watch, live=True, notes=self._as_of())
        if self.box is not None:
            with self._bearing():
                self._draw_widget()
                bundle[WIDGET] = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        bundle.setdefault("text/plain", repr(self._watch))
        self._shown.append(ident)
        display(bundle, raw=True, display_id=ident)

    def _as_of(self) -> list[str]:
        """Beside a widget, HTML and text stay as they were first: a file that is saved meanwhile says so."""
        if self.box is None:
            return []
        return [f"As of {datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z; a live card is not kept in the file until it is over."]

    def shown_here(self) -> bool:
        """Whether the running cell is the one that made this card, so that it need not be drawn again."""
        here, self._cell = self._cell, (None, None)
        return here[1] is not None and here == _environment.cell()

    @property
    def over(self) -> bool:
        """Whether it is frozen."""
        return self._frozen is not None

    def start(self) -> None:
        """Begin to follow the watch, in the engine's loop."""
        engine().run(self._follow())

    @contextmanager
    def _bearing(self) -> Iterator[None]:
        """Whatever a front end's machinery raises, watching goes on."""
        try:
            yield
        except Exception:  # whatever it is, it is only a drawing
            self._faults += 1
            log.debug("drawing the card", exc_info=True)
        else:
            self._faults = 0

    # In the engine's loop

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
                await asyncio.sleep(self._pause)
            await self._end(watch)
        finally:
            watch.off_change(self._wake)
            self._watch = None  # the handle may be dropped now, and with it the models
            if self._retired:
                _close_all(self.box)

    async def _end(self, watch: Watch) -> None:
        """The last drawings: the end at once, the pictures as soon as they are there, then the frozen card."""
        self._faults = 0
        self._draw(watch)
        late = time.monotonic() + _LATE
        while self._making is not None and time.monotonic() < late:
            await asyncio.wait([self._making], timeout=_CLOCK)
            self._draw(watch)
        self._sent_pictures = 0.0
        self._draw(watch)
        if self.box is not None:
            await asyncio.sleep(_SPOKEN)
        frozen = {"text/plain": text_of(histories_of(watch)) or watch.nothing}
        with self._bearing():
            frozen = self._painter.bundle(watch, live=False)
        self._frozen = frozen
        with self._bearing():
            self._update(frozen)

    def _draw(self, watch: Watch) -> None:
        begun = time.thread_time()  # not the clock on the wall: a busy machine makes no drawing dearer
        if self._faults < _GIVE_UP:
            with self._bearing():
                self._begin_pictures(watch)
                if self.box is not None:
                    self._draw_widget()
                elif time.monotonic() >= self._due:
                    drawn = self._painter.bundle(watch, live=True)
                    self._update(drawn)
                    self._due = time.monotonic() + _rest(drawn)
        self._pause = min(_SLOWEST, max(self._least, (time.thread_time() - begun) / _SHARE))

    def _draw_widget(self) -> None:
        watch = self._watch
        assert watch is not None
        histories = histories_of(watch)
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

    def _begin_pictures(self, watch: Watch) -> None:
        """Have the missing thumbnails made, one after another, beside the drawing."""
        if self._making is not None and not self._making.done():
            return
        new = self._painter.missing(watch)
        self._making = asyncio.create_task(self._make(new)) if new else None

    async def _make(self, paths: Sequence[Path]) -> None:
        for path in paths:
            await _in_thread(lambda path=path: self._painter.paint(path))  # type: ignore[misc]  # bound now
            self._painter.thumbnails.setdefault(path, "no preview")
            self._changed.set()

    def _update(self, bundle: dict[str, str]) -> None:
        """Replace every output that shows this card."""
        from IPython.display import update_display

        for ident in self._shown:
            update_display(bundle, raw=True, display_id=ident)


async def _in_thread(call: Callable[[], object]) -> None:
    """Run something slow in a thread of its own.

    The loop's own few threads write results to disk; a picture that hangs must not hold one of them, nor the
    interpreter's end.
    """
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def work() -> None:
        with contextlib.suppress(Exception):  # a picture without a preview
            call()
        with contextlib.suppress(RuntimeError):  # the engine has ended meanwhile
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=work, name="nbhelper-preview", daemon=True).start()
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
