"""Every test of the core runs in a process without keys, proxies or a store."""

import pytest
from support.wire import authority, library, names, serve, tls  # noqa: F401  # fixtures


@pytest.fixture(autouse=True)
def _isolated(isolated):
    return isolated
