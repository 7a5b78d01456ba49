"""Servers for the benchmarks, each in a process of its own, so that what is measured is the client.

`Emulated` serves the emulator, with linear progress by default, the time left exact or missing. `Bare`
answers a look or a batch look from memory, as fast as Python can.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Self


class Served:
    """A server in another process."""

    def __init__(self, serve: Any, *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, *args), daemon=True)
        self._process.start()
        self.about: Any = self._pipe.recv()

    def ask(self, word: str) -> Any:
        """Send a command to the server, such as `ledger`; its answer."""
        self._pipe.send(word)
        return self._pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send("end")
        self._process.join(10)


class Emulated(Served):
    """The emulator; `about` has `root`, and `url` and `key` by provider; `ask("ledger")` gives each task's record."""

    def __init__(self, *, left: bool = True, speed: float = 1.0, even: bool = True) -> None:
        super().__init__(_emulate, left, speed, even)


def _emulate(pipe: Connection, left: bool, speed: float, even: bool) -> None:  # noqa: FBT001
    from nbhelper._emulator import Server, plan, tripo, world

    if even:

        def make(wish: Any, pace: Any, quick: float, rng: Any) -> plan.Plan:
            made: plan.Plan = plan.make_plan(wish, pace, quick, rng)
            return replace(made, bend=1.0, bias=0.0)

        world.make_plan = make
    if not left:
        detail = tripo.Tripo.detail

        def silent(self: Any, job: Any) -> dict[str, Any]:
            return {name: value for name, value in detail(self, job).items() if name != "running_left_time"}

        tripo.Tripo.detail = silent  # type: ignore[method-assign]
    with Server(speed=speed) as server:
        names = ("ailab", "ailab-legacy", "gptge", "tripo", "tripo-v3", "aigptimage", "kie")
        urls, keys = {n: server.url(n) for n in names}, {n: server.key(n) for n in names}
        pipe.send({"root": server.root, "url": urls, "key": keys})
        while (word := pipe.recv()) != "end":
            assert word == "ledger", word
            pipe.send([_record(task) for task in server.ledger().tasks])


def _record(task: Any) -> dict[str, Any]:
    return {
        "provider": task.provider,
        "id": task.id,
        "state": task.state,
        "finished": task.finished and task.finished.timestamp(),
        "polls": [(p.at.timestamp(), p.batch) for p in task.polls],
        "sha256": sorted(file.sha256 for file in task.files.values() if file.sha256),
    }


class Bare(Served):
    """Answers looks and batch looks from memory, each `late` seconds after it came; each look finds other progress.

    `ask("looks")` counts the ids looked at. After `ask("finish")` every task has succeeded with a file of 2 MB at this
    server; `ask("files")` gives the times at which files were asked for.
    """

    def __init__(self, *, late: float = 0.0) -> None:
        super().__init__(_bare, late)


_REPLY = {
    "type": "text_to_model", "status": "running", "input": {"prompt": "an owl of carved wood"}, "output": {},
    "progress": 40, "create_time": 1_795_000_000, "prompt": "an owl of carved wood", "queuing_num": -1,
    "running_left_time": 9, "result": {},
}  # fmt: skip


_FILE = b"glTF\x02\x00\x00\x00" + bytes(range(256)) * 8000


class _Protocol(asyncio.Protocol):
    looks = 0
    late = 0.0
    finished = False
    files: list[float] = []  # noqa: RUF012  # one for all connections
    root = ""

    @classmethod
    def detail(cls, ident: str) -> dict[str, Any]:
        """The reply to a look at one task."""
        if not cls.finished:
            return {**_REPLY, "task_id": ident, "progress": cls.looks // 50 % 99}
        return {**_REPLY, "task_id": ident, "status": "success", "output": {"model": f"{cls.root}/file/{ident}.glb"}}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end]
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.data) < whole:
                return
            body, self.data = self.data[end + 4 : whole], self.data[whole:]
            path = head.split(b" ", 2)[1].decode()
            kind = b"application/json"
            if head.startswith(b"POST"):
                idents = json.loads(body)["task_ids"]
                tasks = {i: self.detail(i) for i in idents}
                reply = json.dumps({"code": 0, "data": {"tasks": tasks, "missed": []}}).encode()
                _Protocol.looks += len(idents)
            elif path.startswith("/file/"):
                _Protocol.files.append(time.time())
                reply, kind = _FILE, b"model/gltf-binary"
            else:
                reply = json.dumps({"code": 0, "data": self.detail(path.rpartition("/")[2])}).encode()
                _Protocol.looks += 1
            whole_reply = (
                b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\n"
                b"content-length: %d\r\n\r\n%b" % (kind, len(reply), reply)
            )
            if self.late:
                asyncio.get_running_loop().call_later(self.late, self.transport.write, whole_reply)
            else:
                self.transport.write(whole_reply)


def _bare(pipe: Connection, late: float) -> None:
    async def main() -> None:
        _Protocol.late = late
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Protocol, "127.0.0.1", 0, backlog=1024)
        _Protocol.root = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        pipe.send({"root": _Protocol.root})
        while (word := await loop.run_in_executor(None, pipe.recv)) != "end":
            _Protocol.finished |= word == "finish"
            pipe.send(_Protocol.files if word == "files" else _Protocol.looks)

    asyncio.run(main())
