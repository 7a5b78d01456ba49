"""V-API's four reply shapes, and MiniMax's own paths."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta

import pytest
from support.emulator_calls import QUICK, SLOW, until, words

HAILUO = {"model": "MiniMax-Hailuo-02"}


def hailuo(caller, prompt, path="/task/minimax/v1/video_generation"):
    """Create a MiniMax task; return its id."""
    return caller.post(path, {**HAILUO, "prompt": prompt}).json()["task_id"]


def seedance(caller, prompt):
    """Create a Seedance task; return its id."""
    body = {"model": "doubao-seedance-1-0-pro", "content": [{"type": "text", "text": prompt}]}
    return caller.post("/task/volces/seedance", body).json()["id"]


def bailian(caller, prompt):
    """Create a Bailian task; return its id."""
    body = {"model": "wan2.5-t2v-preview", "input": {"prompt": prompt}, "parameters": {"duration": 5}}
    return caller.post("/task/bailian/text2video", body).json()["output"]["task_id"]


def jimeng(caller, prompt):
    """Create a Jimeng task; return its id."""
    return caller.server.make_jimeng(prompt, key=caller.key)


WORD = {
    hailuo: lambda d: d["status"],
    seedance: lambda d: d["status"],
    bailian: lambda d: d["output"]["task_status"],
    jimeng: lambda d: d["data"] and d["data"]["status"],
}
GOING = {"Preparing", "Queueing", "Processing", "queued", "running", "PENDING", "RUNNING", "in_queue", "generating"}


def finish(caller, make, prompt):
    """Create a task and look until it is final; return all replies, and its id."""
    task_id = make(caller, prompt)
    return task_id, until(lambda: caller.get(f"/task/{task_id}").json(), lambda d: WORD[make](d) not in GOING)


@pytest.mark.parametrize(
    ("make", "states"),
    [
        (hailuo, ["Preparing", "Queueing", "Processing", "Success"]),
        (seedance, ["queued", "running", "succeeded"]),
        (bailian, ["PENDING", "RUNNING", "SUCCEEDED"]),
        (jimeng, ["in_queue", "generating", "done"]),
    ],
    ids=["hailuo", "seedance", "bailian", "jimeng"],
)
def test_states_come_in_order(at, make, states):
    """The four APIs behind one path have their own state words, in order."""
    _, seen = finish(at("gptge"), make, SLOW)

    assert words(seen, WORD[make]) == states


@pytest.mark.parametrize("relay", ["/task/minimax", ""], ids=["relay", "own"])
def test_a_hailuo_video_takes_two_requests(at, http, relay):
    """A finished task has a file id, and the file's reply has the link; ids are digits, every reply has base_resp."""
    caller = at("gptge")
    created = caller.post(f"{relay}/v1/video_generation", {**HAILUO, "prompt": QUICK}).json()
    look = (
        (lambda: caller.get(f"/task/{created['task_id']}").json())
        if relay
        else (lambda: caller.get("/v1/query/video_generation", task_id=created["task_id"]).json())
    )
    done = until(look, lambda d: d["status"] == "Success")[-1]
    reply = caller.get(f"{relay}/v1/files/retrieve", file_id=done["file_id"], GroupId="1").json()
    raw = caller.get("/v1/files/retrieve_content", file_id=done["file_id"]).content
    file = reply["file"]

    assert re.fullmatch(r"\d{15}", done["file_id"])
    assert done["file_id"] != done["task_id"]
    assert (
        done["base_resp"] == reply["base_resp"] == created["base_resp"] == {"status_code": 0, "status_msg": "success"}
    )
    assert (file["file_id"], file["bytes"]) == (int(done["file_id"]), len(raw))
    assert (file["filename"], file["purpose"]) == ("output.mp4", "video_generation")
    assert http.get(file["download_url"]).content == raw
    assert (done["video_width"], done["video_height"]) == (320, 180)


