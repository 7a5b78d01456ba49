"""Redact texts and replies from servers before they are shown or stored: no API keys, no long base64."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from .._model.json_text import dumps
from .._model.text import EXCERPT, clean, is_harmless, redact
from .strict_json import LARGE

_BASE64_SEEN = 400
_LONG = re.compile(rf'"[^" ]{{{_BASE64_SEEN}}}')


def remove_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """Replace each secret in a text by "[key removed]"."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "[key removed]")
    return text


def redact_text(text: object, secrets: tuple[str, ...], limit: int = EXCERPT) -> str:
    """Clean a server's text for display, redact it, and cut it to `limit` characters.

    It is cleaned first, so that no escape inside a key hides the key from `redact`.
    """
    if text == "":
        return ""
    words = clean(text, 4 * EXCERPT)
    if len(words) <= limit and "/" not in words and remove_secrets(words, secrets) == words:
        return words  # `redact` would find nothing: no link, and nothing that `clean` leaves is beyond a database
    kept = redact(words, secrets)
    return kept if kept is words and len(words) <= limit else clean(kept, limit)


def redact_reply(body: Any, secrets: tuple[str, ...], *, sure: bool = False) -> tuple[Any, str]:
    """Redact a reply for storage, with long base64 replaced by digest and size; return it and its JSON text.

    Most replies need no change; a check of their JSON text shows that in a fraction of the time of a walk.

    Args:
        body: The parsed reply, or one task's part of it.
        secrets: Texts that must not be kept.
        sure: Whether `is_harmless` holds for the text of the whole reply, so that its parts need no such check.
    """
    try:
        text = dumps(body)
        if not _may_be_shortened(text) and (sure or is_harmless(text, secrets)):
            return body, text
    except (TypeError, ValueError, RecursionError):  # NaN or infinity; a value that is no JSON from `adjust`
        pass
    kept = redact(body, secrets, _shorten_base64)
    return kept, dumps(kept)


def _may_be_shortened(text: str) -> bool:
    """Whether a JSON text may hold a string that `_shorten_base64` cuts."""
    if len(text) <= _BASE64_SEEN:
        return False
    # A string begins at a quote; one inside it has a backslash before it, which none that begins a string has.
    return len(text) > LARGE or bool(_LONG.search(text.replace('\\"', "''")))


def _shorten_base64(text: str) -> str:
    """Replace a long text without a space in its beginning by its length and digest."""
    if len(text) <= _BASE64_SEEN or " " in text[:_BASE64_SEEN]:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"[{len(text):,} characters, sha256 {digest[:16]}]"
