"""The outputs that a reply names: links, base64 and references, each once and under a name of its own."""

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

from .._model.seen import Output
from .._model.text import storable
from .provider import Provider
from .reply_parts import Outputs
from .safe import showable, without_secrets
from .scalars import as_word

MOST_OUTPUTS = 256
"""Outputs of one task that are saved; the raw reply keeps the rest."""
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


def outputs_of(
    provider: Provider, body: Any, size: tuple[int | None, int | None], secrets: tuple[str, ...]
) -> tuple[Output, ...]:
    found: dict[str, Output] = {}
    """By what tells them apart: the link, the reference, or the digest of the bytes."""
    names: set[str] = set()
    for spec, search in provider.finders.outputs:
        node = search(body)
        for name, value in _leaves(node, spec.name, spec) if node else ():
            if len(found) >= MOST_OUTPUTS:
                break
            output = _output(provider, spec, name, value, secrets)
            if output is None:
                continue
            # A link that holds the key would carry it to wherever it leads; without it, it leads nowhere.
            url = output.url and without_secrets(output.url, secrets)
            ref = output.ref and without_secrets(output.ref, secrets)
            same = url or ref or hashlib.sha256(output.data or b"").hexdigest()
            if same in found:
                continue
            # Names are what files and saves are known by, so two outputs never share one.
            free = next(n for i in count(1) if (n := output.name if i == 1 else f"{output.name} ({i})") not in names)
            names.add(free)
            found[same] = replace(output, name=free, url=url, ref=ref, width=size[0], height=size[1])
    return tuple(found.values())


def _leaves(node: Any, name: str, spec: Outputs) -> Iterator[tuple[str, Any]]:
    """Whatever may be an output, with its key path; most of what stands in a reply is none."""
    if isinstance(node, dict):
        links = spec.form == "url"
        for key, value in node.items():
            if links and not (":" in value if isinstance(value, str) else isinstance(value, _NESTED)):
                continue  # most of what stands there, at each look
            if (isinstance(value, _NESTED) or _promising(value, spec)) and key not in spec.skip:
                yield from _leaves(value, f"{name}.{key}" if name else key, spec)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{name}[{index}]", spec)
    elif _promising(node, spec):
        yield name or spec.form, node


def _promising(value: Any, spec: Outputs) -> bool:
    if isinstance(value, str):
        return spec.form != "url" or ":" in value
    return spec.form == "ref" and value is not None and not isinstance(value, bool)


def _output(provider: Provider, spec: Outputs, name: str, value: Any, secrets: tuple[str, ...]) -> Output | None:
    lifetime = spec.lifetime if spec.lifetime is not None else provider.lifetime
    if spec.form == "ref":
        text = as_word(value)
        if not text or text == "0":
            return None
        return Output(name=showable(name, secrets, 120), ref=text, kind=spec.kind or "file")
    text = value.strip()
    if not text:
        return None
    inline, link = text[:5].casefold() == "data:", _LINK.match(text)
    if spec.form != "data" and not link:
        return None
    name = showable(name, secrets, 120)
    if spec.form == "data" and not (link and not inline):
        data = _decode(text)
        return Output(name=name, data=data, kind=spec.kind or kind_of(name, "")) if data else None
    if inline:
        data = _decode(text)
        return Output(name=name, data=data, kind=spec.kind or kind_of(name, text[5:30])) if data else None
    if len(text) > 16_384:
        return None
    return Output(name=name, url=storable(text), kind=spec.kind or kind_of(name, text), lifetime=lifetime)


def _decode(text: str) -> bytes | None:
    """Base64 as servers write it: a data-URL prefix, line breaks, either alphabet, missing padding."""
    if text[:5].casefold() == "data:":
        text = text.partition(",")[2]
    packed = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def kind_of(name: str, link: str) -> str:
    """`image`, `video`, `model`, `audio` or `file`, by the link's suffix, then by the keys of its name."""
    try:
        path = urlsplit(link).path
    except ValueError:
        path = ""
    suffix = path.rpartition(".")[2].casefold() if "." in path else ""
    for kind, suffixes in _SUFFIX_KINDS.items():
        if suffix in suffixes or link.startswith(kind + "/"):
            return kind
    for key in reversed(name.casefold().split(".")):  # the last key that says something: `rendered_image.url`
        for kind, parts in _NAME_KINDS:
            if any(part in key for part in parts):
                return kind
    return "file"
