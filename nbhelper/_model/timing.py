"""When a task began and how long it took: which clock says so, and how far the number may be off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from .facts import Facts
from .history import History

TimeSource = Literal["server", "observed", "mixed"]

TIMES = (
    "submitted_at",
    "created_at",
    "first_seen_at",
    "started_at",
    "finished_at",
    "finished_seen_at",
    "saved_at",
)
"""The fields of `Timing` that are times."""

_DATE_DOUBT = 0.5
"""Seconds that the skew between two clocks is in doubt: the `Date` header is cut to whole seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times (UTC) and durations (seconds) of one task; None is unknown, never zero.

    Attributes:
        submitted_at: When the create was accepted (or sent, when its answer is in doubt); our clock.
        created_at: When the server says it began to exist; its clock.
        first_seen_at: The first good look; our clock.
        started_at: When it left the queue: the server's time, else the middle between the looks around it.
        finished_at: The server's time, else the middle between the looks around it.
        finished_seen_at: The look that brought the final word; our clock.
        saved_at: The last file saved so far; our clock.
        queue_s: From the start of `total_s` to `started_at`.
        run_s: From `started_at` to `finished_at`.
        total_s: From `created_at`, else `submitted_at`, to `finished_at`; from `submitted_at` to an observed finish
            where nothing tells how the server's clock differs from ours.
        delivered_s: From `submitted_at` to `saved_at`.
        time_source: Whose clock `total_s` was read from; of the finish alone where the start is unknown.
        uncertainty_s: How far `total_s` may be off (the finish, where the start is unknown).
        lag_s: From the server's finish to the look that saw it.
    """

    submitted_at: datetime | None = None
    created_at: datetime | None = None
    first_seen_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    finished_seen_at: datetime | None = None
    saved_at: datetime | None = None
    queue_s: float | None = None
    run_s: float | None = None
    total_s: float | None = None
    delivered_s: float | None = None
    time_source: TimeSource | None = None
    uncertainty_s: float | None = None
    lag_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """A time, whose clock it was read from, and the seconds it may be off for not having been seen."""

    at: datetime
    server: bool = False
    doubt: float = 0.0


class Begin(NamedTuple):
    """When a task began to exist.

    Attributes:
        at: By our clock, UTC; the first look where nobody knows the begin.
        known: Whether the server told it, or we created the task.
        doubt: How many seconds `at` may be off; None where nothing bounds it.
    """

    at: datetime
    known: bool
    doubt: float | None = None


def begin(facts: Facts) -> Begin | None:
    """When the task began: the one answer for pace, card, table and the filter of rows; None before any event.

    It is the server's creation where the `Date` headers tell how its clock differs from ours, kept within the time that
    our own create took; else our own submission, else the server's creation as if the clocks were equal, else the first
    look.
    """
    start = _start(facts, server=False)
    if start is None:
        return Begin(facts.first_look_at, known=False) if facts.first_look_at is not None else None
    if not start.server:
        return Begin(start.at, known=True, doubt=start.doubt)
    if facts.skew_s is None:
        return Begin(start.at, known=True)
    doubt = None if facts.resolution_s is None else facts.resolution_s + _DATE_DOUBT
    return Begin(start.at - timedelta(seconds=facts.skew_s), known=True, doubt=doubt)


def timing(history: History) -> Timing:
    """Every time and duration that the history supports.

    * The start is the server's creation, else the submission; where the finish is our observation, the start is that of
      `begin`. The finish is the server's, else the middle between the
      final look and the last thing that showed the task unfinished: the good look before it, or our own submission. A
      task that was already over at its first look has no observed finish.
    * Each column keeps the reading of its own clock. Only a duration between two clocks is corrected, by the skew that
      the `Date` headers show (`Facts.skew_s`); without any such header the clocks are taken as equal and
      `uncertainty_s` is missing, because nothing bounds it.
    * `uncertainty_s` is half of the time between the two looks around an observed finish, plus the time that the create
      took to answer where the submission is the start, plus the resolution of the server's clock where it was read,
      plus half a second where two clocks mix.
    * Queue and run are told apart only where the history shows both: a look that said queued and a later one that said
      running, or the server's own start. A word that covers both gives neither.
    * A duration below zero is missing. So is a lag, unless the clocks' doubt explains it: then the lag is 0.
    """
    facts = history.facts
    started, finish = _started(facts), _finish(facts)
    start = _start(facts, server=finish is not None and finish.server)
    queued = _start(facts, server=started is not None and started.server)
    source, doubt = _source(facts, start, finish)
    submitted = facts.submitted_at or facts.submitting_at
    saved = _Point(at=facts.saved_at) if facts.saved_at else None
    return Timing(
        submitted_at=submitted,
        created_at=facts.created,
        first_seen_at=facts.first_good_at,
        started_at=started.at if started else None,
        finished_at=finish.at if finish else None,
        finished_seen_at=facts.final_at,
        saved_at=facts.saved_at,
        queue_s=_seconds(facts, queued, started),
        run_s=_seconds(facts, started, finish),
        total_s=_seconds(facts, start, finish),
        delivered_s=_seconds(facts, _Point(at=submitted), saved) if submitted else None,
        time_source=source,
        uncertainty_s=doubt,
        lag_s=_lag(facts),
    )


def _start(facts: Facts, *, server: bool) -> _Point | None:
    """The known begin, for a duration that ends on the server's clock, or on ours."""
    ours = facts.submitted_at or facts.submitting_at
    if facts.created is not None and (server or facts.skew_s is not None or ours is None):
        return _Point(at=facts.created if server else _within_create(facts, facts.created), server=True)
    if ours is None:
        return None
    # The task began somewhere between sending the create and reading its answer.
    sent = facts.submitting_at or ours
    return _Point(at=ours, doubt=max(0.0, (ours - sent).total_seconds()))


