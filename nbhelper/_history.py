"""Everything seen of one task, and what follows from it.

A history only grows, by `add`, which returns a new one. Each derived fact is folded in as its event arrives, so that
reading `state` or `outcome` costs the same for three events and for three thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ._errors import NbhelperError
from ._events import NO_EVENTS, Events
from ._task import NO_ID, Task
from ._text import clean
from ._values import (
    NOTHING,
    Event,
    Mark,
    MarkWord,
    Miss,
    MissKind,
    Outcome,
    Output,
    Saved,
    SaveState,
    Seen,
    Snapshot,
    State,
)

GRACE = timedelta(seconds=60)
"""How long "not found" may only mean that the API has not noticed its own task yet (kie.ai's "recordInfo is null")."""
PATIENCE = timedelta(minutes=10)
"""How long replies may be unreadable, or credit be missing, before we say that we cannot see the task."""

UNSAVED = "results are not saved"
"""The note of a watch that wants no files: what it leaves is not missing."""


class Facts(NamedTuple):
    """What the events so far add up to; `step` takes in one more. A tuple, since each look makes one of the last."""

    latest: Snapshot | None = None
    """The newest snapshot, or the final one once there is one: the first final word stands."""
    trouble: Miss | None = None
    """The last look, when it was a miss."""
    polls: int = 0
    misses: int = 0
    rate_limited: int = 0
    misses_in_a_row: int = 0
    progress: float | None = None
    """The furthest progress seen: servers step back now and then, a bar should not."""
    due: float | None = None
    """Since when its progress stands still, or the earliest finish that the server told in this state: POSIX seconds.

    No `datetime`, which ends in the year 9999: servers state any number of seconds.
    """
    last_look_at: datetime | None = None
    last_good_at: datetime | None = None
    skew_s: float | None = None
    """Server clock minus ours by the `Date` headers, half a second in doubt."""
    # So far what each look moves; `lasting` is the rest.
    ended: Mark | None = None
    """The last word that no snapshot said (`stopped`, `lost`, `refused`), until the task is watched again."""
    watching: Mark | None = None
    """How the newest watch began."""
    outputs: Mapping[str, Output] = NOTHING
    saves: Mapping[str, Saved] = NOTHING
    credits: float | None = None
    model: str | None = None
    params: Mapping[str, Any] = NOTHING
    """The newest that any reply said of these two: a final reply may be shorter than the ones before it."""
    submitting_at: datetime | None = None
    submitted_at: datetime | None = None
    first_look_at: datetime | None = None
    first_good_at: datetime | None = None
    queued_seen: bool = False
    running_at: datetime | None = None
    """When a look first found it running."""
    before_running_at: datetime | None = None
    """The good look before that one."""
    final_at: datetime | None = None
    before_final_at: datetime | None = None
    saved_at: datetime | None = None
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    resolution_s: float | None = None

    @property
    def lasting(self) -> tuple[Any, ...]:
        """All but what each look at a task that goes on moves."""
        return self[_MOVING:]

    def step(self, at: datetime, seen: Seen) -> Facts:
        """The facts with one more observation."""
        match seen:
            case Snapshot():
                return self._snapshot(at, seen)
            case Miss():
                return self._replace(
                    trouble=seen,
                    polls=self.polls + 1,
                    misses=self.misses + 1,
                    misses_in_a_row=self.misses_in_a_row + 1,
                    rate_limited=self.rate_limited + (seen.kind is MissKind.RATE_LIMITED),
                    first_look_at=self.first_look_at or at,
                    last_look_at=at,
                    skew_s=self._skew(at, seen.replied_at),
                )
            case Saved():
                saves = MappingProxyType({**self.saves, seen.name: seen})
                return self._replace(saves=saves, saved_at=at if seen.state is SaveState.SAVED else self.saved_at)
            case Mark():
                return self._mark(at, seen)

    def _skew(self, at: datetime, replied_at: datetime | None) -> float | None:
        if replied_at is None:
            return self.skew_s
        # `Date` is cut to whole seconds, so half a second is its expected error.
        now = (replied_at - at).total_seconds() + 0.5
        return now if self.skew_s is None else 0.8 * self.skew_s + 0.2 * now

    def _due(self, at: datetime, seen: Snapshot) -> float:
        before, left, now = self.latest, seen.seconds_left, at.timestamp()
        told = now if left is None else now + left
        if self.due is None or before is None or before.state is not seen.state:
            return told
        if left is None:
            return self.due if before.seconds_left is None and before.progress == seen.progress else told
        return told if before.seconds_left is None else min(self.due, told)

    def _snapshot(self, at: datetime, seen: Snapshot) -> Facts:
        final = seen.state.final
        running = seen.state is State.RUNNING and self.running_at is None
        # All of them by name: each look comes by here, and `_replace` takes twice as long.
        facts = Facts(
            latest=seen,
            ended=None if final else self.ended,
            watching=self.watching,
            trouble=None,
            outputs=_with(self.outputs, seen.outputs),
            saves=self.saves,
            polls=self.polls + 1,
            misses=self.misses,
            rate_limited=self.rate_limited,
            misses_in_a_row=0,
            progress=_further(self.progress, seen.progress),
            credits=seen.credits if seen.credits is not None else self.credits,
            model=seen.model or self.model,
            params=seen.params or self.params,
            submitting_at=self.submitting_at,
            submitted_at=self.submitted_at,
            first_look_at=self.first_look_at or at,
            first_good_at=self.first_good_at or at,
            last_look_at=at,
            queued_seen=self.queued_seen or seen.state is State.QUEUED,
            running_at=at if running else self.running_at,
            before_running_at=self.last_good_at if running else self.before_running_at,
            final_at=at if final else None,
            before_final_at=self.last_good_at if final else None,
            last_good_at=at,
            saved_at=self.saved_at,
            created=self.created or seen.created_at,
            started=self.started or seen.started_at,
            finished=seen.finished_at if final else None,
            resolution_s=seen.resolution_s or self.resolution_s,
            skew_s=self._skew(at, seen.replied_at),
            due=self._due(at, seen),
        )
        if self.latest is not None and self.latest.state.final:
            # Whatever a server says after its final word is recorded as an event and changes nothing but fresh links.
            return facts._replace(**{name: getattr(self, name) for name in _DECIDED})
        return facts

    def _mark(self, at: datetime, mark: Mark) -> Facts:
        match mark.word:
            case MarkWord.SUBMITTING:
                return self._replace(submitting_at=self.submitting_at or at)
            case MarkWord.SUBMITTED:
                return self._replace(submitted_at=self.submitted_at or at, ended=None)
            case MarkWord.STOPPED | MarkWord.LOST | MarkWord.REFUSED:
                final = self.latest is not None and self.latest.state.final
                return self if final else self._replace(ended=mark)
            case MarkWord.WATCHING:
                return self._replace(ended=None, watching=mark)
            case MarkWord.RESUMED:
                # What could not be saved is tried again: the disk may have room by now. Expired links do not come back.
                tried = {n: s for n, s in self.saves.items() if s.state is not SaveState.FAILED}
                return self._replace(ended=None, watching=mark, saves=MappingProxyType(tried), due=None)


_MOVING = Facts._fields.index("ended")
_DECIDED = (
    "latest", "ended", "progress", "queued_seen", "running_at", "before_running_at", "final_at", "before_final_at",
    "finished",
)  # fmt: skip
"""What a final word settles."""


def _further(known: float | None, new: float | None) -> float | None:
    """The larger of two, where None is unknown."""
    return known if new is None or (known is not None and known >= new) else new


def _with(known: Mapping[str, Output], new: tuple[Output, ...]) -> Mapping[str, Output]:
    """The outputs by name; a newer reply has the fresher link."""
    return MappingProxyType({**known, **{o.name: o for o in new}}) if new else known


_EMPTY = Facts()
_ENDS = {MarkWord.STOPPED: Outcome.STOPPED, MarkWord.LOST: Outcome.LOST, MarkWord.REFUSED: Outcome.FAILED}
"""What our own marks say of the outcome. A refused create is the API's no, so it failed."""


@dataclass(frozen=True, slots=True)
class History:
    """One task and everything seen of it, oldest first.

    Attributes:
        task: What is watched.
        events: Every observation, numbered from 1: a sequence that equals the tuple of them.
        origin: The API's scheme and host: the same id elsewhere is another task.
        uid: Our own sortable row name; a create in doubt has no id of the API's yet.
        facts: What the events add up to; the properties below are its public face.
    """

    task: Task
    events: Events = NO_EVENTS
    origin: str = ""
    uid: str = ""
    facts: Facts = field(default_factory=lambda: _EMPTY, repr=False, compare=False)  # short in `help()`

    def __post_init__(self) -> None:
        if not isinstance(self.events, Events):
            object.__setattr__(self, "events", Events.of(self.events))

    @classmethod
    def of(cls, task: Task, events: Iterable[Event], *, origin: str = "", uid: str = "") -> History:
        """A history read back: the facts are folded again from the events, which alone are the truth."""
        kept = Events.of(events)
        facts = _EMPTY
        for event in kept:
            facts = facts.step(event.at, event.seen)
        return cls(task, kept, origin, uid, facts)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(History.of, self.task, tuple(self.events), origin=self.origin, uid=self.uid), ()

    def add(self, seen: Seen, at: datetime) -> History:
        """The history with one more observation; this one stays as it is."""
        return History(self.task, self.events.add(seen, at), self.origin, self.uid, self.facts.step(at, seen))

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
        found = (s.file for s in self.facts.saves.values() if s.state is SaveState.SAVED and s.file)
        return tuple(Path(f) for f in dict.fromkeys(found))

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
        """Results that somebody wanted, that are not saved, and that may still be had: all but expired ones."""
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

    def looks(self) -> Iterator[Event]:
        """The events that are looks, newest first, back to where the watch last began anew."""
        for event in reversed(self.events):
            if isinstance(event.seen, Mark) and event.seen.word is MarkWord.RESUMED:
                return
            if isinstance(event.seen, Snapshot | Miss):
                yield event

    def __repr__(self) -> str:
        outcome = self.outcome
        words = [str(self.task), str(outcome or self.state or "not looked at yet")]
        if self.files:
            words.append(f"{len(self.files)} file{'s' * (len(self.files) != 1)}")
        if self.error:
            words.append(f"({clean(self.error, 80)})")
        return f"<History {' '.join(words)}>"

    def _repr_html_(self) -> str:
        from ._card_line import history_line

        return history_line(self)


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


def verdict(history: History, now: datetime, *, confirm: frozenset[str] = frozenset()) -> Mark | None:
    """The mark `lost` when the looks so far say that we cannot see this task any more, else None.

    A fault of the network, the server or the rate limit never ends a watch, however long it lasts.

    Args:
        history: What was seen, including the newest look.
        now: UTC.
        confirm: The provider's words that its docs call final although they say nothing (Tripo's `unknown`): seen
            twice in a row they end the watch.
    """
    streak: list[Event] = []
    for event in history.looks():
        if isinstance(event.seen, Snapshot) and event.seen.state is not State.UNKNOWN:
            break
        streak.append(event)
    if not streak:
        return None
    newest, previous = streak[0].seen, streak[1].seen if len(streak) > 1 else None

    if isinstance(newest, Miss) and isinstance(previous, Miss):
        same = newest.kind is previous.kind
        if same and newest.kind in {MissKind.REFUSED, MissKind.BAD_REQUEST}:
            return _lost(f"the API refused two looks in a row: {newest}")
        if same and newest.kind is MissKind.NOT_FOUND and streak[1].at - _begin(history) >= GRACE:
            return _lost(f"the API does not know this id, or the task belongs to another key ({newest})")
    if isinstance(newest, Snapshot) and isinstance(previous, Snapshot) and newest.word == previous.word in confirm:
        said = f'the API says "{clean(newest.word, 40)}" twice and documents it as final'
        return _lost(f"{said}; ask its support about {clean(history.task.id, 80)}")

    for group, what in ((_no_credit, "no credit"), (_unreadable, "unreadable replies")):
        run = []
        for event in streak:
            if not group(event.seen):
                break
            run.append(event)
        # Several looks, not only a long time: a laptop that slept between two of them saw nothing.
        if len(run) >= 4 and now - run[-1].at >= PATIENCE:
            return _lost(f"10 minutes of {what}: {_words(run[0].seen)}")
    return None


def too_new(history: History) -> bool:
    """Whether the API, which has never told of this task, says that it does not know it, and may do so yet."""
    facts = history.facts
    if facts.trouble is None or facts.trouble.kind is not MissKind.NOT_FOUND or facts.latest is not None:
        return False
    return facts.last_look_at is not None and facts.last_look_at - _begin(history) < GRACE


def _begin(history: History) -> datetime:
    """Since when the API should know the task."""
    facts = history.facts
    known = facts.submitted_at or facts.submitting_at or facts.created or facts.first_look_at
    assert known is not None  # a look has happened
    return known


def _no_credit(seen: Seen) -> bool:
    return isinstance(seen, Miss) and seen.kind is MissKind.NO_CREDIT


def _unreadable(seen: Seen) -> bool:
    return isinstance(seen, Snapshot) or (isinstance(seen, Miss) and seen.kind is MissKind.GARBLED)


def _words(seen: Seen) -> str:
    return f'unknown state "{clean(seen.word, 40)}"' if isinstance(seen, Snapshot) else str(seen)


def _lost(note: str) -> Mark:
    return Mark(word=MarkWord.LOST, note=clean(note))
