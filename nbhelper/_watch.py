"""What `watch()` returns: a handle on one poller per task, for waiting, iterating, tables and stopping.

The handle only listens. Its timeout and `stop()` are its own: another handle on the same task goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._engine import Engine
from ._errors import BadInput, StoreError, WatchTimeout
from ._filter import Filter
from ._folder import FILE
from ._history import History
from ._page import alarm, need_a_thread
from ._poller import Identity, Poller, identity
from ._session import Connection
from ._text import clean
from ._values import Event, Mark, MarkWord, Miss, Outcome, Seen, Snapshot, State, Task
from ._waiting import Bell, undisturbed

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from ._gallery import Gallery
    from ._prices import Cost, Price
    from ._store import Store

_SLICE = 0.2
"""Seconds of one wait: short, so that an interrupt is felt at once and a view is drawn."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One event of one of the watched tasks.

    Attributes:
        history: The task's history up to and including it.
        event: What was seen.
    """

    history: History
    event: Event

    @property
    def task(self) -> Task:
        """Which task."""
        return self.history.task

    @property
    def at(self) -> datetime:
        """When, UTC."""
        return self.event.at

    @property
    def seen(self) -> Seen:
        """What."""
        return self.event.seen

    def __repr__(self) -> str:
        return f"<Observation {self.task} {self.event!r}>"


@dataclass(slots=True)
class _Entry:
    """One watched task of a handle."""

    history: History
    connection: Connection
    begun: int
    """Events that were there before."""
    over: bool = False
    next_at: datetime | None = None
    note: str = ""
    elsewhere: bool = False
    """Whether another process looks at it."""
    parting: bool = False
    """Whether this handle has asked to hear no more of it."""


class Watch:
    """One or many tasks being watched. `result()` waits, `await w` waits, `stop()` ends the watching.

    `len(w)`, `w[0]` and iteration go by the order the tasks were given in, duplicates included.
    """

    def __init__(
        self,
        histories: Sequence[History],
        connections: Sequence[Connection],
        *,
        single: bool,
        saving: bool,
        store: Store | None,
        again: bool = False,
    ) -> None:
        self._single = single
        self._saving = saving
        self._again = again
        self._lines: tuple[str, ...] = ()
        self._store = store
        # Not a condition: nobody waits here, so no interrupt can leave it held against the engine.
        self._lock = threading.RLock()
        self._calls: list[Callable[[], None]] = []
        self._entries: dict[Identity, _Entry] = {}
        self._order: list[Identity] = []
        self._places: dict[Identity, Identity] = {}
        """Where a task stands that took a place which had waited for it."""
        self._timer: threading.Timer | asyncio.TimerHandle | None = None
        self._engine: Engine | None = None
        self._once = False
        self._show: Callable[[Watch], Any] | None = None
        self._card: Any = None
        for history, connection in zip(histories, connections, strict=True):
            key = place_of(history)
            self._order.append(key)
            if key not in self._entries:
                self._entries[key] = _Entry(history, connection, len(history.events), over=self._complete(history))

    def _complete(self, history: History) -> bool:
        """Whether a stored history needs no look: final, and its files saved or not wanted."""
        final = history.state is not None and history.state.final
        return final and (not self._saving or (history.settled and not (self._again and history.missing)))

    def _going(self) -> list[str]:
        """The rows of the tasks that are not over."""
        return [entry.history.uid for entry in self._entries.values() if not entry.over]

    # Wired up by watch()

    def _start(self, engine: Engine, store: Store, folder: Path | None, interval: float | None) -> None:
        self._engine = engine
        todo = [(e.history, e.connection) for e in self._entries.values() if not e.over and e.history.created]
        if todo:
            engine.attach(todo, self._listen, store=store, folder=folder, interval=interval)

    def _limit(self, seconds: float) -> None:
        """End this handle's watching after so many seconds; 0 is after one look."""
        if self.done:
            return
        if seconds == 0:
            with self._lock:
                self._once = True
                for key in self._entries:
                    self._part_after_look(key)
        elif seconds <= threading.TIMEOUT_MAX:  # 292 years
            self._timer = alarm(seconds, lambda: self.stop(f"the watch's timeout of {seconds:g} s is over"))

    def _part_after_look(self, key: Identity) -> None:
        entry = self._entries[key]
        if not self._once or entry.history.outcome is not None:
            return
        if any(isinstance(e.seen, Snapshot | Miss) for e in entry.history.events[entry.begun :]):
            self._part([key], "timeout=0 is one look")

    def _listen(self, poller: Poller) -> None:
        """Take in a poller's news; called in the engine's thread, so it never blocks and never draws."""
        with self._lock:
            key = self._places.get(poller.key, poller.key)
            entry = self._entries[key]
            entry.history = poller.history
            entry.over = entry.over or poller.over
            entry.note = poller.note
            entry.elsewhere = poller.elsewhere
            if len(self._entries) == 1:
                entry.next_at = poller.next_at
            self._part_after_look(key)
            self._notify()

    def _notify(self) -> None:
        if self._timer is not None and all(e.over for e in self._entries.values()):
            self._timer.cancel()
        for call in tuple(self._calls):
            call()

    # State

    @property
    def histories(self) -> tuple[History, ...]:
        """Everything seen so far, one history per place in the list that was given."""
        return tuple(self._entries[key].history for key in self._order)

    @property
    def done(self) -> bool:
        """Whether every task has its outcome and every result is saved or given up."""
        return all(entry.over for entry in self._entries.values())

    @property
    def failed(self) -> tuple[History, ...]:
        """Those that ended in any other way than success, `lost` and `stopped` included."""
        return tuple(h for h in self.histories if h.outcome not in {None, Outcome.SUCCEEDED})

    @property
    def folder(self) -> Path | None:
        """Where histories and files are kept."""
        return self._store.folder if self._store is not None else None

    @property
    def nothing(self) -> str:
        """What is told of a watch without tasks: where unfinished ones were looked for."""
        if self._store is None:
            return "Nothing to resume."
        folder = clean(self._store.folder, 300)
        there = (self._store.folder / FILE).exists()
        return f"Nothing to resume in {folder}." if there else f"Nothing to resume: {folder} holds no history yet."

    @property
    def emulated(self) -> bool:
        """Whether an emulator answers."""
        return any(entry.connection.emulated for entry in self._entries.values())

    @property
    def elsewhere(self) -> frozenset[str]:
        """The rows of the tasks that another notebook looks at; this watch shows what that one sees."""
        return frozenset(e.history.uid for e in self._entries.values() if e.elsewhere and not e.over)

    @property
    def next_look(self) -> float | None:
        """Seconds until the next look at a task watched alone; None for many, and when there is none to come."""
        entries = list(self._entries.values())
        if len(entries) != 1 or entries[0].over or entries[0].next_at is None:
            return None
        return max(0.0, (entries[0].next_at - datetime.now(UTC)).total_seconds())

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth showing besides the tasks, such as a full disk or another key; nothing most of the time."""
        of_store = self._store.notes if self._store is not None else ()
        return tuple(dict.fromkeys((*of_store, *self._lines, *(e.note for e in self._entries.values() if e.note))))

    def costs(self, histories: Sequence[History]) -> list[Cost]:
        """Amount, currency and source for each of some histories, by the prices known now, as `tasks()` has them."""
        from ._price_list import PRICES, known_prices
        from ._prices import costs
        from ._summary_row import summary_row

        told: dict[str, dict[str, Any]] = {}
        prices: Sequence[Price] = PRICES
        if self._store is not None:
            with suppress(StoreError):  # what was set cannot be read; the published prices hold
                prices = known_prices(self._store.prices())
                stored = self._store.rows(Filter(uids=tuple(h.uid for h in histories)))
                told = {row["uid"]: {name: row[name] for name in ("endpoint", "model")} for row in stored}
        return costs([summary_row(h, **told.get(h.uid, {})) for h in histories], prices)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every saved file so far, absolute."""
        return tuple(dict.fromkeys(f for h in self.histories for f in h.files))

    def images(self) -> list[Image]:
        """The saved pictures, opened with Pillow; files that are no pictures are left out."""
        from PIL import Image, UnidentifiedImageError

        opened: list[Image.Image] = []
        for path in self.files:
            if path.suffix in {".png", ".jpg", ".webp", ".gif", ".avif"}:
                try:
                    picture = Image.open(path, formats=("PNG", "JPEG", "WEBP", "GIF", "AVIF"))
                except (UnidentifiedImageError, OSError):
                    continue
                opened.append(picture)
        return opened

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> History:
        return self._entries[self._order[index]].history

    def __iter__(self) -> Iterator[History]:
        return iter(self.histories)

    # Waiting

    def result(self, timeout: float | None = None) -> Any:
        """The history, or the list of them, when all is over.

        Args:
            timeout: Seconds this call waits; the watch itself goes on.

        Raises:
            WatchTimeout: The wait is over first.
        """
        limit = checked_seconds(timeout, "timeout")
        self._wait(lambda: self.done, limit)
        return self._value()

    def _value(self) -> History | list[History]:
        return self[0] if self._single else list(self.histories)

    def _wait(self, ready: Callable[[], bool], limit: float | None) -> None:
        """Sleep until something holds; interrupted, say what goes on."""
        try:
            self._sleep(ready, limit)
        except KeyboardInterrupt:
            # An impatient second interrupt may come anywhere in here, and must not swallow what a person needs now: no
            # context manager, whose own code it could fall into.
            said = False
            while not said:
                try:
                    with undisturbed():
                        print(self._interrupted())  # noqa: T201  # the one line
                        said = True
                except KeyboardInterrupt:
                    pass
            raise

    def _sleep(self, ready: Callable[[], bool], limit: float | None) -> None:
        """Sleep in short slices until something holds, drawing what the waiting place can draw."""
        from time import monotonic

        if not ready():
            need_a_thread("Waiting here")
        ends = None if limit is None else monotonic() + limit
        with self._drawing() as draw, self._ringing() as bell:
            while True:
                left = _SLICE if ends is None else min(_SLICE, ends - monotonic())
                if not ready() and left > 0:
                    bell.wait(left)
                over = ready()
                draw()
                if over:
                    return
                if ends is not None and monotonic() >= ends:
                    with self._lock:
                        if ready():
                            return
                        raise WatchTimeout(self._late(limit))

    @contextmanager
    def _ringing(self) -> Iterator[Bell]:
        """A bell that rings after each change."""
        bell = Bell()
        self.on_change(bell.ring)
        try:
            yield bell
        finally:
            self.off_change(bell.ring)

    @contextmanager
    def _drawing(self) -> Iterator[Callable[[], None]]:
        """The text view while somebody waits; no view, no output."""
        show, self._show = self._show, None  # a wait inside a wait does not draw twice
        if show is None:
            yield lambda: None
            return
        try:
            with show(self) as draw:
                yield draw
        finally:
            self._show = None if self.done else show  # once it stands there whole, another wait adds no copy

    def _interrupted(self) -> str:
        going = [e.history.created for e in self._entries.values() if not e.over]
        unsent = going.count(False)
        rest = f", {unsent} still to be submitted" if unsent else ""
        return (
            f"Interrupted the wait; {_tasks(going.count(True))} still watched{rest} in the background. w.result() "
            f"waits again, w.stop() ends the {'submitting and ' if unsent else ''}watching; the tasks themselves go on "
            "and may be billed."
        )

    def _late(self, limit: float | None) -> str:
        going = [e.history for e in self._entries.values() if not e.over]
        first = going[0]
        what = (
            f"{first.task} is {first.state or 'not seen yet'}" if len(going) == 1 else f"{_tasks(len(going))} not over"
        )
        return f"After {limit:g} s {what}. The watch goes on: call result() again any time."

    def __await__(self) -> Generator[Any, None, Any]:
        return self._async_result().__await__()

    async def _async_result(self) -> History | list[History]:
        with self._waking() as changed, self._drawing() as draw:
            while not self.done:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _SLICE)
                changed.clear()
                draw()
            draw()
        return self._value()

    @contextmanager
    def _waking(self) -> Iterator[asyncio.Event]:
        """An event of whichever loop asks, set after each change."""
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # whoever asked may have closed that loop meanwhile
                loop.call_soon_threadsafe(event.set)

        self.on_change(wake)
        try:
            yield event
        finally:
            self.off_change(wake)

    def on_change(self, call: Callable[[], None]) -> None:
        """Call something after each change, in the engine's thread: it must be quick and must not draw."""
        with self._lock:
            self._calls.append(call)

    def off_change(self, call: Callable[[], None]) -> None:
        """Take that back."""
        with self._lock:
            self._calls.remove(call)

    def as_completed(self) -> Completed:
        """The histories as they end, for `for` and for `async for`."""
        return Completed(self)

    async def events(self) -> AsyncGenerator[Observation, None]:
        """Each observation from the beginning of this watch on, until all is over."""
        position = {key: entry.begun for key, entry in self._entries.items()}
        with self._waking() as changed:
            while True:
                over = self.done
                for key, entry in self._entries.items():
                    history = entry.history
                    while position[key] < len(history.events):
                        event = history.events[position[key]]
                        position[key] += 1
                        upto = history
                        if position[key] < len(history.events):
                            past = history.events[: position[key]]
                            upto = History.of(history.task, past, origin=history.origin, uid=history.uid)
                        yield Observation(upto, event)
                if over:
                    return
                await changed.wait()
                changed.clear()

    def stop(self, note: str = "stopped by hand") -> None:
        """Stop watching; the tasks go on and may be billed, and files already on their way are still saved."""
        with self._lock:
            self._part([k for k, entry in self._entries.items() if not entry.over and entry.history.created], note)

    def _part(self, keys: Sequence[Identity], note: str) -> None:
        """Ask the engine to let go of some tasks, once."""
        going = [key for key in keys if not self._entries[key].parting]
        for key in going:
            self._entries[key].parting = True
        if self._engine is not None and going:
            tasks = [identity(self._entries[key].history) for key in going]
            self._engine.detach(tasks, self._listen, note).add_done_callback(lambda _: self._leave(going, note))

    def _leave(self, keys: Sequence[Identity], note: str) -> None:
        """This handle is done with these; of tasks that others still watch it says that it stopped, they did not."""
        with self._lock:
            for key in keys:
                entry = self._entries[key]
                if not entry.over:
                    if entry.history.outcome is None:
                        entry.history = entry.history.add(Mark(word=MarkWord.STOPPED, note=note), datetime.now(UTC))
                    entry.over = True
            self._notify()

    # Tables

    def to_frame(self, *, wait: bool = True) -> pd.DataFrame:
        """One row per task, the columns of `nbhelper.tasks()`.

        Args:
            wait: Wait for the end first, so that "Run All" gives the same table as running cell by cell.
        """
        from . import _analysis

        if wait:
            self.result()
        return _analysis.to_frame(list(self._unique()))

    def summary(self, by: str | Sequence[str] = ("provider", "model"), *, wait: bool = True) -> pd.DataFrame:
        """Counts, success rate, times and cost per group, as `nbhelper.summary`."""
        from . import _analysis

        return _analysis.summary(self.to_frame(wait=wait), by=by)

    def gallery(self, row: str | None = None, col: str | None = None, size: int = 256, *, wait: bool = True) -> Gallery:
        """The saved pictures in a grid, as `nbhelper.gallery`."""
        from . import _analysis

        return _analysis.gallery(self.to_frame(wait=wait), row, col, size)

    def _unique(self) -> Iterator[History]:
        return (entry.history for entry in self._entries.values())

    def drawn_as(self, card: Any) -> None:
        """What shows this watch in a notebook: something with `shown_here()` and `show()`."""
        self._card = card

    def _ipython_display_(self) -> None:
        """Draw the card again in a later cell; the cell that made it has it already."""
        if self._card is None:
            print(repr(self))  # noqa: T201  # what a notebook shows of a value that has no card
        elif not self._card.shown_here():
            self._card.show()

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for history in self._unique():
            word = str(history.outcome or history.state or (State.QUEUED if history.created else "unsent"))
            counts[word] = counts.get(word, 0) + 1
        if not self._entries:
            return "<Watch nothing to resume>"
        if self._single:
            return f"<Watch {self[0].task} {next(iter(counts))}>"
        return f"<Watch {_tasks(len(self._entries))}: {', '.join(f'{n} {word}' for word, n in counts.items())}>"


