"""Tripo, both generations: states, outputs, endings, errors, batches, balance, uploads."""

from __future__ import annotations

import pytest
from support.emulator_calls import QUICK, SLOW, until, words

from nbhelper._emulator.tripo_v3 import CAPABILITIES

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def make(caller, prompt="a cat", **more):
    """Create a text_to_model task; return its id."""
    if caller.name == "tripo":
        reply = caller.post("/task", {"type": "text_to_model", "prompt": prompt, **more})
    else:
        reply = caller.post("/generation/text-to-model", {"prompt": prompt, **more})
    assert reply.status_code == 200, reply.text
    return reply.json()["data"]["task_id"]


def look(caller, task_id):
    """Look at a task; return the data."""
    path = "/task/" if caller.name == "tripo" else "/tasks/"
    return caller.get(path + task_id).json()["data"]


def finish(caller, task_id):
    """Look until the task is final; return the data of all replies."""
    return until(lambda: look(caller, task_id), lambda d: d["status"] not in {"queued", "running"})


BOTH = pytest.mark.parametrize("name", ["tripo", "tripo-v3"])


@BOTH
def test_states_come_in_order(at, name):
    """The states are queued, running, success."""
    caller = at(name)
    seen = finish(caller, make(caller, f"a cat {SLOW}"))

    assert words(seen, lambda d: d["status"]) == ["queued", "running", "success"]


def test_v2_replies_are_consistent_in_every_state(at):
    """Progress, queue position and time left are consistent with every state."""
    caller = at("tripo")
    task_id = make(caller, f"a cat {SLOW}")
    seen = finish(caller, task_id)

    for d in seen:
        assert d["task_id"] == task_id
        assert d["type"] == "text_to_model"
        assert d["input"] == {"prompt": f"a cat {SLOW}"}
        assert isinstance(d["create_time"], int)
    queued, running, done = ([d for d in seen if d["status"] == s] for s in ("queued", "running", "success"))
    assert all(d["progress"] == 0 and d["queuing_num"] > 0 and d["output"] == {} for d in queued)
    assert all(0 < d["progress"] < 100 and d["queuing_num"] == -1 and d["running_left_time"] > 0 for d in running)
    assert done[0]["progress"] == 100
    assert done[0]["running_left_time"] == -1
    assert done[0]["consumed_credit"] == 20
    assert "consumed_credit" not in running[0]
    assert set(done[0]["output"]) == {"pbr_model", "rendered_image"}
    assert done[0]["result"]["pbr_model"] == {"type": "glb", "url": done[0]["output"]["pbr_model"]}


def test_v3_replies_hold_iso_times_and_decimals(at):
    """v3 replies have created_at and completed_at in ISO format, credits_consumed, and results named *_url."""
    caller = at("tripo-v3")
    task_id = make(caller, f"a cat {QUICK}")
    done = finish(caller, task_id)[-1]
    record = caller.task(task_id)

    assert done["created_at"] == record.created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert done["completed_at"] >= done["created_at"]
    assert isinstance(done["credits_consumed"], float)
    assert done["credits_consumed"] == record.credits == 20.0
    assert set(done["output"]) == {"model_url", "rendered_image_url"}


@pytest.mark.parametrize(
    ("word", "status", "state", "code"),
    [
        ("fail", "failed", "failed", "1001"),
        ("fail=2018", "failed", "failed", "2018"),
        ("policy", "banned", "failed", "banned"),
        ("banned", "banned", "failed", "banned"),
        ("cancelled", "cancelled", "cancelled", None),
        ("expired", "expired", "expired", None),
        ("unknown", "unknown", "unknown", None),
    ],
)
def test_v2_has_eight_states(at, word, status, state, code):
    """Directives give each of v2's eight states; a failed task costs nothing, and the ledger has its state."""
    caller = at("tripo")
    task_id = make(caller, f"{QUICK} emu:{word}")
    done = finish(caller, task_id)[-1]
    record = caller.task(task_id)

    assert (done["status"], done["consumed_credit"], done["output"]) == (status, 0, {})
    assert done.get("error_code") == (int(code) if code and code.isdecimal() else None)
    assert (record.state, record.word, record.error_code, record.credits) == (state, status, code, 0)


