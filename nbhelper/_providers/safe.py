"""A server's words made fit to show and to keep: without the key that was sent, without base64 by the page."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from .._model.json_text import dumps
from .._model.text import EXCERPT, clean, is_harmless, redact
from .strict_json import LARGE

_BASE64_SEEN = 400
_LONG = re.compile(rf'"[^" ]{{{_BASE64_SEEN}}}')


def without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "[key removed]")
    return text


def showable(text: object, secrets: tuple[str, ...], limit: int = EXCERPT) -> str:
    """A server's words fit to show: cleaned first, so that no escape inside a key hides it from `redact`."""
    if text == "":
        return ""
    words = clean(text, 4 * EXCERPT)
    if len(words) <= limit and "/" not in words and without_secrets(words, secrets) == words:
        return words  # `redact` would find nothing: no link, and nothing that `clean` leaves is beyond a database
    kept = redact(words, secrets)
    return kept if kept is words and len(words) <= limit else clean(kept, limit)


def keepable(body: Any, secrets: tuple[str, ...], *, sure: bool = False) -> tuple[Any, str]:
    """The reply fit to keep, and its JSON text: redacted, and long base64 as digest and size.

    Most replies are so already, which their text tells at a fraction of what a walk through them takes.

    Args:
        body: The reply, or what it says of one task.
        secrets: What must not be kept.
        sure: Whether the text of the whole reply was found `is_harmless`, so that none of its parts has to be asked.
    """
    try:
        text = dumps(body)
        if not _may_be_shortened(text) and (sure or is_harmless(text, secrets)):
            return body, text
    except (TypeError, ValueError, RecursionError):  # no finite number; what an `adjust` made
        pass
    kept = redact(body, secrets, _shortened)
    return kept, dumps(kept)


def _may_be_shortened(text: str) -> bool:
    """Whether a JSON text may hold a string that `_shortened` cuts."""
    if len(text) <= _BASE64_SEEN:
        return False
    # A string begins at a quote; one inside it has a backslash before it, which none that begins a string has.
    return len(text) > LARGE or bool(_LONG.search(text.replace('\\"', "''")))


def _shortened(text: str) -> str:
    if len(text) <= _BASE64_SEEN or " " in text[:_BASE64_SEEN]:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"[{len(text):,} characters, sha256 {digest[:16]}]"
