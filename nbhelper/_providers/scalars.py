"""Convert JSON values of replies to text, numbers and times; None for a value that has no such meaning."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from .._model.text import EXCERPT
from .provider import Provider
from .requests import HttpReply

MAX_WAIT = 600.0
"""Seconds to which a server's Retry-After is cut."""
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_SECONDS = _EARLIEST.timestamp(), _LATEST.timestamp()
_NUMBERS = (int, float)
_NESTED = (dict, list)


def as_word(value: Any) -> str | None:
    """A state word, code or id as text: 2, 2.0 and "2" give "2"; None for true, null, lists and objects."""
    if isinstance(value, str):
        return value.strip()
    number = as_number(value) if isinstance(value, _NUMBERS) else None
    if number is None:
        return None
    return str(int(value)) if isinstance(value, int) or number.is_integer() else str(value)


def as_text(value: Any) -> str | None:
    """A value as text, lists and objects as JSON of at most 1,000 characters; None for empty ones and booleans."""
    if isinstance(value, _NESTED):
        try:
            return json.dumps(value, ensure_ascii=False)[: EXCERPT * 2] if value else None
        except (ValueError, RecursionError):
            return None
    return as_word(value) or None


def as_number(value: Any) -> float | None:
    """A number, or a decimal text with or without `%`, as a finite float; None for booleans and all else."""
    if value is None or value is True or value is False:
        return None
    if isinstance(value, str):
        text = value.strip().removesuffix("%").strip()
        if not re.fullmatch(r"[+-]?\d{1,30}(\.\d{1,30})?", text):
            return None
        return float(text)
    if not isinstance(value, _NUMBERS):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_positive(value: Any) -> float | None:
    """A number of at least 0; None for a negative one."""
    number = as_number(value)
    return number if number is not None and number >= 0 else None


def as_count(value: Any) -> int | None:
    """A number from 0 to below 1e12, rounded down; None for any other."""
    number = as_positive(value)
    return int(number) if number is not None and number < 1e12 else None


def as_progress(provider: Provider, value: Any) -> float | None:
    """A progress as a fraction from 0 to 1, by `Provider.progress_max`; text with `%` is in per cent."""
    number = as_number(value)
    if number is None:
        return None
    full = 100.0 if isinstance(value, str) and value.strip().endswith("%") else provider.progress_max
    return min(1.0, max(0.0, number / full))


def as_time(provider: Provider, value: Any) -> tuple[datetime | None, float | None]:
    """A time in UTC, and its resolution in seconds (0.001 or 1).

    Numbers are Unix seconds, above 1e11 milliseconds; text is ISO 8601, without a zone by `Provider.utc_offset`. (None,
    None) for all else, and for times before 2000 or after 2100.
    """
    if value is None:
        return None, None
    number = as_number(value)
    if number is not None:
        seconds, fine = (number / 1000, 0.001) if number > 1e11 else (number, 1.0 if number.is_integer() else 0.001)
        if not _SECONDS[0] <= seconds <= _SECONDS[1]:
            return None, None
        return datetime.fromtimestamp(seconds, UTC), fine
    if not isinstance(value, str):
        return None, None
    try:
        when = datetime.fromisoformat(value.strip()[:40])
    except ValueError:
        return None, None
    if when.tzinfo is None:
        if provider.utc_offset is None:
            return None, None
        when = when.replace(tzinfo=timezone(timedelta(hours=provider.utc_offset)))
    try:
        when = when.astimezone(UTC)
    except (OverflowError, ValueError):
        return None, None
    return (when, 0.001 if "." in value else 1.0) if _EARLIEST <= when <= _LATEST else (None, None)


def read_date(reply: HttpReply) -> datetime | None:
    """The `Date` header in UTC; None where it is missing or invalid."""
    return _http_date(reply.headers.get("date", ""))


@lru_cache(maxsize=64)  # all replies of one second have the same Date
def _http_date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)


def retry_after(reply: HttpReply, seconds: float | None = None) -> float | None:
    """Seconds to wait by the `Retry-After` header, at most 600; None where nothing above 0 is stated.

    Args:
        reply: Its header is a number of seconds, or a date, which counts from the reply's own `Date`.
        seconds: The wait that the body states, used where the header is missing or invalid.
    """
    header = reply.headers.get("retry-after", "").strip()
    first = header.split(",")[0].strip()  # repeated headers are joined by a comma; a date holds a comma too
    wait = seconds
    if re.fullmatch(r"\d{1,400}(\.\d{1,20})?", first):
        wait = float(first[:12]) if len(first) <= 12 else MAX_WAIT
    elif header:
        try:
            when = parsedate_to_datetime(header)
            base = read_date(reply)
            if base is not None:
                wait = (when.replace(tzinfo=when.tzinfo or UTC) - base).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            pass  # an invalid header is ignored
    if wait is None or not math.isfinite(wait) or wait <= 0:
        return None
    return min(wait, MAX_WAIT)
