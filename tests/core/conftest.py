"""Every test of the core runs in a process without keys, proxies or a store."""

import asyncio

import pytest


@pytest.fixture(autouse=True)
def _isolated(isolated):
    return isolated


@pytest.fixture(params=["httpx", "httpx2"])
def library(request, monkeypatch, fresh_engine):
    """Both clients that the library can use."""
    monkeypatch.setenv("NBHELPER_HTTP", request.param)
    return request.param


@pytest.fixture
def names(monkeypatch):
    """A resolver of the test's own: name to addresses."""
    known = {}
    real = asyncio.base_events.BaseEventLoop.getaddrinfo

    async def getaddrinfo(self, host, port, **options):
        if host in known:
            found = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
            return [(2, 1, 6, "", (address, port)) for address in found]
        return await real(self, host, port, **options)

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known
