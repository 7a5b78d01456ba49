"""A gallery as static HTML: what stands at the edges, below a picture, and in the place of one."""

import html
import json
import re

import pandas as pd
import pytest
from PIL import Image

from nbhelper._model.errors import BadInput
from nbhelper._views.gallery import gallery

FAILED = "refused by the <b>policy</b>"


@pytest.fixture
def frame(tmp_path):
    """Two prompts by two models; one task failed, one is still under way."""
    rows = []
    for n, (prompt, model) in enumerate((p, m) for p in ("a fox", "an owl") for m in ("one", "two")):
        Image.new("RGB", (90, 60), (40 * n, 90, 90)).save(tmp_path / f"{n}.png")
        files = json.dumps([f"{n}.png"]) if n < 2 else None
        rows.append({
            "task_id": f"t-{n}",
            "label": None,
            "outcome": {2: "failed", 3: None}.get(n, "succeeded"),
            "error_message": FAILED if n == 2 else None,
            "total_s": 1.5 if n < 2 else None,
            "cost": 0.02 if n == 0 else None,
            "currency": "USD" if n == 0 else None,
            "files": files,
            "param_prompt": prompt,
            "param_model": model,
        })  # fmt: skip
    return pd.DataFrame(rows)


PART = re.compile(r'<(?:figcaption|div class="nbh-none"|th|td class="nbh-axes")[^>]*>(.*?)</(?:figcaption|div|th|td)>')


def words(drawn):
    """The words of each caption, tile and edge, in order."""
    parts = PART.findall(drawn.body.partition("</style>")[2])
    return [html.unescape(" ".join(re.sub(r"<[^>]+>", " ", part).split())) for part in parts]


def test_without_a_grid_each_picture_has_its_name(frame, tmp_path):
    """Name and facts stand below each picture; what has none says how it stands and why, as text."""
    drawn = gallery(frame, tmp_path, row=None, col=None, size=64)

    assert drawn.pictures == 2
    assert words(drawn) == [
        "a fox 1.5 s · USD 0.020",
        "a fox 1.5 s",
        f"✗ failed an owl {FAILED}",
        "◌ pending an owl",
    ]


@pytest.mark.parametrize(
    ("label", "left"),
    [
        ("a fox, one, kie #2", "kie #2"),
        ("one, kie, a fox", "kie"),
        ("a fox, one #2", "#2"),
        ("a fox, one", ""),
        ("a foxglove, one", "a foxglove"),
    ],
    ids=["before", "around", "repeat", "all", "part of a word"],
)
def test_an_experiment_s_label_is_shortened_by_what_the_edges_tell(frame, tmp_path, label, left):
    """Below a picture stands what tells it from its neighbours, not the values of its row and column again."""
    frame.loc[0, "label"] = label
    drawn = gallery(frame.head(1), tmp_path, row="prompt", col="model", size=64)

    assert words(drawn)[-1] == f"{left} 1.5 s · USD 0.020".strip()


def test_a_grid_says_each_value_once(frame, tmp_path):
    """What stands at an edge is not repeated below the pictures, and the corner says what the edges are."""
    drawn = gallery(frame, tmp_path, row="prompt", col="model", size=64)

    assert words(drawn) == [
        "prompt / model",
        "one",
        "two",
        "a fox",
        "1.5 s · USD 0.020",
        "1.5 s",
        "an owl",
        f"✗ failed {FAILED}",
        "◌ pending",
    ]


@pytest.mark.parametrize(
    ("columns", "edges", "title"),
    [
        ({"experiment": "owls & <b>", "model": "one"}, ("prompt", "model"), "owls & <b>: prompt / model"),
        ({"experiment": "owls"}, (None, None), "owls"),
        ({"experiment": ["owls", "owls", None, None], "model": "one"}, ("prompt", None), "one: prompt"),
        ({"provider": "kie"}, (None, None), "kie"),
        ({}, ("prompt", None), "Gallery: prompt"),
        ({}, (None, None), "Gallery"),
    ],
    ids=["experiment and grid", "experiment", "model", "provider", "grid", "nothing shared"],
)
def test_a_saved_gallery_is_named(frame, tmp_path, columns, edges, title):
    """The page's title says what the pictures share and what they are arranged by, as text."""
    made = gallery(frame.assign(**columns), tmp_path, row=edges[0], col=edges[1], size=64)

    page = made.save(tmp_path / "gallery.html").read_text("utf-8")

    assert f"<title>{html.escape(title)}</title>" in page


def test_a_gallery_that_cannot_be_saved_leaves_nothing_behind(frame, tmp_path):
    """Where the file cannot take its place, such as that of a folder, no temporary file stays beside it."""
    folder = tmp_path / "out"
    (folder / "gallery.html").mkdir(parents=True)
    made = gallery(frame, tmp_path, row=None, col=None, size=64)

    with pytest.raises(BadInput, match="cannot be written"):
        made.save(folder / "gallery.html")

    assert [p.name for p in folder.iterdir()] == ["gallery.html"]
