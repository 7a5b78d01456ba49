"""Submitting many tasks in the background, in their order, never more tasks alive than `concurrency`.

Runs in the engine's loop. A create that a server refused for its rate limit was not made and is sent again; a create
that may have been made never is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from .._model.errors import BadInput, MissingAPIKey, StoreError
from .._model.events import Mark
from .._model.misses import Miss
from .._model.states import MarkWord
from .._model.text import clean
from .._session.session import Connection
from .._submitting import send
from .._submitting.create_limit import CreateLimit
from .._watching.engine import Engine
from .._watching.task_watcher import Identity

if TYPE_CHECKING:
    from .._model.history import History
    from .._store.store import Store
    from .grid import Repetition

log = logging.getLogger("nbhelper")


@dataclass(slots=True)
class PlannedCreate:
    """One task to submit.

    Attributes:
        repetition: Of which cell, and which one.
        key: The key of its history in the watch.
        position: In the order of submitting.
        prepare: Checks the create once more, reading its files.
        connection: Key and address it is sent with.
        uid: The row it has already, from an earlier try.
        request_id: What makes that try safe to repeat.
        may_have_left: Whether it may have left this machine.
        doubt: What an earlier try met that may have made the task.
    """

    repetition: Repetition
    key: Identity
    position: int
    prepare: Callable[[], send.PreparedCreate]
    connection: Connection
    uid: str | None = None
    request_id: str | None = None
    may_have_left: bool = False
    doubt: Miss | None = None

    def leaving(self) -> None:
        """From now on the request may have left this machine."""
        self.may_have_left = True


class WatchedTasks(Protocol):
    """What a submission needs of the watch on its experiment: the history of each task, and a call at each change."""

    @property
    def alive(self) -> int:
        """How many tasks are known to be made and not known to be over."""

    def history_at(self, key: Identity) -> History:
        """What is known of a task, sent or not."""

    def take(self, key: Identity, history: History | None) -> None:
        """Put a history in the place of another; a task that was made is watched from then on."""

    def touch(self) -> None:
        """Draw again: something changed that stands in no history."""

    def on_change(self, call: Callable[[], None]) -> None:
        """Call `call` after each change."""

    def off_change(self, call: Callable[[], None]) -> None:
        """Do not call `call` any more."""


class Submission:
    """Sends the creates of one experiment, in their order, never more tasks alive than `concurrency`.

    Attributes:
        emulated: Whether an emulator answers.
        ended: Set when nothing more will be sent and every answer is in.
        started: Whether `start` was called.
    """

    def __init__(
        self,
        creates: Sequence[PlannedCreate],
        *,
        store: Store,
        concurrency: int,
        experiment: str,
        done: Callable[[], None],
        recent: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._store = store
        self._concurrency = concurrency
        self._experiment = experiment
        self._done = done
        self._limits: dict[tuple[str, str, int], CreateLimit[PlannedCreate]] = {}
        now = time.monotonic()
        for create in creates:
            where, name = create.connection, create.connection.provider.name
            key = (name, where.origin, hash(where.key))
            if key not in self._limits:
                # What another process sent a moment ago counts too.
                earlier = deque(now - seconds_ago for seconds_ago in sorted((recent or {}).get(name, ()), reverse=True))
                self._limits[key] = CreateLimit(name, where.provider.create_limit, begun=earlier)
            self._limits[key].waiting.append(create)
        self.emulated = any(create.connection.emulated for create in creates)
        self.ended = asyncio.Event()
        self.started = False
        self._halted = ""
        self._flying: dict[asyncio.Task[None], PlannedCreate] = {}
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: Engine
        self._watch: WatchedTasks

    @property
    def left(self) -> int:
        """How many tasks are still to be submitted."""
        return sum(len(limit.waiting) for limit in self._limits.values()) + len(self._flying)

    def notes(self) -> list[str]:
        """Lines for the card: APIs that ask to wait, and those where nothing more is submitted."""
        now = time.monotonic()
        closed = [f"{limit.closed}; nothing more is submitted there" for limit in self._limits.values() if limit.closed]
        return [*closed, *filter(None, (limit.note(now) for limit in self._limits.values()))]

    def start(self, watch: WatchedTasks, engine: Engine) -> None:
        """Begin to submit, in the engine's loop."""
        self._watch, self._engine, self.started = watch, engine, True
        engine.run(self._run())

    def halt(self, note: str) -> None:
        """Submit nothing more; from any thread."""
        self._halted = self._halted or note
        self._wake()

    async def finish(self, note: str, patience: float) -> None:
        """Submit nothing more and wait `patience` seconds for answers; creates without one by then are in doubt."""
        self.halt(note)
        if self._flying:
            await asyncio.wait(self._flying, timeout=patience)
        for task in tuple(self._flying):
            task.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), 1.0)

    def _wake(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the engine has ended meanwhile
                self._loop.call_soon_threadsafe(self._changed.set)

    # In the loop

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine.senders.add(self)
        self._watch.on_change(self._wake)
        try:
            await self._work()
        except Exception as error:  # a fault of ours must not leave anybody waiting
            log.exception("submitting")
            self._halted = f"nbhelper itself failed: {type(error).__name__}: {clean(error, 200)}"
        finally:
            self._watch.off_change(self._wake)
            self._engine.senders.discard(self)
            self._done()
            self.ended.set()
            self._give_up()

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            wait = None
            if self._halted:
                self._cancel_unsent()
            else:
                wait = self._send_some()
            waiting = any(limit.waiting for limit in self._limits.values())
            if not self._flying and (self._halted or not waiting):
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)

    def _cancel_unsent(self) -> None:
        """Cancel the creates that wait for their turn at the gate and have not left this machine."""
        for task, create in self._flying.items():
            if not create.may_have_left:
                task.cancel()

    def _send_some(self) -> float | None:
        """Send what may be sent now; seconds until more may be sent, None while that depends on an answer."""
        room = self._concurrency - self._watch.alive - len(self._flying)
        while room > 0:
            now = time.monotonic()
            for limit in self._limits.values():
                if limit.closed and limit.waiting:
                    self._give_up(limit)
            pauses = [(d.pause(now), d) for d in self._limits.values() if d.waiting]
            ready = [limit for pause, limit in pauses if pause == 0]
            if not ready:
                return min((pause for pause, _ in pauses if pause is not None), default=None)
            limit = min(ready, key=lambda d: d.waiting[0].position)
            create = limit.leave(now)
            task = asyncio.create_task(self._send(limit, create), name=f"create at {limit.name}")
            self._flying[task] = create
            task.add_done_callback(self._forget)
            room -= 1
        return None

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._flying.pop(task, None)
        self._changed.set()

    async def _send(self, limit: CreateLimit[PlannedCreate], planned: PlannedCreate) -> None:
        """Store the intent, send the create, record its answer; put it back in the queue if the API asks to wait."""
        answer: send.Answer | None = None
        try:
            create = await asyncio.to_thread(planned.prepare)
            label = self._watch.history_at(planned.key).task.label
            if planned.uid is None:
                planned.request_id = send.new_request_id(create)
                intent = send.intent(create, self._store, label, planned.request_id)
                cell, repeat = planned.repetition.key
                begun = self._store.begin_intent(**intent, experiment=self._experiment, cell=cell, repeat=repeat)
                planned.uid = await asyncio.wrap_future(begun)
            answer = await send.ask(
                self._engine,
                self._store,
                create,
                planned.uid,
                label,
                planned.request_id,
                planned.leaving,
                planned.doubt,
            )
            planned.doubt = answer.doubt
            if limit.judge(answer.miss, time.monotonic(), is_in_doubt=answer.is_in_doubt, is_sent=answer.is_sent):
                if answer.is_in_doubt:
                    await send.keep(self._store, planned.uid, answer)
                else:
                    await asyncio.wrap_future(self._store.intent_postponed(planned.uid))
                planned.may_have_left = False
                limit.waiting.appendleft(planned)
                self._watch.touch()
                return
            history = await send.keep(self._store, planned.uid, answer)
            self._watch.take(planned.key, history or await asyncio.to_thread(self._store.load, planned.uid))
        except asyncio.CancelledError:
            if planned.may_have_left:
                note = "cut off before the answer came; it may have been made"
                self._mark(planned, Mark(word=MarkWord.LOST, note=note))
            else:
                limit.waiting.appendleft(planned)
            raise
        except (BadInput, MissingAPIKey) as error:  # a file that has changed since it was checked
            self._mark(planned, Mark(word=MarkWord.REFUSED, note=clean(error)))
        except StoreError as error:
            self.halt(clean(error))
            self._show_unrecorded(planned, answer, clean(error))
        except Exception as error:  # whatever it is, the create may have left
            log.exception("creating a task at %s", limit.name)
            self.halt(f"nbhelper itself failed: {type(error).__name__}: {clean(error, 200)}")
            self._show_unrecorded(planned, answer, "nbhelper itself failed; it may have been made")
        finally:
            limit.flying -= 1

    def _show_unrecorded(self, planned: PlannedCreate, answer: send.Answer | None, note: str) -> None:
        """Show what came of a create that the store did not take; a task that was made is watched all the same."""
        if answer is None:
            self._mark(planned, Mark(word=MarkWord.STOPPED, note=f"not submitted: {note}"))
        elif answer.task is not None:
            history = replace(self._watch.history_at(planned.key), task=answer.task, uid=planned.uid or "")
            self._watch.take(planned.key, history.add(Mark(word=MarkWord.SUBMITTED), datetime.now(UTC)))
        else:
            word = MarkWord.LOST if answer.is_in_doubt else MarkWord.REFUSED
            self._mark(planned, Mark(word=word, note=clean(answer.miss)))

    def _mark(self, planned: PlannedCreate, mark: Mark) -> None:
        """Add a mark to the history in the watch; the store is not asked."""
        self._watch.take(planned.key, self._watch.history_at(planned.key).add(mark, datetime.now(UTC)))

    def _give_up(self, only: CreateLimit[PlannedCreate] | None = None) -> None:
        """Mark the creates that are not sent any more: in doubt as before, else stopped, with the reason."""
        for limit in self._limits.values() if only is None else (only,):
            why = limit.closed or self._halted or "stopped"
            while limit.waiting:
                planned = limit.waiting.popleft()
                if planned.doubt is not None:
                    self._mark(planned, Mark(word=MarkWord.LOST, note=clean(planned.doubt)))
                else:
                    self._mark(planned, Mark(word=MarkWord.STOPPED, note=f"not submitted: {why}"))
