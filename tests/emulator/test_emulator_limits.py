"""`limits=True` enforces the APIs' rate and concurrency limits; by default none is enforced."""

from __future__ import annotations

import pytest
from support.emulator_calls import Caller

from nbhelper._emulator import Server

LONG = "emu:seconds=999999"


@pytest.fixture(scope="module")
def strict():
    """A server that enforces limits."""
    with Server(speed=1000, limits=True) as server:
        yield server


def test_without_limits_nothing_is_enforced(at):
    """Without limits thirty unfinished tasks at once are accepted."""
    caller = at("tripo")
    body = {"type": "text_to_model", "prompt": LONG}

    assert {caller.post("/task", body).status_code for _ in range(30)} == {200}


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"type": "text_to_model", "prompt": LONG}, 10),
        ({"type": "text_to_model", "prompt": LONG, "model_version": "P1-20260311"}, 5),
        ({"type": "generate_multiview_image", "file": {"url": LONG}}, 1),
    ],
    ids=["generation", "p1", "multiview"],
)
def test_tripo_limits_unfinished_tasks(strict, http, body, limit):
    """A create over the group's number of unfinished tasks is 429 with code 2000 and Retry-After."""
    caller = Caller(strict, "tripo", http, key=f"tsk_emu-{limit}")
    replies = [caller.post("/task", body) for _ in range(limit + 1)]

    assert [r.status_code for r in replies] == [200] * limit + [429]
    assert replies[-1].json()["code"] == 2000
    assert int(replies[-1].headers["retry-after"]) > 0


def test_finished_tasks_count_no_more(strict, http):
    """Finished tasks do not count for Tripo's limit."""
    caller = Caller(strict, "tripo", http)
    body = {"type": "text_to_model", "prompt": "emu:queue=0 emu:seconds=0"}

    assert {caller.post("/task", body).status_code for _ in range(15)} == {200}


def test_kie_takes_twenty_creates_in_ten_seconds(strict, http):
    """The 21st create within ten seconds is code 429 on HTTP 200."""
    caller = Caller(strict, "kie", http)
    body = {"model": "google/nano-banana", "input": {"prompt": LONG}}
    codes = [caller.post("/api/v1/jobs/createTask", body).json()["code"] for _ in range(21)]

    assert codes == [200] * 20 + [429]


def test_kie_takes_ten_looks_a_second_at_one_task(strict, http):
    """The eleventh look is 429; another task may still be looked at."""
    caller = Caller(strict, "kie", http)
    body = {"model": "google/nano-banana", "input": {"prompt": LONG}}
    one, two = (caller.post("/api/v1/jobs/createTask", body).json()["data"]["taskId"] for _ in range(2))
    look = lambda task_id: caller.get("/api/v1/jobs/recordInfo", taskId=task_id).json()["code"]  # noqa: E731

    assert [look(one) for _ in range(11)] == [200] * 10 + [429]
    assert look(two) == 200


@pytest.mark.parametrize(("tier", "active", "creates"), [("free", 1, 1), ("basic", 5, 5)])
def test_aigptimage_limits_by_tier(strict, http, tier, active, creates):
    """The tier is in the key; the refusal names it, the limit and the wait."""
    caller = Caller(strict, "aigptimage", http, key=f"emu-{tier}-x")
    body = {"model": "gpt-image-2-text-to-image", "input": {"prompt": LONG}}
    replies = [caller.post("/api/v1/jobs/createTask", body) for _ in range(min(active, creates) + 1)]
    data = replies[-1].json()["data"]

    assert [r.status_code for r in replies] == [200] * min(active, creates) + [429]
    assert data["tier"] == tier
    assert data["retryAfter"] >= 1


def test_minimax_and_ailab_limit_creates(strict, http):
    """Over the limit MiniMax answers 1002 on HTTP 200, and AILabTools EXCEEDING_LIMITS on 429."""
    video = Caller(strict, "gptge", http)
    body = {"model": "MiniMax-Hailuo-02", "prompt": LONG}
    codes = [video.post("/v1/video_generation", body).json()["base_resp"]["status_code"] for _ in range(21)]
    hair = Caller(strict, "ailab", http)
    replies = [hair.form("/api/portrait/editing/ai-bald", {}, "image") for _ in range(6)]

    assert codes == [0] * 20 + [1002]
    assert replies[-1].json()["error_detail"]["code"] == "EXCEEDING_LIMITS"
    assert [r.status_code for r in replies] == [200] * 5 + [429]
