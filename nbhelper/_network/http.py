"""HTTP requests to APIs and for result files, with httpx.

Every request has a total deadline and a byte cap, asks for identity encoding, keeps no cookies and follows no redirect
by itself: httpx strips only `Authorization` when a redirect changes the host, so a key in a header of another name
would go along. A key is revealed here and nowhere else, into the headers of requests to its own origin.
"""

from __future__ import annotations

import asyncio
import http.cookiejar
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from .._model.errors import BadInput
from .._model.text import clean
from .._providers.requests import HttpReply, HttpRequest
from .._session.addresses import origin_of
from .._session.session import Connection
from .._version import __version__
from .destinations import resolve_link, uses_proxy
from .faults import Forbidden, Unreached
from .replies import CONNECT_ERRORS, REDIRECTS, error_text, is_disconnect, read_body, stream_body

if TYPE_CHECKING:
    import httpx

LOOK_DEADLINE = 30.0
"""Seconds for one look, from the first packet to the last byte."""
CREATE_DEADLINE = 180.0
"""Seconds for one create: uploads take their time, and giving up early is what leaves creates in doubt."""
CONNECT_DEADLINE = 10.0
MAX_REDIRECTS = 3
_MAX_CONNECTIONS = 20
"""Connections to one API that are open at a time; a gate lets no more looks be in flight."""
_KEEPALIVE = 20.0
"""Seconds that a connection may be idle for and still be used."""
_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": f"nbhelper/{__version__}"}


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a multipart create."""

    name: str
    filename: str
    content: bytes = field(repr=False)
    mime: str = "application/octet-stream"


def _library() -> Any:
    """httpx, or its continuation httpx2 when `NBHELPER_HTTP=httpx2` says so; never because it happens to be there."""
    choice = os.environ.get("NBHELPER_HTTP", "httpx").strip() or "httpx"
    if choice == "httpx":
        import httpx

        return httpx
    if choice == "httpx2":
        try:
            import httpx2
        except ImportError:
            raise BadInput('NBHELPER_HTTP is "httpx2", which is not installed: pip install "nbhelper[fast]".') from None
        return httpx2
    raise BadInput(f'NBHELPER_HTTP is "{clean(choice, 40)}"; it takes "httpx" or "httpx2".')


def _set_quiet(name: str) -> None:
    """Set a logger without a level to WARNING: at INFO httpx logs whole URLs, and a signed link is a secret."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)


