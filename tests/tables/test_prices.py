"""What tasks cost by which price, what requests would cost, and prices that a user sets."""

from __future__ import annotations

import math
import sqlite3
from datetime import UTC, date, datetime

import pandas as pd
import pytest

import nbhelper as nbh
import nbhelper.testing
from nbhelper._session import session
from nbhelper._tables.price_list import PRICES, known_prices
from nbhelper._tables.prices import Expected, Price, cost_of, costs, expected

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
UNKNOWN = (None, None, "unknown")


def row(provider, outcome="succeeded", **more):
    """A row of `tasks()` with an id."""
    return {"provider": provider, "outcome": outcome, "task_id": "1", **more}


@pytest.mark.parametrize(
    ("cells", "cost"),
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
        (row("tripo"), UNKNOWN),
        (row("tripo", params={"type": "text_to_model"}), (0.2, "USD", "price list")),
        (row("aigptimage", credits=3), UNKNOWN),
        (row("gptge"), UNKNOWN),
        (row("pixelmill", credits=3), UNKNOWN),
        ({}, UNKNOWN),
    ],
    ids=lambda value: " ".join(str(v) for v in value.values() if v != "1") if isinstance(value, dict) else "",
)
def test_costs(cells, cost):
    """A cost follows from the credits that the server states, or from a published price; else it is unknown."""
    assert cost_of(cells, PRICES) == cost


@pytest.mark.parametrize("stated", [math.nan, math.inf, -1, True, "3"], ids=str)
def test_credits_that_are_no_amount(stated):
    """Credits that are no finite number of zero or more have no cost."""
    assert cost_of(row("kie", credits=stated), PRICES) == UNKNOWN


def price(per, amount, **more):
    """A price of the provider mill, in euros."""
    return Price(
        **{"provider": "mill", "currency": "EUR", "source": "invoice", "date": "", **more}, per=per, amount=amount
    )


OWN = (
    price("image", 0.04),
    price("second", 0.5, model="film", failed_billed=True),
    price("second", 0.6, model="film", failed_billed=True),
    price("task", 1, model="film*", currency="USD"),
    price("task", 7, model="big", failed_billed=False),
    price("task", 8, model="big", params={"size": "4k"}),
    price("credit", 2, model="token"),
    price("task", 3, model="token", currency="credits"),
    price("option", 0.5, model="token", params={"hd": "true"}, currency="credits"),
)
FILM = {"model": "film", "params": {"duration": 5}}


@pytest.mark.parametrize(
    ("cells", "cost"),
    [
        (row("mill", n_outputs=3), (0.12, "EUR", "price list")),
        (row("mill"), UNKNOWN),
        (row("mill", **FILM), (3.0, "EUR", "price list")),
        (row("mill", model="film", params={"input": {"duration": "5"}}), (3.0, "EUR", "price list")),
        (row("mill", model="film", params={"duration": "auto"}), UNKNOWN),
        (row("mill", "failed", **FILM), (3.0, "EUR", "price list")),
        (row("mill", model="film-2"), (1.0, "USD", "price list")),
        (row("mill", model="big"), (7.0, "EUR", "price list")),
        (row("mill", model="big", params={"input": {"size": "4K"}}), (8.0, "EUR", "price list")),
        (row("mill", "failed", model="big", params={"size": "4K"}), (0.0, "EUR", "price list")),
        (row("mill", "failed", n_outputs=0), UNKNOWN),
        (row("mill", model="token", credits=5), (10.0, "EUR", "server")),
        (row("mill", model="token"), (6.0, "EUR", "price list")),
        (row("mill", model="token", params={"hd": True}), (7.0, "EUR", "price list")),
        (row("mill", "failed", model="token"), UNKNOWN),
    ],
    ids=[
        "per image", "images unknown", "per second, the later price", "a deeper parameter, as text", "no number",
        "failed and billed", "a pattern", "by model", "by model and parameter", "failed: what another price says",
        "failed: nobody says", "stated credits", "credits of the list", "an option on top", "failed, credits unknown",
    ],
)  # fmt: skip
def test_which_price_holds(cells, cost):
    """The more particular price holds, then the later one; units are counted from the row's cells and parameters."""
    assert cost_of(cells, OWN) == cost


