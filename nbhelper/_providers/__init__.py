"""Registry of the providers: those in `apis`, and those that a notebook adds with `nbhelper.register`.

A new API is one file, `apis/<name>.py`, with a `PROVIDER` (a `-` in its name is `_` in the file name), and the name in
`INCLUDED` below; `apis/kie.py` is a short example. Sample replies, with the facts that must be read from them, go into
`tests/providers/corpus/<name>.json`; a test fails without that file. What a reply means is data wherever it can be
(`provider.py` and `reply_parts.py`); `reader.py` reads the replies of all APIs with the same code.
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
    """All registered provider names, the included ones first."""
    return (*INCLUDED, *(n for n in _added if n not in INCLUDED))


def get(name: object) -> Provider:
    """Return the provider with this name.

    Raises:
        BadInput: No such provider is registered; the text offers the nearest name.
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
    """Add a provider, or replace the one of the same name, in this process; return it.

    Raises:
        BadInput: The argument is not a `Provider`.
    """
    from .provider import Provider as Kind

    if not isinstance(provider, Kind):
        raise BadInput(f"register() takes an nbhelper.Provider, not {type(provider).__name__}.")
    _added[provider.name] = provider
    return provider
