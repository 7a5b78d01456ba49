"""`Watch`, which `watch()` returns: a handle on one `TaskWatcher` per task, to wait, iterate, tabulate and stop.

A handle is a listener. Its timeout and `stop()` are its own: another handle on the same task goes on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from .._model.events import Mark
from .._model.history import History
from .._model.states import MarkWord, Outcome, State
from .._model.text import clean, count_tasks
from .._session.session import Connection
from .._store.folder import FILE
from .engine import Engine
from .observations import Observation, observations_after
from .task_watcher import Identity, TaskWatcher, identity
from .waiting import Completed, Waiting, checked_seconds

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from .._store.store import Store
    from .._tables.prices import Cost
    from .._views.gallery import Gallery


@dataclass(slots=True)
class _Entry:
    """One watched task of a handle."""

    history: History
    connection: Connection
    begun: History
    """The history as it was before this watch."""
    over: bool = False
    next_at: datetime | None = None
    note: str = ""
    elsewhere: bool = False
    """Whether another process looks at it."""
    parting: bool = False
    """Whether this handle has asked to hear no more of it."""


class Watch(Waiting):
    """One or many tasks being watched. `result()` waits, `await w` waits, `stop()` ends the watching.

    `len(w)`, `w[0]`, `w[0:2]` and iteration go by the order the tasks were given in, duplicates included.
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
        super().__init__()
        self._single = single
        self._saving = saving
        self._again = again
        self._lines: tuple[str, ...] = ()
        self._store = store
        self._entries: dict[Identity, _Entry] = {}
        self._order: list[Identity] = []
        self._places: dict[Identity, Identity] = {}
        """The key in `_entries` of a task that was created after the watch began."""
        self._cancel_timeout: Callable[[], None] | None = None
        self._engine: Engine | None = None
        self._once = False
        self._card: Any = None
        for history, connection in zip(histories, connections, strict=True):
            key = place_of(history)
            self._order.append(key)
            if key not in self._entries:
                self._entries[key] = _Entry(history, connection, history, over=self._complete(history))

    def _complete(self, history: History) -> bool:
        return is_complete(history, saving=self._saving, again=self._again)

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
        with self._lock:
            if self.done or self._engine is None:
                return
            if seconds == 0:
                self._once = True
                for key in self._entries:
                    self._part_after_look(key)
                return
            note = f"the watch's timeout of {seconds:g} s is over"
            self._cancel_timeout = self._engine.later(seconds, lambda: self.stop(note))

    def _part_after_look(self, key: Identity) -> None:
        entry = self._entries[key]
        if not self._once or entry.history.outcome is not None:
            return
        if entry.history.facts.polls != entry.begun.facts.polls:
            self._part([key], "timeout=0 is one look")

    def _listen(self, watcher: TaskWatcher) -> None:
        """Take in what a task's watcher has seen; called in the engine's thread, so it never blocks and never draws."""
        with self._lock:
            key = self._places.get(watcher.key, watcher.key)
            entry = self._entries[key]
            entry.history = watcher.history
            entry.over = entry.over or watcher.is_over
            entry.note = watcher.note
            entry.elsewhere = watcher.is_elsewhere
            if len(self._entries) == 1:
                entry.next_at = watcher.next_at
            self._part_after_look(key)
            self._notify()

    def _notify(self) -> None:
        if self._cancel_timeout is not None and self.done:
            self._cancel_timeout()
            self._cancel_timeout = None
        super()._notify()

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
        """The line of a watch without tasks: in which folder unfinished ones were looked for."""
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
        from .._tables.history_costs import costs_of

        return costs_of(histories, self._store)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every saved file so far, absolute."""
        return tuple(dict.fromkeys(f for h in self.histories for f in h.files))

    def images(self) -> list[Image]:
        """The saved pictures, opened with Pillow; files that are no pictures, or were deleted, are left out.

        No file stays open: Pillow decodes from memory, so there may be more pictures than files that may be open.
        """
        from .._views.pictures import load_pictures

        return load_pictures(self.files)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> History: ...
    @overload
    def __getitem__(self, index: slice) -> list[History]: ...
    def __getitem__(self, index: int | slice) -> History | list[History]:
        if isinstance(index, slice):
            return [self._entries[key].history for key in self._order[index]]
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

    def _interrupted(self) -> str:
        going = [e.history.created for e in self._entries.values() if not e.over]
        unsent = going.count(False)
        rest = f", {unsent} still to be submitted" if unsent else ""
        return (
            f"Interrupted the wait; {count_tasks(going.count(True))} still watched{rest} in the background. w.result() "
            f"waits again, w.stop() ends the {'submitting and ' if unsent else ''}watching; the tasks themselves go on "
            "and may be billed."
        )

    def _late(self, limit: float | None) -> str:
        going = [e.history for e in self._entries.values() if not e.over]
        first = going[0]
        what = (
            f"{first.task} is {first.state or 'not seen yet'}"
            if len(going) == 1
            else f"{count_tasks(len(going))} not over"
        )
        return f"After {limit:g} s {what}. The watch goes on: call result() again any time."

    def __await__(self) -> Generator[Any, None, Any]:
        return self._async_result().__await__()

    async def _async_result(self) -> History | list[History]:
        await self._until_done()
        return self._value()

    def as_completed(self) -> Completed:
        """The histories as they end, for `for` and for `async for`."""
        return Completed(self, self._ended, len(self._entries))

    def _ended(self) -> Iterator[tuple[Identity, History]]:
        """Key and history of each task that is over so far."""
        return ((key, entry.history) for key, entry in self._entries.items() if entry.over)

    async def events(self) -> AsyncGenerator[Observation, None]:
        """Each observation from the beginning of this watch on, in order, until all is over."""
        known = {key: entry.begun for key, entry in self._entries.items()}
        with self._waking() as changed:
            while True:
                is_over = self.done
                for key, entry in self._entries.items():
                    async for observation in observations_after(known[key], entry.history, self._store):
                        known[key] = observation.history
                        yield observation
                if is_over:
                    return
                await changed.wait()
                changed.clear()

    def stop(self, note: str = "stopped by hand") -> None:
        """Stop watching; the tasks go on and may be billed, and files already on their way are still saved."""
        with self._lock:
            self._part([k for k, entry in self._entries.items() if not entry.over and entry.history.created], note)

    def _part(self, keys: Sequence[Identity], note: str) -> None:
        """Stop listening to some tasks, once."""
        going = [key for key in keys if not self._entries[key].parting]
        for key in going:
            self._entries[key].parting = True
        if self._engine is not None and going:
            tasks = [identity(self._entries[key].history) for key in going]
            self._engine.detach(tasks, self._listen, note).add_done_callback(lambda _: self._leave(going, note))

    def _leave(self, keys: Sequence[Identity], note: str) -> None:
        """Mark tasks as stopped for this handle alone, when other handles go on watching them."""
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
        from .._tables import verbs

        if wait:
            self.result()
        return verbs.to_frame(list(self._unique()))

    def summary(self, by: str | Sequence[str] = ("provider", "model"), *, wait: bool = True) -> pd.DataFrame:
        """Counts, success rate, times and cost per group, as `nbhelper.summary`."""
        from .._tables import verbs

        return verbs.summary(self.to_frame(wait=wait), by=by)

    def gallery(self, row: str | None = None, col: str | None = None, size: int = 256, *, wait: bool = True) -> Gallery:
        """The saved pictures in a grid, as `nbhelper.gallery`."""
        from .._tables import verbs

        return verbs.gallery(self.to_frame(wait=wait), row, col, size)

    def _unique(self) -> Iterator[History]:
        return (entry.history for entry in self._entries.values())

    def keep_card(self, card: Any) -> None:
        """Set the card of this watch in a notebook: an object with `is_shown_here()` and `show()`."""
        self._card = card

    def _ipython_display_(self) -> None:
        """Draw the card again in a later cell; the cell that made it has it already."""
        if self._card is None:
            print(repr(self))  # noqa: T201  # what a notebook shows of a value that has no card
        elif not self._card.is_shown_here():
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
        return f"<Watch {count_tasks(len(self._entries))}: {', '.join(f'{n} {word}' for word, n in counts.items())}>"


def is_complete(history: History, *, saving: bool, again: bool = False) -> bool:
    """Whether a stored history needs no look: final, and its files saved or not wanted.

    Args:
        history: What the store has.
        saving: Whether files are wanted.
        again: Whether to try once more what could not be saved.
    """
    final = history.state is not None and history.state.final
    return final and (not saving or (history.settled and not (again and history.missing)))


def place_of(history: History) -> Identity:
    """The key of a history in a watch: its task's identity, or its row while the task is not created yet."""
    return identity(history) if history.created else (history.task.provider, history.origin, history.uid, ())
