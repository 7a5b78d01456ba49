"""What an experiment would cost, and how many of its tasks fit into its limits. Pure; unknown is never zero."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._model.errors import BadInput
from .._model.text import clean
from .._tables.prices import Price, expected


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one task would cost if it succeeds; None is unknown.

    Attributes:
        amount: Money.
        currency: Its ISO code.
        credits: Credits.
        source: Where the prices were read.
        what: Provider and model, for messages.
        account: The key variables of the provider: credits of one account are added up.
    """

    amount: float | None = None
    currency: str | None = None
    credits: float | None = None
    source: str | None = None
    what: str = ""
    account: str = ""


def estimate(
    provider: str, account: str, endpoint: str, model: str | None, body: Mapping[str, Any], prices: Iterable[Price]
) -> Estimate:
    """What a request would cost by the price list."""
    amount, currency, credit, source = expected(provider, endpoint, body, prices, model=model)
    what = f"{provider} {model}" if model else provider
    return Estimate(amount, currency, credit, source, clean(what, 80), account)


def describe(estimates: Sequence[Estimate]) -> str:
    """Number and price of tasks, such as `36 tasks, about $1.40, 12 of unknown price`."""
    n = len(estimates)
    words = [f"{n:,} task{'s' * (n != 1)}"]
    sums: dict[str, list[float]] = {}
    for one in estimates:
        if one.amount is not None and one.currency is not None:
            sums.setdefault(one.currency, []).append(one.amount)
    words += [f"about {money(math.fsum(amounts), currency)}" for currency, amounts in sorted(sums.items())]
    unknown = sum(one.amount is None for one in estimates)
    if unknown:
        words.append(f"{unknown:,} of unknown price" if unknown < n else "price unknown")
    return ", ".join(words)


def money(amount: float, currency: str) -> str:
    """An amount as text, such as `$1.40`, `$0.006` or `EUR 12.00`."""
    text = f"{amount:,.2f}"
    if 0 < amount < 0.1:
        text = f"{amount:.4f}".rstrip("0").ljust(4, "0")  # cents alone would round it away
    return f"${text}" if currency == "USD" else f"{currency} {text}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an experiment may take, all its runs together; None is no limit."""

    cost: float | None = None
    currency: str = "USD"
    credits: float | None = None
    tasks: int | None = None

    @classmethod
    def checked(cls, cost: object, currency: object, credits: object, tasks: object) -> Limits:  # noqa: A002
        """Limits from arguments of any type.

        Raises:
            BadInput: One that is no number above zero, no whole number, or no currency code.
        """
        if not isinstance(currency, str) or not re.fullmatch(r"[A-Za-z]{3}", currency):
            raise BadInput('currency is an ISO code such as "USD" or "EUR".')
        if tasks is not None and (isinstance(tasks, bool) or not isinstance(tasks, int) or tasks < 1):
            raise BadInput(f"max_tasks is a whole number of at least 1, or None, not {clean(repr(tasks), 40)}.")
        return cls(_amount("max_cost", cost), currency.upper(), _amount("max_credits", credits), tasks)

    def __bool__(self) -> bool:
        return (self.cost, self.credits, self.tasks) != (None, None, None)

    def __str__(self) -> str:
        parts = [
            *([f"max_cost={self.cost:g} {self.currency}"] if self.cost is not None else []),
            *([f"max_credits={self.credits:g}"] if self.credits is not None else []),
            *([f"max_tasks={self.tasks}"] if self.tasks is not None else []),
        ]
        return ", ".join(parts)

    def count_fitting(self, spent: Sequence[Estimate], planned: Sequence[Estimate]) -> int:
        """How many of `planned`, from the first on, fit beside what earlier runs took (`spent`).

        Raises:
            BadInput: A limit that cannot be kept, because a price is missing, or that is below one task.
        """
        n = len(planned)
        if not planned:
            return 0
        if self.tasks is not None:
            n = min(n, max(0, self.tasks - len(spent)))
        everything = [*spent, *planned]
        if self.cost is not None:
            self._check_prices(everything)
            amounts = [[one.amount or 0.0 for one in group] for group in (spent, planned)]
            n = min(n, _fitting(self.cost, *amounts))
            if n == 0 and not spent:
                least = money(amounts[1][0], self.currency)
                raise BadInput(f"max_cost={self.cost:g} is below the price of one task ({least}).")
        if self.credits is not None:
            self._check_credits(everything)
            amounts = [[one.credits or 0.0 for one in group] for group in (spent, planned)]
            n = min(n, _fitting(self.credits, *amounts))
            if n == 0 and not spent:
                raise BadInput(f"max_credits={self.credits:g} is below what one task takes ({amounts[1][0]:g}).")
        return n

    def _check_prices(self, estimates: Sequence[Estimate]) -> None:
        unknown = [one for one in estimates if one.amount is None]
        if unknown:
            whose = unknown[0].what.partition(" ")
            model = f', model="{whose[2]}"' if whose[2] else ""
            raise BadInput(
                f"max_cost cannot be kept: there is no known price for {len(unknown):,} of {len(estimates):,} tasks "
                f'({_names(unknown)}). Say it with nbhelper.set_price("{whose[0]}", usd_per_task=…{model}), '
                "or limit by max_tasks= instead.",
            )
        others = sorted({one.currency or "" for one in estimates} - {self.currency})
        if others:
            raise BadInput(
                f"max_cost is in {self.currency}, but some prices are in {', '.join(others)}, and currencies are not "
                "added up. Use currency=, or limit by max_tasks= instead.",
            )

    def _check_credits(self, estimates: Sequence[Estimate]) -> None:
        unknown = [one for one in estimates if one.credits is None]
        if unknown:
            raise BadInput(
                f"max_credits cannot be kept: nobody says how many {len(unknown):,} of {len(estimates):,} tasks take "
                f"({_names(unknown)}). Say it with nbhelper.set_price(…, credits_per_task=…), or use max_tasks=.",
            )
        accounts = sorted({one.account for one in estimates})
        if len(accounts) > 1:
            raise BadInput(
                f"max_credits counts the credits of one account; these tasks take those of {len(accounts)} "
                f"({_names(estimates)}), which are not the same. Use max_cost= or max_tasks=.",
            )


def _amount(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise BadInput(f"{name} is a number above zero, or None, not {clean(repr(value), 40)}.")
    return float(value)


def _fitting(limit: float, spent: Sequence[float], planned: Sequence[float]) -> int:
    total, n = math.fsum(spent), 0
    for amount in planned:
        total += amount
        if total > limit * (1 + 1e-9):
            break
        n += 1
    return n


def _names(estimates: Sequence[Estimate]) -> str:
    names = list(dict.fromkeys(one.what for one in estimates))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
