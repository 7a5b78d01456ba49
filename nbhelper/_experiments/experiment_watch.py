"""The watch on an experiment: a place for each task from the start, and the tasks as they are made."""

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
    """A watch whose places are there from the start, and whose tasks come as they are made.

    `stop()` also stops submitting; creates that are on their way are waited for, and not watched any further.
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
            # In doubt, or made at another address: there is nothing to look at.
            unreachable = entry.history.created and entry.history.origin != entry.connection.origin
            if unreachable or (not entry.history.created and entry.history.outcome is not None):
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
        """Trouble worth showing, such as an API that asks to wait."""
        going = self._submission.notes() if self._submission is not None else []
        return (*super().notes, *going)

    def history_at(self, key: Identity) -> History:
        """What is known of a place."""
        return self._entries[key].history

    def take(self, key: Identity, history: History | None) -> None:
        """What stands at a place from now on; a task that was made is watched."""
        if history is None:
            return
        with self._lock:
            entry = self._entries[key]
            entry.history = history
            ours = identity(history)
            entry.over = self._complete(history) if history.created else history.outcome is not None
            if history.created and self._places.setdefault(ours, key) != key:
                entry.over = True  # the API gave one task twice; the other place watches it
            watching = history.created and not entry.over
            self._notify()
        if watching and self._engine is not None:
            store, folder, interval = self._attaching
            self._engine.attach(
                [(history, entry.connection)], self._listen, store=store, folder=folder, interval=interval
            )
            if self._stopped:
                with self._lock:
                    self._part([key], self._stopped)

    def touch(self) -> None:
        """Draw again: something changed that no history tells."""
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
