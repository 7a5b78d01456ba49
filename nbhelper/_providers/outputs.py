"""Collect the outputs in a reply: links, base64 and references, without duplicates, each with a unique name."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from .._model.events import Output
from .._model.text import storable
from .provider import Provider
from .reply_parts import Outputs
from .safe import redact_text, remove_secrets
from .scalars import as_word

MAX_OUTPUTS = 256
"""Most outputs of one task; further links stand in the raw reply only."""
_LINK = re.compile(r"\s*(?:(?:https?|ftp|file|javascript):|data:[\w/+.-]+[;,])", re.IGNORECASE)
_NESTED = (dict, list)
_SUFFIX_KINDS = {
    "image": {"png", "jpg", "jpeg", "webp", "gif", "avif", "bmp", "tif", "tiff", "heic", "svg"},
    "video": {"mp4", "webm", "mov", "m4v", "mkv"},
    "model": {"glb", "gltf", "fbx", "obj", "usdz", "usd", "stl", "3mf", "ply", "blend"},
    "audio": {"mp3", "wav", "ogg", "flac", "m4a", "aac"},
}
_NAME_KINDS = (
    ("video", ("video",)),
    ("audio", ("audio", "sound", "music")),
    ("image", ("image", "picture", "photo", "thumb", "mask", "frame", "view", "render", "poster", "texture", "cover")),
    ("model", ("model", "mesh", "glb")),
)


def find_outputs(
    provider: Provider, body: Any, size: tuple[int | None, int | None], secrets: tuple[str, ...]
) -> tuple[Output, ...]:
    """Return the outputs in a reply, at most `MAX_OUTPUTS`.

    Args:
        provider: Its `outputs` say where they are.
        body: The parsed reply.
        size: Width and height of the results in pixels.
        secrets: Texts that are removed from names, links and references.
    """
    outputs: dict[str, Output] = {}  # by link, reference, or digest of the bytes
    names: set[str] = set()
    for spec, search in provider.finders.outputs:
        node = search(body)
        for name, value in _walk(node, spec.name, spec) if node else ():
            if len(outputs) >= MAX_OUTPUTS:
                break
            output = _make_output(provider, spec, name, value, secrets)
            if output is None:
                continue
            # A link with the API key in it would send the key to another host; without the key it only fails.
            url = output.url and remove_secrets(output.url, secrets)
            ref = output.ref and remove_secrets(output.ref, secrets)
            identity = url or ref or hashlib.sha256(output.data or b"").hexdigest()
            if identity in outputs:
                continue
            # Files and saves are identified by the output's name, so it must be unique.
            unique = next(n for i in count(1) if (n := output.name if i == 1 else f"{output.name} ({i})") not in names)
            names.add(unique)
            outputs[identity] = replace(output, name=unique, url=url, ref=ref, width=size[0], height=size[1])
    return tuple(outputs.values())


def _walk(node: Any, name: str, spec: Outputs) -> Iterator[tuple[str, Any]]:
    """Yield key path and value of everything at or below a node that can be an output."""
    if isinstance(node, dict):
        links = spec.form == "url"
        for key, value in node.items():
            if links and not (":" in value if isinstance(value, str) else isinstance(value, _NESTED)):
                continue  # skips most values before the slower checks below
            if (isinstance(value, _NESTED) or _can_be_output(value, spec)) and key not in spec.skip:
                yield from _walk(value, f"{name}.{key}" if name else key, spec)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk(value, f"{name}[{index}]", spec)
    elif _can_be_output(node, spec):
        yield name or spec.form, node


def _can_be_output(value: Any, spec: Outputs) -> bool:
    """Whether a value can be an output of this form: a quick check that rules most values out."""
    if isinstance(value, str):
        return spec.form != "url" or ":" in value
    return spec.form == "ref" and value is not None and not isinstance(value, bool)


def _make_output(provider: Provider, spec: Outputs, name: str, value: Any, secrets: tuple[str, ...]) -> Output | None:
    """Make an output of a value; None where it is no link, no base64 or no reference of the form."""
    lifetime = spec.lifetime if spec.lifetime is not None else provider.lifetime
    if spec.form == "ref":
        text = as_word(value)
        if not text or text == "0":
            return None
        return Output(name=redact_text(name, secrets, 120), ref=text, kind=spec.kind or "file")
    text = value.strip()
    if not text:
        return None
    inline, link = text[:5].casefold() == "data:", _LINK.match(text)
    if spec.form != "data" and not link:
        return None
    name = redact_text(name, secrets, 120)
    if spec.form == "data" and not (link and not inline):
        data = _decode_base64(text)
        return Output(name=name, data=data, kind=spec.kind or guess_kind(name, "")) if data else None
    if inline:
        data = _decode_base64(text)
        return Output(name=name, data=data, kind=spec.kind or guess_kind(name, text[5:30])) if data else None
    if len(text) > 16_384:
        return None
    return Output(name=name, url=storable(text), kind=spec.kind or guess_kind(name, text), lifetime=lifetime)


def _decode_base64(text: str) -> bytes | None:
    """Decode base64 with or without a data-URL prefix, line breaks and padding, in either alphabet; None if invalid."""
    if text[:5].casefold() == "data:":
        text = text.partition(",")[2]
    packed = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def guess_kind(name: str, link: str) -> str:
    """Return `image`, `video`, `model`, `audio` or `file`, by the link's suffix or media type, then by the key path."""
    try:
        path = urlsplit(link).path
    except ValueError:
        path = ""
    suffix = path.rpartition(".")[2].casefold() if "." in path else ""
    for kind, suffixes in _SUFFIX_KINDS.items():
        if suffix in suffixes or link.startswith(kind + "/"):
            return kind
    for key in reversed(name.casefold().split(".")):  # the last key that names a kind: `rendered_image.url`
        for kind, parts in _NAME_KINDS:
            if any(part in key for part in parts):
                return kind
    return "file"
