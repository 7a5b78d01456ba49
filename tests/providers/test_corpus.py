"""Each API's words, result keys, errors, times, credits, progress and queue, case by case."""

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


def fact(seen, name):
    """One fact of a snapshot, under the name that the corpus has for it."""
    plain = {"queue": "queue_position", "left": "seconds_left"}
    when = {"created": "created_at", "started": "started_at", "finished": "finished_at"}
    if name in when:
        at = getattr(seen, when[name])
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
    return getattr(seen, plain.get(name, name))


def test_every_provider_has_a_corpus():
    """None of the included APIs is left out."""
    assert set(NAMES) == set(INCLUDED)


@pytest.mark.parametrize(("provider", "word", "state"), words())
def test_a_word_is_the_state_that_the_docs_give_it(provider, word, state):
    """Every state word, in the place where the API puts it, becomes its state; others become `unknown`."""
    body = json.dumps(corpus(provider)["word_reply"]).replace('"$"', json.dumps(word)).encode()

    seen = read_reply(get(provider), HttpReply(200, {}, body))

    assert reading(seen) == state
    assert seen.word == word


@pytest.mark.parametrize("provider", NAMES)
def test_every_declared_word_is_in_the_corpus(provider):
    """A word added to a provider comes with a line here (case variants of gptge aside)."""
    known = {w.casefold() for w in corpus(provider)["words"]}
    undocumented = {"queuing", "pending", "success"} if provider == "gptge" else {"queuing", "generating"}

    assert {w for w in get(provider).words if w.casefold() not in known} <= undocumented | {
        v for w in undocumented for v in (w.upper(), w.capitalize())
    }


@pytest.mark.parametrize(("provider", "case"), cases("cases"))
def test_a_reply_says_what_the_docs_say_it_says(provider, case):
    """A reply to a look gives the documented state or miss, and every fact that stands in it."""
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
                held = {o.name: o.data.hex() for o in seen.outputs if o.data}
                assert held == {**held, **case[name]}
            case _:
                assert fact(seen, name) == case[name], name


@pytest.mark.parametrize(("provider", "case"), cases("created"))
def test_a_create_is_read_as_documented(provider, case):
    """The reply to a create names the new task, or says why there is none."""
    spec = get(provider)
    endpoint = spec.creates.get(case["endpoint"]) or spec.other

    answer = read_created(spec, endpoint, reply_of(case))

    if "id" in case:
        assert answer == case["id"]
    else:
        assert reading(answer) == case["reads"]
        assert answer.code == case.get("code", answer.code)
        assert answer.retry_after == case.get("retry_after")
        assert case.get("message", "") in answer.message


@pytest.mark.parametrize("provider", NAMES)
def test_times_are_utc(provider):
    """Every server time that comes out knows its zone, and it is UTC."""
    for case in corpus(provider)["cases"]:
        seen = read_reply(get(provider), reply_of(case))
        if isinstance(seen, Snapshot):
            found = [t for t in (seen.created_at, seen.started_at, seen.finished_at) if t]
            assert all(isinstance(t, datetime) and t.utcoffset().total_seconds() == 0 for t in found)
