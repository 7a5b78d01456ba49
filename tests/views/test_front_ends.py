"""The card from the first look to the saved file, in JupyterLab and Notebook 7 in headless Chromium."""

import json
from types import SimpleNamespace

import pytest
from front_end import (
    CONTRAST,
    LINE,
    LOG,
    SETUP,
    THEMES,
    Book,
    change_theme,
    convert,
    distinct,
    loaded,
    picture,
    steps,
)
from nbconvert import HTMLExporter, MarkdownExporter
from support.mill import DONE, WORKING
from support.raw_server import reply

pytestmark = pytest.mark.browser

# One task, from the first look to the file


@pytest.fixture(scope="module")
def story(opened):
    """A task with two bad replies, watched beside a cell that blocks and one that awaits, then with an idle kernel."""
    book = opened(
        "story",
        """
import nbhelper as nbh
emu = nbh.Emulator(speed=10)
w = nbh.watch(nbh.submit("tripo", {"type": "text_to_model", "prompt": "an owl emu:server-error=2 emu:real-seconds=13"}))
w""",
        "import time\nfor _ in range(22): time.sleep(0.1)",
        "import asyncio\nawait asyncio.sleep(2.2)",
        "w",
        "w",
    )
    book.js(LOG)
    book.run(0)
    run = SimpleNamespace(book=book)
    run.outputs = [book.js("app.shell.currentWidget.content.widgets[0].model.outputs.length")]
    book.run(1, 2, 3)
    run.idle_from = book.js("window.seen.length")
    book.frozen(0, 40)
    book.frozen(3)
    run.seen = book.js("window.seen")
    book.run(4)
    run.texts = [book.text(i) for i in (0, 3, 4)]
    run.outputs += [book.js("app.shell.currentWidget.content.widgets[a].model.outputs.length", i) for i in (0, 3, 4)]
    run.link = book.cell(0).locator("figcaption a").first.get_attribute("href")
    run.file = book.save()
    run.contrast = []
    for theme in (THEMES[1], THEMES[0]):
        change_theme(book, theme)
        run.contrast.append(min(book.js(CONTRAST)))
    return run


def test_the_cell_returns_at_once_with_one_card(story):
    """The cell is over long before the task; as its last expression the watch is not drawn twice."""
    assert any(s["running"] == 1 and s["cards"][0] and s["cards"][0]["live"] for s in story.seen)
    assert story.outputs == [1, 1, 1, 1]


@pytest.mark.parametrize(("cell", "least"), [(1, 2), (2, 2), (-1, 3)], ids=["blocking", "awaiting", "idle"])
def test_the_card_goes_on(story, cell, least):
    """While another cell blocks, while one awaits, and while the kernel is idle, the card is drawn each second."""
    seen = story.seen[story.idle_from :] if cell < 0 else story.seen
    texts = [s["cards"][0]["text"] for s in seen if s["running"] == cell and s["cards"][0] and s["cards"][0]["live"]]

    assert distinct(texts) >= least


def test_the_last_trouble_is_shown(story):
    """Two bad replies: the code, how many, and when the next look is; gone with the first good reply."""
    texts = [s["cards"][0]["text"] for s in story.seen if s["cards"][0]]

    assert any("HTTP 502" in t and "trying again in" in t and "2 misses" in t for t in texts), set(texts)
    assert any("running" in t and "next look in" in t and "HTTP 502" not in t for t in texts), set(texts)


def test_a_card_drawn_again_is_live_too(story):
    """`w` in a later cell is the same card, live while the task runs, and frozen with it."""
    again = [s["cards"][3]["text"] for s in story.seen if s["cards"][3] and s["cards"][3]["live"]]

    assert distinct(again) >= 3
    assert story.texts[0] == story.texts[1] == story.texts[2]


def test_the_frozen_card_has_all_facts(story):
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
        assert ": succeeded" in "".join(output["data"]["text/plain"])


