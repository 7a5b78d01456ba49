"""aigptimage and kie: one API, and the differences between the two."""

from __future__ import annotations

import json
import re

import pytest
from support.emulator_calls import QUICK, SLOW, until, words

MODELS = {"aigptimage": "gpt-image-2-text-to-image", "kie": "google/nano-banana"}
BOTH = pytest.mark.parametrize("name", MODELS)


def create(caller, prompt, model="", headers=None, **task):
    """Post a create."""
    body = {"model": model or MODELS[caller.name], "input": {"prompt": prompt, **task}}
    return caller.post("/api/v1/jobs/createTask", body, **(headers or {}))


def make(caller, prompt, **more):
    """Create a task; return its id."""
    reply = create(caller, prompt, **more)
    assert reply.json()["code"] == 200, reply.text
    return reply.json()["data"]["taskId"]


def look(caller, task_id):
    """Look at a task; return the data."""
    return caller.get("/api/v1/jobs/recordInfo", taskId=task_id).json()["data"]


def finish(caller, task_id):
    """Look until the task is final; return the data of all replies."""
    ends = {"success", "fail", "archived"}
    return until(lambda: look(caller, task_id), lambda d: d["state"] in ends)


@pytest.mark.parametrize(
    ("name", "states"),
    [("aigptimage", ["waiting", "success"]), ("kie", ["waiting", "queuing", "generating", "success"])],
)
def test_states_come_in_order(at, name, states):
    """Aigptimage's state is waiting until the end; kie's are waiting, queuing and generating."""
    caller = at(name)
    seen = finish(caller, make(caller, f"a cat {SLOW}"))

    assert words(seen, lambda d: d["state"]) == states
    assert all(d["resultJson"] is None and d["completeTime"] is None for d in seen[:-1])


@BOTH
def test_a_finished_task_has_its_result_as_json_text(at, http, name):
    """The result is JSON inside a string, the request is echoed as text, times are milliseconds."""
    caller = at(name)
    task_id = make(caller, f"a cat {QUICK}")
    data = finish(caller, task_id)[-1]
    record = caller.task(task_id)
    (url,) = json.loads(data["resultJson"])["resultUrls"]

    assert json.loads(data["param"])["input"]["prompt"] == f"a cat {QUICK}"
    assert http.get(url).headers["content-type"] == "image/png"
    assert data["createTime"] == int(record.created.timestamp() * 1000)
    assert abs(data["completeTime"] - record.finished.timestamp() * 1000) <= 1
    assert data["failCode"] is None


def test_cost_time_differs(at):
    """The costTime is in milliseconds at aigptimage, in whole seconds at kie."""
    one, two = at("aigptimage"), at("kie")
    seconds = "emu:queue=0 emu:real-seconds=1.2"
    ids = make(one, seconds), make(two, seconds)
    a, k = finish(one, ids[0])[-1], finish(two, ids[1])[-1]

    assert a["costTime"] == a["completeTime"] - a["createTime"]
    assert 1190 <= a["costTime"] <= 1210
    assert k["costTime"] == 1


def test_kie_states_credits(at):
    """Kie's replies state a task's credits, aigptimage's do not; the ledger has both."""
    one, two = at("aigptimage"), at("kie")
    ids = make(one, QUICK, resolution="4K"), make(two, QUICK)
    a, k = finish(one, ids[0])[-1], finish(two, ids[1])[-1]

    assert "creditsConsumed" not in a
    assert (one.task(ids[0]).credits, one.task(ids[0]).billed) == (None, 8)
    assert k["creditsConsumed"] == two.task(ids[1]).credits == 4.0
    assert k["successFlag"] == 1
    assert k["response"] == json.loads(k["resultJson"])


def test_kie_states_progress_for_sora_models_only(at):
    """Only sora models have a progress."""
    caller = at("kie")
    sora = finish(caller, make(caller, QUICK, model="sora-2-text-to-video"))[-1]
    banana = finish(caller, make(caller, QUICK))[-1]

    assert sora["progress"] == 100
    assert "progress" not in banana


