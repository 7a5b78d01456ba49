from __future__ import annotations

import math

import pytest

from nbhelper._prices import PRICES, Price, cost_of, price_for

UNKNOWN = (None, None, "unknown")


def row(provider, outcome="succeeded", **more):
    return {"provider": provider, "outcome": outcome, "task_id": "1", **more}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (row("tripo", credits=20), (0.2, "USD", "server")),
        (row("tripo-v3", credits=12.5), (0.125, "USD", "server")),
        (row("kie", credits=4.5), (0.0225, "USD", "server")),
        (row("kie", credits=0), (0.0, "USD", "server")),
        (row("kie"), UNKNOWN),
        (row("kie", "failed", credits=3), (0.015, "USD", "server")),
        (row("kie", "failed"), UNKNOWN),
        (row("tripo", "failed"), (0.0, "USD", "price list")),
        (row("tripo", "failed", credits=0), (0.0, "USD", "server")),
        (row("tripo", "cancelled"), (0.0, "USD", "price list")),
        (row("tripo", "lost", credits=0), UNKNOWN),
        (row("tripo", "stopped"), UNKNOWN),
        (row("tripo", None, credits=0), UNKNOWN),
        (row("tripo", "failed", task_id=None), UNKNOWN),
        (row("ailab", model="hairstyle-editor-pro"), (0.03, "USD", "price list")),
        (row("ailab", endpoint="/api/portrait/editing/ai-face-swap"), (0.015, "USD", "price list")),
        (row("ailab", "failed", model="hairstyle-editor-pro"), (0.0, "USD", "price list")),
        (row("ailab", model="something-new"), UNKNOWN),
        (row("ailab"), UNKNOWN),
        (row("ailab-legacy", model="ai-anime-generator"), (0.03, "USD", "price list")),
        (row("aigptimage", credits=3), UNKNOWN),
        (row("gptge"), UNKNOWN),
        (row("pixelmill", credits=3), UNKNOWN),
        ({}, UNKNOWN),
    ],
    ids=lambda value: " ".join(str(v) for v in value.values() if v != "1") if isinstance(value, dict) else "",
)
def test_costs(found, expected):
    """A cost is what the server stated or a published price says; else it is unknown, never zero."""
    assert cost_of(found) == expected


@pytest.mark.parametrize("stated", [math.nan, math.inf, -1, True, "3"], ids=str)
def test_credits_that_are_no_amount(stated):
    """What is no amount of credits has no price."""
    assert cost_of(row("kie", credits=stated)) == UNKNOWN


OWN = (
    Price(provider="mill", per="image", amount=0.04, currency="EUR", source="invoice"),
    Price(provider="mill", model="film", per="second", amount=0.5, currency="EUR", failed_billed=True),
    Price(provider="mill", model="film", per="second", amount=0.6, currency="EUR", failed_billed=True),
)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (row("mill", n_outputs=3), (0.12, "EUR", "price list")),
        (row("mill"), UNKNOWN),
        (row("mill", model="film", params={"duration": 5}), (3.0, "EUR", "price list")),
        (row("mill", model="film", params={"duration": "5"}), UNKNOWN),
        (row("mill", "failed", model="film", params={"duration": 5}), UNKNOWN),
    ],
    ids=["per image", "images unknown", "per second, the later price", "seconds unknown", "failed and billed"],
)
def test_other_prices(found, expected):
    """A list of one's own takes the place of the published one; a price per model goes before one per provider."""
    assert cost_of(found, OWN) == expected


def test_every_price_names_its_source_and_date():
    """No number stands without where and when it was read."""
    assert all(price.source and price.date == "2026-11-21" for price in PRICES)
    assert price_for(row("tripo")).source == "Tripo: $1 = 100 credits"
