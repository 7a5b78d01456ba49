"""The places of an experiment, what the store knows of each, and which of them may be submitted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .._model.errors import StoreError
from .._providers import get
from .._session import session
from .._store.creates import Create as Row
from .._submitting.draft import Draft, draft
from .._submitting.send import Create
from .._tables.price_list import PRICES, known_prices
from .budget import Estimate, Limits
from .budget import estimate as price_of
from .grid import Cell, Place

if TYPE_CHECKING:
    from .._session.session import Connection
    from .._store.store import Store

SAFE_TO_REPEAT = timedelta(hours=24)
"""How long a request id is trusted to make a create safe to repeat; no API says how long it remembers one."""
_RANK = {"created": 3, "in_doubt": 2, "sent": 2, "refused": 1, "begun": 0}
"""Which of several creates of one place tells what became of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A cell whose request was checked.

    Attributes:
        cell: Which.
        provider: Whose.
        endpoint: Short name or path.
        path: Where it goes.
        model: What the tables show as the model, where the request tells.
        params: What the tables keep: the grid's parameters, then those of the request.
        digest: Of the request.
        estimate: What one task of it would cost.
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
class Slot:
    """A place and what the store knows of it."""

    place: Place
    checked: Checked
    row: Row | None

    @property
    def status(self) -> str:
        """`unsent` (nothing was made), `sent` or `in doubt`."""
        state = self.row.state if self.row is not None else "begun"
        return {"created": "sent", "in_doubt": "in doubt", "sent": "in doubt"}.get(state, "unsent")


def slots_of(name: str, places: Sequence[Place], cells: Mapping[str, Checked], store: Store) -> list[Slot]:
    """Every place with the create that tells what became of it, in the order of the grid.

    Args:
        name: The experiment's.
        places: Its places.
        cells: Its checked cells by key.
        store: Where its creates are.
    """
    prices = prices_now()
    checked = {key: _with_price(made, prices) for key, made in cells.items()}
    rows: dict[tuple[str, int], Row] = {}
    found = store.creates(name)
    for row in filter(_is_placed, found):
        known = rows.get((row.cell, row.repeat))
        if known is None or _RANK[row.state] >= _RANK[known.state]:
            rows[row.cell, row.repeat] = row
    alike: dict[str, list[str]] = {}
    for key, made in checked.items():
        alike.setdefault(made.digest, []).append(key)
    for row in sorted(itertools.filterfalse(_is_placed, found), key=lambda row: -_RANK[row.state]):
        free = [key for key in alike.get(row.request_digest, ()) if (key, row.repeat) not in rows]
        rows[free[0] if free else "", row.repeat] = row
    return [Slot(place, checked[place.cell.key], rows.get(place.key)) for place in places]


def allowed(
    slots: Sequence[Slot],
    order: Sequence[Place],
    limits: Limits,
    *,
    retry_in_doubt: bool,
    safe: Sequence[Slot] = (),
) -> list[Slot]:
    """What may be submitted within the limits, in the order of submitting.

    Args:
        slots: Every place.
        order: The places in the order of submitting.
        limits: What all tasks of the experiment may be and cost together.
        retry_in_doubt: Whether to submit once more what may have been made.
        safe: Those in doubt that are repeated anyway.

    Raises:
        BadInput: A limit that cannot be kept, or lets nothing through.
    """
    by_place = {slot.place: slot for slot in slots}
    wanted = [
        slot
        for place in order
        if (slot := by_place[place]).status == "unsent"
        or (retry_in_doubt and slot.status == "in doubt" and slot not in safe)
    ]
    # What is in doubt may have been billed, also when it is sent once more.
    spent = [slot for slot in slots if slot.status != "unsent"]
    n = limits.share([s.checked.estimate for s in spent], [s.checked.estimate for s in wanted])
    return wanted[:n]


def left_out(slots: Sequence[Slot], todo: Sequence[Slot], limits: Limits) -> list[str]:
    """How many are beyond the limits, in words."""
    n = sum(slot.status == "unsent" for slot in slots) - sum(slot.status == "unsent" for slot in todo)
    return [f"{limits}: {n:,} more {'are' if n != 1 else 'is'} not submitted"] * bool(n)


def _draft(cell: Cell) -> Draft:
    made = cell.request
    return draft(made.provider, made.body, endpoint=made.endpoint, files=made.files)


def check(cell: Cell) -> Checked:
    """A cell's request, checked as `submit` would; its files are read and let go again."""
    made = _draft(cell)
    params = {**cell.params, **{k: v for k, v in made.params.items() if k not in cell.params}}
    return Checked(cell, made.provider.name, made.name, made.endpoint.path, made.model, params, made.digest, Estimate())


def preparing(checked: Checked, where: Connection) -> Callable[[], Create]:
    """A function that checks the request once more, reading its files, and gives the create to send."""

    def prepare() -> Create:
        return Create(replace(_draft(checked.cell), params=checked.params), where)

    return prepare


def prices_now() -> Sequence[Any]:
    """The published prices and those of the store; the published ones alone where it cannot be read."""
    try:
        return known_prices(session.store().prices())
    except StoreError:
        return PRICES


def estimate(checked: Checked, prices: Sequence[Any]) -> Estimate:
    """What one task of a cell would cost by these prices."""
    made = checked.cell.request
    account = " or ".join(get(checked.provider).variables)
    return price_of(checked.provider, account, checked.path, checked.model, made.body, prices)


def _with_price(checked: Checked, prices: Sequence[Any]) -> Checked:
    return replace(checked, estimate=estimate(checked, prices))


def _is_placed(row: Row) -> bool:
    """Whether a create knows its cell; one whose row was damaged is placed by its request."""
    return row.cell != ""


def is_repeatable(slot: Slot, where: Connection, fingerprint: str) -> bool:
    """Whether a create in doubt can be asked again without making a second task."""
    row = slot.row
    return (
        row is not None
        and slot.status == "in doubt"
        and row.request_id is not None
        and row.request_digest == slot.checked.digest
        and row.origin == where.origin
        and row.fingerprint == fingerprint
        and row.at is not None
        and datetime.now(UTC) - row.at < SAFE_TO_REPEAT
    )
