"""What a task costs: which of some prices holds for it, and whether the server or a price list states the number.

Pure functions: the prices are arguments. Costs are computed when a table is made, so that a price that is set later
fills earlier rows too. `credits` in a table are those that the server states; where it states none, published credits
serve to compute the cost.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, NamedTuple

from .._model.json_text import dumps
from .._model.text import clean
from .params import flat

Per = Literal["task", "image", "second", "credit", "option"]
CostSource = Literal["server", "price list", "unknown"]
Cost = tuple[float | None, str | None, CostSource]

CREDITS = "credits"
"""The currency of a price that says what a task takes, not what that costs."""
_FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
_UNKNOWN: Cost = None, None, "unknown"
_COUNTS = ("n", "num_images", "max_images")
"""The parameters that state a number of images; a request without them asks for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a task, an image, a second, a credit or an option costs at a provider.

    Attributes:
        provider: The provider's name.
        per: What `amount` is paid for. `credit` takes the credits that the server states, else those that the price
            list has for the task; `option` is on top, for a task whose parameters are these.
        amount: In `currency`, for one unit of `per`.
        model: The model that it holds for, or the last segment of the endpoint's path; `*` stands for anything, None
            for all.
        params: The parameters that it holds for, by the name that tables have behind `param_`, or by the end of that
            name; `*` as above.
        currency: ISO code, or `credits`.
        failed_billed: Whether a task that did not succeed is billed; None where no source says.
        source: Where the price was read.
        date: The day it was read, as ISO text.
    """

    provider: str
    per: Per
    amount: float
    model: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    currency: str = "USD"
    failed_billed: bool | None = None
    source: str
    date: str

    def __repr__(self) -> str:
        what = [self.provider, *([self.model] if self.model else []), *(f"{k}={v}" for k, v in self.params.items())]
        return f"<Price {clean(' '.join(what), 120)}: {self.amount:g} {self.currency} per {self.per} ({self.date})>"


_FIELDS = tuple(item.name for item in fields(Price))

UNITS: tuple[Per, ...] = ("credit", "task", "image", "second")
"""What a price that a user sets may be for."""


def as_row(price: Price) -> dict[str, Any]:
    """A price as values that JSON can hold, by the names of its fields."""
    return asdict(price)


def from_row(row: Any) -> Price | None:
    """The price that `as_row` gave; None for a row that is no price."""
    if not isinstance(row, Mapping):
        return None
    try:
        price = Price(**{name: row[name] for name in _FIELDS if name in row})
    except TypeError:
        return None
    if price.per not in (*UNITS, "option") or amount_of(price.amount) is None:
        return None
    return price if isinstance(price.params, Mapping) and isinstance(price.currency, str) else None


def price_key(price: Price) -> str:
    """Provider, model, parameters and whether it counts credits, as JSON: of equal keys the store keeps one price."""
    return dumps([price.provider, price.model, dict(price.params), price.currency == CREDITS])


class Expected(NamedTuple):
    """What a request would cost by the price list; None is unknown.

    Attributes:
        amount: Money, in `currency`.
        currency: ISO code; None without an amount.
        credits: What the price list takes for it.
        source: Where the prices were read.
    """

    amount: float | None
    currency: str | None
    credits: float | None
    source: str | None


def expected(
    provider: str,
    endpoint: str | None,
    params: Mapping[str, Any],
    prices: Iterable[Price],
    *,
    model: str | None = None,
) -> Expected:
    """What a request that was not sent would cost if it succeeds.

    Args:
        provider: A provider's name.
        endpoint: The endpoint's path, or short name.
        params: The body of the request.
        prices: From `known_prices`.
        model: The model, where the body does not name it as `model`.
    """
    texts = {name: _as_text(cell) for name, (cell,) in flat([params]).items() if cell is not None}
    task = _Described(model, endpoint, texts)
    known = [price for price in prices if price.provider == provider]
    credits_taken, sources = _credits(task, [price for price in known if price.currency == CREDITS])
    price = _best(task, [price for price in known if price.currency != CREDITS])
    count = None if price is None else credits_taken if price.per == "credit" else task.count(price.per)
    if price is None or count is None:
        return Expected(None, None, credits_taken, "; ".join(sources) or None)
    source = "; ".join(dict.fromkeys((*sources, price.source)))
    return Expected(round(count * price.amount, 9), price.currency, credits_taken, source)


def cost_of(row: Mapping[str, Any], prices: Iterable[Price]) -> Cost:
    """Amount, currency and source of what one row of `tasks()` cost; (None, None, "unknown") where no price tells.

    Only a task that the server ended has a cost. Credits that the server states count for every outcome. Without them,
    a task that did not succeed costs nothing only where a price says that such tasks are not billed.

    Args:
        row: The columns of `PRICED`, and `params`.
        prices: From `known_prices`, or the published ones.
    """
    return costs([row], prices)[0]


PRICED = ("provider", "task_id", "model", "endpoint", "outcome", "credits", "n_outputs")
"""The columns of `tasks()` that a cost is computed from, besides the parameters."""


def costs(rows: Sequence[Mapping[str, Any]], prices: Iterable[Price]) -> list[Cost]:
    """What each of some rows of `tasks()` cost, as `cost_of`."""
    columns = {name: [row.get(name) for row in rows] for name in PRICED}
    return costs_of(columns, flat(row.get("params") for row in rows), prices)


def costs_of(
    columns: Mapping[str, Sequence[Any]], params: Mapping[str, Sequence[Any]], prices: Iterable[Price]
) -> list[Cost]:
    """What each of many tasks cost, as `cost_of`; tasks that are equal in all that prices look at are computed once.

    Args:
        columns: Those of `PRICED`.
        params: The parameters of the tasks, from `flat`.
        prices: From `known_prices`, or the published ones.
    """
    in_money: dict[str, list[Price]] = {}
    in_credits: dict[str, list[Price]] = {}
    looked_at = {"model", "duration", *_COUNTS}
    for price in prices:
        (in_credits if price.currency == CREDITS else in_money).setdefault(price.provider, []).append(price)
        looked_at.update(price.params)

    names = [name for name in params if any(name == end or name.endswith(f".{end}") for end in looked_at)]
    texts = [[None if v is None else _as_text(v) for v in params[name]] for name in names]
    numbers = [[None if v is None else amount_of(v) for v in columns[name]] for name in ("credits", "n_outputs")]
    # A create that was refused or is in doubt has no id, and no known cost.
    outcomes = [o if i is not None else None for o, i in zip(columns["outcome"], columns["task_id"], strict=True)]

    @cache
    def cost(
        provider: str, model: str, endpoint: str, stated: float, n_outputs: float, outcome: str, *texts: str | None
    ) -> Cost:
        task = _Described(model, endpoint, {n: text for n, text in zip(names, texts, strict=True) if text is not None})
        return _cost(task, outcome, stated, n_outputs, in_money.get(provider, ()), in_credits.get(provider, ()))

    return list(map(cost, *(columns[name] for name in ("provider", "model", "endpoint")), *numbers, outcomes, *texts))


def _cost(
    task: _Described,
    outcome: str | None,
    stated: float | None,
    n_outputs: float | None,
    in_money: Sequence[Price],
    in_credits: Sequence[Price],
) -> Cost:
    """The cost of one task; `stated` are the credits that the server states."""
    price = _best(task, in_money) if outcome in _FINAL else None
    if price is None:
        return _UNKNOWN
    if price.per == "credit" and stated is not None:
        return round(stated * price.amount, 9), price.currency, "server"
    succeeded = outcome == "succeeded"
    is_billed = succeeded or price.failed_billed
    if is_billed is None:
        return _UNKNOWN
    count: float | None
    if not is_billed:
        count = 0.0
    elif price.per == "credit":
        count, _ = _credits(task, in_credits)
    elif price.per == "image" and succeeded:
        count = n_outputs
    else:
        count = task.count(price.per)
    return _UNKNOWN if count is None else (round(count * price.amount, 9), price.currency, "price list")


# Which price holds


@dataclass(frozen=True, slots=True)
class _Described:
    """What prices are matched against: model and endpoint of a task, and its parameters as text by dotted name."""

    model: str | None
    endpoint: str | None
    params: Mapping[str, str]

    @property
    def models(self) -> Iterator[str]:
        """The names that the model may have in a price."""
        tail = self.endpoint.rpartition("/")[2] if isinstance(self.endpoint, str) else None
        return filter(None, (self.model, self.endpoint, tail, self.params.get("model")))

    def param(self, name: str) -> str | None:
        """A parameter by its dotted name, or by the end of it: a price for `resolution` is one for `input.resolution`.

        Of several with that end, the first one by name.
        """
        if name in self.params:
            return self.params[name]
        full = min((full for full in self.params if full.endswith(f".{name}")), default=None)
        return None if full is None else self.params[full]

    def matches(self, price: Price) -> bool:
        """Whether the price holds for this task."""
        has_model = price.model is None or any(_like(name, price.model) for name in self.models)
        return has_model and all(_like(self.param(name), _as_text(value)) for name, value in price.params.items())

    def count(self, per: Per) -> float | None:
        """How many tasks, images or seconds the request asks for."""
        if per == "second":
            return _as_number(self.param("duration"))
        if per == "image":
            return _as_number(next((text for name in _COUNTS if (text := self.param(name)) is not None), "1"))
        return 1.0 if per == "task" else None


def _best(task: _Described, prices: Iterable[Price]) -> Price | None:
    """Of the prices that hold for a task, the more particular one, then the later one.

    Where that one does not say whether failed tasks are billed, the next one that does decides it.
    """
    holding = [price for price in prices if price.per != "option" and task.matches(price)]
    if len(holding) < 2:
        return holding[0] if holding else None
    ranked = sorted(holding, key=_particular)[::-1]
    failed_billed = next((price.failed_billed for price in ranked if price.failed_billed is not None), None)
    return replace(ranked[0], failed_billed=failed_billed)


def _particular(price: Price) -> tuple[int, int]:
    """Sort key: a model before a pattern before none, then by the number of parameters."""
    return 0 if price.model is None else 1 if "*" in price.model else 2, len(price.params)


def _credits(task: _Described, prices: Sequence[Price]) -> tuple[float | None, list[str]]:
    """The credits that a task takes by the price list, options included, and where they were read."""
    base = _best(task, prices)
    count = task.count(base.per) if base else None
    if base is None or count is None:
        return None, []
    options = [price for price in prices if price.per == "option" and task.matches(price)]
    total = base.amount * count + sum(price.amount for price in options)
    return round(total, 9), list(dict.fromkeys(price.source for price in (base, *options)))


def _as_text(value: Any) -> str:
    """A parameter as JSON and forms write it: `true`, `1`, `2K`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _like(text: str | None, pattern: str) -> bool:
    """Whether a text is the pattern, in which `*` stands for anything, in any case of letters."""
    if text is None or "*" not in pattern:
        return text is not None and text.casefold() == pattern.casefold()
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.IGNORECASE | re.DOTALL) is not None


def _as_number(text: str | None) -> float | None:
    """The number that a text is; None for what is none, or below zero."""
    try:
        return None if text is None else amount_of(float(text))
    except ValueError:
        return None


def amount_of(value: Any) -> float | None:
    """A finite number of zero or more as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return float(value)
