"""AILabTools, both generations: states, result keys, endings, errors, credits."""

from __future__ import annotations

import base64
import re

import pytest
from support.emulator_calls import QUICK, SLOW, until, words

from nbhelper._emulator.ailab_endpoints import ENDPOINTS, SHAPES

HAIR = "/api/portrait/effects/hairstyle-editor-pro"
ANIME = "/api/image/effects/ai-anime-generator"
COLOUR = "/api/image/effects/image-hd-color-migration"
KINDS = {ANIME: "GENERATE_CARTOONIZED_IMAGE", COLOUR: "HD_COLOUR_MIGRATION"}
ALL_FILES = ("image", "mask", "image_target", "image_template", "person_image", "top_garment", "clothes_image")


def create(caller, style="", path=HAIR):
    """Post a create with every field that an endpoint may require."""
    more = dict.fromkeys(("clothes_type", "gender", "expression", "scene", "type", "level"), "x")
    more |= dict.fromkeys(
        ("nail_name", "nail_desc", "style_title", "style_desc", "reference_image", "coarse_image"), "x"
    )
    more |= dict.fromkeys(("user_mask",), "x")
    return caller.form(path, {"task_type": "async", "hair_style": "Bob", "style": f"x {style}", **more}, *ALL_FILES)


def make(caller, style="", path=HAIR):
    """Create a task; return its id, or the request id for the first generation."""
    reply = create(caller, style, path)
    assert reply.status_code == 200, reply.text
    made = reply.json()
    return made["request_id"] if path in KINDS else made["task_id"]


def look(caller, task_id):
    """Look at a task of the second generation."""
    return caller.get("/api/common/query-async-task-result", task_id=task_id)


def look_legacy(caller, job_id, path=ANIME):
    """Look at a task of the first generation."""
    return caller.get("/api/image/asyn-task-results", job_id=job_id, type=KINDS[path])


def finish(caller, task_id):
    """Look until the task is final; return all replies."""
    done = lambda r: r.status_code != 200 or r.json().get("task_status") not in {0, 1}  # noqa: E731
    return until(lambda: look(caller, task_id), done)


def finish_legacy(caller, job_id, path=ANIME):
    """Look at a task of the first generation until it is final; return all replies."""
    done = lambda r: r.status_code != 200 or r.json()["data"]["status"] not in {"QUEUING", "PROCESSING"}  # noqa: E731
    return until(lambda: look_legacy(caller, job_id, path), done)


def test_states_come_in_order(at):
    """task_status is 0, 1, 2; the results come with 2; error_code stays 0."""
    caller = at("ailab")
    seen = [r.json() for r in finish(caller, make(caller, SLOW))]

    assert words(seen, lambda d: d["task_status"]) == [0, 1, 2]
    assert all(d["error_code"] == 0 and isinstance(d["error_detail"], dict) for d in seen)
    assert all("data" not in d for d in seen[:-1])
    assert seen[-1]["data"]["images"][0].startswith("http://127.0.0.1:")


def test_a_create_replies_with_a_task_id(at):
    """A task id looks like milliseconds, a dot and a UUID."""
    reply = create(at("ailab")).json()

    assert re.fullmatch(r"\d{13}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", reply["task_id"])
    assert reply["task_type"] == "async"
    assert reply["request_id"]
    assert reply["log_id"]


@pytest.mark.parametrize("path", [path for path in ENDPOINTS if path not in KINDS])
def test_every_endpoint_makes_tasks(at, path):
    """Each endpoint of the table accepts its fields and returns its result under the documented key."""
    caller = at("ailab")
    done = finish(caller, make(caller, QUICK, path))[-1].json()

    shape = ENDPOINTS[path].shape
    home = done if "." in shape else done["data"]
    assert {"output.image_url": "output", "top.result_url": "result_url"}.get(shape, shape) in home


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_selects_the_key_of_the_result(at, http, shape):
    """`emu:shape` selects each of the ten keys; a link can be downloaded, base64 decodes to the file in the ledger."""
    caller = at("ailab")
    task_id = make(caller, f"{QUICK} emu:shape={shape}")
    done = finish(caller, task_id)[-1].json()
    result = {
        "output.image_url": lambda: done["output"]["image_url"],
        "top.result_url": lambda: done["result_url"],
    }.get(shape, lambda: done["data"][shape])()
    first = result[0] if isinstance(result, list) else result
    data = http.get(first).content if first.startswith("http") else base64.b64decode(first)

    (record,) = caller.task(task_id).files.values()
    assert record.n_bytes == len(data)
    assert data[:3] == b"\xff\xd8\xff" or data[4:8] == b"ftyp"


