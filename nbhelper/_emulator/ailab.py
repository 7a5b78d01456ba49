"""AILabTools, both generations: creates are multipart forms, looks go by ``task_id``, in the first by ``job_id``.

Every success has HTTP status 200. The documentation has no failed state; those observed are emulated:
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
from nbhelper._emulator.api import Api, Call, RefusedError, reply, shorten
from nbhelper._emulator.media import Asset
from nbhelper._emulator.plan import Directives, Pace
from nbhelper._emulator.vault import Links
from nbhelper._emulator.world import Job, Limit, Verdict

PACE = Pace((1, 6), (8, 38))
DAY = 86_400.0
#: The real limit is not published; an assumption, used with `limits=True` only.
LIMIT = Limit(5, 1.0)


#: State words of the first generation -> `task_status` of the second; any other word is a failure, 3.
_NUMBERS = {"QUEUING": 0, "PROCESSING": 1, "PROCESS_SUCCESS": 2}


def _envelope(code: str = "", message: str = "", status: int = 200) -> dict[str, Any]:
    """Return the fields that every reply has, of both generations."""
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
        """Return the routes of the API."""
        return [
            self.plain_route("/api/common/query-async-task-result", self.poll),
            self.plain_route("/api/image/asyn-task-results", self.poll_legacy),
            self.plain_route("/api/common/query-credits", self.credits),
            self.create_route("/api/{area:str}/{group:str}/{effect:str}", self.create),
        ]

    def reply_unrouted(self, request: Request, status: int) -> Response:  # noqa: ARG002 - the same for every path
        """Answer an unknown path, a wrong method or too large a body."""
        return self.error("ERROR_FILE_TOO_LARGE" if status == 413 else "ERROR_AI_NOT_EXISTS")

    def provider_of(self, request: Request) -> str:
        """Return the generation of a refused create by its path."""
        return self.legacy if request.url.path in LEGACY else self.name

    def error(self, code: str, message: str = "") -> Response:
        """Build an error reply with its documented HTTP status."""
        status = ERRORS.get(code, (422, ""))[0]
        return reply(_envelope(code, message, status), status)

    def authenticate(self, call: Call) -> str:
        """Return the account of the key, or refuse the key."""
        key = call.header("ailabapi-api-key")
        if not self.is_accepted(key):
            raise RefusedError(self.error("ERROR_USER_NOT_EXISTS"))
        return self.world.account(key)

    # Creates

    async def read_create(self, call: Call) -> tuple[Endpoint, dict[str, str]]:
        """Return endpoint and text fields of a valid create; refuse any other."""
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

    def refuse_create(self, directives: Directives, account: str) -> None:
        """Refuse a create over the rate limit, or as directives ask."""
        if self.world.count_call(LIMIT, self.name, account):
            raise RefusedError(self.error("EXCEEDING_LIMITS"))
        if "policy-now" in directives:
            raise RefusedError(self.error("FILE_CONTENT_NON_COMPLIANCE"))
        if "no-credit" in directives:
            raise RefusedError(self.error("ERROR_NOT_ENOUGH_CREDITS"))

    async def create(self, call: Call) -> tuple[Job, Response]:
        """``POST /api/{area}/{group}/{effect}``."""
        account = self.authenticate(call)
        endpoint, fields = await self.read_create(call)
        provider = self.provider_of(call.request)
        directives = self.world.directives_for(provider, fields.values())
        self.refuse_create(directives, account)
        shape = directives.text("shape")
        nested = shape == "nested"
        if "base64" in directives:
            shape = "binary_data_base64"
        if shape not in SHAPES:
            shape = endpoint.shape
        envelope = _envelope()
        old = provider == self.legacy
        count = int(size) if (size := fields.get("image_size", "1")) in {"1", "2", "3", "4"} else 1
        job = self.start(
            call,
            directives,
            # The first generation has no task id: the job id is the request_id of the create reply.
            id=envelope["request_id"] if old else self.new_id(),
            account=account,
            pace=PACE,
            assets=self.assets(shape, count, call.path if old else ""),
            price=endpoint.credits,
            prompt=shorten(self.title(call.path, fields)),
            body=fields,
            kind=LEGACY[call.path] if old else shape,
            provider=provider,
            words=("QUEUING", "PROCESSING") if old else ("0", "1"),
            verdict=self.verdict_legacy if old else self.verdict,
            extra={"shape": shape, "nested": nested},
        )
        job.request_id = envelope["request_id"]
        if old and directives.text("shape") != "v1":
            # Later versions of these two endpoints return a task id too, and both generations then find the task.
            job.also = self.new_id()
            self.world.add_alias(job, self.name, job.also)
        if not old or job.also:
            envelope.update(task_type="async", task_id=job.also or job.id)
        return job, reply(envelope)

    def new_id(self) -> str:
        """Return a new task id: Unix time in milliseconds, a dot and a UUID."""
        return f"{int(self.world.clock.epoch(self.world.clock.now()) * 1000)}.{uuid.uuid4()}"

    def title(self, path: str, fields: Mapping[str, str]) -> str:
        """Return the caption of the picture: the effect, and the style of the request."""
        style = next((v for k in ("hair_style", "style", "expression", "mode", "index") if (v := fields.get(k))), "")
        return f"{path.rpartition('/')[2].replace('-', ' ')} {style}"

    def assets(self, shape: str, count: int, legacy_path: str) -> list[Asset]:
        """Return the results of the task."""
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
        """Map an ending to a state of the second generation; a code of letters becomes an HTTP error."""
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
        """Map an ending to a state of the first generation."""
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

    def failed_look(self, job: Job, now: float) -> Response | None:
        """Return the reply of a look that fails, by directives or because the task failed with an HTTP error."""
        error = job.next_look_failure(now)
        if error == "server-error":
            return self.bad_gateway(job)
        if error:
            code = {"late": "ERROR_RESOURCE_NOT_FOUND", "rate-limit": "EXCEEDING_LIMITS"}[error]
            response = self.error(code)
            self.world.record_look(job, response.status_code, code)
            return response
        if job.is_final(now) and job.verdict.word == "error":
            response = self.error(job.verdict.code or "")
            self.world.record_look(job, response.status_code, job.verdict.code or "")
            return response
        return None

    async def poll(self, call: Call) -> Response:
        """``GET /api/common/query-async-task-result?task_id=``."""
        account = self.authenticate(call)
        task_id = call.query("task_id")
        if not task_id:
            return self.error("MISSING_PARAMETERS", "task_id is required")
        job = self.world.find(self.name, task_id, account)
        if job is None:
            return self.error("ERROR_RESOURCE_NOT_FOUND")
        now = self.world.clock.now()
        if (no := self.failed_look(job, now)) is not None:
            return no
        old = job.also is not None
        word = str(job.word(now))
        status = _NUMBERS.get(word, 3) if old else int(word)
        self.world.record_look(job, 200, str(status))
        body = _envelope()
        if job.is_final(now) and job.verdict.state == "failed":
            # The official SDK raises on a non-zero `error_code` under HTTP 200: the reason is in `error_detail` only.
            code = job.verdict.code or ""
            words = ERRORS[code][1] if code in ERRORS else "Processing failed."
            body["error_detail"].update(code=code, code_message=words, message=words)
        if old:
            data = self.results_legacy(job, self.vault.links(job, DAY)) if job.has_visible_results(now) else {}
            return reply({**body, "task_status": status, **({"data": data} if data else {})})
        if not job.extra["nested"]:
            body["task_status"] = status
        data = {"task_status": status} if job.extra["nested"] else {}
        if job.has_visible_results(now):
            await self.results(job, body, data)
        if data or status == 2:
            body["data"] = data
        elif job.extra["shape"] == "top.result_url":
            body.setdefault("result_url", "")
        return reply(body)

    async def results(self, job: Job, body: dict[str, Any], data: dict[str, Any]) -> None:
        """Insert the results at the keys of this endpoint's shape."""
        shape = job.extra["shape"]
        if shape in INLINE:
            # The documentation says "not stored": only the first final reply contains them.
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
        account = self.authenticate(call)
        job_id, kind = call.query("job_id"), call.query("type")
        if not job_id or not kind:
            return self.error("MISSING_PARAMETERS", f"{'type' if job_id else 'job_id'} is required")
        if kind not in LEGACY.values():
            return self.error("ERROR_INVALID_PARAMETER", "type is not one of the asynchronous task types")
        job = self.world.find(self.legacy, job_id, account)
        if job is None or job.kind != kind:
            return self.error("ERROR_RESOURCE_NOT_FOUND")
        now = self.world.clock.now()
        if (no := self.failed_look(job, now)) is not None:
            return no
        word = job.word(now)
        self.world.record_look(job, 200, word)
        data: dict[str, Any] = {"status": word}
        if job.has_visible_results(now):
            data.update(self.results_legacy(job, self.vault.links(job, DAY)))
        return reply({**_envelope(), "data": data})

    def results_legacy(self, job: Job, links: Links) -> dict[str, Any]:
        """Return the result under the key that the job's type has in the first generation."""
        urls = [links(asset.name) for asset in job.assets]
        return {"image_list": urls} if job.kind == "HD_COLOUR_MIGRATION" else {"result_url": urls[0] if urls else ""}

    async def credits(self, call: Call) -> Response:
        """``GET /api/common/query-credits``: one balance per area."""
        account, now = self.authenticate(call), self.world.clock.now()
        jobs = self.world.jobs_of(account, self.name, self.legacy)
        first = int(self.world.clock.epoch(0))
        data = []
        for area, title in (("image", "AI Image"), ("portrait", "AI Portrait")):
            spent = sum(job.credits_taken(now) or 0.0 for job in jobs if job.endpoint.startswith(f"/api/{area}/"))
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