@pytest.mark.parametrize(
    ("word", "status", "code"),
    [
        ("fail", "failed", 1001),
        ("policy", "failed", 2008),
        ("expired", "failed", 2018),
        ("cancelled", "cancelled", None),
    ],
)
def test_v3_has_five_states(at, word, status, code):
    """v3 has five states: banned and expired are failed with a code."""
    caller = at("tripo-v3")
    done = finish(caller, make(caller, f"{QUICK} emu:{word}"))[-1]

    assert (done["status"], done.get("error_code"), done["credits_consumed"]) == (status, code, 0.0)


def test_a_stuck_task_stays_running(at):
    """A stuck task stays running."""
    caller = at("tripo")
    task_id = make(caller, "emu:queue=0 emu:seconds=10 emu:stuck")
    seen = until(lambda: look(caller, task_id), lambda d: d["progress"] >= 99)

    assert seen[-1]["status"] == "running"
    assert caller.task(task_id).finished is None


@BOTH
def test_links_are_signed_anew_at_every_look(at, http, name):
    """Two looks give two links; both give the same file."""
    caller = at(name)
    task_id = make(caller, f"a cat {QUICK}")
    one, two = finish(caller, task_id)[-1]["output"], look(caller, task_id)["output"]

    key = "rendered_image" if name == "tripo" else "rendered_image_url"
    assert one[key] != two[key]
    assert http.get(one[key]).content == http.get(two[key]).content


@BOTH
def test_wrong_keys_and_other_accounts_are_refused(at, server, http, name):
    """No key, a foreign key and a client id are refused; another account does not find the task."""
    caller = at(name)
    task_id = make(caller)
    path = f"{server.url(name)}/{'task' if name == 'tripo' else 'tasks'}/{task_id}"

    for header in (
        {},
        {"authorization": "Bearer tsk_real"},
        {"authorization": "Bearer emu-x"},
        {"authorization": "tsk_emu-x"},
    ):
        reply = http.get(path, headers=header)
        assert (reply.status_code, reply.json()["code"]) == (401, 1002)
    reply = http.get(path, headers=caller.again().headers)
    assert (reply.status_code, reply.json()["code"]) == (404, 2001)
    assert set(reply.json()) >= {"code", "message", "suggestion"}


@BOTH
def test_every_reply_has_a_trace(at, name):
    """X-Tripo-Trace-ID is on good replies and bad ones."""
    caller = at(name)
    good = caller.get("/user/balance" if name == "tripo" else "/account/balance")
    bad = caller.get("/task/nobody" if name == "tripo" else "/tasks/nobody")

    assert good.headers["x-tripo-trace-id"] != bad.headers["x-tripo-trace-id"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("not json", 400, 1003),
        ([], 400, 1003),
        ({}, 400, 1004),
        ({"type": "text_to_song"}, 400, 2002),
        ({"type": "text_to_model"}, 400, 1004),
        ({"type": "text_to_model", "prompt": "x" * 1025}, 400, 1004),
        ({"type": "text_to_model", "prompt": "x", "model_version": "v9"}, 400, 1004),
        ({"type": "text_to_model", "prompt": "x", "model_version": "v1.3-20240522"}, 400, 2015),
        ({"type": "image_to_model"}, 400, 2003),
        ({"type": "convert_model", "original_model_task_id": "x", "format": "DOC"}, 400, 1004),
        ({"type": "animate_rig", "original_model_task_id": "nobody"}, 404, 2001),
        ({"type": "text_to_model", "prompt": "emu:policy-now"}, 400, 2008),
        ({"type": "text_to_model", "prompt": "emu:no-credit"}, 403, 2010),
    ],
    ids=str,
)
def test_v2_refuses_creates(at, http, server, body, status, code):
    """Every invalid create is refused with its documented status and code."""
    caller = at("tripo")
    if body == "not json":
        reply = http.post(server.url("tripo") + "/task", content=b"{", headers=caller.headers)
    else:
        reply = caller.post("/task", body)

    assert (reply.status_code, reply.json()["code"]) == (status, code)


