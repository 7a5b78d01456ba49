"""A server of raw bytes on 127.0.0.1: a function of the test writes what each connection sends, and when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

Play = Callable[["Conn"], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """One request as it arrived.

    Attributes:
        connection: The number of its connection, counted from 0.
        at: When its head was read, in seconds of `time.monotonic()`.
        raw: All its bytes, a chunked body decoded.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    at: float
    raw: bytes = field(repr=False, default=b"")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The value of the first header of that name."""
        return next((v for k, v in self.headers if k.casefold() == name.casefold()), None)

    def json(self) -> Any:
        return json.loads(self.body)


class Conn:
    """One connection, as the test's function sees it."""

    def __init__(self, server: RawServer, n: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n = n
        self._server = server
        self._reader = reader
        self._writer = writer

    async def request(self) -> Request | None:
        """Read and record the next request; None when the client has closed the connection."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        at = time.monotonic()
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = tuple((k.strip(), v.strip()) for k, _, v in (line.partition(":") for line in lines[1:] if line))
        plain = {k.casefold(): v for k, v in headers}
        body = b""
        if "content-length" in plain:
            body = await self._reader.readexactly(int(plain["content-length"]))
        elif plain.get("transfer-encoding") == "chunked":
            while (size := int(await self._reader.readline(), 16)) > 0:
                body += await self._reader.readexactly(size)
                await self._reader.readline()
            await self._reader.readline()
        request = Request(method, target, headers, body, self.n, at, head + body)
        self._server.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        """Write bytes as they are; a client that has closed the connection is no fault of the test."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def drip(self, data: bytes, every: float) -> None:
        """Send one byte at a time, `every` seconds apart, until the client gives up."""
        for at in range(len(data)):
            if self._reader.at_eof():
                return
            await self.send(data[at : at + 1])
            await asyncio.sleep(every)

    async def reset(self) -> None:
        """Reset the connection (RST), so that the client sees no orderly end."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Send nothing until the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65_536):
                pass


class RawServer:
    """Runs a test's function for each connection, in a thread with a loop of its own.

    Attributes:
        requests: All requests, in the order of their arrival.
        connections: The number of connections so far.
        faults: Exceptions that the test's function raised.
    """

    def __init__(
        self, play: Play, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.faults: list[BaseException] = []
        self._play = play
        self._tls = tls
        self._host = host
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._more: list[asyncio.Server] = []
        self._ready = threading.Event()
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._serve, name="raw-server", daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    @property
    def root(self) -> str:
        """`http://127.0.0.1:<port>`, or https with `localhost`, which a certificate can name."""
        return f"https://localhost:{self.port}" if self._tls else f"http://{self._host}:{self.port}"

    def another(self) -> str:
        """Open one more port with the same function behind it, which is another origin; its root."""
        making = asyncio.start_server(self._connected, self._host, 0, limit=2**20)
        self._more.append(asyncio.run_coroutine_threadsafe(making, self._loop).result(30))
        return f"http://{self._host}:{self._more[-1].sockets[0].getsockname()[1]}"

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, self._host, self.port, ssl=self._tls, limit=2**20)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end(server, *self._more))
        self._loop.close()

    async def _end(self, *servers: asyncio.Server) -> None:
        """Cancel every task, and close connections accepted just now: a task that never began closes none."""
        for sock in (sock for server in servers for sock in server.sockets):
            self._loop.remove_reader(sock)
        await asyncio.sleep(0)  # a server that has closed loses what it accepted a moment before
        for server in servers:
            server.close()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in self._open:
                writer.transport.abort()
            await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conn = Conn(self, self.connections, reader, writer)
        self.connections += 1
        self._open[writer] = self._loop.create_task(self._talk(conn, writer))

    async def _talk(self, conn: Conn, writer: asyncio.StreamWriter) -> None:
        try:
            await self._play(conn)
        except asyncio.CancelledError:
            writer.transport.abort()  # TLS would wait for the client's close_notify
        except Exception as error:
            self.faults.append(error)
        finally:
            writer.close()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await writer.wait_closed()
            del self._open[writer]

    def close(self) -> None:
        """Stop the server and cut its connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reply(
    body: bytes | str | Mapping[str, Any] | Sequence[Any] = b"",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    length: int | str | None = "true",
) -> bytes:
    """One whole HTTP/1.1 reply; `length` replaces the true Content-Length, None leaves it out."""
    kind = "application/octet-stream"
    if not isinstance(body, bytes):
        kind = "text/plain" if isinstance(body, str) else "application/json"
        body = (body if isinstance(body, str) else json.dumps(body)).encode("utf-8", "surrogatepass")
    lines = {"content-type": kind, **{k.casefold(): v for k, v in (headers or {}).items()}}
    if length is not None:
        lines["content-length"] = str(len(body) if length == "true" else length)
    head = "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode("latin-1") + body


def always(*replies: bytes) -> Play:
    """Answer each request, on any connection, with the next reply; the last one is repeated."""
    left = list(replies)

    async def play(conn: Conn) -> None:
        while await conn.request() is not None:
            await conn.send(left.pop(0) if len(left) > 1 else left[0])

    return play
