"""Every test of watching runs in a process without keys, proxies or a store, and reads often what others write."""

import pytest
from support.notebooks import notebook, restart  # noqa: F401  # fixtures

from nbhelper._store import leases


@pytest.fixture(autouse=True)
def _isolated(isolated):
    return isolated


@pytest.fixture(autouse=True)
def _quick_reading(monkeypatch):
    monkeypatch.setattr(leases, "TICK", 0.1)
