"""A real provider's description at the tests' own server, with a floor that a test can wait for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.mill import FLOOR, Answer, Mill

import nbhelper as nbh
from nbhelper._providers import get

LOOKS = {
    "ailab-legacy": "/api/image/asyn-task-results",
    "ailab": "/api/common/query-async-task-result",
    "gptge": "/task/{id}",
    "tripo": "/task/{id}",
    "tripo-v3": "/tasks/{id}",
    "aigptimage": "/api/v1/jobs/recordInfo",
    "kie": "/api/v1/jobs/recordInfo",
}
"""The path of each API's look, written out here rather than taken from the providers, which are tested."""


def quick(mill: Mill, name: str, *answers: Answer, ident: str = "t", floor: float = FLOOR, **more: Any) -> nbh.Task:
    """Register a provider as `quick-<name>` at the mill; a task to whose looks the mill gives these answers.

    Everything of the provider is kept but its address, its key's variable and its floor.
    """
    spec = get(name)
    changed = {"base_url": mill.root, "key_variable": "MILL_API_KEY", "key_starts": (), "floor": floor, **more}
    nbh.register(replace(spec, name=f"quick-{name}", **changed))
    mill.paths[LOOKS[name].replace("{id}", ident)] = list(answers)
    extra = {"type": "HD_COLOUR_MIGRATION"} if name == "ailab-legacy" else {}
    return nbh.Task(f"quick-{name}", ident, extra=extra)
