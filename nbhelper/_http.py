"""The one module that talks to the network.

Its connections are `_lines`, over the sockets of `_wire`; where a proxy stands between, they are httpx's own.

Every request has a total deadline and a byte cap, asks for identity encoding, keeps no cookies and follows no redirect
by itself: httpx strips only `Authorization` when a redirect changes the host, so a key in a header of another name
would go along. A key is revealed here and nowhere else, into the headers of requests to its own origin.
"""

from __future__ import annotations

import asyncio
import http.cookiejar
import importlib
import ipaddress
import logging
import os
import socket
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

from ._errors import BadInput
from ._lines import Lines
from ._providers.requests import HttpReply, HttpRequest
from ._session import Connection, is_loopback, is_private, origin_of
from ._text import clean, without_query
from ._version import __version__
from ._wire import Sent

if TYPE_CHECKING:
    import httpx

    Send = Callable[[httpx.Request], Awaitable[httpx.Response]]

LOOK_DEADLINE = 30.0
"""Seconds for one look, from the first packet to the last byte."""
CREATE_DEADLINE = 180.0
"""Seconds for one create: uploads take their time, and giving up early is what leaves creates in doubt."""
CONNECT_DEADLINE = 10.0
MOST_REDIRECTS = 3
_TIMEOUT = {"connect": CONNECT_DEADLINE, "read": None, "write": None, "pool": None}
_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": f"nbhelper/{__version__}"}
_KEPT = 20
"""Connections through a proxy that stay open; without one, all do for a while."""
_NO_CONNECTION = frozenset({"ConnectError", "ConnectTimeout"})
_BROKEN = frozenset({"ReadError", "WriteError"})
"""Names, as httpx and httpcore, and their continuations, call errors."""


