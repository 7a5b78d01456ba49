"""The row of `summaries` that a history gives: what `tasks()` shows of it, and how it is written and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._model.history import History
from .._model.json_text import dumps, loads
from .._model.seen import NOTHING, SaveState
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
    """Every column of `tasks()` that follows from the history, as JSON; whatever is unknown is None.

    A value that is added here is a column of the table `summaries`. To show it, name it in `_tables.TASKS`; raise
    `_schema.VERSION`.

    Args:
        history: What was seen.
        folder: The store's, which files are relative to; None keeps them absolute.
        task: What is known of the task, where that is more than the history's own says; its parameters are plain.
        endpoint: Where the task was created, which no event tells; so are the next three.
        model: What to show as the model where neither a reply nor the request names one.
        experiment: The experiment's name.
        repeat: Which repetition of a cell it is.
    """
    facts, times, begun = history.facts, timing(history), begin(history.facts)
    params = task.params if task and task.params else plain(history.task.params or facts.params)
    task = task or history.task
    asked = params.get("model")
    final = facts.latest is not None and facts.latest.state.final
    error = facts.latest.error if facts.latest and final and not history.succeeded else None
    code = error.code if error else facts.ended.code if facts.ended and not final else None
    saved = [s for s in facts.saves.values() if s.state is SaveState.SAVED]
    sizes = {s.file or s.name: s.n_bytes for s in saved}
    known = [n for n in sizes.values() if n is not None]
    root = Path() if folder is None else folder
    return {
        "uid": history.uid,
        "begun": iso(begun.at if begun else _time_of(history.uid)),
        "provider": task.provider,
        "task_id": None if task.id == NO_ID else task.id,
        "label": task.label,
        "experiment": experiment,
        "repeat": repeat,
        "model": facts.model or model or (asked if isinstance(asked, str) else None),
        "endpoint": endpoint,
        "origin": history.origin or None,
        "state": history.state,
        "outcome": history.outcome,
        "error_code": code,
        "error_message": (error.message or None) if error else history.error,
        **{name: iso(at) if (at := getattr(times, name)) else None for name in TIMES},
        **{
            name: getattr(times, name)
            for name in (
                "queue_s", "run_s", "total_s", "delivered_s", "time_source", "uncertainty_s", "lag_s",
            )
        },
        "polls": facts.polls,
        "misses": facts.misses,
        "rate_limited": facts.rate_limited,
        "credits": facts.credits,
        "n_outputs": len(facts.outputs) if facts.latest else None,
        "n_saved": len(saved),
        "n_bytes": sum(known) if len(known) == len(sizes) else None,
        "files": [kept_path(file, root) for file in history.files],
        "params": dict(params),
        "extra": dict(task.extra),
    }  # fmt: skip


def _time_of(uid: str) -> datetime:
    """When a row was made, by its name."""
    try:
        return datetime.fromtimestamp(int(uid[:14], 16) / 1_000_000, UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


_EMPTY = summary_row(History(Task("nobody", "nothing")))
COLUMNS = tuple(_EMPTY)
"""The columns of `summaries`: `uid`, `begun` (what `since` and `until` go by), and the values of a history."""
_AS_JSON = {name: type(value) for name, value in _EMPTY.items() if isinstance(value, list | dict)}


def as_values(row: Mapping[str, Any], texts: Mapping[str, str] = NOTHING) -> list[Any]:
    """The values of `COLUMNS` for a row of `summary_row`.

    Args:
        row: The row.
        texts: JSON columns whose text is at hand.
    """
    found = {**row, **{name: texts.get(name) or dumps(row[name]) for name in _AS_JSON}}
    return [v if v is None or type(v) is float else _bound(v) for v in map(found.get, COLUMNS)]


def _bound(value: Any) -> Any:
    if isinstance(value, str):
        return storable(str(value))  # a plain str: SQLite is slow with the words of an enumeration
    if isinstance(value, int) and not -(2**63) <= value < 2**63:  # a server may state any number
        return float(value) if abs(value) < 10**300 else None
    return value


def from_values(values: Sequence[Any]) -> Row | None:
    """The row of `summary_row` again; None when it cannot be understood."""
    row = dict(zip(COLUMNS, values, strict=True))
    for name, kind in _AS_JSON.items():
        row[name] = value = loads(row[name])
        if type(value) is not kind:
            return None
    return row
