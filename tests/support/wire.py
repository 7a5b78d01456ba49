"""Fixtures of tests over sockets: raw servers, certificates, a DNS resolver, and both HTTP clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.mill import KEY
from support.raw_server import Play, RawServer


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fresh_engine: None) -> str:
    """The HTTP client that the library uses: a test runs with httpx, and again with httpx2."""
    monkeypatch.setenv("NBHELPER_HTTP", request.param)
    return request.param


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RawServer]]:
    """Start raw servers; at the end all are closed, and none of their functions may have raised."""
    monkeypatch.setenv("MILL_API_KEY", KEY)
    made: list[RawServer] = []

    def begin(play: Play, **options: Any) -> RawServer:
        made.append(RawServer(play, **options))
        return made[-1]

    yield begin
    for server in made:
        server.close()
        assert server.faults == []


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    """A certificate authority that this process trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's side of TLS, with a trusted certificate for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


Address = tuple[int, int, int, str, tuple[Any, ...]]


def address(host: str, port: int) -> Address:
    """An address as `getaddrinfo` returns it."""
    if ":" in host:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str] | OSError]]:
    """Answers of a fake DNS resolver by name, one a lookup, the last repeated; other names are resolved as usual."""
    known: dict[str, list[list[str] | OSError]] = {}
    real = asyncio.base_events.BaseEventLoop.getaddrinfo

    async def getaddrinfo(self: Any, host: Any, port: Any, **options: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in known:
            return await real(self, host, port, **options)
        answer = known[name].pop(0) if len(known[name]) > 1 else known[name][0]
        if isinstance(answer, OSError):
            raise answer
        return [address(one, port) for one in answer]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known