class Completed:
    """The histories of a watch in the order of their ends; iterate with `for` or `async for`."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._given: set[Identity] = set()

    def _next(self) -> History | None:
        for key, entry in self._watch._entries.items():  # noqa: SLF001  # one thought in two classes
            if entry.over and key not in self._given:
                self._given.add(key)
                return entry.history
        return None

    def _all(self) -> bool:
        return len(self._given) == len(self._watch._entries)  # noqa: SLF001

    def _any(self) -> bool:
        return any(e.over and k not in self._given for k, e in self._watch._entries.items())  # noqa: SLF001

    def __iter__(self) -> Iterator[History]:
        while not self._all():
            self._watch._wait(self._any, None)  # noqa: SLF001
            while (history := self._next()) is not None:
                yield history

    async def __aiter__(self) -> AsyncGenerator[History, None]:
        with self._watch._waking() as changed:  # noqa: SLF001
            while True:
                while (history := self._next()) is not None:
                    yield history
                if self._all():
                    return
                await changed.wait()
                changed.clear()


def place_of(history: History) -> Identity:
    """Where a history stands: by its task's identity, or by our own name while there is no task yet."""
    return identity(history) if history.created else (history.task.provider, history.origin, history.uid, ())


def checked_seconds(value: object, name: str) -> float | None:
    """Seconds or None.

    Raises:
        BadInput: Negative, not a finite number, or of another type.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{name} is seconds or None, not {type(value).__name__}.")
    if not 0 <= value < 1e300:
        raise BadInput(f"{name} is zero or more seconds, or None for no limit.")
    return float(value)


def _tasks(n: int) -> str:
    return f"{n} task" if n == 1 else f"{n} tasks"
