"""Tripo3D v3: ``/v3``, one POST path per capability.

Read from the official client tripo3d 1.0.0 and the published migration guide: five states, ISO times,
``credits_consumed`` as a decimal, results named ``*_url``; banned is failed with 2008, expired failed with 2018.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator.api import Call, RefusedError, reply
from nbhelper._emulator.tripo import LINK_LIFE, Tripo
from nbhelper._emulator.tripo_common import ERRORS
from nbhelper._emulator.world import Job, Verdict

ROOT = "/v3"

#: path -> task type; the paths of the client 1.0.0.
CAPABILITIES: Mapping[str, str] = {
    "/generation/text-to-model": "text_to_model",
    "/generation/image-to-model": "image_to_model",
    "/generation/multiview-to-model": "multiview_to_model",
    "/generation/text-to-image": "text_to_image",
    "/generation/image-to-image": "generate_image",
    "/generation/image-to-multiview": "generate_multiview_image",
    "/generation/edit-multiview": "edit_multiview_image",
    "/generation/image-to-splat": "image_to_splat",
    "/generation/image-to-depth": "image_to_depth",
    "/models/texture": "texture_model",
    "/models/convert": "convert_model",
    "/models/import": "import_model",
    "/animations/rig-check": "animate_prerigcheck",
    "/animations/rig": "animate_rig",
    "/animations/retarget": "animate_retarget",
    "/mesh/segment": "mesh_segmentation",
    "/mesh/complete": "mesh_completion",
    "/mesh/decimate": "highpoly_to_lowpoly",
    "/mesh/uv": "mesh_uv",
}


class TripoV3(Tripo):
    """Tripo3D v3."""

    name: ClassVar[str] = "tripo-v3"

    def routes(self) -> list[Route]:
        """Return the routes of the API."""
        return [
            self.plain_route(f"{ROOT}/tasks/{{id}}", self.poll),
            self.plain_route(f"{ROOT}/tasks/list", self.batch, "POST"),
            *(self.create_route(f"{ROOT}{path}", self.create) for path in CAPABILITIES),
            self.plain_route(f"{ROOT}/account/balance", self.balance),
            self.plain_route(f"{ROOT}/account/usage", self.usage),
            self.plain_route(f"{ROOT}/files", self.upload_v3, "POST"),
            self.plain_route(f"{ROOT}/files/presign", self.presign, "POST"),
            self.plain_route(f"{ROOT}/files/presigned/{{token}}", self.put, "PUT"),
        ]

    def error(self, code: int, *, retry_after: float = 0.0, message: str = "") -> Response:
        """Build an error reply; v3's has the trace as ``request_id`` too."""
        status, text, suggestion = ERRORS[code]
        headers = self.trace()
        if retry_after:
            headers["Retry-After"] = str(max(1, round(retry_after)))
        body = {
            "code": code,
            "message": message or text,
            "suggestion": suggestion,
            "request_id": headers["X-Tripo-Trace-ID"],
        }
        return reply(body, status, headers)

    def verdict(self, ending: str, code: str) -> Verdict:
        """Map an ending to one of v3's five states, or to an undocumented one for ``emu:unknown``."""
        refused = Verdict("failed", "failed", "2008", ERRORS[2008][1])
        return {
            "policy": refused,
            "banned": refused,
            "expired": Verdict("failed", "failed", "2018", "The task has expired"),
        }.get(ending) or super().verdict(ending, code)

    async def create(self, call: Call) -> tuple[Job, Response]:
        """``POST`` to the path of a capability."""
        account = self.authenticate(call)
        name = CAPABILITIES[call.path.removeprefix(ROOT)]
        body = call.json()
        if body is None:
            raise RefusedError(self.error(1003))
        self.check(name, self.as_v2(body), account)
        job = self.begin(call, name, body, account, v3=True)
        return job, self.data({"task_id": job.id})

    def as_v2(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body with v2's parameter names, for the check that both generations share."""
        params = dict(body)
        value = params.get("input")
        if value is not None:
            params.setdefault("file", value)
            params.setdefault("original_model_task_id", value)
            params.setdefault("original_task_id", value)
        if params.get("inputs"):
            params.setdefault("files", params["inputs"])
        # `input` may also be a URL or a file token; only a task id is looked up.
        parent = params.get("original_model_task_id")
        if isinstance(parent, str) and (parent.startswith(("http://", "https://", "file_"))):
            params["original_model_task_id"] = {"input": parent}
        return params

    def detail(self, job: Job) -> dict[str, Any]:
        """Show a task as v3 does."""
        now, clock = self.world.clock.now(), self.world.clock
        moment, final = job.moment(now), job.is_final(now)
        data: dict[str, Any] = {
            "task_id": job.id,
            "type": job.kind,
            "status": job.word(now),
            "progress": moment.progress,
            "input": dict(job.body),
            "output": self.output(job, now)[0],
            "created_at": clock.iso(job.created),
        }
        if moment.phase == "queued":
            data["queuing_num"] = moment.position
        if moment.phase == "running":
            data["running_left_time"] = moment.left
        if final:
            data["completed_at"] = clock.iso(job.created + job.plan.total)
            data["credits_consumed"] = job.credits_taken(now)
        if final and job.verdict.word == "failed":
            data["error_code"], data["error_msg"] = int(job.verdict.code or 1001), job.verdict.message
        return data

    def output(self, job: Job, now: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """Rename ``rig_type`` to ``topology``, as v3 calls it."""
        output, result = super().output(job, now)
        if "rig_type" in output:
            output["topology"] = output.pop("rig_type")
        return output, result

    async def usage(self, call: Call) -> Response:
        """``GET /account/usage``: tasks, newest first, in pages."""
        account = self.authenticate(call)
        try:
            limit, offset = int(call.query("limit") or 50), int(call.query("offset") or 0)
        except ValueError:
            return self.error(1004)
        if not 0 < limit <= 100 or offset < 0:
            return self.error(1004)
        now = self.world.clock.now()
        jobs = self.world.jobs_of(account, self.name)[::-1]
        items = [
            {
                "task_id": job.id,
                "type": job.kind,
                "status": job.word(now),
                "created_at": self.world.clock.iso(job.created),
                "credits_consumed": job.credits_taken(now),
            }
            for job in jobs[offset : offset + limit]
        ]
        return self.data({"items": items, "total": len(jobs), "limit": limit, "offset": offset})

    async def upload_v3(self, call: Call) -> Response:
        """``POST /files``: one file as the multipart field ``file``."""
        self.authenticate(call)
        if await call.form() is None:
            return self.error(1003)
        if not call.files.get("file"):
            return self.error(2003)
        return self.data({"file_token": f"file_{uuid.uuid4()}"})

    async def presign(self, call: Call) -> Response:
        """``POST /files/presign``: a link for the upload of a larger file."""
        self.authenticate(call)
        body = call.json()
        if body is None:
            return self.error(1003)
        if not isinstance(body.get("format"), str) or not body["format"]:
            return self.error(1004)
        token = f"file_{uuid.uuid4()}"
        url = f"{self.world.root}{ROOT}/files/presigned/{token}"
        return self.data({"file_token": token, "presigned_url": url, "expires_in": int(LINK_LIFE)})

    async def put(self, call: Call) -> Response:
        """``PUT`` to a presigned link, without a key."""
        return Response(b"", 200 if call.body else 400)
