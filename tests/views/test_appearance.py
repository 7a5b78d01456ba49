"""How cards, galleries and histories look in JupyterLab, with pictures of them for people.

The pictures are kept with pytest's temporary files, or in the folder that `NBHELPER_SCREENSHOTS` names.
"""

import pytest
from front_end import CONTRAST, THEMES, WIDTHS, change_theme

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


@pytest.fixture(scope="module")
def looks(opened):
    """Every kind of card: those that go on for two minutes, and those that are over."""
    book = opened("looks", *CELLS.values(), height=5600)
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
def test_every_kind_of_card_is_legible(looks, theme, width, shots):
    """In both themes, narrow and wide, each text has a contrast of 4.5, no card sticks out, and a picture is kept."""
    looks.page.set_viewport_size({"width": width, "height": 5600})
    change_theme(looks, theme)
    found = looks.js(CONTRAST)
    for at, name in enumerate(NAMES):
        if name != "setup":
            looks.shoot(at, shots / f"{name}-{theme.split()[-1].lower()}-{width}.png")

    assert len(found) > 100
    assert min(found)[0] >= 4.5, min(found)
    assert looks.js("[...document.querySelectorAll('.nbh-card')].every(n => n.scrollWidth <= n.clientWidth + 1)")
