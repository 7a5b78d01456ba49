"""Frames of made-up tasks to be plotted, and the texts and shapes of a plot."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pandas as pd
from matplotlib.legend import Legend

from nbhelper._tables.frames import tasks_frame

NOON = pd.Timestamp("2026-11-21 12:00:00", tz="UTC")
MODELS = [
    ("kie", "google/nano-banana", 8.0, 4),
    ("kie", "flux-kontext-pro", 22.0, 8),
    ("tripo", "v2.5-20250123", 70.0, 30),
    ("aigptimage", "gpt-image-2-text-to-image", 30.0, None),
    ("ailab", "hairstyle-editor-pro", 6.0, None),
]


def when(seconds):
    """So many seconds after noon, as the store writes times; None for None."""
    return None if seconds is None else (NOON + pd.Timedelta(seconds=seconds)).isoformat()


def row(start=0.0, total=10.0, *, queue=None, outcome="succeeded", server=False, **more):
    """One task from `start` seconds after noon on; without an outcome it is still running."""
    is_over = outcome in {"succeeded", "failed", "cancelled", "expired"}
    return {
        "provider": "kie",
        "model": "nano",
        "task_id": "1ec04ced-1111-2222-3333-444444444444",
        "outcome": outcome,
        "state": outcome if is_over else "running",
        "submitted_at": when(start),
        "created_at": when(start) if server else None,
        "first_seen_at": when(start + 0.5),
        "started_at": when(start + queue) if queue else None,
        "finished_at": when(start + total) if is_over else None,
        "finished_seen_at": when(start + total + 1) if is_over else None,
        "queue_s": queue,
        "run_s": total - queue if queue and is_over else None,
        "total_s": total if is_over else None,
        "time_source": "server" if server else "observed",
        "uncertainty_s": (0.001 if server else 1.5) if is_over else None,
        "credits": 4,
        "n_outputs": 1,
        **more,
    }


def frame(*rows):
    """A `tasks()` frame of these rows."""
    return tasks_frame(rows)


def many(number=48, *, models=MODELS, spread=0.3, seed=1):
    """A frame of tasks of several models, of which some went wrong and some are running; the same for the same seed."""
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
    """The same axes, after they were drawn to pixels."""
    ax.figure.canvas.draw()
    return ax


def labelled(artists, start):
    """The artists whose label begins so."""
    return [artist for artist in artists if str(artist.get_label()).startswith(start)]


def parts(ax):
    """The number of rectangles of each kind in a timeline."""
    return Counter(str(patch.get_label()) for patch in [*ax.patches, *labelled(ax.images, "_open")])


def texts(ax, start):
    """The words of the texts whose label begins so."""
    return [text.get_text() for text in labelled(ax.texts, start)]


def notes(ax):
    """The notes below the title."""
    return " ".join(texts(ax, "_notes"))


def names(ax):
    """The names of the rows of a timeline."""
    return [label.get_text() for label in ax.get_yticklabels()]


def keys(ax):
    """The words of the key above the axes."""
    return [text.get_text() for legend in ax.findobj(Legend) for text in legend.get_texts()]


def boxes(texts):
    """The extents of some texts in pixels."""
    return [text.get_window_extent() for text in texts]


def apart(boxes):
    """Whether no two boxes overlap by more than half a pixel."""
    return not any(
        min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5
        for a, b in itertools.combinations(boxes, 2)
    )
