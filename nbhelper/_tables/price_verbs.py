"""`prices()` and `set_price()`: the published prices and those that a user keeps in the store."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from datetime import date as datetime_date
from typing import TYPE_CHECKING

from .. import _providers
from .._model.errors import BadInput
from .._model.text import clean, kind_of, nearest
from .._session import session
from .frames import prices_frame
from .price_list import known_prices
from .prices import CREDITS, UNITS, Price, amount_of, as_row, price_key

if TYPE_CHECKING:
    import pandas as pd

_AMOUNT = re.compile(rf"([a-z]{{3}}|{CREDITS})_per_({'|'.join(UNITS)})")
"""The keywords that `set_price` takes an amount by: a currency and a unit."""


def prices() -> pd.DataFrame:
    """One row per known price: those that you set, newest first, then the published ones.

    `per` says what `amount` is for: a task, an image, a second, a credit, or an option that comes on top. An amount in
    the currency `credits` is what a task takes by the published list; `params` names the parameters it holds for.
    """
    return prices_frame(reversed(known_prices(session.store().prices())))


def set_price(
    provider: str,
    *,
    usd_per_credit: float | None = None,
    usd_per_task: float | None = None,
    usd_per_image: float | None = None,
    usd_per_second: float | None = None,
    model: str | None = None,
    params: Mapping[str, str | float] | None = None,
    failed_billed: bool | None = None,
    source: str = "",
    date: str | datetime_date | None = None,
    **amount: float,
) -> Price:
    """Say what something costs, for all tables from now on, of earlier tasks as well.

    It takes the place of a price that was set for the same provider, model and parameters. Of several that hold for a
    task the one with a model, and with more parameters, counts.

    Args:
        provider: A provider's name.
        usd_per_credit: For each credit that the server states, or that the published list has for the task.
        usd_per_task: For each task.
        usd_per_image: For each file that came back.
        usd_per_second: For each second that the parameter `duration` asked for.
        model: Only for this model; `*` stands for anything.
        params: Only for tasks with these parameters, such as `{"resolution": "2K"}`; `*` as above.
        failed_billed: Whether a task that did not succeed is billed; None where nobody says.
        source: Where you read it.
        date: The day of the price; None is today.
        amount: In another currency: `eur_per_image=0.04`. `credits_per_task=4` says what a task takes, for estimates.

    Raises:
        BadInput: Something that cannot be; nothing was kept.

    Example:
        nbh.set_price("kie", usd_per_credit=0.005, source="the pricing page", date="2026-11-21")
        nbh.set_price("aigptimage", eur_per_image=0.12, model="gpt-image*", params={"resolution": "2K"})
    """
    amounts: dict[str, object] = {
        "usd_per_credit": usd_per_credit,
        "usd_per_task": usd_per_task,
        "usd_per_image": usd_per_image,
        "usd_per_second": usd_per_second,
        **amount,
    }
    price = _checked_price(
        _providers.get(provider).name,
        amounts,
        model=model,
        params=params,
        failed_billed=failed_billed,
        source=source,
        date=date,
        today=datetime.now(UTC).date(),
    )
    session.store().set_price(price_key(price), as_row(price)).result()
    return price


def _checked_price(
    provider: str,
    amounts: Mapping[str, object],
    *,
    model: object = None,
    params: object = None,
    failed_billed: object = None,
    source: object = "",
    date: object = None,
    today: datetime_date,
) -> Price:
    """The price that the arguments of `set_price` describe.

    Raises:
        BadInput: An argument that cannot be, in one line.
    """
    given = {name: amount for name, amount in amounts.items() if amount is not None}
    if len(given) != 1:
        names = " and ".join(clean(name, 40) for name in given) or "none"
        raise BadInput(f"set_price takes one amount, such as usd_per_credit=0.005, not {names}.")
    ((name, amount),) = given.items()
    unit = _AMOUNT.fullmatch(name)
    if unit is None or unit[0] == f"{CREDITS}_per_credit":
        hint = nearest(name, [f"usd_per_{per}" for per in UNITS])
        raise BadInput(
            f'"{clean(name, 40)}" is no amount.{hint} It is a currency and a unit, such as usd_per_image or '
            f"{CREDITS}_per_task; the units are {', '.join(UNITS)}.",
        )
    if isinstance(amount, bool) or not isinstance(amount, int | float) or amount_of(amount) is None:
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
        per=next(per for per in UNITS if per == unit[2]),
        amount=float(amount),
        model=model.strip() if isinstance(model, str) else None,
        params=dict(params or {}),
        currency=currency,
        failed_billed=failed_billed,
        source=source.strip() or "set_price()",
        date=_day(date, today),
    )


def _day(date: object, today: datetime_date) -> str:
    """The day of a price as ISO text: `today` where none is given."""
    if date is None:
        return today.isoformat()
    if isinstance(date, datetime_date):
        return date.isoformat()[:10]
    if isinstance(date, str):
        with contextlib.suppress(ValueError):
            return datetime_date.fromisoformat(date.strip()).isoformat()
    raise BadInput(f'date is a day such as "2026-11-21", not {clean(repr(date), 40)}.')
