"""Fill the placeholders of a provider's request templates with a task's id and extra keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from .._model.errors import BadInput
from .._model.fields import NOTHING
from .provider import Provider
from .requests import HttpRequest

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def fill(request: HttpRequest, values: Mapping[str, str], ids: Iterable[str] = ()) -> HttpRequest:
    """Return the request with its `{name}` placeholders replaced; values are percent-encoded in the path only.

    Args:
        request: The template.
        values: Placeholder -> value; placeholders without a value stay as they are.
        ids: What replaces the JSON text `"{ids}"`, as a list.
    """

    def text(template: str, *, segment: bool = False) -> str:
        def replace_one(match: re.Match[str]) -> str:
            value = values.get(match[1], match[0])
            return _quote_segment(value) if segment else value

        return _PLACEHOLDER.sub(replace_one, template)  # one pass: braces inside a value are no placeholder

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


def _quote_segment(value: str) -> str:
    """Percent-encode a value as one path segment."""
    # "." and ".." would be taken for path navigation by clients and servers alike.
    encoded = quote(value, safe="", errors="surrogatepass")
    return encoded.replace(".", "%2E") if set(encoded) == {"."} else encoded


def look_request(provider: Provider, ident: str, extra: Mapping[str, str] = NOTHING) -> HttpRequest:
    """Build the request of one look; extra keys without a placeholder go into the query.

    Raises:
        BadInput: The template has a placeholder for a key that is not in `extra`.
    """
    template = provider.look
    used = set(_PLACEHOLDER.findall(template.path + "".join(template.query.values())))
    for name in sorted(used - {"id"} - extra.keys()):
        raise BadInput(f'A task of {provider.name} needs "{name}" beside its id: "{provider.name}:ID?{name}=…".')
    rest = {k: v for k, v in extra.items() if k not in used}
    filled = fill(template, {**extra, "id": ident})
    return replace(filled, query={**filled.query, **rest}) if rest else filled
