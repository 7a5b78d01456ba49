from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest

import nbhelper as nbh
from nbhelper import BadInput
from nbhelper._model.seen import Mark, MarkWord, Snapshot, State
from nbhelper._session import session
from nbhelper._tables.frames import tasks_frame
from nbhelper._tables.plot import KINDS

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgba  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.legend import Legend  # noqa: E402

NOON = pd.Timestamp("2026-11-21 12:00:00", tz="UTC")
MODELS = [
    ("kie", "google/nano-banana", 8.0, 4),
    ("kie", "flux-kontext-pro", 22.0, 8),
    ("tripo", "v2.5-20250123", 70.0, 30),
    ("aigptimage", "gpt-image-2-text-to-image", 30.0, None),
    ("ailab", "hairstyle-editor-pro", 6.0, None),
]


@pytest.fixture(autouse=True)
def _closed():
    """Every figure is closed again, and the style is the usual one."""
    with plt.style.context("default"):
        yield
        plt.close("all")


def when(seconds):
    return None if seconds is None else (NOON + pd.Timedelta(seconds=seconds)).isoformat()


def row(start=0.0, total=10.0, *, queue=None, outcome="succeeded", server=False, **more):
    """One task from `start` seconds after noon on; without an outcome it is still running."""
    over = outcome in {"succeeded", "failed", "cancelled", "expired"}
    return {
        "provider": "kie",
        "model": "nano",
        "task_id": "1ec04ced-1111-2222-3333-444444444444",
        "outcome": outcome,
        "state": outcome if over else "running",
        "submitted_at": when(start),
        "created_at": when(start) if server else None,
        "first_seen_at": when(start + 0.5),
        "started_at": when(start + queue) if queue else None,
        "finished_at": when(start + total) if over else None,
        "finished_seen_at": when(start + total + 1) if over else None,
        "queue_s": queue,
        "run_s": total - queue if queue and over else None,
        "total_s": total if over else None,
        "time_source": "server" if server else "observed",
        "uncertainty_s": (0.001 if server else 1.5) if over else None,
        "credits": 4,
        "n_outputs": 1,
        **more,
    }


def frame(*rows):
    return tasks_frame(rows)


def many(number=48, *, models=MODELS, spread=0.3, seed=1):
    """A made-up afternoon: several models, some tasks that went wrong and some still running."""
    dice, rows, start = random.Random(seed), [], 0.0
    for index in range(number):
        provider, model, middle, paid = models[index % len(models)]
        start += dice.uniform(0, 3)
        words = ["succeeded"] * 16 + ["failed", "cancelled", "lost", "stopped", None]
        rows.append(
            row(
                start,
                middle * dice.lognormvariate(0.2, spread) + 2,
                queue=dice.uniform(0.1, 2),
                outcome=dice.choice(words) if index >= len(models) else "succeeded",
                provider=provider,
                model=model,
                credits=paid and paid * dice.choice([1, 1, 2]),
                label=f"owl {index}" if index % 3 else None,
                server=provider == "kie",
            )
        )
    return frame(*rows)


def drawn(ax):
    """The same axes, after a real drawing to pixels."""
    ax.figure.canvas.draw()
    return ax


def labelled(artists, start):
    return [artist for artist in artists if str(artist.get_label()).startswith(start)]


def parts(ax):
    """How many pieces of bars of each kind there are."""
    return Counter(str(patch.get_label()) for patch in [*ax.patches, *labelled(ax.images, "_open")])


def texts(ax, start):
    return [text.get_text() for text in labelled(ax.texts, start)]


def notes(ax):
    return " ".join(texts(ax, "_notes"))


def names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def keys(ax):
    """The words of the key above the axes."""
    return [text.get_text() for legend in ax.findobj(Legend) for text in legend.get_texts()]


def boxes(texts):
    return [text.get_window_extent() for text in texts]


def apart(found):
    """Whether no two boxes share more than a hair."""
    return not any(
        min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5
        for a, b in itertools.combinations(found, 2)
    )


# When each task ran


def test_a_bar_for_each_task():
    """One bar a task, in the order of their starts, from the start to the finish, first one on top."""
    found = drawn(nbh.plot(frame(row(5, 10, label="second"), row(0, 20, label="first")), "timeline"))

    assert names(found) == ["first", "second"]
    assert [(bar.get_x(), bar.get_width(), round(bar.get_y())) for bar in found.patches] == [(0, 20, 0), (5, 10, 1)]
    assert found.get_ylim()[0] > found.get_ylim()[1]


