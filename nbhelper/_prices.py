"""What a task costs in money, as far as anybody published it; a price never stands without its source and date."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Per = Literal["task", "image", "second", "credit"]
CostSource = Literal["server", "price list", "unknown"]

_FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One published price.

    Attributes:
        provider: Whose.
        model: Which model, or last segment of the endpoint's path; None for all of the provider's.
        per: What `amount` is paid for; `credit` takes the credits that the server states.
        amount: Money for one of them.
        currency: ISO code.
        failed_billed: Whether a task that did not succeed is billed; None where nobody says.
        source: Where it was read.
        date: When, as ISO text.
    """

    provider: str
    per: Per
    amount: float
    model: str | None = None
    currency: str = "USD"
    failed_billed: bool | None = None
    source: str = ""
    date: str = "2026-11-21"


_AILAB_CREDIT = 0.003
"""USD per credit in the smallest package; the largest one sells at 0.0025."""
_AILAB_CREDITS = {
    "ai-anime-generator": 10,
    "cartoon-yourself": 20,
    "hairstyle-editor-pro": 10,
    "hairstyle-editor-premium": 15,
    "ai-face-swap": 5,
    "try-on-clothes": 10,
    "try-on-clothes-pro": 30,
    "try-on-clothes-premium": 50,
    "try-on-clothes-refiner": 25,
    "remove-objects": 5,
    "remove-objects-advanced": 20,
    "remove-objects-pro": 35,
}

PRICES: tuple[Price, ...] = (
    *(
        Price(provider=name, per="credit", amount=0.01, failed_billed=False, source="Tripo: $1 = 100 credits")
        for name in ("tripo", "tripo-v3")
    ),
    Price(provider="kie", per="credit", amount=0.005, source="kie.ai: $0.005 per credit"),
    *(
        Price(
            provider=name,
            model=model,
            per="task",
            amount=round(number * _AILAB_CREDIT, 6),
            failed_billed=False,
            source=f"AILabTools: {number} credits at ${_AILAB_CREDIT} (package of 2,000)",
        )
        for name in ("ailab", "ailab-legacy")
        for model, number in _AILAB_CREDITS.items()
    ),
)
"""The price list, oldest first: of two prices for the same thing, the later one counts."""


def price_for(row: Mapping[str, Any], prices: Iterable[Price] = PRICES) -> Price | None:
    """The price of a row: one of its model before one of its provider, a later before an earlier one."""
    endpoint = row.get("endpoint")
    names = {row.get("model"), endpoint.rpartition("/")[2] if isinstance(endpoint, str) else None} - {None}
    found: Price | None = None
    for price in prices:
        if price.provider != row.get("provider") or (price.model is not None and price.model not in names):
            continue
        if found is None or price.model is not None or found.model is None:
            found = price
    return found


def cost_of(row: Mapping[str, Any], prices: Iterable[Price] = PRICES) -> tuple[float | None, str | None, CostSource]:
    """Amount, currency and source of what one row of `tasks()` cost; (None, None, "unknown") where nobody says.

    Only a task that the server ended has a cost. Credits that the server states are believed for every outcome. Without
    them a task that did not succeed costs nothing only where its price says that such tasks are not billed.

    Args:
        row: `provider`, `model`, `endpoint`, `outcome`, `credits`, `n_outputs` and `params` are read.
        prices: Instead of the built-in list.
    """
    price, outcome = price_for(row, prices), row.get("outcome")
    if price is None or outcome not in _FINAL or row.get("task_id") is None:
        return None, None, "unknown"
    count, source = _count(price, row)
    if outcome != "succeeded" and source != "server":
        count = 0.0 if price.failed_billed is False else None
        source = "price list"
    if count is None:
        return None, None, "unknown"
    return round(count * price.amount, 9), price.currency, source


def _count(price: Price, row: Mapping[str, Any]) -> tuple[float | None, CostSource]:
    """How many of what the price is for, and who says so."""
    match price.per:
        case "credit":
            stated = _number(row.get("credits"))
            return stated, "price list" if stated is None else "server"
        case "task":
            return 1.0, "price list"
        case "image":
            return _number(row.get("n_outputs")), "price list"
        case "second":
            params = row.get("params") or {}
            return _number(params.get("duration")), "price list"


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)
