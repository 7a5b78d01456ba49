"""`plot(…, "timeline")`: when each task ran."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from support.plots import apart, boxes, drawn, frame, keys, labelled, many, names, notes, parts, row, texts, when

import nbhelper as nbh

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_a_bar_for_each_task():
    """Each task has one bar from its start to its finish; the earliest is on top."""
    ax = drawn(nbh.plot(frame(row(5, 10, label="second"), row(0, 20, label="first")), "timeline"))

    assert names(ax) == ["first", "second"]
    assert [(bar.get_x(), bar.get_width(), round(bar.get_y())) for bar in ax.patches] == [(0, 20, 0), (5, 10, 1)]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_queue_and_run_are_two_marks_where_both_are_known():
    """Queue and run are two bars, the queue hatched; a task whose queue is unknown has one bar of a third look."""
    ax = drawn(nbh.plot(frame(row(0, 10, queue=4), row(1, 10)), "timeline"))
    queue, run, whole = ax.patches

    assert parts(ax) == {"_queue": 1, "_run": 1, "_whole": 1}
    assert (queue.get_x(), queue.get_width(), run.get_x(), run.get_width()) == (0, 4, 4, 6)
    assert queue.get_hatch()
    assert not run.get_hatch()
    assert len({part.get_facecolor()[3] for part in (queue, run, whole)}) == 3
    assert {"queued", "running", "queue and run not told apart"} <= set(keys(ax))


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({"created_at": when(2), "submitted_at": when(3), "first_seen_at": when(4), "time_source": "server"}, 2),
        ({"created_at": None, "submitted_at": when(3), "first_seen_at": when(4)}, 3),
        ({"created_at": None, "submitted_at": None, "first_seen_at": when(4)}, 4),
    ],
    ids=["created", "submitted", "first seen"],
)
def test_where_a_bar_begins(fields, start):
    """A bar begins at `created_at`, else at `submitted_at`, else with a mark at `first_seen_at`."""
    late = row(0, 10, total_s=None, **fields)
    ax = nbh.plot(frame(row(0, 1), late), "timeline")

    assert ax.patches[1].get_x() == start
    assert ax.patches[1].get_x() + ax.patches[1].get_width() == 10
    assert len(labelled(ax.lines, "_early")) == (start == 4)


def test_all_bars_stand_on_our_clock():
    """A server's clock that is an hour ahead moves no bar: its skew follows from the corrected columns."""
    ahead = {"created_at": when(3602), "time_source": "server", "lag_s": 2.0}
    whole = row(2, 10) | ahead | {"finished_at": when(3612), "finished_seen_at": when(14), "total_s": 10}
    mixed = row(3, 9) | ahead | {"created_at": when(3603), "time_source": "mixed", "lag_s": None}
    unfinished = row(4, outcome=None, created_at=when(3604))
    ax = nbh.plot(frame(row(0, 20, provider="other"), whole, mixed, unfinished), "timeline")
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]

    assert bars[:3] == [(0, 20), (2, 10), (3, 9)]
    assert bars[3] == (4, 0.5)


def test_an_observed_finish_has_a_whisker():
    """An observed finish has a whisker as long as it may be off; a finish by the server's time has none."""
    ax = drawn(nbh.plot(frame(row(0, 10), row(1, 10, server=True)), "timeline"))
    (whisker,) = labelled(ax.lines, "_whisker")

    assert list(whisker.get_xdata()) == [8.5, 11.5]
    assert "the end lies in here" in keys(ax)


def test_unfinished_tasks_are_open_at_the_end():
    """A running task fades out up to the last known time in the plot, with an arrow and its state behind it."""
    ax = drawn(nbh.plot(frame(row(0, 30), row(2, outcome=None)), "timeline"))
    (fade,) = labelled(ax.images, "_open")

    assert fade.get_extent()[:2] == [2.5, 31]
    assert fade.get_array()[0, 0, 3] > fade.get_array()[0, -1, 3]
    assert len(labelled(ax.lines, "_open_end")) == 1
    assert texts(ax, "_word") == ["running"]