@pytest.mark.parametrize(
    ("word", "status", "code", "recorded"),
    [
        ("fail", "Fail", 0, None),
        ("fail=Failed", "Failed", 0, None),
        ("fail=1033", "Fail", 1033, "1033"),
        ("policy", "Fail", 1027, "1027"),
        ("unknown", "Archived", 0, None),
    ],
)
def test_hailuo_failures_have_http_status_200(at, word, status, code, recorded):
    """A failure has the state Fail (or the relay's Failed) and its code in base_resp; the HTTP status is 200."""
    caller = at("gptge")
    task_id, seen = finish(caller, hailuo, f"{QUICK} emu:{word}")

    assert (seen[-1]["status"], seen[-1]["base_resp"]["status_code"], seen[-1]["file_id"]) == (status, code, "")
    assert caller.task(task_id).error_code == recorded


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], 2013),
        ({"prompt": "x"}, 2013),
        ({"model": "nobody", "prompt": "x"}, 2013),
        ({**HAILUO}, 2013),
        ({**HAILUO, "prompt": "x" * 2001}, 2013),
        ({**HAILUO, "prompt": "x", "duration": 7}, 2013),
        ({**HAILUO, "prompt": "emu:policy-now"}, 1026),
        ({**HAILUO, "prompt": "emu:no-credit"}, 1008),
    ],
    ids=str,
)
def test_hailuo_creates_are_refused(at, body, code):
    """Every refusal is HTTP 200 with a code."""
    reply = at("gptge").post("/task/minimax/v1/video_generation", body)

    assert (reply.status_code, reply.json()["base_resp"]["status_code"]) == (200, code)


def test_minimax_refuses_missing_and_wrong_keys(server, http):
    """No key is 1004, a wrong one 2049, both on HTTP 200; the relay answers 401 itself."""
    path = "/v1/query/video_generation"
    none = http.get(server.root + path)
    wrong = http.get(server.root + path, headers={"authorization": "Bearer eyJ"})
    relay = http.get(server.root + "/task/1", headers={"authorization": "Bearer sk-real"})

    assert (none.status_code, none.json()["base_resp"]["status_code"]) == (200, 1004)
    assert (wrong.status_code, wrong.json()["base_resp"]["status_code"]) == (200, 2049)
    assert (relay.status_code, set(relay.json()["error"])) == (401, {"message", "type", "code"})


def test_unknown_ids_are_refused(at):
    """404 at the relay, 2013 at MiniMax, also for another account's task and file."""
    caller = at("gptge")
    task_id, seen = finish(caller, hailuo, QUICK)
    other = caller.again()

    assert caller.get("/task/nobody").status_code == 404
    assert other.get(f"/task/{task_id}").status_code == 404
    assert caller.get("/v1/query/video_generation", task_id="1").json()["base_resp"]["status_code"] == 2013
    assert other.get("/v1/files/retrieve", file_id=seen[-1]["file_id"]).json()["base_resp"]["status_code"] == 2013


def test_jimeng_has_a_code_and_a_state_word_as_status(at):
    """Jimeng's `status` is 10000 at the top; the state word is in data."""
    caller = at("gptge")
    _, seen = finish(caller, jimeng, QUICK)

    assert (seen[-1]["code"], seen[-1]["status"], seen[-1]["message"]) == (10000, 10000, "Success")
    assert set(seen[-1]["data"]) == {"status", "resp_data", "video_url", "image_urls", "binary_data_base64"}
    assert re.fullmatch(r"\d+\.\d+ms", seen[-1]["time_elapsed"])


@pytest.mark.parametrize(
    ("words_", "key"), [("", "image_urls"), ("emu:shape=video_url", "video_url"), ("emu:base64", "binary_data_base64")]
)
def test_jimeng_has_three_kinds_of_results(at, http, words_, key):
    """Jimeng's result is a list of pictures, one video, or base64."""
    caller = at("gptge")
    task_id, seen = finish(caller, jimeng, f"{QUICK} {words_}")
    value = seen[-1]["data"][key]
    first = value if isinstance(value, str) else value[0]
    data = http.get(first).content if first.startswith("http") else base64.b64decode(first)

    assert len(data) == next(iter(caller.task(task_id).files.values())).n_bytes
    assert sum(bool(seen[-1]["data"][k]) for k in ("image_urls", "video_url", "binary_data_base64")) == 1


