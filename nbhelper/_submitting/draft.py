"""Check a create against what the API documents: nothing is sent, and no key is needed yet."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .._model.errors import BadInput
from .._model.task import digest
from .._model.text import clean, kind_of, nearest
from .._network.http import Upload
from .._providers import get
from .._providers.provider import Provider
from .._providers.reply_parts import Endpoint
from .._providers.reply_paths import find
from .uploads import uploads_of

_MAX_DEPTH = 64
"""Levels of lists and mappings in a parameter."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_ALIKE = 0.8
"""Similarity, by difflib, from which on an unknown parameter is taken for a misspelt one; others may be new."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked create, without key and address.

    Attributes:
        provider: The API.
        name: The endpoint's short name, or its path.
        endpoint: How it is sent and read.
        body: The parameters, `fixed` ones included.
        files: The files that are uploaded.
        params: What the tables show of it: files as digest and size.
        digest: SHA-256 of provider, path, body and files; equal creates have equal digests.
    """

    provider: Provider
    name: str
    endpoint: Endpoint
    body: Mapping[str, Any]
    files: tuple[Upload, ...]
    params: Mapping[str, Any]
    digest: str

    @property
    def model(self) -> str | None:
        """What the tables show as the model until a reply names one."""
        name = find(self.provider.request_model, dict(self.body)) if self.provider.request_model else None
        return name if isinstance(name, str) else self.endpoint.model or None


