"""Providers defined by a user: the documented example works, and each invalid field raises one clear line."""

import inspect
import json
import re
import textwrap
from dataclasses import replace
from types import SimpleNamespace

import pytest

from nbhelper import BadInput, Provider
from nbhelper._providers import get, names, register
from nbhelper._providers.reader import read as read_reply
from nbhelper.testing import read
from nbhelper.types import Batch, Endpoint, ErrorRule, HttpReply, HttpRequest, Outputs, Snapshot

LEAST = {
    "name": "pixelmill",
    "base_url": "https://api.pixelmill.example",
    "key_variable": "PIXELMILL_API_KEY",
    "poll": "GET /v1/jobs/{id}",
    "state": "job.status",
    "words": {"done": "succeeded"},
}


PRINTED = inspect.getdoc(Provider).partition("Example:\n")[2].partition("    task = ")[0]


@pytest.fixture
def example():
    """The provider in the docstring of `Provider`, made by executing the example."""
    added = []
    nbh = SimpleNamespace(register=added.append, Provider=Provider)
    exec(compile(textwrap.dedent(PRINTED), "example.py", "exec"), {"nbh": nbh})
    return added[0]


def test_replies_of_the_documented_example_are_read(example):
    """The example in the docstring makes a provider whose replies give state, progress, credits, outputs and error."""
    running = read(example, {"job": {"id": "1", "status": "working", "percent": 40}})
    done = read(
        example,
        {"job": {"status": "done", "credits_used": 0, "images": ["https://p.example/1.png", "https://p.example/2"]}},
    )
    failed = read(example, {"job": {"status": "error", "reason": "no owls left"}})

    assert (running.state, running.progress) == ("running", 0.4)
    assert (done.state, done.credits) == ("succeeded", 0)
    assert [o.name for o in done.outputs] == ["job.images[0]", "job.images[1]"]
    assert (failed.state, failed.error.message) == ("failed", "no owls left")


def test_the_documented_example_is_short(example):
    """The example in the docstring has at most 15 lines."""
    assert len(PRINTED.splitlines()) <= 15
    assert example.creates["image"] == Endpoint(path="/v1/jobs")


def test_an_unknown_word_of_an_own_provider_is_shown_and_not_final(example):
    """A state word that is not in `words` gives `unknown`, with the word itself."""
    seen = read(example, {"job": {"status": "simmering"}})

    assert (seen.state, seen.word) == ("unknown", "simmering")


MISTAKES = {
    "name-with-capitals": ({"name": "PixelMill"}, "name"),
    "name-empty": ({"name": ""}, "name"),
    "name-of-another-type": ({"name": 7}, "name"),
    "base-url-without-scheme": ({"base_url": "api.pixelmill.example"}, "base_url"),
    "base-url-of-another-type": ({"base_url": None}, "base_url"),
    "base-url-with-query": ({"base_url": "https://x.example/?a=1"}, "base_url"),
    "key-variable-with-a-dash": ({"key_variable": "PIXEL-MILL"}, "key_variable"),
    "key-variable-empty": ({"key_variable": ()}, "key_variable"),
    "key-variable-of-another-type": ({"key_variable": 5}, "key_variable"),
    "key-format-without-the-key": ({"key_format": "Bearer"}, "key_format"),
    "floor-zero": ({"floor": 0}, "floor"),
    "floor-text": ({"floor": "2"}, "floor"),
    "floor-true": ({"floor": True}, "floor"),
    "floor-nan": ({"floor": float("nan")}, "floor"),
    "progress-max-zero": ({"progress_max": 0}, "progress_max"),
    "progress-max-text": ({"progress_max": "100"}, "progress_max"),
    "words-with-no-state": ({"words": {"done": "finished"}}, "finished"),
    "words-of-another-type": ({"words": ["done"]}, "words"),
    "state-is-no-path": ({"state": "job.[status"}, "state"),
    "state-of-another-type": ({"state": 5}, "state"),
    "outputs-is-no-path": ({"outputs": "job.("}, "outputs"),
    "outputs-of-another-type": ({"outputs": [5]}, "outputs"),
    "progress-is-no-path": ({"progress": "a..b"}, "progress"),
    "credits-of-another-type": ({"credits": 3}, "credits"),
    "code-is-no-path": ({"code": ("code", "a b")}, "code"),
    "poll-is-no-request": ({"poll": "/v1/jobs/{id}"}, "GET /v1/jobs"),
    "poll-without-the-id": ({"poll": "GET /v1/jobs"}, "where the id stands"),
    "poll-by-another-method": ({"poll": "DELETE /v1/jobs/{id}"}, "DELETE"),
    "poll-of-another-type": ({"poll": 3}, "poll"),
    "endpoint-is-a-get": ({"endpoints": {"image": "GET /v1/jobs"}}, "POST"),
    "endpoint-of-another-type": ({"endpoints": {"image": 3}}, "endpoint"),
    "endpoints-of-another-type": ({"endpoints": ["POST /v1/jobs"]}, "endpoints"),
    "batch-items-is-no-path": ({"batch": Batch(request=HttpRequest("POST", "/b"), size=9, items="a b")}, "batch.items"),
    "endpoint-id-is-no-path": ({"endpoints": {"image": Endpoint(path="/a", id="a b")}}, "endpoints[image].id"),
}


