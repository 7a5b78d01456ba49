"""What a task costs: which of the known prices holds for it, and whose number each figure is.

Pure: the prices come in. Cost is worked out when a table is made, so that a price that is set later fills earlier rows.
Credits in the tables are the server's alone; the published credits are used where it states none, to estimate money.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date as calendar_date
from functools import cache
from typing import Any, Literal, NamedTuple

from .._model.errors import BadInput
from .._model.json_text import dumps
from .._model.text import clean, kind_of, nearest
from .params import flat

Per = Literal["task", "image", "second", "credit", "option"]
CostSource = Literal["server", "price list", "unknown"]
Cost = tuple[float | None, str | None, CostSource]

CREDITS = "credits"
"""The currency of a price that says what a task takes, not what that costs."""
_FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
_UNKNOWN: Cost = None, None, "unknown"
_COUNTS = ("n", "num_images", "max_images")
"""What a request calls the number of its images; without one of these it asks for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one thing costs, by whom and when.

    Attributes:
        provider: Whose.
        per: What `amount` is paid for. `credit` takes the credits that the server states, else those that the price
            list has for the task; `option` is on top, for a task whose parameters are these.
        amount: In `currency`, for one of them.
        model: For which model, or last segment of the endpoint's path; `*` stands for anything. None for all.
        params: For which parameters, by the name that the tables have behind `param_`, or by its end; `*` as above.
        currency: ISO code, or `credits`.
        failed_billed: Whether a task that did not succeed is billed; None where nobody says.
        source: Where it was read.
        date: When, as ISO text.
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

# A price that somebody sets

_UNITS: tuple[Per, ...] = ("credit", "task", "image", "second")
_AMOUNT = re.compile(rf"([a-z]{{3}}|{CREDITS})_per_({'|'.join(_UNITS)})")


def checked(
    provider: str,
    amounts: Mapping[str, object],
    *,
    model: object = None,
    params: object = None,
    failed_billed: object = None,
    source: object = "",
    date: object = None,
    today: calendar_date,
) -> Price:
    """The price of a call to `set_price`.

    Raises:
        BadInput: What cannot be, in one line.
    """
    given = {name: amount for name, amount in amounts.items() if amount is not None}
    if len(given) != 1:
        raise BadInput(f"set_price takes one amount, such as usd_per_credit=0.005, not {_listed(given)}.")
    ((name, amount),) = given.items()
    unit = _AMOUNT.fullmatch(name)
    if unit is None or unit[0] == f"{CREDITS}_per_credit":
        hint = nearest(name, [f"usd_per_{per}" for per in _UNITS])
        raise BadInput(
            f'"{clean(name, 40)}" is no amount.{hint} It is a currency and a unit, such as usd_per_image or '
            f"{CREDITS}_per_task; the units are {', '.join(_UNITS)}.",
        )
    if isinstance(amount, bool) or not isinstance(amount, int | float) or _number(amount) is None:
        raise BadInput(f"{name} is a number of zero or more, not {clean(repr(amount), 40)}.")
    if model is not None and (not isinstance(model, str) or not model.strip()):
        raise BadInput('model is a name such as "google/nano-banana" (`*` stands for anything), or None for all.')
    if params is not None and not isinstance(params, Mapping):
        raise BadInput(f'params is a mapping such as {{"resolution": "2K"}}, not {kind_of(params)}.')
    for key, value in (params or {}).items():
        if not isinstance(key, str) or not key or not isinstance(value, str | int | float):
            raise BadInput(
                f'params holds names and plain values such as {{"resolution": "2K"}}; under {clean(repr(key), 40)} is '
                f"{kind_of(value)}."
            )
    if failed_billed is not None and not isinstance(failed_billed, bool):
        raise BadInput("failed_billed is True, False, or None where nobody says.")
    if not isinstance(source, str):
        raise BadInput(f"source is text: where the price was read, not {kind_of(source)}.")
    currency = unit[1] if unit[1] == CREDITS else unit[1].upper()
    return Price(
        provider=provider,
        per=next(per for per in _UNITS if per == unit[2]),
        amount=float(amount),
        model=model.strip() if isinstance(model, str) else None,
        params=dict(params or {}),
        currency=currency,
        failed_billed=failed_billed,
        source=source.strip() or "set_price()",
        date=_day(date, today),
    )


