"""A grid of parameters as cells; a cell's key is a digest of its parameters, so another process finds its tasks again.

Pure: nothing here reads the store or the clock.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._model.errors import BadInput
from .._model.task import Request, digest
from .._model.text import clean, kind_of, nearest
from .._submitting.uploads import is_file

MOST = 100_000
"""Tasks of one experiment; a grid that has more is a slip."""
_SHORT = 24
"""Characters of one value in a label."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One combination of the grid's values, to be submitted as often as there are repeats.

    Attributes:
        key: A digest of the parameters: the same in every process.
        params: By name, as the tables show them.
        request: What to submit.
        label: The values that vary, in short.
    """

    key: str
    params: Mapping[str, Any]
    request: Request = field(repr=False)
    label: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Repetition:
    """One repetition of a cell, which is one task to create."""

    cell: Cell
    repeat: int

    @property
    def key(self) -> tuple[str, int]:
        """The columns `cell` and `repeat` by which the store finds its creates."""
        return self.cell.key, self.repeat


def cells_of(request: Callable[..., Any], grid: Mapping[str, Iterable[Any]]) -> tuple[Cell, ...]:
    """The grid's cells, in its order: the last parameter changes fastest.

    Raises:
        BadInput: A grid that cannot be, or a function that does not give requests.
    """
    values = {name: _values(name, given) for name, given in grid.items()}
    n = math.prod(len(given) for given in values.values())
    if n > MOST:
        raise BadInput(f"The grid has {n:,} combinations; at most {MOST:,} are one experiment.")
    varying = [name for name, given in values.items() if len(given) > 1]
    cells: list[Cell] = []
    for combination in itertools.product(*values.values()):
        given = dict(zip(values, combination, strict=True))
        params = {name: as_param(name, value) for name, value in given.items()}
        text = json.dumps(params, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        made = request(**given)
        if not isinstance(made, Request):
            raise BadInput(
                f"request(…) gave {kind_of(made)}; it must return a request, such as "
                'nbhelper.Request("kie", {"model": …, "input": {…}}).',
            )
        label = ", ".join(_shorten(params[name]) for name in varying or params)
        cells.append(Cell(key, params, made, clean(label, 120)))
    return tuple(cells)


def check_grid(request: object, grid: object) -> None:
    """Check that a function can be called with a grid's names.

    Raises:
        BadInput: What is wrong, with the nearest name that the function takes.
    """
    if not callable(request):
        raise BadInput(
            f"request is a function from the grid's parameters to an nbhelper.Request, not {kind_of(request)}."
        )
    if not isinstance(grid, Mapping):
        raise BadInput(f'grid is a mapping such as {{"prompt": ["an owl", "a fox"]}}, not {kind_of(grid)}.')
    if not grid:
        raise BadInput('The grid is empty. Give it at least one parameter, such as {"prompt": ["an owl"]}.')
    if not all(isinstance(name, str) and name for name in grid):
        raise BadInput("The grid's parameters are named by text.")
    try:
        parameters = inspect.signature(request).parameters
    except (TypeError, ValueError):
        return  # a callable that hides its parameters will say so itself
    named = [n for n, p in parameters.items() if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in grid:
        if name not in named and not takes_any:
            known = ", ".join(named) or "no parameters"
            raise BadInput(f'request does not take "{clean(name, 60)}".{nearest(name, named)} It takes {known}.')
    for name in named:
        if name not in grid and parameters[name].default is inspect.Parameter.empty:
            raise BadInput(f'request needs "{name}", which the grid does not have.{nearest(name, grid)}')


def _values(name: str, given: Any) -> list[Any]:
    """The values of one parameter, checked: a list, not empty, each value once."""
    quoted = f'"{clean(name, 60)}"'
    is_single = (
        isinstance(given, str | bytes | bytearray | Mapping) or not isinstance(given, Iterable) or is_file(given)
    )
    if is_single and not isinstance(given, list | tuple):
        example = f'["{clean(given, 20)}"]' if isinstance(given, str) else "[…]"
        raise BadInput(f"The values of {quoted} are a list, such as {example}, not {kind_of(given)}.")
    values = list(itertools.islice(given, MOST + 1))
    if not values:
        raise BadInput(f"The grid has no values for {quoted}.")
    if len(values) > MOST:
        raise BadInput(f"The grid has more than {MOST:,} values for {quoted}.")
    keys = [json.dumps(as_param(name, value), sort_keys=True) for value in values]
    if len(set(keys)) < len(keys):
        twice = next(value for value, key in zip(values, keys, strict=True) if keys.count(key) > 1)
        raise BadInput(
            f"{quoted} has the value {clean(repr(twice), 60)} twice; repeats=2 does everything of the grid twice.",
        )
    return values


def as_param(name: str, value: Any) -> Any:
    """A value as the tables show it: plain JSON, a path as text, the content of a file as digest and size.

    Raises:
        BadInput: A value of another kind.
    """
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return digest(bytes(value))
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f'The grid has {value} for "{clean(name, 60)}"; use a number.')
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if is_file(value) and not isinstance(value, list | tuple):
        tobytes = getattr(value, "tobytes", None)
        if callable(tobytes):
            return digest(bytes(tobytes()))
    if isinstance(value, Mapping):
        return {str(key): as_param(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_param(name, item) for item in value]
    raise BadInput(
        f'The grid has {kind_of(value)} for "{clean(name, 60)}"; use text, numbers, files, lists or mappings.'
    )


def _shorten(value: Any) -> str:
    """A value as part of a label."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


def repetitions_of(cells: Sequence[Cell], repeats: int) -> tuple[Repetition, ...]:
    """Every repetition of every cell, those of one cell one after another."""
    return tuple(Repetition(cell, repeat) for cell in cells for repeat in range(1, repeats + 1))


def shuffled(repetitions: Sequence[Repetition], seed: int | None) -> list[Repetition]:
    """The order to submit in, the same for the same seed; None keeps the grid's.

    Times of day and busy hours then do not favour the first values of the grid.
    """
    order = list(repetitions)
    if seed is not None:
        random.Random(seed).shuffle(order)  # noqa: S311 - an order, not a secret
    return order
