"""Text from servers: one harmless line where it is shown, no secret where it is stored, and a safe file name."""

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.hostile import EVIL, SECRET, is_harmless

from nbhelper._model.text import clean, kind_of, nearest, redact, slug, storable, without_queries, without_query

pytestmark = pytest.mark.usefixtures("isolated")

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUICK = settings(max_examples=60, deadline=None)
PLAIN = settings(QUICK, max_examples=25)


@QUICK
@given(EVIL, st.integers(1, 200))
def test_clean_text_is_one_harmless_line(text, limit):
    """`clean` gives text without controls, overrides or lone surrogates, of at most `limit`, and again the same."""
    shown = clean(text, limit)

    assert is_harmless(shown)
    assert len(shown) <= limit
    assert clean(shown, limit) == shown


REAL = {
    "sk-proj-zq7canary0123456789ABCDEFGH": "a project's", "sk-zq7canary0123456789abcdefg": "a plain one",
    "tsk_zq7canary0123456789abcdefg": "Tripo's", "Bearer zq7canary0123456789": "a header's",
}  # fmt: skip


@pytest.mark.parametrize("key", REAL, ids=REAL.values())
@pytest.mark.parametrize(
    "around", ["{}", "Incorrect API key provided: {}.", '{{"key": "{}"}}', "a {} b {}", "x={}&y=1"]
)
def test_what_looks_like_a_key_is_not_shown(key, around):
    """Text with the look of a key, from a server or passed in the wrong place, becomes "[key removed]"."""
    assert "canary" not in clean(around.format(key, key))
    assert "[key removed]" in clean(around.format(key, key))


@pytest.mark.parametrize(
    "text",
    [
        "tripo:1ec04ced-0ff3-4a11-9d2c-0f6f8f7b6a54", "task-0123456789abcdef0123", "risk-0123456789abcdef01",
        "sk-learn",
        "Bearer authentication required", "a disk_0123456789abcdef0123", "owl-sketch-with-a-very-long-name-indeed",
    ],
)  # fmt: skip
def test_what_is_no_key_is_shown(text):
    """Ids and words that merely resemble a key are not removed."""
    assert clean(text) == text


@QUICK
@given(EVIL)
@example("CON")
@example("com1.txt")
@example("..")
@example("-rf")
@example("COM\u00b9")
@example("a" * 300)
def test_a_slug_is_always_a_safe_file_name(text):
    """A slug is ASCII and never empty, hidden, an option, a Windows device or a path out of the folder."""
    name = slug(text)

    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    assert not name.endswith((".", "-"))
    assert len(name) <= 50
    assert not re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE)
    assert slug(name) == name


