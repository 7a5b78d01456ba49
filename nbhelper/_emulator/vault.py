"""Result files behind signed links that expire, as an object store serves them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import format_datetime
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nbhelper._emulator.ledger import Download
from nbhelper._emulator.media import TYPES, Asset, make
from nbhelper._emulator.world import Job, World

#: No link dies sooner than this because of the speed: a client looks at most every few seconds.
SHORTEST_LINK = 3.0
_KEEP = 48 << 20  # bytes of finished files kept in memory
_CHUNK = 64 << 10
_KEY_HEADERS = ("authorization", "ailabapi-api-key", "x-api-key")


class Links:
    """The links of one reply: each result is signed once, wherever the reply names it."""

    def __init__(self, vault: Vault, job: Job, life: float, *, fresh: bool) -> None:
        self._vault, self._job, self._life, self._fresh = vault, job, life, fresh
        self._given: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The link to the result of that name."""
        if name not in self._given:
            asset = next(a for a in self._job.assets if a.name == name)
            self._given[name] = self._vault.link(self._job, asset, self._life, fresh=self._fresh)
        return self._given[name]


class Vault:
    """Makes, keeps and serves the results of all tasks."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._secret = secrets.token_bytes(32)
        self._dead: set[str] = set()
        self._cache: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size = 0
        # Two threads: pictures are made beside the event loop, and never crowd the caller's processor.
        self._makers = ThreadPoolExecutor(2, thread_name_prefix="nbhelper-emulator-media")

    def close(self) -> None:
        """Let the threads end."""
        self._makers.shutdown(wait=True, cancel_futures=True)

    # Links

    def links(self, job: Job, life: float, *, fresh: bool = False) -> Links:
        """A signer for one reply.

        Args:
            job: Whose results.
            life: Seconds a link lives at speed 1.
            fresh: Whether the API signs anew at every look, as Tripo does, or once.
        """
        return Links(self, job, life, fresh=fresh)

    def _sign(self, path: str, expires: str, serial: str) -> str:
        text = f"{path}\n{expires}\n{serial}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:40]

    def link(self, job: Job, asset: Asset, life: float, *, fresh: bool) -> str:
        """A link to one result, absolute."""
        clock, plan = self._world.clock, job.plan
        given = job.links.setdefault(asset.name, [])
        # A dead first link is replaced at the next look, or nothing could ever be downloaded.
        if given and not fresh and not (plan.dead_link and len(given) == 1):
            return given[-1][0]
        lives = plan.link if plan.link is not None else max(SHORTEST_LINK, life / self._world.speed)
        until = clock.now() + lives
        path = f"/files/{job.key}/{asset.file}"
        expires, serial = str(round(clock.epoch(until) * 1000)), secrets.token_hex(3)
        sig = self._sign(path, expires, serial)
        if plan.dead_link and not given:
            self._dead.add(sig)
        url = f"{self._world.root}{path}?sig={sig}&expires={expires}&n={serial}"
        # Only the first and the newest matter, and a watched Tripo task gets a new one every two seconds.
        del given[1:]
        given.append((url, until))
        return url

    # Bytes

    async def content(self, job: Job, asset: Asset) -> bytes:
        """The bytes of one result; made in a thread, kept for a while."""
        key = (job.key, asset.name)
        data = self._cache.get(key)
        if data is not None:
            self._cache.move_to_end(key)
            return data
        data = await asyncio.get_running_loop().run_in_executor(self._makers, make, asset, job.seed, job.prompt)
        job.made[asset.name] = (hashlib.sha256(data).hexdigest(), len(data))
        if len(data) <= _KEEP // 6 and key not in self._cache:
            self._cache[key] = data
            self._size += len(data)
            while self._size > _KEEP:
                _, old = self._cache.popitem(last=False)
                self._size -= len(old)
        return data

    # Serving

    async def serve(self, request: Request) -> Response:
        """Answer a request for a file."""
        path = request.url.path
        job = self._world.by_key(request.path_params["key"])
        asset = next((a for a in job.assets if a.file == request.path_params["file"]), None) if job else None
        if job is None or asset is None:
            return _refusal(404, "NoSuchKey", "The specified key does not exist.", path)
        keyed = any(name in request.headers for name in _KEY_HEADERS)

        def note(status: int, n_bytes: int) -> None:
            at = self._world.clock.utc(self._world.clock.now())
            job.downloads.append(Download(at, asset.name, path, status, n_bytes, keyed))

        query = request.query_params
        sig, expires = query.get("sig", ""), query.get("expires", "")
        good = self._sign(path, expires, query.get("n", ""))
        if not hmac.compare_digest(sig.encode(), good.encode()) or sig in self._dead:
            note(403, 0)
            return _refusal(403, "SignatureDoesNotMatch", "The request signature does not match.", path)
        if int(expires) / 1000 <= self._world.clock.epoch(self._world.clock.now()):
            note(403, 0)
            return _refusal(403, "AccessDenied", "Request has expired", path)
        data = await self.content(job, asset)
        etag = f'"{job.made[asset.name][0][:32]}"'
        changed = format_datetime(self._world.clock.utc(job.created).replace(microsecond=0), usegmt=True)
        headers = {"etag": etag, "last-modified": changed, "accept-ranges": "bytes", "content-type": TYPES[asset.form]}
        whole = request.headers.get("if-range", etag) not in (etag, changed)
        span = None if whole else _span(request.headers.get("range"), len(data))
        if span is not None and span[0] >= span[1]:
            note(416, 0)
            return Response(b"", 416, {**headers, "content-range": f"bytes */{len(data)}"})
        head = request.method == "HEAD"
        if span is None:
            return _File(200, headers, memoryview(data), head=head, note=note)
        first, end = span
        headers["content-range"] = f"bytes {first}-{end - 1}/{len(data)}"
        return _File(206, headers, memoryview(data)[first:end], head=head, note=note)


def _span(asked: str | None, size: int) -> tuple[int, int] | None:
    """The one range asked for, its end not included; None for the whole file, an empty one when outside it."""
    unit, _, text = (asked or "").partition("=")
    first, dash, last = text.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in text:
        return None  # several ranges may be answered with the whole file
    with contextlib.suppress(ValueError):
        if not first:
            return max(0, size - int(last)), size
        start, end = int(first), int(last) + 1 if last else size
        if start < size:
            return (start, min(end, size)) if start < end else None
        return size, size
    return None


def _refusal(status: int, code: str, message: str, path: str) -> Response:
    """A refusal in the manner of an object store."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message><Resource>{escape(path)}</Resource>"
        f"<RequestId>{secrets.token_hex(8).upper()}</RequestId></Error>"
    )
    return Response(body, status, media_type="application/xml")


class _File(Response):
    """A file sent in pieces, noted when it has gone out or was broken off."""

    def __init__(
        self, status: int, headers: dict[str, str], data: memoryview, *, head: bool, note: Callable[[int, int], None]
    ) -> None:
        super().__init__(b"", status, {**headers, "content-length": str(len(data))})
        self._data, self._head, self._note = data, head, note

    def _pieces(self) -> Iterator[memoryview]:
        for start in range(0, len(self._data), _CHUNK):
            yield self._data[start : start + _CHUNK]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the signature of an ASGI application
        sent, pieces = 0, [] if self._head else list(self._pieces())
        noted = False
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for number, piece in enumerate(pieces, 1):
                sent += len(piece)
                if number == len(pieces):
                    # Noted before the last piece leaves: whoever has the whole file finds it in the ledger.
                    self._note(self.status_code, sent)
                    noted = True
                await send({"type": "http.response.body", "body": bytes(piece), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if not noted:
                self._note(self.status_code, sent)
