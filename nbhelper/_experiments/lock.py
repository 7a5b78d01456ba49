"""One process, and one run in it, submits an experiment at a time."""

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
"""The locks of this process by folder and experiment; a later run takes one over from an earlier run."""
_taking = threading.Lock()


class Lock:
    """A lock on the name of an experiment in a store: taking it ends an earlier run of this process.

    The kernel frees it when the process ends, however that ends. On Windows other processes are not kept out.

    Attributes:
        submission: The submission that goes on under the lock, for a later run to end.

    Raises:
        BadInput: Another process is submitting it.
        StoreError: The store's folder cannot be locked.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.submission: Submission | None = None
        self._key = folder, name
        self._file, self._name = lock_file(folder), f"experiment {name}"
        with _taking:
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
        """Free the lock; a second call does nothing."""
        if _held.get(self._key) is self:
            del _held[self._key]
            self._file.release(self._name)
