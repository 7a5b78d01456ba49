"""`nbhelper.submit` to the mill, with scripted answers to its create requests."""

from __future__ import annotations

from typing import Any

from support.mill import Answer, Mill

import nbhelper as nbh

OWL = {"prompt": "an owl", "size": [1, 2.5, None, True], "deep": {"a": ["ü"]}}


def send(mill: Mill, *answers: Answer, endpoint: str = "image", request: Any = None, **options: Any) -> nbh.Task:
    """Submit a request, or `OWL`, to the mill, which gives these answers to create requests; the `Task`."""
    mill.creates[:] = list(answers) or [{"id": "new-1"}]
    return nbh.submit("mill", OWL if request is None else request, endpoint=endpoint, **options)