@pytest.mark.parametrize(
    ("word", "code"),
    [("fail", "500"), ("fail=SENSITIVE_WORD_ERROR", "SENSITIVE_WORD_ERROR"), ("policy", "400"), ("cancelled", "499")],
)
@BOTH
def test_every_failure_has_the_state_fail(at, name, word, code):
    """Every failure has the state fail; the reason is in failCode and failMsg; nothing is billed."""
    caller = at(name)
    task_id = make(caller, f"{QUICK} emu:{word}")
    data = finish(caller, task_id)[-1]
    record = caller.task(task_id)

    assert (data["state"], data["failCode"], data["resultJson"]) == ("fail", code, None)
    assert data["failMsg"]
    assert (record.state, record.error_code, record.billed) == ("failed", code, 0)
    assert (data["completeTime"] is None) == (name == "aigptimage")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], 400),
        ({}, 400),
        ({"model": "MODEL"}, 400),
        ({"model": "MODEL", "input": {}}, 400),
        ({"model": "nobody/knows", "input": {"prompt": "x"}}, 422),
        ({"model": "MODEL", "input": {"prompt": "emu:no-credit"}}, 402),
        ({"model": "MODEL", "input": {"prompt": "emu:policy-now"}}, 400),
    ],
    ids=str,
)
@BOTH
def test_creates_are_refused(at, name, body, code):
    """Both refuse creates with the same codes; the HTTP status is that code at aigptimage, 200 at kie."""
    caller = at(name)
    if isinstance(body, dict) and body.get("model") == "MODEL":
        body = {**body, "model": MODELS[name]}
    reply = caller.post("/api/v1/jobs/createTask", body)

    assert reply.json()["code"] == code
    assert reply.json()["data"] is None
    assert reply.status_code == (code if name == "aigptimage" else 200)


@BOTH
def test_wrong_keys_and_other_accounts_are_refused(at, server, http, name):
    """A wrong key is 401 in the body; another account does not find the task."""
    caller = at(name)
    task_id = make(caller, "a cat")
    path = server.url(name) + "/api/v1/jobs/recordInfo"
    wrong = http.get(path, params={"taskId": task_id}, headers={"authorization": "Bearer sk-real"})
    other = http.get(path, params={"taskId": task_id}, headers=caller.again().headers)

    assert (wrong.status_code, wrong.json()["code"]) == (401 if name == "aigptimage" else 200, 401)
    assert other.json()["code"] == (404 if name == "aigptimage" else 422)


def test_unknown_ids_are_refused(at):
    """An unknown id is 404 at aigptimage, "recordInfo is null" on HTTP 200 at kie; no id is 400."""
    a, k = (at(name).get("/api/v1/jobs/recordInfo", taskId="nobody") for name in MODELS)

    assert (a.status_code, a.json()) == (404, {"code": 404, "msg": "task not found", "data": None})
    assert (k.status_code, k.json()) == (200, {"code": 422, "msg": "recordInfo is null", "data": None})
    assert at("kie").get("/api/v1/jobs/recordInfo").json()["code"] == 400


def test_aigptimage_creates_are_idempotent(at):
    """The same X-Request-ID gives the same task, to the same account alone."""
    caller = at("aigptimage")
    headers = {"x-request-id": "one"}
    first, second = (make(caller, "a cat", headers=headers) for _ in range(2))
    other = make(caller.again(), "a cat", headers=headers)
    third = make(caller, "a cat")

    assert first == second
    assert len({first, other, third}) == 3
    assert caller.task(first).request_id == "one"


def test_kie_creates_are_not_idempotent(at):
    """Kie ignores X-Request-ID: two creates make two tasks."""
    caller = at("kie")

    assert len({make(caller, "a cat", headers={"x-request-id": "one"}) for _ in range(2)}) == 2


def test_ids_have_each_api_s_format(at):
    """Ids are task_ and digits at aigptimage, 32 digits at kie, which adds a recordId that looks do not find."""
    a, k = (create(at(name), "a cat").json()["data"] for name in MODELS)

    assert re.fullmatch(r"task_[0-9a-f]{32}", a["taskId"])
    assert re.fullmatch(r"[0-9a-f]{32}", k["taskId"])
    assert k["recordId"] != k["taskId"]