def test_queue_and_run_are_two_marks_where_both_are_known():
    """Queue and run differ by hatching, and a task that does not tell them apart has one mark of its own."""
    found = drawn(nbh.plot(frame(row(0, 10, queue=4), row(1, 10)), "timeline"))
    queue, run, whole = found.patches

    assert parts(found) == {"_queue": 1, "_run": 1, "_whole": 1}
    assert (queue.get_x(), queue.get_width(), run.get_x(), run.get_width()) == (0, 4, 4, 6)
    assert queue.get_hatch()
    assert not run.get_hatch()
    assert len({part.get_facecolor()[3] for part in (queue, run, whole)}) == 3
    assert {"queued", "running", "queue and run not told apart"} <= set(keys(found))


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({"created_at": when(2), "submitted_at": when(3), "first_seen_at": when(4)}, 2),
        ({"created_at": None, "submitted_at": when(3), "first_seen_at": when(4)}, 3),
        ({"created_at": None, "submitted_at": None, "first_seen_at": when(4)}, 4),
    ],
    ids=["created", "submitted", "first seen"],
)
def test_where_a_bar_begins(fields, start):
    """A bar begins when the server says, else at the submission, else when the task was first seen, with a mark."""
    late = row(0, 10, total_s=None, **fields)
    found = nbh.plot(frame(row(0, 1), late), "timeline")

    assert found.patches[1].get_x() == start
    assert found.patches[1].get_x() + found.patches[1].get_width() == 10
    assert len(labelled(found.lines, "_early")) == (start == 4)


def test_all_bars_stand_on_our_clock():
    """A server's clock that is an hour ahead moves no bar: how far it is off follows from the corrected columns."""
    ahead = {"created_at": when(3602), "time_source": "server", "lag_s": 2.0}
    whole = row(2, 10) | ahead | {"finished_at": when(3612), "finished_seen_at": when(14), "total_s": 10}
    mixed = row(3, 9) | ahead | {"created_at": when(3603), "time_source": "mixed", "lag_s": None}
    unfinished = row(4, outcome=None, created_at=when(3604))
    found = nbh.plot(frame(row(0, 20, provider="other"), whole, mixed, unfinished), "timeline")
    bars = [(bar.get_x(), bar.get_width()) for bar in found.patches]

    assert bars[:3] == [(0, 20), (2, 10), (3, 9)]
    assert bars[3] == (4, 0.5)


def test_an_observed_finish_has_a_whisker():
    """An observed finish shows how far it may be off; one that the server told has nothing to show."""
    found = drawn(nbh.plot(frame(row(0, 10), row(1, 10, server=True)), "timeline"))
    (whisker,) = labelled(found.lines, "_whisker")

    assert list(whisker.get_xdata()) == [8.5, 11.5]
    assert "the end lies in here" in keys(found)


def test_unfinished_tasks_are_open_at_the_end():
    """What is still running fades to the last known time of all and has an arrow and its state beside it."""
    found = drawn(nbh.plot(frame(row(0, 30), row(2, outcome=None)), "timeline"))
    (fade,) = labelled(found.images, "_open")

    assert fade.get_extent()[:2] == [2.5, 31]
    assert fade.get_array()[0, 0, 3] > fade.get_array()[0, -1, 3]
    assert len(labelled(found.lines, "_open_end")) == 1
    assert texts(found, "_word") == ["running"]


def test_a_finish_that_nobody_saw_is_open_too():
    """A task that was over at its first look has an outcome and no end."""
    over = row(0, total_s=None, finished_at=None, submitted_at=None, finished_seen_at=when(0.5), uncertainty_s=None)
    found = drawn(nbh.plot(frame(row(0, 30), over), "timeline"))
    (fade,) = labelled(found.images, "_open")

    assert fade.get_extent()[1] < 5
    assert len(labelled(found.lines, "_succeeded_end")) == 2