class Unreached(Exception):  # never leaves the engine
    """There was no reply.

    Attributes:
        sent: Whether the request's first bytes may have reached the server.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Forbidden(Exception):  # never leaves the engine
    """A link or redirect that is not followed, whoever asks; the text says why."""


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


def _quiet(name: str) -> None:
    # At INFO httpx logs whole URLs, and a signed link is a secret. Whoever set a level keeps it.
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)


class Http:
    """Clients of one event loop. Made, used and closed inside it."""

    def __init__(self) -> None:
        self.lib = _library()
        for name in ("httpx", "httpcore", "httpx2", "httpcore2"):
            _quiet(name)
        self._pools: dict[str, Lines | httpx.AsyncClient] = {}
        self._files: dict[bool, Lines | httpx.AsyncClient] = {}
        self._tls: Any = None

    def _pool(self, origin: str) -> Send:
        """How to send a request to an API."""
        if origin not in self._pools:
            self._pools[origin] = self._proxied() if _by_proxy(origin) else self._lines()
        return _sending(self._pools[origin])

    def _file_pool(self, url: str) -> Send:
        """How to send a request for a file. No connection is kept: two hosts behind one address must not share one."""
        by_proxy = _by_proxy(url)
        if by_proxy not in self._files:
            self._files[by_proxy] = self._proxied(keep=0) if by_proxy else self._lines(keep=False)
        return _sending(self._files[by_proxy])

    def _lines(self, *, keep: bool = True) -> Lines:
        core = importlib.import_module(self.lib.__name__.replace("httpx", "httpcore"))
        return Lines(self.lib, core, self._trust(), keep=keep)

    def _proxied(self, keep: int = _KEPT) -> httpx.AsyncClient:
        """A proxy is honoured for https and never for http: there it would read the key."""
        client: httpx.AsyncClient = self.lib.AsyncClient(
            trust_env=True,
            follow_redirects=False,
            timeout=self.lib.Timeout(None, connect=CONNECT_DEADLINE, pool=None),
            cookies=http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[])),
            headers={"accept-encoding": "identity", "user-agent": f"nbhelper/{__version__}"},
            verify=self._trust(),
            limits=self.lib.Limits(max_connections=None, max_keepalive_connections=keep, keepalive_expiry=20),
        )
        return client

    def _trust(self) -> Any:
        """Whose certificates count; they take a while to load."""
        if self._tls is None:
            self._tls = self.lib.create_ssl_context()
        return self._tls

    async def leave(self, origin: str) -> None:
        """Close what was kept open to an API that has gone: it would be closed at the next request only."""
        if pool := self._pools.pop(origin, None):
            await pool.aclose()

    async def close(self) -> None:
        """Close every connection."""
        for pool in (*self._pools.values(), *self._files.values()):
            await pool.aclose()
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
        send_headers = {
            **(headers or {}),
            **_HEADERS,
            provider.key_header: provider.key_format.replace("{key}", connection.key.reveal()),
        }
        url, query = connection.base_url + request.path, tuple(request.query.items())
        body: dict[str, Any] = {}
        if files or data is not None:
            # Fields as parts without a file name: httpx would send a form when there is no file among them.
            fields = [(name, (None, text.encode("utf-8", "replace"))) for name, text in (data or {}).items()]
            body["files"] = [*fields, *((u.name, (u.filename, u.content, u.mime)) for u in files)]
        elif request.json is not None:
            body["json"] = request.json
        send = self._pool(connection.origin)
        cap = cap or provider.max_reply
        sent = _Sent()
        try:
            async with asyncio.timeout(deadline):
                for _ in range(MOST_REDIRECTS + 1):
                    reply = await self._once(send, request.method, url, query, send_headers, body, cap, sent)
                    target = self._redirect(reply, url, connection) if request.method == "GET" else None
                    if target is None:
                        return reply
                    url, query, body = target, (), {}
                raise Unreached("more than 3 redirects", sent=True)
        except TimeoutError:
            raise Unreached(f"no whole reply within {deadline:g} s", sent=sent.flag) from None

    def _redirect(self, reply: HttpReply, url: str, connection: Connection) -> str | None:
        if reply.status not in {301, 302, 303, 307, 308}:
            return None
        location = reply.headers.get("location", "").strip()
        if not location:
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

    async def _once(
        self,
        send: Send,
        method: str,
        url: str,
        query: tuple[tuple[str, str], ...],
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        cap: int,
        sent: _Sent,
    ) -> HttpReply:
        for attempt in (1, 2):
            sent.begin()
            try:
                target = _parsed(self.lib, url, query)
                if method == "GET" and not body:  # told so, httpx looks for none, and for no header to add
                    headers = {"host": target.netloc.decode("ascii"), **headers}
                    body = {"stream": self.lib.ByteStream(b"")}
                request = self.lib.Request(method, target, headers=headers, extensions=sent.extensions, **body)
                response: Any = await send(request)
                sent.response = response
                try:
                    told = _headers(response)
                    return HttpReply(response.status_code, told, await _body(response.stream, told, cap))
                finally:
                    await response.stream.aclose()
            except (Unreached, Forbidden):
                raise
            except Exception as error:  # noqa: BLE001  # InvalidURL, UnicodeError and more stand outside HTTPError
                if method == "GET" and sent.astray:
                    raise Forbidden("the API redirects to an unreadable address") from None
                if attempt == 1 and _stale(error) and not sent.fresh and not sent.status and method == "GET":
                    continue  # a kept connection that died while idle: the server never saw the request
                raise Unreached(_said(error, url), sent=sent.flag) from None
        raise AssertionError("unreachable")

    # Files

    @asynccontextmanager
    async def download(
        self, link: str, connection: Connection | None, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[HttpReply, AsyncIterator[bytes]]]:
        """A result's bytes, without any key; the reply's body is empty, the iterator gives it in pieces.

        Each hop's address is checked before it is connected to, and the connection goes to the address that was
        checked.

        Raises:
            Forbidden: The link leads where results do not come from.
            Unreached: No reply.
        """
        url = link
        for _ in range(MOST_REDIRECTS + 1):
            url, addresses = await _destination(url, connection, self._addresses)
            async with self._file(url, addresses, headers) as (reply, chunks):
                location = reply.headers.get("location", "").strip()
                if reply.status not in {301, 302, 303, 307, 308} or not location:
                    yield reply, chunks
                    return
            try:
                url = urljoin(url, location)
            except ValueError:
                raise Forbidden("the link redirects to an unreadable address") from None
        raise Unreached("more than 3 redirects", sent=True)

    @asynccontextmanager
    async def _file(
        self, url: str, addresses: list[str], headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[HttpReply, AsyncIterator[bytes]]]:
        sent = _Sent()
        try:
            response = await self._ask(url, addresses, headers, sent)
        except TimeoutError:
            raise Unreached(f"no reply within {LOOK_DEADLINE:g} s", sent=True) from None
        except (Unreached, Forbidden):
            raise
        except Exception as error:  # noqa: BLE001  # InvalidURL, UnicodeError and more stand outside HTTPError
            if sent.astray:
                raise Forbidden("the link redirects to an unreadable address") from None
            raise Unreached(_said(error, url), sent=True) from None
        # Beyond here a fault is the receiver's own, such as a full disk, and is not taken for the network's.
        try:
            # Bytes as they come: an encoding that was not asked for is kept and never undone.
            yield HttpReply(response.status_code, _headers(response)), _pieces(response, url)
        finally:
            await response.stream.aclose()

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Where a name leads."""
        with suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise Forbidden(f"the link's host can be no name: {clean(host, 80)}") from None
        except OSError:  # a TimeoutError is one
            raise Unreached(f"the name {clean(host, 80)} cannot be resolved", sent=False) from None
        return list(dict.fromkeys(str(info[4][0]) for info in found))

    async def _ask(self, url: str, addresses: list[str], headers: Mapping[str, str], sent: _Sent) -> Any:
        """The beginning of a file's reply, from the first of the checked addresses that can be connected to."""
        host = urlsplit(url).hostname or ""
        send = self._file_pool(url)
        target = self.lib.URL(url)
        for position, address in enumerate(addresses):
            request = self.lib.Request(
                "GET",
                target.copy_with(host=address),
                headers={**headers, **_HEADERS, "accept": "*/*", "host": target.netloc.decode("ascii")},
                extensions={"sni_hostname": host, **sent.extensions},
            )
            sent.begin()
            try:
                async with asyncio.timeout(LOOK_DEADLINE):
                    return await send(request)
            except Exception as error:
                if type(error).__name__ not in _NO_CONNECTION or position + 1 == len(addresses):
                    raise
        raise AssertionError("unreachable")


