"""How cards, galleries and histories look in JupyterLab.

Where `NBHELPER_SCREENSHOTS` names a folder, a picture of each is kept there for people.
"""

import pytest
from front_end import CONTRAST, SCREENSHOTS, THEMES, WIDTHS, change_theme

pytestmark = pytest.mark.browser

CELLS = {
    "setup": """
import nbhelper as nbh
emu = nbh.Emulator(speed=50)

def tripo(prompt, more=""):
    return nbh.submit("tripo", {"type": "text_to_model", "prompt": f"{prompt} {more}"}, label=prompt)

def draw(prompt, more="", model="google/nano-banana"):
    request = {"model": model, "input": {"prompt": f"{prompt} {more}"}}
    return nbh.submit("kie", request, label=prompt, params={"prompt": prompt, "model": model})

def paint(prompt, more=""):
    request = {"model": "gpt-image-2-text-to-image", "input": {"prompt": f"{prompt} {more}"}}
    return nbh.submit("aigptimage", request, label=prompt)
""",
    "running": "w = nbh.watch(tripo('an owl carved from walnut', 'emu:real-seconds=120'))",
    "trouble": "w = nbh.watch(draw('a lighthouse in the fog', 'emu:server-error=99'))",
    "succeeded": "w = nbh.watch(tripo('a teapot shaped like a snail'))",
    "failed": "w = nbh.watch(draw('somebody famous', 'emu:policy'))",
    "stopped": "w = nbh.watch(draw('a long walk', 'emu:stuck'), timeout=0)",
    "batch": """
live = nbh.watch([
    tripo("a whale above the clouds", "emu:real-seconds=120"), draw("a paper boat on a lake", "emu:stuck"),
    paint("a lighthouse at dusk", "emu:server-error=99"), draw("somebody famous", "emu:policy"),
    draw("a red fox in the snow"), tripo("a vase of green glass"), paint("a harbour in the morning"),
    draw("a train over a viaduct"),
])""",
    "frozen": """
prompts = ["a red fox in the snow", "a garden of glass"]
models = ["nano-banana", "flux-2", "gpt-image", "qwen-image"]
grid = nbh.watch([draw(p, "emu:policy" * (p == prompts[1] and m == models[2]), m) for p in prompts for m in models])""",
    "gallery": "grid.gallery(row='prompt', col='model', size=150)",
    "values": """
from IPython.display import display
display(grid[0], grid[6])""",
}
NAMES = list(CELLS)
ROW_HEIGHTS = """
[...document.querySelectorAll('.nbh-rows tr:not(.nbh-ended)')].map(row => row.getBoundingClientRect().height)"""
"""The heights of a batch's rows, but for failures, which have their reason below them where the card is narrow."""


@pytest.fixture(scope="module")
def book(opened):
    """A notebook with every kind of card: those that go on for two minutes, and those that are over."""
    book = opened("appearance", *CELLS.values(), height=5600)
    book.run(*range(len(CELLS)))
    for name in ("succeeded", "failed", "stopped", "frozen"):
        book.frozen(NAMES.index(name), 60)
    batch = NAMES.index("batch")
    book.says(batch, "5 of 8 over", 60)
    book.says(batch, "HTTP 502")
    book.until("document.querySelectorAll('.jp-Cell')[a].querySelectorAll('.nbh-card img').length === 4", 30, batch)
    book.says(NAMES.index("running"), " %")
    book.says(NAMES.index("trouble"), "trying again in")
    return book


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_every_kind_of_card_is_legible(book, theme, width, pictures_folder):
    """In both themes, narrow and wide: each text has a contrast of 4.5, no card sticks out, rows are one line high."""
    book.page.set_viewport_size({"width": width, "height": 5600})
    change_theme(book, theme)
    contrasts = book.js(CONTRAST)
    if SCREENSHOTS:
        for at, name in enumerate(NAMES[1:], 1):
            book.shoot(at, pictures_folder / f"{name}-{theme.split()[-1].lower()}-{width}.png")

    assert len(contrasts) > 100
    assert min(contrasts)[0] >= 4.5, min(contrasts)
    assert {round(height) for height in book.js(ROW_HEIGHTS)} == {22}
    assert book.js("[...document.querySelectorAll('.nbh-card')].every(n => n.scrollWidth <= n.clientWidth + 1)")
