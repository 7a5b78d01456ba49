"""The grid of an experiment: its cells, what is refused of it in one line, its plan with prices, and its limits."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from support.experiments import ask, picture
from support.scripts import environment

import nbhelper as nbh
from nbhelper._experiments import grid
from nbhelper._experiments.budget import Estimate, Limits, describe

GRID = {"prompt": ["owl", "fox"], "size": [1, 2]}


def wrong(prompt):
    return {"prompt": prompt}


def unknown(prompt):
    return nbh.Request("kei", {"prompt": prompt})


def missing(prompt):
    return nbh.Request("mill", {"prompt": prompt}, endpoint="form", files={"image": "/nowhere/a.png"})


def hair(size):
    return nbh.Request("ailab", {"image": picture(size), "hair_style": "BuzzCut"}, endpoint="hairstyle-pro")


def unread(path):
    return nbh.Request("mill", {"a": 1}, endpoint="form", files={"image": path})


BAD = {
    "empty grid": ({"grid": {}}, "The grid is empty"),
    "grid no mapping": ({"grid": [1]}, "grid is a mapping"),
    "grid of None": ({"grid": None}, "not None"),
    "no values": ({"grid": {"prompt": []}}, 'no values for "prompt"'),
    "text for a list": ({"grid": {"prompt": "an owl"}}, r'a list, such as \["an owl"\]'),
    "a number for a list": ({"grid": {"prompt": 3}}, "are a list"),
    "a key that is not taken": ({"grid": {"promt": ["owl"]}}, 'does not take "promt". Did you mean "prompt"'),
    "a key that is missing": ({"grid": {"size": [1]}}, 'needs "prompt", which the grid does not have'),
    "a value twice": ({"grid": {"prompt": ["owl", "owl"]}}, "has the value .owl. twice; repeats=2"),
    "a value of another kind": ({"grid": {"prompt": [object()]}}, "has an object for"),
    "nan": ({"grid": {"prompt": [float("nan")]}}, "has nan"),
    "huge": ({"grid": {"prompt": range(400), "size": range(400)}}, "160,000 combinations"),
    "no function": ({"request": "owl"}, "request is a function"),
    "no request": ({"request": wrong, "grid": {"prompt": ["owl"]}}, "gave a dict; it must return a request"),
    "unknown provider": ({"request": unknown, "grid": {"prompt": ["owl"]}}, 'Did you mean "kie"'),
    "no such file": ({"request": missing, "grid": {"prompt": ["owl"]}}, "/nowhere/a.png"),
    "unreadable file": ({"request": unread, "grid": {"path": ["/"]}}, "is a folder: /"),
    "too large a picture": ({"request": hair, "grid": {"size": [2100]}}, "the API takes at most 1999 on a side"),
    "repeats 0": ({"repeats": 0}, "repeats is a whole number from 1"),
    "repeats of text": ({"repeats": "3"}, "repeats is a whole number"),
    "repeats of a truth": ({"repeats": True}, "repeats is a whole number"),
    "concurrency 0": ({"concurrency": 0}, "concurrency is a whole number from 1"),
    "max_tasks 0": ({"max_tasks": 0}, "max_tasks is a whole number of at least 1"),
    "max_cost 0": ({"max_cost": 0}, "max_cost is a number above zero"),
    "max_cost below zero": ({"max_cost": -1}, "max_cost is a number above zero"),
    "max_credits nan": ({"max_credits": float("nan")}, "max_credits is a number above zero"),
    "currency": ({"currency": "dollars"}, "currency is an ISO code"),
    "shuffle": ({"shuffle": "yes"}, "shuffle is a whole number"),
    "no name": ({"name": " "}, "named by a few words"),
    "a name of two lines": ({"name": "a\nb"}, "named by a few words"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD)
def test_what_cannot_work_is_refused_before_anything_happens(mill, change, words):
    """A wrong argument is refused in one line when the experiment is made: no request, no store."""
    with pytest.raises(nbh.BadInput, match=words) as caught:
        nbh.Experiment(**{"name": "owls", "request": ask, "grid": GRID, **change})

    assert "\n" not in str(caught.value)
    assert mill.server.connections == 0
    assert list(Path.cwd().iterdir()) == []


def test_an_error_of_the_request_function_is_raised_unchanged(mill):
    """An exception that `request` raises is not replaced by one of ours."""
    with pytest.raises(ZeroDivisionError):
        nbh.Experiment("owls", lambda prompt: 1 / 0, {"prompt": ["owl"]})


def test_cells_are_in_the_grid_s_order(mill):
    """The last parameter changes fastest; NumPy's numbers become plain ones."""
    cells = grid.cells_of(ask, {"prompt": ["owl", "fox"], "size": np.arange(1, 3)})

    assert [dict(c.params) for c in cells] == [
        {"prompt": "owl", "size": 1}, {"prompt": "owl", "size": 2},
        {"prompt": "fox", "size": 1}, {"prompt": "fox", "size": 2},
    ]  # fmt: skip
    assert [c.label for c in cells] == ["owl, 1", "owl, 2", "fox, 1", "fox, 2"]


