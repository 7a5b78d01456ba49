"""A proxy in front of the server that damages replies on the way, byte for byte.

Everything that a network or a broken server does to a reply happens here; what an API says of its own accord does not.
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
class _Asked:
    """One request as it came."""

    method: str
    target: str
    head: bytes
    body: bytes

    @property
    def on(self) -> str:
        """Whether it is a look, a create or a file; looks at many tasks are POSTs of their own."""
        path = self.target.partition("?")[0]
        if path.startswith("/files/"):
            return "file"
        many = path.endswith(("/task/batch", "/tasks/list"))
        return "create" if self.method == "POST" and not many else "look"

    @property
    def place(self) -> str:
        """What it is for; a file's signature changes and is left out."""
        return self.target.partition("?")[0] if self.on == "file" else self.target

    @property
    def text(self) -> str:
        """Where a task's id may stand."""
        return f"{self.target}\n{self.body[:100_000].decode('utf-8', 'replace')}"


class _Gone(Exception):
    """This connection takes no further request."""


class _Exchange:
    """One request and the means to answer it."""

    def __init__(
        self, asked: _Asked, fault: Fault | None, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.asked, self.fault = asked, fault
        self._port, self._reader, self._writer = port, reader, writer

    def seconds(self, default: float) -> float:
        """The fault's own seconds, or what it takes without."""
        return default if self.fault is None or self.fault.seconds is None else self.fault.seconds

    async def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def reset(self) -> None:
        """Tear the connection off, so that the client sees a reset and no orderly end."""
        await asyncio.sleep(0.01)  # so that what was sent arrives before the reset
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise _Gone

    async def close(self) -> None:
        """End it in order."""
        raise _Gone

    async def wait(self, seconds: float) -> None:
        """Pass the time; ends early when the client goes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # Nothing is asked before the answer, so whatever comes is the end.
                if not await self._reader.read(1):
                    raise _Gone
                await asyncio.sleep(seconds)

    @contextlib.asynccontextmanager
    async def upstream(self) -> AsyncIterator[tuple[bytes, asyncio.StreamReader]]:
        """The server's own reply: its head, and the body until its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_HEAD)
        try:
            writer.write(_without(self.asked.head, b"connection", b"connection: close") + self.asked.body)
            await writer.drain()
            yield _without(await reader.readuntil(b"\r\n\r\n"), b"connection"), reader
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def whole(self) -> tuple[bytes, bytes]:
        """Head and body of the server's own reply."""
        async with self.upstream() as (head, reader):
            return head, await reader.read()

    async def through(self) -> None:
        """The server's own reply, as it is."""
        async with self.upstream() as (head, reader):
            await self.send(head)
            while piece := await reader.read(_PIECE):
                await self.send(piece)


def _without(head: bytes, name: bytes, instead: bytes = b"") -> bytes:
    """A head without one of its headers, or with another one in its place."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].strip().lower() != name]
    return b"\r\n".join([first, *kept, *([instead] if instead else []), b"", b""])


def _reply(status: int, body: bytes = b"", *lines: str, kind: str = "application/json") -> bytes:
    head = [f"HTTP/1.1 {status} Emulated", f"content-type: {kind}", f"content-length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


@functools.cache
def _bomb() -> bytes:
    squeezer = zlib.compressobj(9, wbits=31)
    return b"".join(squeezer.compress(bytes(1_000_000)) for _ in range(50)) + squeezer.flush()


# What each word does


async def _lost(it: _Exchange) -> None:
    await it.whole()
    await it.reset()


async def _silence(it: _Exchange) -> None:
    await it.wait(3600)
    await it.close()


async def _slow(it: _Exchange) -> None:
    await it.wait(it.seconds(2))
    await it.through()


async def _drip(it: _Exchange) -> None:
    head, body = await it.whole()
    await it.send(head)
    for at in range(len(body)):
        await it.send(body[at : at + 1])
        await it.wait(it.seconds(0.5))


async def _cut(it: _Exchange) -> None:
    head, body = await it.whole()
    await it.send(head + _half(body))
    await it.close()


async def _changed(it: _Exchange, change: Callable[[bytes], bytes], *lines: str) -> None:
    """The reply with another body, under a length that fits."""
    head, body = await it.whole()
    body = change(body)
    head = _without(head, b"content-length", f"content-length: {len(body)}".encode())
    await it.send(head[:-2] + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


async def _blow(it: _Exchange) -> None:
    packed = await asyncio.to_thread(_bomb)  # takes a third of a second, once
    await it.send(_reply(200, packed, "content-encoding: gzip"))


async def _large(it: _Exchange) -> None:
    await it.send(_reply(200, b"{").replace(b"content-length: 1", b"content-length: 500000000"))
    await _silence(it)


async def _endless(it: _Exchange) -> None:
    await it.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await it.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")


async def _hints(it: _Exchange) -> None:
    for _ in range(round(it.seconds(2) / 0.05)):
        await it.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await it.wait(0.05)
    await it.through()


async def _header(it: _Exchange) -> None:
    await it.send(b"HTTP/1.1 200 OK\r\nx-long: " + b"y" * 400_000 + b"\r\n\r\n")
    await it.close()


async def _lengths(it: _Exchange) -> None:
    head, body = await it.whole()
    await it.send(head[:-2] + b"content-length: 1\r\n\r\n" + body)
    await it.close()


async def _twice(it: _Exchange) -> None:
    head, body = await it.whole()
    await it.send((head + body) + _reply(200, b'{"state": "hijacked"}'))


async def _not_http(it: _Exchange) -> None:
    await it.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    await it.close()


async def _status(it: _Exchange, status: int) -> None:
    told = () if it.fault is None or it.fault.seconds is None else (f"retry-after: {it.fault.seconds:g}",)
    if status >= 500:
        await it.send(_reply(status, BAD_GATEWAY.encode(), *told, kind="text/html"))
    else:
        await it.send(_reply(status, b'{"message": "emulated fault"}', *told))


ACTS: Mapping[str, Callable[[_Exchange], Awaitable[None]]] = {
    "reset": _Exchange.reset,
    "lost": _lost,
    "silence": _silence,
    "slow": _slow,
    "drip": _drip,
    "cut": _cut,
    "garble": lambda it: _changed(it, _half),
    "empty": lambda it: it.send(_reply(200)),
    "page": lambda it: it.send(_reply(200, _PAGE, kind="text/html")),
    "gzip": lambda it: _changed(it, bytes, "content-encoding: gzip"),
    "gzip-cut": lambda it: _changed(it, lambda body: _half(gzip.compress(body)), "content-encoding: gzip"),
    "bomb": _blow,
    "large": _large,
    "endless": _endless,
    "hints": _hints,
    "header": _header,
    "lengths": _lengths,
    "twice": _twice,
    "not-http": _not_http,
    "redirect": lambda it: it.send(_reply(302, b"", "location: http://elsewhere.invalid/login")),
    "loop": lambda it: it.send(_reply(302, b"", f"location: {it.asked.target}")),
}


async def accept_no_more(sock: socket.socket) -> None:
    """Let what was accepted just now begin: asyncio drops it, its socket open, when the listener closes before."""
    with contextlib.suppress(NotImplementedError):  # another loop than Unix has
        asyncio.get_running_loop().remove_reader(sock)
    await asyncio.sleep(0)


class Proxy:
    """Listens in the server's place; used inside the server's loop alone."""

    def __init__(self, script: Script, world: World) -> None:
        self._script, self._world = script, world
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._listening: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._port = 0

    def play(self, faults: tuple[Fault, ...]) -> None:
        """Other faults from now on."""
        self._script.play(faults, self._world.clock.now())

    async def listen(self, sock: socket.socket, port: int) -> None:
        """Begin: what comes to the socket goes on to the port of the real server."""
        self._port, self._socket = port, sock
        self._listening = await asyncio.start_server(self._connected, sock=sock, limit=_HEAD)

    async def close(self) -> None:
        """End it and its connections."""
        if self._listening is not None and self._socket is not None:
            await accept_no_more(self._socket)
            self._listening.close()
        await asyncio.sleep(0)
        while self._open:  # a connection accepted just now may begin only while the others end
            going = dict(self._open)
            for task in going.values():
                task.cancel()
            await asyncio.gather(*going.values(), return_exceptions=True)
            for writer in going:
                writer.transport.abort()  # a task that never began closed nothing
                self._open.pop(writer, None)
            await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.get_running_loop().create_task(self._talk(reader, writer))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _request(reader)) is not None:
                await self._answer(asked, reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # the server closes, and does not wait for a client that may not read
        except (_Gone, OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            pass  # the client has gone, or sent what is no request
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._open.pop(writer, None)

    async def _answer(self, asked: _Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = self._world.clock.now()
        fault, n = self._script.next(asked.on, asked.place, asked.text, at)
        it = _Exchange(asked, fault, self._port, reader, writer)
        if fault is None:
            await it.through()
            return
        path = asked.target.partition("?")[0]
        self._world.faults.append(Struck(self._world.clock.utc(at), str(fault.what), asked.on, path, n))
        if isinstance(fault.what, int):
            await _status(it, fault.what)
        else:
            await ACTS[fault.what](it)


async def _request(reader: asyncio.StreamReader) -> _Asked | None:
    """The next request with its body; None when the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    plain = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
    body = b""
    if "content-length" in plain:
        body = await reader.readexactly(int(plain["content-length"]))
    elif plain.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = await reader.readline()
            size = int(line, 16)
            body += line + await reader.readexactly(size + 2)
            if size == 0:
                break
    return _Asked(method, target, head, body)
