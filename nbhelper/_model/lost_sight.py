"""When a watch ends as `lost`, because looks no longer show the task: a pure function of its facts."""

from __future__ import annotations

from datetime import datetime, timedelta

from .events import Mark
from .facts import Facts, Run
from .history import History
from .misses import MissKind
from .states import MarkWord
from .text import clean
from .timing import begin

GRACE = timedelta(seconds=60)
"""How long "not found" may mean that the API has not stored its new task yet (kie.ai's "recordInfo is null")."""
PATIENCE = timedelta(minutes=10)
"""How long replies may be unreadable, or credit be missing, before the task is `lost`."""
_ENOUGH = 4
"""The fewest looks in that time: a laptop that slept between two looks saw nothing."""


def verdict(history: History, now: datetime, *, confirm: frozenset[str] = frozenset()) -> Mark | None:
    """The mark `lost` when the looks so far do not show this task any more, else None.

    A fault of the network, the server or the rate limit never ends a watch, however long it lasts.

    Args:
        history: What was seen, including the newest look.
        now: UTC.
        confirm: The provider's words that its docs call final although they say nothing (Tripo's `unknown`): seen
            twice in a row they end the watch.
    """
    facts = history.facts
    miss, latest, same, unreadable = facts.trouble, facts.latest, facts.same_trouble, facts.unreadable
    if same is None or (latest is not None and latest.state.final):
        return None
    if same.previous_at is not None:
        if miss is None and latest is not None and latest.word in confirm:
            why = f'the API says "{clean(latest.word, 40)}" twice and documents it as final'
            return _lost(f"{why}; ask its support about {clean(history.task.id, 80)}")
        if miss is not None and miss.kind in {MissKind.REFUSED, MissKind.BAD_REQUEST}:
            return _lost(f"the API refused two looks in a row: {miss}")
        if miss is not None and miss.kind is MissKind.NOT_FOUND and same.previous_at - _begin(facts) >= GRACE:
            return _lost(f"the API does not know this id, or the task belongs to another key ({miss})")
    if miss is not None and miss.kind is MissKind.NO_CREDIT and _is_long(same, now):
        return _lost(f"10 minutes of no credit: {miss}")
    if unreadable is not None and _is_long(unreadable, now):
        words = f'unknown state "{clean(latest.word, 40)}"' if miss is None and latest is not None else miss
        return _lost(f"10 minutes of unreadable replies: {words}")
    return None


def too_new(history: History) -> bool:
    """Whether the last look was "not found", no look was good yet, and the task is younger than `GRACE`."""
    facts = history.facts
    if facts.trouble is None or facts.trouble.kind is not MissKind.NOT_FOUND or facts.latest is not None:
        return False
    return facts.last_look_at is not None and facts.last_look_at - _begin(facts) < GRACE


def _begin(facts: Facts) -> datetime:
    """Since when the API should know the task."""
    begun = begin(facts)
    assert begun is not None  # a look has happened
    return begun.at


def _is_long(run: Run, now: datetime) -> bool:
    return run.looks >= _ENOUGH and now - run.since >= PATIENCE


def _lost(note: str) -> Mark:
    return Mark(word=MarkWord.LOST, note=clean(note))
