"""Result files and their signed, expiring links, served as an object store such as S3 does."""

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

#: Lower bound of a link's life in seconds, whatever the speed: a client looks only every few seconds.
SHORTEST_LINK = 3.0
_KEEP = 48 << 20  # bytes of finished files kept in memory
_CHUNK = 64 << 10
_KEY_HEADERS = ("authorization", "ailabapi-api-key", "x-api-key")


class Links:
    """The links of one reply; a result that the reply names twice has the same link twice."""

    def __init__(self, vault: Vault, job: Job, life: float, *, fresh: bool) -> None:
        self._vault, self._job, self._life, self._fresh = vault, job, life, fresh
        self._given: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """Return the link to a result by its key path."""
        if name not in self._given:
            asset = next(a for a in self._job.assets if a.name == name)
            self._given[name] = self._vault.link(self._job, asset, self._life, fresh=self._fresh)
        return self._given[name]


class Vault:
    """The result files of all tasks: made in threads, cached by size, served over HTTP with ranges."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._secret = secrets.token_bytes(32)
        self._dead: set[str] = set()
        self._cache: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size = 0
        # Not in the event loop, which would block; two threads at most, to leave processors to the caller.
        self._makers = ThreadPoolExecutor(2, thread_name_prefix="nbhelper-emulator-media")

    def close(self) -> None:
        """Shut the thread pool down."""
        self._makers.shutdown(wait=True, cancel_futures=True)

    # Links

    def links(self, job: Job, life: float, *, fresh: bool = False) -> Links:
        """Return the links for one reply.

        Args:
            job: The task.
            life: Seconds a link lives at speed 1.
            fresh: Sign a new link for every reply, as Tripo does, instead of one link per result.
        """
        return Links(self, job, life, fresh=fresh)

    def _sign(self, path: str, expires: str, serial: str) -> str:
        text = f"{path}\n{expires}\n{serial}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:40]

    def link(self, job: Job, asset: Asset, life: float, *, fresh: bool) -> str:
        """Return the absolute URL of one result, signed."""
        clock, plan = self._world.clock, job.plan
        earlier = job.links.setdefault(asset.name, [])
        # With `dead-link` the second look gets a new link, so that the file can be downloaded at all.
        if earlier and not fresh and not (plan.dead_link and len(earlier) == 1):
            return earlier[-1][0]
        lives = plan.link if plan.link is not None else max(SHORTEST_LINK, life / self._world.speed)
        until = clock.now() + lives
        path = f"/files/{job.key}/{asset.file}"
        expires, serial = str(round(clock.epoch(until) * 1000)), secrets.token_hex(3)
        sig = self._sign(path, expires, serial)
        if plan.dead_link and not earlier:
            self._dead.add(sig)
        url = f"{self._world.root}{path}?sig={sig}&expires={expires}&n={serial}"
        # Only the first and the newest matter, and a watched Tripo task gets a new one every two seconds.
        del earlier[1:]
        earlier.append((url, until))
        return url

    # Bytes

    async def content(self, job: Job, asset: Asset) -> bytes:
        """Return the bytes of one result from the LRU cache, or make them in a thread."""
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
        """``GET /files/{key}/{file}``: check signature and expiry, then send the file or one range of it."""
        path = request.url.path
        job = self._world.find_by_key(request.path_params["key"])
        asset = next((a for a in job.assets if a.file == request.path_params["file"]), None) if job else None
        if job is None or asset is None:
            return _xml_error(404, "NoSuchKey", "The specified key does not exist.", path)
        has_key = any(name in request.headers for name in _KEY_HEADERS)

        def record(status: int, n_bytes: int) -> None:
            at = self._world.clock.utc(self._world.clock.now())
            job.downloads.append(Download(at, asset.name, path, status, n_bytes, has_key))

        query = request.query_params
        sig, expires = query.get("sig", ""), query.get("expires", "")
        good = self._sign(path, expires, query.get("n", ""))
        if not hmac.compare_digest(sig.encode(), good.encode()) or sig in self._dead:
            record(403, 0)
            return _xml_error(403, "SignatureDoesNotMatch", "The request signature does not match.", path)
        if int(expires) / 1000 <= self._world.clock.epoch(self._world.clock.now()):
            record(403, 0)
            return _xml_error(403, "AccessDenied", "Request has expired", path)
        data = await self.content(job, asset)
        etag = f'"{job.made[asset.name][0][:32]}"'
        changed = format_datetime(self._world.clock.utc(job.created).replace(microsecond=0), usegmt=True)
        headers = {"etag": etag, "last-modified": changed, "accept-ranges": "bytes", "content-type": TYPES[asset.form]}
        whole = request.headers.get("if-range", etag) not in (etag, changed)
        span = None if whole else _parse_range(request.headers.get("range"), len(data))
        if span is not None and span[0] >= span[1]:
            record(416, 0)
            return Response(b"", 416, {**headers, "content-range": f"bytes */{len(data)}"})
        head = request.method == "HEAD"
        if span is None:
            return _File(200, headers, memoryview(data), head=head, record=record)
        first, end = span
        headers["content-range"] = f"bytes {first}-{end - 1}/{len(data)}"
        return _File(206, headers, memoryview(data)[first:end], head=head, record=record)


def _parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Parse a Range header: start and end (exclusive); None for the whole file, an empty range for 416."""
    unit, _, text = (header or "").partition("=")
    first, dash, last = text.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in text:
        return None  # RFC 9110 allows the whole file for several ranges
    with contextlib.suppress(ValueError):
        if not first:
            return max(0, size - int(last)), size
        start, end = int(first), int(last) + 1 if last else size
        if start < size:
            return (start, min(end, size)) if start < end else None
        return size, size
    return None


def _xml_error(status: int, code: str, message: str, path: str) -> Response:
    """An error with an XML body, as S3 answers."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message><Resource>{escape(path)}</Resource>"
        f"<RequestId>{secrets.token_hex(8).upper()}</RequestId></Error>"
    )
    return Response(body, status, media_type="application/xml")


class _File(Response):
    """A response in pieces of 64 kB that records the download when it is sent or broken off."""

    def __init__(
        self, status: int, headers: dict[str, str], data: memoryview, *, head: bool, record: Callable[[int, int], None]
    ) -> None:
        super().__init__(b"", status, {**headers, "content-length": str(len(data))})
        self._data, self._head, self._record = data, head, record

    def _pieces(self) -> Iterator[memoryview]:
        for start in range(0, len(self._data), _CHUNK):
            yield self._data[start : start + _CHUNK]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the signature of an ASGI application
        sent, pieces = 0, [] if self._head else list(self._pieces())
        recorded = False
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for number, piece in enumerate(pieces, 1):
                sent += len(piece)
                if number == len(pieces):
                    # Recorded before the last piece is sent: a client that has the whole file finds it in the ledger.
                    self._record(self.status_code, sent)
                    recorded = True
                await send({"type": "http.response.body", "body": bytes(piece), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if not recorded:
                self._record(self.status_code, sent)
