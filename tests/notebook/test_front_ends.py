"""The card in real front ends: JupyterLab and Notebook 7 in headless Chromium, driven as a person would."""

import io
import json
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from front_end import SETUP, Book
from nbconvert import HTMLExporter, MarkdownExporter
from PIL import Image
from support.mill import DONE, KEY, WORKING, Mill, provider
from support.raw_server import reply

import nbhelper as nbh

pytestmark = pytest.mark.browser

LINE = 22
"""Pixels of a line of the card, and a little."""
LOG = """
(() => {
  window.seen = [];
  setInterval(() => {
    const panel = app.shell.currentWidget;
    const cells = panel?.content?.widgets ?? [];
    const nodes = [...document.querySelectorAll('.jp-Notebook .jp-Cell')];
    window.seen.push({
      running: cells.findIndex(c => c.prompt === '*' || c.model.executionState === 'running'),
      cards: nodes.map(n => {
        const part = n.querySelector('.jp-OutputArea .nbh .nbh-part');
        return part && {width: part.getBoundingClientRect().width,
                        live: !!n.querySelector('.jupyter-widgets'), text: part.innerText,
                        height: part.getBoundingClientRect().height,
                        said: n.querySelector('[role=status]')?.innerText ?? ''};
      }),
    });
  }, 100);
})()
"""
"""Keeps what each card says and how high it is, ten times a second."""
CONTRAST = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const rgba = css => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = node => {
    if (!node) return [255, 255, 255, 1];
    const own = rgba(getComputedStyle(node).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(node.parentElement));
  };
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  for (const root of document.querySelectorAll('.nbh, .nbhg')) {
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const node = walk.currentNode.parentElement;
      if (!walk.currentNode.textContent.trim() || !node.checkVisibility() || node.closest('.nbh-says, style')) continue;
      const back = ground(node), front = over(rgba(getComputedStyle(node).color), back);
      const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
      found.push([(a + 0.05) / (b + 0.05), walk.currentNode.textContent.trim().slice(0, 40)]);
    }
  }
  return found;
})()
"""
"""The contrast of every text on the cards with what really lies behind it."""
WIDTHS = (480, 900, 1400)
THEMES = ("JupyterLab Light", "JupyterLab Dark")
HOSTILE = """<img src=x onerror="window.hit=1">"><script>window.hit=2</script><style>.nbh{display:none}</style>'`"""


