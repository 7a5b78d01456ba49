"""One at a time submits an experiment, whatever happens to the others."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from pathlib import Path

from ._engine import engine
from ._errors import BadInput
from ._http import CREATE_DEADLINE
from ._submission import Submission
from ._text import clean
from ._waiting import result_of

_held: dict[tuple[Path, str], Lock] = {}
"""By this process; a later run takes over from an earlier one."""
_turn = threading.Lock()


class Lock:
    """Lets nobody else submit this experiment: an earlier run of this process ends, another process is in the way.

    The lock is the file's, not ours, so it goes when its process does, however that ends.

    Attributes:
        submission: What is done under it, for a later run to end.

    Raises:
        BadInput: Another process is submitting it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.submission: Submission | None = None
        self._key = folder, name
        with _turn:
            earlier = _held.get(self._key)
            if earlier is not None and earlier.submission is not None:
                result_of(engine().run(earlier.submission.finish("run again", CREATE_DEADLINE)))
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
            self._file = os.open(folder / f".experiment-{digest}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._file)
                shown = clean(name, 60)
                raise BadInput(
                    f'"{shown}" is being submitted by another process. Wait for it, or stop it there; '
                    f'nbhelper.tasks(experiment="{shown}") shows how far it is.',
                ) from None
            _held[self._key] = self

    def release(self) -> None:
        """Let others; a second call does nothing."""
        if _held.get(self._key) is self:
            del _held[self._key]
            fcntl.flock(self._file, fcntl.LOCK_UN)  # also for a child that was forked meanwhile
            os.close(self._file)
