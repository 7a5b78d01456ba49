"""A history in words: its state, times, files and trouble, said once for terminal, card and gallery.

Every function takes a history (or several) and the present moment and returns plain text or a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from .._model.events import Saved
from .._model.history import History
from .._model.lost_sight import too_new
from .._model.misses import MissKind
from .._model.states import Outcome, SaveState, State
from .._model.text import clean, seconds, size
from .._model.timing import begin, timing

GLYPHS: Mapping[str, str] = {
    State.QUEUED: "○",
    State.RUNNING: "◐",
    State.UNKNOWN: "?",
    Outcome.SUCCEEDED: "✓",
    Outcome.FAILED: "✗",
    Outcome.CANCELLED: "⊘",
    Outcome.EXPIRED: "⌛",
    Outcome.LOST: "?",
    Outcome.STOPPED: "■",
}
"""A sign for each state; `glyph_of` knows one for the others."""
_LONG: Mapping[str | None, str] = {
    None: "waiting for the first look",
    State.UNKNOWN: "unknown state",
    Outcome.LOST: "lost sight of it",
    Outcome.STOPPED: "stopped watching",
}
_COUNTED = ("running", "queued", "waiting", "unsent", "unknown", "succeeded")
"""The order of counts; what ended otherwise comes last."""
_ENDED_BADLY = 1
"""The rank of failed, cancelled, expired, lost and stopped tasks."""
_RANKS: Mapping[str | None, int] = {State.RUNNING: 0, State.UNKNOWN: 2, State.QUEUED: 3, None: 4, Outcome.SUCCEEDED: 6}
_UNSENT = 5
_OVERDUE = 10.0
"""Seconds behind the server's own estimate after which a task is said to take longer than usual."""
_REPEAT = re.compile(r" #\d+$")


# Tasks and states


def unique(histories: Iterable[History]) -> list[History]:
    """Each task once, in the order given."""
    return list({key_of(h): h for h in histories}.values())


def key_of(history: History) -> str:
    """What tells one task of a watch from the others."""
    return history.uid or str(history.task)


def name_of(history: History) -> str:
    """What a person calls a task: its label, else its prompt, else its id."""
    if history.task.label:
        return history.task.label
    for params in (history.task.params, history.snapshot.params if history.snapshot else {}):
        inner = params.get("input")
        for holder in (params, inner if isinstance(inner, Mapping) else {}):
            prompt = holder.get("prompt")
            if isinstance(prompt, str) and prompt.strip():
                return prompt
    return history.task.id if history.created else history.task.provider


def ends_with_provider(name: str, provider: str) -> bool:
    """Whether a name says its provider, as those of a grid over APIs do: `an owl, kie`, `an owl, kie #2`."""
    return _REPEAT.sub("", name.casefold()).endswith(provider.casefold())


def state_of(history: History) -> State | Outcome | None:
    """What a row shows: the outcome once there is one; None before the first look."""
    return history.outcome or history.state


def word_of(history: History) -> str:
    """The state in one word: `unsent` for a task that waits to be submitted, `waiting` for the first look."""
    state = state_of(history)
    return str(state) if state is not None else "waiting" if history.created else "unsent"


def words_of(history: History) -> str:
    """The state in a few words, for a card of one task."""
    state = state_of(history)
    if state is None and not history.created:
        return "waiting to be submitted"
    if state is None and history.facts.polls:
        return "waiting for an answer"
    words = _LONG.get(state, str(state))
    if state is State.UNKNOWN and history.snapshot is not None:
        words += f' "{clean(history.snapshot.word, 30)}"'
    return words


def glyph_of(state: str | None) -> str:
    """The sign of a state or of a word that `word_of` gives."""
    return "◌" if state is None else GLYPHS.get(state, "◌")


def is_over(history: History) -> bool:
    """Whether the server has ended it. `lost` and `stopped` are ends of our watching: the task goes on."""
    return history.outcome not in {None, Outcome.LOST, Outcome.STOPPED}