def test_inline_results_are_delivered_once(at):
    """A base64 result is in the first final reply only; the second final reply has no data."""
    caller = at("ailab")
    task_id = make(caller, f"{QUICK} emu:base64")
    first = finish(caller, task_id)[-1].json()
    second = look(caller, task_id).json()

    assert first["data"]["binary_data_base64"]
    assert (second["task_status"], second["data"]) == (2, {})


def test_shape_nested_puts_the_status_inside_data(at):
    """`emu:shape=nested` puts task_status inside data, as the SDK's fixtures have it."""
    caller = at("ailab")
    reply = look(caller, make(caller, "emu:shape=nested emu:queue=0 emu:real-seconds=5")).json()

    assert reply["data"] == {"task_status": 1}
    assert "task_status" not in reply


@pytest.mark.parametrize(
    ("word", "http_status", "status", "code", "state"),
    [
        ("fail", 200, 3, "PROCESSING_FAILURE", "failed"),
        ("fail=-1", 200, -1, "PROCESSING_FAILURE", "failed"),
        ("fail=ERROR_NO_FACE_IN_FILE", 422, None, "ERROR_NO_FACE_IN_FILE", "failed"),
        ("policy", 422, None, "FILE_CONTENT_NON_COMPLIANCE", "failed"),
        ("cancelled", 410, None, "ERROR_TASK_REVOKED", "cancelled"),
        ("expired", 410, None, "ERROR_RESOURCE_RECLAIMED", "expired"),
        ("unknown", 200, 7, "", "unknown"),
    ],
)
def test_failures_are_task_status_or_an_http_error(at, word, http_status, status, code, state):
    """Failures are task_status 3 or -1, or HTTP 422 on the look for content errors; nothing is billed."""
    caller = at("ailab")
    task_id = make(caller, f"{QUICK} emu:{word}")
    reply = finish(caller, task_id)[-1]
    record = caller.task(task_id)

    assert (reply.status_code, reply.json().get("task_status")) == (http_status, status)
    assert reply.json()["error_detail"]["code"] == code
    assert (record.state, record.error_code or "", record.billed) == (state, code, 0)


@pytest.mark.parametrize("path", KINDS)
def test_the_first_generation_is_looked_at_by_job_id(at, http, path):
    """The first version's create has no task id: its request_id is the job_id. Each type has its own result key."""
    caller = at("ailab-legacy")
    made = create(caller, f"{SLOW} emu:shape=v1", path).json()
    seen = [r.json() for r in finish_legacy(caller, made["request_id"], path)]
    data = seen[-1]["data"]

    assert "task_id" not in made
    assert words(seen, lambda d: d["data"]["status"]) == ["QUEUING", "PROCESSING", "PROCESS_SUCCESS"]
    assert http.get(data["image_list"][0] if path == COLOUR else data["result_url"]).status_code == 200
    assert caller.task(made["request_id"]).request_id == made["request_id"]


def test_both_generations_find_a_task_of_a_later_version(at):
    """Later versions return a task id too: both generations find the task, each by its own id."""
    caller = at("ailab")
    made = create(caller, QUICK, ANIME).json()
    done = finish(caller, made["task_id"])[-1].json()
    legacy = look_legacy(caller, made["request_id"]).json()

    assert made["task_id"] != made["request_id"]
    assert done["data"]["result_url"] == legacy["data"]["result_url"]
    assert caller.task(made["task_id"]).id == made["request_id"]


def test_a_failed_task_of_the_first_generation_seen_by_the_second(at):
    """A failed task of the first generation is task_status 3 in the second, with the reason in error_detail."""
    caller = at("ailab")
    made = create(caller, f"{QUICK} emu:timeout", ANIME).json()
    done = finish(caller, made["task_id"])[-1].json()

    assert (done["task_status"], done["error_detail"]["code"]) == (3, "TIMEOUT_FAILED")