def test_outcomes_differ_by_mark_and_word():
    """Each outcome has a mark of its own in the colour of the text, and all but success stand in words."""
    outcomes = ["succeeded", "failed", "cancelled", "expired", "lost", "stopped", None]
    rows = [
        row(n, 10, outcome=word, error_code="1302" if word == "failed" else None) for n, word in enumerate(outcomes)
    ]
    found = drawn(nbh.plot(frame(*rows), "timeline"))
    marks = [line for word in outcomes for line in labelled(found.lines, f"_{word or 'open'}_end")]

    assert texts(found, "_word") == ["failed (1302)", "cancelled", "expired", "lost", "stopped", "running"]
    assert len({str(mark.get_marker()) for mark in marks}) == len(outcomes)
    assert {mark.get_color() for mark in marks} == {matplotlib.rcParams["text.color"]}
    assert notes(found) == (
        "1 succeeded of 7, 1 failed, 1 cancelled, 1 expired, 1 lost, 1 stopped, 1 unfinished"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("total", "unit", "width"),
    [(90, "seconds", 90), (1800, "minutes", 30), (36000, "hours", 10), (864000, "days", 10)],
    ids=["s", "min", "h", "days"],
)
def test_the_time_axis_has_a_unit(total, unit, width):
    """The axis counts in the unit that so long a time is read in, and says from when."""
    found = nbh.plot(frame(row(0, total, server=True)), "timeline")

    assert found.get_xlabel() == f"{unit} since the first start, 2026-11-21 12:00:00 UTC"
    assert found.patches[0].get_width() == width


def test_at_most_sixty_rows():
    """Of a long table the latest 60 are drawn, and the others counted."""
    found = drawn(nbh.plot(many(97), "timeline"))

    assert len(names(found)) == 60
    assert "the latest 60, and 37 more before them" in notes(found)
    assert apart(boxes(found.get_yticklabels()))


def test_small_axes_have_fewer_rows():
    """Rows that could not be read on the axes given are counted as well."""
    _, ax = plt.subplots(figsize=(5, 3))
    found = drawn(nbh.plot(many(48), "timeline", ax=ax))

    assert 4 <= len(names(found)) < 30
    assert f"and {48 - len(names(found))} more before them" in notes(found).replace("\n", " ")
    assert apart(boxes(found.get_yticklabels()))


def test_rows_are_named_by_label_or_id():
    """A row has its label, else the beginning of its id, else words for that there is none."""
    found = nbh.plot(frame(row(0, label="an owl"), row(1, label=" "), row(2, task_id=None)), "timeline")

    assert names(found) == ["an owl", "1ec04ced-1111…", "(no id)"]


def test_a_task_without_any_time_is_counted():
    """A row that knows no time is said and not drawn."""
    nothing = dict.fromkeys(("submitted_at", "first_seen_at", "finished_at", "finished_seen_at", "total_s"))
    found = nbh.plot(frame(row(0), row(0) | nothing), "timeline")

    assert len(names(found)) == 1
    assert "1 without any time, not drawn" in notes(found)


def test_words_have_room():
    """The axis goes on until the longest word behind a bar is inside, and no word meets another."""
    found = drawn(nbh.plot(many(60), "timeline"))
    words = boxes(labelled(found.texts, "_word"))

    assert len(words) > 5
    assert max(box.x1 for box in words) <= found.get_window_extent().x1 + 1
    assert apart(words)


def test_groups_are_in_the_key():
    """Each group has its colour in the key, in the order of `summary`, and bars of a group are alike."""
    data = many(20)
    found = nbh.plot(data, "timeline")
    summed = nbh.summary(data)

    assert (
        sorted(keys(found)[-5:], key=str.casefold)
        == keys(found)[-5:]
        == [f"{p} · {m}" for p, m in zip(summed["provider"], summed["model"], strict=True)]
    )
    assert len({bar.get_facecolor()[:3] for bar in labelled(found.patches, "_run")}) == 5


# How long tasks took


def test_each_group_has_its_distribution():
    """A line a group: sorted times of the succeeded tasks against the share of them, ending at 100 %."""
    found = drawn(nbh.plot(frame(*(row(0, total) for total in (30, 10, 20)), row(0, 99, outcome="failed")), "latency"))
    (line,) = labelled(found.lines, "_ecdf")

    assert list(line.get_xdata()) == [10, 10, 20, 30]
    assert list(line.get_ydata()) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert line.get_drawstyle() == "steps-post"
    assert texts(found, "_name") == ["kie · nano, n = 3"]
    assert notes(found) == "3 succeeded of 4, 1 failed"
    assert found.get_xlabel() == "total time (s)"
    assert [label.get_text() for label in found.get_yticklabels()] == ["0 %", "25 %", "p50", "75 %", "100 %"]


