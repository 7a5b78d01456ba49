"""The watch on an experiment: a history for each task from the start, watched once the task is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._model.history import History
from .._session.session import Connection
from .._watching.engine import Engine
from .._watching.task_watcher import Identity, identity
from .._watching.watch import Watch
from .submission import Submission

if TYPE_CHECKING:
    import pandas as pd

    from .._store.store import Store


class ExperimentWatch(Watch):
    """A watch that has a history for each task of the grid before it is submitted, and watches it once it is made.

    `stop()` also stops submitting; a create whose answer is still to come is waited for, and its task is not watched.
    """

    def __init__(
        self,
        histories: Sequence[History],
        connections: Sequence[Connection],
        *,
        saving: bool,
        store: Store,
        submission: Submission | None,
        frame: Callable[[], pd.DataFrame],
        remarks: Sequence[str] = (),
    ) -> None:
        super().__init__(histories, connections, single=False, saving=saving, store=store)
        self._submission = submission
        self._frame = frame
        self._lines = tuple(remarks)
        self._stopped = ""
        for entry in self._entries.values():
            # There is nothing to look at in doubt, or at another address.
            is_elsewhere = entry.history.created and entry.history.origin != entry.connection.origin
            if is_elsewhere or (not entry.history.created and entry.history.outcome is not None):
                entry.over = True

    def _start(self, engine: Engine, store: Store, folder: Path | None, interval: float | None) -> None:
        super()._start(engine, store, folder, interval)
        self._attaching = (store, folder, interval)
        if self._submission is not None:
            self._submission.start(self, engine)

    @property
    def alive(self) -> int:
        """How many tasks are known to be made and not known to be over."""
        return sum(e.history.created and e.history.outcome is None and not e.over for e in self._entries.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that the card shows, such as that an API asks to wait."""
        of_submission = self._submission.notes() if self._submission is not None else []
        return (*super().notes, *of_submission)

    def history_at(self, key: Identity) -> History:
        """What is known of a task, sent or not."""
        return self._entries[key].history

    def take(self, key: Identity, history: History | None) -> None:
        """Put a history in the place of another; a task that was made is watched from then on."""
        if history is None:
            return
        with self._lock:
            entry = self._entries[key]
            entry.history = history
            made = identity(history)
            entry.over = self._complete(history) if history.created else history.outcome is not None
            if history.created and self._places.setdefault(made, key) != key:
                entry.over = True  # the API gave one task twice; the other one's entry watches it
            is_watched = history.created and not entry.over
            self._notify()
        if is_watched and self._engine is not None:
            store, folder, interval = self._attaching
            self._engine.attach(
                [(history, entry.connection)], self._listen, store=store, folder=folder, interval=interval
            )
            if self._stopped:
                with self._lock:
                    self._part([key], self._stopped)

    def touch(self) -> None:
        """Draw again: something changed that stands in no history."""
        with self._lock:
            self._notify()

    def stop(self, note: str = "stopped by hand") -> None:
        """Submit nothing more and stop watching; tasks that were made go on and may be billed."""
        self._stopped = self._stopped or note
        if self._submission is not None:
            self._submission.halt(note)
        super().stop(note)

    def to_frame(self, *, wait: bool = True) -> pd.DataFrame:
        """One row per task of the experiment, submitted or not, the columns of `nbhelper.tasks()`.

        Args:
            wait: Wait for the end first.
        """
        if wait:
            self.result()
        return self._frame()
