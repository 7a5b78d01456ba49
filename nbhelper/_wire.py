"""How bytes go into a connection and come out of it: as many at a time as have come, and with no layer between.

httpcore, which speaks HTTP below httpx, brings its own way over anyio. There each read and write opens a scope of its
own, a file comes in pieces of 16 to 64 kB, and whether an idle connection has been closed is asked of the kernel at the
begin and the end of each request. All this costs more than the rest of a look, or of a file's way.
"""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any

from aiohappyeyeballs import start_connection

_HELD = 1 << 18
"""Bytes that may wait for whoever reads; then the server has to."""
_STAGGER = 0.25
"""Seconds until the next of a name's addresses is tried beside the one before (RFC 8305)."""


class Sent:
    """What is known of a request's way.

    Attributes:
        flag: Whether its first bytes may have reached the server, in this attempt or in one before.
        fresh: Whether this attempt makes a connection.
        status: The status of this attempt's reply, once it has begun; 0 before.
    """

    def __init__(self) -> None:
        self.flag = False
        self.begin()

    def begin(self) -> None:
        """One more attempt."""
        self.fresh = False
        self.status = 0


async def connect(core: Any, host: str, port: int, timeout: float | None) -> Stream:  # noqa: ASYNC109
    """A connection, which raises the errors of `core`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            addresses = _numeric(host, port) or await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            # Given a name, Python 3.11's create_connection() loses its socket when it is given up just as it connects.
            sock = await start_connection(addresses, happy_eyeballs_delay=_STAGGER)
            _, stream = await loop.create_connection(lambda: Stream(core), sock=sock)
    except TimeoutError:
        raise core.ConnectTimeout("no connection in time") from None
    except OSError as error:
        raise core.ConnectError(str(error)) from None
    return stream


def _numeric(host: str, port: int) -> list[Any]:
    """What an address that is no name leads to, without the thread in which a name is looked up."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []


class Stream(asyncio.Protocol):
    """One connection, as httpcore wants it.

    Attributes:
        sent: Whose bytes are written now, if it matters.
    """

    _transport: asyncio.Transport

    def __init__(self, core: Any) -> None:
        self.sent: Sent | None = None
        self._core = core
        self._came: list[bytes] = []
        self._held = 0
        self._ended = False
        self._full = False
        self._lost = False
        self._error: Exception | None = None
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None

    # What asyncio says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came.append(data)
        self._held += len(data)
        if self._held >= _HELD:
            self._transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> None:
        self._ended = True
        _wake(self._reading)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._lost, self._error = True, True, exc
        _wake(self._reading)
        _wake(self._writing)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        _wake(self._writing)

    # What httpcore asks for

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109
        """What has come, at least one byte; none at the end. The request's deadline is whoever awaits it to keep."""
        if not self._came and not self._ended:
            self._reading = asyncio.get_running_loop().create_future()
            await self._reading
        if not self._came and self._error is not None:
            raise self._core.ReadError(str(self._error))
        data = self._came[0] if len(self._came) == 1 else b"".join(self._came)
        self._came.clear()
        if self._held >= _HELD and not self._ended:
            self._transport.resume_reading()
        self._held = 0
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        """Send, and wait while the server takes no more."""
        if self.sent is not None:
            self.sent.flag = True
        if self._transport.is_closing():
            raise self._core.WriteError("the connection is closed")
        self._transport.write(buffer)
        while self._full and not self._lost:
            self._writing = asyncio.get_running_loop().create_future()
            await self._writing
        if self._lost:
            raise self._core.WriteError("the connection broke off")

    async def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Stream:
        """The same, from here on over TLS."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                over = await loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except TimeoutError:
            raise self._core.ConnectTimeout("no handshake in time") from None
        except OSError as error:  # what is wrong with a certificate is one, too
            raise self._core.ConnectError(str(error)) from None
        if over is None:
            raise self._core.ConnectError("the connection was lost during its handshake")
        self._transport = over
        return self

    def close(self) -> None:
        """Let go at once, whatever is under way."""
        self._transport.abort()

    async def aclose(self) -> None:
        self.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # who says something unasked, or has gone, is not asked again
            return bool(self._came) or self._ended or self._transport.is_closing()
        return self._transport.get_extra_info({"client_addr": "sockname", "server_addr": "peername"}.get(info, info))

    @property
    def stirs(self) -> bool:
        """Whether the kernel holds what the loop has not turned to yet: bytes, or that the server has gone."""
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return True
        if not hasattr(select, "poll"):  # Windows
            return bool(select.select([sock], [], [], 0)[0])
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
