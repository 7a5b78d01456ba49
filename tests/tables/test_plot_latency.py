"""`plot(…, "latency")`: how long tasks took."""

from __future__ import annotations

import itertools

import pytest
from support.plots import drawn, frame, labelled, many, notes, row, texts

import nbhelper as nbh

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_each_group_has_its_distribution():
    """Each group has a line: sorted times of its succeeded tasks against the share of them, up to 100 %."""
    ax = drawn(nbh.plot(frame(*(row(0, total) for total in (30, 10, 20)), row(0, 99, outcome="failed")), "latency"))
    (line,) = labelled(ax.lines, "_ecdf")

    assert list(line.get_xdata()) == [10, 10, 20, 30]
    assert list(line.get_ydata()) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert line.get_drawstyle() == "steps-post"
    assert texts(ax, "_name") == ["kie · nano, n = 3"]
    assert notes(ax) == "3 succeeded of 4, 1 failed"
    assert ax.get_xlabel() == "total time (s)"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0 %", "25 %", "p50", "75 %", "100 %"]


def test_medians_are_those_of_the_summary():
    """The median of each group is marked at the `total_s_p50` of `summary`, at 50 %."""
    data = many(40)
    data = data[data["outcome"] == "succeeded"]
    ax = nbh.plot(data, "latency")
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in labelled(ax.lines, "_p50")]

    assert [x for x, _ in marks] == pytest.approx(nbh.summary(data)["total_s_p50"].to_list())
    assert {y for _, y in marks} == {0.5}


@pytest.mark.parametrize(("longest", "scale"), [(29, "linear"), (31, "log")])
def test_a_logarithmic_axis_only_for_a_wide_span(longest, scale):
    """The axis is logarithmic from a factor of 30 on, and its label says so."""
    ax = drawn(nbh.plot(frame(row(0, 1), row(0, longest)), "latency"))

    assert ax.get_xscale() == scale
    assert ("log scale" in ax.get_xlabel()) == (scale == "log")
    assert all("$" not in label.get_text() for label in ax.get_xticklabels())


def test_a_success_of_unknown_duration_is_counted():
    """A succeeded task without `total_s` is counted in a note and not drawn."""
    ax = nbh.plot(frame(row(), row(total_s=None), row(outcome=None)), "latency")

    assert notes(ax) == "2 succeeded of 3, 1 unfinished; 1 of unknown duration, not drawn"
    assert texts(ax, "_name") == ["kie · nano, n = 1"]


def test_stems_cross_no_name():
    """The stem from a line's end to its name crosses no other name."""
    ax = drawn(nbh.plot(many(80), "latency"))
    written = labelled(ax.texts, "_name")
    up = ax.transData.transform((0, 1))[1]

    assert len(written) == 5
    for text, other in itertools.permutations(written, 2):
        stem, box, top = ax.transData.transform(text.xy)[0], other.get_window_extent(), text.get_window_extent().y0
        assert not (box.x0 < stem < box.x1 and up < box.y1 < top)
