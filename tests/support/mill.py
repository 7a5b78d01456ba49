"""A generation API of the tests' own on a raw server: quick to look at, and wrong in whatever way a test asks for."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

from support.raw_server import Conn, RawServer, Request, reply

import nbhelper as nbh
from nbhelper.types import Endpoint, HttpRequest, Outputs, Resolve

Answer = dict[str, Any] | bytes | Callable[[Conn, Request], Awaitable[None]]
FLOOR = 0.1
KEY = "mill-canary-7f3a9c5e1b"
DONE: dict[str, Any] = {"state": "done"}
WORKING: dict[str, Any] = {"state": "working"}
QUEUED: dict[str, Any] = {"state": "queued"}


def provider(base_url: str, name: str = "mill", **more: Any) -> nbh.Provider:
    """The mill's `Provider`."""
    return nbh.Provider(**{
        "name": name,
        "base_url": base_url,
        "key_variable": f"{name.upper().replace('-', '_')}_API_KEY",
        "floor": FLOOR,
        "poll": "GET /jobs/{id}",
        "state": "state",
        "words": {
            "queued": "queued",
            "working": "running",
            "done": "succeeded",
            "error": "failed",
            "stopped": "cancelled",
            "gone": "expired",
        },
        "confirm": frozenset({"shrug"}),
        "outputs": (
            Outputs(path="files", name="files"),
            Outputs(path="b64", name="b64", form="data", kind="image"),
            Outputs(path="ref", name="ref", form="ref", kind="video"),
        ),
        "resolve": Resolve(request=HttpRequest("GET", "/links/{ref}"), url="link", lifetime=60),
        "progress": "percent",
        "seconds_left": "left",
        "queue_position": "ahead",
        "credits": "credits",
        "error_code": "code",
        "error_message": "why",
        "code": "errcode",
        "message": "message",
        "create_id": "id",
        "endpoints": {
            "image": Endpoint(path="/jobs"),
            "form": Endpoint(path="/forms", encoding="multipart", files=("image",)),
            "safe": Endpoint(path="/safe", request_id="X-Request-ID"),
        },
        "max_reply": 1_000_000,
        **more,
    })  # fmt: skip


class Mill:
    """Jobs with scripted answers, files, and a record of every look.

    `mill.job(...)` takes the answers to the looks at one job: a dict is JSON, bytes are sent as they are, a function
    does what it likes with the connection. The last one is repeated. `mill.most` is the most connections at a time.
    """

    def __init__(self, **options: Any) -> None:
        self.server = RawServer(self._play, **options)
        self._ids, self._links = itertools.count(1), itertools.count(1)
        self.jobs: dict[str, list[Answer]] = {}
        self.creates: list[Answer] = []
        self.paths: dict[str, list[Answer]] = {}
        self.looks: dict[str, list[float]] = {}
        self.replied: dict[str, list[float]] = {}
        self._open = self.most = 0

    @property
    def root(self) -> str:
        return self.server.root

    def job(self, *answers: Answer, ident: str | None = None) -> str:
        """Make a job with these answers; its task reference as text, such as `mill:job-1`."""
        ident = ident or f"job-{next(self._ids)}"
        self.jobs[ident] = list(answers) or [DONE]
        return f"mill:{ident}"

    def file(self, *answers: Answer, name: str = "a.png") -> str:
        """Make a file with these answers; its link."""
        path = f"/files/{next(self._links)}/{name}"
        self.paths[path] = list(answers)
        return f"{self.root}{path}"

    def requests_to(self, prefix: str = "") -> list[Request]:
        """The requests whose path begins with `prefix`."""
        return [r for r in self.server.requests if r.path.startswith(prefix)]

    def gaps(self) -> list[float]:
        """Seconds between consecutive looks at the same job, from reply to request."""
        return [
            looked_at - replied_at
            for ident in self.looks
            for looked_at, replied_at in zip(self.looks[ident][1:], self.replied[ident], strict=False)
        ]

    def starts(self, ref: str) -> list[float]:
        """Seconds between the looks at one job."""
        return [b - a for a, b in pairwise(self.looks[ref.partition(":")[2]])]

    async def _play(self, conn: Conn) -> None:
        self._open += 1
        self.most = max(self.most, self._open)
        try:
            await self._talk(conn)
        finally:
            self._open -= 1

    async def _talk(self, conn: Conn) -> None:
        while (request := await conn.request()) is not None:
            parts = request.path.strip("/").split("/")
            ident = parts[1] if parts[0] == "jobs" and len(parts) == 2 else None
            if ident is not None:
                self.looks.setdefault(ident, []).append(request.at)
                answers = self.jobs.get(ident, [reply({"message": "no such job"}, 404)])
            elif request.method == "POST":
                answers = self.creates
            else:
                answers = self.paths.get(request.path, [reply({"message": "no such path"}, 404)])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            replied_at = time.monotonic()  # before sending: the client may ask again while this thread waits
            if callable(answer):
                await answer(conn, request)
                replied_at = time.monotonic()
            else:
                await conn.send(answer if isinstance(answer, bytes) else reply(answer))
            if ident is not None:
                self.replied.setdefault(ident, []).append(replied_at)

    def close(self) -> None:
        self.server.close()


async def reset(conn: Conn, _: Request) -> None:
    """Reset the connection instead of an answer."""
    await conn.reset()


async def silence(conn: Conn, _: Request) -> None:
    """Send nothing until the client has closed the connection."""
    await conn.gone()


def later(seconds: float, answer: dict[str, Any] | bytes) -> Answer:
    """An answer that is sent after so many seconds."""

    async def act(conn: Conn, _: Request) -> None:
        await asyncio.sleep(seconds)
        await conn.send(answer if isinstance(answer, bytes) else reply(answer))

    return act


def png(size: int = 0, colour: int = 0) -> bytes:
    """The head of a PNG of 32 x 16 pixels and `size` more bytes, different for each colour; no whole picture."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x20\x00\x00\x00\x10\x08\x02\x00\x00\x00"
    noise = hashlib.sha256(bytes([colour])).digest()
    return head + (noise * (size // 32 + 1))[:size] + b"IEND"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
