"""V-API (api.gpt.ge), a relay: one poll path, ``/task/{task_id}``, and four reply shapes by the API behind it.

Hailuo replies as MiniMax does; Jimeng with ``code`` 10000; Seedance with a flat object; Bailian under ``output``, with
local times without a zone. The relay's own errors are those of the new-api gateway.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator.api import Call, RefusedError, reply, shorten, texts_in
from nbhelper._emulator.media import Asset
from nbhelper._emulator.minimax import Minimax
from nbhelper._emulator.plan import Directives, Pace
from nbhelper._emulator.world import Job, Verdict

PACE = Pace((2, 10), (40, 110))
JIMENG_PACE = Pace((1, 8), (12, 60))
JIMENG_LIFE, VIDEO_LIFE = 3600.0, 86_400.0
VIDEO = Asset("content.video_url", "video", "mp4")

#: Volcengine's codes for Jimeng.
JIMENG_CODES = {
    50411: "Pre Img Risk Not Pass",
    50412: "Text Risk Not Pass",
    50413: "Post Text Risk Not Pass",
    50429: "Request Has Reached API Limit, Please Try Later",
    50430: "Request Has Reached API Concurrent Limit, Please Try Later",
    50500: "Internal Error",
    50501: "Internal RPC Error",
    50511: "Post Img Risk Not Pass",
    50512: "Post Text Risk Not Pass",
    50516: "Post Video Risk Not Pass",
}


class Gptge(Minimax):
    """The relay with the four APIs behind it."""

    def routes(self) -> list[Route]:
        """Return the routes of the API."""
        return [
            self.plain_route("/task/{id}", self.poll),
            self.create_route("/task/minimax/v1/video_generation", self.create_relayed),
            self.plain_route("/task/minimax/v1/files/retrieve", self.retrieve_relayed),
            self.create_route("/task/volces/seedance", self.create_seedance),
            self.create_route("/task/bailian/text2video", self.create_bailian),
        ]

    # The gateway

    def gateway(self, status: int, message: str, code: str, kind: str = "new_api_error") -> Response:
        """Build one of the relay's own error replies."""
        return reply({"error": {"message": message, "type": kind, "code": code}}, status)

    def reply_unrouted(self, request: Request, status: int) -> Response:
        """Answer an unknown path, a wrong method or too large a body."""
        words = f"Invalid URL ({request.method} {request.url.path})"
        return self.gateway(404 if status == 405 else status, words, "not_found", "invalid_request_error")

    def authenticate_relay(self, call: Call) -> str:
        """Return the account of the token, or refuse it as the relay does."""
        key = call.bearer()
        if not self.is_accepted(key):
            raise RefusedError(self.gateway(401, "Invalid token", "invalid_api_key"))
        return self.world.account(key)

    def unknown_id(self) -> Response:
        """Answer an unknown id (not documented; as the new-api gateway does)."""
        return self.gateway(404, "task_not_exist", "task_not_exist", "invalid_request_error")

    # Creates

    async def create_relayed(self, call: Call) -> tuple[Job, Response]:
        """``POST /task/minimax/v1/video_generation``."""
        self.authenticate_relay(call)
        return await self.create(call)

    async def retrieve_relayed(self, call: Call) -> Response:
        """``GET /task/minimax/v1/files/retrieve``."""
        self.authenticate_relay(call)
        return await self.retrieve(call)

    def refuse_relayed_create(self, directives: Directives) -> None:
        """Refuse a create as directives ask, with the relay's errors."""
        if "policy-now" in directives:
            raise RefusedError(
                self.gateway(400, "The request was rejected by content policy", "sensitive_words_detected")
            )
        if "no-credit" in directives:
            raise RefusedError(self.gateway(403, "Your quota is not enough", "insufficient_user_quota"))

    def video_body(self, call: Call) -> dict[str, Any]:
        """Return the body, a JSON object with a model; refuse any other."""
        body = call.json()
        if body is None:
            raise RefusedError(self.gateway(400, "The body is not a JSON object", "invalid_request"))
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise RefusedError(self.gateway(400, "model is required", "invalid_request"))
        return body

    async def create_seedance(self, call: Call) -> tuple[Job, Response]:
        """``POST /task/volces/seedance``: the prompt is in ``content[]`` or, in the short form, in ``prompt``."""
        account = self.authenticate_relay(call)
        body = self.video_body(call)
        if "seedance" not in body["model"]:
            raise RefusedError(self.gateway(404, f"The model {body['model'][:60]} does not exist", "model_not_found"))
        content = body.get("content")
        parts = [part.get("text") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        prompt = next((text for text in [*parts, body.get("prompt")] if isinstance(text, str) and text), "")
        if not prompt and not content:
            raise RefusedError(self.gateway(400, "content is required", "MissingParameter"))
        directives = self.world.directives_for(self.name, texts_in(body))
        self.refuse_relayed_create(directives)
        day = self.world.clock.utc(self.world.clock.now()).strftime("%Y%m%d%H%M%S")
        job = self.start(
            call,
            directives,
            id=f"cgt-{day}-{secrets.token_hex(3)[:5]}",
            account=account,
            pace=PACE,
            assets=[VIDEO],
            price=1.0,
            prompt=shorten(prompt or body["model"]),
            body=body,
            kind="seedance",
            words=("queued", "running"),
            verdict=self.verdict_seedance,
        )
        return job, reply({"id": job.id})

    async def create_bailian(self, call: Call) -> tuple[Job, Response]:
        """``POST /task/bailian/text2video``."""
        account = self.authenticate_relay(call)
        body = self.video_body(call)
        given = body.get("input")
        if not isinstance(given, dict) or not given.get("prompt"):
            raise RefusedError(
                reply({"code": "InvalidParameter", "message": "input.prompt is required", "request_id": _uuid()}, 400)
            )
        directives = self.world.directives_for(self.name, texts_in(body))
        self.refuse_relayed_create(directives)
        job = self.start(
            call,
            directives,
            id=_uuid(),
            account=account,
            pace=PACE,
            assets=[Asset("output.video_url", "video", "mp4")],
            price=1.0,
            prompt=shorten(str(given["prompt"])),
            body=body,
            kind="bailian",
            words=("PENDING", "RUNNING"),
            verdict=self.verdict_bailian,
        )
        return job, reply({"output": {"task_status": "PENDING", "task_id": job.id}, "request_id": _uuid()})

    def make_jimeng(self, prompt: str, account: str) -> Job:
        """Create a Jimeng task as Volcengine would: the relay documents its looks only."""
        directives = self.world.directives_for(self.name, [prompt])
        plan, seed = self.world.draw_plan(self.name, directives, JIMENG_PACE)
        shape = plan.shape if plan.shape in {"video_url", "image_urls"} else "image_urls"
        assets: tuple[Asset, ...] = (Asset("data.image_urls[0]", "image", "jpg", 1024, 1024),)
        if plan.base64:
            shape = "binary_data_base64"
            assets = (Asset("data.binary_data_base64[0]", "image", "jpg", 1024, 1024),)
        elif shape == "video_url":
            assets = (Asset("data.video_url", "video", "mp4"),)
        return self.world.add(
            Job(
                provider=self.name,
                endpoint="jimeng",
                id=volcengine_id(),
                account=account,
                created=self.world.clock.now(),
                plan=plan,
                verdict=self.verdict_jimeng(plan.ending, plan.code),
                assets=() if plan.no_output else assets,
                price=1.0,
                states_price=False,
                prompt=shorten(prompt or "jimeng"),
                seed=seed,
                body={"prompt": prompt},
                body_digest="",
                kind="jimeng",
                words=("in_queue", "generating"),
                extra={"shape": shape},
            )
        )

    # Endings

    def verdict_seedance(self, ending: str, code: str) -> Verdict:
        """Map an ending to Seedance's states."""
        return {
            "success": Verdict("succeeded", "succeeded"),
            "stuck": Verdict("running", "running"),
            "unknown": Verdict("unknown", "archived"),
            "cancelled": Verdict("cancelled", "cancelled"),
            "expired": Verdict("expired", "expired"),
            "policy": Verdict(
                "failed", "failed", "OutputVideoSensitiveContentDetected", "The output may contain sensitive content."
            ),
            "banned": Verdict(
                "failed", "failed", "OutputVideoSensitiveContentDetected", "The output may contain sensitive content."
            ),
        }.get(ending) or Verdict("failed", "failed", code or "InternalServiceError", "The service met an error.")

    def verdict_bailian(self, ending: str, code: str) -> Verdict:
        """Map an ending to Bailian's states."""
        return {
            "success": Verdict("succeeded", "SUCCEEDED"),
            "stuck": Verdict("running", "RUNNING"),
            "unknown": Verdict("unknown", "UNKNOWN"),
            "expired": Verdict("unknown", "UNKNOWN"),
            "cancelled": Verdict("cancelled", "CANCELED"),
            "policy": Verdict("failed", "FAILED", "DataInspectionFailed", "Output data may contain bad content."),
            "banned": Verdict("failed", "FAILED", "DataInspectionFailed", "Output data may contain bad content."),
        }.get(ending) or Verdict("failed", "FAILED", code or "InternalError", "Internal error, please retry later.")

    def verdict_jimeng(self, ending: str, code: str) -> Verdict:
        """Map an ending to Jimeng's states. It has no failed state: a failure is an error code, without data."""
        number = int(code) if code.isdecimal() and int(code) in JIMENG_CODES else 50500
        return {
            "success": Verdict("succeeded", "done"),
            "stuck": Verdict("running", "generating"),
            "unknown": Verdict("unknown", "archived"),
            "expired": Verdict("expired", "expired"),
            "cancelled": Verdict("expired", "not_found"),
            "policy": Verdict("failed", "error", "50511", JIMENG_CODES[50511]),
            "banned": Verdict("failed", "error", "50511", JIMENG_CODES[50511]),
        }.get(ending) or Verdict("failed", "error", str(number), JIMENG_CODES[number])

    # Looks

    async def poll(self, call: Call) -> Response:
        """``GET /task/{task_id}``."""
        account = self.authenticate_relay(call)
        job = self.world.find(self.name, call.request.path_params["id"], account)
        if job is None:
            return self.unknown_id()
        now = self.world.clock.now()
        if job.is_hidden(now):
            self.world.record_look(job, 404, "task_not_exist")
            return self.unknown_id()
        if job.kind == "minimax":
            return self.look(job)
        error = job.next_look_failure(now)
        if error == "server-error":
            return self.bad_gateway(job)
        if job.kind == "jimeng":
            return await self.show_jimeng(job, now, busy=error is not None)
        if error:
            self.world.record_look(job, 429, "429")
            return self.gateway(429, "The upstream is busy, please try again later", "rate_limit_exceeded")
        self.world.record_look(job, 200, str(job.word(now)))
        return reply(self.show_seedance(job, now) if job.kind == "seedance" else self.show_bailian(job, now))

    async def show_jimeng(self, job: Job, now: float, *, busy: bool) -> Response:
        """Show a Jimeng task: ``code`` 10000 with data, or another code without."""
        code = 50429 if busy else 10000
        if not busy and job.is_final(now) and job.verdict.word == "error":
            code = int(job.verdict.code or 50500)
        body: dict[str, Any] = {
            "code": code,
            "data": None,
            "message": JIMENG_CODES.get(code, "Success"),
            "status": code,
            "request_id": f"{self.world.clock.utc(now):%Y%m%d%H%M%S}{secrets.token_hex(9).upper()}",
            "time_elapsed": f"{secrets.randbelow(80_000_000) / 1e6 + 3:.6f}ms",
        }
        if code != 10000:
            status = 429 if code in {50429, 50430} else 500 if code in {50500, 50501} else 400
            self.world.record_look(job, status, str(code))
            return reply(body, status)
        word = str(job.word(now))
        data: dict[str, Any] = {
            "status": word,
            "resp_data": "",
            "video_url": "",
            "image_urls": None,
            "binary_data_base64": [],
        }
        if job.has_visible_results(now):
            links = self.vault.links(job, JIMENG_LIFE)
            for asset in job.assets:
                if job.extra["shape"] == "binary_data_base64":
                    text = base64.b64encode(await self.vault.content(job, asset)).decode()
                    data["binary_data_base64"].append(text)
                elif job.extra["shape"] == "video_url":
                    data["video_url"] = links(asset.name)
                else:
                    data["image_urls"] = [links(asset.name)]
        body["data"] = data
        self.world.record_look(job, 200, word)
        return reply(body)

    def show_seedance(self, job: Job, now: float) -> dict[str, Any]:
        """Show a Seedance task: a flat object, times in seconds."""
        clock = self.world.clock
        seen = min(now, job.created + job.plan.total)
        body: dict[str, Any] = {
            "id": job.id,
            "model": job.body["model"],
            "status": job.word(now),
            "created_at": int(clock.epoch(job.created)),
            "updated_at": int(clock.epoch(seen)),
        }
        if job.has_visible_results(now):
            body["content"] = {a.name.split(".")[1]: self.vault.links(job, VIDEO_LIFE)(a.name) for a in job.assets}
        if job.has_succeeded(now):
            body["usage"] = {"completion_tokens": 108_900, "total_tokens": 108_900}
        if job.is_final(now) and job.verdict.state == "failed":
            body["error"] = {"code": job.verdict.code, "message": job.verdict.message}
        return body

    def show_bailian(self, job: Job, now: float) -> dict[str, Any]:
        """Show a Bailian task: under ``output``, times local to China without a zone."""
        clock, phase = self.world.clock, job.moment(now).phase
        output: dict[str, Any] = {
            "task_id": job.id,
            "task_status": job.word(now),
            "submit_time": clock.china(job.created),
        }
        if phase != "queued":
            output["scheduled_time"] = clock.china(job.created + job.plan.queue)
        if phase == "final":
            output["end_time"] = clock.china(job.created + job.plan.total)
        body: dict[str, Any] = {"request_id": _uuid(), "output": output}
        if job.has_visible_results(now):
            for asset in job.assets:
                output["video_url"] = self.vault.links(job, VIDEO_LIFE)(asset.name)
        if job.has_succeeded(now):
            output["orig_prompt"] = str(job.body["input"]["prompt"])
            output["actual_prompt"] = f"{job.prompt}, in soft evening light, slow camera."
            body["usage"] = {"video_duration": 5, "video_count": 1, "video_ratio": "standard", "SR": 720}
        if phase == "final" and job.verdict.state == "failed":
            output.update(code=job.verdict.code, message=job.verdict.message)
        return body


def volcengine_id() -> str:
    """Return a new id as Volcengine's: nineteen digits."""
    return str(secrets.randbelow(9 * 10**18) + 10**18)


def _uuid() -> str:
    return str(uuid.uuid4())
