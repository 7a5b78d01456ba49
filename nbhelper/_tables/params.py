"""What was asked, as columns: nested parameters stand under dotted names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from .._model.json_text import dumps
from .._model.text import storable

_AT_ONCE = 250
"""Tasks whose parameters are looked at together: mappings that live long are looked through by Python's collector."""
_PLAIN = frozenset({str, int, float, bool, type(None)})


def flat(params: Iterable[Mapping[str, Any] | None], prefix: str = "") -> dict[str, list[Any]]:
    """Nested parameters of some tasks as columns of dotted names; lists as JSON text.

    Where a task gives one name twice, as `{"a.b": 1, "a": {"b": 2}}` does, the first one stands.
    """
    columns: dict[str, list[Any]] = {}
    count, rest = 0, iter(params)
    while told := [asked or {} for asked in itertools.islice(rest, _AT_ONCE)]:
        more = _columns(told, prefix)
        for name in more:
            if name not in columns:
                columns[name] = [None] * count
        for name, cells in columns.items():
            cells.extend(more.get(name) or [None] * len(told))
        count += len(told)
    return columns


def _columns(told: list[Mapping[str, Any]], prefix: str) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for key in dict.fromkeys(itertools.chain.from_iterable(told)):
        name = f"{prefix}{storable(str(key))}"
        cells = [asked.get(key) for asked in told]
        found = {name: cells}
        if not _PLAIN.issuperset(map(type, cells)):
            own = [_own(cell) for cell in cells]
            nested = [(cell or {}) if mine is None else {} for cell, mine in zip(cells, own, strict=True)]
            found = ({name: own} if any(cell is not None for cell in own) else {}) | _columns(nested, f"{name}.")
        for full, more in found.items():
            known = columns.get(full)
            columns[full] = (
                more if known is None else [a if a is not None else b for a, b in zip(known, more, strict=True)]
            )
    return columns


def _own(value: Any) -> Any:
    """What stands in a parameter's own column; None where those of its parts say it."""
    if isinstance(value, Mapping):
        return None if value else "{}"
    return dumps(value) if isinstance(value, list) else value
