"""MiniMax (Hailuo) video, at its own paths ``/v1/…`` and relayed by api.gpt.ge under ``/task/minimax/v1/…``.

Every reply carries ``base_resp``, errors ride on HTTP 200, and a finished task names a file whose link is a
request of its own.
"""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator.api import Api, Call, RefusedError, cut, reply, texts_in
from nbhelper._emulator.media import VIDEO_SIZE, Asset
from nbhelper._emulator.plan import Pace, Wish
from nbhelper._emulator.world import Job, Limit, Verdict

PACE = Pace((3, 18), (55, 130))
LINK_LIFE = 3600.0  # one document says an hour, another nine
#: The published codes, with their words.
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
#: Of its own models, those for video.
MODELS = frozenset(
    """MiniMax-Hailuo-2.3 MiniMax-Hailuo-2.3-Fast MiniMax-Hailuo-02 T2V-01-Director T2V-01 I2V-01-Director I2V-01
    I2V-01-live S2V-01 video-01 video-01-live2d""".split()  # noqa: SIM905 - a list of names reads better as words
)
#: Creates a minute; the real figure depends on the contract, so this is for `limits=True` only.
LIMIT = Limit(20, 60.0)


def digits() -> str:
    """An id as MiniMax makes them: fifteen digits."""
    return str(secrets.randbelow(9 * 10**14) + 10**14)


def base(code: int = 0, detail: str = "") -> dict[str, Any]:
    """``base_resp``."""
    words = CODES.get(code, "internal error")
    return {"status_code": code, "status_msg": f"{words}, {detail}" if detail else words}


class Minimax(Api):
    """MiniMax's own API; the relay takes over its parts."""

    name: ClassVar[str] = "gptge"

    def routes(self) -> list[Route]:
        """MiniMax's own paths."""
        return [
            self.answering("/v1/query/video_generation", self.query),
            self.creating("/v1/video_generation", self.create),
            self.answering("/v1/files/retrieve", self.retrieve),
            self.answering("/v1/files/retrieve_content", self.content),
        ]

    def stray(self, request: Request, status: int) -> Response:  # noqa: ARG002 - the same for every path
        """Its web server answers unknown paths in plain text."""
        words = {404: "404 page not found", 405: "405 method not allowed"}.get(status, "413 request too large")
        return Response(words, status, media_type="text/plain")

    def error(self, code: int, detail: str = "", **more: Any) -> Response:
        """An error: HTTP 200 and a code."""
        return reply({**more, "base_resp": base(code, detail)})

    def signed_in(self, call: Call) -> str:
        """The account of the call's key: 1004 without one, 2049 with a wrong one."""
        key = call.bearer()
        if not key:
            raise RefusedError(self.error(1004, "login fail: Please carry the API secret key in the header"))
        if not self.accepted(key):
            raise RefusedError(self.error(2049))
        return self.world.account(key)

    # Creates

    async def create(self, call: Call) -> tuple[Job, Response]:
        """``POST …/v1/video_generation``."""
        account = self.signed_in(call)
        job = self.make(call, account)
        return job, reply({"task_id": job.id, "base_resp": base()})

    def make(self, call: Call, account: str) -> Job:
        """Check the body and make the task."""
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
        wish = self.world.wish(self.name, texts_in(body))
        self.admit(wish, account)
        return self.start(
            call,
            wish,
            id=digits(),
            account=account,
            pace=PACE,
            assets=[Asset("file_id", "video", "mp4")],
            # Not in any reply: units of the published price list, for the ledger.
            price=1.0 if body.get("duration", 6) == 6 else 2.0,
            prompt=cut(str(prompt or model)),
            body=body,
            kind="minimax",
            words=("Queueing", "Processing"),
            verdict=self.verdict,
            extra={"file_id": digits(), "model": model},
        )

    def admit(self, wish: Wish, account: str) -> None:
        """Refuse where limits or directives say so."""
        if self.world.over(LIMIT, "minimax", account):
            raise RefusedError(self.error(1002, task_id=""))
        if "policy-now" in wish:
            raise RefusedError(self.error(1026, task_id=""))
        if "no-credit" in wish:
            raise RefusedError(self.error(1008, task_id=""))

    def verdict(self, ending: str, code: str) -> Verdict:
        """How a task ends. A failure says ``Fail``; ``emu:fail=Failed`` takes the relay's spelling of it."""
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
        account = self.signed_in(call)
        job = self.world.find(self.name, call.query("task_id"), account)
        if job is None or job.kind != "minimax":
            return self.error(2013, "task_id not found", task_id="", status="", file_id="")
        return self.look(job)

    def look(self, job: Job) -> Response:
        """One look at a task, hindered or not."""
        now = self.world.clock.now()
        trouble = job.trouble(now)
        if trouble == "server-error":
            return self.bad_gateway(job)
        if trouble:
            code = 2013 if trouble == "late" else 1002
            self.world.look(job, 200, str(code))
            return self.error(code, "task_id not found" if trouble == "late" else "", task_id=job.id)
        word = self.word(job, now)
        self.world.look(job, 200, word)
        body: dict[str, Any] = {"task_id": job.id, "status": word, "file_id": "", "base_resp": base()}
        if job.named(now):
            body["file_id"] = job.extra["file_id"]
        if job.succeeded(now):
            body["video_width"], body["video_height"] = VIDEO_SIZE
        if job.final(now) and job.verdict.state == "failed":
            body["error_msg"] = job.verdict.message
            if job.verdict.code:
                body["base_resp"] = base(int(job.verdict.code))
        return reply(body)

    def word(self, job: Job, now: float) -> str:
        """Preparing comes first, then Queueing: both are our queue."""
        if job.moment(now).phase == "queued" and now - job.created < job.plan.queue * 0.4:
            return "Preparing"
        return str(job.word(now))

    # Files

    def owner(self, call: Call) -> Job:
        """The task whose file is asked for."""
        account = self.signed_in(call)
        file_id = call.query("file_id")
        now = self.world.clock.now()
        for job in self.world.of_account(account, self.name):
            if file_id and job.extra.get("file_id") == file_id and job.named(now):
                return job
        raise RefusedError(self.error(2013, "file_id not found"))

    async def retrieve(self, call: Call) -> Response:
        """``GET …/v1/files/retrieve?file_id=``: the link, signed anew each time."""
        job = self.owner(call)
        asset = job.assets[0]
        size = len(await self.vault.content(job, asset))
        url = self.vault.links(job, LINK_LIFE, fresh=True)(asset.name)
        # A string in the poll's reply, a number here: both as documented.
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
        """``GET /v1/files/retrieve_content?file_id=``: the bytes themselves."""
        job = self.owner(call)
        return Response(await self.vault.content(job, job.assets[0]), media_type="video/mp4")
