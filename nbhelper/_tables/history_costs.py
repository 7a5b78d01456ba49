"""What some histories cost, by the prices known now: for a card, which has no frame."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .._model.errors import StoreError
from .._model.history import History
from .._store.filter import Filter
from .._store.history_to_row import summary_row
from .price_list import PRICES, known_prices
from .prices import Cost, Price, costs

if TYPE_CHECKING:
    from .._store.store import Store


def costs_of(histories: Sequence[History], store: Store | None) -> list[Cost]:
    """Amount, currency and source for each history, as `tasks()` has them.

    Args:
        histories: What was seen.
        store: Where prices, endpoints and models are kept; without it the published prices hold.
    """
    created: dict[str, dict[str, Any]] = {}
    prices: Sequence[Price] = PRICES
    if store is not None:
        with suppress(StoreError):  # the prices of the store cannot be read; the published ones hold
            prices = known_prices(store.prices())
            rows = store.rows(Filter(uids=tuple(history.uid for history in histories)))
            created = {row["uid"]: {name: row[name] for name in ("endpoint", "model")} for row in rows}
    return costs([summary_row(history, **created.get(history.uid, {})) for history in histories], prices)