def test_many_rows_at_once():
    """The cost of a row is the same alone and in a table with rows of almost the same values."""
    requests = [{"hd": True}, {"hd": 1}, {"hd": "true"}, {"a": {"hd": "true"}, "b": {"hd": 1}}, {"duration": 5}, None]
    numbers = [None, 0, 1, True, 1.5]
    rows = [
        row("mill", outcome, model=model, params=params, credits=number, n_outputs=number)
        for outcome in ("succeeded", "failed", None)
        for model in ("token", "film", "big", None)
        for params in requests
        for number in numbers
    ]

    assert costs(rows, OWN) == [cost_of(one, OWN) for one in rows]
    assert len(set(costs(rows, OWN))) > 5


def test_one_name_at_two_places():
    """Of two nested parameters with one name, the first one by its dotted name counts."""
    two = {"film": {"duration": 7}, "audio": {"duration": 5}}

    assert cost_of(row("mill", model="film", params=two), OWN) == (3.0, "EUR", "price list")


TRIPO, AILAB = "Tripo: credits per task, docs", "AILabTools: credits per call, docs of the call"
PICTURE = {"model": "gpt-image-2-text-to-image", "input": {"prompt": "an owl", "resolution": "2K"}}
FILMED = {"model": "seedance-2.0-text-to-video", "input": {"resolution": "720p", "duration": 5}}
PLAIN = {"texture": False, "pbr": False}


@pytest.mark.parametrize(
    ("provider", "endpoint", "params", "credits", "amount"),
    [
        ("tripo", "task", {"type": "text_to_model"}, 20, 0.2),
        ("tripo", "task", {"type": "text_to_model", "texture": False}, 20, 0.2),
        ("tripo", "task", {"type": "text_to_model", **PLAIN}, 10, 0.1),
        ("tripo", "task", {"type": "image_to_model", "model_version": "P1-20260101"}, 50, 0.5),
        ("tripo", "task", {"type": "image_to_model", "model_version": "P1-20260101", **PLAIN}, 40, 0.4),
        ("tripo", "task", {"type": "text_to_model", "texture_quality": "detailed", "quad": True}, 35, 0.35),
        ("tripo", "task", {"type": "import_model"}, 0, 0.0),
        ("tripo", "task", {"type": "generate_image"}, None, None),
        ("tripo-v3", "/generation/text-to-model", {"prompt": "an owl", "quad": True}, 25, 0.25),
        ("tripo-v3", "rig", {"input": "x"}, 25, 0.25),
        ("ailab", "/api/portrait/editing/ai-face-swap", {}, 5, 0.015),
        ("ailab", "/api/portrait/editing/ai-bald", {}, None, None),
        ("aigptimage", "createTask", PICTURE, 5, None),
        ("aigptimage", "createTask", FILMED, 200, None),
        ("aigptimage", "createTask", {"model": "gpt-image-2-text-to-image", "input": {}}, None, None),
        ("kie", "createTask", {"model": "google/nano-banana"}, None, None),
        ("gptge", "hailuo", {"model": "MiniMax-Hailuo-02", "duration": 6}, None, None),
        ("nobody", None, {}, None, None),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, str | dict) else "",
)
def test_what_a_request_would_cost(provider, endpoint, params, credits, amount):  # noqa: A002
    """Published prices give credits by parameters, and money where a credit has a price; the rest is unknown."""
    would_cost = expected(provider, endpoint, params, PRICES)

    assert (would_cost.credits, would_cost.amount) == (credits, amount)
    assert would_cost.currency == (None if amount is None else "USD")
    assert (would_cost.source is None) == (credits is None)


def test_what_a_request_would_cost_by_own_prices():
    """Images are counted by the request's `n`, one without it; the sources of the prices are named."""
    assert expected("mill", None, {"n": 4}, OWN) == Expected(0.16, "EUR", None, "invoice")
    assert expected("mill", None, {}, OWN).amount == 0.04
    assert expected("mill", None, {}, OWN, model="token") == Expected(6.0, "EUR", 3.0, "invoice")
    assert expected("mill", "token", {"hd": "true"}, OWN).credits == 3.5


def test_every_price_names_its_source_and_date():
    """Every published price has a source, a date, and an amount of zero or more for a known unit."""
    assert all(price.source and price.date == "2026-11-21" for price in PRICES)
    assert all(price.amount >= 0 and price.per in {"task", "second", "credit", "option"} for price in PRICES)
    assert {price.provider for price in PRICES} == {"ailab", "ailab-legacy", "tripo", "tripo-v3", "aigptimage", "kie"}


