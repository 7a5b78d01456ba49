"""A TCP proxy in front of the server that injects faults: resets, truncated bodies, wrong headers, delays.

It holds what a network or a broken server does to a reply. Errors that an API documents are the API's own code.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from nbhelper._emulator.api import BAD_GATEWAY
from nbhelper._emulator.faults import Fault, Script
from nbhelper._emulator.ledger import Struck
from nbhelper._emulator.world import World

_HEAD = 1 << 16
_PIECE = 1 << 16
_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Sign in to go on</form></body></html>"


@dataclass(frozen=True, slots=True)
class _Request:
    """One HTTP request, unparsed but for its request line."""

    method: str
    target: str
    head: bytes
    body: bytes

    @property
    def on(self) -> str:
        """`look`, `create` or `file`; a batch look is a POST that creates nothing."""
        path = self.target.partition("?")[0]
        if path.startswith("/files/"):
            return "file"
        is_batch = path.endswith(("/task/batch", "/tasks/list"))
        return "create" if self.method == "POST" and not is_batch else "look"

    @property
    def counted_target(self) -> str:
        """The target under which requests are counted; a file's without its query, since signatures differ."""
        return self.target.partition("?")[0] if self.on == "file" else self.target

    @property
    def text(self) -> str:
        """Target and body, which may hold a task's id."""
        return f"{self.target}\n{self.body[:100_000].decode('utf-8', 'replace')}"


class _ConnectionEnded(Exception):
    """The connection is closed or must be closed: read no further request from it."""


class _Exchange:
    """One request, the fault that hits it, and the client's connection."""

    def __init__(
        self,
        request: _Request,
        fault: Fault | None,
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.request, self.fault = request, fault
        self._port, self._reader, self._writer = port, reader, writer

    def seconds(self, default: float) -> float:
        """Return the fault's `seconds`, or the default where it has none."""
        return default if self.fault is None or self.fault.seconds is None else self.fault.seconds

    async def send(self, data: bytes) -> None:
        """Write bytes to the client."""
        self._writer.write(data)
        await self._writer.drain()

    async def reset(self) -> None:
        """Close with RST instead of FIN (`SO_LINGER` of 0 s)."""
        await asyncio.sleep(0.01)  # so that what was sent arrives before the reset
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise _ConnectionEnded

    async def close(self) -> None:
        """Close the connection with FIN."""
        raise _ConnectionEnded

    async def wait(self, seconds: float) -> None:
        """Sleep; raise when the client closes the connection meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # No client pipelines a request here, so the read returns at EOF only.
                if not await self._reader.read(1):
                    raise _ConnectionEnded
                await asyncio.sleep(seconds)

    @contextlib.asynccontextmanager
    async def upstream(self) -> AsyncIterator[tuple[bytes, asyncio.StreamReader]]:
        """Send the request to the server; yield the head of its reply, and a reader of the body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_HEAD)
        try:
            writer.write(_without(self.request.head, b"connection", b"connection: close") + self.request.body)
            await writer.drain()
            yield _without(await reader.readuntil(b"\r\n\r\n"), b"connection"), reader
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def fetch_reply(self) -> tuple[bytes, bytes]:
        """Return head and body of the server's reply."""
        async with self.upstream() as (head, reader):
            return head, await reader.read()

    async def forward(self) -> None:
        """Send the server's reply to the client unchanged."""
        async with self.upstream() as (head, reader):
            await self.send(head)
            while piece := await reader.read(_PIECE):
                await self.send(piece)


