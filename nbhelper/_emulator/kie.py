"""kie.ai: errors with HTTP status 200, durations in seconds, credits in the reply."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator.api import Call, RefusedError
from nbhelper._emulator.recordinfo import RecordInfo
from nbhelper._emulator.world import Job, Limit


class Kie(RecordInfo):
    """kie.ai."""

    name: ClassVar[str] = "kie"
    root: ClassVar[str] = "/kie"
    http_codes: ClassVar[bool] = False
    # `waiting` comes before `queuing`; see `record`.
    words: ClassVar[tuple[str, str]] = ("queuing", "generating")

    #: Prefixes of model names by medium (docs.kie.ai market).
    IMAGES: ClassVar[tuple[str, ...]] = (
        "google/", "nano-banana", "gpt-image", "openai/", "flux", "black-forest-labs/", "ideogram/", "qwen",
        "seedream/", "bytedance/seedream", "grok-imagine/", "recraft/", "topaz/image", "z-image", "wan/2-7-image",
    )  # fmt: skip
    VIDEOS: ClassVar[tuple[str, ...]] = (
        "sora", "kling", "wan/", "hailuo/", "veo", "bytedance/", "runway", "topaz/video", "luma", "infinitalk/",
    )  # fmt: skip
    AUDIOS: ClassVar[tuple[str, ...]] = ("elevenlabs/", "suno", "ai-music")

    def medium(self, model: str) -> str | None:
        """Return the medium of a model by the prefix of its name."""
        if model.startswith(self.AUDIOS):
            return "audio"
        if "video" in model or (model.startswith(self.VIDEOS) and not model.startswith(self.IMAGES)):
            return "video" if model.startswith((*self.VIDEOS, *self.IMAGES)) else None
        return "image" if model.startswith(self.IMAGES) else None

    def unknown_model_message(self, model: str) -> str:  # noqa: ARG002 - kie's message does not contain it
        """Return the error message for an unknown model."""
        return "The model name you specified is not supported. Please verify and use the correct model name."

    def unauthorized(self) -> Response:
        """Answer a wrong key."""
        return self.envelope(401, "You do not have access permissions")

    def no_credit_message(self) -> str:
        """Return the error message for too few credits."""
        return "Credits insufficient: The current credits balance isn't enough to run this request. Please top up."

    def price(self, medium: str, task: Mapping[str, Any]) -> float:
        """Return credits close to the published prices; some are fractions."""
        model = str(task.get("model"))
        if medium == "audio":
            return 6.5
        if medium == "video":
            return 150.0 if "pro" in model else 30.0
        if "pro" in model:
            return 24.0 if str(task.get("resolution")) == "4K" else 18.0
        return 3.0 if model.startswith("gpt-image") else 4.0 if model.startswith("google") else 3.5

    def new_id(self) -> str:
        """Return a new id: 32 hexadecimal digits."""
        return uuid.uuid4().hex

    def create_data(self, job: Job) -> dict[str, Any]:
        """Return the ids of a new task; looks with ``recordId`` find nothing."""
        return {"taskId": job.id, "recordId": job.key}

    def routes(self) -> list[Route]:
        """Return the two shared routes, and those for credits and download links."""
        return [
            *super().routes(),
            self.plain_route("/kie/api/v1/chat/credit", self.credit),
            self.plain_route("/kie/api/v1/common/download-url", self.download_url, "POST"),
        ]

    def limit_create(self, call: Call, account: str) -> None:  # noqa: ARG002 - limited per key
        """Refuse more than 20 creates in 10 seconds."""
        if self.world.count_call(Limit(20, 10), self.name, account, "create"):
            raise self.refused(429, "You're making requests too fast. Please slow down.")

    def limit_poll(self, call: Call, account: str, task_id: str) -> None:  # noqa: ARG002 - limited per task
        """Refuse more than 10 looks at one task in a second."""
        if self.world.count_call(Limit(10, 1), self.name, account, "poll", task_id):
            raise RefusedError(self.too_many())

    def not_found(self) -> Response:
        """Answer an unknown id; the real API answers so also for a moment after a create."""
        return self.envelope(422, "recordInfo is null")

    def too_many(self) -> Response:
        """Answer a look with the rate limit's error."""
        return self.envelope(429, "Rate limit exceeded")

    def record(self, job: Job, now: float) -> dict[str, Any]:
        """Show a task; the first 40 % of the time in the queue are ``waiting``."""
        data = super().record(job, now)
        if job.moment(now).phase == "queued" and now - job.created < job.plan.queue * 0.4:
            data["state"] = "waiting"
        # As in kie's docs: a result beside the state `waiting`; the task is not final.
        if job.plan.early and job.moment(now).phase == "running":
            data["state"] = "waiting"
        return data

    def finish(self, data: dict[str, Any], job: Job, now: float, result: dict[str, Any], ended: float) -> None:
        """Add ``costTime`` in whole seconds, the credits, and the result as an object."""
        final, good = job.is_final(now), job.has_succeeded(now)
        data["updateTime"] = int((ended if final else self.world.clock.epoch(now)) * 1000)
        data["successFlag"] = 1 if good else 3 if final and data["state"] == "fail" else 0
        data["creditsConsumed"] = job.credits_taken(now)
        if final:
            data["completeTime"] = int(ended * 1000)
            data["costTime"] = int(job.plan.total)
        if good:
            data["response"] = result
        if "sora" in job.kind:
            data["progress"] = job.moment(now).progress

    async def credit(self, call: Call) -> Response:
        """``GET /api/v1/chat/credit``: the balance, one number."""
        account, now = self.authenticate(call), self.world.clock.now()
        spent = sum(job.credits_taken(now) or 0.0 for job in self.world.jobs_of(account, self.name))
        return self.envelope(200, "success", round(100_000 - spent, 2))

    async def download_url(self, call: Call) -> Response:
        """``POST /api/v1/common/download-url``: a link, valid for 20 minutes, to a result of the same account."""
        account = self.authenticate(call)
        url = (call.json() or {}).get("url")
        parts = str(url).removeprefix(self.world.root).partition("?")[0].split("/")
        job = self.world.find_by_key(parts[2]) if len(parts) == 4 and parts[1] == "files" else None
        asset = next((a for a in job.assets if a.file == parts[3]), None) if job else None
        if job is None or asset is None or job.account != account:
            return self.envelope(422, "The url is not a file generated by this account")
        return self.envelope(200, "success", self.vault.link(job, asset, 1200.0, fresh=True))
