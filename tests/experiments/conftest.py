"""Every experiment runs in a process without keys, proxies or a store."""

import pytest
from support.experiments import experiment, factory, run  # noqa: F401  # fixtures


@pytest.fixture(autouse=True)
def _isolated(isolated):
    return isolated