@pytest.mark.parametrize(
    ("shape", "check"),
    [
        ("resultUrls", lambda d: set(json.loads(d)) == {"resultUrls"}),
        ("resultWaterMarkUrls", lambda d: set(json.loads(d)) == {"resultUrls", "resultWaterMarkUrls"}),
        ("resultObject", lambda d: set(json.loads(d)) == {"resultObject"}),
        ("firstFrameUrl", lambda d: set(json.loads(d)) == {"resultUrls", "firstFrameUrl", "lastFrameUrl"}),
        ("maskUrl", lambda d: json.loads(d)["mask"]["maskUrl"].startswith("http")),
        ("audio_url", lambda d: json.loads(d)["data"][0]["audio_url"].startswith("http")),
        ("object", lambda d: d["resultUrls"]),
        ("empty", lambda d: d == ""),
        ("braces", lambda d: d == "{}"),
        ("null", lambda d: d is None),
        ("not-json", lambda d: d == "not json at all"),
    ],
)
@BOTH
def test_shape_selects_the_variant_of_result_json(at, http, name, shape, check):
    """`emu:shape` selects each variant of resultJson, and every link in it works."""
    caller = at(name)
    data = finish(caller, make(caller, f"{QUICK} emu:shape={shape}"))[-1]

    assert data["state"] == "success"
    assert check(data["resultJson"])
    for url in re.findall(r"http://[^\"]+", json.dumps(data["resultJson"])):
        assert http.get(url.rstrip("\\")).status_code == 200


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("sora-2-text-to-video", "video/mp4"),
        ("kling-2.6/text-to-video", "video/mp4"),
        ("elevenlabs/text-to-speech", "audio/wav"),
        ("bytedance/seedream", "image/png"),
    ],
)
def test_kie_models_make_their_medium(at, http, model, kind):
    """A model's family decides whether it makes pictures, videos or sound."""
    caller = at("kie")
    data = finish(caller, make(caller, QUICK, model=model))[-1]

    assert http.get(json.loads(data["resultJson"])["resultUrls"][0]).headers["content-type"] == kind


def test_several_pictures_differ(at, http):
    """N pictures are n different files at the ratio asked for."""
    caller = at("aigptimage")
    data = finish(caller, make(caller, QUICK, n=3, aspect_ratio="16:9"))[-1]

    assert len({http.get(url).content for url in json.loads(data["resultJson"])["resultUrls"]}) == 3


def test_failing_looks(at):
    """rate-limit has the wait in the body, late is kie's null record, server-error is HTML with 502."""
    a, k = at("aigptimage"), at("kie")
    one = a.get("/api/v1/jobs/recordInfo", taskId=make(a, "emu:rate-limit"))
    two = k.get("/api/v1/jobs/recordInfo", taskId=make(k, "emu:rate-limit"))
    three = k.get("/api/v1/jobs/recordInfo", taskId=make(k, "emu:late=9"))
    four = k.get("/api/v1/jobs/recordInfo", taskId=make(k, "emu:server-error"))

    assert one.status_code == one.json()["code"] == 429
    assert set(one.json()["data"]) == {"retryAfter", "limit", "tier", "windowSeconds"}
    assert (two.status_code, two.json()["code"]) == (200, 429)
    assert three.json()["msg"] == "recordInfo is null"
    assert (four.status_code, four.headers["content-type"].split(";")[0]) == (502, "text/html")


def test_kie_may_name_results_while_waiting(at):
    """`emu:early` gives a result beside the state waiting, as in kie's docs."""
    caller = at("kie")
    data = look(caller, make(caller, "emu:queue=0 emu:real-seconds=5 emu:early"))

    assert data["state"] == "waiting"
    assert json.loads(data["resultJson"])["resultUrls"]


def test_kie_has_a_balance_and_download_links(at, http):
    """The credit reply is one number; a download link is given for files of the same account only."""
    caller = at("kie")
    before = caller.get("/api/v1/chat/credit").json()
    url = json.loads(finish(caller, make(caller, QUICK))[-1]["resultJson"])["resultUrls"][0]
    link = caller.post("/api/v1/common/download-url", {"url": url}).json()["data"]

    assert before == {"code": 200, "msg": "success", "data": 100_000}
    assert caller.get("/api/v1/chat/credit").json()["data"] == 99996
    assert http.get(link).status_code == 200
    assert caller.again().post("/api/v1/common/download-url", {"url": url}).json()["code"] == 422