def _within_create(facts: Facts, created: datetime) -> datetime:
    """`created`, no earlier than our create was sent and no later than its answer; all on the server's clock.

    A server that cuts its times to whole seconds states one before the create was sent.
    """
    skew = timedelta(seconds=facts.skew_s or 0.0)
    if facts.submitted_at is not None:
        created = min(created, facts.submitted_at + skew)
    if facts.submitting_at is not None:
        created = max(created, facts.submitting_at + skew)
    return created


def _started(facts: Facts) -> _Point | None:
    if facts.started is not None:
        return _Point(at=facts.started, server=True)
    if not facts.queued_seen or facts.running_at is None or facts.before_running_at is None:
        return None
    return _middle(facts.before_running_at, facts.running_at)


def _finish(facts: Facts) -> _Point | None:
    if facts.final_at is None:
        return None
    if facts.finished is not None:
        return _Point(at=facts.finished, server=True)
    unfinished = facts.before_final_at or facts.submitted_at or facts.submitting_at
    return _middle(unfinished, facts.final_at) if unfinished else None


def _middle(before: datetime, after: datetime) -> _Point | None:
    width = after - before
    if width.total_seconds() < 0:  # our own clock was set back in between
        return None
    return _Point(at=before + width / 2, doubt=width.total_seconds() / 2)


def _seconds(facts: Facts, start: _Point | None, end: _Point | None) -> float | None:
    if start is None or end is None:
        return None
    seconds = (end.at - start.at).total_seconds()
    if start.server != end.server:
        skew = facts.skew_s or 0.0
        seconds += skew if start.server else -skew
    return round(seconds, 6) if seconds >= 0 else None


def _source(facts: Facts, start: _Point | None, finish: _Point | None) -> tuple[TimeSource | None, float | None]:
    """Whose clocks were read, and how far the result may be off."""
    if finish is None:
        return None, None
    points = [finish] if start is None else [start, finish]
    servers = {point.server for point in points}
    doubt = sum(point.doubt for point in points)
    if servers == {False}:
        return "observed", round(doubt, 6)
    source: TimeSource = "mixed" if len(servers) == 2 else "server"
    if facts.resolution_s is None or (source == "mixed" and facts.skew_s is None):
        return source, None
    return source, round(doubt + facts.resolution_s + (_DATE_DOUBT if source == "mixed" else 0.0), 6)


def _lag(facts: Facts) -> float | None:
    if facts.finished is None or facts.final_at is None:
        return None
    lag = (facts.final_at - facts.finished).total_seconds() + (facts.skew_s or 0.0)
    if lag < 0 and facts.skew_s is not None and -lag <= (facts.resolution_s or 0.0) + _DATE_DOUBT:
        return 0.0
    return round(lag, 6) if lag >= 0 else None
