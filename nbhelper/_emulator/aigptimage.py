"""aigptimage.com: errors as HTTP status, times in milliseconds, idempotent creates, limits by tier."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.responses import Response

from nbhelper._emulator.api import Call, RefusedError
from nbhelper._emulator.recordinfo import RecordInfo
from nbhelper._emulator.world import Job, Limit

#: aigptimage's tiers: creates per second, per minute; looks per second, per minute; unfinished tasks.
TIERS: Mapping[str, tuple[int, int, int, int, int]] = {
    "free": (1, 10, 2, 60, 1),
    "basic": (5, 180, 20, 1000, 5),
    "standard": (10, 600, 50, 3000, 15),
    "pro": (20, 1200, 100, 6000, 30),
    "ultra": (50, 3000, 200, 12000, 80),
    "enterprise": (100, 6000, 500, 30000, 300),
}


class Aigptimage(RecordInfo):
    """aigptimage.com."""

    name: ClassVar[str] = "aigptimage"
    root: ClassVar[str] = ""
    http_codes: ClassVar[bool] = True
    words: ClassVar[tuple[str, str]] = ("waiting", "waiting")

    MODELS: ClassVar[Mapping[str, str]] = {
        "gpt-image-2-text-to-image": "image",
        "gpt-image-2-image-to-image": "image",
        "seedance-2.0-text-to-video": "video",
        "seedance-2.0-image-to-video": "video",
    }

    def medium(self, model: str) -> str | None:
        """Return the medium of one of the four models."""
        return self.MODELS.get(model)

    def unknown_model_message(self, model: str) -> str:
        """Return the error message for an unknown model."""
        return f"model is not supported: {model[:80]}"

    def no_credit_message(self) -> str:
        """Return the error message for too few credits."""
        return "insufficient credits"

    def price(self, medium: str, task: Mapping[str, Any]) -> float:
        """Return the credits: 3 for 1K, 5 for 2K, 8 for 4K; 20, 40 or 80 per second of video."""
        resolution = str(task.get("resolution") or "")
        if medium == "image":
            return {"2K": 5.0, "4K": 8.0}.get(resolution.upper(), 3.0)
        seconds = task.get("duration", 5)
        per = {"480p": 20.0, "1080p": 80.0}.get(resolution.lower(), 40.0)
        return per * (seconds if isinstance(seconds, int | float) else 5)

    def new_id(self) -> str:
        """Return a new id: ``task_`` and 32 hexadecimal digits."""
        return f"task_{uuid.uuid4().hex}"

    def tier(self, call: Call) -> str:
        """Return the tier in a key such as ``emu-pro-…``; basic where it has none."""
        return next((part for part in call.bearer().split("-")[1:2] if part in TIERS), "basic")

    def rate_limited(self, wait: float, limit: int, tier: str, seconds: int) -> RefusedError:
        """Build the refusal of the rate limit, with the seconds to wait in its data."""
        data = {"retryAfter": max(1, round(wait + 0.5)), "limit": limit, "tier": tier, "windowSeconds": seconds}
        return self.refused(429, "rate limit exceeded", data)

    def _limit(self, call: Call, account: str, what: str, per_second: int, per_minute: int) -> None:
        tier = self.tier(call)
        for n, seconds in ((per_second, 1), (per_minute, 60)):
            if wait := self.world.count_call(Limit(n, seconds), self.name, account, what, str(seconds)):
                raise self.rate_limited(wait, n, tier, seconds)

    def limit_create(self, call: Call, account: str) -> None:
        """Refuse a create over the limits per second, per minute or of unfinished tasks."""
        tier = self.tier(call)
        per_second, per_minute, _, _, active = TIERS[tier]
        self._limit(call, account, "create", per_second, per_minute)
        if self.world.has_unfinished(active, self.name, account):
            raise self.rate_limited(5, active, tier, 60)

    def limit_poll(self, call: Call, account: str, task_id: str) -> None:  # noqa: ARG002 - limited per key
        """Refuse a look over the limits per second or per minute."""
        _, _, per_second, per_minute, _ = TIERS[self.tier(call)]
        self._limit(call, account, "poll", per_second, per_minute)

    def find_repeated(self, call: Call, account: str) -> Job | None:
        """Return the task that an earlier create with the same ``X-Request-ID`` made."""
        request_id = call.header("x-request-id")
        return self.world.find("aigptimage:request", f"{account}:{request_id}") if request_id else None

    def record_create(self, call: Call, account: str, job: Job) -> None:
        """Store the ``X-Request-ID``, and count the task as unfinished."""
        self.world.add_unfinished(job, self.name, account)
        if request_id := call.header("x-request-id"):
            job.request_id = request_id
            self.world.add_alias(job, "aigptimage:request", f"{account}:{request_id}")

    def not_found(self) -> Response:
        """Answer an unknown id."""
        return self.envelope(404, "task not found")

    def too_many(self) -> Response:
        """Answer a look with the rate limit's error."""
        return self.rate_limited(0.5, TIERS["basic"][3], "basic", 60).response

    def finish(self, data: dict[str, Any], job: Job, now: float, result: dict[str, Any], ended: float) -> None:  # noqa: ARG002
        """Add the time of completion, for success only, and ``costTime`` in milliseconds."""
        if job.has_succeeded(now):
            data["completeTime"] = int(ended * 1000)
            data["costTime"] = data["completeTime"] - data["createTime"]
