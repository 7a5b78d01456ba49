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

#: path -> task type; the paths the client 1.0.0 sends to.
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
        """The paths the API answers."""
        return [
            self.answering(f"{ROOT}/tasks/{{id}}", self.poll),
            self.answering(f"{ROOT}/tasks/list", self.batch, "POST"),
            *(self.creating(f"{ROOT}{path}", self.create) for path in CAPABILITIES),
            self.answering(f"{ROOT}/account/balance", self.balance),
            self.answering(f"{ROOT}/account/usage", self.usage),
            self.answering(f"{ROOT}/files", self.upload_v3, "POST"),
            self.answering(f"{ROOT}/files/presign", self.presign, "POST"),
            self.answering(f"{ROOT}/files/presigned/{{token}}", self.put, "PUT"),
        ]

    def error(self, code: int, *, retry_after: float = 0.0, message: str = "") -> Response:
        """An error; v3 repeats the trace as ``request_id``."""
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
        """How a task ends, in v3's five words (and one it never documented, when asked for)."""
        refused = Verdict("failed", "failed", "2008", ERRORS[2008][1])
        return {
            "policy": refused,
            "banned": refused,
            "expired": Verdict("failed", "failed", "2018", "The task has expired"),
        }.get(ending) or super().verdict(ending, code)

    async def create(self, call: Call) -> tuple[Job, Response]:
        """``POST`` to one of the capabilities."""
        account = self.signed_in(call)
        name = CAPABILITIES[call.path.removeprefix(ROOT)]
        body = call.json()
        if body is None:
            raise RefusedError(self.error(1003))
        self.check(name, self.as_v2(body), account)
        job = self.begin(call, name, body, account, v3=True)
        return job, self.data({"task_id": job.id})

    def as_v2(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body under v2's names, which v3 still accepts: one check serves both."""
        known = dict(body)
        value = known.get("input")
        if value is not None:
            known.setdefault("file", value)
            known.setdefault("original_model_task_id", value)
            known.setdefault("original_task_id", value)
        if known.get("inputs"):
            known.setdefault("files", known["inputs"])
        # `input` may also be a link or a file token: only what looks like a task id must exist.
        parent = known.get("original_model_task_id")
        if isinstance(parent, str) and (parent.startswith(("http://", "https://", "file_"))):
            known["original_model_task_id"] = {"input": parent}
        return known

    def detail(self, job: Job) -> dict[str, Any]:
        """A task as v3 shows it."""
        now, clock = self.world.clock.now(), self.world.clock
        moment, final = job.moment(now), job.final(now)
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
            data["credits_consumed"] = job.billed(now)
        if final and job.verdict.word == "failed":
            data["error_code"], data["error_msg"] = int(job.verdict.code or 1001), job.verdict.message
        return data

    def output(self, job: Job, now: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """v3's rig check names the skeleton ``topology``."""
        output, result = super().output(job, now)
        if "rig_type" in output:
            output["topology"] = output.pop("rig_type")
        return output, result

    async def usage(self, call: Call) -> Response:
        """``GET /account/usage``: newest first."""
        account = self.signed_in(call)
        try:
            limit, offset = int(call.query("limit") or 50), int(call.query("offset") or 0)
        except ValueError:
            return self.error(1004)
        if not 0 < limit <= 100 or offset < 0:
            return self.error(1004)
        now = self.world.clock.now()
        jobs = self.world.of_account(account, self.name)[::-1]
        items = [
            {
                "task_id": job.id,
                "type": job.kind,
                "status": job.word(now),
                "created_at": self.world.clock.iso(job.created),
                "credits_consumed": job.billed(now),
            }
            for job in jobs[offset : offset + limit]
        ]
        return self.data({"items": items, "total": len(jobs), "limit": limit, "offset": offset})

    async def upload_v3(self, call: Call) -> Response:
        """``POST /files``: one file as the multipart field ``file``."""
        self.signed_in(call)
        if await call.form() is None:
            return self.error(1003)
        if not call.files.get("file"):
            return self.error(2003)
        return self.data({"file_token": f"file_{uuid.uuid4()}"})

    async def presign(self, call: Call) -> Response:
        """``POST /files/presign``: a link to which a larger file is put."""
        self.signed_in(call)
        body = call.json()
        if body is None:
            return self.error(1003)
        if not isinstance(body.get("format"), str) or not body["format"]:
            return self.error(1004)
        token = f"file_{uuid.uuid4()}"
        url = f"{self.world.root}{ROOT}/files/presigned/{token}"
        return self.data({"file_token": token, "presigned_url": url, "expires_in": int(LINK_LIFE)})

    async def put(self, call: Call) -> Response:
        """Take the file: the link is its own permission."""
        return Response(b"", 200 if call.body else 400)
