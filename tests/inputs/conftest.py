"""Every test here runs in a process without keys, proxies or a store."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _isolated(isolated: Path) -> Path:
    return isolated
