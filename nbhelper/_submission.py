"""Submitting many tasks in the background, and the watch on all of them: places first, tasks as they are made.

Runs in the engine's loop. At each API creates go through a door of their own: it keeps the API's create limit, waits
when the server says so, and closes when going on would only do harm. What the server refused for its limit was not
made and is sent again; what may have been made never is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _submit
from ._engine import Engine
from ._errors import BadInput, MissingAPIKey, StoreError
from ._history import History
from ._poller import Identity, identity
from ._session import Connection
from ._terminal import seconds
from ._text import clean
from ._values import Mark, MarkWord, MissKind
from ._watch import Watch, _place

if TYPE_CHECKING:
    import pandas as pd

    from ._cells import Place
    from ._store import Store

log = logging.getLogger("nbhelper")

IN_FLIGHT = 4
"""Creates that fly at once to one API."""
_FIRST_WAIT = 2.0
_LONGEST_WAIT = 60.0
"""Seconds between two creates at an API that asks to wait and does not say how long: twice as many each time."""
_MOST_ASKED = 600.0
"""Seconds of a Retry-After that are believed."""
_TOO_OFTEN = 3
"""Creates in a row that the key, the credit or the connection spoiled: the rest would fare no better."""
_UNREACHED = 6
"""Times in a row that an API cannot be reached, nothing sent, before it is given up."""
_SPOILED = {
    MissKind.REFUSED: "refused the key",
    MissKind.NO_CREDIT: "said that there is no credit",
}


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
    """

    place: Place
    key: Identity
    position: int
    prepare: Callable[[], _submit.Create]
    connection: Connection
    uid: str | None = None
    request_id: str | None = None