def _without(head: bytes, name: bytes, instead: bytes = b"") -> bytes:
    """Return an HTTP head without one header, or with a header line instead of it."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].strip().lower() != name]
    return b"\r\n".join([first, *kept, *([instead] if instead else []), b"", b""])


def _reply(status: int, body: bytes = b"", *lines: str, kind: str = "application/json") -> bytes:
    head = [f"HTTP/1.1 {status} Emulated", f"content-type: {kind}", f"content-length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


@functools.cache
def _gzip_bomb() -> bytes:
    squeezer = zlib.compressobj(9, wbits=31)
    return b"".join(squeezer.compress(bytes(1_000_000)) for _ in range(50)) + squeezer.flush()


# One function for each word of KINDS


async def _lost(exchange: _Exchange) -> None:
    await exchange.fetch_reply()
    await exchange.reset()


async def _silence(exchange: _Exchange) -> None:
    await exchange.wait(3600)
    await exchange.close()


async def _slow(exchange: _Exchange) -> None:
    await exchange.wait(exchange.seconds(2))
    await exchange.forward()


async def _drip(exchange: _Exchange) -> None:
    head, body = await exchange.fetch_reply()
    await exchange.send(head)
    for at in range(len(body)):
        await exchange.send(body[at : at + 1])
        await exchange.wait(exchange.seconds(0.5))


async def _cut(exchange: _Exchange) -> None:
    head, body = await exchange.fetch_reply()
    await exchange.send(head + _half(body))
    await exchange.close()


async def _send_changed(exchange: _Exchange, change: Callable[[bytes], bytes], *lines: str) -> None:
    """Send the reply with a changed body and the Content-Length of that body."""
    head, body = await exchange.fetch_reply()
    body = change(body)
    head = _without(head, b"content-length", f"content-length: {len(body)}".encode())
    await exchange.send(head[:-2] + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


async def _send_bomb(exchange: _Exchange) -> None:
    packed = await asyncio.to_thread(_gzip_bomb)  # takes a third of a second, once
    await exchange.send(_reply(200, packed, "content-encoding: gzip"))


async def _large(exchange: _Exchange) -> None:
    await exchange.send(_reply(200, b"{").replace(b"content-length: 1", b"content-length: 500000000"))
    await _silence(exchange)


async def _endless(exchange: _Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await exchange.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")


async def _hints(exchange: _Exchange) -> None:
    for _ in range(round(exchange.seconds(2) / 0.05)):
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await exchange.wait(0.05)
    await exchange.forward()


async def _header(exchange: _Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nx-long: " + b"y" * 400_000 + b"\r\n\r\n")
    await exchange.close()


async def _lengths(exchange: _Exchange) -> None:
    head, body = await exchange.fetch_reply()
    await exchange.send(head[:-2] + b"content-length: 1\r\n\r\n" + body)
    await exchange.close()


async def _twice(exchange: _Exchange) -> None:
    head, body = await exchange.fetch_reply()
    await exchange.send((head + body) + _reply(200, b'{"state": "hijacked"}'))


async def _not_http(exchange: _Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    await exchange.close()


async def _status(exchange: _Exchange, status: int) -> None:
    seconds = None if exchange.fault is None else exchange.fault.seconds
    headers = () if seconds is None else (f"retry-after: {seconds:g}",)
    if status >= 500:
        await exchange.send(_reply(status, BAD_GATEWAY.encode(), *headers, kind="text/html"))
    else:
        await exchange.send(_reply(status, b'{"message": "emulated fault"}', *headers))


ACTS: Mapping[str, Callable[[_Exchange], Awaitable[None]]] = {
    "reset": _Exchange.reset,
    "lost": _lost,
    "silence": _silence,
    "slow": _slow,
    "drip": _drip,
    "cut": _cut,
    "garble": lambda exchange: _send_changed(exchange, _half),
    "empty": lambda exchange: exchange.send(_reply(200)),
    "page": lambda exchange: exchange.send(_reply(200, _PAGE, kind="text/html")),
    "gzip": lambda exchange: _send_changed(exchange, bytes, "content-encoding: gzip"),
    "gzip-cut": lambda exchange: _send_changed(
        exchange, lambda body: _half(gzip.compress(body)), "content-encoding: gzip"
    ),
    "bomb": _send_bomb,
    "large": _large,
    "endless": _endless,
    "hints": _hints,
    "header": _header,
    "lengths": _lengths,
    "twice": _twice,
    "not-http": _not_http,
    "redirect": lambda exchange: exchange.send(_reply(302, b"", "location: http://elsewhere.invalid/login")),
    "loop": lambda exchange: exchange.send(_reply(302, b"", f"location: {exchange.request.target}")),
}


async def stop_accepting(sock: socket.socket) -> None:
    """Stop accepting, and start what was accepted: asyncio would leak its socket if the listener closed before."""
    with contextlib.suppress(NotImplementedError):  # another loop than Unix has
        asyncio.get_running_loop().remove_reader(sock)
    await asyncio.sleep(0)


class Proxy:
    """Accept connections on the public port and forward each request to the server, or inject a fault.

    Not thread-safe: used in the server's event loop only.
    """

    def __init__(self, script: Script, world: World) -> None:
        self._script, self._world = script, world
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._listening: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._port = 0

    def play(self, faults: tuple[Fault, ...]) -> None:
        """Replace the faults; counts and clock start anew."""
        self._script.play(faults, self._world.clock.now())

    async def listen(self, sock: socket.socket, port: int) -> None:
        """Accept connections on the socket and forward them to a port on 127.0.0.1."""
        self._port, self._socket = port, sock
        self._listening = await asyncio.start_server(self._connected, sock=sock, limit=_HEAD)

    async def close(self) -> None:
        """Close the listener and abort all connections."""
        if self._listening is not None and self._socket is not None:
            await stop_accepting(self._socket)
            self._listening.close()
        await asyncio.sleep(0)
        while self._open:  # a connection accepted just now may start while the others end
            going = dict(self._open)
            for task in going.values():
                task.cancel()
            await asyncio.gather(*going.values(), return_exceptions=True)
            for writer in going:
                writer.transport.abort()  # a task cancelled before it started closed nothing
                self._open.pop(writer, None)
            await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.get_running_loop().create_task(self._talk(reader, writer))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read_request(reader)) is not None:
                await self._answer(request, reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # the server closes: no waiting for a client that may not read
        except (_ConnectionEnded, OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            pass  # the client closed the connection or sent no valid HTTP
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._open.pop(writer, None)

    async def _answer(self, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = self._world.clock.now()
        fault, n = self._script.next(request.on, request.counted_target, request.text, at)
        exchange = _Exchange(request, fault, self._port, reader, writer)
        if fault is None:
            await exchange.forward()
            return
        path = request.target.partition("?")[0]
        self._world.faults.append(Struck(self._world.clock.utc(at), str(fault.what), request.on, path, n))
        if isinstance(fault.what, int):
            await _status(exchange, fault.what)
        else:
            await ACTS[fault.what](exchange)


async def _read_request(reader: asyncio.StreamReader) -> _Request | None:
    """Read one request with its body; None at EOF."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
    body = b""
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = await reader.readline()
            size = int(line, 16)
            body += line + await reader.readexactly(size + 2)
            if size == 0:
                break
    return _Request(method, target, head, body)