def test_a_cell_s_key_is_the_same_in_every_process(mill, tmp_path):
    """The key depends on the parameters alone: not on the order of names, the process or its hash seed."""
    code = """
        import nbhelper as nbh, json
        from nbhelper._experiments import grid
        ask = lambda **given: nbh.Request("kie", {"a": 1})
        print(json.dumps([c.key for c in grid.cells_of(ask, {"size": [1, 2], "prompt": ["owl", "füchse"]})]))
    """
    keys = [
        subprocess.run(
            [sys.executable, "-c", dedent(code)], cwd=tmp_path, env=environment(PYTHONHASHSEED=seed),
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    here = [c.key for c in grid.cells_of(ask, {"prompt": ["owl", "füchse"], "size": [1, 2]})]

    assert keys[0] == keys[1]
    assert set(json.loads(keys[0])) == set(here)
    assert len(set(here)) == 4


def test_the_order_is_shuffled_by_its_seed(experiment):
    """The same seed gives the same order, another seed another one; None keeps the grid's order."""
    grid = {"prompt": [f"p{n}" for n in range(12)]}

    def order(**options):
        return list(experiment(grid, **options).plan()["param_prompt"])

    assert order() == order(shuffle=0)
    assert order() != order(shuffle=1)
    assert order(shuffle=None) == grid["prompt"]
    assert sorted(order()) == sorted(grid["prompt"])


def test_a_plan_says_what_would_be_sent_and_what_it_costs(mill):
    """One row per task, prices from the list with their source, missing where none is known; nothing is sent."""

    def request(prompt, api):
        if api == "tripo":
            return nbh.Request("tripo", {"type": "text_to_model", "prompt": prompt})
        return nbh.Request("mill", {"prompt": prompt}, endpoint="image")

    exp = nbh.Experiment("owls", request, {"prompt": ["owl", "fox"], "api": ["tripo", "mill"]}, repeats=3, shuffle=None)
    plan = exp.plan()

    assert repr(exp) == "<Experiment owls: 12 tasks, about $1.20, 6 of unknown price>"
    assert len(exp) == len(plan) == 12
    assert list(plan["repeat"][:4]) == [1, 2, 3, 1]
    assert plan.loc[plan["provider"] == "tripo", "cost"].tolist() == [pytest.approx(0.2)] * 6
    assert plan.loc[plan["provider"] == "mill", ["cost", "currency", "credits"]].isna().all(axis=None)
    assert set(plan.loc[plan["provider"] == "tripo", "credits"]) == {20.0}
    assert "Tripo" in plan.loc[plan["provider"] == "tripo", "price_source"].iloc[0]
    assert plan["param_api"].tolist()[:6] == ["tripo"] * 3 + ["mill"] * 3
    assert mill.server.connections == 0


MONEY = {
    "all known": ([1.0, 0.4], "2 tasks, about $1.40"),
    "small": ([0.004], "1 task, about $0.004"),
    "cents": ([0.08], "1 task, about $0.08"),
    "many": ([1234.5], "1 task, about $1,234.50"),
    "some unknown": ([1.0, None], "2 tasks, about $1.00, 1 of unknown price"),
    "none known": ([None, None], "2 tasks, price unknown"),
    "free": ([0.0], "1 task, about $0.00"),
    "none": ([], "0 tasks"),
}


@pytest.mark.parametrize(("amounts", "words"), MONEY.values(), ids=MONEY)
def test_the_price_in_words(amounts, words):
    """Tasks of unknown price are counted, and never priced at zero."""
    assert describe([Estimate(a, None if a is None else "USD") for a in amounts]) == words


def test_currencies_are_kept_apart():
    """Prices in several currencies are listed one by one and not added up."""
    assert describe([Estimate(1, "USD"), Estimate(2, "EUR")]) == "2 tasks, about EUR 2.00, about $1.00"


def paid(*amounts, taken=None, account="a"):
    return [Estimate(a, "USD", taken, "", "kie banana", account) for a in amounts]


FITTING = {
    "no limit": (Limits(), [], paid(1, 1), 2),
    "tasks": (Limits(tasks=3), paid(1), paid(1, 1, 1), 2),
    "tasks used up": (Limits(tasks=1), paid(1), paid(1), 0),
    "cost": (Limits(cost=2.5), paid(1), paid(1, 1, 1), 1),
    "cost to the cent": (Limits(cost=0.3), [], paid(0.1, 0.1, 0.1), 3),
    "cost used up": (Limits(cost=1), paid(1), paid(1), 0),
    "credits": (Limits(credits=10), [], paid(1, 1, 1, taken=4), 2),
    "the smallest counts": (Limits(cost=9, tasks=1), [], paid(1, 1), 1),
}


@pytest.mark.parametrize(("limits", "spent", "planned", "n"), FITTING.values(), ids=FITTING)
def test_limits_count_what_earlier_runs_took(limits, spent, planned, n):
    """A limit is the experiment's, not a run's: tasks of earlier runs count."""
    assert limits.count_fitting(spent, planned) == n


UNKEPT = {
    "a missing price": (Limits(cost=5), paid(1, None), r"no known price for 1 of 2 tasks \(kie banana\).*set_price"),
    "another currency": (Limits(cost=5, currency="EUR"), paid(1), "max_cost is in EUR, but some prices are in USD"),
    "below one task": (Limits(cost=0.5), paid(1), r"max_cost=0.5 is below the price of one task \(\$1.00\)"),
    "unknown credits": (Limits(credits=5), paid(1), "nobody says how many 1 of 1 tasks take"),
    "credits below one task": (Limits(credits=5), paid(1, taken=8), "below what one task takes"),
    "two accounts": (Limits(credits=99), [*paid(1, taken=1), *paid(1, taken=1, account="b")], "one account"),
}


@pytest.mark.parametrize(("limits", "planned", "words"), UNKEPT.values(), ids=UNKEPT)
def test_a_limit_that_cannot_be_kept_is_refused(limits, planned, words):
    """A limit on something unknown, or below one task, is refused with what to write instead."""
    with pytest.raises(nbh.BadInput, match=words):
        limits.count_fitting([], planned)


def test_a_missing_price_is_refused_before_anything_is_sent(experiment, factory, run):
    """With `max_cost` a price must be known; once `set_price` gave the one that the text names, it runs."""
    exp = experiment(max_cost=1.0)
    with pytest.raises(nbh.BadInput, match=r'set_price\("mill", usd_per_task=…\)'):
        exp.run()
    assert factory.creates == []

    nbh.set_price("mill", usd_per_task=0.3)
    run(exp)

    assert len(factory.creates) == 3


def test_many_real_tasks_need_a_limit(experiment, factory, run):
    """More than 50 tasks at real APIs are refused without a limit; the text says which one to give."""
    grid = {"prompt": [f"p{n}" for n in range(51)]}
    with pytest.raises(nbh.BadInput, match=r"51 tasks, price unknown would be submitted at real APIs.*max_tasks=51"):
        experiment(grid).run()
    assert factory.creates == []

    run(experiment(grid, max_tasks=51, concurrency=20))

    assert len(factory.creates) == 51