def draft(
    provider_name: object,
    request: object,
    *,
    endpoint: object = None,
    files: object = None,
    params: object = None,
) -> Draft:
    """Check a create.

    Raises:
        BadInput: What is wrong, in one line.
    """
    provider = get(provider_name)
    if not isinstance(request, Mapping):
        raise BadInput(f'A request is a mapping of parameters, such as {{"prompt": "an owl"}}, not {kind_of(request)}.')
    if not request and not files:
        raise BadInput('The request is empty. Pass the API\'s parameters, such as {"prompt": "an owl"}.')
    if params is not None and not isinstance(params, Mapping):
        raise BadInput(f"params is a mapping of what the tables should show, not {kind_of(params)}.")
    if files is not None and not isinstance(files, Mapping):
        example = '{"image": "me.jpg"}'
        raise BadInput(f"files is a mapping of parameter to path or bytes, such as {example}, not {kind_of(files)}.")
    if not all(
        isinstance(key, str) and key and key.isprintable() for key in (*request, *(files or ()), *(params or ()))
    ):
        raise BadInput("Each parameter's name must be text, without line breaks and the like.")
    name, spec = find_endpoint(provider, endpoint)
    uploads, body = uploads_of(request, files, spec)
    for field in spec.fixed:
        body.setdefault(field, spec.fixed[field])
    if uploads and spec.encoding != "multipart":
        _check_uploads(provider, name, spec, uploads)
    if spec.encoding == "multipart":
        _check_no_file_names(provider, name, spec, body)
    body = _plain(body)
    _check_names(provider, name, spec, (*body, *(u.name for u in uploads)))
    shown = dict(params) if params is not None else {k: v for k, v in body.items() if k not in spec.fixed}
    shown |= _digests(uploads)
    material = [provider.name, spec.path, body, _sums(uploads)]
    short = hashlib.sha256(json.dumps(material, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    return Draft(provider, name, spec, body, uploads, shown, short)


def _check_uploads(provider: Provider, name: str, spec: Endpoint, uploads: tuple[Upload, ...]) -> None:
    """Refuse files that an API whose creates are JSON cannot take before the create."""
    first = clean(uploads[0].name, 40)
    if provider.upload is None:
        raise BadInput(
            f'{provider.name}\'s "{name}" takes JSON, so no file can go along ("{first}"). '
            "Give it a link to the picture, or upload it first as the API's docs say.",
        )
    for upload in uploads:
        if upload.name not in spec.files:
            takes = f" It takes files as {', '.join(spec.files)}." if spec.files else ""
            raise BadInput(f'{provider.name}\'s "{name}" takes no file as "{clean(upload.name, 40)}".{takes}')


def _check_no_file_names(provider: Provider, name: str, spec: Endpoint, body: Mapping[str, Any]) -> None:
    """Refuse text where a file belongs: it would be sent as it is, and the create billed for nothing."""
    for field in spec.files:
        if isinstance(text := body.get(field), str):
            raise BadInput(
                f'{provider.name}\'s "{name}" takes a file as "{field}", not text. '
                f'Pass files={{"{field}": "{clean(text, 60)}"}}, or a pathlib.Path.',
            )


def _check_names(provider: Provider, name: str, spec: Endpoint, given: tuple[str, ...]) -> None:
    """Refuse a create without a required parameter, or with a misspelt one: an API may ignore that one, and bill."""
    for field in spec.required:
        if field not in given:
            close = difflib.get_close_matches(field, [g for g in given if g not in spec.required], 1, _ALIKE)
            slip = f', not "{clean(close[0], 60)}"' if close else ""
            raise BadInput(f'{provider.name}\'s "{name}" needs "{field}"{slip}.')
    known = {*spec.params, *spec.required, *spec.fixed, *spec.files} if spec.params else set()
    for field in given:
        if field in known:
            continue
        close = difflib.get_close_matches(field, sorted(known - set(given)), 1, _ALIKE)
        if close:
            raise BadInput(
                f'{provider.name}\'s "{name}" has no parameter "{clean(field, 60)}". Did you mean "{close[0]}"?'
            )


def _digests(uploads: tuple[Upload, ...]) -> dict[str, Any]:
    """Digest and size of each upload, by parameter; several of one parameter are numbered."""
    digests: dict[str, Any] = {}
    for upload in uploads:
        several = [u for u in uploads if u.name == upload.name]
        name = upload.name if len(several) == 1 else f"{upload.name}[{several.index(upload)}]"
        digests[name] = digest(upload.content)
    return digests


def _sums(uploads: tuple[Upload, ...]) -> dict[str, Any]:
    """The SHA-256 of each upload, by parameter; a list where a parameter has several."""
    sums: dict[str, list[str]] = {}
    for upload in uploads:
        sums.setdefault(upload.name, []).append(hashlib.sha256(upload.content).hexdigest())
    return {name: values[0] if len(values) == 1 else values for name, values in sums.items()}


def find_endpoint(provider: Provider, endpoint: object) -> tuple[str, Endpoint]:
    """The endpoint of a short name or path; the only one when none is named.

    Raises:
        BadInput: Unknown, or one of several has to be named; the text lists them.
    """
    known = ", ".join(sorted(provider.creates))
    if endpoint is None:
        if len(provider.creates) == 1:
            return next(iter(provider.creates.items()))
        if not provider.creates:
            raise BadInput(f'"{provider.name}" has no endpoints to create with; give it some when you register it.')
        raise BadInput(f"{provider.name} has several endpoints; name one: endpoint=… of {known}.")
    if not isinstance(endpoint, str) or not endpoint.strip():
        shown = "an empty text" if isinstance(endpoint, str) else kind_of(endpoint)
        raise BadInput(f"endpoint is a short name or a path, not {shown}. {provider.name} has {known}.")
    text = endpoint.strip()
    if text in provider.creates:
        return text, provider.creates[text]
    for name, spec in provider.creates.items():
        if spec.path == text:
            return name, spec
    if text.startswith("/") and provider.other is not None and text.isprintable() and not set(text) & set(" ?#{}\\"):
        return text, replace(provider.other, path=text)
    hint = nearest(text, provider.creates)
    raise BadInput(f'{provider.name} has no endpoint "{clean(text, 60)}".{hint} It has {known}.')


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as dicts, lists, text and numbers of JSON.

    Raises:
        BadInput: A value that JSON does not have; the text names the parameter.
    """

    def walk(node: Any, path: str, depth: int) -> Any:
        shown = f'The parameter "{clean(path, 60)}"'
        if depth > _MAX_DEPTH:
            raise BadInput(f"{shown} is nested more than {_MAX_DEPTH} levels deep, or holds itself.")
        if isinstance(node, Mapping):
            if not all(isinstance(key, str) and not _SURROGATE.search(key) for key in node):
                raise BadInput(f"{shown} is a mapping whose keys are not all text.")
            return {key: walk(value, f"{path}.{key}" if path else key, depth + 1) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [walk(value, f"{path}[{index}]", depth + 1) for index, value in enumerate(node)]
        if type(node).__module__ == "numpy" and getattr(node, "ndim", 1) == 0:
            node = node.item()  # a number of a frame or an arange
        if isinstance(node, float) and not math.isfinite(node):
            raise BadInput(f"{shown} is {node}, which JSON has not.")
        if not isinstance(node, str | int | float | bool | None):
            raise BadInput(f"{shown} is {kind_of(node)}; use text, numbers, lists and mappings.")
        if isinstance(node, int) and node.bit_length() > 1024:
            raise BadInput(f"{shown} is a whole number of hundreds of digits.")
        if isinstance(node, str) and _SURROGATE.search(node):
            raise BadInput(f"{shown} holds half a character (a lone surrogate).")
        return node

    plain: dict[str, Any] = walk(body, "", 0)
    return plain
