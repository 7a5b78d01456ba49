"""The n-th request of a run is answered by a broken connection, for every n and every way to break it.

A run creates a task, looks at it to its end, and fetches two files. Afterwards everything is there, and nothing was
created twice.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field

from support.chaos.watching import scaled, uncaught
from support.mill import KEY, WORKING, Answer, Mill, png, provider, reset, sha256
from support.raw_server import Asked, Conn, reply

import nbhelper as nbh

PICTURES = (png(60_000, 1), png(300, 2))


async def _closed(conn: Conn, _: Asked) -> None:
    """Hang up without a word."""
    conn._writer.close()


async def _begun(conn: Conn, _: Asked) -> None:
    """Begin a reply, and tear the connection off."""
    await conn.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    await conn.reset()


async def _half(conn: Conn, _: Asked) -> None:
    """Half a body, and an end."""
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


@dataclass
class Figures:
    """What the runs came to.

    Attributes:
        runs: How many.
        requests: Of one run without a fault; n goes up to it.
        created: How the creates ended.
        faults: What must not be.
    """

    runs: int = 0
    requests: int = 0
    created: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class _Breaking(Mill):
    """A mill whose n-th request, of whatever kind, goes wrong."""

    def __init__(self, nth: int, way: Answer) -> None:
        super().__init__()
        self._nth, self._way = nth, way
        self.creates[:] = [{"id": "t"}]
        self.links = [self.file(reply(p)) for p in PICTURES]
        self.job(WORKING, {"state": "working"}, {"state": "done", "files": self.links}, ident="t")

    async def _play(self, conn: Conn) -> None:
        before = conn.request

        async def request() -> Asked | None:
            asked = await before()
            if asked is not None and len(self.server.requests) == self._nth:
                with contextlib.suppress(ConnectionError):
                    await self._way(conn, asked) if callable(self._way) else await conn.send(self._way)
                return await request()
            return asked

        conn.request = request  # type: ignore[method-assign]
        await super()._play(conn)


def run(every: int = 1) -> Figures:
    """Break every `every`-th request in every way, all runs side by side."""
    figures = Figures()
    with scaled(20), uncaught() as said:
        plain = _Breaking(0, b"")
        _go(figures, {"plain": plain}, set())
        figures.requests = len(plain.server.requests)
        cases = [(n, way) for n in range(1, figures.requests + 1) for way in WAYS]
        mills = {f"n-{n}-{k}": _Breaking(n, WAYS[way]) for k, (n, way) in enumerate(cases[::every])}
        _go(figures, mills, {name for name, mill in mills.items() if mill._nth == 1})
    figures.faults += said
    return figures


def _go(figures: Figures, mills: dict[str, _Breaking], unlucky: set[str]) -> None:
    for name, mill in mills.items():
        nbh.register(provider(mill.root, name, key_variable="MILL_API_KEY"))
        figures.runs += 1
        try:
            nbh.submit(name, {"prompt": "an owl"}, endpoint="image")
        except (nbh.SubmitUnknown, nbh.SubmitFailed) as error:
            figures.created[type(error).__name__] += 1
            if name not in unlucky or KEY in str(error):
                figures.faults.append(f"{name}: {error}")
        else:
            figures.created["Task"] += 1
    watch = nbh.watch([f"{name}:t" for name in mills], block=False, display=False, timeout=60)
    for (name, mill), history in zip(mills.items(), watch.result(90), strict=True):
        files = sorted(sha256(f.read_bytes()) for f in history.files)
        if history.outcome != "succeeded" or files != sorted(map(sha256, PICTURES)):
            figures.faults.append(f"{name}: {history!r} {dict(history.saves)}")
        if sum(r.method == "POST" for r in mill.server.requests) != 1:
            figures.faults.append(f"{name}: created more than once")
        if len(mill.server.requests) > 6 + 3:
            figures.faults.append(f"{name}: {len(mill.server.requests)} requests")
        mill.close()
        figures.faults += [f"{name}: {fault!r}" for fault in mill.server.faults]
