"""Each field of ordinary replies replaced by each JSON type: always a Snapshot or Miss, never a wrong final state."""

import json
from itertools import product

import pytest
from support.provider_samples import NAMES, changed, ended_rightly, places, representatives

from nbhelper._providers import get
from nbhelper._providers.reader import read, read_batch, read_created
from nbhelper._providers.requests import HttpReply
from nbhelper.types import Miss, Snapshot

_MARK = "\ue000"
VALUES = {
    "null": "null",
    "true": "true",
    "false": "false",
    "zero": "0",
    "minus-one": "-1",
    "fraction": "0.5",
    "too-big-for-a-float": "1e999",
    "nan": "NaN",
    "integer-of-400-digits": "9" * 400,
    "integer-of-5000-digits": "9" * 5000,
    "empty-text": '""',
    "text": '"text"',
    "lone-surrogate": '"\\ud800"',
    "empty-list": "[]",
    "empty-object": "{}",
    "list": '[null, 1, "a", ["https://x.example/a.png"]]',
    "nested": '{"a": {"b": [{"c": null}]}}',
    "60-levels": "[" * 60 + "]" * 60,
    "3000-levels": "[" * 3_000 + "]" * 3_000,  # beyond Python's own limit; a hundred thousand are row D6's
}
# Values in the body that `ended_rightly` checks against; the others are None there, as they are no state words.
PARSED = {"zero": 0, "minus-one": -1, "fraction": 0.5, "empty-text": "", "text": "text"}


@pytest.mark.parametrize(("provider", "body"), representatives())
def test_d11_field_of_another_type(provider, body):
    """With any value in one field a reply reads as a Snapshot or Miss, final only if the state word is."""
    spec = get(provider)
    for path, value in product(places(body), VALUES):
        text = json.dumps(changed(body, path, _MARK), ensure_ascii=False).replace(f'"{_MARK}"', VALUES[value])
        known = changed(body, path, PARSED.get(value))

        seen = read(spec, HttpReply(200, {}, text.encode("utf-8", "surrogatepass")))

        assert isinstance(seen, Snapshot | Miss)
        if isinstance(seen, Snapshot) and seen.state.final:
            assert ended_rightly(provider, str(seen.state), seen.word, known), (path, value)


@pytest.mark.parametrize(("provider", "body"), representatives())
def test_d11_field_missing(provider, body):
    """With any field left out a reply reads without an exception, and as final only if the state word is."""
    spec = get(provider)
    for path in places(body):
        *parents, last = path
        node = body
        for key in parents:
            node = node[key]
        less = {k: v for k, v in node.items() if k != last} if isinstance(node, dict) else node[:last]
        known = changed(body, tuple(parents), less)

        seen = read(spec, HttpReply(200, {}, json.dumps(known).encode()))

        if isinstance(seen, Snapshot) and seen.state.final:
            assert ended_rightly(provider, str(seen.state), seen.word, known), path


@pytest.mark.parametrize(("provider", "body"), representatives())
def test_d01_reply_cut_short(provider, body):
    """A reply that is cut off anywhere is garbled."""
    raw = json.dumps(body).encode()
    for end in range(len(raw)):
        assert read(get(provider), HttpReply(200, {}, raw[:end])).kind == "garbled"


@pytest.mark.parametrize(("provider", "body"), representatives())
def test_d04_duplicate_keys_anywhere(provider, body):
    """A reply with a duplicate key of different values is garbled: parsers differ in which of the two they keep."""
    raw = json.dumps(body)
    for key in dict.fromkeys(p[-1] for p in places(body) if isinstance(p[-1], str)):
        twice = raw.replace(f'"{key}":', f'"{key}": "one of two", "{key}":', 1)

        assert read(get(provider), HttpReply(200, {}, twice.encode())).kind == "garbled"


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 429, 500, 530])
@pytest.mark.parametrize("provider", NAMES)
def test_d02_not_an_object_at_any_api(provider, status):
    """A body that is not the API's own object is a Miss for a look, a batch and a create."""
    spec = get(provider)
    for raw in (b"", b" \n", b"null", b"true", b"1", b'"text"', b"[]", b"<html>", b"{}", b"\x00", b"{'a': 1}"):
        reply = HttpReply(status, {}, raw)

        assert isinstance(read(spec, reply), Miss), raw
        assert isinstance(read_created(spec, next(iter(spec.creates.values())), reply), Miss), raw
        if spec.batch:
            assert isinstance(read_batch(spec, reply, {"a": None, "b": None}), Miss), raw