@pytest.mark.parametrize(("wrong", "named"), MISTAKES.values(), ids=MISTAKES)
def test_a_malformed_field_is_one_clear_line(wrong, named):
    """Each malformed field raises BadInput when the provider is made: one line, which names the field."""
    with pytest.raises(BadInput) as refused:
        Provider(**{**LEAST, **wrong})

    text = str(refused.value)
    assert named in text
    assert "\n" not in text
    assert len(text) < 250


def test_an_error_rule_that_means_nothing_is_refused():
    """An ErrorRule means a kind of miss or a final state; `running` raises BadInput."""
    with pytest.raises(BadInput, match='means "running"'):
        ErrorRule(means="running")


@pytest.mark.parametrize(
    ("typed", "offered"), [("tripoo", "tripo"), ("ailabtools", "ailab"), ("kei", "kie"), ("tripo_v3", "tripo-v3")]
)
def test_an_unknown_name_offers_the_nearest(typed, offered):
    """A misspelt provider name raises BadInput with the nearest name."""
    with pytest.raises(BadInput, match=re.escape(f'Did you mean "{offered}"?')):
        get(typed)


@pytest.mark.parametrize("wrong", ["", "  ", None, 3])
def test_an_invalid_provider_name_is_refused_with_the_known_names(wrong):
    """An empty name, or one that is no text, raises BadInput with all known names."""
    with pytest.raises(BadInput, match="ailab-legacy, ailab, gptge, tripo, tripo-v3, aigptimage, kie"):
        get(wrong)


def test_register_takes_providers_only():
    """`register` raises BadInput for a dict."""
    with pytest.raises(BadInput, match=r"nbhelper\.Provider, not dict"):
        register({"name": "x"})


def test_the_first_seven_names():
    """`names` begins with the seven included providers, in a fixed order."""
    assert names()[:7] == ("ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie")


# The seven

SEVEN = {
    "ailab-legacy": ("https://www.ailabapi.com", ("AILAB_API_KEY",), "ailabapi-api-key: {key}", 5),
    "ailab": ("https://www.ailabapi.com", ("AILAB_API_KEY",), "ailabapi-api-key: {key}", 5),
    "gptge": ("https://api.gpt.ge", ("GPTGE_API_KEY",), "Authorization: Bearer {key}", 5),
    "tripo": ("https://api.tripo3d.ai/v2/openapi", ("TRIPO_API_KEY",), "Authorization: Bearer {key}", 2),
    "tripo-v3": ("https://openapi.tripo3d.ai/v3", ("TRIPO_API_KEY",), "Authorization: Bearer {key}", 2),
    "aigptimage": ("https://aigptimage.com", ("AIGPTIMAGE_API_KEY",), "Authorization: Bearer {key}", 2),
    "kie": ("https://api.kie.ai", ("KIE_API_KEY", "KIE_AI_API_KEY"), "Authorization: Bearer {key}", 2),
}


