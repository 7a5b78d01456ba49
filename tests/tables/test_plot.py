"""What holds for every kind of plot, and what is refused."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from support.plots import NOON, apart, boxes, drawn, frame, keys, labelled, many, names, notes, row, texts

import nbhelper as nbh
from nbhelper import BadInput
from nbhelper._model.events import Mark, Snapshot
from nbhelper._model.states import MarkWord, State
from nbhelper._session import session
from nbhelper._tables.plot import KINDS

pytestmark = pytest.mark.usefixtures("closed_figures")


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
    """A plot of no succeeded task says so; a timeline draws those that run or failed."""
    ax = drawn(nbh.plot(data, kind))
    written = [text.get_text() for text in ax.texts]

    if kind == "timeline" and len(data):
        assert texts(ax, "_word") in (["running"], ["failed"])
    else:
        assert words in written
        assert notes(ax).startswith("0 succeeded of 1, 1 " if len(data) else "no tasks")


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
    """Formulas, line breaks and terminal colours in a label or model are drawn as words, cut to a length."""
    data = frame(*(row(n, 10 + n, label=given, model=given) for n, (given, _) in enumerate(HOSTILE.values())))
    ax = drawn(nbh.plot(data, kind, by="model"))
    inside = [text for legend in ax.findobj(Legend) for text in legend.get_texts()]
    written = [*labelled(ax.texts, "_name"), *inside, *(ax.get_yticklabels() if kind == "timeline" else ())]
    # As matplotlib draws a text that is no formula.
    words = [text.get_text().replace(r"\$", "$").removesuffix(", n = 1") for text in written]

    assert Counter(shown for _, shown in HOSTILE.values()) - Counter(words) == {}
    assert not any(mpl.cbook.is_math_text(text.get_text()) for text in written)
    assert not any(text.get_usetex() for text in written)


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_have_the_ink_of_the_style(kind, style):
    """In a light and in a dark style every text has the style's colour of text."""
    with plt.style.context(style):
        ax = nbh.plot(many(12), kind)
        ink = to_rgba(mpl.rcParams["text.color"])

    assert {to_rgba(text.get_color()) for text in ax.texts if text.get_text()} == {ink}
    assert {to_rgba(t.get_color()) for legend in ax.findobj(Legend) for t in legend.get_texts()} <= {ink}


@pytest.mark.parametrize("kind", KINDS)
def test_given_axes_need_no_pyplot(kind, monkeypatch):
    """On axes that are given no function of pyplot is called, and the same axes come back."""
    for name in ("subplots", "figure", "gca", "gcf", "show"):
        monkeypatch.setattr(plt, name, lambda *_, **__: pytest.fail("pyplot was called"))
    ax = Figure().subplots()

    assert drawn(nbh.plot(many(20), kind, ax=ax)) is ax


@pytest.mark.parametrize("kind", KINDS)
def test_without_axes_a_figure_is_made_and_not_shown(kind, monkeypatch):
    """Without axes pyplot makes a figure, which a notebook shows by itself; `show` is not called."""
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("show was called"))
    ax = nbh.plot(many(20), kind)

    assert plt.get_fignums() == [ax.figure.number]
    assert all(2 < side < 16 for side in ax.figure.get_size_inches())


def test_axes_of_a_subfigure():
    """Axes of a subfigure can be drawn on."""
    left, right = Figure(figsize=(12, 5), layout="constrained").subfigures(1, 2)
    plots = [nbh.plot(many(10), kind, ax=part.subplots()) for kind, part in (("latency", left), ("timeline", right))]
    plots[0].figure.figure.canvas.draw()

    assert names(plots[1])


@pytest.mark.parametrize("kind", KINDS)
def test_by_nothing(kind):
    """An empty `by` draws all tasks alike, with no name for them."""
    ax = nbh.plot(many(12), kind, by=[])

    assert all(words.startswith("n = ") for words in texts(ax, "_name"))
    assert not any("kie" in words for words in keys(ax))


