"""Request templates: ids are quoted as one path segment, extra keys go into the query, batches list their ids."""

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
    """The request of a look has the documented method, path and query of each API."""
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
    """Every id is percent-encoded as one path segment, also "..", slashes and lone surrogates."""
    assert look_request(get("tripo"), ident).path == f"/task/{segment}"


def test_extra_keys_go_into_the_query():
    """Extra keys without a placeholder go into the query; an extra key `id` does not replace the task's id."""
    request = look_request(get("kie"), "t", {"region": "eu", "id": "other"})

    assert dict(request.query) == {"taskId": "t", "region": "eu"}


def test_a_missing_extra_key_is_refused():
    """A look at an ailab-legacy task without its `type` raises BadInput with the form of the reference."""
    with pytest.raises(BadInput, match=r'needs "type" beside its id: "ailab-legacy:ID\?type=…"'):
        look_request(get("ailab-legacy"), "t")


def test_values_are_only_values():
    """Braces in an id are text and no placeholder."""
    request = look_request(get("ailab-legacy"), "{type}", {"type": "X"})

    assert dict(request.query) == {"job_id": "{type}", "type": "X"}


def test_ids_become_a_list():
    """`"{ids}"` in a template's JSON becomes the list of ids; other values are filled or kept."""
    template = HttpRequest("POST", "/b/{id}", {"q": "{id}"}, {"ids": "{ids}", "deep": [{"a": "{id}"}], "n": 1})

    request = fill(template, {"id": "x y"}, ["1", "2"])

    assert (request.path, dict(request.query)) == ("/b/x%20y", {"q": "x y"})
    assert request.json == {"ids": ["1", "2"], "deep": [{"a": "x y"}], "n": 1}


@pytest.mark.parametrize(("name", "path"), [("tripo", "/task/batch"), ("tripo-v3", "/tasks/list")])
def test_each_task_of_a_batch_is_read_like_a_look(name, path):
    """Details by id are read like single replies; `missed` ones are `not_found`, others `garbled`."""
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
    """A refused batch request gives one Miss in place of the mapping."""
    reply = HttpReply(429, {"retry-after": "5"}, b'{"code": 1007, "message": "slow down"}')

    seen = read_batch(get("tripo"), reply, dict.fromkeys("ab"))

    assert (seen.kind, seen.retry_after) == ("rate_limited", 5)


@pytest.mark.parametrize("tasks", [{}, [], None, "none"], ids=repr)
def test_a_batch_without_any_task_is_garbled(tasks):
    """A batch reply without tasks and without missed ids is one `garbled` miss."""
    reply = HttpReply(200, {}, json.dumps({"code": 0, "data": {"tasks": tasks, "missed": []}}).encode())

    assert read_batch(get("tripo"), reply, dict.fromkeys("ab")).kind == "garbled"


def test_a_file_id_takes_a_second_request():
    """MiniMax's `file_id` is sent to the relay's path for files, whose link is valid for an hour."""
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
    """The reply to the request for a file's link gives the link or a Miss, also for a code that would end a task."""
    link = read_link(get("gptge"), HttpReply(status, {}, json.dumps(body).encode()))

    assert (link if isinstance(link, str) else link.kind) == expected


@pytest.mark.parametrize("text", ["", "GET", "GET v1", "PUT /v1", "get /v1/x", "http://x.example/a"])
def test_text_that_is_no_request_is_refused(text):
    """`HttpRequest.parse` raises BadInput for text that is not GET or POST and a path from the root."""
    with pytest.raises(BadInput, match="is no request"):
        HttpRequest.parse(text)
