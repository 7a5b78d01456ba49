"""Leases: of several processes that watch one task, one polls the API, the others read its events from the store.

The process that polls has locked the uid of the task's row, see `locks.py`. The others read the store once a second,
and try to lock the uid: one of them takes over about a second after the first one stopped watching, ended or was
killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .._model.errors import StoreError
from .locks import lock_file

if TYPE_CHECKING:
    from .store import Store

TICK = 1.0
"""Seconds between two readings of the last events' numbers."""


class Leases:
    """The tasks of one store that this process has locked, and those that it follows; for the engine's loop only.

    Args:
        store: The store whose folder has the lock file, and whose rows other processes write.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file = lock_file(store.folder)
        self._held: set[str] = set()
        self._following: dict[str, tuple[int, asyncio.Future[bool]]] = {}
        self._reading: asyncio.Task[None] | None = None

    def take(self, uid: str) -> bool:
        """Lock a task without waiting; False while another process has it.

        Where the file system has no locks this returns True: that two processes poll is better than that none does.
        """
        try:
            taken = self._file.take(uid)
        except OSError:
            taken = True
        if taken:
            self._held.add(uid)
        return taken

    def holds(self, uid: str) -> bool:
        """Whether this process has locked a task."""
        return uid in self._held

    def release(self, uid: str) -> None:
        """Unlock a task; a second call does nothing."""
        if uid in self._held:
            self._held.discard(uid)
            self._file.release(uid)

    def close(self) -> None:
        """Unlock all tasks and stop reading the store, as the engine ends."""
        if self._reading is not None:
            self._reading.cancel()
        for uid in tuple(self._held):
            self.release(uid)

    async def follow(self, uid: str, seq: int) -> bool:
        """Wait until another process has written an event with a number above `seq`, or has unlocked the task.

        Returns:
            True when the task was unlocked, and this process has locked it now.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._following[uid] = seq, future
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        try:
            return await future
        finally:
            del self._following[uid]

    async def _read(self) -> None:
        """Every `TICK`, read the number of the last event of each followed task, and resolve futures."""
        while self._following:
            followed = dict(self._following)
            try:
                last = await asyncio.to_thread(self._store.last_seqs, tuple(followed))
            except StoreError:
                last = {}  # the next reading may succeed
            except Exception as error:  # noqa: BLE001 - raised in `follow`, which waits for the future
                for _, future in followed.values():
                    if not future.done():
                        future.set_exception(error)
                return
            self._resolve(followed, last)
            await asyncio.sleep(TICK)

    def _resolve(self, followed: Mapping[str, tuple[int, asyncio.Future[bool]]], last: Mapping[str, int]) -> None:
        for uid, (seq, future) in followed.items():
            if future.done():  # its follower was cancelled
                continue
            if self.take(uid):
                future.set_result(True)
            elif last.get(uid, 0) > seq:
                future.set_result(False)
