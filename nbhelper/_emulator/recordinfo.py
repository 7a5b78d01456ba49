"""The ``createTask`` / ``recordInfo`` API that aigptimage.com and kie.ai have in common.

Paths and envelope are the same. At aigptimage the HTTP status equals the code in the body, ``costTime`` is in
milliseconds and creates are idempotent; at kie.ai every error has HTTP status 200, ``costTime`` is in seconds and
replies state the credits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator.api import Api, Call, RefusedError, reply, shorten, texts_in
from nbhelper._emulator.media import Asset
from nbhelper._emulator.plan import Directives, Pace
from nbhelper._emulator.vault import Links
from nbhelper._emulator.world import Job, Verdict

IMAGE, VIDEO, AUDIO = Pace((2, 9), (14, 48)), Pace((4, 20), (60, 140)), Pace((2, 9), (20, 60))
DAY = 86_400.0

#: Variants of resultJson for ``emu:shape=``; the first is the usual one.
SHAPES = (
    "resultUrls",
    "resultWaterMarkUrls",
    "resultObject",
    "firstFrameUrl",
    "maskUrl",
    "audio_url",
    "object",
    "empty",
    "braces",
    "null",
    "not-json",
)


def _ratio(text: str, long: int = 1024) -> tuple[int, int]:
    """Return width and height for an aspect ratio such as 16:9."""
    try:
        w, h = (max(1, min(32, int(part))) for part in text.split(":"))
    except ValueError:
        w, h = 1, 1
    scale = long / max(w, h)
    return max(256, round(w * scale / 8) * 8), max(256, round(h * scale / 8) * 8)


class RecordInfo(Api):
    """Base class of the two APIs."""

    root: ClassVar[str]
    http_codes: ClassVar[bool]
    link_life: ClassVar[float] = DAY
    words: ClassVar[tuple[str, str]]

    def routes(self) -> list[Route]:
        """Return the routes of the API."""
        return [
            self.plain_route(f"{self.root}/api/v1/jobs/recordInfo", self.poll),
            self.create_route(f"{self.root}/api/v1/jobs/createTask", self.create),
        ]

    def envelope(self, code: int, msg: str, data: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """Build a reply: code, message and data."""
        return reply({"code": code, "msg": msg, "data": data}, code if self.http_codes else 200, headers)

    def reply_unrouted(self, request: Request, status: int) -> Response:  # noqa: ARG002 - the same for every path
        """Answer an unknown path, a wrong method or too large a body."""
        return self.envelope(status, {404: "Not Found", 405: "Method Not Allowed"}.get(status, "Bad Request"))

    def unauthorized(self) -> Response:
        """Answer a wrong key."""
        return self.envelope(401, "Unauthorized: invalid API key")

    def authenticate(self, call: Call) -> str:
        """Return the account of the key, or refuse the key."""
        key = call.bearer()
        if not self.is_accepted(key):
            raise RefusedError(self.unauthorized())
        return self.world.account(key)

    def refused(self, code: int, msg: str, data: Any = None, headers: Mapping[str, str] | None = None) -> RefusedError:
        """Build the exception for an error reply."""
        return RefusedError(self.envelope(code, msg, data, headers))

    # Creates

    def limit_create(self, call: Call, account: str) -> None:
        """Refuse a create over the rate limit."""

    def limit_poll(self, call: Call, account: str, task_id: str) -> None:
        """Refuse a look over the rate limit."""

    def medium(self, model: str) -> str | None:
        """Return ``image``, ``video`` or ``audio``; None for an unknown model."""
        raise NotImplementedError

    def unknown_model_message(self, model: str) -> str:
        """Return the error message for an unknown model."""
        raise NotImplementedError

    def price(self, medium: str, task: Mapping[str, Any]) -> float:
        """Return the credits of a task."""
        raise NotImplementedError

    def read_create(self, call: Call) -> tuple[dict[str, Any], dict[str, Any], str]:
        """Return body, ``input`` and medium of a valid create; refuse any other."""
        body = call.json()
        if body is None:
            raise self.refused(400, "Invalid JSON body")
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise self.refused(*self.missing_parameter("model"))
        medium = self.medium(model)
        if medium is None:
            raise self.refused(422, self.unknown_model_message(model))
        task = body.get("input")
        if not isinstance(task, dict):
            raise self.refused(*self.missing_parameter("input"))
        # Models that only transform a picture take no prompt.
        if not any(task.get(key) for key in ("prompt", "text", "image_url", "image_urls", "image", "image_input")):
            raise self.refused(*self.missing_parameter("input.prompt"))
        return body, task, medium

    def missing_parameter(self, name: str) -> tuple[int, str]:
        """Return code and message for a missing parameter."""
        return 400, f"{name} is required"

    def assets(self, medium: str, task: Mapping[str, Any], directives: Directives) -> list[Asset]:
        """Return the results of the task."""
        shape, path = directives.text("shape"), "resultJson"
        size = _ratio(str(task.get("aspect_ratio") or task.get("image_size") or "1:1"))
        form = {"jpeg": "jpg", "jpg": "jpg", "webp": "webp"}.get(str(task.get("output_format")), "png")
        count = task.get("n", task.get("max_images", 1))
        many = count if isinstance(count, int) and 1 <= count <= 6 else 1
        if shape in {"resultObject", "empty", "braces", "null", "not-json"}:
            return []
        if shape == "audio_url" or medium == "audio":
            key = f"{path}.data[0].audio_url" if shape == "audio_url" else f"{path}.resultUrls[0]"
            return [Asset(key, "audio", "wav")]
        if shape == "maskUrl":
            return [Asset(f"{path}.resultUrls[0]", "image", form, *size), Asset(f"{path}.mask.maskUrl", "image", "png")]
        if medium == "video":
            assets = [Asset(f"{path}.resultUrls[0]", "video", "mp4")]
            if shape == "resultWaterMarkUrls":
                assets.append(Asset(f"{path}.resultWaterMarkUrls[0]", "video", "mp4"))
        else:
            assets = [Asset(f"{path}.resultUrls[{i}]", "image", form, *size) for i in range(many)]
            if shape == "resultWaterMarkUrls":
                assets.append(Asset(f"{path}.resultWaterMarkUrls[0]", "image", form, *size))
        if shape == "firstFrameUrl":
            assets += [Asset(f"{path}.{key}", "image", "jpg", *size) for key in ("firstFrameUrl", "lastFrameUrl")]
        return assets

    def new_id(self) -> str:
        """Return a new id in the API's format."""
        raise NotImplementedError

    def create_data(self, job: Job) -> dict[str, Any]:
        """Return the data of the reply to a create."""
        return {"taskId": job.id}

    def refuse_create(self, directives: Directives) -> None:
        """Refuse a create as directives ask."""
        if "policy-now" in directives:
            raise self.refused(400, "Your prompt was flagged as violating content policies.")
        if "no-credit" in directives:
            raise self.refused(402, self.no_credit_message())

    def no_credit_message(self) -> str:
        """Return the error message for too few credits."""
        return "Insufficient credits"

    def find_repeated(self, call: Call, account: str) -> Job | None:  # noqa: ARG002 - only aigptimage is idempotent
        """Return the task that an earlier create with the same request id made."""
        return None

    async def create(self, call: Call) -> tuple[Job, Response]:
        """``POST /api/v1/jobs/createTask``."""
        account = self.authenticate(call)
        if (again := self.find_repeated(call, account)) is not None:
            return again, self.envelope(200, "success", self.create_data(again))
        self.limit_create(call, account)
        body, task, medium = self.read_create(call)
        directives = self.world.directives_for(self.name, texts_in(body))
        self.refuse_create(directives)
        prompt = task.get("prompt") or task.get("text") or body["model"]
        job = self.start(
            call,
            directives,
            id=self.new_id(),
            account=account,
            pace={"image": IMAGE, "video": VIDEO, "audio": AUDIO}[medium],
            assets=self.assets(medium, task, directives),
            price=self.price(medium, {**task, "model": body["model"]}),
            prompt=shorten(str(prompt)),
            body=body,
            kind=body["model"],
            states_price=not self.http_codes,
            words=self.words,
            verdict=self.verdict,
            extra={"medium": medium},
        )
        self.record_create(call, account, job)
        return job, self.envelope(200, "success", self.create_data(job))

    def record_create(self, call: Call, account: str, job: Job) -> None:
        """Store what `limit_create` and `find_repeated` need of a new task."""

    def verdict(self, ending: str, code: str) -> Verdict:
        """Map an ending to a state: ``fail`` for every ending but success."""
        words = {
            "policy": ("400", "Sorry, but the image we created may violate OpenAI's content policies."),
            "cancelled": ("499", "The task was canceled."),
            "expired": ("408", "The task expired."),
            "timeout": ("504", "The task timed out."),
        }
        words["banned"] = words["policy"]
        if ending == "success":
            return Verdict("succeeded", "success")
        if ending == "stuck":
            return Verdict("running", self.words[1])
        if ending == "unknown":
            return Verdict("unknown", "archived")
        given, message = words.get(ending, (code or "500", "Internal Error, Please try again later."))
        return Verdict("failed", "fail", given, message)

    # Looks

    def not_found(self) -> Response:
        """Answer an unknown id."""
        raise NotImplementedError

    def too_many(self) -> Response:
        """Answer a look with the rate limit's error."""
        raise NotImplementedError

    async def poll(self, call: Call) -> Response:
        """``GET /api/v1/jobs/recordInfo?taskId=``."""
        account = self.authenticate(call)
        task_id = call.query("taskId")
        if not task_id:
            return self.envelope(*self.missing_parameter("taskId"))
        self.limit_poll(call, account, task_id)
        job = self.world.find(self.name, task_id, account)
        if job is None:
            return self.not_found()
        now = self.world.clock.now()
        error = job.next_look_failure(now)
        if error == "server-error":
            return self.bad_gateway(job)
        if error:
            response, outcome = (self.not_found(), "late") if error == "late" else (self.too_many(), "429")
            self.world.record_look(job, response.status_code, outcome)
            return response
        data = self.record(job, now)
        self.world.record_look(job, 200, data["state"])
        return self.envelope(200, "success", data)

    def result(self, job: Job, links: Links) -> dict[str, Any]:
        """Return the content of ``resultJson``."""
        if job.plan.shape == "resultObject":
            return {"resultObject": {"text": f"A reading of: {job.prompt}", "score": 0.87}}
        content: dict[str, Any] = {}
        for asset in job.assets:
            key, url = asset.name.removeprefix("resultJson."), links(asset.name)
            if key.endswith("]"):
                content.setdefault(key.partition("[")[0], []).append(url)
            elif key.startswith("data[0]."):
                content["data"] = [{"audio_url": url, "title": job.prompt, "duration": 1.0}]
            elif "." in key:
                content.setdefault(key.split(".")[0], {})[key.split(".")[1]] = url
            else:
                content[key] = url
        return content

    def result_json(self, job: Job, result: dict[str, Any]) -> Any:
        """Return ``resultJson``: a JSON text, or the variant that ``emu:shape`` names."""
        odd: dict[str, Any] = {
            "empty": "",
            "braces": "{}",
            "null": None,
            "object": result,
            "not-json": "not json at all",
        }
        if job.plan.shape in odd:
            return odd[job.plan.shape]
        return json.dumps(result, ensure_ascii=False) if result else "{}"

    def record(self, job: Job, now: float) -> dict[str, Any]:
        """Show a task."""
        clock, final = self.world.clock, job.is_final(now)
        failed = final and job.verdict.word == "fail"
        named = job.has_visible_results(now)
        good = job.has_succeeded(now)
        result = self.result(job, self.vault.links(job, self.link_life)) if named else {}
        created, ended = clock.epoch(job.created), clock.epoch(job.created + (job.plan.total if final else 0.0))
        data: dict[str, Any] = {
            "taskId": job.id,
            "model": job.kind,
            "state": job.word(now),
            "param": json.dumps(job.body, ensure_ascii=False, separators=(",", ":")),
            "resultJson": self.result_json(job, result) if named or good else None,
            "failCode": job.verdict.code if failed else None,
            "failMsg": job.verdict.message if failed else None,
            "costTime": None,
            "completeTime": None,
            "createTime": int(created * 1000),
        }
        self.finish(data, job, now, result, ended)
        return data

    def finish(self, data: dict[str, Any], job: Job, now: float, result: dict[str, Any], ended: float) -> None:
        """Add the fields in which the two APIs differ."""
        raise NotImplementedError
