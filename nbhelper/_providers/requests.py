"""HTTP requests and replies as frozen dataclasses: `HttpRequest` (a template of a provider) and `HttpReply`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .._model.errors import BadInput
from .._model.fields import nothing
from .._model.text import clean

_METHODS = ("GET", "POST")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as data; `{id}`, `{ref}`, `{ids}` and the task's extra keys are filled in by `fill`.

    Attributes:
        method: `GET` or `POST`.
        path: Relative to the provider's base URL; values are percent-encoded as one segment each.
        query: Query parameters.
        json: A JSON body; the text `"{ids}"` alone becomes the list of ids.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=nothing)
    json: Any = None

    @classmethod
    def parse(cls, text: str) -> HttpRequest:
        """Parse text such as `"GET /task/{id}?lang=en"`.

        Raises:
            BadInput: It is not a method and a path from the root.
        """
        method, _, target = text.strip().partition(" ")
        path, _, query = target.strip().partition("?")
        if method not in _METHODS or not path.startswith("/"):
            raise BadInput(f'"{clean(text, 60)}" is no request. Write it as "GET /v1/jobs/{{id}}".')
        pairs = dict(part.partition("=")[::2] for part in query.split("&") if part)
        return cls(method, path, MappingProxyType(pairs))


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An HTTP reply: status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=nothing)
    body: bytes = b""