def picture(colour=(30, 120, 90), size=(320, 240)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def factory():
    made = Mill()
    yield made
    made.close()
    assert made.server.faults == []


@pytest.fixture(scope="module")
def opened(jupyter, browser):
    """A notebook with these cells, open in a page of its own."""
    pages = []

    def open_book(name, *cells, app="lab", width=1400, height=1500):
        page = browser.new_page()
        page.set_viewport_size({"width": width, "height": height})
        pages.append(page)
        return Book(jupyter, page, jupyter.write(name, *cells), app=app).open()

    yield open_book
    for page in pages:
        page.close()


def change_theme(book, theme):
    book.js("app.commands.execute('apputils:change-theme', {theme: a})", theme)
    light = str(theme == THEMES[0]).lower()
    book.until("document.body.dataset.jpThemeLight === a && getComputedStyle(document.body).opacity === '1'", 20, light)
    book.until("document.querySelector('.nbh').getBoundingClientRect().width > 100")


def distinct(texts):
    return len(dict.fromkeys(texts))


# One task, from the first look to the file


@pytest.fixture(scope="module")
def story(opened):
    """A task with two bad replies, watched beside a cell that blocks and one that awaits, then with an idle kernel."""
    book = opened(
        "story",
        """
import nbhelper as nbh
emu = nbh.Emulator(speed=10)
w = nbh.watch(nbh.submit("tripo", {"type": "text_to_model", "prompt": "an owl emu:server-error=2 emu:real-seconds=16"}))
w""",
        "import time\nfor _ in range(24): time.sleep(0.1)",
        "import asyncio\nawait asyncio.sleep(2.4)",
        "w",
        "w",
    )
    book.js(LOG)
    begun = time.monotonic()
    book.run(0)
    told = SimpleNamespace(book=book, returned=time.monotonic() - begun)
    told.outputs = [book.js("app.shell.currentWidget.content.widgets[0].model.outputs.length")]
    book.run(1, 2, 3)
    told.idle_from = book.js("window.seen.length")
    book.frozen(0, 40)
    book.frozen(3)
    told.seen = book.js("window.seen")
    book.run(4)
    told.texts = [book.text(i) for i in (0, 3, 4)]
    told.outputs += [book.js("app.shell.currentWidget.content.widgets[a].model.outputs.length", i) for i in (0, 3, 4)]
    told.link = book.cell(0).locator("figcaption a").first.get_attribute("href")
    told.file = book.save()
    told.contrast = []
    for theme in (THEMES[1], THEMES[0]):
        change_theme(book, theme)
        told.contrast.append(min(book.js(CONTRAST)))
    return told


def test_the_cell_returns_at_once_with_one_card(story):
    """The cell is over long before the task; as its last expression the watch is not drawn twice."""
    assert story.returned < 4
    assert story.outputs == [1, 1, 1, 1]


@pytest.mark.parametrize(("cell", "least"), [(1, 2), (2, 2), (-1, 3)], ids=["blocking", "awaiting", "idle"])
def test_the_card_goes_on(story, cell, least):
    """While another cell blocks, while one awaits, and while the kernel is idle, the card is drawn each second."""
    seen = story.seen[story.idle_from :] if cell < 0 else story.seen
    texts = [s["cards"][0]["text"] for s in seen if s["running"] == cell and s["cards"][0] and s["cards"][0]["live"]]

    assert distinct(texts) >= least


def test_the_last_trouble_is_told(story):
    """Two bad replies: the code, how many, and when the next look is; gone with the first good reply."""
    texts = [s["cards"][0]["text"] for s in story.seen if s["cards"][0]]

    assert any("HTTP 502" in t and "trying again in" in t and "2 misses" in t for t in texts), set(texts)
    assert any("running" in t and "next look in" in t and "HTTP 502" not in t for t in texts), set(texts)


def test_drawn_again_it_goes_on_too(story):
    """`w` in a later cell is the same card, live while the task runs, and frozen with it."""
    again = [s["cards"][3]["text"] for s in story.seen if s["cards"][3] and s["cards"][3]["live"]]

    assert distinct(again) >= 3
    assert story.texts[0] == story.texts[1] == story.texts[2]


def test_the_frozen_card_tells_all(story):
    """State, prompt, time, credits, money, files, reference and folder stand on the frozen card; Stop does not."""
    for words in (
        "succeeded",
        "an owl",
        "tripo",
        "emulated",
        " s ",
        "20 credits",
        "USD",
        "2 files",
        "3D model",
        "kept in",
    ):
        assert words in story.texts[0]
    assert "Stop" not in story.texts[0]
    assert "elapsed" not in story.texts[0]


def test_the_saved_file_holds_only_html_and_text(story):
    """Saved by JupyterLab itself, the file knows no widget and no script, and its plain text says the final state."""
    outputs = [o for cell in story.file["cells"] for o in cell["outputs"]]

    assert [set(o["data"]) for o in outputs] == [{"text/html", "text/plain"}] * 3
    assert "widgets" not in story.file["metadata"]
    for output in outputs:
        html = "".join(output["data"]["text/html"])
        assert "<script" not in html
        assert "http" not in html.replace("http-equiv", "")
        assert "succeeded after" in "".join(output["data"]["text/plain"])


def test_the_frozen_card_is_legible_and_steady(story):
    """Frozen, links included, every text has a contrast of 4.5 in both themes; live, it moved by a line at most."""
    cards = [s["cards"][0] for s in story.seen if s["cards"][0] and s["cards"][0]["live"]]

    assert min(story.contrast)[0] >= 4.5
    assert max(steps(cards)) <= LINE


def test_the_link_leads_to_the_file(story):
    """The link below the picture is relative in the file, and Jupyter serves what it names."""
    html = "".join(story.file["cells"][0]["outputs"][0]["data"]["text/html"])
    got = story.book.page.request.get(story.link)

    assert 'href="nbhelper-emulated/' in html
    assert got.status == 200
    assert len(got.body()) > 1000


def loaded(page):
    """Whether a picture is there, decoded, and has a size."""
    page.wait_for_function("() => document.querySelector('.nbh img')?.naturalWidth > 0", timeout=20_000)
    return True


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "without kernel or trust"])
def test_reopened_it_shows_picture_and_numbers(story, jupyter, browser, trusted):
    """Opened anew, also where the kernel is unknown and the notebook not trusted, the card is whole."""
    path = story.book.path
    if not trusted:
        book = json.loads(path.read_text())
        book["metadata"]["kernelspec"] = {"name": "absent", "display_name": "Absent"}
        path = path.with_name("moved.ipynb")
        path.write_text(json.dumps(book))
    page = browser.new_page()
    page.set_viewport_size({"width": 1400, "height": 1500})
    again = Book(jupyter, page, path)
    try:
        again.open(kernel=False)
        if not trusted:
            page.get_by_role("button", name="No Kernel", exact=True).click()

        assert loaded(page)
        text = again.text(0)
        assert "model not found" not in page.inner_text("body")
        assert "Loading widget" not in page.inner_text("body")
        for words in ("succeeded", "20 credits", "2 files"):
            assert words in text
    finally:
        page.close()