@pytest.mark.parametrize("name", SEVEN)
def test_address_key_and_floor_are_the_documented_ones(name):
    """Address, key and floor are those of the documentation."""
    spec = get(name)

    assert (spec.base_url, spec.variables, f"{spec.key_header}: {spec.key_format}", spec.floor) == SEVEN[name]
    assert spec.docs.startswith("https://")


def test_tripo_keys_start_with_tsk():
    """Both Tripo providers accept keys with `tsk_` only: the API refuses client ids (`tcli_…`)."""
    assert get("tripo").key_starts == get("tripo-v3").key_starts == ("tsk_",)


def test_only_tripo_has_a_word_to_confirm():
    """Only the Tripo providers have `confirm` words: Tripo documents `unknown` as final, without an outcome."""
    assert [n for n in SEVEN if get(n).confirm] == ["tripo", "tripo-v3"]


@pytest.mark.parametrize("name", SEVEN)
def test_endpoints_are_consistent(name):
    """Required parameters and files are in `params`, paths start with "/", and files need multipart or an upload."""
    for endpoint in get(name).creates.values():
        assert endpoint.path.startswith("/")
        if endpoint.params:
            assert set(endpoint.required) <= set(endpoint.params)
            assert set(endpoint.files) <= set(endpoint.params)
        assert not endpoint.files or endpoint.encoding == "multipart" or get(name).upload is not None


def test_only_aigptimage_creates_can_be_repeated():
    """Only aigptimage's endpoints have a `request_id` header, which makes creates idempotent."""
    assert {n for n in SEVEN for e in get(n).creates.values() if e.request_id} == {"aigptimage"}


def test_every_ailab_create_is_asynchronous():
    """Every AILab create sends `task_type=async`: without it the API replies with the picture, and there is no task."""
    for spec in (get("ailab"), get("ailab-legacy")):
        for endpoint in filter(None, (*spec.creates.values(), spec.other)):
            assert endpoint.fixed == {"task_type": "async"}
            assert endpoint.encoding == "multipart"


def test_replacing_the_base_url_keeps_all_other_fields():
    """`replace` of `base_url` keeps all other fields, as `connect(base_url=…)` needs it."""
    for name in SEVEN:
        moved = replace(get(name), base_url="http://127.0.0.1:8123/kie/")

        assert moved.base_url == "http://127.0.0.1:8123/kie"
        assert replace(moved, base_url=get(name).base_url) == get(name)


# Reading of replies, the same for all providers


def reading(**more):
    return Provider(**{**LEAST, "words": {"on": "running", "done": "succeeded", "bad": "failed"}, **more})


def test_output_names_are_unique():
    """Two outputs never have the same name, because files and saves are identified by it."""
    spec = reading(outputs=(Outputs(path="a", name="x"), Outputs(path="b", name="x")))

    seen = read(spec, {"job": {"status": "done"}, "a": "https://p.example/1", "b": "https://p.example/2"})

    assert [o.name for o in seen.outputs] == ["x", "x (2)"]


def test_outputs_are_capped():
    """Of ten thousand links the first 256 are outputs; the raw reply keeps all."""
    links = [f"https://p.example/{n}.png" for n in range(10_000)]

    seen = read(reading(outputs="job.images"), {"job": {"status": "done", "images": links}})

    assert len(seen.outputs) == 256
    assert len(seen.raw["job"]["images"]) == 10_000


def test_a_key_in_a_reply_is_not_kept():
    """A key that a server repeats in its reply is in no field of the result."""
    spec = reading(error_message="job.why", message="why")
    secret = "sk-1234567890abcdef"
    failed = HttpReply(200, {}, f'{{"job": {{"status": "bad", "why": "key {secret} is bad"}}}}'.encode())
    refused = HttpReply(401, {}, f'{{"why": "key {secret} is bad"}}'.encode())

    for reply in (failed, refused):
        assert secret not in "".join(map(str, field_values(read_reply(spec, reply, secrets=(secret,)))))