@dataclass(slots=True)
class Door:
    """The way of creates to one API with one key."""

    name: str
    limit: tuple[int, float] | None
    waiting: deque[Errand] = field(default_factory=deque)
    closed: str = ""
    """Why nothing more is sent here."""
    flying: int = 0
    not_before: float = 0.0
    careful: bool = False
    """The last answer was "wait": one create tries before the others follow."""
    backoff: float = field(default_factory=lambda: _FIRST_WAIT)
    spoiled: int = 0
    unreached: int = 0
    begun: deque[float] = field(default_factory=deque)
    """When the latest creates left, as many as the limit looks back to."""

    def pause(self, now: float) -> float | None:
        """Seconds until a create may leave; None while others have to come back first."""
        if self.flying >= (1 if self.careful else IN_FLIGHT):
            return None
        wait = self.not_before - now
        if self.limit is not None:
            most, span = self.limit
            while self.begun and self.begun[0] <= now - span:
                self.begun.popleft()
            if len(self.begun) >= most:
                wait = max(wait, self.begun[0] + span - now)
        return max(0.0, wait)

    def leave(self, now: float) -> Errand:
        """The next create goes."""
        self.flying += 1
        self.begun.append(now)
        return self.waiting.popleft()

    def judge(self, answer: _submit.Answer, now: float) -> bool:
        """Learn from an answer; whether the same create is to be sent once more, later."""
        miss = answer.miss
        if miss is None:
            self.careful, self.backoff, self.spoiled, self.unreached = False, _FIRST_WAIT, 0, 0
            return False
        if miss.kind is MissKind.RATE_LIMITED:
            self.hold(now, miss.retry_after)
            return True
        if not answer.sent and miss.kind is MissKind.NETWORK:
            self.unreached += 1
            if self.unreached < _UNREACHED:
                self.hold(now, None)
                return True
            self.closed = f"{self.name} cannot be reached"
            return False
        self.unreached = 0
        if not answer.doubt and miss.kind not in _SPOILED:
            self.spoiled = 0
            return False
        self.spoiled += 1
        if self.spoiled >= _TOO_OFTEN:
            what = "gave no clear answer" if answer.doubt else _SPOILED[miss.kind]
            self.closed = f"{self.name} {what} {_TOO_OFTEN} times in a row"
        return False

    def hold(self, now: float, asked: float | None) -> None:
        """Let nothing through for a while."""
        wait = min(asked, _MOST_ASKED) if asked else self.backoff
        self.backoff = min(_LONGEST_WAIT, self.backoff * 2)
        self.not_before = max(self.not_before, now + wait)
        self.careful = True

    def note(self, now: float) -> str:
        """What a person should know of it."""
        if not self.waiting or self.closed or self.not_before <= now + 1:
            return ""
        n = len(self.waiting)
        return (
            f"{self.name} asks to wait {seconds(self.not_before - now)}; {n} task{'s' * (n != 1)} to be submitted there"
        )


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
        self._doors: dict[tuple[str, str, int], Door] = {}
        now = time.monotonic()
        for errand in errands:
            where, name = errand.connection, errand.connection.provider.name
            key = (name, where.origin, hash(where.key))
            if key not in self._doors:
                # What another process sent a moment ago counts too.
                earlier = deque(now - seconds_ago for seconds_ago in sorted((recent or {}).get(name, ()), reverse=True))
                self._doors[key] = Door(name, where.provider.create_limit, begun=earlier)
            self._doors[key].waiting.append(errand)
        self.emulated = any(errand.connection.emulated for errand in errands)
        self.ended = asyncio.Event()
        self.started = False
        self._halted = ""
        self._flying: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: Engine
        self._watch: ExperimentWatch

    @property
    def left(self) -> int:
        """How many are still to be submitted."""
        return sum(len(door.waiting) for door in self._doors.values()) + len(self._flying)

    def notes(self) -> list[str]:
        """What a person should know just now."""
        now = time.monotonic()
        closed = [f"{door.closed}; nothing more is submitted there" for door in self._doors.values() if door.closed]
        return [*closed, *filter(None, (door.note(now) for door in self._doors.values()))]

    def start(self, watch: ExperimentWatch, engine: Engine) -> None:
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
            wait = None if self._halted else self._send_some()
            waiting = any(door.waiting for door in self._doors.values())
            if not self._flying and (self._halted or not waiting):
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)

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
            task = asyncio.create_task(self._send(door, door.leave(now)), name=f"create at {door.name}")
            self._flying.add(task)
            task.add_done_callback(self._landed)
            room -= 1
        return None

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._changed.set()

    async def _send(self, door: Door, errand: Errand) -> None:
        answer: _submit.Answer | None = None
        try:
            create = await asyncio.to_thread(errand.prepare)
            label = self._watch.history_at(errand.key).task.label
            if errand.uid is None:
                errand.request_id = _submit.new_request_id(create)
                told = _submit.intent(create, self._store, label, errand.request_id)
                told |= self._notes | {"repeat": errand.place.repeat, "cell": errand.place.cell.key}
                errand.uid = await asyncio.wrap_future(self._store.begin_intent(**told))
            answer = await _submit.ask(self._engine, self._store, create, errand.uid, label, errand.request_id)
            if door.judge(answer, time.monotonic()):
                await asyncio.wrap_future(self._store.intent_postponed(errand.uid))
                door.waiting.appendleft(errand)
                self._watch.touch()
                return
            made = await _submit.keep(self._store, errand.uid, answer)
            self._watch.take(errand.key, made or await asyncio.to_thread(self._store.load, errand.uid))
        except asyncio.CancelledError:
            note = "cut off before the answer came; it may have been made"
            self._local(errand, Mark(word=MarkWord.LOST if errand.uid else MarkWord.STOPPED, note=note))
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

    def _unrecorded(self, errand: Errand, answer: _submit.Answer | None, note: str) -> None:
        """The store did not take what came of a create: it is shown all the same, and watched if it was made."""
        if answer is None:
            self._local(errand, Mark(word=MarkWord.STOPPED, note=f"not submitted: {note}"))
        elif answer.task is not None:
            history = replace(self._watch.history_at(errand.key), task=answer.task, uid=errand.uid or "")
            self._watch.take(errand.key, history.add(Mark(word=MarkWord.SUBMITTED), datetime.now(UTC)))
        else:
            word = MarkWord.LOST if answer.doubt else MarkWord.REFUSED
            self._local(errand, Mark(word=word, note=clean(answer.miss)))

    def _local(self, errand: Errand, mark: Mark) -> None:
        self._watch.take(errand.key, self._watch.history_at(errand.key).add(mark, datetime.now(UTC)))

    def _give_up(self, only: Door | None = None) -> None:
        """What is not sent stays unsent, and says why."""
        for door in self._doors.values() if only is None else (only,):
            why = door.closed or self._halted or "stopped"
            while door.waiting:
                self._local(door.waiting.popleft(), Mark(word=MarkWord.STOPPED, note=f"not submitted: {why}"))


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
        self._remarks = tuple(remarks)
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
        return (*super().notes, *going, *self._remarks)

    def history_at(self, key: Identity) -> History:
        """What is known of a place."""
        return self._entries[key].history

    def take(self, key: Identity, history: History | None) -> None:
        """What stands at a place from now on; a task that was made is watched."""
        if history is None:
            return
        with self._changed:
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
                with self._changed:
                    self._part([key], self._stopped)

    def touch(self) -> None:
        """Draw again: something changed that no history tells."""
        with self._changed:
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


def place_key(history: History) -> Identity:
    """Where a history stands in a watch."""
    return _place(history)