def convert(path, exporter, folder):
    """What nbconvert makes of a saved notebook."""
    body, _ = exporter().from_filename(str(path))
    found = folder / f"{path.stem}{exporter().file_extension}"
    found.write_text(body)
    return found


@pytest.fixture
def alone(browser):
    """A page that reaches no network."""
    page = browser.new_page()
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    yield page
    page.close()


def test_converted_to_html_the_picture_is_there(story, alone, tmp_path):
    """Nbconvert's page shows the picture and the numbers without any kernel or network."""
    alone.goto(convert(story.book.path, HTMLExporter, tmp_path).as_uri(), wait_until="domcontentloaded")

    assert loaded(alone)
    assert "20 credits" in alone.inner_text(".nbh >> nth=0")


def test_converted_to_markdown_it_says_the_end(story, tmp_path):
    """Nbconvert's Markdown has the final state and the picture."""
    text = convert(story.book.path, MarkdownExporter, tmp_path).read_text()

    assert "succeeded" in text
    assert 'src="data:image/' in text


# A desk full of cards, each step in the test's hand


BATCH = 34


def make_batch(factory):
    file = factory.file(reply(picture()))
    for n in range(BATCH):
        answer = {**DONE, "credits": 2, "files": [f"{file}?{n}"]}
        if n in {3, 30, 33}:
            answer = {"state": "error", "code": "E7", "why": "content refused"}
        factory.job(WORKING if n in {5, 20} else answer, ident=f"batch-{n}")


@pytest.fixture(scope="module")
def desk(opened, factory):
    """One notebook with a single task, a batch, hostile words, and a gallery."""
    factory.job({"state": "queued", "ahead": 3, "left": 40}, ident="single")
    factory.job(WORKING, ident="stopped")
    make_batch(factory)
    word = {"state": HOSTILE}
    file = factory.file(reply(picture((200, 40, 40))))
    factory.job(word, ident="evil-word")
    factory.job({"state": "error", "code": HOSTILE, "why": HOSTILE}, ident="evil-error")
    factory.job({**DONE, "files": {HOSTILE: file}, "credits": 1}, ident="evil-name")
    factory.job(reply({"message": HOSTILE}, 500), ident="evil-miss")
    factory.job(DONE, ident="price")
    long = "a very long prompt about an owl of carved wood " * 12
    book = opened(
        "desk",
        SETUP.format(root=factory.root),
        f"w = nbh.watch(nbh.Task('mill', 'single', label={long!r}), interval=0.2)",
        "s = nbh.watch('mill:stopped')",
        f"""
tasks = [nbh.Task('mill', f'batch-{{n}}', label=f'owl number {{n}}') for n in range({BATCH})]
b = nbh.watch(tasks, interval=0.2)""",
        f"""
evil = {HOSTILE!r}
e = [nbh.watch(nbh.Task('mill', f'evil-{{n}}', label=evil, params={{'prompt': evil}}), interval=0.2) for n in
     ('word', 'error', 'name', 'miss')]""",
        "e[2].gallery(row='prompt')",
        "from IPython.display import HTML\nHTML('control: $x^2$')",
        "m = nbh.watch(nbh.Task('mill', 'price', label='costs $5 or $6, $x^2$'))",
        "import time\nfor _ in range(15): time.sleep(0.1)",
        "for one in e: one.stop()",
    )
    book.js(LOG)
    book.run(0, 1, 2)
    return SimpleNamespace(book=book)


