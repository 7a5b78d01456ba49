"""Random replies are read without an exception, and end no task without a state word or code for it."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.provider_samples import NAMES, changed, corpus, ended_rightly, places

from nbhelper._providers import get
from nbhelper._providers.reader import read, read_batch, read_created
from nbhelper._providers.requests import HttpReply
from nbhelper._providers.scalars import retry_after
from nbhelper._providers.strict_json import NotJson, loads
from nbhelper.types import Miss, Snapshot

QUICK = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["2", "done", "success", "Success", "fail", "https://x.example/a.png", "data:,x", "{", "[1]"]),
)
KEYS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["data", "status", "state", "task_status", "code", "output", "error", "base_resp", "status_code", "resultJson"]
    ),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)
STATUS = st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 402, 404, 410, 422, 429, 500, 503])
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "x-tripo-trace-id", "content-type"]), st.text(max_size=40), max_size=3
)


def encoded(body):
    return json.dumps(body).encode()


def assert_ends_are_named(provider, seen, body):
    """Assert that a final state is named by a state word, or by an error code that the corpus lists as an end."""
    assert isinstance(seen, Snapshot | Miss)
    if isinstance(seen, Snapshot) and seen.state.final:
        assert ended_rightly(provider, str(seen.state), seen.word, body)


@pytest.mark.parametrize("provider", NAMES)
def test_any_json_is_read_without_an_exception(provider):
    """Any JSON with any status and headers gives a Snapshot or a Miss."""

    @QUICK
    @given(JSON, STATUS, HEADERS)
    def check(body, status, headers):
        seen = read(get(provider), HttpReply(status, headers, encoded(body)), ident="t", secrets=("s3cret",))

        assert_ends_are_named(provider, seen, body)
        repr(seen)

    check()


@pytest.mark.parametrize("provider", NAMES)
def test_a_mutated_reply_ends_only_by_its_word(provider):
    """An ordinary reply with up to three values replaced ends a task only by a state word that it still contains."""
    bodies = [c["body"] for c in corpus(provider)["cases"] if c.get("represents")]

    @QUICK
    @given(st.data())
    def check(data):
        body = data.draw(st.sampled_from(bodies))
        for _ in range(data.draw(st.integers(1, 3))):
            path = data.draw(st.sampled_from(list(places(body)) or [()]))
            body = changed(body, path, data.draw(JSON))

        assert_ends_are_named(provider, read(get(provider), HttpReply(200, {}, encoded(body))), body)

    check()


@pytest.mark.parametrize("provider", NAMES)
def test_any_bytes_are_read_without_an_exception(provider):
    """Replies with bytes changed are read without an exception, as a look, as a create and as a batch."""
    raws = [encoded(c["body"]) for c in corpus(provider)["cases"] if c.get("represents")]
    spec = get(provider)

    @QUICK
    @given(st.sampled_from(raws), st.binary(max_size=30), st.integers(0, 2000), st.integers(0, 20), STATUS)
    def check(raw, noise, at, cut, status):
        reply = HttpReply(status, {}, raw[: at % len(raw)] + noise + raw[at % len(raw) + cut :])

        seen = read(spec, reply)

        try:
            body = loads(reply.body)
        except NotJson:
            assert isinstance(seen, Miss)
        else:
            assert_ends_are_named(provider, seen, body)
        assert isinstance(read_created(spec, next(iter(spec.creates.values())), reply), str | Miss)
        if spec.batch:
            many = read_batch(spec, reply, {"t": None, "u": None})
            assert isinstance(many, Miss) or set(many) == {"t", "u"}

    check()


@QUICK
@given(st.text(max_size=30), st.one_of(st.none(), st.floats()))
def test_a_wait_is_bounded(header, seconds):
    """Every Retry-After gives a wait above 0 and up to 600 seconds, or None."""
    wait = retry_after(HttpReply(429, {"retry-after": header}), seconds)

    assert wait is None or 0 < wait <= 600