class Http:
    """The httpx clients of one event loop. Made, used and closed inside it."""

    def __init__(self) -> None:
        self.lib = _library()
        for name in ("httpx", "httpcore", "httpx2", "httpcore2"):
            _set_quiet(name)
        self._look_clients: dict[str, httpx.AsyncClient] = {}  # by origin
        self._single_use_clients: dict[bool, httpx.AsyncClient] = {}  # by whether a proxy is used
        self._ssl_context: Any = None

    def _look_client(self, origin: str) -> httpx.AsyncClient:
        """The client that keeps its connections to an API open."""
        if origin not in self._look_clients:
            limits = self.lib.Limits(
                max_connections=_MAX_CONNECTIONS,
                max_keepalive_connections=_MAX_CONNECTIONS,
                keepalive_expiry=_KEEPALIVE,
            )
            self._look_clients[origin] = self._new_client(limits, by_proxy=uses_proxy(origin))
        return self._look_clients[origin]

    def _single_use_client(self, url: str) -> httpx.AsyncClient:
        """The client that makes a connection for each request.

        A create cannot be repeated when a kept connection turns out to be dead; and a file's connection goes to an
        IP address, which two hosts may share.
        """
        by_proxy = uses_proxy(url)
        if by_proxy not in self._single_use_clients:
            limits = self.lib.Limits(max_connections=None, max_keepalive_connections=0)
            self._single_use_clients[by_proxy] = self._new_client(limits, by_proxy=by_proxy)
        return self._single_use_clients[by_proxy]

    def _new_client(self, limits: httpx.Limits, *, by_proxy: bool) -> httpx.AsyncClient:
        if self._ssl_context is None:
            self._ssl_context = self.lib.create_ssl_context()  # certificates take a while to load
        client: httpx.AsyncClient = self.lib.AsyncClient(
            trust_env=by_proxy,
            follow_redirects=False,
            timeout=self.lib.Timeout(None, connect=CONNECT_DEADLINE),  # all else has a total deadline
            cookies=http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[])),
            headers=_HEADERS,
            verify=self._ssl_context,
            limits=limits,
        )
        return client

    async def leave(self, origin: str) -> None:
        """Close the connections that are kept open to an API."""
        if client := self._look_clients.pop(origin, None):
            await client.aclose()

    async def close(self) -> None:
        """Close every connection."""
        for client in (*self._look_clients.values(), *self._single_use_clients.values()):
            await client.aclose()
        await asyncio.sleep(0)  # asyncio closes a socket when its loop turns next

    # The API

    async def api(
        self,
        connection: Connection,
        request: HttpRequest,
        *,
        deadline: float = LOOK_DEADLINE,
        data: Mapping[str, str] | None = None,
        files: tuple[Upload, ...] = (),
        headers: Mapping[str, str] | None = None,
        cap: int | None = None,
    ) -> HttpReply:
        """One request to the API, with the key; the reply has at most `cap` bytes, or what the provider allows.

        Raises:
            Unreached: No reply, whatever the reason.
            Forbidden: The reply is a redirect to another origin, where the key must not go.
        """
        provider = connection.provider
        options: dict[str, Any] = {
            "headers": {
                **(headers or {}),
                **_HEADERS,
                provider.key_header: provider.key_format.replace("{key}", connection.key.reveal()),
            },
        }
        if request.query:
            options["params"] = dict(request.query)
        if files or data is not None:
            # Fields as parts without a file name: httpx would send a form when there is no file among them.
            fields = [(name, (None, text.encode("utf-8", "replace"))) for name, text in (data or {}).items()]
            options["files"] = [*fields, *((u.name, (u.filename, u.content, u.mime)) for u in files)]
        elif request.json is not None:
            options["json"] = request.json
        url = connection.base_url + request.path
        is_get = request.method == "GET"
        client = self._look_client(connection.origin) if is_get else self._single_use_client(url)
        trace = _Trace()
        try:
            async with asyncio.timeout(deadline):
                for _ in range(MAX_REDIRECTS + 1):
                    reply = await _send(client, request.method, url, options, cap or provider.max_reply, trace)
                    target = _redirect_target(reply, url, connection) if is_get else None
                    if target is None:
                        return reply
                    url, options = target, {"headers": options["headers"]}
                raise Unreached("more than 3 redirects", is_sent=True)
        except TimeoutError:
            raise Unreached(f"no whole reply within {deadline:g} s", is_sent=trace.is_sent) from None

    # Files

    @asynccontextmanager
    async def download(
        self, link: str, connection: Connection | None, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[HttpReply, AsyncIterator[bytes]]]:
        """A result's bytes, without any key; the reply's body is empty, the iterator gives it in pieces.

        The address of each hop is checked, and the connection goes to the address that was checked, unless a proxy
        is used: it looks the name up itself.

        Raises:
            Forbidden: The link leads where results do not come from.
            Unreached: No reply.
        """
        url = link
        for _ in range(MAX_REDIRECTS + 1):
            url, addresses = await resolve_link(url, connection)
            async with self._open_file(url, addresses, headers) as (reply, chunks):
                location = reply.headers.get("location", "").strip()
                if reply.status not in REDIRECTS or not location:
                    yield reply, chunks
                    return
            try:
                url = urljoin(url, location)
            except ValueError:
                raise Forbidden("the link redirects to an unreadable address") from None
        raise Unreached("more than 3 redirects", is_sent=True)

    @asynccontextmanager
    async def _open_file(
        self, url: str, addresses: list[str], headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[HttpReply, AsyncIterator[bytes]]]:
        trace = _Trace()
        try:
            response = await self._request_file(url, addresses, headers, trace)
        except TimeoutError:
            raise Unreached(f"no reply within {LOOK_DEADLINE:g} s", is_sent=True) from None
        except Exception as error:  # noqa: BLE001  # InvalidURL, UnicodeError and more stand outside HTTPError
            if trace.status in REDIRECTS:
                raise Forbidden("the link redirects to an unreadable address") from None
            raise Unreached(error_text(error, url), is_sent=True) from None
        # An exception from here on is the receiver's, such as that of a full disk, and no fault of the network.
        try:
            yield HttpReply(response.status_code, dict(response.headers)), stream_body(response, url)
        finally:
            await response.aclose()

    async def _request_file(
        self, url: str, addresses: list[str], headers: Mapping[str, str], trace: _Trace
    ) -> httpx.Response:
        """The headers of a file's reply, from the first of the checked addresses that can be connected to.

        A proxy is given the name instead: with one, httpx checks the certificate against the URL's host.
        """
        target = self.lib.URL(url)
        client = self._single_use_client(url)
        hosts = [target.host] if uses_proxy(url) else addresses
        for position, host in enumerate(hosts):
            trace.begin_attempt()
            request = client.build_request(
                "GET",
                target.copy_with(host=host),
                headers={**headers, **_HEADERS, "accept": "*/*", "host": target.netloc.decode("ascii")},
                extensions={"sni_hostname": urlsplit(url).hostname or "", "trace": trace.receive},
            )
            try:
                async with asyncio.timeout(LOOK_DEADLINE):
                    return await client.send(request, stream=True)
            except Exception as error:
                if type(error).__name__ not in CONNECT_ERRORS or position + 1 == len(hosts):
                    raise
        raise AssertionError("unreachable")


