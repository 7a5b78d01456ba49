"""The README's pictures: the example notebooks, run in JupyterLab, in its light and in its dark theme.

    python -m pytest tests/views/test_readme_pictures.py -m pictures

They are taken only where `-m pictures` asks for them: what they show is tested elsewhere. They are kept with pytest's
temporary files, or in the folder that `NBHELPER_SCREENSHOTS` names; those in `pictures/` are copied from there.
"""

import io
import math
from pathlib import Path

import nbformat
import pytest
from front_end import THEMES, change_theme
from PIL import Image, ImageOps

pytestmark = [pytest.mark.pictures, pytest.mark.timeout(300)]  # whole notebooks, on a busy machine too

SCALE = 2
"""Drawn at twice the size at which the README shows them, to be sharp."""
LARGEST = 150_000
"""Bytes of a picture."""
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MIDWAY = """
emu.script("kie", "policy")
emu.script("kie", "stuck")
emu.script("aigptimage", "stuck", times=2)"""
"""One task fails and three go on for ever: the card stands still while its picture is taken."""
DARK_PLOTS = """
import matplotlib.pyplot as plt
plt.style.use(["dark_background", {"figure.facecolor": "none", "axes.facecolor": "none"}])"""


class Example:
    """A copy of an example notebook, open in JupyterLab."""

    def __init__(self, opened, name, changes=(), more=(), **options):
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        for before, after in changes:
            (cell,) = [cell for cell in cells if before in cell.source]
            cell.source = cell.source.replace(before, after)
        self.sources = [cell.source if cell.cell_type == "code" else "" for cell in cells]
        self.book = opened(name, *cells, *more, height=9000, **options)
        self.codes = [at for at, source in enumerate(self.sources) if source]

    def at(self, words):
        """The cell of code with these words."""
        (index,) = [at for at, source in enumerate(self.sources) if words in source]
        return index

    def run(self, first, last):
        """The cells of code from one to another one, both by their words."""
        first, last = (self.at(words) if isinstance(words, str) else words for words in (first, last))
        self.book.run(*(at for at in self.codes if first <= at <= last), seconds=60)

    def take(self, cell, part, path, margin):
        """One part of a cell's output, with a margin in the colour of the page."""
        box = self.book.cell(self.at(cell)).locator(part).first.bounding_box()
        left, top = math.floor(box["x"]), math.floor(box["y"])  # whole pixels, so that no edge is half
        right, bottom = math.ceil(box["x"] + box["width"]), math.ceil(box["y"] + box["height"])
        clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        taken = Image.open(io.BytesIO(self.book.page.screenshot(clip=clip))).convert("RGB")
        taken = ImageOps.expand(taken, margin * SCALE, taken.getpixel((taken.width - 2, 2)))
        taken.save(path, quality=90, method=6)
        return taken


def in_both_themes(example, pictures_folder, name, *where, margin=0, before_dark=lambda: None):
    """Two pictures of the same, and both fit for the README."""
    for theme, suffix in zip(THEMES, ("", "-dark"), strict=True):
        change_theme(example.book, theme)
        if suffix:
            before_dark()
        taken = example.take(*where, pictures_folder / f"{name}{suffix}.webp", margin)

        corner = taken.getpixel((taken.width - 2, 2))
        assert (max(corner) < 40) if suffix else (min(corner) > 240)
        assert 1000 < taken.width < 1800
        assert (pictures_folder / f"{name}{suffix}.webp").stat().st_size < LARGEST


@pytest.fixture(scope="module")
def batch(opened):
    """The batch experiment with one repeat."""
    return Example(opened, "02-batch-experiment", [("repeats = 2", "repeats = 1")], more=[MIDWAY, "emu.close()"])


def test_a_live_card(batch, pictures_folder):
    """The batch experiment halfway: four tasks succeeded and show their pictures, one failed, three are under way."""
    batch.run(0, "emu = ")
    batch.book.run(len(batch.sources))
    batch.run("def request", "w = exp.run()")
    cell = batch.at("w = exp.run()")
    batch.book.says(cell, "5 of 8 over", 60)
    batch.book.until(
        "document.querySelectorAll('.jp-Cell')[a].querySelectorAll('.nbh-card img').length === 4", 30, cell
    )
    batch.book.says(cell, "running", 60)

    in_both_themes(batch, pictures_folder, "live-card", "w = exp.run()", ".nbh-card")


def test_a_gallery(batch, pictures_folder):
    """From the top once more, with nothing in its way: the batch experiment's pictures by prompt and resolution."""
    batch.book.run(len(batch.sources) + 1)
    batch.run(0, "exp.gallery(")

    in_both_themes(batch, pictures_folder, "gallery", "exp.gallery(", "table", margin=12)


def test_a_frozen_card(opened, pictures_folder):
    """One task of the first notebook, its model, its picture and its cost."""
    example = Example(opened, "01-watch-a-task", width=680)
    example.run(0, "w = nbh.watch(task)")
    example.book.frozen(example.at("w = nbh.watch(task)"))

    in_both_themes(example, pictures_folder, "frozen-card", "w = nbh.watch(task)", ".nbh-card")


def test_a_plot(opened, pictures_folder):
    """Cost against time in the third notebook; in the dark theme drawn again in matplotlib's dark style."""
    example = Example(opened, "03-cost-and-latency", more=[DARK_PLOTS])
    example.run(0, 'nbh.plot(frame, "cost"')

    def again():
        example.book.run(len(example.sources))
        example.run('nbh.plot(frame, "cost"', 'nbh.plot(frame, "cost"')

    in_both_themes(example, pictures_folder, "plot", 'nbh.plot(frame, "cost"', "img", before_dark=again)