@pytest.mark.parametrize(
    ("word", "status", "code", "state"),
    [("policy", 400, 50511, "failed"), ("fail", 500, 50500, "failed"), ("fail=50412", 400, 50412, "failed")],
)
def test_jimeng_failures_are_codes(at, word, status, code, state):
    """Jimeng has no failed state: a failure has data null and a code other than 10000."""
    caller = at("gptge")
    task_id = jimeng(caller, f"{QUICK} emu:{word}")
    reply = until(lambda: caller.get(f"/task/{task_id}"), lambda r: r.json()["data"] is None)[-1]

    assert (reply.status_code, reply.json()["code"], reply.json()["status"]) == (status, code, code)
    assert caller.task(task_id).state == state


@pytest.mark.parametrize(("word", "inner"), [("expired", "expired"), ("cancelled", "not_found")])
def test_jimeng_ends_without_a_result(at, word, inner):
    """Jimeng's expired and not_found are final states without a result."""
    _, seen = finish(at("gptge"), jimeng, f"{QUICK} emu:{word}")

    assert (seen[-1]["code"], seen[-1]["data"]["status"]) == (10000, inner)


def test_seedance_replies_with_a_flat_object(at, http):
    """Seedance replies with a flat object: the link under content, a failure under error."""
    caller = at("gptge")
    task_id, seen = finish(caller, seedance, QUICK)
    _, bad = finish(caller, seedance, f"{QUICK} emu:fail")

    assert task_id.startswith("cgt-")
    assert http.get(seen[-1]["content"]["video_url"]).headers["content-type"] == "video/mp4"
    assert bad[-1]["error"].keys() == {"code", "message"}
    assert "content" not in bad[-1]


def test_bailian_times_have_no_zone(at):
    """Bailian's times are eight hours ahead of UTC, without a zone."""
    caller = at("gptge")
    task_id, seen = finish(caller, bailian, QUICK)
    output = seen[-1]["output"]
    shown = datetime.strptime(output["submit_time"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)

    assert abs(shown - timedelta(hours=8) - caller.task(task_id).created) < timedelta(milliseconds=2)
    assert output["submit_time"] <= output["scheduled_time"] <= output["end_time"]
    assert output["video_url"]
    assert output["orig_prompt"] == QUICK


@pytest.mark.parametrize(
    ("word", "status", "code"),
    [
        ("fail", "FAILED", "InternalError"),
        ("policy", "FAILED", "DataInspectionFailed"),
        ("cancelled", "CANCELED", None),
    ],
)
def test_bailian_failures_have_a_code(at, word, status, code):
    """A failed Bailian task has its code beside task_status."""
    _, seen = finish(at("gptge"), bailian, f"{QUICK} emu:{word}")

    assert (seen[-1]["output"]["task_status"], seen[-1]["output"].get("code")) == (status, code)


def test_the_relay_refuses_creates(at):
    """The relay refuses bad bodies, unknown models, no credit and bad content with its own error body."""
    caller = at("gptge")
    path = "/task/volces/seedance"
    replies = [
        caller.post(path, []),
        caller.post(path, {"prompt": "x"}),
        caller.post(path, {"model": "nobody", "prompt": "x"}),
        caller.post(path, {"model": "seedance"}),
        caller.post(path, {"model": "seedance", "prompt": "emu:no-credit"}),
        caller.post(path, {"model": "seedance", "prompt": "emu:policy-now"}),
    ]

    assert [r.status_code for r in replies] == [400, 400, 404, 400, 403, 400]
    assert all(r.json()["error"]["message"] for r in replies)
    assert caller.post("/task/bailian/text2video", {"model": "wan"}).json()["code"] == "InvalidParameter"


def test_failing_looks(at):
    """rate-limit answers as the API behind the relay does: 1002 on 200, 50429 on 429, the relay's own 429."""
    caller = at("gptge")
    replies = [caller.get(f"/task/{make(caller, 'emu:rate-limit')}") for make in (hailuo, jimeng, seedance, bailian)]

    assert [r.status_code for r in replies] == [200, 429, 429, 429]
    assert replies[0].json()["base_resp"]["status_code"] == 1002
    assert replies[1].json()["code"] == 50429
    assert caller.get(f"/task/{hailuo(caller, 'emu:late=9')}").status_code == 404
    assert caller.get(f"/task/{bailian(caller, 'emu:server-error')}").status_code == 502
