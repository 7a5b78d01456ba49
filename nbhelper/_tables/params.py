"""The parameters of many tasks as columns: nested ones under dotted names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from .._model.json_text import dumps
from .._model.text import storable

_BLOCK = 250
"""Tasks whose parameters are flattened together: Python's garbage collector walks mappings that live long."""
_SCALARS = frozenset({str, int, float, bool, type(None)})


def flat(params: Iterable[Mapping[str, Any] | None], prefix: str = "") -> dict[str, list[Any]]:
    """Nested parameters of some tasks as columns of dotted names, None where a task has no such parameter.

    A list is JSON text. Where one task has a name twice, as in `{"a.b": 1, "a": {"b": 2}}`, its first value counts.

    Args:
        params: The parameters of each task; None for none.
        prefix: What every name begins with.
    """
    columns: dict[str, list[Any]] = {}
    count, rest = 0, iter(params)
    while block := [mapping or {} for mapping in itertools.islice(rest, _BLOCK)]:
        more = _columns(block, prefix)
        for name in more:
            if name not in columns:
                columns[name] = [None] * count
        for name, cells in columns.items():
            cells.extend(more.get(name) or [None] * len(block))
        count += len(block)
    return columns


def _columns(block: list[Mapping[str, Any]], prefix: str) -> dict[str, list[Any]]:
    """As `flat`, for one block."""
    columns: dict[str, list[Any]] = {}
    for key in dict.fromkeys(itertools.chain.from_iterable(block)):
        name = f"{prefix}{storable(str(key))}"
        cells = [mapping.get(key) for mapping in block]
        parts = {name: cells}
        if not _SCALARS.issuperset(map(type, cells)):
            own = [_own(cell) for cell in cells]
            nested = [(cell or {}) if value is None else {} for cell, value in zip(cells, own, strict=True)]
            parts = ({name: own} if any(value is not None for value in own) else {}) | _columns(nested, f"{name}.")
        for full, more in parts.items():
            known = columns.get(full)
            columns[full] = (
                more if known is None else [a if a is not None else b for a, b in zip(known, more, strict=True)]
            )
    return columns


def _own(value: Any) -> Any:
    """The cell in the parameter's own column; None for a mapping, whose members have columns of their own."""
    if isinstance(value, Mapping):
        return None if value else "{}"
    return dumps(value) if isinstance(value, list) else value
