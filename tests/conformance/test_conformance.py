"""Official clients of the APIs run against the emulator unchanged: what they read is what its ledger has."""

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
    report = run("v2", "ailabtools_client.py", server.root, server.key("ailab"))

    ledger = server.ledger()
    good = ledger.task("ailab", report["good"]["id"])
    assert (good.state, good.billed) == ("succeeded", 10)
    assert report["file"] == {"status": 200, "sha256": good.files["data.images[0]"].sha256}
    assert report["failed"]["reply"] == {"error": "RuntimeError"}
    assert ledger.task("ailab", report["failed"]["id"]).state == "failed"
    # The SDK knows no -1: it looks until its own time is up. So does the real pair.
    assert report["minus"]["reply"] == {"error": "TimeoutError"}
    assert report["policy"]["reply"] == {
        "error": "AILabApiError",
        "status": 422,
        "code": "FILE_CONTENT_NON_COMPLIANCE",
    }
    assert report["poor"] == {"error": "AILabApiError", "status": 429, "code": "ERROR_NOT_ENOUGH_CREDITS"}
    inline = ledger.task("ailab", report["inline"]["id"])
    assert report["inline"]["sha256"] == inline.files["data.binary_data_base64[0]"].sha256
    assert report["inline"]["again"] == {}
    shirt = ledger.task("ailab", report["shirt"]["id"])
    assert report["shirt"]["file"]["sha256"] == shirt.files["output.image_url"].sha256
    assert report["shirt"]["usage"] == {"image_count": 1}
    cartoon = ledger.task("ailab-legacy", report["cartoon"]["id"])
    assert report["cartoon"]["words"][-2:] == ["PROCESSING", "PROCESS_SUCCESS"]
    assert report["cartoon_file"]["sha256"] == cartoon.files["data.result_url"].sha256
    assert report["late"]["words"][-1] == "TIMEOUT_FAILED"
    assert report["wrong"] == {"error": "AILabApiError", "status": 401, "code": "ERROR_USER_NOT_EXISTS"}
    assert report["nothing"] == {"error": "AILabApiError", "status": 404, "code": "ERROR_RESOURCE_NOT_FOUND"}
    assert {row["unique_sign"] for row in report["credits"]} == {"ai_image", "ai_portrait"}


def test_tripo_v2(server: Server, run: Run) -> None:
    """tripo3d 0.4.2 creates, waits, downloads and fails as at the real API, with its segmentation over v3."""
    report = run("v2", "tripo_v2_client.py", server.root, server.key("tripo"))

    ledger = server.ledger()
    owl = ledger.task("tripo", report["owl"]["id"])
    assert (report["owl"]["status"], owl.state, owl.credits) == ("success", "succeeded", 20)
    assert {name: file["sha256"] for name, file in report["owl_files"].items()} == {
        name.removeprefix("output."): digest for name, digest in digests(owl).items()
    }
    assert report["owl_files"]["pbr_model"]["file"].endswith("_pbr.glb")
    # This client sends its key to the file host; the ledger must be able to show such a thing.
    assert all(download.with_key for download in owl.downloads)
    boat = ledger.task("tripo", report["boat"]["id"])
    assert report["boat_files"]["image"]["sha256"] == boat.files["output.generated_image"].sha256
    parts = ledger.task("tripo-v3", report["parts"]["id"])
    assert report["parts_files"]["model"]["sha256"] == parts.files["output.model_url"].sha256
    assert [end.get("status") or end["error"] for end in report["bad"]] == [
        "failed",
        "banned",
        "cancelled",
        "expired",
        "TimeoutError",
        "success",
    ]
    assert report["bad"][0]["error_code"] == 1001
    assert report["rig"] == {"riggable": True, "type": "biped"}
    assert [report[name]["status"] for name in ("wrong", "other", "poor", "policy")] == [401, 404, 403, 400]
    billed = sum(task.billed or 0 for task in ledger.tasks)
    assert report["balance"] == [100_000 - billed, 0]


@pytest.mark.sdks
@pytest.mark.parametrize("backend", ["aiohttp", "fallback"])
def test_tripo_v3(server: Server, run: Run, backend: str) -> None:
    """tripo3d 1.0.0 creates, waits, downloads and fails, over aiohttp and over its own HTTP client."""
    report = run("v3", "tripo_v3_client.py", server.root, server.key("tripo-v3"), backend)

    ledger = server.ledger()
    ends = report["ends"]
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
    assert set(report["files"].values()) == set(digests(owl).values())
    assert not any(download.with_key for download in owl.downloads)
    assert [poll.outcome for poll in ledger.task("tripo-v3", ends[6]["id"]).polls[:2]] == ["1007", "1007"]
    assert report["large"]["file_token"].startswith("file_")
    assert [end["status"] for end in report["more"]] == ["success"] * 4
    assert report["more"][0]["topology"] == "biped"
    assert report["listed"] == sorted(end["id"] for end in ends)
    assert report["missed"] == ["nobody"]
    assert any(poll.batch for poll in owl.polls)
    assert report["balance"] == [100_000 - sum(task.billed or 0 for task in ledger.tasks), 0]
    assert len(report["usage"]) == 3
    assert report["wrong"]["error"] == 1002
    assert report["wrong"]["request_id"]
    assert report["other"]["error"] == 2001
    assert report["poor"]["error"] == 2010


def test_minimax(server: Server, run: Run) -> None:
    """minimax-python 0.2.0 makes and downloads a video; real failures and a lasting queue end it as they do there."""
    report = run("v2", "minimax_client.py", server.root, server.key("gptge"))

    good = server.ledger().task("gptge", report["good"]["id"])
    assert (good.state, report["good"]["status"]) == ("succeeded", "Success")
    assert report["good"]["sha256"] == good.files["file_id"].sha256
    assert report["good"]["bytes"] == good.files["file_id"].n_bytes
    assert report["good"]["name"] == "output.mp4"
    # This client knows neither "Fail" nor "Queueing"; both end in its parse error, as with the real API.
    for name in ("fail", "failed", "policy", "queue"):
        assert "Failed to parse polling response" in report[name]["message"]
    assert "insufficient balance" in report["poor"]["message"]
    assert "invalid api key" in report["wrong"]["message"]