LINKS = {
    "plain": f"https://cdn.example/a.png?Signature={SECRET}&Expires=1",
    "capitals": f"HTTPS://cdn.example/a.png?Signature={SECRET}",
    "fragment": f"https://cdn.example/a.png#{SECRET}",
    "user": f"https://{SECRET}:{SECRET}@cdn.example/a.png",
    "port": f"http://cdn.example:8080/a.png?x={SECRET}",
    "port that cannot be": f"https://cdn.example:99999/a.png?x={SECRET}",
    "IPv6": f"https://[2001:db8::1]/a.png?x={SECRET}",
    "broken": f"https://[2001/a.png?x={SECRET}",
    "no path": f"https://cdn.example?x={SECRET}",
    "in a sentence": f"failed to fetch https://cdn.example/a?x={SECRET}, sorry",
    "in quotes": f'see "https://cdn.example/a?x={SECRET}"',
    "two": f"https://a.example/?x={SECRET} https://b.example/?y={SECRET}",
    "JSON in a string": json.dumps({"resultUrls": [f"https://cdn.example/a.png?x={SECRET}"]}),
    "JSON in a string, ampersands escaped": f'{{"u":"https://cdn.example/a.png?Expires=1\\u0026Signature={SECRET}"}}',
    "JSON in a string, slashes escaped": f'{{"u":"https:\\/\\/cdn.example\\/a.png?Signature={SECRET}"}}',
    "JSON in a string, question mark escaped": f'{{"u":"https://cdn.example/a.png\\u003fSignature={SECRET}"}}',
    "JSON in JSON in a string": json.dumps(json.dumps({"u": f"https://cdn.example/a?b=1\\u0026x={SECRET}"})),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_no_query_of_a_link_is_kept(link):
    """The query of a link, which may sign it, is removed wherever the link stands; nested JSON stays JSON."""
    assert SECRET not in without_queries(link)
    assert SECRET not in json.dumps(redact({"a": [link], link: {"b": link}}))
    if link.startswith("{"):
        assert list(json.loads(without_queries(link))) == list(json.loads(link))


@QUICK
@given(
    st.recursive(
        st.text(max_size=20) | st.integers() | st.floats() | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["0123456789abcdef", "a/b+c==", "ünï-key", "key"]),
    st.sampled_from(list(LINKS.values())),
)
def test_redacted_replies_hold_neither_key_nor_query(body, key, link):
    """In names and values, inside longer text, nested: `redact` removes the key and the query of a link."""
    reply_ = {"echo": f"bad key {key}!", key: [key, body], "nested": {"deep": [{"u": link, key + "x": link}]}}

    kept = json.dumps(redact(reply_, [key]), ensure_ascii=False)

    assert f"bad key {key}" not in kept
    assert f'"{key}"' not in kept
    assert SECRET not in kept


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "None"), (5, "an int"), ([], "a list"), ("x", "a str"), (object(), "an object"), (True, "a bool")],
)
def test_the_type_of_a_value_in_words(value, text):
    """`kind_of` names a value's type for error texts: "an int", "a list", "None"."""
    assert kind_of(value) == text


@given(st.text(max_size=30))
def test_nearest_offers_a_known_name_or_nothing(word):
    """The hint for any text is empty or one of the known names."""
    hint = nearest(word, ["tripo", "tripo-v3", "kie"])

    assert hint in {"", ' Did you mean "tripo"?', ' Did you mean "tripo-v3"?', ' Did you mean "kie"?'}


ANY = st.text(st.characters(codec=None), max_size=300)


HOSTILE = {
    "colour": ("a\x1b[31mred\x1b[0mb", "aredb"),
    "title": ("a\x1b]0;evil\x07b", "ab"),
    "link": ("\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"),
    "8-bit": ("a\x9b31mb", "a 31mb"),
    "carriage return": ("good\rbad", "good bad"),
    "separators": ("a\u2028b\u2029c", "a b c"),
    "bidi": ("a\u202eb", "ab"),
    "half character": ("a\ud800b", "a\ufffdb"),
    "megabyte": ("x" * 10**6, "x" * 499 + "…"),
}


@pytest.mark.parametrize(("text", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_cleaned(text, expected):
    """Terminal escapes, titles, links, line separators, bidi overrides and a megabyte of text become one short line."""
    assert clean(text) == expected


@given(ANY)
def test_storable_text_can_be_stored(text):
    """Storable text encodes to UTF-8 without NUL; text that could be stored as it was is unchanged."""
    kept = storable(text)

    kept.encode()
    assert "\0" not in kept
    if "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text):
        assert kept == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY, inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.sampled_from(["top-secret-key", "ü"]))
def test_redacted_json_can_be_kept(value, secret):
    """Redacted JSON has the secret nowhere, and nothing that SQLite or JSON cannot hold."""
    kept = redact({"a": value, secret: [f"x{secret}y", {"b": secret}]}, (secret,))

    text = json.dumps(kept, allow_nan=False)
    assert secret not in json.dumps(kept, ensure_ascii=False)
    text.encode()


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("https://x.example/a.png?sig=1#f", "https://x.example/a.png"),
        ("https://user:pass@x.example:8443/a", "https://x.example:8443/a"),
        ("https://[::1]:99/a?b", "https://[::1]:99/a"),
        ("https://[::1/a", "(unreadable link)"),
    ],
)
def test_query_fragment_and_user_are_removed_from_a_link(link, kept):
    """Query, fragment and user information go, in a link alone and inside text."""
    assert without_query(link) == kept
    assert without_queries(f'see "{link}" there') == f'see "{kept}" there'
