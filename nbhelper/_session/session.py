"""The state of this process: base URL and key of each provider, the store in use, and the emulator's overlay.

While an emulator is open, every provider name, its keys and the store belong to it; closing restores what was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._model.errors import BadInput, EmulatorError
from .._model.text import clean
from .._providers import get
from .._providers.provider import Provider
from . import keys as _keys
from .addresses import checked_url, is_loopback, origin_of

if TYPE_CHECKING:
    from .._store.store import Store


@dataclass(frozen=True, slots=True)
class Connection:
    """One API as this process reaches it.

    Attributes:
        provider: Its endpoints, and how its replies are read.
        base_url: Its root, without a slash at the end.
        origin: Scheme and host of the root: the only place that the key goes to.
        key: The key.
        key_from: Where the key was found.
        private: Whether addresses of your own network are allowed.
        emulated: Whether an emulator answers.
    """

    provider: Provider
    base_url: str
    origin: str
    key: _keys.Secret = field(repr=False)
    key_from: str = ""
    private: bool = False
    emulated: bool = False

    def __repr__(self) -> str:
        return f"<Connection {self.provider.name} {self.base_url} key from {self.key_from}>"


@dataclass(frozen=True, slots=True)
class _Choice:
    base_url: str
    key: _keys.Secret | None = None
    key_from: str = ""
    private: bool = False


@dataclass(frozen=True, slots=True)
class _Overlay:
    owner: object
    urls: Mapping[str, str]
    keys: Mapping[str, str]
    folder: Path


class _State:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.choices: dict[str, _Choice] = {}
        self.overlay: _Overlay | None = None
        self.folder: Path | None = None
        self.emulated_folder: Path | None = None
        self.stores: dict[Path, Store] = {}


_state = _State()


def connect(name: str, api_key: object = None, base_url: object = None, *, private: bool = False) -> Connection:
    """Choose key and address for a provider; see `nbhelper.connect`."""
    api_key = _keys.wrap_secret(api_key)
    provider = get(name)
    if not isinstance(private, bool):
        raise BadInput("private is True or False.")
    with _state.lock:
        if _state.overlay is not None:
            raise BadInput("An emulator is open and answers for every provider. Close it before you connect for real.")
        url = checked_url(base_url, private=private) if base_url is not None else checked_url(provider.base_url)
        key, source = _keys.find(provider, api_key)
        _state.choices[provider.name] = _Choice(url, key, source, private)
    return connection(provider.name)


def connection(name: str) -> Connection:
    """The connection to a provider now; the key is looked for at first use.

    Raises:
        MissingAPIKey: There is no key.
        BadInput: The provider is unknown, its key cannot be one, or the open emulator does not serve it.
    """
    provider = get(name)
    with _state.lock:
        overlay = _state.overlay
        choice = _state.choices.get(provider.name) or _Choice(checked_url(provider.base_url))
        if overlay is not None:
            url = overlay.urls.get(provider.name)
            if url is not None:
                key = _keys.Secret(overlay.keys[provider.name])
                return Connection(provider, url, origin_of(url), key, "the emulator", private=False, emulated=True)
            if not is_loopback(urlsplit(choice.base_url).hostname or ""):
                raise BadInput(f'The open emulator does not serve "{provider.name}". Close it to reach the real API.')
        key, source = (choice.key, choice.key_from) if choice.key else _keys.find(provider)
        if source == _keys.PROMPT:
            _state.choices[provider.name] = replace(choice, key=key, key_from=source)  # one prompt for the process
        return Connection(provider, choice.base_url, origin_of(choice.base_url), key, source, choice.private)


def base_url(name: str) -> str:
    """The base URL of a provider now; no key is looked for."""
    provider = get(name)
    with _state.lock:
        if _state.overlay is not None and provider.name in _state.overlay.urls:
            return _state.overlay.urls[provider.name]
        choice = _state.choices.get(provider.name)
        return choice.base_url if choice else provider.base_url.rstrip("/")


def key_source(name: str) -> str:
    """Where a provider's key would be found, without a prompt."""
    provider = get(name)
    with _state.lock:
        if _state.overlay is not None and provider.name in _state.overlay.urls:
            return "the emulator"
        choice = _state.choices.get(provider.name)
    return choice.key_from if choice and choice.key else _keys.source_of(provider)


