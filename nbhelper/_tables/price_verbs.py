"""`prices()` and `set_price()`: the published prices and those that a user keeps in the store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from datetime import date as datetime_date
from typing import TYPE_CHECKING

from .. import _providers
from .._session import session
from .frames import prices_frame
from .price_list import known_prices
from .prices import Price, as_row, checked, place_of

if TYPE_CHECKING:
    import pandas as pd


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
    price = checked(
        _providers.get(provider).name,
        amounts,
        model=model,
        params=params,
        failed_billed=failed_billed,
        source=source,
        date=date,
        today=datetime.now(UTC).date(),
    )
    session.store().set_price(place_of(price), as_row(price)).result()
    return price