class _StaleConnection(Unreached):
    """A kept connection that the server had closed: it ended before any byte of the reply."""


async def _send(
    client: httpx.AsyncClient, method: str, url: str, options: Mapping[str, Any], cap: int, trace: _Trace
) -> HttpReply:
    """One request; a GET once more if the kept connection had died while idle: the server never saw the request."""
    try:
        return await _send_once(client, method, url, options, cap, trace)
    except _StaleConnection:
        if method != "GET":
            raise
        return await _send_once(client, method, url, options, cap, trace)


async def _send_once(
    client: httpx.AsyncClient, method: str, url: str, options: Mapping[str, Any], cap: int, trace: _Trace
) -> HttpReply:
    """One request and its whole reply.

    Raises:
        Unreached: No reply, whatever the reason.
        Forbidden: The reply is a redirect whose location cannot be parsed.
    """
    trace.begin_attempt()
    response = None
    try:
        request = client.build_request(method, url, extensions={"trace": trace.receive}, **options)
        response = await client.send(request, stream=True)
        try:
            headers = dict(response.headers)
            return HttpReply(response.status_code, headers, await read_body(response, headers, cap))
        finally:
            await response.aclose()
    except Unreached:
        raise
    except Exception as error:  # noqa: BLE001  # InvalidURL, UnicodeError and more stand outside HTTPError
        if method == "GET" and response is None and trace.status in REDIRECTS:
            raise Forbidden("the API redirects to an unreadable address") from None
        is_stale = is_disconnect(error) and not trace.is_fresh and not trace.status
        kind = _StaleConnection if is_stale else Unreached
        raise kind(error_text(error, url), is_sent=trace.is_sent) from None


def _redirect_target(reply: HttpReply, url: str, connection: Connection) -> str | None:
    """Where a redirect leads, if the reply is one.

    Raises:
        Forbidden: To another origin, or to what is no URL.
    """
    location = reply.headers.get("location", "").strip()
    if reply.status not in REDIRECTS or not location:
        return None
    try:
        target = urljoin(url, location)
        origin = origin_of(target)
        host = urlsplit(target).hostname
    except ValueError:
        raise Forbidden("the API redirects to an unreadable address") from None
    if origin != connection.origin:
        raise Forbidden(f"the API redirects to {clean(host or location, 80)}, where the key is not sent")
    return target


class _Trace:
    """What httpx's `trace` extension reports of one request.

    Attributes:
        is_sent: Whether bytes of the request itself, never those of a proxy's CONNECT, may have reached the server, in
            this attempt or an earlier one.
        is_fresh: Whether this attempt opened a connection.
        status: The status of this attempt's reply; 0 before its headers are complete.
    """

    def __init__(self) -> None:
        self.is_sent = False
        self._tcp_stream: Any = None
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """Forget what is known of an earlier attempt, except whether it was sent."""
        self.is_fresh = False
        self.status = 0
        self._is_tunnel = False
        self._has_loop_turned = False

    async def receive(self, event: str, info: Mapping[str, Any]) -> None:
        """Take one event of the `trace` extension.

        Raises:
            ValueError: The reply was in memory before the request was sent, so it answers no request.
        """
        match event.partition(".")[2]:
            case "connect_tcp.started" | "start_tls.started":
                self.is_fresh = True
            case "connect_tcp.complete":
                self._tcp_stream = info["return_value"]
            case "start_tls.failed":  # httpx leaves the socket open when a handshake is cancelled
                await self._tcp_stream.aclose()
            case "send_request_headers.started":
                self._is_tunnel = info["request"].method == b"CONNECT"
                self.is_sent = self.is_sent or not self._is_tunnel
            case "receive_response_headers.started":
                self._has_loop_turned = False
                asyncio.get_running_loop().call_soon(self._note_turn)
            case "receive_response_headers.complete" if not self._is_tunnel:
                self.status = info["return_value"][1]
                # Reading from a socket always lets the loop turn. Without that, these headers came behind an earlier
                # reply on this connection. The exception makes httpx close it.
                if not self._has_loop_turned:
                    raise ValueError("the server sent more than one reply to a request")

    def _note_turn(self) -> None:
        self._has_loop_turned = True