def _listed(given: Mapping[str, object]) -> str:
    return " and ".join(clean(name, 40) for name in given) or "none"


def _day(date: object, today: calendar_date) -> str:
    if date is None:
        return today.isoformat()
    if isinstance(date, calendar_date):
        return date.isoformat()[:10]
    if isinstance(date, str):
        with contextlib.suppress(ValueError):
            return calendar_date.fromisoformat(date.strip()).isoformat()
    raise BadInput(f'date is a day such as "2026-11-21", not {clean(repr(date), 40)}.')


def as_row(price: Price) -> dict[str, Any]:
    """A price as plain JSON."""
    return asdict(price)


def from_row(row: Any) -> Price | None:
    """The price that `as_row` wrote; None for what this version cannot understand."""
    if not isinstance(row, Mapping):
        return None
    try:
        price = Price(**{name: row[name] for name in _FIELDS if name in row})
    except TypeError:
        return None
    fine = price.per in (*_UNITS, "option") and isinstance(price.params, Mapping) and _number(price.amount) is not None
    return price if fine and isinstance(price.currency, str) else None


def place_of(price: Price) -> str:
    """What a price is for, as JSON; another one for the same takes its place."""
    return dumps([price.provider, price.model, dict(price.params), price.currency == CREDITS])


class Expected(NamedTuple):
    """What a request would cost by the price list; None is unknown.

    Attributes:
        amount: Money.
        currency: Its ISO code; None without an amount.
        credits: Credits, where these are known.
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
        endpoint: Its path, or short name.
        params: The body of the request.
        prices: From `Store.prices`.
        model: The model, where the body does not name it as `model`.
    """
    said = {name: _word(cell) for name, (cell,) in flat([params]).items() if cell is not None}
    task = _Task(model, endpoint, said)
    known = [price for price in prices if price.provider == provider]
    taken, sources = _credits(task, [price for price in known if price.currency == CREDITS])
    money = _best(task, [price for price in known if price.currency != CREDITS])
    count = None if money is None else taken if money.per == "credit" else task.asked(money.per)
    if money is None or count is None:
        return Expected(None, None, taken, "; ".join(sources) or None)
    source = "; ".join(dict.fromkeys((*sources, money.source)))
    return Expected(round(count * money.amount, 9), money.currency, taken, source)


def cost_of(row: Mapping[str, Any], prices: Iterable[Price]) -> Cost:
    """Amount, currency and source of what one row of `tasks()` cost; (None, None, "unknown") where nobody says.

    Only a task that the server ended has a cost. Credits that the server states are believed for every outcome. Without
    them a task that did not succeed costs nothing only where a price says that such tasks are not billed.

    Args:
        row: The columns of `PRICED`, and `params`.
        prices: From `Store.prices`, or the published ones.
    """
    return costs([row], prices)[0]


PRICED = ("provider", "task_id", "model", "endpoint", "outcome", "credits", "n_outputs")
"""The columns that a cost follows from, besides the parameters."""


def costs(rows: Sequence[Mapping[str, Any]], prices: Iterable[Price]) -> list[Cost]:
    """What each of some rows cost, as `cost_of`."""
    columns = {name: [row.get(name) for row in rows] for name in PRICED}
    return costs_of(columns, flat(row.get("params") for row in rows), prices)


def costs_of(
    columns: Mapping[str, Sequence[Any]], asked: Mapping[str, Sequence[Any]], prices: Iterable[Price]
) -> list[Cost]:
    """What each of many tasks cost, as `cost_of`; those that are alike in all that prices look at are priced once.

    Args:
        columns: Those of `PRICED`.
        asked: Their parameters, from `flat`.
        prices: From `Store.prices`, or the published ones.
    """
    money: dict[Any, list[Price]] = {}
    taken: dict[Any, list[Price]] = {}
    words = {"model", "duration", *_COUNTS}
    for price in prices:
        (taken if price.currency == CREDITS else money).setdefault(price.provider, []).append(price)
        words.update(price.params)

    read = [name for name in asked if any(name == word or name.endswith(f".{word}") for word in words)]
    said = [[None if v is None else _word(v) for v in asked[name]] for name in read]
    told = [columns[name] for name in ("provider", "model", "endpoint")]
    numbers = [[None if v is None else _number(v) for v in columns[name]] for name in ("credits", "n_outputs")]
    # What has no id yet is no task that could have cost anything.
    ended = [o if i is not None else None for o, i in zip(columns["outcome"], columns["task_id"], strict=True)]

    @cache
    def cost(
        provider: str, model: str, endpoint: str, stated: float, made: float, outcome: str, *words: str | None
    ) -> Cost:
        params = {name: word for name, word in zip(read, words, strict=True) if word is not None}
        task = _Task(model, endpoint, params)
        return _cost(task, outcome, stated, made, money.get(provider, ()), taken.get(provider, ()))

    return list(map(cost, *told, *numbers, ended, *said))


