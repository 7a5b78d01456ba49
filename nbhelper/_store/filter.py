"""`Filter`: the conditions that choose tasks, checked when it is made, before any file is opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from .._model.errors import BadInput
from .._model.json_text import dumps
from .._model.states import Outcome
from .._model.text import clean, nearest, storable
from .._model.times import instant

OneOf = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all hold; None is no condition.

    Attributes:
        since: The task began (`_model.timing.begin`) at this time or later; text as `iso` writes it.
        until: The task began at this time or earlier.
        provider: The task is of one of these providers.
        experiment: The task is of one of these experiments.
        outcome: The task has one of these outcomes; `"pending"` stands for tasks without one.
        uids: The task's row is one of these.
    """

    since: str | None = None
    until: str | None = None
    provider: OneOf = None
    experiment: OneOf = None
    outcome: OneOf = None
    uids: OneOf = None

    @classmethod
    def of(
        cls,
        now: datetime,
        *,
        since: Any = None,
        until: Any = None,
        provider: Any = None,
        experiment: Any = None,
        outcome: Any = None,
    ) -> Self:
        """The filter of a user's arguments: a time is a datetime, ISO text or an age; a name is a text or several.

        Raises:
            BadInput: A time that cannot be read, an unknown outcome, or a value of another type.
        """
        outcomes = _names(outcome, "outcome")
        known = [*Outcome, "pending"]
        for word in outcomes or ():
            if word not in known:
                raise BadInput(
                    f'No outcome is called "{clean(word, 40)}".{nearest(word, known)} There are {", ".join(known)}.'
                )
        return cls(
            instant(since, now, "since"),
            instant(until, now, "until"),
            _names(provider, "provider"),
            _names(experiment, "experiment"),
            outcomes,
        )

    def parameters(self) -> dict[str, str | None]:
        """The named parameters of an SQL statement: text, or a JSON list of names."""
        return {
            "since": self.since,
            "until": self.until,
            "provider": _to_json(self.provider),
            "experiment": _to_json(self.experiment),
            "outcome": _to_json(self.outcome),
            "uids": _to_json(self.uids),
        }


EVERYTHING = Filter()


def _names(value: Any, name: str) -> OneOf:
    if value is None:
        return None
    if not isinstance(value, Iterable):
        raise BadInput(f"{name} is a name or a list of names, not {type(value).__name__}.")
    return tuple(storable(str(v)) for v in ([value] if isinstance(value, str) else value))


def _to_json(names: OneOf) -> str | None:
    return None if names is None else dumps(names)
