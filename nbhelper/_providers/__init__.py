"""The registered APIs: those in `apis`, and those that a notebook adds with `nbhelper.register`.

A new API is one file, `apis/<name>.py`, with a `PROVIDER` (a `-` of its name is `_` in the file's), and the name in
`INCLUDED` below. `apis/kie.py` is a short one. Its replies, with what must be read from them, go into
`tests/providers/corpus/<name>.json`; tests ask for them. What a reply means is data wherever it can be (`provider.py`
and `reply_parts.py`); `reader.py` reads all APIs in the same way.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .._model.errors import BadInput
from .._model.text import clean, nearest

if TYPE_CHECKING:
    from .provider import Provider

INCLUDED = ("ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie")
_added: dict[str, Provider] = {}


def names() -> tuple[str, ...]:
    """Every registered name, ours first."""
    return (*INCLUDED, *(n for n in _added if n not in INCLUDED))


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
    if key not in INCLUDED:
        raise BadInput(f'No provider is called "{clean(key, 40)}".{nearest(key, names())} Known: {", ".join(names())}.')
    provider: Provider = import_module(f".apis.{key.replace('-', '_')}", __name__).PROVIDER
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
