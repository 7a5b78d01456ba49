"""API keys: where they are found, and `Secret`, which cannot be printed, logged, pickled or mistaken for text."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from .._model.errors import BadInput, MissingAPIKey
from .._providers.provider import Provider

_PLACEHOLDER = re.compile(
    r"(your|my|the|insert|enter|paste|put|add)[-_ ]?(own[-_ ]?)?(api|secret|access)?[-_ ]?(key|token)"
    r"|api[-_]?key[-_ ]?here|changeme|replace[-_ ]?me|placeholder|^(sk-|tsk_)?[x*.…]+$|^<.*>$|^\$?\{.*\}$"
    r"|^\$\w+$|^(none|null|undefined)$",
    re.IGNORECASE,
)
PROMPT = "prompt"
"""The source of a key that was typed."""


class Secret:
    """A key. `reveal()` is called where the request's header is written, and where its echo in a reply is removed."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The key itself."""
        return self.__text

    def __repr__(self) -> str:
        return "<key>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self.__text

    def __hash__(self) -> int:
        return hash(("Secret", self.__text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is not pickled. Pass the name of its environment variable instead.")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        self.__reduce__()

    def __getstate__(self) -> NoReturn:
        self.__reduce__()


def wrap_secret(given: object) -> object:
    """A given key as a `Secret`, anything else as its type, so that tracebacks with local variables do not print it."""
    if given is None or isinstance(given, Secret | type):
        return given
    return Secret(given) if isinstance(given, str) else type(given)


def checked(secret: object, provider: Provider, source: str) -> Secret:
    """The key, stripped of white space around it.

    Raises:
        BadInput: It cannot be a key. The text says what is wrong and never contains the key.
    """
    if not isinstance(secret, Secret):
        what = secret.__name__ if isinstance(secret, type) else type(secret).__name__
        raise BadInput(f'The key for "{provider.name}" from {source} must be text, not {what}.')
    fault = _fault(secret.reveal().strip(), provider)
    if fault:
        raise BadInput(f'The key for "{provider.name}" from {source} {fault}. Copy it again from the provider\'s page.')
    return Secret(secret.reveal().strip())


def _fault(key: str, provider: Provider) -> str:
    """Why a text cannot be a key; empty when it can."""
    if not key:
        return "is empty"
    if any(c in key for c in "\r\n"):
        return "holds a line break"
    if key[:7].casefold() == "bearer ":
        return 'begins with "Bearer "; give the key alone'
    if any(c in key for c in "\"'`"):
        return "holds quotation marks"
    if not key.isascii() or not key.isprintable() or " " in key:
        return "holds characters that no key has"
    if key in provider.variables:
        return "is the name of its variable, not what that holds"
    if _PLACEHOLDER.search(key):
        return "is the placeholder of an example"
    if len(key) > 4096:
        return "is longer than any key"
    if provider.key_starts and not key.startswith(provider.key_starts):
        return f'does not begin with "{provider.key_starts[0]}", as this API\'s keys do'
    return ""


def find(provider: Provider, given: object = None, *, ask: bool = True) -> tuple[Secret, str]:
    """The key and where it was found: argument, environment, `.env`, Colab's secrets, prompt, in this order.

    Args:
        provider: Whose key.
        given: What `connect` was given.
        ask: Whether a prompt may be shown; it never is in a headless run.

    Raises:
        MissingAPIKey: There is none anywhere; the text names the variable.
        BadInput: The text in such a place cannot be a key.
    """
    if given is not None:
        return checked(wrap_secret(given), provider, "api_key="), "argument"
    for variable in provider.variables:
        if os.environ.get(variable, "").strip():
            secret = Secret(os.environ[variable])
            return checked(secret, provider, f"the environment variable {variable}"), f"environment {variable}"
    for variable, secret in _dotenv(provider).items():
        return checked(secret, provider, f"{variable} in .env"), f".env {variable}"
    for variable in provider.variables:
        if (stored := _colab(variable)) is not None:
            return checked(stored, provider, f"Colab's secret {variable}"), f"Colab secret {variable}"
    if ask and (typed := _prompt(provider)) is not None:
        return checked(typed, provider, "the prompt"), PROMPT
    raise MissingAPIKey(
        f'No key for "{provider.name}". Set the environment variable {provider.variables[0]} '
        f'or call nbhelper.connect("{provider.name}", api_key=…).',
    )


def source_of(provider: Provider, given: object = None) -> str:
    """Where the key would be found, without a prompt; empty when there is none, `invalid: …` when it cannot be one."""
    try:
        return find(provider, given, ask=False)[1]
    except MissingAPIKey:
        return ""
    except BadInput as error:
        return f"invalid: {error}"


def _dotenv(provider: Provider) -> dict[str, Secret]:
    path = Path(".env")
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        # No interpolation: a "$" in a key is a character of it. Windows' editors put a mark at the beginning.
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    return {v: Secret(text) for v in provider.variables if (text := values.get(v)) and text.strip()}


def _colab(variable: str) -> Secret | None:
    if "google.colab" not in sys.modules:
        return None
    try:
        from google.colab import userdata

        secret = Secret(userdata.get(variable) or "")
    except Exception:  # noqa: BLE001  # Colab raises types of its own for "no such secret" and "no access"
        return None
    return secret if secret.reveal().strip() else None


def _prompt(provider: Provider) -> Secret | None:
    """The key that a person types; None where there is no prompt, or its input is closed."""
    from .environment import can_ask

    if not can_ask():
        return None
    from getpass import getpass

    try:
        return Secret(getpass(f"API key for {provider.name} (not shown, kept in memory only): "))
    except (EOFError, NotImplementedError):  # the input was closed; or the front end, it turns out, has none
        return None
