"""From a provider's request template and a task's id to the request that is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from .._model.errors import BadInput
from .._model.seen import NOTHING
from .provider import Provider
from .requests import HttpRequest

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def fill(request: HttpRequest, values: Mapping[str, str], ids: Iterable[str] = ()) -> HttpRequest:
    """The request with its `{…}` filled in: percent-encoded in the path, as they are in query and JSON."""

    def text(template: str, *, segment: bool = False) -> str:
        def put(match: re.Match[str]) -> str:
            value = values.get(match[1], match[0])
            return _segment(value) if segment else value

        return _PLACEHOLDER.sub(put, template)  # in one go: a value's own braces are only text

    def body(node: Any) -> Any:
        if node == "{ids}":
            return list(ids)
        if isinstance(node, str):
            return text(node)
        if isinstance(node, Mapping):
            return {k: body(v) for k, v in node.items()}
        return [body(v) for v in node] if isinstance(node, list | tuple) else node

    query = {k: text(v) for k, v in request.query.items()}
    return HttpRequest(request.method, text(request.path, segment=True), query, body(request.json))


def _segment(value: str) -> str:
    # "." and ".." would be taken for path navigation by clients and servers alike.
    encoded = quote(value, safe="", errors="surrogatepass")
    return encoded.replace(".", "%2E") if set(encoded) == {"."} else encoded


def look_request(provider: Provider, ident: str, extra: Mapping[str, str] = NOTHING) -> HttpRequest:
    """The request of one look; extra keys that the template does not name go into the query.

    Raises:
        BadInput: The template names a key that the reference does not have.
    """
    template = provider.look
    used = set(_PLACEHOLDER.findall(template.path + "".join(template.query.values())))
    for name in sorted(used - {"id"} - extra.keys()):
        raise BadInput(f'A task of {provider.name} needs "{name}" beside its id: "{provider.name}:ID?{name}=…".')
    rest = {k: v for k, v in extra.items() if k not in used}
    filled = fill(template, {**extra, "id": ident})
    return replace(filled, query={**filled.query, **rest}) if rest else filled
