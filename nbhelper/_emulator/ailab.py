"""AILabTools, both generations: creates as multipart, results by ``task_id`` or, in the first, by ``job_id``.

Success is HTTP 200 and nothing else. The documentation knows no failed state; what was seen is kept here:
``task_status`` 3 (the official SDKs test for it), -1 (a reseller), and content errors as HTTP 422 on the poll.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator.ailab_endpoints import ENDPOINTS, ERRORS, INLINE, LEGACY, SHAPES, Endpoint
from nbhelper._emulator.api import Api, Call, RefusedError, cut, reply
from nbhelper._emulator.media import Asset
from nbhelper._emulator.plan import Pace, Wish
from nbhelper._emulator.vault import Links
from nbhelper._emulator.world import Job, Limit, Verdict

PACE = Pace((1, 6), (8, 38))
DAY = 86_400.0
#: The real limit is not published; this one is made up, for `limits=True` only.
LIMIT = Limit(5, 1.0)


#: The first generation's words as today's numbers; every other word is a failure.
_NUMBERS = {"QUEUING": 0, "PROCESSING": 1, "PROCESS_SUCCESS": 2}


def _envelope(code: str = "", message: str = "", status: int = 200) -> dict[str, Any]:
    """What every reply begins with, old fields and new."""
    words = ERRORS.get(code, (status, ""))[1]
    return {
        "request_id": str(uuid.uuid4()).upper(),
        "log_id": str(uuid.uuid4()).upper(),
        "error_code": 0 if status == 200 else status,
        "error_code_str": code,
        "error_msg": words if code else "",
        "error_detail": {
            "status_code": status,
            "code": code,
            "code_message": words,
            "message": message or words,
        },
    }


class Ailab(Api):
    """Both generations of AILabTools, which share creates, keys and errors."""

    name: ClassVar[str] = "ailab"
    legacy: ClassVar[str] = "ailab-legacy"

    def routes(self) -> list[Route]:
        """The paths the API answers."""
        return [
            self.answering("/api/common/query-async-task-result", self.poll),
            self.answering("/api/image/asyn-task-results", self.poll_legacy),
            self.answering("/api/common/query-credits", self.credits),
            self.creating("/api/{area:str}/{group:str}/{effect:str}", self.create),
        ]

    def stray(self, request: Request, status: int) -> Response:  # noqa: ARG002 - the same for every path
        """An unknown path or method."""
        return self.error("ERROR_FILE_TOO_LARGE" if status == 413 else "ERROR_AI_NOT_EXISTS")

    def provider_of(self, request: Request) -> str:
        """The generation a refused create belongs to."""
        return self.legacy if request.url.path in LEGACY else self.name

    def error(self, code: str, message: str = "") -> Response:
        """An error under its documented status."""
        status = ERRORS.get(code, (422, ""))[0]
        return reply(_envelope(code, message, status), status)

    def signed_in(self, call: Call) -> str:
        """The account of the call's key."""
        key = call.header("ailabapi-api-key")
        if not self.accepted(key):
            raise RefusedError(self.error("ERROR_USER_NOT_EXISTS"))
        return self.world.account(key)

    # Creates

    async def checked(self, call: Call) -> tuple[Endpoint, dict[str, str]]:
        """The endpoint and the form's text fields, valid."""
        endpoint = ENDPOINTS.get(call.path)
        if endpoint is None:
            raise RefusedError(self.error("ERROR_AI_NOT_EXISTS"))
        fields = await call.form()
        if fields is None:
            raise RefusedError(self.error("MISSING_PARAMETERS", "The body must be multipart/form-data"))
        for need in endpoint.needs:
            if not fields.get(need) and not call.files.get(need):
                raise RefusedError(self.error("MISSING_PARAMETERS", f"{need} is required"))
        # The real endpoints also answer at once without it; only the asynchronous side is emulated.
        if fields.get("task_type", "async") != "async":
            raise RefusedError(self.error("ERROR_INVALID_PARAMETER", "task_type must be async"))
        return endpoint, fields

    def admit(self, wish: Wish, account: str) -> None:
        """Refuse where limits or directives say so."""
        if self.world.over(LIMIT, self.name, account):
            raise RefusedError(self.error("EXCEEDING_LIMITS"))
        if "policy-now" in wish:
            raise RefusedError(self.error("FILE_CONTENT_NON_COMPLIANCE"))
        if "no-credit" in wish:
            raise RefusedError(self.error("ERROR_NOT_ENOUGH_CREDITS"))

    async def create(self, call: Call) -> tuple[Job, Response]:
        """``POST /api/…`` of an effect."""
        account = self.signed_in(call)
        endpoint, fields = await self.checked(call)
        provider = self.provider_of(call.request)
        wish = self.world.wish(provider, fields.values())
        self.admit(wish, account)
        shape = wish.text("shape")
        nested = shape == "nested"
        if "base64" in wish:
            shape = "binary_data_base64"
        if shape not in SHAPES:
            shape = endpoint.shape
        envelope = _envelope()
        old = provider == self.legacy
        count = int(size) if (size := fields.get("image_size", "1")) in {"1", "2", "3", "4"} else 1
        job = self.start(
            call,
            wish,
            # The first generation has no task id: its tasks go by the create call's request_id.
            id=envelope["request_id"] if old else self.new_id(),
            account=account,
            pace=PACE,
            assets=self.assets(shape, count, call.path if old else ""),
            price=endpoint.credits,
            prompt=cut(self.title(call.path, fields)),
            body=fields,
            kind=LEGACY[call.path] if old else shape,
            provider=provider,
            words=("QUEUING", "PROCESSING") if old else ("0", "1"),
            verdict=self.verdict_legacy if old else self.verdict,
            extra={"shape": shape, "nested": nested},
        )
        job.request_id = envelope["request_id"]
        if old and wish.text("shape") != "v1":
            # Later versions of these two pages answer with a task id as well; both generations then know the task.
            job.also = self.new_id()
            self.world.alias(job, self.name, job.also)
        if not old or job.also:
            envelope.update(task_type="async", task_id=job.also or job.id)
        return job, reply(envelope)

    def new_id(self) -> str:
        """Milliseconds, a dot and a UUID."""
        return f"{int(self.world.clock.epoch(self.world.clock.now()) * 1000)}.{uuid.uuid4()}"

    def title(self, path: str, fields: Mapping[str, str]) -> str:
        """What to write on the picture: the effect, and the style asked for."""
        style = next((v for k in ("hair_style", "style", "expression", "mode", "index") if (v := fields.get(k))), "")
        return f"{path.rpartition('/')[2].replace('-', ' ')} {style}"

    def assets(self, shape: str, count: int, legacy_path: str) -> list[Asset]:
        """What the task will return."""
        if legacy_path:
            key = "image_list[0]" if LEGACY[legacy_path] == "HD_COLOUR_MIGRATION" else "result_url"
            return [Asset(f"data.{key}", "image", "jpg")]
        if shape == "video":
            return [Asset("data.video", "video", "mp4")]
        if shape in {"images", "image_list", "result_urls", "binary_data_base64"}:
            return [Asset(f"data.{shape}[{i}]", "image", "jpg") for i in range(count)]
        top = {"output.image_url": "output.image_url", "top.result_url": "result_url"}
        return [Asset(top.get(shape, f"data.{shape}"), "image", "jpg")]

    def verdict(self, ending: str, code: str) -> Verdict:
        """How a task of today's generation ends; a code of letters comes as an HTTP error."""
        if ending == "fail" and code in {"-1", "3", ""}:
            return Verdict("failed", code or "3", "PROCESSING_FAILURE", "Processing failed.")
        return {
            "success": Verdict("succeeded", "2"),
            "stuck": Verdict("running", "1"),
            "unknown": Verdict("unknown", "7"),
            "policy": Verdict("failed", "error", "FILE_CONTENT_NON_COMPLIANCE"),
            "banned": Verdict("failed", "error", "FILE_CONTENT_NON_COMPLIANCE"),
            "cancelled": Verdict("cancelled", "error", "ERROR_TASK_REVOKED"),
            "expired": Verdict("expired", "error", "ERROR_RESOURCE_RECLAIMED"),
            "timeout": Verdict("failed", "3", "AI_SERVICE_TIMEOUT"),
            "retries": Verdict("failed", "3", "PROCESSING_FAILURE"),
        }.get(ending) or Verdict("failed", "error", code.upper())

    def verdict_legacy(self, ending: str, code: str) -> Verdict:
        """How a task of the first generation ends."""
        if ending == "fail" and code and not code.lstrip("-").isdecimal():
            return Verdict("failed", "error", code.upper())
        return {
            "success": Verdict("succeeded", "PROCESS_SUCCESS"),
            "stuck": Verdict("running", "PROCESSING"),
            "unknown": Verdict("unknown", "PROCESS_ARCHIVED"),
            "policy": Verdict("failed", "error", "FILE_CONTENT_NON_COMPLIANCE"),
            "banned": Verdict("failed", "error", "FILE_CONTENT_NON_COMPLIANCE"),
            "expired": Verdict("expired", "error", "ERROR_RESOURCE_RECLAIMED"),
            "cancelled": Verdict("cancelled", "error", "ERROR_TASK_REVOKED"),
            "timeout": Verdict("failed", "TIMEOUT_FAILED", "TIMEOUT_FAILED"),
            "retries": Verdict("failed", "LIMIT_RETRY_FAILED", "LIMIT_RETRY_FAILED"),
        }.get(ending) or Verdict("failed", "PROCESS_FAILED", "PROCESS_FAILED")

    # Looks

    def hindered(self, job: Job, now: float) -> Response | None:
        """The reply when something stands in the way of a look."""
        trouble = job.trouble(now)
        if trouble == "server-error":
            return self.bad_gateway(job)
        if trouble:
            code = {"late": "ERROR_RESOURCE_NOT_FOUND", "rate-limit": "EXCEEDING_LIMITS"}[trouble]
            response = self.error(code)
            self.world.look(job, response.status_code, code)
            return response
        if job.final(now) and job.verdict.word == "error":
            response = self.error(job.verdict.code or "")
            self.world.look(job, response.status_code, job.verdict.code or "")
            return response
        return None

    async def poll(self, call: Call) -> Response:
        """``GET /api/common/query-async-task-result?task_id=``."""
        account = self.signed_in(call)
        task_id = call.query("task_id")
        if not task_id:
            return self.error("MISSING_PARAMETERS", "task_id is required")
        job = self.world.find(self.name, task_id, account)
        if job is None:
            return self.error("ERROR_RESOURCE_NOT_FOUND")
        now = self.world.clock.now()
        if (no := self.hindered(job, now)) is not None:
            return no
        old = job.also is not None
        word = str(job.word(now))
        status = _NUMBERS.get(word, 3) if old else int(word)
        self.world.look(job, 200, str(status))
        body = _envelope()
        if job.final(now) and job.verdict.state == "failed":
            # Under HTTP 200 the official SDK takes `error_code` for an error, so only the detail tells why.
            code = job.verdict.code or ""
            words = ERRORS[code][1] if code in ERRORS else "Processing failed."
            body["error_detail"].update(code=code, code_message=words, message=words)
        if old:
            data = self.results_legacy(job, self.vault.links(job, DAY)) if job.named(now) else {}
            return reply({**body, "task_status": status, **({"data": data} if data else {})})
        if not job.extra["nested"]:
            body["task_status"] = status
        data = {"task_status": status} if job.extra["nested"] else {}
        if job.named(now):
            await self.results(job, body, data)
        if data or status == 2:
            body["data"] = data
        elif job.extra["shape"] == "top.result_url":
            body.setdefault("result_url", "")
        return reply(body)

    async def results(self, job: Job, body: dict[str, Any], data: dict[str, Any]) -> None:
        """Put the results where this endpoint puts them."""
        shape = job.extra["shape"]
        if shape in INLINE:
            # "Not stored": only the first reply that is final holds them.
            if job.delivered:
                return
            job.delivered = True
            texts = [base64.b64encode(await self.vault.content(job, asset)).decode() for asset in job.assets]
            data[shape] = texts[0] if shape == "video" else texts
            return
        links = self.vault.links(job, DAY)
        urls = [links(asset.name) for asset in job.assets]
        if shape == "output.image_url":
            body["output"], body["usage"] = {"image_url": urls[0]}, {"image_count": 1}
        elif shape == "top.result_url":
            body["result_url"] = urls[0]
        else:
            data[shape] = urls if shape in {"images", "image_list", "result_urls"} else urls[0]

    async def poll_legacy(self, call: Call) -> Response:
        """``GET /api/image/asyn-task-results?job_id=&type=``."""
        account = self.signed_in(call)
        job_id, kind = call.query("job_id"), call.query("type")
        if not job_id or not kind:
            return self.error("MISSING_PARAMETERS", f"{'type' if job_id else 'job_id'} is required")
        if kind not in LEGACY.values():
            return self.error("ERROR_INVALID_PARAMETER", "type is not one of the asynchronous task types")
        job = self.world.find(self.legacy, job_id, account)
        if job is None or job.kind != kind:
            return self.error("ERROR_RESOURCE_NOT_FOUND")
        now = self.world.clock.now()
        if (no := self.hindered(job, now)) is not None:
            return no
        word = job.word(now)
        self.world.look(job, 200, word)
        data: dict[str, Any] = {"status": word}
        if job.named(now):
            data.update(self.results_legacy(job, self.vault.links(job, DAY)))
        return reply({**_envelope(), "data": data})

    def results_legacy(self, job: Job, links: Links) -> dict[str, Any]:
        """The two result keys of the first generation."""
        urls = [links(asset.name) for asset in job.assets]
        return {"image_list": urls} if job.kind == "HD_COLOUR_MIGRATION" else {"result_url": urls[0] if urls else ""}

    async def credits(self, call: Call) -> Response:
        """``GET /api/common/query-credits``: one balance per API family."""
        account, now = self.signed_in(call), self.world.clock.now()
        jobs = self.world.of_account(account, self.name, self.legacy)
        first = int(self.world.clock.epoch(0))
        data = []
        for area, title in (("image", "AI Image"), ("portrait", "AI Portrait")):
            spent = sum(job.billed(now) or 0.0 for job in jobs if job.endpoint.startswith(f"/api/{area}/"))
            data.append(
                {
                    "unique_sign": f"ai_{area}",
                    "name": title,
                    "balance": 100_000 - spent,
                    "total": 100_000,
                    "last_recharge_balance": 100_000,
                    "balance_warning": 0,
                    "first_buy_time": first,
                    "last_update_time": int(self.world.clock.epoch(now)),
                }
            )
        return reply({**_envelope(), "data": data})
