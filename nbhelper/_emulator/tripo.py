"""Tripo3D v2: ``/v2/openapi``.

Replies follow docs.tripo3d.ai and the fields that the official client tripo3d 0.4.2 requires in every reply to a look:
``input``, ``output`` (an empty object while running), ``progress``, ``create_time`` and ``type``. Every look gets newly
signed links.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator import tripo_common as common
from nbhelper._emulator.api import Api, Call, RefusedError, reply, shorten, texts_in
from nbhelper._emulator.plan import Directives
from nbhelper._emulator.world import Job, Limit, Verdict

ROOT = "/v2/openapi"
LINK_LIFE = 300.0  # "by default expires after five minutes"
BALANCE = 100_000.0  # enough for thousands of tasks


class Tripo(Api):
    """Tripo3D v2."""

    name: ClassVar[str] = "tripo"
    keys: ClassVar[str] = "tsk_emu-"
    family: ClassVar[tuple[str, ...]] = ("tripo", "tripo-v3")

    def routes(self) -> list[Route]:
        """Return the routes of the API."""
        return [
            self.plain_route(f"{ROOT}/task/{{id}}", self.poll),
            self.plain_route(f"{ROOT}/task/batch", self.batch, "POST"),
            self.create_route(f"{ROOT}/task", self.create),
            self.plain_route(f"{ROOT}/upload", self.upload, "POST"),
            self.plain_route(f"{ROOT}/upload/sts", self.upload, "POST"),
            self.plain_route(f"{ROOT}/upload/sts/token", self.token, "POST"),
            self.plain_route(f"{ROOT}/user/balance", self.balance),
        ]

    def reply_unrouted(self, request: Request, status: int) -> Response:  # noqa: ARG002 - the same for every path
        """Answer an unknown path, a wrong method or too large a body with a code of Tripo's."""
        return self.error({404: 9404, 405: 9404, 413: 1003}.get(status, 1000))

    # Replies

    def trace(self) -> dict[str, str]:
        """Return the trace header that every reply has."""
        return {"X-Tripo-Trace-ID": str(uuid.uuid4())}

    def error(self, code: int, *, retry_after: float = 0.0, message: str = "") -> Response:
        """Build an error reply with its documented status and message."""
        status, text, suggestion = common.ERRORS[code]
        headers = self.trace()
        if retry_after:
            headers["Retry-After"] = str(max(1, round(retry_after)))
        return reply({"code": code, "message": message or text, "suggestion": suggestion}, status, headers)

    def data(self, data: Any) -> Response:
        """Build a reply with code 0."""
        return reply({"code": 0, "data": data}, headers=self.trace())

    # Keys

    def authenticate(self, call: Call) -> str:
        """Return the account of the key, or refuse the key."""
        key = call.bearer()
        if not self.is_accepted(key):
            raise RefusedError(self.error(1002))
        return self.world.account(key)

    # Creates

    def read_create(self, call: Call, account: str) -> dict[str, Any]:
        """Return the body of a valid create; refuse any other."""
        body = call.json()
        if body is None:
            raise RefusedError(self.error(1003))
        name = body.get("type")
        if not isinstance(name, str) or not name:
            raise RefusedError(self.error(1004))
        if name not in common.KINDS or name in {"image_to_splat", "image_to_depth", "mesh_uv"}:
            raise RefusedError(self.error(2002))
        self.check(name, body, account)
        return body

    def check(self, name: str, body: dict[str, Any], account: str) -> None:
        """Refuse invalid parameters, by the rules of both generations."""
        if (lack := common.missing_parameter(common.KINDS[name], body)) is not None:
            code = 2003 if "file" in lack else 1004
            raise RefusedError(self.error(code))
        prompt = body.get("prompt")
        if prompt is not None and (not isinstance(prompt, str) or len(prompt) > 1024):
            raise RefusedError(self.error(1004))
        version = body.get("model_version") or body.get("model")
        if version is not None and name.endswith("_to_model"):
            if version in common.RETIRED_VERSIONS:
                raise RefusedError(self.error(2015))
            if version not in common.VERSIONS:
                raise RefusedError(self.error(1004))
        if name == "convert_model" and str(body.get("format")).upper() not in common.FORMATS:
            known = ", ".join(common.FORMATS)
            raise RefusedError(self.error(1004, message=f"The emulator converts to {known} only"))
        for key in ("original_model_task_id", "draft_model_task_id"):
            if isinstance(parent := body.get(key), str):
                self.check_parent(parent, account)

    def check_parent(self, task_id: str, account: str) -> None:
        """Refuse a create whose original task is unknown or has not succeeded."""
        original = next((j for p in self.family if (j := self.world.find(p, task_id, account))), None)
        if original is None:
            raise RefusedError(self.error(2001))
        if not original.has_succeeded(self.world.clock.now()):
            raise RefusedError(self.error(2007))

    def refuse_create(self, name: str, body: dict[str, Any], account: str) -> Directives:
        """Return the directives of a create; refuse it where they or the limits demand."""
        directives = self.world.directives_for(self.name, texts_in(body))
        kind = common.KINDS[name]
        if "policy-now" in directives:
            raise RefusedError(self.error(2008))
        if "no-credit" in directives or self.balances(account)[0] < common.price(name, body):
            raise RefusedError(self.error(2010))
        version = str(body.get("model_version") or body.get("model") or "")
        group, limit = ("p1", 5) if version.startswith("P1") else (kind.group, kind.limit)
        if self.world.has_unfinished(limit, "tripo", account, group):
            raise RefusedError(self.error(2000, retry_after=10))
        return directives

    def verdict(self, ending: str, code: str) -> Verdict:
        """How a task ends, in v2's eight words."""
        number = code if code.isdecimal() else "1001"
        return {
            "success": Verdict("succeeded", "success"),
            "policy": Verdict("failed", "banned", "banned"),
            "banned": Verdict("failed", "banned", "banned"),
            "cancelled": Verdict("cancelled", "cancelled"),
            "expired": Verdict("expired", "expired"),
            "unknown": Verdict("unknown", "unknown"),
            "stuck": Verdict("running", "running"),
        }.get(ending, Verdict("failed", "failed", number, "Generation failed"))

    def begin(self, call: Call, name: str, body: dict[str, Any], account: str, *, v3: bool) -> Job:
        """Make the task."""
        directives = self.refuse_create(name, body, account)
        kind = common.KINDS[name]
        prompt = next((t for key in ("prompt", "text_prompt") if isinstance(t := body.get(key), str)), "")
        prompt = prompt or name.replace("_", " ")
        job = self.start(
            call,
            directives,
            id=str(uuid.uuid4()),
            account=account,
            pace=kind.pace,
            assets=common.assets(name, body, directives.text("shape"), v3=v3),
            price=common.price(name, body),
            prompt=shorten(prompt),
            body={k: v for k, v in body.items() if k != "type"},
            kind=name,
            states_price=True,
            verdict=self.verdict,
            extra={"rig": kind.result == "rig" or directives.text("shape") == "riggable"},
        )
        version = str(body.get("model_version") or body.get("model") or "")
        self.world.add_unfinished(job, "tripo", account, "p1" if version.startswith("P1") else kind.group)
        return job

    async def create(self, call: Call) -> tuple[Job, Response]:
        """``POST /task``."""
        account = self.authenticate(call)
        body = self.read_create(call, account)
        job = self.begin(call, body["type"], body, account, v3=False)
        return job, self.data({"task_id": job.id})

    # Looks

    def failed_look(self, job: Job) -> Response | None:
        """Return the reply of a look that directives let fail, or None."""
        error = job.next_look_failure(self.world.clock.now())
        if error == "late":
            self.world.record_look(job, 404, "2001")
            return self.error(2001)
        if error == "rate-limit":
            self.world.record_look(job, 429, "1007")
            return self.error(1007, retry_after=1)
        return self.bad_gateway(job) if error else None

    async def poll(self, call: Call) -> Response:
        """``GET /task/{id}``."""
        account = self.authenticate(call)
        job = self.world.find(self.name, call.request.path_params["id"], account)
        if job is None:
            return self.error(2001)
        if (no := self.failed_look(job)) is not None:
            return no
        self.world.record_look(job, 200, str(job.word(self.world.clock.now())))
        return self.data(self.detail(job))

    async def batch(self, call: Call) -> Response:
        """``POST /task/batch``: up to 100 ids; unknown ones are listed in ``missed``."""
        account = self.authenticate(call)
        body = call.json()
        if body is None:
            return self.error(1003)
        ids = body.get("task_ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= 100 or not all(isinstance(i, str) for i in ids):
            return self.error(1004)
        now = self.world.clock.now()
        tasks, missed = {}, []
        for task_id in ids:
            job = self.world.find(self.name, task_id, account)
            if job is None or job.is_hidden(now):
                missed.append(task_id)
                continue
            tasks[task_id] = self.detail(job)
            self.world.record_look(job, 200, str(job.word(now)), batch=True)
        return self.data({"tasks": tasks, "missed": missed})

    def output(self, job: Job, now: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return ``output``, and ``result`` with the same links and their file types."""
        output: dict[str, Any] = {}
        result: dict[str, Any] = {}
        if not job.has_visible_results(now):
            return output, result
        if job.extra["rig"]:
            output.update(riggable=True, rig_type="biped")
        links = self.vault.links(job, LINK_LIFE, fresh=True)
        for asset in job.assets:
            *path, key = asset.name.removeprefix("output.").split(".")
            into = output
            for step in path:
                into = into.setdefault(step, {})
            into[key] = links(asset.name)
            if not path:
                result[key] = {"type": asset.form, "url": into[key]}
        return output, result

    def detail(self, job: Job) -> dict[str, Any]:
        """Show a task as v2 does."""
        now = self.world.clock.now()
        moment, final = job.moment(now), job.is_final(now)
        good = not final or job.verdict.state == "succeeded"
        output, result = self.output(job, now)
        data: dict[str, Any] = {
            "task_id": job.id,
            "type": job.kind,
            "status": job.word(now),
            "input": dict(job.body),
            "output": output,
            # As in the docs: a failed task may have any progress, also 100.
            "progress": moment.progress if good else (100 if job.verdict.word == "failed" else 42),
            "create_time": int(self.world.clock.epoch(job.created)),
            "prompt": job.body.get("prompt", ""),
            "queuing_num": moment.position if moment.phase == "queued" else -1,
            "running_left_time": -1 if final else moment.left,
            "result": result,
        }
        if final:
            data["consumed_credit"] = int(job.credits_taken(now) or 0)
        if final and job.verdict.word == "failed":
            data["error_code"], data["error_msg"] = int(job.verdict.code or 1001), job.verdict.message
        if (first := next((v["url"] for k, v in result.items() if k.startswith("rendered_image")), None)) is not None:
            data["thumbnail"] = first
        return data

    # Balance and uploads

    def balances(self, account: str) -> tuple[float, float]:
        """Return free credits, and credits reserved for unfinished tasks."""
        now = self.world.clock.now()
        jobs = self.world.jobs_of(account, *self.family)
        frozen = sum(job.price for job in jobs if not job.is_final(now))
        return BALANCE - frozen - sum(job.credits_taken(now) or 0.0 for job in jobs), frozen

    async def balance(self, call: Call) -> Response:
        """``GET /user/balance``."""
        free, frozen = self.balances(self.authenticate(call))
        return self.data({"balance": free, "frozen": frozen})

    async def upload(self, call: Call) -> Response:
        """``POST /upload``: one file as the multipart field ``file``."""
        account = self.authenticate(call)
        wait = self.world.count_call(Limit(10, 1.0), "tripo-upload", account)
        if wait:
            return self.error(1007, retry_after=wait)
        if await call.form() is None:
            return self.error(1003)
        if not call.files.get("file"):
            return self.error(2003)
        return self.data({"image_token": str(uuid.uuid4())})

    async def token(self, call: Call) -> Response:
        """``POST /upload/sts/token``: credentials for a direct upload; the emulator has no store to take it."""
        self.authenticate(call)
        return self.data(
            {
                "s3_host": self.world.root.removeprefix("http://"),
                "resource_bucket": "emulator",
                "resource_uri": f"upload/{uuid.uuid4()}",
                "session_token": "emulated",
                "sts_ak": "emulated",
                "sts_sk": "emulated",
            }
        )
