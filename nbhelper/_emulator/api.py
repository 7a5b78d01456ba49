"""The parts an emulated API is made of: reading a call, refusing it, recording it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nbhelper._emulator.ledger import CreateAttempt
from nbhelper._emulator.media import Asset
from nbhelper._emulator.plan import Pace, Wish
from nbhelper._emulator.vault import Vault
from nbhelper._emulator.world import Job, Verdict, World

#: Bodies above this are refused unread.
MAX_BODY = 128 << 20

BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON reply, its type exactly ``application/json``."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(text, status, headers, media_type="application/json")


class RefusedError(Exception):
    """A call that ends here, with the reply to give."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def texts_in(value: Any, depth: int = 0) -> Iterator[str]:
    """Every text in a decoded body."""
    if isinstance(value, str):
        yield value
    elif depth < 12 and isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item, depth + 1)
    elif depth < 12 and isinstance(value, Sequence):
        for item in value:
            yield from texts_in(item, depth + 1)


def trimmed(value: Any, depth: int = 0) -> Any:
    """A body as a reply repeats it: pictures inside it are cut, or hundreds of tasks would fill the memory."""
    if isinstance(value, str):
        return value if len(value) <= 20_000 else f"{value[:200]}…"
    if depth < 12 and isinstance(value, Mapping):
        return {key: trimmed(item, depth + 1) for key, item in value.items()}
    if depth < 12 and isinstance(value, Sequence):
        return [trimmed(item, depth + 1) for item in value]
    return value


@dataclass(slots=True)
class Call:
    """One request with its body read."""

    request: Request
    body: bytes
    digest: str
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path asked for."""
        return self.request.url.path

    def header(self, name: str) -> str:
        """A header's value, empty when missing."""
        return self.request.headers.get(name, "")

    def query(self, name: str) -> str:
        """A query parameter, empty when missing."""
        return self.request.query_params.get(name, "")

    def bearer(self) -> str:
        """The token of an Authorization header, empty when there is none."""
        scheme, _, token = self.header("authorization").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def json(self) -> dict[str, Any] | None:
        """The body as a JSON object; None when it is none."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    async def form(self) -> dict[str, str] | None:
        """The text fields of a form, its files kept aside; None when the body is no form."""
        kind = self.header("content-type").partition(";")[0].strip().lower()
        if kind not in {"multipart/form-data", "application/x-www-form-urlencoded"}:
            return None
        fields: dict[str, str] = {}
        try:
            async with self.request.form(max_part_size=MAX_BODY) as form:
                for name, value in form.multi_items():
                    if isinstance(value, UploadFile):
                        self.files[name] = await value.read()
                    else:
                        fields[name] = value
        except Exception:  # noqa: BLE001 - whatever is wrong with the body, the caller's body is wrong
            return None
        return fields


Create = Callable[[Call], Awaitable[tuple[Job, Response]]]
Answer = Callable[[Call], Awaitable[Response]]


class Api:
    """One emulated API: subclasses give its routes and its words."""

    name: ClassVar[str]
    #: Endings -> what the API says of them; "success" and "stuck" included where its words differ.
    keys: ClassVar[str] = "emu-"

    def __init__(self, world: World, vault: Vault) -> None:
        self.world = world
        self.vault = vault

    def routes(self) -> list[Route]:
        """The paths the API answers."""
        raise NotImplementedError

    def stray(self, request: Request, status: int) -> Response:
        """The answer to an unknown path (404), a wrong method (405) or too large a body (413)."""
        raise NotImplementedError

    # Routes

    async def read(self, request: Request) -> Call:
        """Take in a request with its body, up to the limit."""
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY:
                raise RefusedError(self.stray(request, 413))
            parts.append(part)
        body = b"".join(parts)
        request._body = body  # noqa: SLF001 - where Starlette's own body() keeps it, so that form() reads it again
        return Call(request, body, hashlib.sha256(body).hexdigest())

    def creating(self, path: str, create: Create) -> Route:
        """A POST route that makes tasks; every attempt is recorded."""

        async def endpoint(request: Request) -> Response:
            at, job, digest = self.world.clock.now(), None, ""
            try:
                call = await self.read(request)
                digest = call.digest
                job, response = await create(call)
            except RefusedError as no:
                response = no.response
            self.world.creates.append(
                CreateAttempt(
                    self.world.clock.utc(at),
                    job.provider if job else self.provider_of(request),
                    request.url.path,
                    digest,
                    response.status_code,
                    job.id if job else None,
                )
            )
            return response

        return Route(path, endpoint, methods=["POST"])

    def answering(self, path: str, answer: Answer, *methods: str) -> Route:
        """A route that makes nothing."""

        async def endpoint(request: Request) -> Response:
            try:
                return await answer(await self.read(request))
            except RefusedError as no:
                return no.response

        return Route(path, endpoint, methods=list(methods or ("GET",)))

    def provider_of(self, request: Request) -> str:  # noqa: ARG002 - one class serves two generations
        """The name under which a refused create is recorded."""
        return self.name

    # Tasks

    def accepted(self, key: str) -> bool:
        """Whether a key is one the emulator gives out."""
        return key.startswith(self.keys) and len(key) > len(self.keys)

    def start(
        self,
        call: Call,
        wish: Wish,
        *,
        id: str,  # noqa: A002 - an id is an id
        account: str,
        pace: Pace,
        assets: Sequence[Asset],
        price: float,
        prompt: str,
        body: Mapping[str, Any],
        kind: str = "",
        states_price: bool = False,
        provider: str = "",
        words: tuple[str, str] = ("queued", "running"),
        verdict: Callable[[str, str], Verdict],
        extra: dict[str, Any] | None = None,
    ) -> Job:
        """Make a task."""
        provider = provider or self.name
        plan, seed = self.world.plan(provider, wish, pace)
        return self.world.add(
            Job(
                provider=provider,
                endpoint=call.path,
                id=id,
                account=account,
                created=self.world.clock.now(),
                plan=plan,
                verdict=verdict(plan.ending, plan.code),
                assets=() if plan.no_output else tuple(assets),
                price=price,
                states_price=states_price,
                prompt=prompt,
                seed=seed,
                body=trimmed(body),
                body_digest=call.digest,
                kind=kind,
                words=words,
                extra=extra or {},
            )
        )

    def bad_gateway(self, job: Job) -> Response:
        """What a proxy says when the API behind it does not answer."""
        self.world.look(job, 502, "502")
        return Response(BAD_GATEWAY, 502, media_type="text/html")


def cut(text: str, limit: int = 200) -> str:
    """A prompt as the record keeps it."""
    return " ".join(text.split())[:limit]
