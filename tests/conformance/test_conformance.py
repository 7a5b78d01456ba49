"""Clients nobody here wrote take the emulator for the real thing: what they read is what the ledger knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nbhelper._emulator import Server, TaskRecord

# Building an environment takes longer than a test may, and looking takes the clients' own time.
pytestmark = [pytest.mark.conformance, pytest.mark.timeout(900)]

Run = Callable[..., Any]


def digests(record: TaskRecord) -> dict[str, str | None]:
    """File digests of one task by key path."""
    return {name: file.sha256 for name, file in record.files.items()}


def test_ailabtools(server: Server, run: Run) -> None:
    """ailabtools-sdk 0.5.4 creates, waits, downloads and fails in both generations as at the real API."""
    seen = run("v2", "ailabtools_client.py", server.root, server.key("ailab"))

    ledger = server.ledger()
    good = ledger.task("ailab", seen["good"]["id"])
    assert (good.state, good.billed) == ("succeeded", 10)
    assert seen["file"] == {"status": 200, "sha256": good.files["data.images[0]"].sha256}
    assert seen["failed"]["reply"] == {"error": "RuntimeError"}
    assert ledger.task("ailab", seen["failed"]["id"]).state == "failed"
    # The SDK knows no -1: it looks until its own time is up. So does the real pair.
    assert seen["minus"]["reply"] == {"error": "TimeoutError"}
    assert seen["policy"]["reply"] == {
        "error": "AILabApiError",
        "status": 422,
        "code": "FILE_CONTENT_NON_COMPLIANCE",
    }
    assert seen["poor"] == {"error": "AILabApiError", "status": 429, "code": "ERROR_NOT_ENOUGH_CREDITS"}
    inline = ledger.task("ailab", seen["inline"]["id"])
    assert seen["inline"]["sha256"] == inline.files["data.binary_data_base64[0]"].sha256
    assert seen["inline"]["again"] == {}
    shirt = ledger.task("ailab", seen["shirt"]["id"])
    assert seen["shirt"]["file"]["sha256"] == shirt.files["output.image_url"].sha256
    assert seen["shirt"]["usage"] == {"image_count": 1}
    cartoon = ledger.task("ailab-legacy", seen["cartoon"]["id"])
    assert seen["cartoon"]["words"][-2:] == ["PROCESSING", "PROCESS_SUCCESS"]
    assert seen["cartoon_file"]["sha256"] == cartoon.files["data.result_url"].sha256
    assert seen["late"]["words"][-1] == "TIMEOUT_FAILED"
    assert seen["wrong"] == {"error": "AILabApiError", "status": 401, "code": "ERROR_USER_NOT_EXISTS"}
    assert seen["nothing"] == {"error": "AILabApiError", "status": 404, "code": "ERROR_RESOURCE_NOT_FOUND"}
    assert {row["unique_sign"] for row in seen["credits"]} == {"ai_image", "ai_portrait"}


def test_tripo_v2(server: Server, run: Run) -> None:
    """tripo3d 0.4.2 creates, waits, downloads and fails as at the real API, with its segmentation over v3."""
    seen = run("v2", "tripo_v2_client.py", server.root, server.key("tripo"))

    ledger = server.ledger()
    owl = ledger.task("tripo", seen["owl"]["id"])
    assert (seen["owl"]["status"], owl.state, owl.credits) == ("success", "succeeded", 20)
    assert {name: file["sha256"] for name, file in seen["owl_files"].items()} == {
        name.removeprefix("output."): digest for name, digest in digests(owl).items()
    }
    assert seen["owl_files"]["pbr_model"]["file"].endswith("_pbr.glb")
    # This client sends its key to the file host; the ledger must be able to show such a thing.
    assert all(download.with_key for download in owl.downloads)
    boat = ledger.task("tripo", seen["boat"]["id"])
    assert seen["boat_files"]["image"]["sha256"] == boat.files["output.generated_image"].sha256
    parts = ledger.task("tripo-v3", seen["parts"]["id"])
    assert seen["parts_files"]["model"]["sha256"] == parts.files["output.model_url"].sha256
    assert [end.get("status") or end["error"] for end in seen["bad"]] == [
        "failed",
        "banned",
        "cancelled",
        "expired",
        "TimeoutError",
        "success",
    ]
    assert seen["bad"][0]["error_code"] == 1001
    assert seen["rig"] == {"riggable": True, "type": "biped"}
    assert [seen[name]["status"] for name in ("wrong", "other", "poor", "policy")] == [401, 404, 403, 400]
    billed = sum(task.billed or 0 for task in ledger.tasks)
    assert seen["balance"] == [100_000 - billed, 0]


@pytest.mark.sdks
@pytest.mark.parametrize("backend", ["aiohttp", "fallback"])
def test_tripo_v3(server: Server, run: Run, backend: str) -> None:
    """tripo3d 1.0.0 creates, waits, downloads and fails, over aiohttp and over its own HTTP client."""
    seen = run("v3", "tripo_v3_client.py", server.root, server.key("tripo-v3"), backend)

    ledger = server.ledger()
    ends = seen["ends"]
    owl = ledger.task("tripo-v3", ends[0]["id"])
    assert [end.get("status") or end["error"] for end in ends] == [
        "success",
        "failed",
        "failed",
        "cancelled",
        "failed",
        "timeout",
        "success",
        "success",
    ]
    assert [end["error_code"] for end in ends[1:5]] == [1001, 2008, None, 2018]
    assert (ends[0]["credits"], ends[1]["credits"]) == (20.0, 0.0)
    assert ends[0]["created"] == int(owl.created.timestamp())
    assert set(seen["files"].values()) == set(digests(owl).values())
    assert not any(download.with_key for download in owl.downloads)
    assert [poll.outcome for poll in ledger.task("tripo-v3", ends[6]["id"]).polls[:2]] == ["1007", "1007"]
    assert seen["large"]["file_token"].startswith("file_")
    assert [end["status"] for end in seen["more"]] == ["success"] * 4
    assert seen["more"][0]["topology"] == "biped"
    assert seen["listed"] == sorted(end["id"] for end in ends)
    assert seen["missed"] == ["nobody"]
    assert any(poll.batch for poll in owl.polls)
    assert seen["balance"] == [100_000 - sum(task.billed or 0 for task in ledger.tasks), 0]
    assert len(seen["usage"]) == 3
    assert seen["wrong"]["error"] == 1002
    assert seen["wrong"]["request_id"]
    assert seen["other"]["error"] == 2001
    assert seen["poor"]["error"] == 2010


def test_minimax(server: Server, run: Run) -> None:
    """minimax-python 0.2.0 makes and downloads a video; real failures and a lasting queue end it as they do there."""
    seen = run("v2", "minimax_client.py", server.root, server.key("gptge"))

    good = server.ledger().task("gptge", seen["good"]["id"])
    assert (good.state, seen["good"]["status"]) == ("succeeded", "Success")
    assert seen["good"]["sha256"] == good.files["file_id"].sha256
    assert seen["good"]["bytes"] == good.files["file_id"].n_bytes
    assert seen["good"]["name"] == "output.mp4"
    # This client knows neither "Fail" nor "Queueing"; both end in its parse error, as with the real API.
    for name in ("fail", "failed", "policy", "queue"):
        assert "Failed to parse polling response" in seen[name]["message"]
    assert "insufficient balance" in seen["poor"]["message"]
    assert "invalid api key" in seen["wrong"]["message"]
