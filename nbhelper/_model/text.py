"""Text from servers, made safe to show, store and log.

Text from a server is hostile: it may hold terminal escapes, bidirectional overrides, NUL, lone surrogates or a
megabyte of anything. `clean` is for every place where a person reads; `storable` keeps everything a database can hold.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .json_text import dumps

EXCERPT = 500
"""The most characters of a server's words that an error or a Miss carries."""

_BIDI = dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LINK = re.compile(r"https?:(?:\\*/){2}(?:[^\s\"'<>\\]|\\+/|\\+u[0-9a-f]{4})+", re.IGNORECASE)
"""A link, also as it stands in JSON inside a string: `https:\\/\\/…?a=1\\u0026b=2`."""
_ESCAPE = re.compile(r"\\+u([0-9a-f]{4})", re.IGNORECASE)
_KEY = re.compile(
    r"(?<![\w-])(?:sk-|tsk_)[\w-]*?[a-z0-9]{16,}[\w-]*|\bbearer\s+(?=\S*[0-9])[\w.~+/=-]{12,}", re.IGNORECASE
)

_KEYISH = re.compile(r"sk[-_]|bearer", re.IGNORECASE)


def clean(text: object, limit: int = EXCERPT) -> str:
    """One line of plain text: no escapes, controls, bidi overrides or lone surrogates; cut with an ellipsis.

    What has the look of a key is not repeated: people pass keys in the wrong place, and servers echo them.
    """
    # Cutting first keeps a megabyte from being searched; an escape cut in half loses its control character anyway.
    words = str(text)[: limit * 4 + 64]
    if len(words) <= limit and words.isascii() and words.isprintable() and not _KEYISH.search(words):
        return words.strip()  # nearly all that APIs say
    words = _ANSI.sub("", words)
    words = _CONTROL.sub(" ", words).translate(_BIDI)
    words = _KEY.sub("[key removed]", _SURROGATE.sub("\ufffd", words)).strip()
    return words if len(words) <= limit else words[: limit - 1] + "…"


def storable(text: str) -> str:
    """The same text with lone surrogates and NUL written as escapes, which SQLite, CSV and UTF-8 can hold."""
    if text.isascii() and "\x00" not in text:
        return text
    return _SURROGATE.sub(lambda m: f"\\u{ord(m.group()):04x}", text).replace("\x00", "\\u0000")


def without_query(url: str) -> str:
    """A link with query, fragment and user information removed: who has a signed link has the file."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(unreadable link)"
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, host + port, parts.path, "", ""))


def without_queries(text: str) -> str:
    """Free text with every link in it cut by `without_query`."""
    return _LINK.sub(_cut, text) if "//" in text or "\\/" in text else text


def _cut(link: re.Match[str]) -> str:
    plain = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), link.group())
    return without_query(plain.replace("\\", ""))


def kind_of(value: object) -> str:
    """`an int`, `a list`, `None`: the type of an argument, for an error's text."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[:1] in 'aeio' else 'a'} {name}"


def redact(value: Any, secrets: Iterable[str] = (), shorten: Callable[[str], str] | None = None) -> Any:
    """A JSON value fit to store: secrets replaced, links without their queries, surrogates escaped.

    Args:
        value: Any parsed JSON.
        secrets: Texts that must not be kept, such as the key that was sent.
        shorten: What to do with each text first.

    Returns:
        A value of the same shape. What JSON does not know stands in it as text.
    """
    hidden = tuple(filter(None, secrets))

    def words(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, "[key removed]")
        return storable(without_queries(text) if "/" in text else text)

    def walk(node: Any) -> Any:
        kind = type(node)  # exact types first: nearly all that a reply holds
        if kind is str:
            return words(node if shorten is None else shorten(node))
        if kind is dict:
            return {words(k if type(k) is str else str(k)): walk(v) for k, v in node.items()}
        if kind is list:
            return [walk(v) for v in node]
        if node is None or kind is bool:
            return node
        if isinstance(node, Mapping):
            return {words(str(k)): walk(v) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return [walk(v) for v in node]
        if isinstance(node, float) and math.isfinite(node):
            return node
        if isinstance(node, int) and -(2**63) <= node < 2**63:
            return node
        return words(str(node))

    return walk(value)


_DIGITS = bytes(48 if 48 <= n < 58 else n for n in range(256))
_LONG = b"0" * 19
"""Where a number has so many digits, it may be one that SQLite cannot hold."""


def is_harmless(text: str, secrets: Iterable[str] = ()) -> bool:
    """Whether `redact` would change nothing in the value of a JSON text as `dumps` writes it.

    In doubt it says no: then the value is walked, which takes ten times as long.
    """
    if ("/" in text and ("//" in text or "\\/" in text)) or ("\\" in text and "\\u0000" in text):
        return False
    try:
        if _LONG in text.encode().translate(_DIGITS):
            return False
    except UnicodeEncodeError:  # half a character
        return False
    # JSON writes each character in one way, so a text that holds the secret holds it as it is written there.
    return not any(dumps(secret)[1:-1] in text for secret in secrets if secret)


def slug(text: str, limit: int = 48) -> str:
    """A safe file name from a text of the user's: ASCII letters, digits, `.`, `_`, `-`; never empty, no dot first."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)[:limit].strip("-._")
    return name if name and not _RESERVED.fullmatch(name) else f"x-{name}".rstrip("-")


_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


def nearest(word: str, known: Iterable[str]) -> str:
    """`' Did you mean "kie"?'` for the nearest known name, or an empty text."""
    import difflib

    # Substring first: "tripo3d" and "ailabtools" are what people type.
    names = sorted(known)
    low = word.casefold()
    close = difflib.get_close_matches(low, names, 1)
    if not close and len(low) > 1:
        close = [n for n in names if low in n or (len(n) > 2 and n in low)][:1]
    return f' Did you mean "{close[0]}"?' if close else ""


def seconds(value: float) -> str:
    """A duration as people read it: `8.2 s`, `42 s`, `3:07`, `1:02:33`."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count_tasks(n: int) -> str:
    """`1 task`, `2 tasks`."""
    return f"{n} task" if n == 1 else f"{n} tasks"


def size(n_bytes: int) -> str:
    """A number of bytes as people read it: `512 B`, `1.2 MB`."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