def test_a_missing_value_is_a_group():
    """Tasks without a model are a group of their provider's name; tasks with neither are "(none)"."""
    data = frame(row(), row(model=None), row(model=None, provider=None))

    assert texts(nbh.plot(data, "latency"), "_name") == ["kie · nano, n = 1", "kie, n = 1", "(none), n = 1"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_stays_as_it_was(kind):
    """Drawing does not change the frame, whatever its index."""
    data = many(12).iloc[::-1].set_index(pd.Index([7] * 12))
    before = data.copy(deep=True)
    nbh.plot(data, kind)

    pd.testing.assert_frame_equal(data, before)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_from_elsewhere(kind):
    """A frame without our dtypes is drawn the same."""
    data = many(12)
    plain = pd.DataFrame(
        {name: [None if pd.isna(v) else str(v) for v in data[name]] for name in data.columns}, dtype=object
    )
    plain["credits"] = np.nan

    assert texts(nbh.plot(plain, kind), "_name") == texts(nbh.plot(data, kind), "_name")


def test_anything_with_a_frame(history):
    """Anything with `to_frame()` is drawn."""

    class HasFrame:
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

    ax = drawn(nbh.plot(HasFrame(), "timeline"))

    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 5)]
    assert names(ax) == ["t1"]


def test_what_an_emulated_api_did(emulator):
    """Each kind draws the tasks of a watch that ran against the emulator."""
    request = {"model": "google/nano-banana", "input": {"prompt": "a fox"}}
    watched = nbh.watch([nbh.submit("kie", request, label=f"fox {n}") for n in range(2)], display=False, block=True)
    plots = {kind: nbh.plot(watched, kind) for kind in KINDS}

    assert sorted(names(plots["timeline"])) == ["fox 0", "fox 1"]  # created milliseconds apart, on a corrected clock
    assert texts(plots["latency"], "_name") == texts(plots["cost"], "_name") == ["kie · google/nano-banana, n = 2"]


@pytest.mark.parametrize("kind", ["latency", "cost"])
@pytest.mark.parametrize("is_new", [True, False], ids=["a new figure", "small axes"])
def test_a_long_key_leaves_room_for_the_picture(kind, is_new):
    """Many long names stand in a key that the figure grows by; on axes given, which cannot grow, they are counted."""
    models = [("kie", f"a-model-{n:02d}-with-a-long-name-and-version", 5 + n, 3) for n in range(24)]
    data = many(150, models=models)
    given = None if is_new else plt.subplots(figsize=(5, 3), layout="constrained")[1]
    ax = drawn(nbh.plot(data, kind, ax=given))

    assert ax.get_window_extent().height > (200 if is_new else 100)
    assert len(keys(ax)) == (24 if is_new else 0)
    assert ("24 groups, too many to be named here" in notes(ax).replace("\n", " ")) == (not is_new)


# Groups


def test_groups_look_different_without_colour():
    """Groups of one colour differ by marker and dashes, and a group looks the same in all plots of a frame."""
    models = [("kie", f"m{n:02}", 5.0 + n, 4) for n in range(12)]
    data = many(60, models=models)
    plots = [nbh.plot(data, kind) for kind in ("latency", "cost")]
    lines = labelled(plots[0].lines, "_ecdf")
    marks = [labelled(plots[0].lines, "_p50"), labelled(plots[1].lines, "_median")]

    assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 12
    assert [(m.get_color(), m.get_marker()) for m in marks[0]] == [(m.get_color(), m.get_marker()) for m in marks[1]]
    assert len({(m.get_color(), m.get_marker()) for m in marks[0]}) == 12


@pytest.mark.parametrize("kind", ["latency", "cost"])
@pytest.mark.parametrize(("groups", "seed"), [(1, 0), (5, 1), (5, 2), (9, 3), (9, 4)])
def test_names_do_not_meet(kind, seed, groups):
    """All names are written, inside the figure, and none overlaps another one or the notes."""
    dice = random.Random(seed)
    models = [("kie", f"model-{n}" + "-long" * dice.randrange(5), dice.uniform(5, 12), 3 + n) for n in range(groups)]
    ax = drawn(nbh.plot(many(60, models=models, seed=seed), kind))
    written = boxes(labelled(ax.texts, "_name"))

    assert len(written) == groups or len(keys(ax)) == groups
    assert apart(written)
    assert all(box.x0 >= 0 and box.x1 <= ax.figure.bbox.x1 for box in written)
    assert apart([*written, *boxes(labelled(ax.texts, "_notes"))])