def test_a_parent_must_have_succeeded(at):
    """A create whose original task is unfinished is refused with 2007; one whose original succeeded is accepted."""
    caller = at("tripo")
    parent = make(caller, f"a cat {SLOW}")
    body = {"type": "animate_prerigcheck", "original_model_task_id": parent}
    early = caller.post("/task", body)
    finish(caller, parent)
    late = caller.post("/task", body)
    done = finish(caller, late.json()["data"]["task_id"])[-1]

    assert early.json()["code"] == 2007
    assert done["output"] == {"riggable": True, "rig_type": "biped"}
    assert done["consumed_credit"] == 0


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"type": "text_to_image", "prompt": QUICK}, {"generated_image"}),
        ({"type": "generate_multiview_image", "file": {"type": "jpg", "url": QUICK}}, {"generate_multiview_image"}),
        (
            {"type": "image_to_model", "file": {"url": QUICK}, "pbr": False, "texture": False},
            {"base_model", "rendered_image"},
        ),
        ({"type": "text_to_model", "prompt": QUICK, "pbr": False}, {"model", "rendered_image"}),
        ({"type": "text_to_model", "prompt": f"{QUICK} emu:shape=generated_image"}, {"generated_image"}),
        ({"type": "text_to_model", "prompt": f"{QUICK} emu:no-output"}, set()),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else None,
)
def test_v2_outputs_by_type(at, http, body, names):
    """Each type has its own output names, and each link gives a file."""
    caller = at("tripo")
    task_id = caller.post("/task", body).json()["data"]["task_id"]
    output = finish(caller, task_id)[-1]["output"]
    urls = [u for v in output.values() for u in (v.values() if isinstance(v, dict) else [v])]

    assert set(output) == names
    assert all(http.get(url).status_code == 200 for url in urls)
    assert len(caller.task(task_id).files) == len(urls)


def test_v2_batch_lists_unknown_ids_as_missed(at):
    """A batch takes a hundred ids; unknown ones are listed in missed, and a look is recorded for each task."""
    caller = at("tripo")
    ids = [make(caller, f"a cat {QUICK}") for _ in range(3)]
    reply = caller.post("/task/batch", {"task_ids": [*ids, "nobody"]}).json()["data"]

    assert set(reply["tasks"]) == set(ids)
    assert reply["missed"] == ["nobody"]
    assert [(p.batch, p.status) for p in caller.task(ids[0]).polls] == [(True, 200)]
    for wrong in ({}, {"task_ids": []}, {"task_ids": "x"}, {"task_ids": ["x"] * 101}):
        assert caller.post("/task/batch", wrong).json()["code"] == 1004
    assert (
        caller.http.post(caller.server.url("tripo") + "/task/batch", content=b"", headers=caller.headers).json()["code"]
        == 1003
    )


def test_v3_list_answers_as_v2_batch(at):
    """v3's tasks/list answers as v2's batch does."""
    caller = at("tripo-v3")
    task_id = make(caller)
    reply = caller.post("/tasks/list", {"task_ids": [task_id, "nobody"]}).json()["data"]

    assert (set(reply["tasks"]), reply["missed"]) == ({task_id}, ["nobody"])


@pytest.mark.parametrize("path", CAPABILITIES)
def test_v3_has_a_path_per_capability(at, path):
    """Every path of the official client creates a task of its type."""
    caller = at("tripo-v3")
    parent = make(caller, f"a cat {QUICK}")
    finish(caller, parent)
    body = {"prompt": QUICK, "input": parent, "inputs": [parent], "format": "obj", "animation": "preset:walk"}
    made = caller.post(path, body)
    done = finish(caller, made.json()["data"]["task_id"])[-1]

    assert (done["type"], done["status"]) == (CAPABILITIES[path], "success")