def test_medians_are_those_of_the_summary():
    """p50 is marked where `summary` has it, on the line at one half."""
    data = many(40)
    data = data[data["outcome"] == "succeeded"]
    found = nbh.plot(data, "latency")
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in labelled(found.lines, "_p50")]

    assert [x for x, _ in marks] == pytest.approx(nbh.summary(data)["total_s_p50"].to_list())
    assert {y for _, y in marks} == {0.5}


@pytest.mark.parametrize(("longest", "scale"), [(29, "linear"), (31, "log")])
def test_a_logarithmic_axis_only_for_a_wide_span(longest, scale):
    """The axis is logarithmic from a factor of 30 on, and says so."""
    found = drawn(nbh.plot(frame(row(0, 1), row(0, longest)), "latency"))

    assert found.get_xscale() == scale
    assert ("log scale" in found.get_xlabel()) == (scale == "log")
    assert all("$" not in label.get_text() for label in found.get_xticklabels())


def test_a_success_of_unknown_duration_is_counted():
    """What has no total is said in the subtitle and not drawn."""
    found = nbh.plot(frame(row(), row(total_s=None), row(outcome=None)), "latency")

    assert notes(found) == "2 succeeded of 3, 1 unfinished; 1 of unknown duration, not drawn"
    assert texts(found, "_name") == ["kie · nano, n = 1"]


def test_groups_look_different_without_colour():
    """Groups that share a colour have other marks and other dashes, and all plots of one frame agree."""
    models = [("kie", f"m{n:02}", 5.0 + n, 4) for n in range(12)]
    data = many(60, models=models)
    found = [nbh.plot(data, kind) for kind in ("latency", "cost")]
    lines = labelled(found[0].lines, "_ecdf")
    marks = [labelled(found[0].lines, "_p50"), labelled(found[1].lines, "_median")]

    assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 12
    assert [(m.get_color(), m.get_marker()) for m in marks[0]] == [(m.get_color(), m.get_marker()) for m in marks[1]]
    assert len({(m.get_color(), m.get_marker()) for m in marks[0]}) == 12


@pytest.mark.parametrize("kind", ["latency", "cost"])
@pytest.mark.parametrize(("groups", "seed"), [(1, 0), (5, 1), (5, 2), (9, 3), (9, 4)])
def test_names_do_not_meet(kind, seed, groups):
    """Names stand beside what they name: all of them, inside the figure, none on another one."""
    dice = random.Random(seed)
    models = [("kie", f"model-{n}" + "-long" * dice.randrange(5), dice.uniform(5, 12), 3 + n) for n in range(groups)]
    found = drawn(nbh.plot(many(60, models=models, seed=seed), kind))
    written = boxes(labelled(found.texts, "_name"))

    assert len(written) == groups or len(keys(found)) == groups
    assert apart(written)
    assert all(box.x0 >= 0 and box.x1 <= found.figure.bbox.x1 for box in written)
    assert apart([*written, *boxes(labelled(found.texts, "_notes"))])


def test_stems_cross_no_name():
    """From a line's end to its name nothing is in the way."""
    found = drawn(nbh.plot(many(80), "latency"))
    written = labelled(found.texts, "_name")
    up = found.transData.transform((0, 1))[1]

    assert len(written) == 5
    for text, other in itertools.permutations(written, 2):
        stem, box, top = found.transData.transform(text.xy)[0], other.get_window_extent(), text.get_window_extent().y0
        assert not (box.x0 < stem < box.x1 and up < box.y1 < top)


@pytest.mark.parametrize("kind", ["latency", "cost"])
def test_more_groups_than_can_be_told_apart(kind):
    """Of very many groups the 28 largest are drawn, named in a key, and the rest is said."""
    models = [("kie", f"m{n}", 5.0 + n, 4) for n in range(40)]
    found = nbh.plot(many(120, models=models), kind)

    assert len(keys(found)) == 28
    assert "the 28 largest of 40 groups" in notes(found).replace("\n", " ")
    assert len(labelled(found.texts, "_notes")) == 1


# What that cost