@pytest.mark.parametrize("kind", ["latency", "cost"])
def test_at_most_28_groups_are_drawn(kind):
    """Of 40 groups the 28 largest are drawn and named in a key, and a note says so."""
    models = [("kie", f"m{n}", 5.0 + n, 4) for n in range(40)]
    ax = nbh.plot(many(120, models=models), kind)

    assert len(keys(ax)) == 28
    assert "the 28 largest of 40 groups" in notes(ax).replace("\n", " ")
    assert len(labelled(ax.texts, "_notes")) == 1


# Refusals


class UnreadTable:
    """A table that fails the test when its frame is read."""

    def to_frame(self):
        pytest.fail("the data was asked for before the arguments were checked")


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("latnecy", ' Did you mean "latency"'), ("time", ' Did you mean "timeline"'), ("pie", ""), (3, "")],
    ids=str,
)
def test_unknown_kinds(kind, hint):
    """An unknown kind is refused before any data is waited for; the text lists the three kinds and the nearest."""
    with pytest.raises(BadInput, match=f'There is no plot "{kind}"; kind is "timeline", "latency" or "cost".{hint}'):
        nbh.plot(UnreadTable(), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_columns_to_group_by(kind):
    """An unknown column in `by` is refused in the words of `summary`."""
    with pytest.raises(BadInput) as of_summary:
        nbh.summary(many(5), by=["provider", "modle"])
    with pytest.raises(BadInput) as of_plot:
        nbh.plot(many(5), kind, by=["provider", "modle"])

    assert str(of_plot.value) == str(of_summary.value)


def test_other_tables_are_refused():
    """A frame without the needed columns is refused by their names, and a list by its type."""
    with pytest.raises(BadInput, match=r'plot\("cost"\) needs the columns of tasks\(\); there is no outcome, total_s'):
        nbh.plot(pd.DataFrame({"a": [1]}), "cost", by=[])
    with pytest.raises(BadInput, match=r"plot\(\) takes a DataFrame such as nbhelper.tasks\(\), or a watch, not list"):
        nbh.plot([1, 2], "cost")


def test_several_axes_are_refused():
    """The array of Axes that `plt.subplots(1, 2)` gives is refused."""
    _, axes = plt.subplots(1, 2)
    with pytest.raises(BadInput, match="ax is one matplotlib Axes, or None for a new figure, not ndarray"):
        nbh.plot(UnreadTable(), "cost", ax=axes)


def test_without_matplotlib(monkeypatch):
    """Without the extra, one line says what to install, before any data is waited for."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(nbh.NbhelperError) as refused:
        nbh.plot(UnreadTable())
    assert str(refused.value) == 'Plots need matplotlib: pip install "nbhelper[plot]".'


def test_matplotlib_is_loaded_by_drawing_alone():
    """Neither the library, its verbs nor its tables load matplotlib."""
    program = (
        "import sys, nbhelper._tables.plot, nbhelper as nbh; nbh.plot, nbh.summary; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_without_data_it_is_the_whole_store(isolated):
    """Without data, `summary()` and `plot()` take every task in the store, also those of an earlier process."""
    nbh.set_store(isolated / "data")
    store = session.store()
    for ident in ("a", "b"):
        history = store.open_task(nbh.Task("kie", ident), "https://kie.example").result()
        history = history.add(Snapshot(state=State.SUCCEEDED), NOON.to_pydatetime())
        store.append(history.uid, history.events, summary=history).result()

    ax = nbh.plot()

    assert nbh.summary(by="provider")["n"].to_list() == [2]
    assert {label.get_text() for label in ax.get_yticklabels()} == {"a", "b"}