def _cost(
    task: _Task,
    outcome: str | None,
    stated: float | None,
    made: float | None,
    money: Sequence[Price],
    taken: Sequence[Price],
) -> Cost:
    price = _best(task, money) if outcome in _FINAL else None
    if price is None:
        return _UNKNOWN
    if price.per == "credit" and stated is not None:
        return round(stated * price.amount, 9), price.currency, "server"
    succeeded = outcome == "succeeded"
    billed = succeeded or price.failed_billed
    if billed is None:
        return _UNKNOWN
    count: float | None
    if not billed:
        count = 0.0
    elif price.per == "credit":
        count, _ = _credits(task, taken)
    elif price.per == "image" and succeeded:
        count = made
    else:
        count = task.asked(price.per)
    return _UNKNOWN if count is None else (round(count * price.amount, 9), price.currency, "price list")


# Which price holds


@dataclass(frozen=True, slots=True)
class _Task:
    """What prices look at: the names a model may go by, and each parameter as text under its dotted name."""

    model: str | None
    endpoint: str | None
    params: Mapping[str, str]

    @property
    def names(self) -> Iterator[str]:
        tail = self.endpoint.rpartition("/")[2] if isinstance(self.endpoint, str) else None
        return filter(None, (self.model, self.endpoint, tail, self.params.get("model")))

    def said(self, name: str) -> str | None:
        """A parameter by its dotted name, or by the end of it: experiments name `resolution` what is sent deeper.

        Of several with that end, the first one by name.
        """
        if name in self.params:
            return self.params[name]
        full = min((full for full in self.params if full.endswith(f".{name}")), default=None)
        return None if full is None else self.params[full]

    def matches(self, price: Price) -> bool:
        """Whether a price holds for it."""
        named = price.model is None or any(_like(name, price.model) for name in self.names)
        return named and all(_like(self.said(name), _word(value)) for name, value in price.params.items())

    def asked(self, per: Per) -> float | None:
        """How many tasks, images or seconds one request is for."""
        if per == "second":
            return _counted(self.said("duration"))
        if per == "image":
            told = next((told for name in _COUNTS if (told := self.said(name)) is not None), "1")
            return _counted(told)
        return 1.0 if per == "task" else None


def _best(task: _Task, prices: Iterable[Price]) -> Price | None:
    """The price that holds for a task: the more particular one, then the later one.

    One that does not say whether failed tasks are billed leaves that to the next one that does.
    """
    holding = [price for price in prices if price.per != "option" and task.matches(price)]
    if len(holding) < 2:
        return holding[0] if holding else None
    ranked = sorted(holding, key=_particular)[::-1]
    told = next((price.failed_billed for price in ranked if price.failed_billed is not None), None)
    return replace(ranked[0], failed_billed=told)


def _particular(price: Price) -> tuple[int, int]:
    return 0 if price.model is None else 1 if "*" in price.model else 2, len(price.params)


def _credits(task: _Task, prices: Sequence[Price]) -> tuple[float | None, list[str]]:
    """Credits of a task by the price list, and where they were read."""
    base = _best(task, prices)
    count = task.asked(base.per) if base else None
    if base is None or count is None:
        return None, []
    on_top = [price for price in prices if price.per == "option" and task.matches(price)]
    total = base.amount * count + sum(price.amount for price in on_top)
    return round(total, 9), list(dict.fromkeys(price.source for price in (base, *on_top)))


def _word(value: Any) -> str:
    """A parameter as JSON and forms write it: `true`, `1`, `2K`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _like(word: str | None, pattern: str) -> bool:
    if word is None or "*" not in pattern:
        return word is not None and word.casefold() == pattern.casefold()
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), word, re.IGNORECASE | re.DOTALL) is not None


def _counted(word: str | None) -> float | None:
    try:
        return None if word is None else _number(float(word))
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return float(value)
