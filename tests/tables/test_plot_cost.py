"""`plot(…, "cost")`: cost against time."""

from __future__ import annotations

import pandas as pd
import pytest
from support.plots import drawn, frame, labelled, notes, row, texts

import nbhelper as nbh
from nbhelper import BadInput

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_medians_with_quartiles():
    """Each group has a mark at both medians, a cross of its quartiles, and its single tasks behind."""
    rows = [row(0, total, credits=count) for total, count in [(10, 2), (20, 4), (30, 6), (40, 8), (50, 10)]]
    ax = drawn(nbh.plot(frame(*rows), "cost"))
    (median,), (tasks,) = labelled(ax.lines, "_median"), labelled(ax.lines, "_tasks")
    across, up = labelled(ax.lines, "_whisker")

    assert (median.get_xdata()[0], median.get_ydata()[0]) == (30, pytest.approx(0.03))
    assert list(across.get_xdata()) == [20, 40]
    assert list(up.get_ydata()) == pytest.approx([0.02, 0.04])
    assert len(tasks.get_xdata()) == 5
    assert tasks.get_alpha() < 0.5
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("total time (s)", "cost of a task (USD)")
    assert texts(ax, "_name") == ["kie · nano, n = 5"]


def test_unknown_cost_is_not_zero():
    """Tasks of unknown cost are counted in a note and not drawn."""
    ax = nbh.plot(frame(row(), row(credits=None), row(credits=None), row(outcome="failed")), "cost")

    assert "3 succeeded of 4, 1 failed; 2 of unknown cost, not drawn" in notes(ax)
    assert [len(line.get_xdata()) for line in labelled(ax.lines, "_tasks")] == [1]
    assert min(line.get_ydata()[0] for line in labelled(ax.lines, "_tasks")) > 0


def test_no_known_cost_at_all():
    """Where no cost is known, the plot says so."""
    ax = drawn(nbh.plot(frame(row(credits=None)), "cost"))

    assert "no success of known cost and duration" in [text.get_text() for text in ax.texts]


def test_what_costs_nothing_is_at_zero():
    """A known cost of zero is drawn, on a linear axis."""
    ax = drawn(nbh.plot(frame(row(credits=0), row(credits=0)), "cost"))

    assert labelled(ax.lines, "_median")[0].get_ydata()[0] == 0
    assert ax.get_yscale() == "linear"


def test_one_currency_a_plot():
    """Costs in several currencies are refused by their names: one axis has one currency."""
    data = frame(row(), row(), row(credits=None))
    data["currency"] = pd.Series(["USD", "CNY", "EUR"], dtype=pd.StringDtype("python"))

    with pytest.raises(BadInput, match=r'paid in CNY and USD, .*frame\[frame\["currency"\] == "CNY"\]'):
        nbh.plot(data, "cost")
    assert nbh.plot(data[data["currency"] == "CNY"], "cost").get_ylabel() == "cost of a task (CNY)"
