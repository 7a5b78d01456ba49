"""Saving the outputs of one task: one asyncio task per output, each of which records one `Saved`.

A link that is missing is asked for by the API's second request (`Resolve`); a link that died is asked for by one more
look at the task. An error in here is the output's own and never the task's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from .._model.events import Output, Saved, Snapshot
from .._model.misses import Miss, MissKind
from .._model.states import SaveState
from .._model.text import clean
from .._network.download_queue import DownloadQueue
from .._network.downloads import TaskFolder, save_bytes, save_link
from .._network.faults import Forbidden, Unreached
from .._network.gate import Gate
from .._network.http import Http
from .._providers.reader import read_link
from .._providers.templates import fill
from .._session.session import Connection
from .recording import Recorder

log = logging.getLogger("nbhelper")

_RESOLVE_PATIENCE = 600.0
"""Seconds for which the second request is repeated while it misses."""
_RESOLVE_PAUSE = 1.0
"""Seconds before its first repetition; each further pause is twice as long."""


@dataclass(frozen=True, slots=True)
class Network:
    """What saving needs of the engine's loop.

    Attributes:
        http: The clients.
        gate: Of the API's key, for second requests.
        download_queue: Shared by all downloads.
    """

    http: Http
    gate: Gate
    download_queue: DownloadQueue


class Saves:
    """The saves of one task.

    Args:
        connection: The API that names the outputs.
        network: Clients, gate and download queue.
        recorder: The task's history, which gets one `Saved` for each output.
        key: The task's identity, which its folder is named after.
        refresh: Looks at the task once more and returns the newest link of an output; None when there is none.
        on_end: Called when an output is saved or given up.

    Attributes:
        folder: Where results go; None while nobody wants them saved.
    """

    __slots__ = ("_connection", "_key", "_network", "_on_end", "_recorder", "_refresh", "_running", "folder")

    def __init__(
        self,
        connection: Connection,
        network: Network,
        recorder: Recorder,
        key: object,
        *,
        refresh: Callable[[str, str], Awaitable[str | None]],
        on_end: Callable[[], None],
    ) -> None:
        self.folder: Path | None = None
        self._connection = connection
        self._network = network
        self._recorder = recorder
        self._key = key
        self._refresh = refresh
        self._on_end = on_end
        self._running: dict[str, asyncio.Task[None]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether an output is still on its way."""
        return bool(self._running)

    @property
    def unsaved(self) -> list[Output]:
        """The outputs that are wanted and neither saved nor given up."""
        facts = self._recorder.history.facts
        return [o for name, o in facts.outputs.items() if name not in facts.saves] if self.folder is not None else []

    @property
    def _task_folder(self) -> TaskFolder:
        assert self.folder is not None
        task = self._recorder.history.task
        return TaskFolder.of(self.folder, task.provider, task.label or task.id, repr(self._key))

    def start(self) -> None:
        """Begin to save the outputs that have a link or a reference and are not on their way yet."""
        for output in self.unsaved:
            if output.name not in self._running and (output.ref or output.name in self._recorder.links):
                task = asyncio.create_task(self._save(output), name=f"save {output.name}")
                self._running[output.name] = task
                task.add_done_callback(partial(self._ended, output.name))

    def _ended(self, name: str, _: asyncio.Task[None]) -> None:
        del self._running[name]
        self._on_end()

    async def keep_bytes(self, seen: Snapshot | Miss) -> tuple[Snapshot | Miss | Saved, ...]:
        """What a look gave, with the bytes that came inside the reply on the disk before their row is."""
        if self.folder is None or not isinstance(seen, Snapshot):
            return (seen,)
        inline = [o for o in seen.outputs if o.data is not None]
        if not inline:
            return (seen,)
        known = self._recorder.history.saves
        saves = [await asyncio.to_thread(save_bytes, self._task_folder, o) for o in inline if o.name not in known]
        # What could not be written stays in memory, the only place where it still is.
        saved = {s.name for s in (*known.values(), *saves) if s.state is SaveState.SAVED}
        outputs = tuple(replace(o, data=None) if o.name in saved else o for o in seen.outputs)
        return (replace(seen, outputs=outputs), *saves)

    async def go_on(self) -> bool:
        """Save what an earlier watch left, by the links that the store kept; whether each has a link."""
        for output in self.unsaved:
            await self._recorder.read_link(output.name)
        self.start()
        return all(output.name in self._running for output in self.unsaved)

    async def give_up(self) -> None:
        """Say of each output that has no file that there is none."""
        for output in self.unsaved:
            words = "it was not saved" if output.url or output.ref else "it was delivered once, in a reply that is gone"
            await self._recorder.record(_failed(output, words))

    async def cancel(self) -> None:
        """Cancel what is on its way; the next process goes on with the parts on the disk."""
        running = tuple(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _save(self, output: Output) -> None:
        try:
            saved = await self._fetch(output)
        except Exception as error:
            log.exception("saving %s", output.name)
            saved = _failed(output, f"nbhelper itself failed: {type(error).__name__}: {clean(error, 200)}")
        await self._recorder.record(saved)

    async def _fetch(self, output: Output) -> Saved:
        known = self._recorder.links.get(output.name)
        link = known if known is not None else await self._resolve(output)
        if isinstance(link, Miss):
            return _failed(output, clean(link))
        resolve = self._connection.provider.resolve
        lifetime = output.lifetime or (resolve.lifetime if output.ref and resolve else None)

        async def refresh() -> str | None:
            if not output.ref:
                return await self._refresh(output.name, link)
            newer = await self._resolve(output)
            return newer if isinstance(newer, str) else None

        return await save_link(
            self._network.http,
            self._network.download_queue,
            self._task_folder,
            replace(output, url=link, lifetime=lifetime),
            connection=self._connection,
            refresh=refresh,
        )

    async def _resolve(self, output: Output) -> str | Miss:
        """The link behind a reference, by the API's second request, repeated while it misses."""
        provider = self._connection.provider
        if provider.resolve is None or output.ref is None:
            return Miss(kind=MissKind.BAD_REQUEST, message="this provider has no second request for a reference")
        request = fill(provider.resolve.request, {"ref": output.ref})
        begun, wait, refusals = time.monotonic(), _RESOLVE_PAUSE, 0
        while True:
            async with self._network.gate.passing():
                try:
                    reply = await self._network.http.api(self._connection, request)
                except Unreached as error:
                    answer: str | Miss = Miss(kind=MissKind.NETWORK, message=clean(error))
                except Forbidden as error:
                    answer = Miss(kind=MissKind.REFUSED, message=clean(error))
                else:
                    answer = read_link(provider, reply, (self._connection.key.reveal(),))
                self._network.gate.judge(answer, provider.floor)
            if isinstance(answer, str):
                return answer
            refusals += answer.kind not in {MissKind.NETWORK, MissKind.SERVER, MissKind.RATE_LIMITED}
            if refusals >= 4 or time.monotonic() - begun > _RESOLVE_PATIENCE:
                return answer
            await asyncio.sleep(max(wait, answer.retry_after or 0.0) * (1 + 0.2 * random.random()))  # noqa: S311
            wait = min(wait * 2, 30.0)


def _failed(output: Output, message: str) -> Saved:
    return Saved(name=output.name, state=SaveState.FAILED, kind=output.kind, message=message)