@pytest.mark.parametrize(
    ("word", "http_status", "status"),
    [
        ("fail", 200, "PROCESS_FAILED"),
        ("timeout", 200, "TIMEOUT_FAILED"),
        ("retries", 200, "LIMIT_RETRY_FAILED"),
        ("unknown", 200, "PROCESS_ARCHIVED"),
        ("policy", 422, None),
    ],
)
def test_the_first_generation_s_endings(at, word, http_status, status):
    """A failure is one of three state words; a content error is an HTTP error."""
    caller = at("ailab-legacy")
    reply = finish_legacy(caller, make(caller, f"{QUICK} emu:{word}", ANIME))[-1]

    assert (reply.status_code, reply.json().get("data", {}).get("status")) == (http_status, status)
    assert reply.json()["error_code"] == (0 if http_status == 200 else 422)


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({}, 400, "MISSING_PARAMETERS"),
        ({"job_id": "x"}, 400, "MISSING_PARAMETERS"),
        ({"job_id": "x", "type": "OTHER"}, 400, "ERROR_INVALID_PARAMETER"),
        ({"job_id": "x", "type": "HD_COLOUR_MIGRATION"}, 404, "ERROR_RESOURCE_NOT_FOUND"),
    ],
    ids=str,
)
def test_the_first_generation_needs_job_and_type(at, params, status, code):
    """job_id and type are required, and type must be one of two."""
    reply = at("ailab-legacy").get("/api/image/asyn-task-results", **params)

    assert (reply.status_code, reply.json()["error_detail"]["code"]) == (status, code)


def test_the_type_must_be_the_job_s(at):
    """A job asked for under the other type is not found."""
    caller = at("ailab-legacy")

    assert look_legacy(caller, make(caller, path=ANIME), COLOUR).status_code == 404


def test_creates_are_refused(at):
    """A create is refused for an unknown effect, no form, a missing field, task_type, no credit or its content."""
    caller = at("ailab")
    fields = {"task_type": "async", "hair_style": "Bob"}
    replies = [
        caller.form("/api/portrait/effects/nobody", fields, "image"),
        caller.post(HAIR, fields),
        caller.form(HAIR, fields),
        caller.form(HAIR, {**fields, "task_type": "sync"}, "image"),
        caller.form(HAIR, {**fields, "hair_style": "emu:no-credit"}, "image"),
        caller.form(HAIR, {**fields, "hair_style": "emu:policy-now"}, "image"),
    ]

    assert [(r.status_code, r.json()["error_detail"]["code"]) for r in replies] == [
        (404, "ERROR_AI_NOT_EXISTS"),
        (400, "MISSING_PARAMETERS"),
        (400, "MISSING_PARAMETERS"),
        (400, "ERROR_INVALID_PARAMETER"),
        (429, "ERROR_NOT_ENOUGH_CREDITS"),
        (422, "FILE_CONTENT_NON_COMPLIANCE"),
    ]
    assert all(r.json()["error_code"] == r.status_code for r in replies)


def test_wrong_keys_and_other_accounts_are_refused(at, server, http):
    """A wrong key is 401; another account does not find the task."""
    caller = at("ailab")
    task_id = make(caller)
    path = server.url("ailab") + "/api/common/query-async-task-result"
    wrong = http.get(path, params={"task_id": task_id}, headers={"ailabapi-api-key": "real"})

    assert (wrong.status_code, wrong.json()["error_detail"]["code"]) == (401, "ERROR_USER_NOT_EXISTS")
    assert look(caller.again(), task_id).status_code == 404
    assert caller.get("/api/common/query-async-task-result").status_code == 400


def test_failing_looks(at):
    """rate-limit answers EXCEEDING_LIMITS, server-error HTML with 502, late an unknown id."""
    caller = at("ailab")
    task_id = make(caller, "emu:rate-limit emu:server-error")
    late = make(caller, "emu:late=9")

    assert [look(caller, task_id).status_code for _ in range(2)] == [429, 502]
    assert look(caller, late).json()["error_detail"]["code"] == "ERROR_RESOURCE_NOT_FOUND"


def test_balances_are_per_area(at):
    """Balances are per area; a billed task reduces one of them."""
    caller = at("ailab")
    finish(caller, make(caller, QUICK))
    rows = caller.get("/api/common/query-credits").json()["data"]

    assert {row["unique_sign"]: row["balance"] for row in rows} == {"ai_image": 100_000, "ai_portrait": 99_990}
    assert set(rows[0]) == {
        "unique_sign", "name", "balance", "total", "last_recharge_balance", "balance_warning", "first_buy_time",
        "last_update_time",
    }  # fmt: skip