# Prices that a user sets


def test_a_price_that_is_set_fills_earlier_rows(isolated):
    """Cost is computed when the table is made, also for earlier tasks, from the prices in the store."""
    task = nbh.Task("aigptimage", "1", params=PICTURE)
    history = session.store().open_task(task, "https://aigptimage.com").result()
    done = history.add(nbh.testing.read("aigptimage", {"code": 200, "data": {"taskId": "1", "state": "success"}}), NOW)
    session.store().append(done.uid, done.events, summary=done).result()
    before = nbh.tasks().iloc[0]
    nbh.set_price("aigptimage", eur_per_credit=0.01, source="my plan", date="2026-11-21")
    after = nbh.tasks().iloc[0]

    assert (before["cost_source"], pd.isna(before["cost"])) == ("unknown", True)
    assert after[["cost", "currency", "cost_source"]].to_list() == [0.05, "EUR", "price list"]
    assert pd.isna(after["credits"])
    assert nbh.to_frame([done])["cost"].to_list() == [0.05]


def test_prices_table(isolated):
    """`prices()` lists those that were set, newest first, then the published ones, with their dtypes."""
    kinds = {"amount": "Float64", "failed_billed": "boolean"}
    nbh.set_price("kie", usd_per_credit=0.004, source="plan A", date=date(2026, 1, 2))
    nbh.set_price("gptge", cny_per_second=0.5, model="Hailuo", params={"resolution": "768P"}, failed_billed=False)
    nbh.set_price("kie", usd_per_credit=0.0045, source="plan B", date="2026-03-04")
    frame = nbh.prices()

    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        name: kinds.get(name, "string")
        for name in (
            "provider",
            "model",
            "params",
            "per",
            "amount",
            "currency",
            "failed_billed",
            "source",
            "date",
        )
    }
    assert len(frame) == len(PRICES) + 2
    assert frame.iloc[0].fillna("-").to_list() == [
        "kie",
        "-",
        "-",
        "credit",
        0.0045,
        "USD",
        "-",
        "plan B",
        "2026-03-04",
    ]
    assert frame.iloc[1].to_list()[:7] == ["gptge", "Hailuo", '{"resolution":"768P"}', "second", 0.5, "CNY", False]
    assert frame.iloc[1]["source"] == "set_price()"


def test_prices_outlive_the_process(isolated):
    """A price that was set is kept in the store; a stored row that is no price is left out."""
    set_one = nbh.set_price("kie", usd_per_task=1.5, model="m", source="s", date="2026-01-01")
    store = session.store()
    assert known_prices(store.prices())[-1] == set_one
    with sqlite3.connect(store.folder / "history.db") as db:
        db.execute("UPDATE prices SET body = replace(body, '1.5', '\"much\"')")
    db.close()

    assert known_prices(store.prices()) == list(PRICES)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "one amount"),
        ({"usd_per_credit": 1, "eur_per_task": 1}, "usd_per_credit and eur_per_task"),
        ({"usd_per_hour": 1}, '"usd_per_hour" is no amount'),
        ({"credits_per_credit": 1}, "no amount"),
        ({"usd_per_task": -1}, "zero or more, not -1"),
        ({"usd_per_task": math.nan}, "zero or more, not nan"),
        ({"usd_per_task": "1"}, "zero or more, not '1'"),
        ({"usd_per_task": True}, "zero or more, not True"),
        ({"usd_per_task": 1, "model": ""}, "model is a name"),
        ({"usd_per_task": 1, "params": ["2K"]}, "params is a mapping"),
        ({"usd_per_task": 1, "params": {"a": {}}}, "under 'a' is a dict"),
        ({"usd_per_task": 1, "failed_billed": "no"}, "failed_billed is True, False"),
        ({"usd_per_task": 1, "source": 3}, "source is text"),
        ({"usd_per_task": 1, "date": "yesterday"}, "not 'yesterday'"),
        ({"usd_per_task": 1, "provider": "kiee"}, 'Did you mean "kie"'),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_prices_that_cannot_be(given, words, isolated):
    """Arguments that cannot be are refused in one line, before anything is written."""
    with pytest.raises(nbh.BadInput, match=words) as caught:
        nbh.set_price(**{"provider": "kie", **given})

    assert "\n" not in str(caught.value)
    assert list(isolated.iterdir()) == []
