"""Text as a hostile server may send it, and the check of what the library prints of it."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

SECRET = "zq7canary"
"""A part of links and keys that no output may contain."""
EVIL = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x00\x07\x1b\x9b\r\n\t\u202e\u2066\u200f\u2028\ud800\udfff\ufeff[]{}<>&%$`*_:/\\"),
        st.sampled_from("\u0301\u200b\U000e0041"),
    ),
    max_size=80,
) | st.sampled_from([
    "\x1b]0;title\x07", "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "\x1b[2J\x1b[H", "\x9b31m",
    "[bold]x[/bold]",
    "[link=https://evil.example]x[/link]", ":smile:", "\r\nforged line", "a\u202egnp.exe", "\x1bPq\x1b\\", "x" * 3000,
])  # fmt: skip
BIDI_CONTROLS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


def is_harmless(text: str) -> bool:
    """Assert that a text is one line without control characters, bidirectional overrides or lone surrogates."""
    assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}]
    assert not [c for c in text if unicodedata.bidirectional(c) in BIDI_CONTROLS or c in "\u200e\u200f\u061c"]
    text.encode()
    return True
