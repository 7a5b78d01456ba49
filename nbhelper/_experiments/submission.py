"""Submitting many tasks in the background, in their order, never more tasks alive than wanted.

Runs in the engine's loop. What a server refused for its limit was not made and is sent again; what may have been made
never is.
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
from typing import TYPE_CHECKING, Any, Protocol

from .._model.errors import BadInput, MissingAPIKey, StoreError
from .._model.seen import Mark, MarkWord, Miss
from .._model.text import clean
from .._session.session import Connection
from .._submitting import send
from .._submitting.create_limit import CreateLimit
from .._watching.engine import Engine
from .._watching.task_watcher import Identity

if TYPE_CHECKING:
    from .._model.history import History
    from .._store.store import Store
    from .grid import Place

log = logging.getLogger("nbhelper")


@dataclass(slots=True)
class Errand:
    """One task to submit.

    Attributes:
        place: Which.
        key: Where it stands in the watch.
        position: In the order of submitting.
        prepare: Checks the create once more, reading its files.
        connection: Where it goes.
        uid: The row it has already, from an earlier try.
        request_id: What makes that try safe to repeat.
        left: Whether it may have left this machine.
        doubt: What an earlier try met that may have made the task.
    """

    place: Place
    key: Identity
    position: int
    prepare: Callable[[], send.PreparedCreate]
    connection: Connection
    uid: str | None = None
    request_id: str | None = None
    left: bool = False
    doubt: Miss | None = None

    def leaving(self) -> None:
        """From now on it may have left."""
        self.left = True


class WatchedPlaces(Protocol):
    """What a submission needs of the watch on its experiment: what stands at each place, and a call at each change."""

    @property
    def alive(self) -> int:
        """How many tasks are known to be made and not known to be over."""

    def history_at(self, key: Identity) -> History:
        """What is known of a place."""

    def take(self, key: Identity, history: History | None) -> None:
        """Put a history at a place; a task that was made is watched from then on."""

    def touch(self) -> None:
        """Draw again: something changed that no history tells."""

    def on_change(self, call: Callable[[], None]) -> None:
        """Call something after each change."""

    def off_change(self, call: Callable[[], None]) -> None:
        """Take that back."""


class Submission:
    """Sends the creates of one experiment, in their order, never more tasks alive than wanted.

    Attributes:
        emulated: Whether an emulator answers.
        ended: Set when nothing more will be sent and every answer is in.
    """

    def __init__(
        self,
        errands: Sequence[Errand],
        *,
        store: Store,
        concurrency: int,
        notes: Mapping[str, Any],
        done: Callable[[], None],
        recent: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._store = store
        self._concurrency = concurrency
        self._notes = dict(notes)
        self._done = done
        self._doors: dict[tuple[str, str, int], CreateLimit[Errand]] = {}
        now = time.monotonic()
        for errand in errands:
            where, name = errand.connection, errand.connection.provider.name
            key = (name, where.origin, hash(where.key))
            if key not in self._doors:
                # What another process sent a moment ago counts too.
                earlier = deque(now - seconds_ago for seconds_ago in sorted((recent or {}).get(name, ()), reverse=True))
                self._doors[key] = CreateLimit(name, where.provider.create_limit, begun=earlier)
            self._doors[key].waiting.append(errand)
        self.emulated = any(errand.connection.emulated for errand in errands)
        self.ended = asyncio.Event()
        self.started = False
        self._halted = ""
        self._flying: dict[asyncio.Task[None], Errand] = {}
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: Engine
        self._watch: WatchedPlaces

    @property
    def left(self) -> int:
        """How many are still to be submitted."""
        return sum(len(door.waiting) for door in self._doors.values()) + len(self._flying)

    def notes(self) -> list[str]:
        """What a person should know just now."""
        now = time.monotonic()
        closed = [f"{door.closed}; nothing more is submitted there" for door in self._doors.values() if door.closed]
        return [*closed, *filter(None, (door.note(now) for door in self._doors.values()))]

    def start(self, watch: WatchedPlaces, engine: Engine) -> None:
        """Begin, in the engine's loop."""
        self._watch, self._engine, self.started = watch, engine, True
        engine.run(self._run())

    def halt(self, note: str) -> None:
        """Submit nothing more; from any thread."""
        self._halted = self._halted or note
        self._wake()

    async def finish(self, note: str, patience: float) -> None:
        """Submit nothing more and wait for what is on its way, so long; what is cut off then is in doubt."""
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
                self._call_back()
            else:
                wait = self._send_some()
            waiting = any(door.waiting for door in self._doors.values())
            if not self._flying and (self._halted or not waiting):
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)

    def _call_back(self) -> None:
        """Whatever only waits for its turn stays here."""
        for task, errand in self._flying.items():
            if not errand.left:
                task.cancel()

    def _send_some(self) -> float | None:
        """Send what may be sent now; seconds until more may be, None when something has to happen first."""
        room = self._concurrency - self._watch.alive - len(self._flying)
        while room > 0:
            now = time.monotonic()
            for door in self._doors.values():
                if door.closed and door.waiting:
                    self._give_up(door)
            pauses = [(d.pause(now), d) for d in self._doors.values() if d.waiting]
            ready = [door for pause, door in pauses if pause == 0]
            if not ready:
                return min((pause for pause, _ in pauses if pause is not None), default=None)
            door = min(ready, key=lambda d: d.waiting[0].position)
            errand = door.leave(now)
            task = asyncio.create_task(self._send(door, errand), name=f"create at {door.name}")
            self._flying[task] = errand
            task.add_done_callback(self._landed)
            room -= 1
        return None

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.pop(task, None)
        self._changed.set()

    async def _send(self, door: CreateLimit[Errand], errand: Errand) -> None:
        answer: send.Answer | None = None
        try:
            create = await asyncio.to_thread(errand.prepare)
            label = self._watch.history_at(errand.key).task.label
            if errand.uid is None:
                errand.request_id = send.new_request_id(create)
                told = send.intent(create, self._store, label, errand.request_id)
                told |= self._notes | {"repeat": errand.place.repeat, "cell": errand.place.cell.key}
                errand.uid = await asyncio.wrap_future(self._store.begin_intent(**told))
            answer = await send.ask(
                self._engine, self._store, create, errand.uid, label, errand.request_id, errand.leaving, errand.doubt
            )
            errand.doubt = answer.doubt
            if door.judge(answer.miss, time.monotonic(), is_in_doubt=answer.is_in_doubt, is_sent=answer.is_sent):
                if answer.is_in_doubt:
                    await send.keep(self._store, errand.uid, answer)
                else:
                    await asyncio.wrap_future(self._store.intent_postponed(errand.uid))
                errand.left = False
                door.waiting.appendleft(errand)
                self._watch.touch()
                return
            made = await send.keep(self._store, errand.uid, answer)
            self._watch.take(errand.key, made or await asyncio.to_thread(self._store.load, errand.uid))
        except asyncio.CancelledError:
            if errand.left:
                note = "cut off before the answer came; it may have been made"
                self._local(errand, Mark(word=MarkWord.LOST, note=note))
            else:
                door.waiting.appendleft(errand)
            raise
        except (BadInput, MissingAPIKey) as error:  # a file that has changed since it was checked
            self._local(errand, Mark(word=MarkWord.REFUSED, note=clean(error)))
        except StoreError as error:
            self.halt(clean(error))
            self._unrecorded(errand, answer, clean(error))
        except Exception as error:  # whatever it is, the create may have left
            log.exception("creating a task at %s", door.name)
            self.halt(f"nbhelper itself failed: {type(error).__name__}: {clean(error, 200)}")
            self._unrecorded(errand, answer, "nbhelper itself failed; it may have been made")
        finally:
            door.flying -= 1

    def _unrecorded(self, errand: Errand, answer: send.Answer | None, note: str) -> None:
        """The store did not take what came of a create: it is shown all the same, and watched if it was made."""
        if answer is None:
            self._local(errand, Mark(word=MarkWord.STOPPED, note=f"not submitted: {note}"))
        elif answer.task is not None:
            history = replace(self._watch.history_at(errand.key), task=answer.task, uid=errand.uid or "")
            self._watch.take(errand.key, history.add(Mark(word=MarkWord.SUBMITTED), datetime.now(UTC)))
        else:
            word = MarkWord.LOST if answer.is_in_doubt else MarkWord.REFUSED
            self._local(errand, Mark(word=word, note=clean(answer.miss)))

    def _local(self, errand: Errand, mark: Mark) -> None:
        self._watch.take(errand.key, self._watch.history_at(errand.key).add(mark, datetime.now(UTC)))

    def _give_up(self, only: CreateLimit[Errand] | None = None) -> None:
        """What is not sent stays unsent, and says why."""
        for door in self._doors.values() if only is None else (only,):
            why = door.closed or self._halted or "stopped"
            while door.waiting:
                errand = door.waiting.popleft()
                if errand.doubt is not None:
                    self._local(errand, Mark(word=MarkWord.LOST, note=clean(errand.doubt)))
                else:
                    self._local(errand, Mark(word=MarkWord.STOPPED, note=f"not submitted: {why}"))
