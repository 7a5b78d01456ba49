"""Requests as data: ids stay one segment, extra keys find their place, batches hold their ids."""

import json

import pytest

from nbhelper import BadInput
from nbhelper._providers import get
from nbhelper._providers.reader import read_batch, read_link
from nbhelper._providers.requests import HttpReply, HttpRequest
from nbhelper._providers.templates import fill, look_request
from nbhelper.types import Miss

LOOKS = {
    "ailab-legacy": ("GET", "/api/image/asyn-task-results", {"job_id": "i 1", "type": "HD_COLOUR_MIGRATION"}),
    "ailab": ("GET", "/api/common/query-async-task-result", {"task_id": "i 1"}),
    "gptge": ("GET", "/task/i%201", {}),
    "tripo": ("GET", "/task/i%201", {}),
    "tripo-v3": ("GET", "/tasks/i%201", {}),
    "aigptimage": ("GET", "/api/v1/jobs/recordInfo", {"taskId": "i 1"}),
    "kie": ("GET", "/api/v1/jobs/recordInfo", {"taskId": "i 1"}),
}


@pytest.mark.parametrize("name", LOOKS)
def test_the_request_of_a_look(name):
    """Each API is asked as its docs say."""
    extra = {"type": "HD_COLOUR_MIGRATION"} if name == "ailab-legacy" else {}

    request = look_request(get(name), "i 1", extra)

    assert (request.method, request.path, dict(request.query)) == LOOKS[name]


@pytest.mark.parametrize(
    ("ident", "segment"),
    [
        ("a/b", "a%2Fb"),
        ("a?b=c", "a%3Fb%3Dc"),
        ("a#b", "a%23b"),
        ("50%", "50%25"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("../x", "..%2Fx"),
        ("a..b", "a..b"),
        ("ä", "%C3%A4"),
        ("\ud800", "%ED%A0%80"),
        ("{id}", "%7Bid%7D"),
        ("1714743372764.fb8f-7f0e", "1714743372764.fb8f-7f0e"),
    ],
)
def test_an_id_stays_one_segment(ident, segment):
    """Whatever an id holds, it cannot reach another address."""
    assert look_request(get("tripo"), ident).path == f"/task/{segment}"


def test_extra_keys_go_into_the_query():
    """What the template does not name is sent beside it; none of them takes the id's place."""
    request = look_request(get("kie"), "t", {"region": "eu", "id": "other"})

    assert dict(request.query) == {"taskId": "t", "region": "eu"}


def test_a_missing_extra_key_is_told():
    """The legacy API cannot be asked without the task's type."""
    with pytest.raises(BadInput, match=r'needs "type" beside its id: "ailab-legacy:ID\?type=…"'):
        look_request(get("ailab-legacy"), "t")


def test_values_are_only_values():
    """Braces in an id are text, not another placeholder."""
    request = look_request(get("ailab-legacy"), "{type}", {"type": "X"})

    assert dict(request.query) == {"job_id": "{type}", "type": "X"}


def test_ids_become_a_list():
    """A batch sends its ids as JSON, and leaves the rest alone."""
    template = HttpRequest("POST", "/b/{id}", {"q": "{id}"}, {"ids": "{ids}", "deep": [{"a": "{id}"}], "n": 1})

    request = fill(template, {"id": "x y"}, ["1", "2"])

    assert (request.path, dict(request.query)) == ("/b/x%20y", {"q": "x y"})
    assert request.json == {"ids": ["1", "2"], "deep": [{"a": "x y"}], "n": 1}


@pytest.mark.parametrize(("name", "path"), [("tripo", "/task/batch"), ("tripo-v3", "/tasks/list")])
def test_a_batch_says_of_each_task_what_a_look_says(name, path):
    """Details by id are read like single replies; `missed` is not found; what is left out is garbled."""
    spec = get(name)
    tasks = {
        "a": {"task_id": "a", "status": "running", "progress": 30},
        "b": {"task_id": "b", "status": "success", "output": {"model": "https://a.example/m.glb"}},
        "c": {"task_id": "somebody-else", "status": "success"},
        "d": "not a task",
    }
    reply = HttpReply(200, {}, json.dumps({"code": 0, "data": {"tasks": tasks, "missed": ["e"]}}).encode())

    seen = read_batch(spec, reply, dict.fromkeys("abcdef"))

    assert fill(spec.batch.request, {}, ["a"]) == HttpRequest("POST", path, {}, {"task_ids": ["a"]})
    assert spec.batch.size == 100
    assert (seen["a"].state, seen["a"].progress) == ("running", 0.3)
    assert [o.name for o in seen["b"].outputs] == ["output.model"]
    assert {k: str(v.kind) for k, v in seen.items() if isinstance(v, Miss)} == {
        "c": "garbled",
        "d": "garbled",
        "e": "not_found",
        "f": "garbled",
    }


def test_a_refused_batch_is_one_miss():
    """One refusal speaks for the request, and for no task in it."""
    reply = HttpReply(429, {"retry-after": "5"}, b'{"code": 1007, "message": "slow down"}')

    seen = read_batch(get("tripo"), reply, dict.fromkeys("ab"))

    assert (seen.kind, seen.retry_after) == ("rate_limited", 5)


@pytest.mark.parametrize("tasks", [{}, [], None, "none"], ids=repr)
def test_a_batch_without_any_task_is_garbled(tasks):
    """A reply that neither shows nor misses one of the ids is no reply to this request."""
    reply = HttpReply(200, {}, json.dumps({"code": 0, "data": {"tasks": tasks, "missed": []}}).encode())

    assert read_batch(get("tripo"), reply, dict.fromkeys("ab")).kind == "garbled"


def test_a_file_id_takes_a_second_request():
    """MiniMax's `file_id` becomes a link, at the path that its relay's naming suggests."""
    resolve = get("gptge").resolve

    request = fill(resolve.request, {"ref": "314053136425242"})

    assert (request.method, request.path) == ("GET", "/task/minimax/v1/files/retrieve")
    assert dict(request.query) == {"file_id": "314053136425242"}
    assert resolve.lifetime == 3600


LINKS = {
    "documented": (
        200,
        {
            "file": {"file_id": 3, "bytes": 1, "filename": "o.mp4", "download_url": "https://v.example/o.mp4"},
            "base_resp": {"status_code": 0},
        },
        "https://v.example/o.mp4",
    ),
    "no-link": (200, {"file": {"file_id": 3}, "base_resp": {"status_code": 0}}, "garbled"),
    "refused": (200, {"base_resp": {"status_code": 1004, "status_msg": "no"}}, "refused"),
    "not-found": (404, {"error": {"message": "no such file"}}, "not_found"),
    "rate": (429, {}, "rate_limited"),
    "an-error-that-would-end-a-task": (200, {"base_resp": {"status_code": 1027}}, "garbled"),
}


@pytest.mark.parametrize(("status", "body", "expected"), LINKS.values(), ids=LINKS)
def test_the_second_request_gives_a_link_or_says_why_not(status, body, expected):
    """A failing second request is the output's trouble, never the task's end."""
    found = read_link(get("gptge"), HttpReply(status, {}, json.dumps(body).encode()))

    assert (found if isinstance(found, str) else found.kind) == expected


@pytest.mark.parametrize("text", ["", "GET", "GET v1", "PUT /v1", "get /v1/x", "http://x.example/a"])
def test_what_is_no_request(text):
    """A request is a method and a path from the root."""
    with pytest.raises(BadInput, match="is no request"):
        HttpRequest.parse(text)
