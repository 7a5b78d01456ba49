"""The registered APIs: seven of ours and those that a notebook adds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .._model.errors import BadInput
from .._model.text import clean, nearest

if TYPE_CHECKING:
    from .provider import Provider

_OURS = {
    "ailab-legacy": "ailab_legacy",
    "ailab": "ailab",
    "gptge": "gptge",
    "tripo": "tripo",
    "tripo-v3": "tripo_v3",
    "aigptimage": "aigptimage",
    "kie": "kie",
}
_added: dict[str, Provider] = {}


def names() -> tuple[str, ...]:
    """Every registered name, ours first."""
    return (*_OURS, *(n for n in _added if n not in _OURS))


def get(name: object) -> Provider:
    """The provider of that name.

    Raises:
        BadInput: Nobody registered it; the text offers the nearest name.
    """
    if not isinstance(name, str) or not name.strip():
        shown = "an empty text" if isinstance(name, str) else type(name).__name__
        raise BadInput(f"A provider is named by text, not {shown}. Known: {', '.join(names())}.")
    key = name.strip()
    if key in _added:
        return _added[key]
    if key not in _OURS:
        raise BadInput(f'No provider is called "{clean(key, 40)}".{nearest(key, names())} Known: {", ".join(names())}.')
    provider: Provider = import_module(f".{_OURS[key]}", __name__).PROVIDER
    return provider


def register(provider: Provider) -> Provider:
    """Add an API, or replace one of the same name, for this process; returns it.

    Raises:
        BadInput: It is not a `Provider`.
    """
    from .provider import Provider as Kind

    if not isinstance(provider, Kind):
        raise BadInput(f"register() takes an nbhelper.Provider, not {type(provider).__name__}.")
    _added[provider.name] = provider
    return provider
