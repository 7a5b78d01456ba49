"""What the events of one task add up to: a tuple of fixed size, folded one observation at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from .events import Mark, Output, Saved, Seen, Snapshot
from .fields import NOTHING
from .misses import Miss, MissKind
from .states import MarkWord, SaveState, State

SLOPE = 0.25
"""The gain in progress over which its slope is measured."""
_STEP = 0.05
"""The change in progress from one remembered point to the next."""
_POINTS = 8
"""The most points remembered, for servers whose progress goes up and down."""


class Run(NamedTuple):
    """Looks in a row, up to the newest one, that met the same trouble.

    Attributes:
        what: The trouble: the kind of a miss, or the state word that nobody declared.
        looks: How many.
        since: When the first of them was answered.
        previous_at: When the last but one of them was; None for a single look.
    """

    what: str
    looks: int
    since: datetime
    previous_at: datetime | None = None


class Point(NamedTuple):
    """A number in a reply (progress, place in the queue, seconds left), and when the reply came."""

    at: datetime
    value: float


class Facts(NamedTuple):
    """What the events so far add up to; `step` takes in one more."""

    latest: Snapshot | None = None
    """The newest snapshot, or the final one once there is one: the first final word stands."""
    trouble: Miss | None = None
    """The last look, when it was a miss."""
    same_trouble: Run | None = None
    """The newest looks that met the same trouble; None after a good look and after `resumed`."""
    unreadable: Run | None = None
    """The newest looks whose replies nobody could read: garbled, or with an undeclared state word, mixed."""
    polls: int = 0
    misses: int = 0
    rate_limited: int = 0
    misses_in_a_row: int = 0
    progress: float | None = None
    """The furthest progress seen: servers step back now and then, a bar should not."""
    climb: tuple[Point, ...] = ()
    """Progress of the running task since it was last queued, unknown or resumed: a few points, for its slope."""
    first_place: Point | None = None
    """The first place in the queue, while each reply since then had one."""
    first_estimate: Point | None = None
    """The first number of seconds left in a reply."""
    due: float | None = None
    """When `progress` last changed, or the earliest finish by `seconds_left` in this state: POSIX seconds.

    No `datetime`, which ends in the year 9999: servers state any number of seconds.
    """
    last_look_at: datetime | None = None
    last_good_at: datetime | None = None
    skew_s: float | None = None
    """Server clock minus ours by the `Date` headers, half a second in doubt."""
    ended: Mark | None = None
    """The newest mark that ends a watch (`stopped`, `lost`, `refused`), until the task is watched again."""
    watching: Mark | None = None
    """How the newest watch began."""
    outputs: Mapping[str, Output] = NOTHING
    saves: Mapping[str, Saved] = NOTHING
    credits: float | None = None
    model: str | None = None
    params: Mapping[str, Any] = NOTHING
    """`credits`, `model` and `params` are the newest of any reply up to the final one, which may be shorter."""
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

    def __reduce__(self) -> tuple[Any, ...]:
        # A mappingproxy cannot be pickled; plain dicts can, and `_unpickled` wraps them again.
        return _unpickled, tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in self)

    def step(self, at: datetime, seen: Seen) -> Facts:
        """The facts with one more observation."""
        match seen:
            case Snapshot():
                return self._add_snapshot(at, seen)
            case Miss():
                return self._add_miss(at, seen)
            case Saved():
                saves = MappingProxyType({**self.saves, seen.name: seen})
                return self._replace(saves=saves, saved_at=at if seen.state is SaveState.SAVED else self.saved_at)
            case Mark():
                return self._add_mark(at, seen)

    def _add_snapshot(self, at: datetime, seen: Snapshot) -> Facts:
        final, unknown = seen.state.final, seen.state is State.UNKNOWN
        begins_to_run = seen.state is State.RUNNING and self.running_at is None
        facts = self._replace(
            latest=seen,
            ended=None if final else self.ended,
            trouble=None,
            same_trouble=self._extend_run(self.same_trouble, f"word {seen.word}", at) if unknown else None,
            unreadable=self._extend_run(self.unreadable, "unreadable", at) if unknown else None,
            outputs=_add_outputs(self.outputs, seen.outputs),
            polls=self.polls + 1,
            misses_in_a_row=0,
            progress=_larger(self.progress, seen.progress),
            climb=_extend_climb(self.climb, at, seen),
            first_place=_first_place_of(self.first_place, at, seen),
            first_estimate=self.first_estimate or _point_of(at, seen.seconds_left),
            due=self._update_due(at, seen),
            credits=seen.credits if seen.credits is not None else self.credits,
            model=seen.model or self.model,
            params=seen.params or self.params,
            first_look_at=self.first_look_at or at,
            first_good_at=self.first_good_at or at,
            last_look_at=at,
            last_good_at=at,
            queued_seen=self.queued_seen or seen.state is State.QUEUED,
            running_at=at if begins_to_run else self.running_at,
            before_running_at=self.last_good_at if begins_to_run else self.before_running_at,
            final_at=at if final else None,
            before_final_at=self.last_good_at if final else None,
            created=self.created or seen.created_at,
            started=self.started or seen.started_at,
            finished=seen.finished_at if final else None,
            resolution_s=seen.resolution_s or self.resolution_s,
            skew_s=self._update_skew(at, seen.replied_at),
        )
        if self.latest is not None and self.latest.state.final:
            return facts._replace(**{name: getattr(self, name) for name in _SETTLED})
        return facts

    def _add_miss(self, at: datetime, seen: Miss) -> Facts:
        garbled = seen.kind is MissKind.GARBLED
        return self._replace(
            trouble=seen,
            same_trouble=self._extend_run(self.same_trouble, f"miss {seen.kind}", at),
            unreadable=self._extend_run(self.unreadable, "unreadable", at) if garbled else None,
            polls=self.polls + 1,
            misses=self.misses + 1,
            misses_in_a_row=self.misses_in_a_row + 1,
            rate_limited=self.rate_limited + (seen.kind is MissKind.RATE_LIMITED),
            first_look_at=self.first_look_at or at,
            last_look_at=at,
            skew_s=self._update_skew(at, seen.replied_at),
        )

    def _add_mark(self, at: datetime, mark: Mark) -> Facts:
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
                # Failed saves are tried again: the disk may have room by now. Expired links do not come back.
                tried = {n: s for n, s in self.saves.items() if s.state is not SaveState.FAILED}
                return self._replace(
                    ended=None,
                    watching=mark,
                    saves=MappingProxyType(tried),
                    same_trouble=None,
                    unreadable=None,
                    climb=(),
                    first_place=None,
                    due=None,
                )

    def _extend_run(self, run: Run | None, what: str, at: datetime) -> Run:
        """The run of looks with one more, or a new one where this look met another trouble."""
        if run is None or run.what != what:
            return Run(what, 1, at)
        return Run(what, run.looks + 1, run.since, self.last_look_at)

    def _update_skew(self, at: datetime, replied_at: datetime | None) -> float | None:
        if replied_at is None:
            return self.skew_s
        # `Date` is cut to whole seconds, so half a second is its expected error.
        now = (replied_at - at).total_seconds() + 0.5
        return now if self.skew_s is None else 0.8 * self.skew_s + 0.2 * now

    def _update_due(self, at: datetime, seen: Snapshot) -> float:
        before, left, now = self.latest, seen.seconds_left, at.timestamp()
        finish = now if left is None else now + left
        if self.due is None or before is None or before.state is not seen.state:
            return finish
        if left is None:
            return self.due if before.seconds_left is None and before.progress == seen.progress else finish
        return finish if before.seconds_left is None else min(self.due, finish)


NO_FACTS = Facts()

_SETTLED = (
    "latest", "ended", "progress", "credits", "model", "params", "queued_seen", "running_at", "before_running_at",
    "final_at", "before_final_at", "finished",
)  # fmt: skip
"""The fields that no look after the final one changes; of later snapshots only links and counts are taken."""


def _unpickled(*values: Any) -> Facts:
    return Facts._make(MappingProxyType(v) if isinstance(v, dict) else v for v in values)


def _larger(known: float | None, new: float | None) -> float | None:
    """The larger of two, where None is unknown."""
    return known if new is None or (known is not None and known >= new) else new


def _add_outputs(known: Mapping[str, Output], new: tuple[Output, ...]) -> Mapping[str, Output]:
    """The outputs by name; a newer reply has the fresher link."""
    return MappingProxyType({**known, **{o.name: o for o in new}}) if new else known


def _point_of(at: datetime, value: float | None) -> Point | None:
    return None if value is None else Point(at, value)


def _first_place_of(known: Point | None, at: datetime, seen: Snapshot) -> Point | None:
    """The place in the queue of the first of the newest replies in a row that have one."""
    if seen.state is not State.QUEUED or seen.queue_position is None:
        return None
    return known or Point(at, seen.queue_position)


def _extend_climb(points: tuple[Point, ...], at: datetime, seen: Snapshot) -> tuple[Point, ...]:
    """The points with this look's progress, where it changed by `_STEP`; older ones than `SLOPE` needs are left out."""
    if seen.state is not State.RUNNING or seen.progress is None:
        return ()
    if points and abs(seen.progress - points[-1].value) < _STEP:
        return points
    while len(points) > 1 and seen.progress - points[1].value >= SLOPE:
        points = points[1:]
    return (*points[1 - _POINTS :], Point(at, seen.progress))
