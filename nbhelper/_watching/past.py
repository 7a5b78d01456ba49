"""Durations of one API's tasks by model, read from a store and kept up as tasks end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._model.history import History
from .._model.states import State
from .._model.times import moment
from .._model.timing import timing
from .durations import NOTHING_KNOWN, Curve, Durations, Spell

if TYPE_CHECKING:
    from .._store.store import Store

MOST = 400
"""Tasks of a model that count, the newest; the same number of all models together."""
_ENOUGH = 3
"""Ended tasks of a model before it is told apart from the API's other models."""
_ENDS = {state.value for state in State if state.final}


@dataclass(frozen=True, slots=True)
class _Times:
    """Durations of one task: in all, in the queue, running; each None if unknown."""

    total: Spell | None
    queue: Spell | None
    run: Spell | None

    @property
    def over(self) -> bool:
        return self.total is not None and self.total.over


@dataclass(slots=True)
class _Kind:
    """The durations of one model's tasks by row. Curves are computed anew when 5 % more tasks have ended."""

    times: dict[str, _Times] = field(default_factory=dict)
    ended: int = 0
    computed: int = 0
    known: Durations = NOTHING_KNOWN

    def add(self, uid: str, times: _Times) -> None:
        before = self.times.pop(uid, None)
        self.ended += times.over and not (before is not None and before.over)
        self.times[uid] = times
        if len(self.times) > MOST:
            del self.times[next(iter(self.times))]

    def durations(self) -> Durations:
        if self.ended > self.computed * 1.05:
            self.computed = self.ended
            curves = {
                name: Curve.of(spell for t in self.times.values() if (spell := getattr(t, name)) is not None)
                for name in ("total", "queue", "run")
            }
            self.known = Durations(**curves)
        return self.known


class Past:
    """Durations by model, for the pace."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._kinds: dict[str | None, _Kind] = {None: _Kind()}
        self._models: dict[str, str] = {}
        self.take(rows)

    @classmethod
    def read(cls, store: Store, provider: str, origin: str) -> Past:
        """The newest tasks of an API in a store."""
        return cls(store.recent(provider, origin, MOST))

    def take(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows of the store, oldest first."""
        for row in rows:
            self._add(row["uid"], row.get("model"), _of_row(row))

    def name(self, models: Mapping[str, str]) -> None:
        """Set the models that rows were created with, for replies that name none."""
        self._models.update(models)

    def add(self, history: History) -> None:
        """Add a history that has ended."""
        model = self._models.pop(history.uid, None)
        if history.state is not None and history.state.final:
            self._add(history.uid, _model_of(history) or model, _of_history(history))

    def of(self, history: History) -> Durations:
        """Durations of the tasks of this one's model, or of all models where fewer than `_ENOUGH` of it have ended."""
        kind = self._kinds.get(_model_of(history) or self._models.get(history.uid))
        if kind is None or kind.ended < _ENOUGH:
            kind = self._kinds[None]
        return kind.durations()

    def _add(self, uid: str, model: str | None, times: _Times) -> None:
        self._kinds[None].add(uid, times)
        if model is not None:
            self._kinds.setdefault(model, _Kind()).add(uid, times)


def _model_of(history: History) -> str | None:
    """The model that a reply or the request names."""
    latest = history.facts.latest
    if latest is not None and latest.model:
        return latest.model
    model = history.task.params.get("model")
    return model if isinstance(model, str) else None


def _of_history(history: History) -> _Times:
    times = timing(history)
    doubt = times.uncertainty_s or 0.0
    return _Times(*(Spell(s, doubt) if s is not None else None for s in (times.total_s, times.queue_s, times.run_s)))


def _of_row(row: Mapping[str, Any]) -> _Times:
    """Durations of a row; a task that did not end lasted at least until its last good look (censored)."""
    total, queue, run = (_seconds(row.get(name)) for name in ("total_s", "queue_s", "run_s"))
    doubt = _seconds(row.get("uncertainty_s")) or 0.0
    if row.get("outcome") in _ENDS:
        return _Times(*(Spell(s, doubt) if s is not None else None for s in (total, queue, run)))
    begun, started, seen = (moment(row.get(name)) for name in ("begun", "started_at", "last_good_at"))
    if begun is None or seen is None:
        return _Times(None, None, None)
    total = (seen - begun).total_seconds()
    running = (seen - started).total_seconds() if started is not None else None
    return _Times(
        Spell(total, over=False),
        Spell(queue, doubt)
        if queue is not None
        else Spell(total, over=False)
        if row.get("state") == "queued"
        else None,
        Spell(running, over=False) if running is not None else None,
    )


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