def test_v3_refuses_creates(at, http, server):
    """v3's errors are v2's, with a request_id."""
    caller = at("tripo-v3")
    path = "/generation/text-to-model"
    reply = http.post(server.url("tripo-v3") + path, content=b"[", headers=caller.headers)

    assert (reply.status_code, reply.json()["code"]) == (400, 1003)
    assert reply.json()["request_id"] == reply.headers["x-tripo-trace-id"]
    assert caller.post(path, {}).json()["code"] == 1004
    assert caller.post("/models/texture", {"input": "nobody"}).json()["code"] == 2001
    assert caller.post("/models/texture", {"input": "file_abc"}).status_code == 200


def test_v3_balance_and_usage_agree_with_the_bill(at):
    """Balance and usage agree with what was billed."""
    caller = at("tripo-v3")
    ids = [make(caller, f"a cat {QUICK}"), make(caller, f"{QUICK} emu:fail")]
    for task_id in ids:
        finish(caller, task_id)
    balance = caller.get("/account/balance").json()["data"]
    usage = caller.get("/account/usage", limit="1").json()["data"]

    assert balance == {"balance": 99980.0, "frozen": 0}
    assert (usage["total"], usage["items"][0]["task_id"]) == (2, ids[1])
    assert caller.get("/account/usage", limit="x").json()["code"] == 1004


def test_v2_balance_holds_and_gives_back(at):
    """Credits of an unfinished task are frozen, those of a failed task given back."""
    caller = at("tripo")
    task_id = make(caller, f"{SLOW} emu:fail")
    held = caller.get("/user/balance").json()["data"]
    finish(caller, task_id)

    assert held == {"balance": 99980.0, "frozen": 20.0}
    assert caller.get("/user/balance").json()["data"] == {"balance": 100000.0, "frozen": 0}


def test_an_upload_gives_a_token(at, http):
    """One multipart file gives a token; none, or no form, is refused."""
    v2, v3 = at("tripo"), at("tripo-v3")
    large = v3.post("/files/presign", {"format": "png"}).json()["data"]

    assert v2.form("/upload", {}, "file").json()["data"]["image_token"]
    assert v2.form("/upload", {}, "other").json()["code"] == 2003
    assert v2.post("/upload", {}).json()["code"] == 1003
    assert v2.post("/upload/sts/token", {"format": "jpeg"}).json()["data"]["resource_bucket"]
    assert v3.form("/files", {}, "file").json()["data"]["file_token"].startswith("file_")
    assert http.put(large["presigned_url"], content=b"x").status_code == 200
    assert v3.post("/files/presign", {}).json()["code"] == 1004


def test_failing_looks(at):
    """rate-limit, server-error and late let the first looks fail with Tripo's errors."""
    caller = at("tripo")
    task_id = make(caller, f"{QUICK} emu:rate-limit=2 emu:server-error")
    replies = [caller.get(f"/task/{task_id}") for _ in range(4)]
    late = make(caller, f"{QUICK} emu:late=0.5")
    first = caller.get(f"/task/{late}")
    until(lambda: caller.get(f"/task/{late}"), lambda r: r.status_code == 200)

    assert [r.status_code for r in replies] == [429, 429, 502, 200]
    assert replies[0].json()["code"] == 1007
    assert replies[0].headers["retry-after"] == "1"
    assert replies[2].headers["content-type"].startswith("text/html")
    assert (first.status_code, first.json()["code"]) == (404, 2001)
    assert [p.outcome for p in caller.task(task_id).polls] == ["1007", "1007", "502", "success"]


def test_outputs_may_come_early(at, http):
    """`emu:early` gives results while the task is running, as real replies may."""
    caller = at("tripo")
    task_id = make(caller, "emu:queue=0 emu:real-seconds=5 emu:early")
    data = look(caller, task_id)

    assert data["status"] == "running"
    assert data["thumbnail"] == data["output"]["rendered_image"]
    assert http.get(data["thumbnail"]).status_code == 200
