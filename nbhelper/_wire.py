"""How a file's bytes come out of a connection: as many at a time as have come.

httpx takes 64 kB at a time, over TLS 16 kB, and each piece passes half a dozen layers on its way, which costs more than
all that is done with it then. httpcore, below it, lets one bring a "network backend" of one's own; this is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_HELD = 1 << 19
"""Bytes that may wait for whoever reads; then the server has to."""


class Wire:
    """Connections for the transport of `lib`, whose errors they raise."""

    def __init__(self, lib: Any) -> None:
        self._lib = lib

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature, here and below
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002  # asyncio sets TCP_NODELAY by itself
    ) -> _Stream:
        local = None if local_address is None else (local_address, 0)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, stream = await loop.create_connection(lambda: _Stream(self._lib), host, port, local_addr=local)
        except TimeoutError:
            raise self._lib.ConnectTimeout("no connection in time") from None
        except OSError as error:
            raise self._lib.ConnectError(str(error)) from None
        return stream

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, lib: Any) -> None:
        self._lib = lib
        self._came: list[bytes] = []
        self._held = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    # What asyncio says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came.append(data)
        self._held += len(data)
        if self._held >= _HELD:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._error = True, exc
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # What httpcore asks for

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109  # it copes
        if not self._came and not self._ended:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._waiting
            except TimeoutError:
                raise self._lib.ReadTimeout("nothing came in time") from None
        if not self._came and self._error is not None:
            raise self._lib.ReadError(str(self._error))
        data = b"".join(self._came)
        self._came.clear()
        self._held = 0
        if not self._ended:
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        """Send a request, which is never so long that one would have to wait for room."""
        if self._transport.is_closing():
            raise self._lib.WriteError("the connection is closed")
        self._transport.write(buffer)

    async def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> _Stream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                over = await loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except TimeoutError:
            raise self._lib.ConnectTimeout("no handshake in time") from None
        except OSError as error:  # what is wrong with a certificate is one, too
            raise self._lib.ConnectError(str(error)) from None
        if over is None:
            raise self._lib.ConnectError("the connection was lost during its handshake")
        self._transport = over
        return self

    async def aclose(self) -> None:
        self._transport.abort()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # who says something unasked, or has gone, is not asked again
            return bool(self._came) or self._ended
        return self._transport.get_extra_info({"client_addr": "sockname", "server_addr": "peername"}.get(info, info))
