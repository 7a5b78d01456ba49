"""References to tasks, and creates that have not been sent: frozen, checked when made, never holding a key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from .errors import BadInput
from .fields import NOTHING, nothing
from .text import clean, kind_of

NO_ID = "(no id yet)"
"""Stands where the API has not given an id: a create that waits, was refused, or is in doubt."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_LONGEST_ID = 1024


@dataclass(frozen=True, slots=True)
class Task:
    """A reference to one task at one API; its text `provider:id[?key=value]` round-trips through `Task.parse`.

    Two tasks are equal when provider, id and extra are; label and params are notes about it.

    Attributes:
        provider: A registered name such as `"tripo"`.
        id: The API's own id, as text. Surrounding white space is stripped.
        label: A name of your own, used on the card and for the folder of its files.
        params: What was asked for (bytes as digest and size, never a key).
        extra: What the API needs besides the id, such as `{"type": "HD_COLOUR_MIGRATION"}` for `ailab-legacy`.

    Raises:
        BadInput: An empty id, control characters, more than 1 kB, a name that cannot be a provider's.
    """

    provider: str
    id: str
    label: str | None = field(default=None, compare=False)
    params: Mapping[str, Any] = field(default_factory=nothing, compare=False, repr=False)
    extra: Mapping[str, str] = field(default_factory=nothing)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "provider", _provider_name(self.provider))
        put(self, "id", _task_id(self.id))
        if self.label is not None and not isinstance(self.label, str):
            raise BadInput(f"label must be text or None, not {type(self.label).__name__}.")
        if not isinstance(self.params, Mapping) or not isinstance(self.extra, Mapping):
            raise BadInput('params and extra must be mappings, such as {"type": "HD_COLOUR_MIGRATION"}.')
        extra: dict[str, str] = {}
        for key, value in self.extra.items():
            if not isinstance(key, str) or not isinstance(value, str) or _odd(key) or _odd(value):
                raise BadInput("extra takes plain text for each key and value.")
            if len(key) + len(value) > _LONGEST_ID or looks_like_key(value):
                raise BadInput("extra takes a few words that belong to the id, no keys and no long texts.")
            extra[key] = value
        put(self, "params", MappingProxyType(dict(self.params)) if self.params else NOTHING)
        put(self, "extra", MappingProxyType(dict(sorted(extra.items()))) if extra else NOTHING)
        if self.label is not None:
            put(self, "label", clean(self.label, 200) or None)

    @classmethod
    def parse(cls, text: str) -> Task:
        """The task that `str(task)` named.

        Raises:
            BadInput: The text is not of the form `provider:id[?key=value]`.
        """
        if not isinstance(text, str):
            raise BadInput(f'A task reference is text such as "tripo:1ec04ced-…", not {type(text).__name__}.')
        provider, colon, rest = text.strip().partition(":")
        if not colon or not provider or not rest:
            shown = clean(text, 60)
            raise BadInput(
                f'"{shown}" is not a task reference. Write "provider:id", such as "tripo:1ec04ced-…".'
                if shown
                else 'The task reference is empty. Write "provider:id", such as "tripo:1ec04ced-…".',
            )
        if rest.startswith("//"):
            raise BadInput(f'"{clean(text, 60)}" is a link. Write the provider and the id in it: "provider:id".')
        ident, _, query = rest.partition("?")
        try:
            name = unquote(ident, errors="strict")
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise BadInput(f'"{clean(text, 60)}" is not a task reference: its "%" sequences are no UTF-8.') from None
        if len(dict(pairs)) < len(pairs):
            raise BadInput(f'"{clean(text, 60)}" is not a task reference: it says one thing twice behind its "?".')
        return cls(provider, name, extra=dict(pairs))

    def __str__(self) -> str:
        query = "?" + urlencode(dict(self.extra)) if self.extra else ""
        return f"{self.provider}:{quote(self.id, safe='._~-')}{query}"

    def __repr__(self) -> str:
        label = f" {self.label!r}" if self.label else ""
        return f"<Task {self}{label}>"

    def __hash__(self) -> int:
        return hash((self.provider, self.id, tuple(self.extra.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mappingproxy cannot be pickled; plain dicts can, and __post_init__ wraps them again.
        return type(self), (self.provider, self.id, self.label, dict(self.params), dict(self.extra))


@dataclass(frozen=True, slots=True)
class Request:
    """One create that has not been sent: what an `Experiment`'s function returns.

    Attributes:
        provider: A registered name.
        body: The parameters, as the API documents them.
        endpoint: Short name or path; required where the API has several.
        files: Field name to path, bytes or picture, for uploads.

    Raises:
        BadInput: A part of another type. Names, endpoint and parameters are checked when the experiment is made.
    """

    provider: str
    body: Mapping[str, Any]
    endpoint: str | None = None
    files: Mapping[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "provider", _provider_name(self.provider))
        if not isinstance(self.body, Mapping) or not all(isinstance(name, str) for name in self.body):
            raise BadInput(f"A request's body is a mapping of parameters by name, not {kind_of(self.body)}.")
        if self.endpoint is not None and (not isinstance(self.endpoint, str) or not self.endpoint.strip()):
            raise BadInput(f"A request's endpoint is a short name, a path or None, not {kind_of(self.endpoint)}.")
        if self.files is not None and not isinstance(self.files, Mapping):
            raise BadInput(f"A request's files are a mapping of parameter to path or bytes, not {kind_of(self.files)}.")

    def __repr__(self) -> str:
        where = f" {clean(self.endpoint, 40)}" if self.endpoint else ""
        return f"<Request {self.provider}{where}: {clean(', '.join((*self.body, *(self.files or ()))), 120)}>"


def _provider_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name.strip()):
        shown = f'"{clean(name, 40)}"' if isinstance(name, str) else type(name).__name__
        raise BadInput(f'A provider is named by text such as "tripo" or "kie", not {shown}.')
    return name.strip()


def _odd(text: str) -> bool:
    return any(not c.isprintable() for c in text)


def _task_id(ident: object) -> str:
    if isinstance(ident, bool) or not isinstance(ident, str | int):
        raise BadInput(f"A task id is text, not {type(ident).__name__}.")
    # Python refuses to write out whole numbers of thousands of digits.
    text = "9" * 5000 if isinstance(ident, int) and ident.bit_length() > 8000 else str(ident).strip()
    if not text:
        raise BadInput("The task id is empty. Copy it from the reply to the create call.")
    if _odd(text):
        raise BadInput("The task id holds control characters or line breaks. Copy it again from the create's reply.")
    if (size := len(text.encode("utf-8", "surrogatepass"))) > _LONGEST_ID:
        raise BadInput(f"The task id has {size:,} bytes; none has more than 1 kB. Is it a whole reply?")
    if looks_like_key(text):
        raise BadInput("That looks like an API key, not a task id. Pass keys to nbhelper.connect(provider, api_key=…).")
    return text


def looks_like_key(text: str) -> bool:
    """Whether text has the look of a key (`sk-…`, `tsk_…`, `Bearer …`) that was passed in the wrong place."""
    return bool(re.match(r"(?:bearer\s|sk-[\w-]{16,}$|tsk_[\w-]{16,}$)", text, re.IGNORECASE))


def digest(data: bytes) -> dict[str, Any]:
    """How bytes stand in `params`: by digest and size, so that a history never holds a file's bytes."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "n_bytes": len(data)}