def count_states(histories: Iterable[History]) -> dict[str, int]:
    """How many tasks stand at each word of `word_of`, those under way first."""
    counts: dict[str, int] = {}
    for history in histories:
        word = word_of(history)
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda kv: _COUNTED.index(kv[0]) if kv[0] in _COUNTED else len(_COUNTED)))


def describe_counts(histories: Iterable[History]) -> str:
    """`2 running, 1 failed`: how many tasks stand at each word of `word_of`, those under way first."""
    return ", ".join(f"{n:,} {word}" for word, n in count_states(histories).items())


def ended_badly(history: History) -> bool:
    """Whether it ended in any other way than success, `lost` and `stopped` included."""
    return _rank(history) == _ENDED_BADLY


def select_rows(histories: Sequence[History], limit: int) -> list[History]:
    """The tasks that have a row: running ones first, and failures in up to half of the rows however many run."""
    ordered = sorted(histories, key=_rank)
    failed = [h for h in ordered[limit:] if ended_badly(h)][: limit // 2]
    return [*ordered[: limit - len(failed)], *failed]


def _rank(history: History) -> int:
    state = state_of(history)
    if state is None and not history.created:
        return _UNSENT
    return _RANKS.get(state, _ENDED_BADLY)


# Times


def elapsed(history: History, now: datetime) -> float | None:
    """Seconds since the task began, up to the last look where we stopped; once its end is seen, what the tables say."""
    facts = history.facts
    if facts.final_at is not None:
        return timing(history).total_s
    begun, end = begin(facts), facts.last_look_at if history.outcome else now
    return max(0.0, (end - begun.at).total_seconds()) if begun and end else None


def elapsed_together(histories: Sequence[History], now: datetime) -> float | None:
    """Seconds from the first beginning of several tasks to now, or to their last end once none is under way."""
    begins = [begun.at for h in histories if (begun := begin(h.facts)) is not None]
    if not begins:
        return None
    ends = [h.facts.final_at or h.facts.last_look_at or now for h in histories]
    until = now if any(h.outcome is None for h in histories) else max(ends)
    return max(0.0, (until - min(begins)).total_seconds())


def is_start_known(history: History) -> bool:
    """Whether anybody knows when the task began: the server says it, or we created it."""
    begun = begin(history.facts)
    return begun is not None and begun.known


def describe_watched_time(history: History, now: datetime) -> str:
    """`watched for 8.2 s`, from the first look to the last: for a task whose start nobody knows."""
    facts = history.facts
    until = facts.final_at or (facts.last_look_at if history.outcome else now)
    if facts.first_look_at is None or until is None or until <= facts.first_look_at:
        return ""
    return f"watched for {seconds((until - facts.first_look_at).total_seconds())}"


def describe_time(history: History, now: datetime) -> str:
    """How long it took, or takes; where nobody knows its start, how long we have watched."""
    if not is_start_known(history):
        return describe_watched_time(history, now)
    span = elapsed(history, now)
    if span is None:
        return ""
    if history.outcome is None:
        return f"{seconds(span)} elapsed"
    return seconds(span) if is_over(history) else f"last seen after {seconds(span)}"


def describe_end(history: History, now: datetime) -> str:
    """What follows the word for an end: ` after 8.2 s`, `, watched for 8.2 s`, or nothing."""
    if history.outcome is None:
        return ""
    if not is_start_known(history):
        return f", {words}" if (words := describe_watched_time(history, now)) else ""
    span = elapsed(history, now)
    return f" after {seconds(span)}" if span is not None else ""


def describe_time_left(history: History, now: datetime) -> str:
    """`about 12 s left`, `should finish soon`, `longer than usual`, or nothing where the server does not say."""
    latest, looked = history.snapshot, history.facts.last_good_at
    if latest is None or latest.seconds_left is None or looked is None or history.outcome is not None:
        return ""
    left = latest.seconds_left - (now - looked).total_seconds()
    if left >= 1.5:
        return f"about {seconds(left)} left"
    return "longer than usual" if _is_overdue(history, now) else "should finish soon"


def _is_overdue(history: History, now: datetime) -> bool:
    """Whether it is late by half of what the server's first estimate allowed, and by more than `_OVERDUE`."""
    first = history.facts.first_estimate
    assert first is not None  # the server has told one
    late = (now - first.at).total_seconds() - first.value
    return late > max(_OVERDUE, ((elapsed(history, now) or 0.0) - late) / 2)


# Progress, files and trouble


def percent(history: History) -> int | None:
    """The progress of a task under way, never whole before the server says so."""
    progress = history.facts.progress
    return None if progress is None else min(99, round(progress * 100))


def saved_files(history: History) -> list[Saved]:
    """The outputs that are on disk."""
    return [s for s in history.saves.values() if s.state is SaveState.SAVED]


def unsaved_files(history: History) -> list[Saved]:
    """The outputs that could not be saved."""
    return [s for s in history.saves.values() if s.state is not SaveState.SAVED]


def describe_saved(saved: Sequence[Saved]) -> str:
    """`2 files, 1.2 MB`."""
    return f"{len(saved):,} file{'s' * (len(saved) != 1)}, {size(sum(s.n_bytes or 0 for s in saved))}"


def describe_files(history: History) -> list[str]:
    """What is saved, what is being saved, and that a success named no file."""
    words = []
    if saved := saved_files(history):
        words.append(describe_saved(saved))
    if (going := len(history.outputs) - len(history.saves)) > 0:
        words.append(f"saving {going} file{'s' * (going != 1)}")
    if history.outcome is Outcome.SUCCEEDED and not history.outputs:
        words.append("no file in the reply")
    return words


def describe_trouble(history: History, limit: int) -> str:
    """Why the last look gave no snapshot: the server's words, cut; ours before them where its alone are unclear."""
    words = clean(history.facts.trouble or "", limit)
    return f"the API does not know this id yet ({words})" if too_new(history) else words


def advise(history: History) -> str:
    """What to expect after the last look's miss, where its text alone would alarm."""
    miss = history.facts.trouble
    if miss is not None and miss.kind is MissKind.NO_CREDIT:
        return ". The task itself may still finish; nothing is submitted again."
    return ""


def describe_details(history: History, now: datetime) -> str:
    """What there is to say about a task besides its state, in one line."""
    facts, latest = history.facts, history.snapshot
    parts: list[str] = []
    if history.outcome is None:
        if latest is not None and latest.queue_position is not None:
            parts.append(f"{latest.queue_position} ahead in the queue")
        if left := describe_time_left(history, now):
            parts.append(left)
        if latest is not None and latest.state is State.UNKNOWN:
            parts.append(f'the API says "{clean(latest.word, 30)}"')
        if facts.trouble is not None:
            misses = facts.misses_in_a_row
            again = "trying again" if misses == 1 else f"{misses} misses, trying again"
            parts.append(f"{describe_trouble(history, 60)}, {again}")
    elif history.error:
        parts.append(clean(history.error, 70))
    parts += describe_files(history)
    parts += [f"{clean(s.name, 24)} not saved: {clean(s.message, 50)}" for s in unsaved_files(history)]
    if history.credits is not None:
        parts.append(f"{history.credits:g} credits")
    return ", ".join(parts)


def describe_all(histories: Sequence[History], now: datetime, limit: int = 50) -> str:
    """One line of text for each task: what a saved notebook says where no HTML is shown; nothing of no task."""
    lines: list[str] = []
    for history in histories[:limit]:
        more = describe_details(history, now)
        name = f" ({clean(history.task.label, 60)})" if history.task.label else ""
        task = clean(history.task, 100) if history.created else history.task.provider
        lines.append(f"{task}{name}: {word_of(history)}{describe_end(history, now)}{f', {more}' if more else ''}")
    if (rest := len(histories) - limit) > 0:
        lines.append(f"and {rest} more")
    return "\n".join(lines)