# The store


def store() -> Store:
    """The store in use, opened at first use and fixed from then on."""
    from .._store.folder import locate
    from .._store.store import Store

    with _state.lock:
        if _state.overlay is not None:
            folder = _state.emulated_folder or _state.overlay.folder
            folder.parent.mkdir(parents=True, exist_ok=True)
        else:
            if _state.folder is None:
                _state.folder = locate().absolute()
            folder = _state.folder
        if folder not in _state.stores:
            _state.stores[folder] = Store(folder)
        return _state.stores[folder]


def fingerprint(connection: Connection, book: Store) -> str:
    """The fingerprint of a connection's key in a store."""
    book.fingerprint("")  # an error of the disk is raised here, where the key is in no local variable
    return book.fingerprint(connection.key.reveal())


def set_store(folder: object) -> Path:
    """Keep histories and files in another folder from now on; returns it, absolute."""
    path = folder_of(folder, 'set_store takes a folder, such as "my-experiment-data".')
    from .._store.store import Store

    with _state.lock:
        before = _state.emulated_folder or _state.overlay.folder if _state.overlay is not None else _state.folder
        if path not in _state.stores:
            _state.stores[path] = Store(path)
        if _state.overlay is not None:
            _state.emulated_folder = path
        else:
            _state.folder = path
        if before in _state.stores and before != path:
            _state.stores[before].release()
    return path


def folder_of(folder: object, expected: str) -> Path:
    """The absolute path of a folder that somebody named; nothing is made.

    Raises:
        BadInput: It cannot be a folder's name (with the words `expected`), or it is a file.
    """
    if not isinstance(folder, str | Path) or not str(folder).strip():
        raise BadInput(expected)
    if not str(folder).isprintable():
        raise BadInput(f'A folder\'s name cannot hold control characters: "{clean(folder, 60)}".')
    try:
        path = Path(folder).expanduser().absolute()
        is_file = path.exists() and not path.is_dir()
    except RuntimeError:  # "~nobody"
        raise BadInput(f'"{clean(folder, 60)}" names nobody\'s home on this machine.') from None
    except OSError as error:
        raise BadInput(f'"{clean(folder, 60)}" cannot be a folder: {error.strerror or error}.') from None
    if is_file:
        raise BadInput(f'"{clean(folder, 120)}" is a file; name a folder.')
    return path


# The emulator


def enter(
    owner: object, urls: Mapping[str, str], keys: Mapping[str, str], folder: Path, busy: Callable[[], Any]
) -> None:
    """Hand every provider name and the store to an emulator.

    Raises:
        EmulatorError: Another emulator is open, or real tasks are being watched.
    """
    with _state.lock:
        if _state.overlay is not None:
            raise EmulatorError("An emulator is already open in this process. Close it first: emu.close().")
        watched = busy()
        if watched:
            raise EmulatorError(
                f"Real tasks are being watched ({watched}). Wait for their end or call stop() first: while an emulator "
                "is open every provider name belongs to it.",
            )
        _state.overlay = _Overlay(owner, dict(urls), dict(keys), folder)
        _state.emulated_folder = None


def leave(owner: object) -> None:
    """Restore what was before the emulator opened; a second call does nothing."""
    with _state.lock:
        if _state.overlay is not None and _state.overlay.owner is owner:
            for folder in {_state.overlay.folder, _state.emulated_folder or _state.overlay.folder} - {_state.folder}:
                if folder in _state.stores:
                    _state.stores.pop(folder).release()
            _state.overlay = None
            _state.emulated_folder = None


def emulated() -> bool:
    """Whether an emulator is open."""
    return _state.overlay is not None
