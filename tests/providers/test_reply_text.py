"""Fast checks of replies give what the slow paths give: for redaction, and for keys with two values."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nbhelper._model.json_text import dumps
from nbhelper._model.text import is_harmless, redact
from nbhelper._providers import safe
from nbhelper._providers.strict_json import NotJson, loads

OFTEN = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

ODD = ["\\", '"', "/", "//", "\\/", "\\\\", '\\"', "\0", "\ud800", "\u2028", "\x1f", "ü", "🦉", " ", "\n", "u0000", "a"]
LINKS = ["https://a.example/x?sig=1", r"https:\/\/a.example\/x?sig=1", '{"u":"https://a.example/b\\u003fsig=1"}']
SECRETS = st.one_of(
    st.sampled_from(
        ["tsk_0123456789abcdef", 'quo"ted', "back\\slash", "\\", '"', "a/b+c==", "tab\there", "ü-key", "n"]
    ),
    st.lists(st.sampled_from(ODD), min_size=1, max_size=4).map("".join),
)
RUNS = st.builds(
    lambda head, fill, size, tail: head + (fill * size)[:size] + tail,
    st.sampled_from(["", " ", '"', "\\", "x y"]),
    st.sampled_from(["x", '"', "\\", "é", "\n", "ab ", 'x"', 'abc\\"', "\x00"]),
    st.sampled_from([395, 398, 399, 400, 401, 402, 800]),
    st.sampled_from(["", " ", '"', "\\"]),
)
NUMBERS = st.sampled_from(
    [2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**18, 10**19, 1e300, 0.1234567890123456789, float("inf"), -0.0]
)


def bodies(secrets):
    """JSON with the secrets, links, long texts and large numbers anywhere."""
    marked = st.sampled_from([*LINKS, *(secrets or ["none"])])
    texts = st.one_of(
        st.text(max_size=6),
        st.lists(st.sampled_from(ODD), max_size=4).map("".join),
        st.builds("{}{}{}".format, st.sampled_from(["", "x ", "ü"]), marked, st.sampled_from(["", " y"])),
        RUNS,
    )
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | NUMBERS | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=10,
    )


@OFTEN
@given(st.data())
def test_redact_reply_gives_what_redact_gives(data):
    """For any reply and any secrets, `redact_reply` gives the value of `redact` and its JSON text."""
    secrets = tuple(data.draw(st.lists(SECRETS, max_size=2)))
    body = data.draw(bodies(secrets))
    walked = redact(body, secrets, safe._shorten_base64)

    kept, text = safe.redact_reply(body, secrets)

    assert text == dumps(walked) == dumps(kept)
    assert json.loads(text) == walked


EDGES = {
    "a link": "https://a.example/x?sig=1",
    "a link with escaped slashes": r"https:\/\/a.example\/x?sig=1",
    "a key": "tsk_0123456789abcdef",
    "a key that JSON escapes": 'quo"ted\\key\t',
    "401 characters": "x" * 401,
    "401 characters and a space at the end": "x" * 400 + " ",
    "401 characters with quotes": '"' + "x" * 399 + '"',
    "401 quotes": '"' * 401,
    "401 backslashes": "\\" * 401,
    "401 characters behind a backslash": ["\\", "x" * 401],
    "NUL": "a\0",
    "half a character": "\ud800",
    "a number beyond SQLite's": 2**63,
    "the same below zero": -(2**63) - 1,
    "a number beyond all bounds": float("inf"),
}


@pytest.mark.parametrize("value", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("place", [lambda v: {"data": v, "n": 1}, lambda v: [[v], "x"]], ids=["object", "array"])
def test_each_text_or_number_that_cannot_be_stored_is_changed(place, value):
    """Each value that must not be stored as it came is changed, also as the only such value in a reply."""
    body, secrets = place(value), ("tsk_0123456789abcdef", 'quo"ted\\key\t')

    kept, text = safe.redact_reply(body, secrets)

    assert text == dumps(kept) == dumps(redact(body, secrets, safe._shorten_base64))
    assert kept != body


@OFTEN
@given(st.data())
def test_redact_changes_no_harmless_text(data):
    """Where `is_harmless` holds for a JSON text, `redact` does not change its value."""
    secrets = tuple(data.draw(st.lists(SECRETS, max_size=2)))
    body = data.draw(bodies(secrets))
    try:
        text = dumps(body)
    except ValueError:
        return

    if is_harmless(text, secrets):
        assert dumps(redact(body, secrets)) == text


def test_ordinary_replies_are_not_walked(monkeypatch):
    """`redact_reply` does not call `redact` for an ordinary reply with a long prompt and JSON in a string."""
    monkeypatch.setattr(safe, "redact", None)
    body = {
        "data": {"prompt": "an owl, " * 100, "param": json.dumps({"prompt": "an owl", "n": [1, 2]}), "id": "f" * 36}
    }

    assert safe.redact_reply(body, ("tsk_0123456789abcdef",)) == (body, dumps(body))


# Repeated keys


def make_dict(pairs):
    value = dict(pairs)
    if any(value[key] != item for key, item in pairs):
        raise NotJson
    return value


def expected(text):
    """The value by a parser that checks each pair, or NotJson."""
    try:
        return json.loads(text, object_pairs_hook=make_dict, parse_constant=lambda _: None)
    except NotJson:
        return NotJson


@st.composite
def quoted(draw, texts):
    """A JSON string: each character plain, in its short escape or as a number."""
    written = json.dumps(draw(texts), ensure_ascii=draw(st.booleans()))
    for plain, escaped in (('\\"', "\\u0022"), ("a", "\\u0061"), ("\\\\", "\\u005c"), ("/", "\\/")):
        if draw(st.booleans()):
            written = '"' + written[1:-1].replace(plain, escaped) + '"'
    return written


TEXTS = st.sampled_from(["a", "b", "ab", '"', '""', '"a":1', "\\", '\\"', "/", "ü", "u0022", "\\u0022", ""])
SPACE = st.sampled_from(["", " ", "\n\t"])


@st.composite
def sources(draw, inner):
    """An object or an array as a server may write it, keys repeated."""
    items = draw(st.lists(inner, max_size=4))
    if draw(st.booleans()):
        return f"[{draw(SPACE)}{','.join(items)}]"
    pairs = [f"{draw(quoted(TEXTS))}{draw(SPACE)}:{draw(SPACE)}{item}" for item in items]
    return "{" + f"{draw(SPACE)},".join(pairs) + "}"


SOURCES = st.recursive(
    st.sampled_from(["1", "1.0", "true", "null", "NaN", "1e999", "-Infinity", "{}", "[]"]) | quoted(TEXTS),
    sources,
    max_leaves=8,
)


@OFTEN
@given(SOURCES, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]))
@example('{"a":1,"a":2}', "utf-8")
@example('{"a":"\\u0022\\u0022","a":""}', "utf-8")
@example('{"a":{"b":1},"a":{"b":2}}', "utf-16")
@example('{"a":1e999,"a":2}', "utf-8")
@example('{"\\u0061":1,"a":2}', "utf-8")
@example('[{"a":1,"a":1}]', "utf-8")
def test_a_key_with_two_values_is_refused_in_every_encoding(text, encoding):
    """A key with two values raises NotJson in every encoding and with escapes; other texts give what `json` gives."""
    expected_value = expected(text)

    try:
        value = loads(text.encode(encoding))
    except NotJson:
        value = NotJson

    assert repr(value) == repr(expected_value)


def test_a_key_with_two_values_is_refused_in_a_long_reply():
    """A key with two values raises NotJson also in a text of more than a million characters."""
    with pytest.raises(NotJson, match="twice"):
        loads(b'{"a":1,"b":"' + b"x" * 1_000_001 + b'","a":2}')