def _direct(url: str) -> bool:
    """Whether no proxy may stand between: on this machine, and wherever one could read along."""
    return url.startswith("http:") or is_loopback(urlsplit(url).hostname or "")


def _by_proxy(url: str) -> bool:
    return not _direct(url) and bool(getproxies())


def _sending(pool: Lines | httpx.AsyncClient) -> Send:
    if isinstance(pool, Lines):
        return pool.handle_async_request
    client = pool
    return lambda request: client.send(request, stream=True)


class _Sent(Sent):
    """Follows one request, by a proxy through httpx's trace events."""

    def begin(self) -> None:
        super().begin()
        self.response: httpx.Response | None = None

    @property
    def extensions(self) -> dict[str, Any]:
        """What a request carries along, so that it can be followed."""
        return {"sent": self, "trace": self.trace, "timeout": _TIMEOUT}

    @property
    def astray(self) -> bool:
        """Whether there was a redirect that the client could not even read, although it was not to follow it."""
        return 300 <= self.status < 400 and self.response is None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        match event.partition(".")[2]:
            case "connect_tcp.started" | "start_tls.started":
                self.fresh = True
            case "send_request_headers.started":
                self.flag = True
            case "receive_response_headers.complete":
                self.status = info["return_value"][1]
            case "receive_response_body.complete" if self.response and _more(self.response):
                # While the connection is still ours: kept, it would give the rest as the answer to another look.
                await self.response.extensions["network_stream"].aclose()


def _more(response: httpx.Response) -> bool:
    """Whether the server sent more than its reply. The client keeps that to itself, so this looks inside."""
    inner: Any = response.stream
    for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state"):
        inner = getattr(inner, name, None)
    return inner is not None and bool(inner.trailing_data[0])


def _stale(error: Exception) -> bool:
    """Whether this is what a connection that died while idle looks like: not a byte came."""
    name = type(error).__name__
    return name in _BROKEN or (name == "RemoteProtocolError" and "without sending a response" in str(error))


@lru_cache(1024)
def _parsed(lib: Any, url: str, query: tuple[tuple[str, str], ...]) -> httpx.URL:
    """An address as httpx wants it: taking one apart costs a tenth of what a look does, and looks are many."""
    parsed: httpx.URL = lib.URL(url, params=dict(query)) if query else lib.URL(url)
    return parsed


def _headers(response: Any) -> dict[str, str]:
    return {k.lower(): v for k, v in response.headers.items()}


