"""Requests to the emulator over plain httpx, and waiting for a state."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from nbhelper._emulator import Server

#: Words in a prompt: durations so long that each state can be seen, at speed 1000.
SLOW = "emu:queue=400 emu:seconds=400"
#: Words in a prompt: no time in the queue, and none running.
QUICK = "emu:queue=0 emu:seconds=0"


@dataclass
class Caller:
    """A client of one emulated API with a key of its own, so with an account of its own."""

    server: Server
    name: str
    http: httpx.Client
    key: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = self.key or f"{self.server.key(self.name)}-{uuid.uuid4().hex[:8]}"
        header = (
            ("ailabapi-api-key", self.key) if self.name.startswith("ailab") else ("authorization", f"Bearer {self.key}")
        )
        self.headers = dict([header])

    def get(self, path: str, **params: str) -> httpx.Response:
        """GET below the API's base URL."""
        return self.http.get(self.server.url(self.name) + path, params=params, headers=self.headers)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """POST a JSON body below the API's base URL."""
        return self.http.post(self.server.url(self.name) + path, json=body, headers={**self.headers, **headers})

    def form(self, path: str, fields: dict[str, str], *files: str) -> httpx.Response:
        """POST a form below the API's base URL."""
        parts = {name: (f"{name}.png", b"\x89PNG\r\n\x1a\n") for name in files}
        return self.http.post(self.server.url(self.name) + path, data=fields, files=parts, headers=self.headers)

    def again(self) -> Caller:
        """Return a client with another account at the same API."""
        return Caller(self.server, self.name, self.http)

    def task(self, task_id: str) -> Any:
        """Return the ledger's record of a task."""
        return self.server.ledger().task(self.name, task_id)


def until(look: Callable[[], Any], done: Callable[[Any], bool], seconds: float = 30) -> list[Any]:
    """Call `look` until `done`; return every reply."""
    seen, end = [], time.monotonic() + seconds
    while not seen or not done(seen[-1]):
        assert time.monotonic() < end, f"not done after {seconds} s: {seen[-1] if seen else None}"
        seen.append(look())
        time.sleep(0.004)
    return seen


def words(seen: list[Any], word: Callable[[Any], Any]) -> list[Any]:
    """Return the distinct states in order of first appearance."""
    distinct: list[Any] = []
    for reply in seen:
        if word(reply) not in distinct:
            distinct.append(word(reply))
    return distinct
