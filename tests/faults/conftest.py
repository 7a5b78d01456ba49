"""The table of rows is made by `support.fault_table`; here is what the rows' tests share."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.mill import KEY
from support.raw_server import Play, RawServer


@pytest.fixture(autouse=True)
def _isolated(isolated: Path) -> Path:
    """No keys, proxies or store of whoever runs the tests."""
    return isolated


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fresh_engine: None) -> str:
    """Both clients that the library can use."""
    monkeypatch.setenv("NBHELPER_HTTP", request.param)
    return request.param


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RawServer]]:
    """Start raw servers; all are closed in the end, and none may have gone wrong inside."""
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
