"""Find the state words and the error code in a reply's body."""

from __future__ import annotations

from typing import Any

from .._model.states import State
from .provider import Provider
from .scalars import as_word

UNREADABLE = "(unreadable)"


def find_states(provider: Provider, body: Any) -> dict[State, str]:
    """Map each state that the reply names, at any of the paths in `Provider.state`, to its word; they should agree."""
    states: dict[State, str] = {}
    for search in provider.finders.state:
        if word := _read_word(search(body)):
            states[provider.states.get(word, State.UNKNOWN)] = word
    return states


def find_error_code(provider: Provider, body: Any) -> str | None:
    """Return the first error code in the body that is not in `ok`; None where there is none."""
    for search in provider.finders.code:
        if (code := _read_word(search(body))) and code not in provider.ok:
            return code
    return None


def _read_word(value: Any) -> str:
    """Return a state word or code as text: "" for null, false and empty, `UNREADABLE` for a value that is no word."""
    if isinstance(value, str):
        return value.strip()
    if value is None or value is False or value in ([], {}):
        return ""
    word = as_word(value)
    return UNREADABLE if word is None else word
