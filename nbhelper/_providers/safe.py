"""A server's words made fit to show and to keep: without the key that was sent, without base64 by the page."""

from __future__ import annotations

import hashlib
from typing import Any

from .._text import EXCERPT, clean, redact

_BASE64_SEEN = 400


def without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "[key removed]")
    return text


def showable(text: object, secrets: tuple[str, ...], limit: int = EXCERPT) -> str:
    """A server's words fit to show: cleaned first, so that no escape inside a key hides it from `redact`."""
    words = clean(text, 4 * EXCERPT)
    kept = redact(words, secrets)
    return kept if kept is words and len(words) <= limit else clean(kept, limit)


def keepable(body: Any, secrets: tuple[str, ...], last: Any = None) -> Any:
    """The reply fit to keep: redacted, and long base64 as digest and size; `last` itself when nothing is new in it."""
    return redact(body, secrets, _shortened, last=last)


def _shortened(text: str) -> str:
    if len(text) <= _BASE64_SEEN or " " in text[:_BASE64_SEEN]:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"[{len(text):,} characters, sha256 {digest[:16]}]"