def test_a_finish_that_nobody_saw_is_open_too():
    """A task that was over at its first look fades out and has the mark of its outcome."""
    over = row(0, total_s=None, finished_at=None, submitted_at=None, finished_seen_at=when(0.5), uncertainty_s=None)
    ax = drawn(nbh.plot(frame(row(0, 30), over), "timeline"))
    (fade,) = labelled(ax.images, "_open")

    assert fade.get_extent()[1] < 5
    assert len(labelled(ax.lines, "_succeeded_end")) == 2


def test_outcomes_differ_by_mark_and_word():
    """Each outcome has a marker of its own in the colour of text, and each but `succeeded` its word."""
    outcomes = ["succeeded", "failed", "cancelled", "expired", "lost", "stopped", None]
    rows = [
        row(n, 10, outcome=word, error_code="1302" if word == "failed" else None) for n, word in enumerate(outcomes)
    ]
    ax = drawn(nbh.plot(frame(*rows), "timeline"))
    marks = [line for word in outcomes for line in labelled(ax.lines, f"_{word or 'open'}_end")]

    assert texts(ax, "_word") == ["failed (1302)", "cancelled", "expired", "lost", "stopped", "running"]
    assert len({str(mark.get_marker()) for mark in marks}) == len(outcomes)
    assert {mark.get_color() for mark in marks} == {mpl.rcParams["text.color"]}
    assert notes(ax) == (
        "1 succeeded of 7, 1 failed, 1 cancelled, 1 expired, 1 lost, 1 stopped, 1 unfinished"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("total", "unit", "width"),
    [(90, "seconds", 90), (1800, "minutes", 30), (36000, "hours", 10), (864000, "days", 10)],
    ids=["s", "min", "h", "days"],
)
def test_the_time_axis_has_a_unit(total, unit, width):
    """The axis has the unit in which so long a time is read, and its label the time of its zero."""
    ax = nbh.plot(frame(row(0, total, server=True)), "timeline")

    assert ax.get_xlabel() == f"{unit} since the first start, 2026-11-21 12:00:00 UTC"
    assert ax.patches[0].get_width() == width


def test_at_most_sixty_rows():
    """Of 97 tasks the latest 60 are drawn, and a note counts the others."""
    ax = drawn(nbh.plot(many(97), "timeline"))

    assert len(names(ax)) == 60
    assert "the latest 60, and 37 more before them" in notes(ax)
    assert apart(boxes(ax.get_yticklabels()))


def test_small_axes_have_fewer_rows():
    """On small axes fewer rows are drawn, and a note counts the others."""
    _, ax = plt.subplots(figsize=(5, 3))
    ax = drawn(nbh.plot(many(48), "timeline", ax=ax))

    assert 4 <= len(names(ax)) < 30
    assert f"and {48 - len(names(ax))} more before them" in notes(ax).replace("\n", " ")
    assert apart(boxes(ax.get_yticklabels()))


def test_rows_are_named_by_label_or_id():
    """A row is named by its label, else by the beginning of its id, else by "(no id)"."""
    ax = nbh.plot(frame(row(0, label="an owl"), row(1, label=" "), row(2, task_id=None)), "timeline")

    assert names(ax) == ["an owl", "1ec04ced-1111…", "(no id)"]


def test_a_task_without_any_time_is_counted():
    """A task without any time is counted in a note and not drawn."""
    nothing = dict.fromkeys(("submitted_at", "first_seen_at", "finished_at", "finished_seen_at", "total_s"))
    ax = nbh.plot(frame(row(0), row(0) | nothing), "timeline")

    assert len(names(ax)) == 1
    assert "1 without any time, not drawn" in notes(ax)


def test_words_have_room():
    """The words behind the bars lie inside the axes, and none overlaps another one."""
    ax = drawn(nbh.plot(many(60), "timeline"))
    words = boxes(labelled(ax.texts, "_word"))

    assert len(words) > 5
    assert max(box.x1 for box in words) <= ax.get_window_extent().x1 + 1
    assert apart(words)


def test_groups_are_in_the_key():
    """The key has the groups in the order of `summary`, and the bars of a group have one colour."""
    data = many(20)
    ax = nbh.plot(data, "timeline")
    summed = nbh.summary(data)

    assert (
        sorted(keys(ax)[-5:], key=str.casefold)
        == keys(ax)[-5:]
        == [f"{p} · {m}" for p, m in zip(summed["provider"], summed["model"], strict=True)]
    )
    assert len({bar.get_facecolor()[:3] for bar in labelled(ax.patches, "_run")}) == 5
