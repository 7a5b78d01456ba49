"""One process looks at a task, however many notebooks watch it; the others read what it writes.

The one that looks holds a lock on the row's uid, see `_locks.py`. The others read the store once a second, and try to
lock: so another process takes over about a second after the first one stopped watching, ended or was killed.
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
"""Seconds between two readings of what another process has written."""


class Leases:
    """Which tasks of one store this process looks at; used by the engine's loop only.

    Args:
        store: Its folder has the lock file, its rows tell what other processes have seen.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file = lock_file(store.folder)
        self._held: set[str] = set()
        self._following: dict[str, tuple[int, asyncio.Future[bool]]] = {}
        self._reading: asyncio.Task[None] | None = None

    def take(self, uid: str) -> bool:
        """Become the one that looks at a task, if no other process does; it never waits.

        Where nothing can be locked this process looks all the same: its watch is worth more than the look saved.
        """
        try:
            taken = self._file.take(uid)
        except OSError:
            taken = True
        if taken:
            self._held.add(uid)
        return taken

    def holds(self, uid: str) -> bool:
        """Whether this process is the one that looks."""
        return uid in self._held

    def release(self, uid: str) -> None:
        """Let another process look; a second call does nothing."""
        if uid in self._held:
            self._held.discard(uid)
            self._file.release(uid)

    def close(self) -> None:
        """Release everything and follow nothing: the engine ends."""
        if self._reading is not None:
            self._reading.cancel()
        for uid in tuple(self._held):
            self.release(uid)

    async def follow(self, uid: str, seq: int) -> bool:
        """Wait until another process wrote more than `seq` events of a task, or looks at it no more.

        Returns:
            Whether it looks no more, and this process has the lease now.
        """
        news: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._following[uid] = seq, news
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        try:
            return await news
        finally:
            del self._following[uid]

    async def _read(self) -> None:
        """Tell those who follow: one reading of the store a tick for all of them."""
        while self._following:
            asked = dict(self._following)
            try:
                last = await asyncio.to_thread(self._store.last_seqs, tuple(asked))
            except StoreError:
                last = {}  # the next reading may succeed
            except Exception as error:  # noqa: BLE001 - a fault of ours belongs to whoever waits
                for _, news in asked.values():
                    if not news.done():
                        news.set_exception(error)
                return
            self._tell(asked, last)
            await asyncio.sleep(TICK)

    def _tell(self, asked: Mapping[str, tuple[int, asyncio.Future[bool]]], last: Mapping[str, int]) -> None:
        for uid, (seq, news) in asked.items():
            if news.done():  # its follower was cancelled
                continue
            if self.take(uid):
                news.set_result(True)
            elif last.get(uid, 0) > seq:
                news.set_result(False)
