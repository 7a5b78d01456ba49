"""Everything seen of one task, and what follows from it.

A history only grows, by `add`, which returns a new one. Each derived fact is folded in as its event arrives, so that
reading `state` or `outcome` costs the same for three events and for three thousand; the newest events alone are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from .errors import NbhelperError
from .events import Event, Output, Saved, Seen, Snapshot
from .facts import NO_FACTS, Facts
from .fields import NOTHING
from .states import MarkWord, Outcome, SaveState, State
from .task import NO_ID, Task
from .text import clean

KEPT = 8
"""How many events a history holds; the store has all."""
UNSAVED = "results are not saved"
"""The note of a watch with `save=False`: its unsaved outputs are not `missing`."""


_ENDS = {MarkWord.STOPPED: Outcome.STOPPED, MarkWord.LOST: Outcome.LOST, MarkWord.REFUSED: Outcome.FAILED}
"""The outcome that each of our own marks means; a create that the API refused has failed."""


@dataclass(frozen=True, slots=True)
class History:
    """One task, what all observations of it add up to, and the newest of them.

    Two histories are equal when task, origin, uid and the newest events are.

    Attributes:
        task: What is watched.
        events: The newest 8 observations, oldest first; `seq` numbers them from 1. Only the newest snapshot among them
            has its `raw` and `params`. `nbhelper.events(task)` has all observations.
        origin: The API's scheme and host: the same id elsewhere is another task.
        uid: Our own sortable row name; a create in doubt has no id of the API's yet.
        facts: What all events add up to; the properties below are its public face.
    """

    task: Task
    events: tuple[Event, ...] = ()
    origin: str = ""
    uid: str = ""
    facts: Facts = field(default_factory=lambda: NO_FACTS, repr=False, compare=False)  # short in `help()`

    @classmethod
    def of(cls, task: Task, events: Iterable[Event], *, origin: str = "", uid: str = "") -> History:
        """The history of all these events, which alone are the truth: the facts are folded again from them."""
        history = cls(task, origin=origin, uid=uid)
        for event in events:
            history = history.add_event(event)
        return history

    def add(self, seen: Seen, at: datetime) -> History:
        """The history with one more observation; this one stays as it is."""
        return self.add_event(Event(self.seq + 1, at, seen))

    def add_event(self, event: Event) -> History:
        """The history with one more event, which has its number already."""
        older = self.events[1 - KEPT :]
        if isinstance(event.seen, Snapshot):
            older = tuple(map(_slim, older))
        return replace(self, events=(*older, event), facts=self.facts.step(event.at, event.seen))

    def __hash__(self) -> int:
        return hash((self.task, self.origin, self.uid, self.seq))

    @property
    def seq(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self.events[-1].seq if self.events else 0

    # What follows from the events

    @property
    def state(self) -> State | None:
        """The last known state; None before the first good reply."""
        return self.facts.latest.state if self.facts.latest else None

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot; once a final one has come, that one."""
        return self.facts.latest

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while pending. A final word of the server replaces `lost` and `stopped`."""
        state = self.state
        if state is not None and state.final:
            return Outcome(state.value)
        return _ENDS[self.facts.ended.word] if self.facts.ended else None

    @property
    def created(self) -> bool:
        """Whether the API has given it an id; a create that waits, was refused or is in doubt has none."""
        return self.task.id != NO_ID

    @property
    def succeeded(self) -> bool:
        """Whether the server said so."""
        return self.state is State.SUCCEEDED

    @property
    def error(self) -> str | None:
        """Why there is no success, in one line; None when there is nothing to explain."""
        latest = self.facts.latest
        if latest is not None and latest.state.final:
            return clean(latest.error) if latest.error and not self.succeeded else None
        if self.facts.ended is not None:
            return self.facts.ended.note or None
        return None

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Every result the server named, newest links, in the order they came."""
        return tuple(self.facts.outputs.values())

    @property
    def saves(self) -> Mapping[str, Saved]:
        """What became of each output, by its name; an output without an entry is still pending."""
        return self.facts.saves

    def save_state(self, name: str) -> SaveState:
        """What became of one output's file."""
        saved = self.facts.saves.get(name)
        return saved.state if saved else SaveState.PENDING

    @property
    def files(self) -> tuple[Path, ...]:
        """The saved files, absolute, in the order of the outputs; equal bytes are one file."""
        names = dict.fromkeys((*self.facts.outputs, *self.facts.saves))
        saves = (self.facts.saves[name] for name in names if name in self.facts.saves)
        files = (s.file for s in saves if s.state is SaveState.SAVED and s.file)
        return tuple(Path(f) for f in dict.fromkeys(files))

    @property
    def credits(self) -> float | None:
        """What the server says it took; None where it does not say, which is not zero."""
        return self.facts.credits

    @property
    def settled(self) -> bool:
        """Whether nothing more is to come: an outcome, and every output saved or given up."""
        return self.outcome is not None and all(name in self.facts.saves for name in self.facts.outputs)

    @property
    def missing(self) -> tuple[Output, ...]:
        """Outputs that are to be saved, are not, and may still be downloaded: all but expired ones."""
        watching = self.facts.watching
        if watching is not None and watching.note == UNSAVED and not self.facts.saves:
            return ()
        there = {SaveState.SAVED, SaveState.EXPIRED}
        return tuple(o for o in self.outputs if (o.url or o.ref) and self.save_state(o.name) not in there)

    def raise_for_failure(self) -> History:
        """Itself when the task succeeded.

        Raises:
            TaskFailed: It ended in any other way, or has not ended.
        """
        if self.succeeded:
            return self
        ended = self.outcome
        what = f"{ended}" if ended else "not finished"
        why = f": {self.error}" if self.error else ""
        hint = "; nbhelper.resume() looks again" if ended in {Outcome.LOST, Outcome.STOPPED} else ""
        raise TaskFailed(f"{self.task} {what}{why}{hint}", self)

    def __repr__(self) -> str:
        outcome = self.outcome
        words = [str(self.task), str(outcome or self.state or "not looked at yet")]
        if self.files:
            words.append(f"{len(self.files)} file{'s' * (len(self.files) != 1)}")
        if self.error:
            words.append(f"({clean(self.error, 80)})")
        return f"<History {' '.join(words)}>"


class TaskFailed(NbhelperError):
    """Raised by `History.raise_for_failure()` alone; a task that failed is otherwise returned.

    Attributes:
        history: Everything seen of the task.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history

    def __reduce__(self) -> tuple[type[TaskFailed], tuple[str, History]]:
        return type(self), (str(self), self.history)


def _slim(event: Event) -> Event:
    """An event of an older snapshot without reply, parameters and the bytes of outputs, which may be large."""
    seen = event.seen
    if not isinstance(seen, Snapshot):
        return event
    has_bytes = any(output.data is not None for output in seen.outputs)
    if seen.reply is None and not seen.params and not has_bytes:
        return event
    outputs = tuple(replace(output, data=None) for output in seen.outputs) if has_bytes else seen.outputs
    return replace(event, seen=replace(seen, reply=None, params=NOTHING, outputs=outputs))
