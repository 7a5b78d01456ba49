"""How much memory hostile input takes in the process that watches, with either HTTP client: each in a child of its own.

The peak is the operating system's own count of the child (VmHWM), less the peak when it was ready to watch.
"""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from support.mill import DONE, KEY, Answer, Mill
from support.raw_server import Conn, Request, reply
from support.scripts import environment

MOST = 64.0
"""Megabytes that hostile input may take."""

_CHILD = """
import os, re, resource, sys
import httpx, httpx2, jmespath, sqlite3
import nbhelper as nbh
from nbhelper._network import downloads, http
from nbhelper._store import store
from nbhelper._watching import engine, task_watcher
from nbhelper._views.preview import Previewer
from nbhelper._providers import get
from support.mill import provider

http.LOOK_DEADLINE = 6.0
downloads._PATIENCE = 2.0
downloads.LARGEST = 30_000_000
nbh.register(provider(sys.argv[1], max_reply=2_000_000))
nbh.watch("mill:warm", display=False)
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = peak()
history = nbh.watch("mill:evil", display=False, timeout=float(sys.argv[2]))[0]
shown = [type(Previewer().thumbnail(f)).__name__ for f in history.files]
print(peak() - before, history.outcome, shown)
"""


def _chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def _bomb(side: int) -> bytes:
    """A PNG of side x side pixels in a few kilobytes."""
    rows = zlib.compressobj(9)
    line = b"\x00" * (side // 8 + 1)
    data = b"".join([rows.compress(line * 200) for _ in range(side // 200)]) + rows.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _text_bomb() -> bytes:
    text = b"Comment\x00\x00" + zlib.compress(b"x" * 200_000_000, 9)
    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\x00" * 9 * 8)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"zTXt", text)
        + _chunk(b"IDAT", rows)
        + _chunk(b"IEND", b"")
    )


def _endless(piece: bytes, head: bytes) -> Answer:
    async def act(conn: Conn, _: Request) -> None:
        await conn.send(head)
        while not conn._writer.transport.is_closing():
            await conn.send(piece)

    return act


def _cases() -> dict[str, tuple[Answer, bytes | Answer | None]]:
    """By name: the reply to a look, and the reply to a download."""
    squeezed = gzip.compress(b'{"state": "done", "x": "' + b"x" * 200_000_000 + b'"}', 9)
    chunked = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    fifteen = b"f0000\r\n" + b" " * 0xF0000 + b"\r\n"
    header = b"HTTP/1.1 200 OK\r\n"
    return {
        "gzip bomb, 200 MB": (reply(squeezed, headers={"content-encoding": "gzip"}), None),
        "honest length of 500 MB": (_endless(b" " * 1_000_000, header + b"Content-Length: 500000000\r\n\r\n"), None),
        "endless chunks": (_endless(fifteen, chunked), None),
        "endless without a length": (_endless(b" " * 1_000_000, header + b"\r\n"), None),
        "endless headers": (_endless(b"X-A: " + b"x" * 10_000 + b"\r\n", header), None),
        "2 MB of nesting": (reply(b"[" * 1_900_000), None),
        "2 MB of small objects": (reply(b'{"state": "working", "x": [' + b"{}," * 600_000 + b"{}]}"), None),
        "a thousand outputs": (reply({**DONE, "files": [f"https://x.example/{n}" for n in range(20_000)]}), None),
        "file bomb, gzip": ({**DONE}, reply(squeezed, headers={"content-encoding": "gzip"})),
        "endless file": ({**DONE}, _endless(b"x" * 1_000_000, header + b"\r\n")),
        "picture of 900 Mpx": ({**DONE}, reply(_bomb(30_000))),
        "picture of 100 Mpx": ({**DONE}, reply(_bomb(10_000))),
        "picture with a text bomb": ({**DONE}, reply(_text_bomb())),
    }


@dataclass
class Figures:
    """Megabytes by case and client, how each ended, and what must not be."""

    megabytes: dict[str, dict[str, float]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def most(self) -> float:
        """Megabytes of the case that took most."""
        return max(value for case in self.megabytes.values() for value in case.values())


def run(clients: tuple[str, ...] = ("httpx", "httpx2"), only: str = "") -> Figures:
    """Measure each case whose name begins with `only`, with each HTTP client."""
    figures = Figures()
    for name, (look, file) in _cases().items():
        if not name.startswith(only):
            continue
        for client in clients:
            mill = Mill()
            try:
                links = [] if file is None else [mill.file(file)]
                mill.job(DONE, ident="warm")
                mill.job({**look, "files": links} if isinstance(look, dict) else look, ident="evil")
                report = _child(mill.root, client)
            finally:
                mill.close()
            taken, outcome, shown = report.split(" ", 2)
            figures.megabytes.setdefault(name, {})[client] = round(float(taken), 1)
            figures.ended[name] = f"{outcome} {shown.strip()}"
            if outcome not in {"succeeded", "stopped"} or (
                outcome == "succeeded" and file is None and "outputs" not in name
            ):
                figures.faults.append(f"{name}, {client}: {report}")
            if float(taken) > MOST:
                figures.faults.append(f"{name}, {client}: {float(taken):.0f} MB")
    return figures


def _child(root: str, client: str) -> str:
    with tempfile.TemporaryDirectory() as where:
        variables = environment(MILL_API_KEY=KEY, NBHELPER_HTTP=client)
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, root, "3"], cwd=Path(where), env=variables, capture_output=True, text=True,
            timeout=100, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]
