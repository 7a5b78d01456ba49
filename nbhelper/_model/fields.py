"""Fields of frozen dataclasses: the empty mapping as a default, and the types of the fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType, UnionType
from typing import Any, get_type_hints

NOTHING: Mapping[str, Any] = MappingProxyType({})


def nothing() -> Mapping[str, Any]:
    """The empty mapping, shared: a default that nobody can change."""
    return NOTHING


@cache
def field_types(cls: type[Any]) -> Mapping[str, Any]:
    """The type of each field of a dataclass: `float` also where it is `float | None`."""
    hints = get_type_hints(cls)
    unions = {name: hint.__args__[0] for name, hint in hints.items() if isinstance(hint, UnionType)}
    return {**hints, **unions}