def test_the_frozen_card_is_legible_and_steady(story):
    """Frozen, links included, every text has a contrast of 4.5 in both themes; live, it moved by a line at most."""
    cards = [s["cards"][0] for s in story.seen if s["cards"][0] and s["cards"][0]["live"]]

    assert min(story.contrast)[0] >= 4.5
    assert max(steps(cards)) <= LINE


def test_the_link_leads_to_the_file(story):
    """The link below the picture is relative in the file, and Jupyter serves what it names."""
    html = "".join(story.file["cells"][0]["outputs"][0]["data"]["text/html"])
    response = story.book.page.request.get(story.link)

    assert 'href="nbhelper-emulated/' in html
    assert response.status == 200
    assert len(response.body()) > 1000


@pytest.fixture(scope="module")
def reopened(story, jupyter, browser):
    """A new page with the saved notebook in it, and no kernel of its own."""
    page = browser.new_page()
    page.set_viewport_size({"width": 1400, "height": 1500})
    yield Book(jupyter, page, story.book.path).open(kernel=False)
    page.close()


def check_reopened(book):
    """Check that the card has its picture and numbers, and that no widget is looked for."""
    assert loaded(book.page)
    body, text = book.page.inner_text("body"), book.text(0)
    assert "model not found" not in body
    assert "Loading widget" not in body
    for words in ("succeeded", "20 credits", "2 files"):
        assert words in text


def test_reopened_it_shows_picture_and_numbers(reopened):
    """In the saved notebook, opened anew, the card has its picture and numbers."""
    check_reopened(reopened)


def test_without_kernel_or_trust_it_shows_picture_and_numbers(reopened):
    """Where the kernel is unknown and the notebook not trusted, the card has its picture and numbers too."""
    content = json.loads(reopened.path.read_text())
    content["metadata"]["kernelspec"] = {"name": "absent", "display_name": "Absent"}
    moved = reopened.path.with_name("moved.ipynb")
    moved.write_text(json.dumps(content))
    reopened.js("app.commands.execute('application:close')")
    reopened.until("!document.querySelector('.jp-Notebook')")
    folder = reopened.relative.rpartition("/")[0]
    reopened.js("app.commands.execute('docmanager:open', {path: a}).then(() => true)", f"{folder}/{moved.name}")
    reopened.ready(kernel=False)
    reopened.page.get_by_role("button", name="No Kernel", exact=True).click()

    assert reopened.js("app.shell.currentWidget.context.path").endswith("moved.ipynb")
    check_reopened(reopened)


def test_converted_to_html_the_picture_is_there(story, offline_page, tmp_path):
    """Nbconvert's page shows the picture and the numbers without any kernel or network."""
    offline_page.goto(convert(story.book.path, HTMLExporter, tmp_path).as_uri(), wait_until="domcontentloaded")

    assert loaded(offline_page)
    assert "20 credits" in offline_page.inner_text(".nbh-card >> nth=0")


def test_converted_to_markdown_it_says_the_end(story, tmp_path):
    """Nbconvert's Markdown has the final state and the picture."""
    text = convert(story.book.path, MarkdownExporter, tmp_path).read_text()

    assert "succeeded" in text
    assert 'src="data:image/' in text


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
    book.until("document.querySelector('.nbh-card img')?.naturalWidth > 0")

    output = saved["cells"][1]["outputs"][0]["data"]
    assert "a live card is not kept in the file until it is over" in "".join(output["text/plain"])
    assert "a live card is not kept" in "".join(output["text/html"])
    assert book.cell(1).get_by_role("button", name="Stop").count() == 0


@pytest.mark.front_ends
def test_notebook_7(opened, factory):
    """In Notebook 7 the card is live beside a blocking cell, stops by a click, freezes, and saves as HTML and text."""
    factory.job({"state": "working", "percent": 10}, ident="seven")
    factory.job(WORKING, ident="seven-stop")
    book = opened(
        "seven",
        SETUP.format(root=factory.root),
        "w = nbh.watch('mill:seven', interval=0.2)\nw",
        "import time\nfor _ in range(30): time.sleep(0.1)",
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
