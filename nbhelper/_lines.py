"""Connections that are kept to an API, or used once for a file, each for one request at a time.

It is what httpx calls a transport, and stands in for httpx's own, whose pool goes over all of its connections at the
begin and the end of each request and lets the loop turn at several locks: a look costs less than half of that, however
many there are at a time. httpcore's connections, one below its pools, still speak the HTTP.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._wire import Sent, Stream, connect

if TYPE_CHECKING:
    import httpx

_KEPT = 20.0
"""Seconds that a connection may be idle for and still be used."""
_REST = 0.1
"""Seconds that a connection rests between two requests while there are few of them: whatever a server sends beside its
reply comes to light in this time, and is not taken for the next reply."""
_MOST = 20
"""Connections that are made for the sake of rest; it is what a gate lets fly at a time."""
_PORTS = {"https": 443, "http": 80}


@dataclass(slots=True, eq=False)
class _Line:
    stream: Stream
    http: Any  # httpcore's side of it
    since: float = 0.0  # when it became idle


class Lines:
    """As many connections as there are requests at a time; whichever has rested longest goes first.

    Args:
        lib: httpx or httpx2.
        core: The httpcore below it.
        tls: How to check certificates.
        keep: Whether connections are used again.
    """

    def __init__(self, lib: Any, core: Any, tls: Any, *, keep: bool = True) -> None:
        self._lib = lib
        self._core = core
        self._tls = tls
        self._tls.set_alpn_protocols(["http/1.1"])
        self._keep = keep
        self._idle: deque[_Line] = deque()
        self._busy: set[_Line] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request whose extension `sent` is told what becomes of it; the reply's stream has to be closed.

        Raises:
            httpcore's errors, which have the names of httpx's.
        """
        sent: Sent = request.extensions["sent"]
        url = request.url
        line = self._kept(sure=request.method != "GET")
        if line is None:
            sent.fresh = True
            line = await self._connect(request)
        line.stream.sent = sent
        self._busy.add(line)
        try:
            reply = await line.http.handle_async_request(
                self._core.Request(
                    request.method,
                    self._core.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                )
            )
        except BaseException:
            self._over(line)
            raise
        sent.status = reply.status
        body: Any = _Body(reply.stream, lambda: self._over(line))
        response: httpx.Response = self._lib.Response(reply.status, headers=reply.headers, stream=body)
        return response

    def _kept(self, *, sure: bool) -> _Line | None:
        """An idle connection; for what cannot be sent twice, `sure` to be open at this very moment."""
        while self._idle:
            line = self._idle[0]
            over = line.http.has_expired() or (sure and line.stream.stirs)
            few = len(self._idle) + len(self._busy) < _MOST
            if few and not over and time.monotonic() - line.since < _REST:
                return None
            self._idle.popleft()
            if not over:
                return line
            line.stream.close()
        return None

    async def _connect(self, request: httpx.Request) -> _Line:
        url, core = request.url, self._core
        port = url.port or _PORTS[url.scheme]
        host = url.raw_host.decode("ascii")
        timeout = request.extensions["timeout"]["connect"]
        stream = await connect(core, host, port, timeout)
        if url.scheme == "https":
            name = request.extensions.get("sni_hostname", host)
            await stream.start_tls(self._tls, name, timeout)
        origin = core.Origin(url.raw_scheme, url.raw_host, port)
        return _Line(stream, core.AsyncHTTP11Connection(origin, stream, _KEPT))

    def _over(self, line: _Line) -> None:
        """A request is over, however it went."""
        self._busy.discard(line)
        line.stream.sent = None
        if self._keep and line.http.is_idle() and not _more(line.http):
            line.since = time.monotonic()
            self._idle.append(line)
        else:
            line.stream.close()

    async def aclose(self) -> None:
        """Close every connection."""
        for line in (*self._idle, *self._busy):
            line.stream.close()
        self._idle.clear()


class _Body:
    """A reply's bytes, whose connection is free again when they are closed."""

    def __init__(self, stream: Any, over: Callable[[], None]) -> None:
        self._stream = stream
        self._over: Callable[[], None] | None = over

    def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: AsyncIterator[bytes] = self._stream.__aiter__()
        return pieces

    async def aclose(self) -> None:
        if self._over is None:
            return
        over, self._over = self._over, None
        try:
            await self._stream.aclose()
        finally:
            over()


def _more(http: Any) -> bool:
    """Whether the server sent more than its reply: kept, the connection would give the rest to another look.

    httpcore keeps that to itself, so this looks inside; where it cannot, no connection is kept.
    """
    state = getattr(http, "_h11_state", None)
    return state is None or bool(state.trailing_data[0])