def test_queue_progress_time_left_and_credits(desk, factory):
    """The card tells the place in the queue and the time left, then progress and credits, as the server does."""
    book = desk.book
    book.says(1, "queued")
    book.says(1, "3 ahead in the queue")
    book.says(1, "left")
    bar = book.cell(1).locator("[role=progressbar]")
    assert bar.get_attribute("aria-valuenow") is None
    assert "queued" in bar.get_attribute("aria-valuetext")
    assert "carved wood" in bar.get_attribute("aria-label")

    factory.jobs["single"][:] = [{"state": "working", "percent": 42, "left": 12, "credits": 2.5}]
    book.says(1, "42 %")

    assert [bar.get_attribute(f"aria-value{k}") for k in ("now", "min", "max")] == ["42", "0", "100"]
    assert "running, 42 %" in bar.get_attribute("aria-valuetext")
    assert "2.5 credits" in book.text(1)
    assert "mill:single" in book.text(1)
    assert "kept in nbhelper-data" in book.text(1)


def test_long_words_are_cut_and_whole_in_the_title(desk):
    """A prompt of many lines takes one, and its title has the rest."""
    name = "document.querySelectorAll('.jp-Cell')[1].querySelector('.name')"
    height, title = desk.book.js(f"(n => [n.getBoundingClientRect().height, n.title])({name})")

    assert height < LINE
    assert len(title) > 150


def test_reduced_motion_and_digits_of_one_width(desk, factory):
    """The bar without a value does not move for those who asked for it; digits are tabular."""
    book = desk.book
    book.says(2, "running")
    moving = "getComputedStyle(document.querySelector('.nbh .bar.open > i')).animationName"

    assert book.js(moving) == "nbh"
    book.page.emulate_media(reduced_motion="reduce")
    assert book.js(moving) == "none"
    book.page.emulate_media(reduced_motion="no-preference")
    assert book.js("getComputedStyle(document.querySelector('.nbh .line')).fontVariantNumeric") == "tabular-nums"


def test_stop_is_a_click(desk):
    """With an idle kernel a click on Stop ends the watching, and the card says that the task goes on."""
    book = desk.book
    button = book.cell(2).get_by_role("button", name="Stop")
    assert "The task goes on and may be billed" in button.get_attribute("title")
    card = book.cell(2).locator(".nbh").bounding_box()
    place = button.bounding_box()
    assert card["x"] + card["width"] - place["x"] - place["width"] < 20
    assert place["y"] - card["y"] < 20

    button.click()
    book.says(2, "stopped watching")
    book.frozen(2)

    assert "The task goes on and may be billed" in book.text(2)
    assert book.cell(2).get_by_role("button", name="Stop").count() == 0


@pytest.fixture(scope="module")
def batch(desk):
    """The notebook with its batch at work: 32 of 34 are over, the pictures are there."""
    book = desk.book
    book.run(3)
    book.says(3, f"32 of {BATCH} over")
    book.until("document.querySelectorAll('.jp-Cell')[3].querySelectorAll('.nbh img').length === 24", 30)
    return book


def test_a_batch_is_one_card(batch):
    """Overall bar, counts, 20 rows with running first and failures among them, 24 pictures, what is left is counted."""
    book = batch
    cell = book.cell(3)
    rows = cell.locator("table.rows tr")
    bar = cell.locator("[role=progressbar]")

    assert rows.count() == 20
    assert [("running" in rows.nth(i).inner_text(), "failed" in rows.nth(i).inner_text()) for i in range(6)] == [
        *[(True, False)] * 2,
        *[(False, True)] * 3,
        (False, False),
    ]
    assert "content refused" in rows.nth(2).inner_text()
    assert "mill:batch-5" in rows.nth(0).locator("td").first.get_attribute("title")
    assert f"and {BATCH - 20} more" in book.text(3)
    assert "and 5 more files on disk" in book.text(3)
    for words in ("2 running", "29 succeeded", "3 failed", "58 credits", "29 files"):
        assert words in book.text(3)
    assert [bar.get_attribute(f"aria-value{k}") for k in ("now", "max", "text")] == [
        "32",
        str(BATCH),
        f"32 of {BATCH} over",
    ]


