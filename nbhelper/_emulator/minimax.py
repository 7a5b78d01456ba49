"""MiniMax (Hailuo) video, at its own paths ``/v1/…`` and relayed by api.gpt.ge under ``/task/minimax/v1/…``.

Every reply has ``base_resp``, errors have HTTP status 200, and a finished task has a file id whose link takes another
request.
"""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator.api import Api, Call, RefusedError, reply, shorten, texts_in
from nbhelper._emulator.media import VIDEO_SIZE, Asset
from nbhelper._emulator.plan import Directives, Pace
from nbhelper._emulator.world import Job, Limit, Verdict

PACE = Pace((3, 18), (55, 130))
LINK_LIFE = 3600.0  # one document says an hour, another nine
#: Published codes -> messages.
CODES = {
    0: "success",
    1000: "unknown error",
    1001: "request timeout",
    1002: "rate limit exceeded, please try again later",
    1004: "not authorized",
    1008: "insufficient balance",
    1013: "internal error",
    1026: "input new_sensitive",
    1027: "output new_sensitive",
    1039: "token limit exceeded",
    2013: "invalid params",
    2049: "invalid api key",
}
#: Its video models.
MODELS = frozenset(
    """MiniMax-Hailuo-2.3 MiniMax-Hailuo-2.3-Fast MiniMax-Hailuo-02 T2V-01-Director T2V-01 I2V-01-Director I2V-01
    I2V-01-live S2V-01 video-01 video-01-live2d""".split()  # noqa: SIM905 - a list of names reads better as words
)
#: Creates in a minute; the real limit depends on the contract. Used with `limits=True` only.
LIMIT = Limit(20, 60.0)


def minimax_id() -> str:
    """Return a new id as MiniMax's: fifteen digits."""
    return str(secrets.randbelow(9 * 10**14) + 10**14)


def base(code: int = 0, detail: str = "") -> dict[str, Any]:
    """Return ``base_resp`` for a code."""
    words = CODES.get(code, "internal error")
    return {"status_code": code, "status_msg": f"{words}, {detail}" if detail else words}


