"""Looks at tasks with one key at one API: each is planned for a time, then sent alone or in a batch with others.

Where the API answers for many ids in one request, the first look that is due opens a batch. The batch takes along every
planned look whose floor has passed, due or not, since one more id costs nothing; and it waits a quarter of a floor for
looks whose floor is about to pass, so that tasks begun at different times fall into step. A batch that is not full also
waits, up to a second, for tasks whose first mark is being stored: those of one `watch()` share a request on a slow disk
too. A task that a batch misses is looked at alone next time; when a batch itself fails, all looks are sent alone for
ten minutes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._model.events import Snapshot
from .._model.misses import Miss, MissKind
from .._model.task import Task
from .._model.text import clean
from .._network.faults import Forbidden, Unreached
from .._network.gate import Gate
from .._network.http import Http
from .._providers.reader import read, read_batch
from .._providers.reply_parts import Batch
from .._providers.templates import fill, look_request
from .._session.session import Connection

log = logging.getLogger("nbhelper")

_GATHER = 0.02
"""Seconds between opening a batch and sending it."""
_GATHER_BEGINNING = 1.0
"""Seconds that a batch waits at the longest for tasks that are beginning."""
_EARLY = 0.001
"""Seconds that a timer of the loop may fire early."""
_SHARE_OF_FLOOR = 0.25
"""How long a batch waits for looks whose floor is about to pass, as a share of the floor."""
_WITHOUT_BATCHES = 600.0
"""Seconds without batches after one that failed."""
_SPEAKS_FOR_ALL = {MissKind.NETWORK, MissKind.RATE_LIMITED}
"""Misses of a batch that hold for each task in it."""


@dataclass(slots=True, eq=False)
class Look:
    """One look that is planned, on its way or answered.

    Attributes:
        task: What is looked at.
        is_first: Whether nobody has seen this task yet: such looks pass the gate first.
        last: What the last good look gave; a batch names it to the reader.
        answer: The snapshot or the miss; an exception for a fault of ours; cancelled when the look is given up.
        is_asked: Whether it is due, and can be planned for no other time.
        is_sent: Whether the request is on its way: the server may count the look from here on.
    """

    task: Task
    is_first: bool
    last: Snapshot | None
    answer: asyncio.Future[Snapshot | Miss]
    is_asked: bool = False
    is_sent: bool = False


class Looks:
    """The planned looks of one key at one API, and the requests they go out with.

    Attributes:
        shared: How many tasks the last request looked at.
        beginning: How many tasks are about to plan their first look.
    """

    def __init__(self, connection: Connection, http: Http, gate: Gate) -> None:
        self.connection = connection
        self._http = http
        self._gate = gate
        self.shared = 1
        self.beginning = 0
        self._planned: dict[Look, tuple[float, asyncio.TimerHandle]] = {}
        """From which time (monotonic) a batch may take each along, and the timer at which it is due."""
        self._gathering: list[Look] = []
        self._opened: asyncio.TimerHandle | None = None
        self._missed: set[str] = set()
        """Ids that a batch did not answer for: they are looked at alone until a look succeeds."""
        self._no_batch_until = 0.0
        self._requests: dict[asyncio.Task[None], Sequence[Look]] = {}

    @property
    def _batch(self) -> Batch | None:
        batch = self.connection.provider.batch
        return batch if batch is not None and time.monotonic() >= self._no_batch_until else None

    def plan(self, task: Task, due: float, soonest: float, *, is_first: bool, last: Snapshot | None) -> Look:
        """Plan a look at a task.

        Args:
            task: What to look at.
            due: Monotonic time at which it goes out.
            soonest: Monotonic time from which a batch may take it along.
            is_first: Whether nobody has seen this task yet.
            last: What the last good look gave.
        """
        look = Look(task, is_first, last, asyncio.get_running_loop().create_future())
        self.move(look, due, soonest)
        return look

    def move(self, look: Look, due: float, soonest: float) -> None:
        """Plan a look for another time, unless it is due already."""
        if look.is_asked:
            return
        self._forget(look)
        may = soonest if soonest < due and self._batch is not None else math.inf
        self._planned[look] = may, asyncio.get_running_loop().call_at(due, self._ask, look)

    def give_up(self, look: Look) -> None:
        """Cancel a look, and its request when nobody waits for an answer to it any more."""
        self._forget(look)
        look.answer.cancel()
        for request, looks in self._requests.items():
            if look in looks and all(one.answer.done() for one in looks):
                request.cancel()

    def _forget(self, look: Look) -> None:
        if (planned := self._planned.pop(look, None)) is not None:
            planned[1].cancel()

    def _ask(self, look: Look) -> None:
        self._forget(look)
        look.is_asked = True
        if self._batch is not None and not look.task.extra and look.task.id not in self._missed:
            self._gathering.append(look)
            self._open(look)
        else:
            self._request([look])

    # Requests

    def _request(self, looks: Sequence[Look]) -> None:
        """Send one request for one or many looks that somebody still waits for."""
        waiting = [look for look in looks if not look.answer.done()]
        if waiting:
            request = asyncio.create_task(self._send(waiting), name="look")
            self._requests[request] = waiting
            request.add_done_callback(self._requests.pop)

    async def _send(self, looks: Sequence[Look]) -> None:
        try:
            answers = await (self._alone(looks[0]) if len(looks) == 1 else self._together(looks))
        except Exception as error:
            log.exception("looking at %d tasks of %s", len(looks), self.connection.provider.name)
            if len(looks) == 1:
                if not looks[0].answer.done():
                    looks[0].answer.set_exception(error)
                return
            answers = {}
            self._no_batch_until = time.monotonic() + _WITHOUT_BATCHES
        for look in looks:
            if look.answer.done():
                continue
            if (seen := answers.get(look.task.id)) is not None:
                look.answer.set_result(seen)
            else:  # the batch failed, and the server may have counted a look at each of its tasks
                look.is_sent = False
                floor = self.connection.provider.floor * 1.02
                asyncio.get_running_loop().call_later(floor, self._request, [look])

    async def _alone(self, look: Look) -> Mapping[str, Snapshot | Miss]:
        provider, task = self.connection.provider, look.task
        async with self._gate.passing(urgent=look.is_first):
            look.is_sent = True
            try:
                reply = await self._http.api(self.connection, look_request(provider, task.id, task.extra))
            except Unreached as error:
                seen: Snapshot | Miss = Miss(kind=MissKind.NETWORK, message=clean(error))
            except Forbidden as error:
                seen = Miss(kind=MissKind.REFUSED, message=clean(error))
            else:
                seen = read(provider, reply, ident=task.id, secrets=(self.connection.key.reveal(),), last=look.last)
            self._gate.judge(seen, provider.floor)
        self.shared = 1
        if isinstance(seen, Snapshot):
            self._missed.discard(task.id)
        return {task.id: seen}

    # Batches

    def _open(self, look: Look) -> None:
        """Open a batch: it is gathered when the floors that are about to pass have passed."""
        if self._opened is not None:
            return
        now = time.monotonic()
        patience = 0.0 if look.is_first else self.connection.provider.floor * _SHARE_OF_FLOOR
        near = [may for may, _ in self._planned.values() if may <= now + patience]
        begin = max(now, *near, 0.0)
        self._opened = asyncio.get_running_loop().call_at(begin, self._gather, begin + _GATHER_BEGINNING)

    def _gather(self, deadline: float) -> None:
        """Take along every look whose floor has passed; again after `_GATHER`, while tasks that begin may fill it."""
        now, loop = time.monotonic(), asyncio.get_running_loop()
        for look in [look for look, (may, _) in self._planned.items() if may <= now + _EARLY]:
            self._ask(look)
        batch = self.connection.provider.batch
        assert batch is not None
        if self.beginning and len(self._gathering) < batch.size and now < deadline:
            self._opened = loop.call_later(_GATHER, self._gather, deadline)
        else:
            self._opened = loop.call_later(_GATHER, self._depart)

    def _depart(self) -> None:
        """Send the batch, in as many requests as its size asks for."""
        self._opened = None
        looks, self._gathering = [look for look in self._gathering if not look.answer.done()], []
        batch = self.connection.provider.batch
        assert batch is not None
        for begin in range(0, len(looks), batch.size):
            self._request(looks[begin : begin + batch.size])

    async def _together(self, looks: Sequence[Look]) -> Mapping[str, Snapshot | Miss]:
        """What one request says of many tasks, by id; nothing where the batch itself failed."""
        provider = self.connection.provider
        async with self._gate.passing(urgent=any(look.is_first for look in looks)):
            last = {look.task.id: look.last for look in looks if not look.answer.done()}
            for look in looks:
                look.is_sent = True
            answers = await self._reply(last)
            self._gate.judge(answers, provider.floor)
        self.shared = len(last)
        if not isinstance(answers, Miss):
            self._missed.update(ident for ident, seen in answers.items() if isinstance(seen, Miss))
            return answers
        if answers.kind in _SPEAKS_FOR_ALL:
            return dict.fromkeys(last, answers)
        self._no_batch_until = time.monotonic() + _WITHOUT_BATCHES
        log.warning("%s: looking at tasks one by one, since a batch failed: %s", provider.name, answers)
        return {}

    async def _reply(self, last: Mapping[str, Snapshot | None]) -> Mapping[str, Snapshot | Miss] | Miss:
        """What the reply to a batch says of each task, or the miss of the whole request."""
        provider = self.connection.provider
        assert provider.batch is not None
        cap = provider.max_reply * max(1, len(last) // 4)
        try:
            reply = await self._http.api(self.connection, fill(provider.batch.request, {}, last), cap=cap)
        except Unreached as error:
            return Miss(kind=MissKind.NETWORK, message=clean(error))
        except Forbidden as error:
            return Miss(kind=MissKind.REFUSED, message=clean(error))
        return read_batch(provider, reply, last, (self.connection.key.reveal(),))