def test_a_click_enlarges(batch):
    """A thumbnail grows by a click and by the keyboard, without a script."""
    image = batch.cell(3).locator(".pic img").first
    small = image.bounding_box()

    image.click()
    assert image.bounding_box()["height"] > small["height"] * 1.5
    batch.cell(3).locator(".pic summary").first.press("Enter")
    assert image.bounding_box()["height"] == small["height"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_legible_in_both_themes_at_three_widths(batch, theme, width, tmp_path):
    """Every text has a contrast of 4.5 or more with what lies behind it, and nothing sticks out of the card."""
    book = batch
    book.page.set_viewport_size({"width": width, "height": 1500})
    change_theme(book, theme)
    found = book.js(CONTRAST)
    book.picture(tmp_path / "cards.png")
    worst = min(found)
    print(f"{theme}, {width} px: {worst[0]:.2f} at {worst[1]!r}, {len(found)} texts")

    assert len(found) > 60
    assert worst[0] >= 4.5, worst
    assert book.js("[...document.querySelectorAll('.nbh')].every(n => n.scrollWidth <= n.clientWidth + 1)")


@pytest.fixture(scope="module")
def evil(desk):
    """The notebook with its hostile words on the cards and in the gallery."""
    book = desk.book
    book.page.set_viewport_size({"width": 1400, "height": 1500})
    book.run(4)
    book.until("document.querySelectorAll('.jp-Cell')[4].querySelectorAll('.nbh').length === 4")
    book.until("document.querySelectorAll('.jp-Cell')[4].querySelectorAll('.nbh img').length === 1")
    book.says(4, "HTTP 500")
    book.says(4, "unknown state")
    book.run(5)
    book.until("document.querySelectorAll('.jp-Cell')[5].querySelectorAll('.nbhg img').length === 1")
    return book


def test_hostile_words_stay_words(evil):
    """Label, prompt, state, error, message and names that are markup become text: no element, no script, no style."""
    book = evil
    check_hostile(book.page)
    assert book.text(4).count("<script>window.hit=2</script>") >= 4
    assert "<script>window.hit=2</" in book.text(5)
    assert book.js("getComputedStyle(document.querySelector('.nbh')).display") == "block"


def check_hostile(page):
    assert page.evaluate("window.hit") is None
    assert page.locator(".nbh script, .nbh [onerror], .nbhg script, .nbhg [onerror], .nbh img[src=x]").count() == 0


def test_a_price_is_not_a_formula(desk):
    """Dollar signs in a prompt are not typeset as mathematics, where the front end typesets HTML."""
    book = desk.book
    book.run(6)
    book.until("document.querySelectorAll('.jp-Cell')[6].querySelector('mjx-container')", 30)
    book.run(7)
    book.frozen(7)

    assert "costs $5 or $6, $x^2$" in book.text(7)
    assert book.cell(7).locator("mjx-container").count() == 0


def steps(cards):
    """By how many pixels a card's text grew or shrank from one drawing to the next."""
    return [abs(b["height"] - a["height"]) for a, b in pairwise(cards) if a["width"] == b["width"] > 0]


def test_the_end_is_spoken_once_and_the_height_is_steady(batch, factory):
    """One live region per card, silent until the end; between two drawings the card's text moves by a line at most."""
    book = batch
    assert book.cell(1).locator("[role=status], [aria-live], [role=alert]").count() == 1
    factory.jobs["single"][:] = [{**DONE, "credits": 4}]
    for n in (5, 20):
        factory.jobs[f"batch-{n}"][:] = [{"state": "error", "code": "E8", "why": "no"}]
    book.start(8)
    book.frozen(1)
    book.frozen(3)
    seen = book.js("window.seen")

    for index, end in ((1, "succeeded"), (3, f"All {BATCH} tasks are over: 29 succeeded, 5 failed")):
        cards = [s["cards"][index] for s in seen if s["cards"][index] and s["cards"][index]["live"]]
        said = list(dict.fromkeys(c["said"] for c in cards))
        assert len(said) == 2
        assert said[0] == ""
        assert end in said[1]
        # Other widths were tried meanwhile: only steps within one width count.
        assert max(steps(cards)) <= LINE


def test_hostile_words_in_the_saved_notebook(evil, alone, tmp_path):
    """Frozen, saved and converted to HTML, hostile words are still words."""
    book = evil
    book.run(9)
    book.frozen(4)
    book.save()
    alone.goto(convert(book.path, HTMLExporter, tmp_path).as_uri(), wait_until="domcontentloaded")

    check_hostile(alone)
    assert alone.locator(".nbh").count() >= 4
    assert "<script>window.hit=2</script>" in alone.inner_text("body")
    assert book.page.evaluate("window.hit") is None


# A page that is reloaded, another front end


def test_a_page_reloaded_meanwhile_shows_the_end(opened, factory):
    """Saved and reloaded while the task runs, the page still comes to the final state and the picture."""
    factory.job(WORKING, ident="reloaded")
    book = opened("reloaded", SETUP.format(root=factory.root), "w = nbh.watch('mill:reloaded', interval=0.2)")
    book.run(0, 1)
    book.says(1, "running")
    saved = book.save()
    book.page.reload()
    book.ready()
    book.says(1, "running", 30)
    factory.jobs["reloaded"][:] = [{**DONE, "files": [factory.file(reply(picture()))]}]
    book.says(1, "succeeded")
    book.until("document.querySelector('.nbh img')?.naturalWidth > 0")

    output = saved["cells"][1]["outputs"][0]["data"]
    assert "a live card is not kept in the file until it is over" in "".join(output["text/plain"])
    assert "a live card is not kept" in "".join(output["text/html"])
    assert book.cell(1).get_by_role("button", name="Stop").count() == 0


def test_notebook_7(opened, factory):
    """In Notebook 7 the card is live beside a blocking cell, stops by a click, freezes, and saves as HTML and text."""
    factory.job({"state": "working", "percent": 10}, ident="seven")
    factory.job(WORKING, ident="seven-stop")
    book = opened(
        "seven",
        SETUP.format(root=factory.root),
        "w = nbh.watch('mill:seven', interval=0.2)\nw",
        "import time\nfor _ in range(20): time.sleep(0.1)",
        "s = nbh.watch('mill:seven-stop', interval=0.2)",
        app="notebook",
    )
    book.js(LOG)
    book.run(0, 1)
    book.says(1, "10 %")
    book.run(2)
    busy = [s["cards"][1]["text"] for s in book.js("window.seen") if s["running"] == 2]
    assert distinct(busy) >= 2
    book.run(3)
    book.says(3, "running")
    book.cell(3).get_by_role("button", name="Stop").click()
    book.says(3, "stopped watching")
    factory.jobs["seven"][:] = [{**DONE, "files": [factory.file(reply(picture()))]}]
    book.frozen(1)
    book.frozen(3)
    file = book.save()

    assert loaded(book.page)
    outputs = [o for cell in file["cells"] for o in cell["outputs"]]
    assert [set(o["data"]) for o in outputs] == [{"text/html", "text/plain"}] * 2
    assert "widgets" not in file["metadata"]
    assert min(book.js(CONTRAST))[0] >= 4.5


def test_a_gallery_on_its_own(factory, isolated, browser, monkeypatch):
    """A saved gallery is one file that needs nothing else: its pictures load, a click enlarges, words stay words."""
    monkeypatch.setenv("MILL_API_KEY", KEY)
    nbh.register(provider(factory.root))
    factory.job({**DONE, "files": [factory.file(reply(picture(size=(900, 600))))]}, ident="hung")
    task = nbh.Task("mill", "hung", label=HOSTILE, params={"prompt": HOSTILE})
    path = nbh.watch(task, display=False).gallery(row="prompt", size=128).save(Path("gallery.html"))
    page = browser.new_page()
    try:
        page.goto(path.as_uri())
        page.wait_for_function("() => document.querySelector('.nbhg img')?.naturalWidth > 0")
        image = page.locator(".nbhg img")
        small = image.bounding_box()["width"]
        image.click()

        assert small == 128
        assert image.bounding_box()["width"] > 1.5 * small
        check_hostile(page)
    finally:
        page.close()