class Minimax(Api):
    """MiniMax's own API; the relay is a subclass."""

    name: ClassVar[str] = "gptge"

    def routes(self) -> list[Route]:
        """Return the routes of MiniMax's own API."""
        return [
            self.plain_route("/v1/query/video_generation", self.query),
            self.create_route("/v1/video_generation", self.create),
            self.plain_route("/v1/files/retrieve", self.retrieve),
            self.plain_route("/v1/files/retrieve_content", self.content),
        ]

    def reply_unrouted(self, request: Request, status: int) -> Response:  # noqa: ARG002 - the same for every path
        """Answer in plain text, as MiniMax's web server does."""
        words = {404: "404 page not found", 405: "405 method not allowed"}.get(status, "413 request too large")
        return Response(words, status, media_type="text/plain")

    def error(self, code: int, detail: str = "", **more: Any) -> Response:
        """Build an error reply: HTTP 200 and a code in ``base_resp``."""
        return reply({**more, "base_resp": base(code, detail)})

    def authenticate(self, call: Call) -> str:
        """Return the account of the key; refuse a missing one with 1004, a wrong one with 2049."""
        key = call.bearer()
        if not key:
            raise RefusedError(self.error(1004, "login fail: Please carry the API secret key in the header"))
        if not self.is_accepted(key):
            raise RefusedError(self.error(2049))
        return self.world.account(key)

    # Creates

    async def create(self, call: Call) -> tuple[Job, Response]:
        """``POST …/v1/video_generation``."""
        account = self.authenticate(call)
        job = self.make(call, account)
        return job, reply({"task_id": job.id, "base_resp": base()})

    def make(self, call: Call, account: str) -> Job:
        """Check the body and create the task."""
        body = call.json()
        if body is None:
            raise RefusedError(self.error(2013, "the body is not a JSON object", task_id=""))
        model, prompt = body.get("model"), body.get("prompt")
        if model not in MODELS:
            raise RefusedError(self.error(2013, f"model {str(model)[:60]!r} is not supported", task_id=""))
        if not prompt and not body.get("first_frame_image") and not body.get("subject_reference"):
            raise RefusedError(self.error(2013, "prompt or first_frame_image is required", task_id=""))
        if isinstance(prompt, str) and len(prompt) > 2000:
            raise RefusedError(self.error(2013, "prompt is longer than 2000 characters", task_id=""))
        if body.get("duration", 6) not in {6, 10}:
            raise RefusedError(self.error(2013, "duration must be 6 or 10", task_id=""))
        directives = self.world.directives_for(self.name, texts_in(body))
        self.refuse_create(directives, account)
        return self.start(
            call,
            directives,
            id=minimax_id(),
            account=account,
            pace=PACE,
            assets=[Asset("file_id", "video", "mp4")],
            # In no reply; units of the published price list, for the ledger.
            price=1.0 if body.get("duration", 6) == 6 else 2.0,
            prompt=shorten(str(prompt or model)),
            body=body,
            kind="minimax",
            words=("Queueing", "Processing"),
            verdict=self.verdict,
            extra={"file_id": minimax_id(), "model": model},
        )

    def refuse_create(self, directives: Directives, account: str) -> None:
        """Refuse a create over the rate limit, or as directives ask."""
        if self.world.count_call(LIMIT, "minimax", account):
            raise RefusedError(self.error(1002, task_id=""))
        if "policy-now" in directives:
            raise RefusedError(self.error(1026, task_id=""))
        if "no-credit" in directives:
            raise RefusedError(self.error(1008, task_id=""))

    def verdict(self, ending: str, code: str) -> Verdict:
        """Map an ending to a state. A failure is ``Fail``, with ``emu:fail=Failed`` the relay's spelling of it."""
        word = code if code.lower() in {"fail", "failed"} else "Fail"
        number = code if code.isdecimal() else None
        return {
            "success": Verdict("succeeded", "Success"),
            "stuck": Verdict("running", "Processing"),
            "unknown": Verdict("unknown", "Archived"),
            "policy": Verdict("failed", "Fail", "1027", CODES[1027]),
            "banned": Verdict("failed", "Fail", "1027", CODES[1027]),
            "timeout": Verdict("failed", "Fail", None, "task timeout"),
            "cancelled": Verdict("failed", "Fail", None, "task cancelled"),
            "expired": Verdict("failed", "Fail", None, "task expired"),
        }.get(ending) or Verdict("failed", word, number, "video generation failed")

    # Looks

    async def query(self, call: Call) -> Response:
        """``GET /v1/query/video_generation?task_id=``."""
        account = self.authenticate(call)
        job = self.world.find(self.name, call.query("task_id"), account)
        if job is None or job.kind != "minimax":
            return self.error(2013, "task_id not found", task_id="", status="", file_id="")
        return self.look(job)

    def look(self, job: Job) -> Response:
        """Answer one look at a task, with the failure that directives ask for, if any."""
        now = self.world.clock.now()
        error = job.next_look_failure(now)
        if error == "server-error":
            return self.bad_gateway(job)
        if error:
            code = 2013 if error == "late" else 1002
            self.world.record_look(job, 200, str(code))
            return self.error(code, "task_id not found" if error == "late" else "", task_id=job.id)
        word = self.word(job, now)
        self.world.record_look(job, 200, word)
        body: dict[str, Any] = {"task_id": job.id, "status": word, "file_id": "", "base_resp": base()}
        if job.has_visible_results(now):
            body["file_id"] = job.extra["file_id"]
        if job.has_succeeded(now):
            body["video_width"], body["video_height"] = VIDEO_SIZE
        if job.is_final(now) and job.verdict.state == "failed":
            body["error_msg"] = job.verdict.message
            if job.verdict.code:
                body["base_resp"] = base(int(job.verdict.code))
        return reply(body)

    def word(self, job: Job, now: float) -> str:
        """Return the API's state; the first 40 % of the time in the queue are ``Preparing``."""
        if job.moment(now).phase == "queued" and now - job.created < job.plan.queue * 0.4:
            return "Preparing"
        return str(job.word(now))

    # Files

    def find_by_file(self, call: Call) -> Job:
        """Find the task of the ``file_id`` parameter, or refuse the request."""
        account = self.authenticate(call)
        file_id = call.query("file_id")
        now = self.world.clock.now()
        for job in self.world.jobs_of(account, self.name):
            if file_id and job.extra.get("file_id") == file_id and job.has_visible_results(now):
                return job
        raise RefusedError(self.error(2013, "file_id not found"))

    async def retrieve(self, call: Call) -> Response:
        """``GET …/v1/files/retrieve?file_id=``: a newly signed link."""
        job = self.find_by_file(call)
        asset = job.assets[0]
        size = len(await self.vault.content(job, asset))
        url = self.vault.links(job, LINK_LIFE, fresh=True)(asset.name)
        # A string in the reply to a look and a number here, as documented.
        file = {
            "file_id": int(job.extra["file_id"]),
            "bytes": size,
            "created_at": int(self.world.clock.epoch(job.created + job.plan.queue + job.plan.run)),
            "filename": "output.mp4",
            "purpose": "video_generation",
            "download_url": url,
        }
        return reply({"file": file, "base_resp": base()})

    async def content(self, call: Call) -> Response:
        """``GET /v1/files/retrieve_content?file_id=``: the bytes."""
        job = self.find_by_file(call)
        return Response(await self.vault.content(job, job.assets[0]), media_type="video/mp4")
