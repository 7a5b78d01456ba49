"""kie.ai: errors on HTTP 200, seconds, credits in the reply."""

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
    # A look may see waiting and queuing before the work starts; see `record`.
    words: ClassVar[tuple[str, str]] = ("queuing", "generating")

    #: Families of models (docs.kie.ai market); what follows the slash is the family's business.
    IMAGES: ClassVar[tuple[str, ...]] = (
        "google/", "nano-banana", "gpt-image", "openai/", "flux", "black-forest-labs/", "ideogram/", "qwen",
        "seedream/", "bytedance/seedream", "grok-imagine/", "recraft/", "topaz/image", "z-image", "wan/2-7-image",
    )  # fmt: skip
    VIDEOS: ClassVar[tuple[str, ...]] = (
        "sora", "kling", "wan/", "hailuo/", "veo", "bytedance/", "runway", "topaz/video", "luma", "infinitalk/",
    )  # fmt: skip
    AUDIOS: ClassVar[tuple[str, ...]] = ("elevenlabs/", "suno", "ai-music")

    def medium(self, model: str) -> str | None:
        """What a model makes, by its family's name."""
        if model.startswith(self.AUDIOS):
            return "audio"
        if "video" in model or (model.startswith(self.VIDEOS) and not model.startswith(self.IMAGES)):
            return "video" if model.startswith((*self.VIDEOS, *self.IMAGES)) else None
        return "image" if model.startswith(self.IMAGES) else None

    def unsupported(self, model: str) -> str:  # noqa: ARG002 - kie does not repeat it
        """The words for an unknown model."""
        return "The model name you specified is not supported. Please verify and use the correct model name."

    def not_signed_in(self) -> Response:
        """The answer to a wrong key."""
        return self.say(401, "You do not have access permissions")

    def broke(self) -> str:
        """The words for too few credits."""
        return "Credits insufficient: The current credits balance isn't enough to run this request. Please top up."

    def price(self, medium: str, task: Mapping[str, Any]) -> float:
        """Near the published prices; some are fractions of a credit."""
        model = str(task.get("model"))
        if medium == "audio":
            return 6.5
        if medium == "video":
            return 150.0 if "pro" in model else 30.0
        if "pro" in model:
            return 24.0 if str(task.get("resolution")) == "4K" else 18.0
        return 3.0 if model.startswith("gpt-image") else 4.0 if model.startswith("google") else 3.5

    def new_id(self) -> str:
        """32 hexadecimal digits."""
        return uuid.uuid4().hex

    def created(self, job: Job) -> dict[str, Any]:
        """Add a ``recordId``, which is not the polling key."""
        return {"taskId": job.id, "recordId": job.key}

    def routes(self) -> list[Route]:
        """The two paths, and the credit and download-link calls."""
        return [
            *super().routes(),
            self.answering("/kie/api/v1/chat/credit", self.credit),
            self.answering("/kie/api/v1/common/download-url", self.download_url, "POST"),
        ]

    def limit_create(self, call: Call, account: str) -> None:  # noqa: ARG002 - the limit is the key's
        """20 creates in 10 seconds."""
        if self.world.over(Limit(20, 10), self.name, account, "create"):
            raise self.refused(429, "You're making requests too fast. Please slow down.")

    def limit_poll(self, call: Call, account: str, task_id: str) -> None:  # noqa: ARG002 - the limit is the task's
        """10 looks a second at one task."""
        if self.world.over(Limit(10, 1), self.name, account, "poll", task_id):
            raise RefusedError(self.too_many())

    def not_found(self) -> Response:
        """The answer to an unknown id, also given for a moment after a create."""
        return self.say(422, "recordInfo is null")

    def too_many(self) -> Response:
        """The rate limit's answer to a look."""
        return self.say(429, "Rate limit exceeded")

    def record(self, job: Job, now: float) -> dict[str, Any]:
        """A task as kie shows it: the first part of its time in the queue is called waiting."""
        data = super().record(job, now)
        if job.moment(now).phase == "queued" and now - job.created < job.plan.queue * 0.4:
            data["state"] = "waiting"
        # Seen in its docs: a filled result beside a state that is not final yet. The state wins.
        if job.plan.early and job.moment(now).phase == "running":
            data["state"] = "waiting"
        return data

    def finish(self, data: dict[str, Any], job: Job, now: float, result: dict[str, Any], ended: float) -> None:
        """The cost in whole seconds, the credits, and the result once more as an object."""
        final, good = job.final(now), job.succeeded(now)
        data["updateTime"] = int((ended if final else self.world.clock.epoch(now)) * 1000)
        data["successFlag"] = 1 if good else 3 if final and data["state"] == "fail" else 0
        data["creditsConsumed"] = job.billed(now)
        if final:
            data["completeTime"] = int(ended * 1000)
            data["costTime"] = int(job.plan.total)
        if good:
            data["response"] = result
        if "sora" in job.kind:
            data["progress"] = job.moment(now).progress

    async def credit(self, call: Call) -> Response:
        """``GET /api/v1/chat/credit``: one number."""
        account, now = self.signed_in(call), self.world.clock.now()
        spent = sum(job.billed(now) or 0.0 for job in self.world.of_account(account, self.name))
        return self.say(200, "success", round(100_000 - spent, 2))

    async def download_url(self, call: Call) -> Response:
        """``POST /api/v1/common/download-url``: a link of 20 minutes to a result of one's own."""
        account = self.signed_in(call)
        url = (call.json() or {}).get("url")
        parts = str(url).removeprefix(self.world.root).partition("?")[0].split("/")
        job = self.world.by_key(parts[2]) if len(parts) == 4 and parts[1] == "files" else None
        asset = next((a for a in job.assets if a.file == parts[3]), None) if job else None
        if job is None or asset is None or job.account != account:
            return self.say(422, "The url is not a file generated by this account")
        return self.say(200, "success", self.vault.link(job, asset, 1200.0, fresh=True))
