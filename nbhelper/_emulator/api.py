"""Base class of the emulated APIs: reads a request, refuses it, creates a task, records the attempt."""

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
from nbhelper._emulator.plan import Directives, Pace
from nbhelper._emulator.vault import Vault
from nbhelper._emulator.world import Job, Verdict, World

#: Larger request bodies are refused with 413.
MAX_BODY = 128 << 20

BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Build a JSON reply with the content type ``application/json``, without a charset."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(text, status, headers, media_type="application/json")


class RefusedError(Exception):
    """Raised to end a request with a given reply."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def texts_in(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield every string in a decoded JSON body."""
    if isinstance(value, str):
        yield value
    elif depth < 12 and isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item, depth + 1)
    elif depth < 12 and isinstance(value, Sequence):
        for item in value:
            yield from texts_in(item, depth + 1)


def trim(value: Any, depth: int = 0) -> Any:
    """Return a copy of a JSON body with long strings shortened: inline pictures of many tasks would fill the memory."""
    if isinstance(value, str):
        return value if len(value) <= 20_000 else f"{value[:200]}…"
    if depth < 12 and isinstance(value, Mapping):
        return {key: trim(item, depth + 1) for key, item in value.items()}
    if depth < 12 and isinstance(value, Sequence):
        return [trim(item, depth + 1) for item in value]
    return value


@dataclass(slots=True)
class Call:
    """One request and its body."""

    request: Request
    body: bytes
    digest: str
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path of the URL."""
        return self.request.url.path

    def header(self, name: str) -> str:
        """Return a header's value; empty where it is missing."""
        return self.request.headers.get(name, "")

    def query(self, name: str) -> str:
        """Return a query parameter; empty where it is missing."""
        return self.request.query_params.get(name, "")

    def bearer(self) -> str:
        """Return the bearer token of the Authorization header; empty where there is none."""
        scheme, _, token = self.header("authorization").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def json(self) -> dict[str, Any] | None:
        """Parse the body as a JSON object; None where it is not one."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    async def form(self) -> dict[str, str] | None:
        """Parse the body as a form: return its text fields, store its files in `files`; None where it is not a form."""
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
        except Exception:  # noqa: BLE001 - any error of the parser means an invalid body
            return None
        return fields


Create = Callable[[Call], Awaitable[tuple[Job, Response]]]
Answer = Callable[[Call], Awaitable[Response]]


class Api:
    """One emulated API; subclasses define its routes, error texts and states."""

    name: ClassVar[str]
    #: Prefix of the keys that the emulator accepts.
    keys: ClassVar[str] = "emu-"

    def __init__(self, world: World, vault: Vault) -> None:
        self.world = world
        self.vault = vault

    def routes(self) -> list[Route]:
        """Return the routes of the API."""
        raise NotImplementedError

    def reply_unrouted(self, request: Request, status: int) -> Response:
        """Return the API's reply to an unknown path (404), a wrong method (405) or too large a body (413)."""
        raise NotImplementedError

    # Routes

    async def read(self, request: Request) -> Call:
        """Read a request with its body, up to `MAX_BODY`."""
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY:
                raise RefusedError(self.reply_unrouted(request, 413))
            parts.append(part)
        body = b"".join(parts)
        request._body = body  # noqa: SLF001 - where Starlette's own body() keeps it, so that form() reads it again
        return Call(request, body, hashlib.sha256(body).hexdigest())

    def create_route(self, path: str, create: Create) -> Route:
        """Build a POST route that creates tasks and records every attempt."""

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

    def plain_route(self, path: str, answer: Answer, *methods: str) -> Route:
        """Build a route that creates no task."""

        async def endpoint(request: Request) -> Response:
            try:
                return await answer(await self.read(request))
            except RefusedError as no:
                return no.response

        return Route(path, endpoint, methods=list(methods or ("GET",)))

    def provider_of(self, request: Request) -> str:  # noqa: ARG002 - one class serves two generations
        """Return the provider's name under which a refused create is recorded."""
        return self.name

    # Tasks

    def is_accepted(self, key: str) -> bool:
        """Whether a key has the emulator's prefix."""
        return key.startswith(self.keys) and len(key) > len(self.keys)

    def start(
        self,
        call: Call,
        directives: Directives,
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
        """Create a task and store it."""
        provider = provider or self.name
        plan, seed = self.world.draw_plan(provider, directives, pace)
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
                body=trim(body),
                body_digest=call.digest,
                kind=kind,
                words=words,
                extra=extra or {},
            )
        )

    def bad_gateway(self, job: Job) -> Response:
        """Return status 502 with nginx's HTML page, and record the look."""
        self.world.record_look(job, 502, "502")
        return Response(BAD_GATEWAY, 502, media_type="text/html")


def shorten(text: str, limit: int = 200) -> str:
    """Collapse white space and cut to `limit` characters."""
    return " ".join(text.split())[:limit]
