"""The n-th connection of a run breaks as it is made, or the n-th request is answered by a broken one: every n and way.

A run creates a task, looks at it to its end, and downloads two files. Afterwards both files are saved, and nothing was
created twice.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from support.chaos.watching import scaled, uncaught
from support.mill import KEY, WORKING, Answer, Mill, png, provider, reset, sha256
from support.raw_server import Conn, Request, reply

import nbhelper as nbh

PICTURES = (png(60_000, 1), png(300, 2))


async def _closed(conn: Conn, _: Request) -> None:
    """Close the connection without a byte."""
    conn._writer.close()


async def _begun(conn: Conn, _: Request) -> None:
    """Send the beginning of a reply, then reset."""
    await conn.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    await conn.reset()


async def _half(conn: Conn, _: Request) -> None:
    """Send half of a body, then close."""
    await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{" + b" " * 300)
    conn._writer.close()


WAYS: dict[str, Answer] = {
    "reset": reset,
    "closed": _closed,
    "reset in the head": _begun,
    "closed in the body": _half,
    "not HTTP": b"\x00\x01\x02\r\n\r\n",
    "503": reply(b"", 503),
}


async def _refused(conn: Conn) -> None:
    """Reset the connection before a request is read."""
    await conn.reset()


async def _hung_up(conn: Conn) -> None:
    """Close the connection before a request is read."""
    conn._writer.close()


async def _greeted(conn: Conn) -> None:
    """Send bytes that are no HTTP before a request is read."""
    await conn.send(b"220 mail.example ESMTP\r\n")
    conn._writer.close()


GREETINGS: dict[str, Callable[[Conn], Awaitable[None]]] = {
    "refused": _refused,
    "hung up": _hung_up,
    "another protocol": _greeted,
}


@dataclass
class Figures:
    """Results of all runs.

    Attributes:
        runs: How many.
        requests: Requests of one run without a fault; n goes up to it.
        connections: Connections of that run; n goes up to it.
        created: How the creates ended.
        faults: What must not happen and did, in words.
    """

    runs: int = 0
    requests: int = 0
    connections: int = 0
    created: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class _Breaking(Mill):
    """A mill that answers its n-th request with a fault, or its n-th connection."""

    def __init__(self, nth: int, way: str) -> None:
        super().__init__()
        self.first = nth == 1
        self._nth = nth if way in WAYS else 0
        self._way = WAYS.get(way, b"")
        self._nth_connection = nth if way in GREETINGS else 0
        self._greeting = GREETINGS.get(way, _refused)
        self.creates[:] = [{"id": "t"}]
        self.links = [self.file(reply(p)) for p in PICTURES]
        self.job(WORKING, {"state": "working"}, {"state": "done", "files": self.links}, ident="t")

    async def _play(self, conn: Conn) -> None:
        if conn.n + 1 == self._nth_connection:
            await self._greeting(conn)
            return
        before = conn.request

        async def request() -> Request | None:
            received = await before()
            if received is not None and len(self.server.requests) == self._nth:
                with contextlib.suppress(ConnectionError):
                    await self._way(conn, received) if callable(self._way) else await conn.send(self._way)
                return await request()
            return received

        conn.request = request  # type: ignore[method-assign]
        await super()._play(conn)


def run(every: int = 1) -> Figures:
    """Break every `every`-th request in every way, all runs side by side."""
    figures = Figures()
    with scaled(20), uncaught() as errors:
        plain = _Breaking(0, "")
        _go(figures, {"plain": plain})
        figures.requests, figures.connections = len(plain.server.requests), plain.server.connections
        cases = [(n, way) for n in range(1, figures.requests + 1) for way in WAYS]
        cases += [(n, way) for n in range(1, figures.connections + 1) for way in GREETINGS]
        _go(figures, {f"n-{n}-{k}": _Breaking(n, way) for k, (n, way) in enumerate(cases[::every])})
    figures.faults += errors
    return figures


def _go(figures: Figures, mills: dict[str, _Breaking]) -> None:
    for name, mill in mills.items():
        nbh.register(provider(mill.root, name, key_variable="MILL_API_KEY"))
        figures.runs += 1
        try:
            nbh.submit(name, {"prompt": "an owl"}, endpoint="image")
        except (nbh.SubmitUnknown, nbh.SubmitFailed) as error:
            figures.created[type(error).__name__] += 1
            if not mill.first or KEY in str(error):
                figures.faults.append(f"{name}: {error}")
        else:
            figures.created["Task"] += 1
    watch = nbh.watch([f"{name}:t" for name in mills], block=False, display=False, timeout=60)
    for (name, mill), history in zip(mills.items(), watch.result(90), strict=True):
        files = sorted(sha256(f.read_bytes()) for f in history.files)
        if history.outcome != "succeeded" or files != sorted(map(sha256, PICTURES)):
            figures.faults.append(f"{name}: {history!r} {dict(history.saves)}")
        creates = sum(r.method == "POST" for r in mill.server.requests)
        if creates > 1 or (creates == 0 and not mill.first):
            figures.faults.append(f"{name}: created {creates} times")
        if len(mill.server.requests) > 6 + 3:
            figures.faults.append(f"{name}: {len(mill.server.requests)} requests")
        mill.close()
        figures.faults += [f"{name}: {fault!r}" for fault in mill.server.faults]
