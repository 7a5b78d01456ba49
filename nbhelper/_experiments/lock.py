"""One process and one run at a time submits an experiment."""

from __future__ import annotations

import threading
from pathlib import Path

from .._model.errors import BadInput
from .._model.text import clean
from .._network.http import CREATE_DEADLINE
from .._store.file import explain
from .._store.locks import lock_file
from .._watching.engine import engine
from .._watching.waiting import result_of
from .submission import Submission

_held: dict[tuple[Path, str], Lock] = {}
"""By this process; a later run takes over from an earlier one."""
_turn = threading.Lock()


class Lock:
    """Lets nobody else submit this experiment: an earlier run of this process ends, another process is in the way.

    It ends with its process, however that ends. On Windows other processes are not kept out.

    Attributes:
        submission: What is done under it, for a later run to end.

    Raises:
        BadInput: Another process is submitting it.
        StoreError: The store's folder cannot be locked.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.submission: Submission | None = None
        self._key = folder, name
        self._file, self._name = lock_file(folder), f"experiment {name}"
        with _turn:
            # A forked child has its parent's `_held`, and none of its locks.
            earlier = _held.get(self._key) if self._file.holds(self._name) else None
            if earlier is not None and earlier.submission is not None:
                result_of(engine().run(earlier.submission.finish("run again", CREATE_DEADLINE)))
            try:  # taking twice would give it twice to one process
                taken = not self._file.holds(self._name) and self._file.take(self._name)
            except OSError as error:
                raise explain(error, folder) from None
            if not taken:
                shown = clean(name, 60)
                raise BadInput(
                    f'"{shown}" is being submitted by another process. Wait for it, or stop it there; '
                    f'nbhelper.tasks(experiment="{shown}") shows how far it is.',
                )
            _held[self._key] = self

    def release(self) -> None:
        """Let others; a second call does nothing."""
        if _held.get(self._key) is self:
            del _held[self._key]
            self._file.release(self._name)
