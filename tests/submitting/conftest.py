"""Every test here runs in a process without keys, proxies or a store."""

import pytest


@pytest.fixture(autouse=True)
def _isolated(isolated):
    return isolated
