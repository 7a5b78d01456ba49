"""The tasks of an experiment with what the store knows of each, and which of them may be submitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .._model.errors import StoreError
from .._model.json_text import dumps
from .._providers import get
from .._session import session
from .._store import creates
from .._store.codec import plain
from .._submitting import send
from .._submitting.draft import Draft, draft
from .._tables.price_list import PRICES, known_prices
from . import budget
from .budget import Estimate, Limits
from .grid import Cell, Repetition

if TYPE_CHECKING:
    from .._session.session import Connection
    from .._store.store import Store

SAFE_TO_REPEAT = timedelta(hours=24)
"""How long a request id is trusted to make a create safe to repeat; no API says how long it remembers one."""
_RANK = {"created": 3, "in_doubt": 2, "sent": 2, "refused": 1, "begun": 0}
"""Of several creates of one repetition, the one of the highest rank says what became of it."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckedCell:
    """A cell whose request was checked.

    Attributes:
        cell: The cell.
        provider: The provider's name.
        endpoint: The endpoint's short name or path.
        path: The endpoint's path.
        model: What the tables show as the model, where the request names one.
        params: What the tables keep: the grid's parameters, then those of the request.
        digest: Of the request.
        estimate: What one task of the cell would cost.
    """

    cell: Cell
    provider: str
    endpoint: str
    path: str
    model: str | None
    params: Mapping[str, Any]
    digest: str
    estimate: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class PlannedTask:
    """A repetition, its checked cell, and the row of its create; None without one."""

    repetition: Repetition
    checked: CheckedCell
    row: creates.CreateRow | None

    @property
    def status(self) -> str:
        """`unsent` (nothing was made), `sent` or `in doubt`."""
        state = self.row.state if self.row is not None else "begun"
        return {"created": "sent", "in_doubt": "in doubt", "sent": "in doubt"}.get(state, "unsent")


def planned_tasks(
    name: str, repetitions: Sequence[Repetition], cells: Mapping[str, CheckedCell], store: Store
) -> list[PlannedTask]:
    """Every repetition with the create that says what became of it, in the order of the grid.

    A create whose row lost its cell is found by its parameters: damage must not let it be sent, and paid for, again.

    Args:
        name: The experiment's name.
        repetitions: All of the grid.
        cells: The checked cells by key.
        store: Where the creates are.
    """
    prices = prices_now()
    checked = {key: replace(cell, estimate=estimate(cell, prices)) for key, cell in cells.items()}
    rows = store.creates(name)
    by_params: dict[str, str] = {}
    if not all(row.cell for row in rows):
        by_params = {dumps(plain(cell.params)): key for key, cell in cells.items()}
    newest: dict[tuple[str, int], creates.CreateRow] = {}
    for row in rows:
        key = (row.cell or by_params.get(row.params, ""), row.repeat)
        known = newest.get(key)
        if known is None or _RANK[row.state] >= _RANK[known.state]:
            newest[key] = row
    return [PlannedTask(one, checked[one.cell.key], newest.get(one.key)) for one in repetitions]


def allowed(
    planned: Sequence[PlannedTask],
    order: Sequence[Repetition],
    limits: Limits,
    *,
    retry_in_doubt: bool,
    repeatable: Sequence[PlannedTask] = (),
) -> list[PlannedTask]:
    """What may be submitted within the limits, in the order of submitting.

    Args:
        planned: Every task of the experiment.
        order: The repetitions in the order of submitting.
        limits: How many all tasks of the experiment may be, and what they may cost together.
        retry_in_doubt: Whether to submit once more what may have been made.
        repeatable: Those in doubt that are sent again anyway, because it makes no second task.

    Raises:
        BadInput: A limit that cannot be kept, or lets nothing through.
    """
    by_repetition = {task.repetition: task for task in planned}
    missing = [
        task
        for repetition in order
        if (task := by_repetition[repetition]).status == "unsent"
        or (retry_in_doubt and task.status == "in doubt" and task not in repeatable)
    ]
    # What is in doubt may have been billed, also when it is sent once more.
    spent = [task for task in planned if task.status != "unsent"]
    n = limits.count_fitting([task.checked.estimate for task in spent], [task.checked.estimate for task in missing])
    return missing[:n]


def beyond_limits(planned: Sequence[PlannedTask], to_send: Sequence[PlannedTask], limits: Limits) -> list[str]:
    """A line that says how many tasks are beyond the limits; none when all are within."""
    n = sum(task.status == "unsent" for task in planned) - sum(task.status == "unsent" for task in to_send)
    return [f"{limits}: {n:,} more {'are' if n != 1 else 'is'} not submitted"] * bool(n)


def _draft(cell: Cell) -> Draft:
    request = cell.request
    return draft(request.provider, request.body, endpoint=request.endpoint, files=request.files)


def check(cell: Cell) -> CheckedCell:
    """A cell's request, checked as `submit` would; its files are read and not kept."""
    made = _draft(cell)
    params = {**cell.params, **{k: v for k, v in made.params.items() if k not in cell.params}}
    return CheckedCell(
        cell, made.provider.name, made.name, made.endpoint.path, made.model, params, made.digest, Estimate()
    )


def preparing(checked: CheckedCell, where: Connection) -> Callable[[], send.PreparedCreate]:
    """A function that checks the request once more, reading its files, and gives the create to send."""

    def prepare() -> send.PreparedCreate:
        return send.PreparedCreate(replace(_draft(checked.cell), params=checked.params), where)

    return prepare


def prices_now() -> Sequence[Any]:
    """The published prices and those of the store; the published ones alone where it cannot be read."""
    try:
        return known_prices(session.store().prices())
    except StoreError:
        return PRICES


def estimate(checked: CheckedCell, prices: Sequence[Any]) -> Estimate:
    """What one task of a cell would cost by these prices."""
    request = checked.cell.request
    account = " or ".join(get(checked.provider).variables)
    return budget.estimate(checked.provider, account, checked.path, checked.model, request.body, prices)


def is_repeatable(task: PlannedTask, where: Connection, fingerprint: str) -> bool:
    """Whether a create in doubt can be sent again without making a second task: by a request id that still holds."""
    row = task.row
    return (
        row is not None
        and task.status == "in doubt"
        and row.request_id is not None
        and row.request_digest == task.checked.digest
        and row.origin == where.origin
        and row.fingerprint == fingerprint
        and row.at is not None
        and datetime.now(UTC) - row.at < SAFE_TO_REPEAT
    )
