"""Imported in a kernel: counts the drawings of live cards from then on."""

import time
from typing import Any

from nbhelper._views.live_card import LiveCard

drawing = [0, 0.0]
"""The number of drawings, and the CPU seconds that they took."""
_draw = LiveCard._draw


def _counted(*arguments: Any) -> None:
    begun = time.thread_time()
    _draw(*arguments)
    drawing[0] += 1
    drawing[1] += time.thread_time() - begun


LiveCard._draw = _counted  # type: ignore[method-assign]
