"""Fixtures: one fast server for most tests; each test has its own key, and so its own account."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from support.emulator_calls import Caller

from nbhelper._emulator import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server at speed 1000; its handlers must raise nothing."""
    with Server(speed=1000) as emulator:
        yield emulator
        assert emulator._errors == []


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """An HTTP client without TLS, whose set-up would take longer than most tests."""
    with httpx.Client(timeout=60, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def at(server: Server, http: httpx.Client) -> Callable[[str], Caller]:
    """A function that makes a new account at an API."""
    return lambda name: Caller(server, name, http)
