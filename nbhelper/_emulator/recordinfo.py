"""The ``createTask`` / ``recordInfo`` shape, as aigptimage.com and kie.ai speak it.

The same two paths and the same envelope, told apart by their manners: at aigptimage the HTTP status says what
the body says; at kie.ai every error rides on HTTP 200. aigptimage counts ``costTime`` in milliseconds and its
creates are idempotent; kie.ai counts in seconds and states the credits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator.api import Api, Call, RefusedError, cut, reply, texts_in
from nbhelper._emulator.media import Asset
from nbhelper._emulator.plan import Pace, Wish
from nbhelper._emulator.vault import Links
from nbhelper._emulator.world import Job, Verdict

IMAGE, VIDEO, AUDIO = Pace((2, 9), (14, 48)), Pace((4, 20), (60, 140)), Pace((2, 9), (20, 60))
DAY = 86_400.0

#: resultJson variants for ``emu:shape=…``; the first is the usual one.
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
    """Pixels for an aspect ratio such as 16:9."""
    try:
        w, h = (max(1, min(32, int(part))) for part in text.split(":"))
    except ValueError:
        w, h = 1, 1
    scale = long / max(w, h)
    return max(256, round(w * scale / 8) * 8), max(256, round(h * scale / 8) * 8)


class RecordInfo(Api):
    """What both share."""

    root: ClassVar[str]
    http_codes: ClassVar[bool]
    link_life: ClassVar[float] = DAY
    words: ClassVar[tuple[str, str]]

    def routes(self) -> list[Route]:
        """The paths the API answers."""
        return [
            self.answering(f"{self.root}/api/v1/jobs/recordInfo", self.poll),
            self.creating(f"{self.root}/api/v1/jobs/createTask", self.create),
        ]

    def say(self, code: int, msg: str, data: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """The envelope."""
        return reply({"code": code, "msg": msg, "data": data}, code if self.http_codes else 200, headers)

    def stray(self, request: Request, status: int) -> Response:  # noqa: ARG002 - the same for every path
        """An unknown path or method."""
        return self.say(status, {404: "Not Found", 405: "Method Not Allowed"}.get(status, "Bad Request"))

    def not_signed_in(self) -> Response:
        """The answer to a wrong key."""
        return self.say(401, "Unauthorized: invalid API key")

    def signed_in(self, call: Call) -> str:
        """The account of the call's key."""
        key = call.bearer()
        if not self.accepted(key):
            raise RefusedError(self.not_signed_in())
        return self.world.account(key)

    def refused(self, code: int, msg: str, data: Any = None, headers: Mapping[str, str] | None = None) -> RefusedError:
        """A refusal to raise."""
        return RefusedError(self.say(code, msg, data, headers))

    # Creates

    def limit_create(self, call: Call, account: str) -> None:
        """Refuse when too many creates came."""

    def limit_poll(self, call: Call, account: str, task_id: str) -> None:
        """Refuse when too many looks came."""

    def medium(self, model: str) -> str | None:
        """image, video or audio; None for a model the API does not have."""
        raise NotImplementedError

    def unsupported(self, model: str) -> str:
        """The words for an unknown model."""
        raise NotImplementedError

    def price(self, medium: str, task: Mapping[str, Any]) -> float:
        """Credits of a task."""
        raise NotImplementedError

    def checked(self, call: Call) -> tuple[dict[str, Any], dict[str, Any], str]:
        """The body, its ``input`` and the medium of its model."""
        body = call.json()
        if body is None:
            raise self.refused(400, "Invalid JSON body")
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise self.refused(*self.lacking("model"))
        medium = self.medium(model)
        if medium is None:
            raise self.refused(422, self.unsupported(model))
        task = body.get("input")
        if not isinstance(task, dict):
            raise self.refused(*self.lacking("input"))
        # Models that only turn one picture into another may go without words.
        if not any(task.get(key) for key in ("prompt", "text", "image_url", "image_urls", "image", "image_input")):
            raise self.refused(*self.lacking("input.prompt"))
        return body, task, medium

    def lacking(self, name: str) -> tuple[int, str]:
        """Code and words for a parameter that is not there."""
        return 400, f"{name} is required"

    def assets(self, medium: str, task: Mapping[str, Any], wish: Wish) -> list[Asset]:
        """What the task will return."""
        shape, path = wish.text("shape"), "resultJson"
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
            found = [Asset(f"{path}.resultUrls[0]", "video", "mp4")]
            if shape == "resultWaterMarkUrls":
                found.append(Asset(f"{path}.resultWaterMarkUrls[0]", "video", "mp4"))
        else:
            found = [Asset(f"{path}.resultUrls[{i}]", "image", form, *size) for i in range(many)]
            if shape == "resultWaterMarkUrls":
                found.append(Asset(f"{path}.resultWaterMarkUrls[0]", "image", form, *size))
        if shape == "firstFrameUrl":
            found += [Asset(f"{path}.{key}", "image", "jpg", *size) for key in ("firstFrameUrl", "lastFrameUrl")]
        return found

    def new_id(self) -> str:
        """A fresh id in the API's own look."""
        raise NotImplementedError

    def created(self, job: Job) -> dict[str, Any]:
        """The data of a create's reply."""
        return {"taskId": job.id}

    def admit(self, wish: Wish) -> None:
        """Refuse where the directives say so."""
        if "policy-now" in wish:
            raise self.refused(400, "Your prompt was flagged as violating content policies.")
        if "no-credit" in wish:
            raise self.refused(402, self.broke())

    def broke(self) -> str:
        """The words for too few credits."""
        return "Insufficient credits"

    def repeated(self, call: Call, account: str) -> Job | None:  # noqa: ARG002 - only one of the two knows repeats
        """The task an idempotent create already made."""
        return None

    async def create(self, call: Call) -> tuple[Job, Response]:
        """``POST /api/v1/jobs/createTask``."""
        account = self.signed_in(call)
        if (again := self.repeated(call, account)) is not None:
            return again, self.say(200, "success", self.created(again))
        self.limit_create(call, account)
        body, task, medium = self.checked(call)
        wish = self.world.wish(self.name, texts_in(body))
        self.admit(wish)
        prompt = task.get("prompt") or task.get("text") or body["model"]
        job = self.start(
            call,
            wish,
            id=self.new_id(),
            account=account,
            pace={"image": IMAGE, "video": VIDEO, "audio": AUDIO}[medium],
            assets=self.assets(medium, task, wish),
            price=self.price(medium, {**task, "model": body["model"]}),
            prompt=cut(str(prompt)),
            body=body,
            kind=body["model"],
            states_price=not self.http_codes,
            words=self.words,
            verdict=self.verdict,
            extra={"medium": medium},
        )
        self.took(call, account, job)
        return job, self.say(200, "success", self.created(job))

    def took(self, call: Call, account: str, job: Job) -> None:
        """Note a new task for the limits and for repeats."""

    def verdict(self, ending: str, code: str) -> Verdict:
        """How a task ends: ``fail`` covers every way but success."""
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
        """The answer to an unknown id."""
        raise NotImplementedError

    def too_many(self) -> Response:
        """The rate limit's answer to a look."""
        raise NotImplementedError

    async def poll(self, call: Call) -> Response:
        """``GET /api/v1/jobs/recordInfo?taskId=``."""
        account = self.signed_in(call)
        task_id = call.query("taskId")
        if not task_id:
            return self.say(*self.lacking("taskId"))
        self.limit_poll(call, account, task_id)
        job = self.world.find(self.name, task_id, account)
        if job is None:
            return self.not_found()
        now = self.world.clock.now()
        trouble = job.trouble(now)
        if trouble == "server-error":
            return self.bad_gateway(job)
        if trouble:
            response, outcome = (self.not_found(), "late") if trouble == "late" else (self.too_many(), "429")
            self.world.look(job, response.status_code, outcome)
            return response
        data = self.record(job, now)
        self.world.look(job, 200, data["state"])
        return self.say(200, "success", data)

    def result(self, job: Job, links: Links) -> dict[str, Any]:
        """The decoded result."""
        if job.plan.shape == "resultObject":
            return {"resultObject": {"text": f"A reading of: {job.prompt}", "score": 0.87}}
        found: dict[str, Any] = {}
        for asset in job.assets:
            key, url = asset.name.removeprefix("resultJson."), links(asset.name)
            if key.endswith("]"):
                found.setdefault(key.partition("[")[0], []).append(url)
            elif key.startswith("data[0]."):
                found["data"] = [{"audio_url": url, "title": job.prompt, "duration": 1.0}]
            elif "." in key:
                found.setdefault(key.split(".")[0], {})[key.split(".")[1]] = url
            else:
                found[key] = url
        return found

    def result_json(self, job: Job, result: dict[str, Any]) -> Any:
        """``resultJson`` as the API writes it, or as one of the ways it was seen."""
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
        """A task as the API shows it."""
        clock, final = self.world.clock, job.final(now)
        failed = final and job.verdict.word == "fail"
        named = job.named(now)
        good = job.succeeded(now)
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
        """Add what only one of the two says."""
        raise NotImplementedError
