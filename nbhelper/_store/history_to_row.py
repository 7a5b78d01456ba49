"""The columns of `tasks()`: the value of each for a history, as a row of the table `summaries`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._model.history import History
from .._model.json_text import loads
from .._model.states import SaveState, State
from .._model.task import NO_ID, Task
from .._model.text import storable
from .._model.times import iso
from .._model.timing import TIMES, begin, timing
from .codec import kept_path, plain

Row = dict[str, Any]


def summary_row(
    history: History,
    folder: Path | None = None,
    *,
    task: Task | None = None,
    endpoint: str | None = None,
    model: str | None = None,
    experiment: str | None = None,
    repeat: int | None = None,
) -> dict[str, Any]:
    """Every column of `tasks()` that is derived from the history, as JSON; an unknown value is None.

    A value that is added here is a column of the table `summaries`: raise `VERSION` in `schema.py`. To show it, name it
    in `TASKS` in `_tables/columns.py`.

    Args:
        history: The history.
        folder: The store's folder, to which the paths of files are made relative; None keeps them absolute.
        task: The task of the row, where it has more than the history's task; its parameters are plain JSON.
        endpoint: The endpoint of the create; like the next three it is in no event.
        model: The model to show where neither a reply nor the request names one.
        experiment: The experiment's name.
        repeat: Which repetition of a cell it is.
    """
    facts, times, begun = history.facts, timing(history), begin(history.facts)
    params = task.params if task and task.params else plain(history.task.params or facts.params)
    task = task or history.task
    named = model or params.get("model")
    code, message = _reason(history)
    seen_at = {name: iso(at) if (at := getattr(times, name)) else None for name in TIMES}
    saved = [s for s in facts.saves.values() if s.state is SaveState.SAVED]
    sizes = {s.file or s.name: s.n_bytes for s in saved}  # equal bytes are one file
    root = Path() if folder is None else folder
    return {
        "uid": history.uid,
        "begun": iso(begun.at if begun else _time_of(history.uid)),
        "provider": task.provider,
        "task_id": None if task.id == NO_ID else task.id,
        "label": task.label,
        "experiment": experiment,
        "repeat": repeat,
        "model": _storable(facts.model or (named if isinstance(named, str) else None)),
        "endpoint": endpoint,
        "origin": history.origin or None,
        "state": history.state,
        "outcome": history.outcome,
        "error_code": _storable(code),
        "error_message": _storable(message),
        **seen_at,
        "queue_s": times.queue_s,
        "run_s": times.run_s,
        "total_s": times.total_s,
        "delivered_s": times.delivered_s,
        "time_source": times.time_source,
        "uncertainty_s": times.uncertainty_s,
        "lag_s": times.lag_s,
        "polls": facts.polls,
        "misses": facts.misses,
        "rate_limited": facts.rate_limited,
        "credits": _number(facts.credits),
        "n_outputs": len(facts.outputs) if facts.latest else None,
        "n_saved": len(saved),
        "n_bytes": _total(sizes.values()),
        "files": [kept_path(file, root) for file in dict.fromkeys(s.file for s in saved) if file],
        "params": dict(params),
        "extra": dict(task.extra),
    }


def _reason(history: History) -> tuple[str | None, str | None]:
    """Code and message of the server's error; without a final state those of our own mark (`Facts.ended`)."""
    latest, ended = history.facts.latest, history.facts.ended
    if latest is not None and latest.state.final:
        error = None if latest.state is State.SUCCEEDED else latest.error
        return (error.code, error.message or None) if error else (None, None)
    return (ended.code, ended.note or None) if ended else (None, None)


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _number(value: float | None) -> float | None:
    """A number that SQLite can store: an integer beyond 64 bits becomes a float, beyond 10**300 None."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < 10**300 else None
    return value


def _total(sizes: Collection[int | None]) -> int | None:
    """The sum of all sizes; None where one is unknown."""
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _time_of(uid: str) -> datetime:
    """The time when a row was made, from the digits of its uid."""
    try:
        return datetime.fromtimestamp(int(uid[:14], 16) / 1_000_000, UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


_EMPTY = summary_row(History(Task("nobody", "nothing")))
COLUMNS = tuple(_EMPTY)
"""The columns of `summaries`: `uid`, `begun` (what `since` and `until` go by), and the values of a history."""
_AS_JSON = {name: type(value) for name, value in _EMPTY.items() if isinstance(value, list | dict)}


def from_values(values: Sequence[Any]) -> Row | None:
    """The row of `summary_row` from the columns of `summaries`; None where the JSON of one is damaged."""
    row = dict(zip(COLUMNS, values, strict=True))
    for name, kind in _AS_JSON.items():
        row[name] = value = loads(row[name])
        if type(value) is not kind:
            return None
    return row