def _said(error: Exception, url: str) -> str:
    """What went wrong, in words that hold neither header bytes nor a link's query."""
    try:
        host = urlsplit(url).hostname or "the host"
    except ValueError:
        host = "the host"
    name = type(error).__name__
    text = str(error).casefold()
    if "certificate" in text:
        return f"the certificate of {host} is not trusted (behind a company proxy, set SSL_CERT_FILE)"
    if "name or service" in text or "nodename" in text or "getaddrinfo" in text or "name resolution" in text:
        return f"the name {host} cannot be resolved"
    if name in _NO_CONNECTION:
        return f"cannot reach {host}"
    words = {
        "ReadError": "the connection broke off",
        "WriteError": "the connection broke off",
        "ReadTimeout": "the reply did not come in time",
        "RemoteProtocolError": "the reply broke off or is not HTTP",
        "ProxyError": "the proxy refused",
    }
    return f"{words.get(name, name)} ({host})"


async def _pieces(response: Any, url: str) -> AsyncIterator[bytes]:
    pieces = aiter(response.stream)  # as they come: with a size it would hold slow bytes back
    while True:
        try:
            piece = await anext(pieces, None)
        except Exception as error:  # noqa: BLE001  # as above
            raise Unreached(_said(error, url), sent=True) from None
        if piece is None:
            return
        yield piece


async def _body(stream: AsyncIterable[bytes], headers: Mapping[str, str], cap: int) -> bytes:
    """The body, decoded if need be, never more than `cap` bytes."""

    def too_large() -> Unreached:
        return Unreached(f"the reply is larger than {cap:,} bytes", sent=True)

    length = headers.get("content-length", "")
    if length.isdigit() and (len(length) > 12 or int(length) > cap):
        raise too_large()
    coding = headers.get("content-encoding", "identity").strip().casefold()
    if coding in {"", "identity"}:
        decoder = None
    elif coding in {"gzip", "x-gzip", "deflate"}:
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    else:
        raise Unreached(f"the reply comes in an encoding that was not asked for ({clean(coding, 40)})", sent=True)
    parts: list[bytes] = []
    size = 0
    async for piece in stream:
        if decoder is None:
            data = piece
        else:
            try:
                data = decoder.decompress(piece, cap - size + 1)
            except zlib.error:
                raise Unreached("the reply's encoding is broken", sent=True) from None
        parts.append(data)
        size += len(data)
        if size > cap:
            raise too_large()
    if decoder is not None and not decoder.eof:
        raise Unreached("the reply's encoding breaks off", sent=True)
    return b"".join(parts)


# Where result links may lead


async def _destination(
    url: str, connection: Connection | None, addresses_of: Callable[[str, int], Awaitable[list[str]]]
) -> tuple[str, list[str]]:
    """The link, over https where it may be, and the addresses that were checked for it.

    Raises:
        Forbidden: Another scheme, user information, an odd port, or an address that is not public. The API's own
            host is excepted (a local server's results are local), and so is your own network with `private=True`.
        Unreached: The name cannot be resolved.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise Forbidden(f"the link is unreadable: {clean(url, 60)}") from None
    if parts.scheme not in {"https", "http"} or not host or not url.isprintable():
        raise Forbidden(f"links of this kind are not fetched: {clean(without_query(url), 80)}")
    if parts.username is not None or parts.password is not None:
        raise Forbidden(f"the link holds a user name: {clean(host, 80)}")
    own = connection is not None and host == urlsplit(connection.base_url).hostname
    private = own or (connection is not None and connection.private)
    plain = connection is not None and (connection.base_url.startswith("http:") if own else connection.private)
    if parts.scheme == "http" and not plain:
        # Some stores still hand out http links; the same file is there over https, and nobody on the way can change it.
        url = "https" + url.strip()[4:] if port is None else url
        if port is not None:
            raise Forbidden(f"the link is not https: {clean(host, 80)}")
    if not private and port not in {None, 443, 8443}:
        raise Forbidden(f"the link has the unusual port {port}")
    addresses = await addresses_of(host, port or 443)
    for address in addresses:
        if not private and not _public(address):
            raise Forbidden(f"the link leads to {clean(host, 80)}, which is no public address")
    return url.strip(), addresses[:4]


def _public(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a name, where nobody can look it up
        return not is_private(address)
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    if mapped is not None:
        ip = mapped
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
