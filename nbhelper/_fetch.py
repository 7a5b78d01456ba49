"""HTTP inside a browser's page: httpx's requests, carried by the page's own `fetch`.

It has run in Pyodide, in Chromium, against a server that was the page's own; nobody has run it in JupyterLite or at a
real API. There the browser decides: an API is reached only if it allows the page's origin and the key's header (CORS).
No name can be looked up, so that a link's host is judged by its name alone.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx

from ._http import Forbidden, Http, Unreached
from ._text import clean

if TYPE_CHECKING:
    from ._http import Send

_THE_BROWSERS = frozenset({"accept-encoding", "connection", "content-length", "host", "user-agent"})
"""Headers of a request that a page may not, or had better not, set: each of its own has to be allowed by the API."""
_UNDONE = frozenset({"content-encoding", "content-length"})
"""Headers of a reply that speak of bytes before `fetch` has decoded them."""


class PageHttp(Http):
    """`Http` whose every byte goes through one transport; deadlines, byte caps and redirects are as ever."""

    def __init__(self) -> None:
        super().__init__()
        self.lib = httpx
        self._wire = Fetch()

    def _pool(self, origin: str) -> Send:  # noqa: ARG002  # pools and proxies are the browser's business
        return self._wire.handle_async_request

    def _file_pool(self, url: str) -> Send:
        return self._pool(url)

    async def _addresses(self, host: str, port: int) -> list[str]:  # noqa: ARG002  # there is no looking up
        if host.rpartition(".")[2][:1].isdigit():  # no top-level domain: a browser reads 127.1 as 127.0.0.1
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise Forbidden(f"the link's host is no plain address: {clean(host, 80)}") from None
        return [host]


class Fetch(httpx.AsyncBaseTransport):
    """A transport that follows no redirect and sends no cookies, as `fetch` would by itself."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the reply's body comes in pieces as they arrive.

        Raises:
            Forbidden: The answer is a redirect; a browser does not say where to.
            Unreached: There is no answer, or the page may not see it.
        """
        from pyodide.http import pyfetch  # type: ignore[import-not-found]  # is there, inside a page

        options: dict[str, Any] = {"method": request.method, "redirect": "manual", "credentials": "omit"}
        options |= {"cache": "no-store", "referrerPolicy": "no-referrer"}
        options["headers"] = {k: v for k, v in request.headers.items() if k.lower() not in _THE_BROWSERS}
        if body := await request.aread():
            options["body"] = body
        host = clean(request.url.host, 80)
        try:
            reply = (await pyfetch(str(request.url), **options)).js_response
        except Exception:  # noqa: BLE001  # JavaScript's, and it may hold the link
            raise Unreached(f"cannot reach {host}, or it does not let this page read its answer", sent=True) from None
        if reply.type == "opaqueredirect":
            raise Forbidden(f"{host} redirects, and a browser does not say where to")
        headers = [(k, v) for k, v in reply.headers if k.lower() not in _UNDONE]
        return httpx.Response(reply.status, headers=headers, stream=_Body(reply.body))


class _Body(httpx.AsyncByteStream):
    """What a reply brings, until there is no more or nobody wants it."""

    def __init__(self, body: Any) -> None:
        self._reader = body.getReader() if body else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._reader is not None:
            try:
                piece = await self._reader.read()
            except Exception:  # noqa: BLE001  # as above
                raise httpx.RemoteProtocolError("the reply broke off") from None
            if piece.done:
                return
            yield piece.value.to_bytes()

    async def aclose(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(Exception):  # it may have failed already
                await self._reader.cancel()