def test_medians_with_quartiles():
    """A mark a group at both medians, quartiles as a cross, and single tasks behind."""
    rows = [row(0, total, credits=count) for total, count in [(10, 2), (20, 4), (30, 6), (40, 8), (50, 10)]]
    found = drawn(nbh.plot(frame(*rows), "cost"))
    (median,), (tasks,) = labelled(found.lines, "_median"), labelled(found.lines, "_tasks")
    across, up = labelled(found.lines, "_whisker")

    assert (median.get_xdata()[0], median.get_ydata()[0]) == (30, pytest.approx(0.03))
    assert list(across.get_xdata()) == [20, 40]
    assert list(up.get_ydata()) == pytest.approx([0.02, 0.04])
    assert len(tasks.get_xdata()) == 5
    assert tasks.get_alpha() < 0.5
    assert (found.get_xlabel(), found.get_ylabel()) == ("total time (s)", "cost of a task (USD)")
    assert texts(found, "_name") == ["kie · nano, n = 5"]


def test_unknown_cost_is_not_zero():
    """Tasks of unknown cost are counted in the subtitle and drawn nowhere."""
    found = nbh.plot(frame(row(), row(credits=None), row(credits=None), row(outcome="failed")), "cost")

    assert "3 succeeded of 4, 1 failed; 2 of unknown cost, not drawn" in notes(found)
    assert [len(line.get_xdata()) for line in labelled(found.lines, "_tasks")] == [1]
    assert min(line.get_ydata()[0] for line in labelled(found.lines, "_tasks")) > 0


def test_no_known_cost_at_all():
    """Where no cost is known, the axes say so."""
    found = drawn(nbh.plot(frame(row(credits=None)), "cost"))

    assert "no success of known cost and duration" in [text.get_text() for text in found.texts]


def test_what_costs_nothing_is_at_zero():
    """A known cost of zero is drawn, on a linear axis."""
    found = drawn(nbh.plot(frame(row(credits=0), row(credits=0)), "cost"))

    assert labelled(found.lines, "_median")[0].get_ydata()[0] == 0
    assert found.get_yscale() == "linear"


def test_one_currency_a_plot():
    """Several currencies are refused by name: they are never put on one axis."""
    data = frame(row(), row(), row(credits=None))
    data["currency"] = pd.Series(["USD", "CNY", "EUR"], dtype=pd.StringDtype("python"))

    with pytest.raises(BadInput, match=r'paid in CNY and USD, .*frame\[frame\["currency"\] == "CNY"\]'):
        nbh.plot(data, "cost")
    assert nbh.plot(data[data["currency"] == "CNY"], "cost").get_ylabel() == "cost of a task (CNY)"


# All three


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (frame(), "no tasks"),
        (frame(row(outcome=None)), "no success yet"),
        (frame(row(outcome="failed")), "no task has succeeded"),
    ],
    ids=["no rows", "none finished", "all failed"],
)
def test_nothing_to_draw(kind, data, words):
    """Without a success an empty plot says so; a timeline draws what is running and what failed."""
    found = drawn(nbh.plot(data, kind))
    said = [text.get_text() for text in found.texts]

    if kind == "timeline" and len(data):
        assert texts(found, "_word") in (["running"], ["failed"])
    else:
        assert words in said
        assert notes(found).startswith("0 succeeded of 1, 1 " if len(data) else "no tasks")


