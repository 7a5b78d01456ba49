"""Times as ISO text of one width, and points in time as a person writes them."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from .errors import BadInput
from .text import clean


def iso(at: datetime) -> str:
    """A time as text of one width, so that texts sort as the times do."""
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(timespec="microseconds")


iso_cached = functools.lru_cache(maxsize=1024)(iso)
"""For a server's times, which stand in each of its replies."""


def moment(text: Any) -> datetime | None:
    """The UTC time that `iso` wrote; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else None


_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)")


_UNIT = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def instant(value: Any, now: datetime, name: str) -> str | None:
    """A point in time as a person gives it (a time, its ISO text, or an age such as `"2h"`), as `iso` writes it.

    A time without a zone is local time.

    Raises:
        BadInput: Anything else.
    """
    if value is None:
        return None
    at = value
    try:
        if isinstance(value, str) and (age := _AGE.fullmatch(value.strip().lower())):
            at = now - timedelta(seconds=float(age[1]) * _UNIT[age[2]])
        elif isinstance(value, str):
            at = datetime.fromisoformat(value.strip())
        elif isinstance(value, timedelta):
            at = now - abs(value)
        if isinstance(at, datetime):
            return iso(at)  # astimezone() takes a time without a zone for a local one
    except (ValueError, OverflowError):
        pass
    shown = f'"{clean(value, 40)}"'
    raise BadInput(f'{name} takes a time, ISO text such as "2026-11-21T14:00", or an age such as "2h", not {shown}.')
