"""Replies of each API, case by case: state words, result keys, errors, times, credits, progress, queue position."""

import json
from datetime import datetime

import pytest
from support.provider_samples import NAMES, body_of, cases, corpus

from nbhelper._providers import INCLUDED, get
from nbhelper._providers.reader import read as read_reply
from nbhelper._providers.reader import read_created
from nbhelper._providers.requests import HttpReply
from nbhelper.types import Miss, Snapshot


def reply_of(case, body=None):
    headers = {k.lower(): v for k, v in case.get("headers", {}).items()}
    return HttpReply(case.get("http", 200), headers, body_of(case) if body is None else body)


def reading(seen):
    return str(seen.state) if isinstance(seen, Snapshot) else f"miss:{seen.kind}"


def words():
    return [
        pytest.param(name, word, state, id=f"{name}-{word}")
        for name in NAMES
        for word, state in corpus(name)["words"].items()
    ]


def read_fact(seen, name):
    """Return one fact of a snapshot, by its name in the corpus."""
    names = {"queue": "queue_position", "left": "seconds_left"}
    times = {"created": "created_at", "started": "started_at", "finished": "finished_at"}
    if name in times:
        at = getattr(seen, times[name])
        return at and at.isoformat()
    match name:
        case "outputs":
            return {o.name: o.kind for o in seen.outputs}
        case "refs":
            return {o.name: o.ref for o in seen.outputs if o.ref}
        case "lifetime":
            return seen.outputs[0].lifetime
        case "size":
            return [seen.outputs[0].width, seen.outputs[0].height]
        case "seconds":
            return (seen.finished_at - seen.created_at).total_seconds()
        case "params":
            return dict(seen.params)
        case "code":
            return seen.error.code
    return getattr(seen, names.get(name, name))


def test_every_provider_has_a_corpus():
    """Each included API has a corpus file."""
    assert set(NAMES) == set(INCLUDED)


@pytest.mark.parametrize(("provider", "word", "state"), words())
def test_a_state_word_has_its_documented_state(provider, word, state):
    """Every state word, at the key where the API has it, becomes its documented state; other words become `unknown`."""
    body = json.dumps(corpus(provider)["word_reply"]).replace('"$"', json.dumps(word)).encode()

    seen = read_reply(get(provider), HttpReply(200, {}, body))

    assert reading(seen) == state
    assert seen.word == word


@pytest.mark.parametrize("provider", NAMES)
def test_every_declared_word_is_in_the_corpus(provider):
    """Every state word of a provider has an entry in its corpus (except gptge's variants in upper and lower case)."""
    known = {w.casefold() for w in corpus(provider)["words"]}
    undocumented = {"queuing", "pending", "success"} if provider == "gptge" else {"queuing", "generating"}

    assert {w for w in get(provider).words if w.casefold() not in known} <= undocumented | {
        v for w in undocumented for v in (w.upper(), w.capitalize())
    }


@pytest.mark.parametrize(("provider", "case"), cases("cases"))
def test_a_look_s_reply_has_the_documented_state_and_facts(provider, case):
    """A reply to a look gives the documented state or miss, and every fact in it."""
    seen = read_reply(get(provider), reply_of(case), ident=case.get("ident"))

    assert reading(seen) == case["reads"], seen
    if isinstance(seen, Miss):
        for key in ("code", "retry_after"):
            if key in case:
                assert getattr(seen, key) == case[key]
        assert case.get("message", "") in seen.message
        return
    for name in case.keys() - {"case", "represents", "http", "headers", "body", "text", "reads", "ident"}:
        match name:
            case "message":
                assert case[name] in seen.error.message
            case "data":
                outputs = {o.name: o.data.hex() for o in seen.outputs if o.data}
                assert outputs == {**outputs, **case[name]}
            case _:
                assert read_fact(seen, name) == case[name], name


@pytest.mark.parametrize(("provider", "case"), cases("created"))
def test_a_create_is_read_as_documented(provider, case):
    """The reply to a create gives the new task's id, or a miss with its reason."""
    spec = get(provider)
    endpoint = spec.creates.get(case["endpoint"]) or spec.other

    created = read_created(spec, endpoint, reply_of(case))

    if "id" in case:
        assert created == case["id"]
    else:
        assert reading(created) == case["reads"]
        assert created.code == case.get("code", created.code)
        assert created.retry_after == case.get("retry_after")
        assert case.get("message", "") in created.message


@pytest.mark.parametrize("provider", NAMES)
def test_times_are_utc(provider):
    """Every server time in a snapshot is timezone-aware and in UTC."""
    for case in corpus(provider)["cases"]:
        seen = read_reply(get(provider), reply_of(case))
        if isinstance(seen, Snapshot):
            times = [t for t in (seen.created_at, seen.started_at, seen.finished_at) if t]
            assert all(isinstance(t, datetime) and t.utcoffset().total_seconds() == 0 for t in times)