def field_values(record):
    return [getattr(record, name) for name in record.__dataclass_fields__]


def test_links_in_the_raw_reply_have_no_query():
    """The raw reply has signed links without their query, which is a secret; the output has the whole link."""
    seen = read(reading(outputs="job.image"), {"job": {"status": "done", "image": "https://p.example/1.png?sig=abc"}})

    assert seen.outputs[0].url.endswith("?sig=abc")
    assert "sig" not in repr(seen.raw)


def test_text_of_a_server_is_one_plain_line():
    """Terminal escapes, bidi overrides, NUL and a megabyte of text become one line of at most 500 characters."""
    words = "\x1b[31mred\x1b[0m \u202etxet\x00\n" + "a" * 1_000_000

    seen = read(reading(error_message="job.why"), {"job": {"status": "bad", "why": words}})

    assert seen.error.message.startswith("red txet a")
    assert len(seen.error.message) == 500


def test_an_adjust_that_fails_is_a_garbled_reply():
    """An exception in `adjust` gives a `garbled` miss with its type."""
    seen = read(reading(adjust=lambda body: body["missing"]), {"job": {"status": "done"}})

    assert seen.kind == "garbled"
    assert "adjust() of pixelmill failed on the reply (KeyError)" in seen.message


def test_an_adjust_may_rebuild_the_reply():
    """The paths are read from the value that `adjust` returns."""
    seen = read(reading(adjust=lambda body: {"job": {"status": body["s"].lower()}}), {"s": "DONE"})

    assert seen.state == "succeeded"


BATCH = Batch(request=HttpRequest("POST", "/list", json={"ids": "{ids}"}), size=3, items="jobs", item_id="id", wrap="")


def test_a_batch_may_be_a_list():
    """The tasks of a batch reply may be a list; `item_id` gives each task's id."""
    spec = replace(reading(state="status", reply_id="id"), batch=BATCH)
    reply = HttpReply(200, {}, b'{"jobs": [{"id": 1, "status": "on"}, {"id": "2", "status": "done"}, null, 5]}')

    from nbhelper._providers.reader import read_batch

    seen = read_batch(spec, reply, dict.fromkeys(["2", "1", "3"]))

    assert [(k, getattr(v, "state", None) or v.kind) for k, v in seen.items()] == [
        ("2", "succeeded"),
        ("1", "running"),
        ("3", "garbled"),
    ]


def test_reading_takes_bytes_text_or_json():
    """`nbhelper.testing.read` takes bytes, text or parsed JSON, and raises BadInput for other types."""
    spec = reading()
    for body in (b'{"job": {"status": "on"}}', '{"job": {"status": "on"}}', {"job": {"status": "on"}}):
        assert isinstance(read(spec, body), Snapshot)
    for body, status in ((3, 200), (None, 200), ({}, "200"), ({}, True)):
        with pytest.raises(BadInput):
            read(spec, body, status)


@pytest.mark.parametrize("data", [{"progress": 2}, {"progress": True}, {"progress": 1.0}, {"more": None}], ids=str)
def test_an_equal_reply_gives_the_snapshot_of_the_look_before(data):
    """An equal reply gives the snapshot of the look before; one with true or 1.0 in place of 1 is read anew."""
    params = {"prompt": "an owl", "seed": 1, "size": [1, {"deep": 1}]}
    task = {"task_id": "x", "status": "running", "progress": 1, "input": params}
    other = {**task, **data, "input": {**params, "size": [1, {"deep": data.get("progress", 1)}]}}
    seen = [None]
    for body in (task, task, other):
        reply = HttpReply(200, {}, json.dumps({"data": body}).encode())
        seen.append(read_reply(get("tripo"), reply, last=seen[-1]))
    _, one, two, three = seen

    assert two == one
    assert two.reply is one.reply
    assert two.params is one.params
    assert three.raw == {"data": other}
    assert three.reply != one.reply
    assert json.dumps(three.params) == json.dumps(other["input"])