HOSTILE = {
    "mathtext": ("$\\frac{1}{0}$ $x", "$\\frac{1}{0}$ $x"),
    "escaped": (r"\$5 and $6 or $7", r"\$5 and $6 or $7"),
    "lines and colours": ("a\nb\x1b[31mred\x1b[0m", "a bred"),
    "bidi": ("\u202egnp.exe", "gnp.exe"),
    "hidden from keys": ("_nolegend_", "_nolegend_"),
    "long": ("x" * 300, "x" * 39 + "…"),
    "no font": ("\U000e0100\ue123 owl", "□□ owl"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_text_from_servers_is_drawn_as_text(kind):
    """Formulas, line breaks, terminal colours and length of a label or model are words like others when drawn."""
    data = frame(*(row(n, 10 + n, label=given, model=given) for n, (given, _) in enumerate(HOSTILE.values())))
    found = drawn(nbh.plot(data, kind, by="model"))
    inside = [text for legend in found.findobj(Legend) for text in legend.get_texts()]
    written = [*labelled(found.texts, "_name"), *inside, *(found.get_yticklabels() if kind == "timeline" else ())]
    # What matplotlib makes of a text that is no formula.
    words = [text.get_text().replace(r"\$", "$").removesuffix(", n = 1") for text in written]

    assert Counter(shown for _, shown in HOSTILE.values()) - Counter(words) == {}
    assert not any(matplotlib.cbook.is_math_text(text.get_text()) for text in written)
    assert not any(text.get_usetex() for text in written)


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_have_the_ink_of_the_style(kind, style):
    """On white and on dark grounds every text has the style's own colour."""
    with plt.style.context(style):
        found = nbh.plot(many(12), kind)
        ink = to_rgba(matplotlib.rcParams["text.color"])

    assert {to_rgba(text.get_color()) for text in found.texts if text.get_text()} == {ink}
    assert {to_rgba(t.get_color()) for legend in found.findobj(Legend) for t in legend.get_texts()} <= {ink}


@pytest.mark.parametrize("kind", KINDS)
def test_given_axes_need_no_pyplot(kind, monkeypatch):
    """On axes of the reader's own nothing is asked of pyplot, and the same axes come back."""
    for name in ("subplots", "figure", "gca", "gcf", "show"):
        monkeypatch.setattr(plt, name, lambda *_, **__: pytest.fail("pyplot was asked"))
    ax = Figure().subplots()

    assert drawn(nbh.plot(many(20), kind, ax=ax)) is ax


@pytest.mark.parametrize("kind", KINDS)
def test_without_axes_a_figure_is_made_and_not_shown(kind, monkeypatch):
    """A figure of pyplot's, which a notebook shows by itself; `show` is left to the reader."""
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("show was called"))
    found = nbh.plot(many(20), kind)

    assert plt.get_fignums() == [found.figure.number]
    assert all(2 < side < 16 for side in found.figure.get_size_inches())


def test_axes_of_a_subfigure():
    """Axes of a subfigure are axes like others."""
    left, right = Figure(figsize=(12, 5), layout="constrained").subfigures(1, 2)
    found = [nbh.plot(many(10), kind, ax=part.subplots()) for kind, part in (("latency", left), ("timeline", right))]
    found[0].figure.figure.canvas.draw()

    assert names(found[1])


@pytest.mark.parametrize("kind", KINDS)
def test_by_nothing(kind):
    """An empty `by` draws all tasks alike, with no name for them."""
    found = nbh.plot(many(12), kind, by=[])

    assert all(words.startswith("n = ") for words in texts(found, "_name"))
    assert not any("kie" in words for words in keys(found))


def test_a_missing_value_is_a_group():
    """Tasks without a model have their provider's name; without anything, words for that."""
    data = frame(row(), row(model=None), row(model=None, provider=None))

    assert texts(nbh.plot(data, "latency"), "_name") == ["kie · nano, n = 1", "kie, n = 1", "(none), n = 1"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_stays_as_it_was(kind):
    """Drawing changes nothing in the table, whatever its index."""
    data = many(12).iloc[::-1].set_index(pd.Index([7] * 12))
    before = data.copy(deep=True)
    nbh.plot(data, kind)

    pd.testing.assert_frame_equal(data, before)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_from_elsewhere(kind):
    """A table that lost its dtypes on the way is drawn all the same."""
    data = many(12)
    plain = pd.DataFrame(
        {name: [None if pd.isna(v) else str(v) for v in data[name]] for name in data.columns}, dtype=object
    )
    plain["credits"] = np.nan

    assert texts(nbh.plot(plain, kind), "_name") == texts(nbh.plot(data, kind), "_name")


def test_anything_with_a_frame(history):
    """A watch, or whatever else has `to_frame()`, is drawn by it."""

    class Watched:
        def to_frame(self):
            return nbh.to_frame(
                [
                    history(
                        (0, Mark(word=MarkWord.SUBMITTED)),
                        (1, Snapshot(state=State.RUNNING)),
                        (9, Snapshot(state=State.SUCCEEDED)),
                    )
                ]
            )

    found = drawn(nbh.plot(Watched(), "timeline"))

    assert [(bar.get_x(), bar.get_width()) for bar in found.patches] == [(0, 5)]
    assert names(found) == ["t1"]


def test_what_an_emulated_api_did(emulator):
    """From a create to the picture: each kind draws a real watch."""
    asked = {"model": "google/nano-banana", "input": {"prompt": "a fox"}}
    watched = nbh.watch([nbh.submit("kie", asked, label=f"fox {n}") for n in range(2)], display=False, block=True)
    found = {kind: nbh.plot(watched, kind) for kind in KINDS}

    assert sorted(names(found["timeline"])) == ["fox 0", "fox 1"]  # created milliseconds apart, on a corrected clock
    assert texts(found["latency"], "_name") == texts(found["cost"], "_name") == ["kie · google/nano-banana, n = 2"]


@pytest.mark.parametrize("kind", ["latency", "cost"])
@pytest.mark.parametrize("own", [True, False], ids=["a figure of its own", "small axes"])
def test_a_long_key_leaves_room_for_the_picture(kind, own):
    """Many long names stand in a key that the figure grows by; on axes given, which cannot grow, they are counted."""
    models = [("kie", f"a-model-{n:02d}-with-a-long-name-and-version", 5 + n, 3) for n in range(24)]
    data = many(150, models=models)
    _, ax = (None, None) if own else plt.subplots(figsize=(5, 3), layout="constrained")
    found = drawn(nbh.plot(data, kind, ax=ax))

    assert found.get_window_extent().height > (200 if own else 100)
    assert len(keys(found)) == (24 if own else 0)
    assert ("24 groups, too many to be named here" in notes(found).replace("\n", " ")) == (not own)


# Refusals


class Slow:
    """A watch that must not be waited for."""

    def to_frame(self):
        pytest.fail("the data was asked for first")


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("latnecy", ' Did you mean "latency"'), ("time", ' Did you mean "timeline"'), ("pie", ""), (3, "")],
    ids=str,
)
def test_unknown_kinds(kind, hint):
    """Another kind is refused before any data is waited for, with the three there are and the nearest."""
    with pytest.raises(BadInput, match=f'There is no plot "{kind}"; kind is "timeline", "latency" or "cost".{hint}'):
        nbh.plot(Slow(), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_columns_to_group_by(kind):
    """A column that is not there is refused as `summary` does it."""
    with pytest.raises(BadInput) as there:
        nbh.summary(many(5), by=["provider", "modle"])
    with pytest.raises(BadInput) as here:
        nbh.plot(many(5), kind, by=["provider", "modle"])

    assert str(here.value) == str(there.value)


def test_other_tables_are_refused():
    """A table of something else lacks columns, which are named."""
    with pytest.raises(BadInput, match=r'plot\("cost"\) needs the columns of tasks\(\); there is no outcome, total_s'):
        nbh.plot(pd.DataFrame({"a": [1]}), "cost", by=[])
    with pytest.raises(BadInput, match=r"plot\(\) takes a DataFrame such as nbhelper.tasks\(\), or a watch, not list"):
        nbh.plot([1, 2], "cost")


def test_several_axes_are_refused():
    """What `plt.subplots(1, 2)` gives is no Axes, and the text says so."""
    _, axes = plt.subplots(1, 2)
    with pytest.raises(BadInput, match="ax is one matplotlib Axes, or None for a new figure, not ndarray"):
        nbh.plot(Slow(), "cost", ax=axes)


def test_without_matplotlib(monkeypatch):
    """Without the extra, one line says what to install, before any data is waited for."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(nbh.NbhelperError) as refused:
        nbh.plot(Slow())
    assert str(refused.value) == 'Plots need matplotlib: pip install "nbhelper[plot]".'


def test_matplotlib_is_loaded_by_drawing_alone():
    """Neither the library, its verbs nor its tables load matplotlib."""
    program = (
        "import sys, nbhelper._tables.plot, nbhelper as nbh; nbh.plot, nbh.summary; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_without_data_it_is_the_whole_store(isolated):
    """`summary()` and `plot()` take every task that is kept, also of an earlier process."""
    nbh.set_store(isolated / "data")
    store = session.store()
    for ident in ("a", "b"):
        history = store.open_task(nbh.Task("kie", ident), "https://kie.example").result()
        history = history.add(Snapshot(state=State.SUCCEEDED), NOON.to_pydatetime())
        store.append(history.uid, history.events, summary=history).result()

    found = nbh.plot()

    assert nbh.summary(by="provider")["n"].to_list() == [2]
    assert {label.get_text() for label in found.get_yticklabels()} == {"a", "b"}
