"""Reading a reply: its body within a byte cap, and the words for an error of httpx."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .._model.text import clean
from .faults import Unreached

if TYPE_CHECKING:
    import httpx

REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONNECT_ERRORS = frozenset({"ConnectError", "ConnectTimeout"})
"""Names, the same in httpx and httpx2, of errors before there is a connection."""
_BROKEN = frozenset({"ReadError", "WriteError"})
_WORDS = {
    "ReadError": "the connection broke off",
    "WriteError": "the connection broke off",
    "ReadTimeout": "the reply did not come in time",
    "RemoteProtocolError": "the reply broke off or is not HTTP",
    "ProxyError": "the proxy refused",
}


def is_disconnect(error: Exception) -> bool:
    """Whether the connection ended before any byte of a reply, as a kept connection that died while idle does."""
    name = type(error).__name__
    return name in _BROKEN or (name == "RemoteProtocolError" and "without sending a response" in str(error))


def error_text(error: Exception, url: str) -> str:
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
    if name in CONNECT_ERRORS:
        return f"cannot reach {host}"
    return f"{_WORDS.get(name, name)} ({host})"


async def stream_body(response: httpx.Response, url: str) -> AsyncIterator[bytes]:
    """The body in pieces as they come, content encoding kept.

    Raises:
        Unreached: The body breaks off.
    """
    pieces = response.aiter_raw()  # without a chunk size, which would hold slow bytes back
    while True:
        try:
            piece = await anext(pieces, None)
        except Exception as error:  # noqa: BLE001  # errors outside httpx.HTTPError too
            raise Unreached(error_text(error, url), is_sent=True) from None
        if piece is None:
            return
        yield piece


async def read_body(response: httpx.Response, headers: Mapping[str, str], cap: int) -> bytes:
    """The whole body, content encoding undone, never more than `cap` bytes.

    Raises:
        Unreached: The body is larger, or its encoding is unknown or broken.
    """
    too_large = Unreached(f"the reply is larger than {cap:,} bytes", is_sent=True)
    length = headers.get("content-length", "")
    if length.isdigit() and (len(length) > 12 or int(length) > cap):
        raise too_large
    coding = headers.get("content-encoding", "identity").strip().casefold()
    if coding in {"", "identity"}:
        decoder = None
    elif coding in {"gzip", "x-gzip", "deflate"}:
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    else:
        raise Unreached(f"the reply comes in an encoding that was not asked for ({clean(coding, 40)})", is_sent=True)
    parts: list[bytes] = []
    size = 0
    async for piece in response.aiter_raw():
        if decoder is None:
            data = piece
        else:
            try:
                data = decoder.decompress(piece, cap - size + 1)
            except zlib.error:
                raise Unreached("the reply's encoding is broken", is_sent=True) from None
        parts.append(data)
        size += len(data)
        if size > cap:
            raise too_large
    if decoder is not None and not decoder.eof:
        raise Unreached("the reply's encoding breaks off", is_sent=True)
    return b"".join(parts)
