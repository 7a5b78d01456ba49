"""One daemon thread with one private event loop: looking and saving go on while any cell computes.

An asyncio task on the kernel's own loop would get no turn during a blocking cell. The thread and everything that is
handed to it start in an empty context, so that nothing in here belongs to the cell that happened to start it.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from .._model.errors import StoreError
from .._model.history import History
from .._network.download_queue import DownloadQueue
from .._network.gate import Gate
from .._network.http import Http
from .._session.session import Connection
from .._store.leases import Leases
from .looks import Looks
from .past import Past
from .saving import Network
from .task_watcher import Identity, Listener, TaskWatcher, identity

if TYPE_CHECKING:
    from .._store.store import Store

T = TypeVar("T")
_EXIT = 1.5
"""Seconds that leaving the interpreter may take."""
_THREADS = 8
_LAST_SAVES = 3.0
"""Seconds that downloads may still take when the emulator closes."""


class Sender(Protocol):
    """A submission that runs in the engine's loop, such as an experiment's."""

    emulated: bool

    @property
    def left(self) -> int:
        """Number of tasks that are not submitted yet."""

    async def finish(self, note: str, patience: float) -> None:
        """Submit nothing more; wait `patience` seconds for the answers of creates under way."""


class Engine:
    """Owns all network activity of this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.watchers: dict[Identity, TaskWatcher] = {}
        self.senders: set[Sender] = set()
        self._gates: dict[tuple[str, int], Gate] = {}
        self._leases: WeakValueDictionary[Store, Leases] = WeakValueDictionary()  # the watchers have them
        self._looks: dict[tuple[str, str, int], Looks] = {}
        self._pasts: dict[tuple[Path, str, str], Past] = {}
        self._reading = threading.Lock()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._http: Http
        self._download_queue: DownloadQueue
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="nbhelper", daemon=True)
        contextvars.Context().run(self._thread.start)
        self._ready.wait()
        if self._fault is not None:
            raise self._fault

    def _main(self) -> None:
        # Free-threaded Python hands its starter's context to a thread, so it is emptied once more in here.
        contextvars.Context().run(self._serve)

    def _serve(self) -> None:
        self._loop = asyncio.SelectorEventLoop() if os.name != "nt" else asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        try:
            # Its own threads for files and names: few of them, and known to be there before `_at_the_end` is asked.
            self._loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="nbhelper"))
            self._http = Http()
            self._download_queue = DownloadQueue()
        except BaseException as error:  # noqa: BLE001  # told to whoever asked for the engine
            self._fault = error
            self._loop.close()
            return
        finally:
            self._ready.set()
        self._loop.run_forever()
        with contextlib.suppress(Exception):
            self._loop.run_until_complete(self._http.close())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    # From other threads

    def soon(self, call: Callable[..., object], *args: object) -> None:
        """Run a plain function inside the loop, in a context of its own."""
        self._loop.call_soon_threadsafe(call, *args, context=contextvars.Context())

    def later(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Run a plain function inside the loop after so many seconds; the function returned here cancels that."""
        timers: list[asyncio.TimerHandle] = []

        def begin() -> None:
            timers.append(self._loop.call_later(seconds, call))

        def cancel() -> None:
            for timer in timers:
                timer.cancel()

        self.soon(begin)
        return lambda: self.soon(cancel)  # after `begin`: the loop takes calls in their order

    def run(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine inside the loop."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def begin() -> None:
            task = asyncio.ensure_future(coroutine)
            task.add_done_callback(lambda done: _pass_on(done, future))

        self.soon(begin)
        return future

    @property
    def alive(self) -> bool:
        """Whether the thread still serves this process; a forked child has no thread."""
        return self.pid == os.getpid() and self._thread.is_alive()

    def attach(
        self,
        histories: Iterable[tuple[History, Connection]],
        listener: Listener,
        *,
        store: Store,
        folder: Path | None,
        interval: float | None,
    ) -> None:
        """Let a listener follow tasks; each is watched by one `TaskWatcher`, however many listen."""
        watched = tuple(histories)
        apis = {(history.task.provider, history.origin) for history, _ in watched}
        pasts = {api: self._past(store, *api) for api in apis}
        models = _models(store, [history.uid for history, _ in watched])

        def begin() -> None:
            for past in pasts.values():
                past.name(models)
            for history, connection in watched:
                past = pasts[history.task.provider, history.origin]
                self._follow(history, connection, listener, store, folder, interval, past)

        self.soon(begin)

    def detach(self, keys: Iterable[Identity], listener: Listener, note: str) -> concurrent.futures.Future[None]:
        """Take a listener away; a task that nobody listens to any more is looked at no more."""
        left = tuple(keys)

        async def leave() -> None:
            watchers = [watcher for key in left if (watcher := self.watchers.get(key)) is not None]
            await asyncio.gather(*(watcher.leave(listener, note) for watcher in watchers))

        return self.run(leave())

    def watched(self, *, emulated: bool) -> int:
        """How many tasks are being watched at real APIs, or at the emulator."""
        watchers, senders = tuple(self.watchers.values()), tuple(self.senders)
        waiting = sum(sender.left for sender in senders if sender.emulated is emulated)
        return waiting + sum(not w.is_over and w.connection.emulated is emulated for w in watchers)

    def drop_emulated(self, origin: str) -> None:
        """End what is watched at the emulator, which is about to close."""

        async def drop() -> None:
            senders = [s for s in self.senders if s.emulated]
            await asyncio.gather(*(s.finish("the emulator was closed", _LAST_SAVES) for s in senders))
            gone = [w for w in self.watchers.values() if w.connection.emulated and not w.is_over]
            await asyncio.gather(*(w.end("the emulator was closed", _LAST_SAVES) for w in gone))
            await self._http.leave(origin)

        with contextlib.suppress(concurrent.futures.TimeoutError):
            self.run(drop()).result(10)

    def close(self) -> None:
        """End the thread; what is unfinished stays unfinished in the store."""
        if not self.alive:
            return

        async def leave() -> None:
            await asyncio.gather(*(s.finish("the process ended", _EXIT / 2) for s in tuple(self.senders)))
            await asyncio.gather(*(w.abandon() for w in self.watchers.values()))
            for leases in self._leases.values():
                leases.close()

        with contextlib.suppress(concurrent.futures.TimeoutError, RuntimeError):
            self.run(leave()).result(_EXIT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_EXIT)

    # Inside the loop

    def http(self) -> Http:
        """The clients of this loop."""
        return self._http

    def gate(self, connection: Connection) -> Gate:
        """The gate of one key at one origin."""
        key = (connection.origin, hash(connection.key))
        if key not in self._gates:
            self._gates[key] = Gate(connection.provider.looks_per_second)
        return self._gates[key]

    def leases(self, store: Store) -> Leases:
        """The leases of one store."""
        return self._leases.setdefault(store, Leases(store))

    def _past(self, store: Store, provider: str, origin: str) -> Past:
        """Durations of an API's tasks: read from the store at first use, kept up as tasks end."""
        key = (store.folder, provider, origin)
        with self._reading:
            if key not in self._pasts:
                try:
                    self._pasts[key] = Past.read(store, provider, origin)
                except StoreError:  # looking goes on without
                    return Past()
            return self._pasts[key]

    def looks(self, connection: Connection) -> Looks:
        """The looks with one key at one API."""
        key = (connection.provider.name, connection.base_url, hash(connection.key))
        if key not in self._looks or self._looks[key].connection != connection:  # registered or connected anew
            self._looks[key] = Looks(connection, self._http, self.gate(connection))
        return self._looks[key]

    def _follow(
        self,
        history: History,
        connection: Connection,
        listener: Listener,
        store: Store,
        folder: Path | None,
        interval: float | None,
        past: Past,
    ) -> None:
        key = identity(history)
        before = watcher = self.watchers.get(key)
        if watcher is None or watcher.is_over:
            watcher = TaskWatcher(
                history if before is None else before.history,
                connection,
                key=key,
                network=Network(self._http, self.gate(connection), self._download_queue),
                looks=self.looks(connection),
                past=past,
                store=store,
                leases=self.leases(store),
                ended=self._forget,
            )
            if before is not None:
                watcher.timetable.not_before = before.timetable.not_before
            self.watchers[key] = watcher
        watcher.join(listener, folder, interval)

    def _forget(self, watcher: TaskWatcher) -> None:
        """Finished watchers are dropped: ten thousand finished histories live in the store, not here.

        One that the server did not end stays for as long as the floor after its last look: a watch may begin anew.
        """

        def drop() -> None:
            if self.watchers.get(watcher.key) is watcher:
                del self.watchers[watcher.key]

        final = watcher.history.state is not None and watcher.history.state.final
        self._loop.call_later(0 if final else watcher.connection.provider.floor * 1.02, drop)


def _models(store: Store, uids: list[str]) -> dict[str, str]:
    try:
        return store.models(uids)
    except StoreError:  # looking goes on without
        return {}


def _pass_on(done: asyncio.Future[T], future: concurrent.futures.Future[T]) -> None:
    if future.cancelled():
        return
    if done.cancelled():
        future.cancel()
        return
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())


_engine: Engine | None = None
_lock = threading.Lock()


def engine() -> Engine:
    """The engine of this process, started at first use; a forked child gets one of its own."""
    global _engine  # noqa: PLW0603  # one per process is the point
    with _lock:
        if _engine is None or not _engine.alive:
            _engine = Engine()
            _at_the_end(_engine.close)
        return _engine


def _at_the_end(close: Callable[[], None]) -> None:
    """Run `close` before Python joins its worker threads, which it does long before `atexit` functions run.

    A download that finished in between would find no thread to finish its file, and be recorded as failed for ever.
    """
    register = getattr(threading, "_register_atexit", atexit.register)  # what concurrent.futures itself uses
    try:
        register(close)
    except RuntimeError:  # Python is ending already
        atexit.register(close)


def watched_real() -> int:
    """How many tasks are being watched at real APIs; starts nothing."""
    return _engine.watched(emulated=False) if _engine is not None and _engine.alive else 0


def drop_emulated(origin: str) -> None:
    """End what is watched at the emulator; starts nothing."""
    if _engine is not None and _engine.alive:
        _engine.drop_emulated(origin)
