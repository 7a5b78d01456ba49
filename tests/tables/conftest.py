"""Histories at fixed times, and matplotlib without a display."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.histories import at, history  # noqa: F401  # fixtures


@pytest.fixture
def closed_figures() -> Iterator[None]:
    """Matplotlib without a display and with its default style; every figure is closed again."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    with plt.style.context("default"):
        yield
        plt.close("all")
