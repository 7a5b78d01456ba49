"""Many cards in one notebook in JupyterLab, each change made by the test: batches, pictures, Stop, hostile words."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from front_end import CONTRAST, LINE, LOG, SETUP, THEMES, change_theme, convert, picture, steps
from nbconvert import HTMLExporter
from support.mill import DONE, KEY, WORKING, provider
from support.raw_server import reply

import nbhelper as nbh

pytestmark = pytest.mark.browser

HOSTILE = (
    """<img src=x onerror="window.hit=1">"><script>window.hit=2</script><style>.nbh-card{display:none}</style>'`"""
)


PAYLOADS = [
    around.format(inside)
    for inside in (
        "<script>window.hit=3</script>",
        "<img src=x onerror=window.hit=3>",
        "<svg onload=window.hit=3>",
        "<iframe srcdoc='<script>parent.hit=3</script>'>",
        "<body onload=window.hit=3>",
        "<details open ontoggle=window.hit=3>",
        "<input autofocus onfocus=window.hit=3>",
        "<a href=javascript:window.hit=3>x</a>",
        "<video><source onerror=window.hit=3>",
        "<math><mi xlink:href=javascript:window.hit=3>",
    )
    for around in ("{}", '">{}', "'>{}", "</td></tr></table></div>{}", "<!-- --!>{}")
]
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
    for n, payload in enumerate(PAYLOADS):
        factory.job({"state": "error", "code": payload, "why": payload}, ident=f"payload-{n}")
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
        f"""
payloads = {PAYLOADS!r}
p = nbh.watch([nbh.Task('mill', f'payload-{{n}}', label=text) for n, text in enumerate(payloads)], interval=0.2)""",
        "p.gallery()",
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
    name = "document.querySelectorAll('.jp-Cell')[1].querySelector('.nbh-name')"
    height, title = desk.book.js(f"(n => [n.getBoundingClientRect().height, n.title])({name})")

    assert height < LINE
    assert len(title) > 150


def test_reduced_motion_and_digits_of_one_width(desk, factory):
    """The bar without a value does not move for those who asked for it; digits are tabular."""
    book = desk.book
    book.says(2, "running")
    moving = "getComputedStyle(document.querySelector('.nbh-card .nbh-bar.nbh-open > i')).animationName"

    assert book.js(moving) == "nbh-open-bar"
    book.page.emulate_media(reduced_motion="reduce")
    assert book.js(moving) == "none"
    book.page.emulate_media(reduced_motion="no-preference")
    assert book.js("getComputedStyle(document.querySelector('.nbh-line')).fontVariantNumeric") == "tabular-nums"


def test_a_click_on_stop_ends_the_watching(desk):
    """With an idle kernel a click on Stop ends the watching, and the card says that the task goes on."""
    book = desk.book
    button = book.cell(2).get_by_role("button", name="Stop")
    assert "The task goes on and may be billed" in button.get_attribute("title")
    card = book.cell(2).locator(".nbh-card").bounding_box()
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
    book.until("document.querySelectorAll('.jp-Cell')[3].querySelectorAll('.nbh-card img').length === 24", 30)
    return book


def test_a_batch_is_one_card(batch):
    """Overall bar, counts, 20 rows with running first and failures among them, 24 pictures, what is left is counted."""
    book = batch
    cell = book.cell(3)
    rows = cell.locator("table.nbh-rows tr")
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


def test_a_click_enlarges_a_thumbnail(batch):
    """A thumbnail grows by a click and by the keyboard, without a script."""
    image = batch.cell(3).locator(".nbh-pic img").first
    small = image.bounding_box()

    image.click()
    assert image.bounding_box()["height"] > small["height"] * 1.5
    batch.cell(3).locator(".nbh-pic summary").first.press("Enter")
    assert image.bounding_box()["height"] == small["height"]


@pytest.mark.parametrize("theme", THEMES)
def test_cards_are_legible_in_both_themes(batch, theme):
    """Every text of a crowded desk has a contrast of 4.5 with what lies behind it, and nothing sticks out."""
    batch.page.set_viewport_size({"width": 480, "height": 1500})
    change_theme(batch, theme)
    contrasts = batch.js(CONTRAST)

    assert len(contrasts) > 60
    assert min(contrasts)[0] >= 4.5, min(contrasts)
    assert batch.js("[...document.querySelectorAll('.nbh-card')].every(n => n.scrollWidth <= n.clientWidth + 1)")


@pytest.fixture(scope="module")
def hostile_book(desk):
    """The notebook with its hostile words on the cards and in the gallery."""
    book = desk.book
    book.page.set_viewport_size({"width": 1400, "height": 1500})
    book.run(4)
    book.until("document.querySelectorAll('.jp-Cell')[4].querySelectorAll('.nbh-card').length === 4")
    book.until("document.querySelectorAll('.jp-Cell')[4].querySelectorAll('.nbh-card img').length === 1")
    book.says(4, "HTTP 500")
    book.says(4, "unknown state")
    book.run(5)
    book.until("document.querySelectorAll('.jp-Cell')[5].querySelectorAll('.nbh-gallery img').length === 1")
    return book


def test_hostile_words_stay_words(hostile_book):
    """Label, prompt, state, error, message and names that are markup become text: no element, no script, no style."""
    book = hostile_book
    check_hostile(book.page)
    assert book.text(4).count("<script>window.hit=2</script>") >= 4
    assert "<script>window.hit=2</" in book.text(5)
    assert book.js("getComputedStyle(document.querySelector('.nbh-card')).display") == "block"


def test_a_price_is_not_a_formula(desk):
    """Dollar signs in a prompt are not typeset as mathematics, where the front end typesets HTML."""
    book = desk.book
    book.run(6)
    book.until("document.querySelectorAll('.jp-Cell')[6].querySelector('mjx-container')", 30)
    book.run(7)
    book.frozen(7)

    assert "costs $5 or $6, $x^2$" in book.text(7)
    assert book.cell(7).locator("mjx-container").count() == 0


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
        spoken = list(dict.fromkeys(c["spoken"] for c in cards))
        assert len(spoken) == 2
        assert spoken[0] == ""
        assert end in spoken[1]
        # Other widths were tried meanwhile: only steps within one width count.
        assert max(steps(cards)) <= LINE


def test_hostile_words_in_the_saved_notebook(hostile_book, offline_page, tmp_path):
    """Frozen, saved and converted to HTML, hostile words are still words."""
    book = hostile_book
    book.run(9)
    book.frozen(4)
    book.save()
    offline_page.goto(convert(book.path, HTMLExporter, tmp_path).as_uri(), wait_until="domcontentloaded")

    check_hostile(offline_page)
    assert offline_page.locator(".nbh-card").count() >= 4
    assert "<script>window.hit=2</script>" in offline_page.inner_text("body")
    assert book.page.evaluate("window.hit") is None


def test_fifty_payloads_add_no_element(desk):
    """On a card and in a gallery, fifty ways to smuggle a script in are fifty texts."""
    book = desk.book
    book.run(10, 11)
    book.frozen(10)
    book.until("document.querySelectorAll('.jp-Cell')[11].querySelectorAll('.nbh-gallery .nbh-none').length === 50")

    drawn = "document.querySelectorAll('.jp-Cell')[a].querySelectorAll('.nbh-card *, .nbh-gallery *')"
    tags = f"[...{drawn}].map(n => n.localName)"
    assert set(book.js(tags, 10)) == {"div", "span", "i", "table", "tbody", "tr", "td"}
    assert set(book.js(tags, 11)) == {"div", "span", "b"}
    assert book.js("window.hit") is None
    assert sum(payload in book.text(11) for payload in PAYLOADS) == len(PAYLOADS)


def check_hostile(page):
    assert page.evaluate("window.hit") is None
    assert page.locator(":is(.nbh-card, .nbh-gallery) :is(script, [onerror], img[src=x])").count() == 0


def test_a_gallery_on_its_own(factory, isolated, browser, monkeypatch):
    """A saved gallery is one file that needs nothing else: its pictures load, a click enlarges, words stay words."""
    monkeypatch.setenv("MILL_API_KEY", KEY)
    nbh.register(provider(factory.root))
    factory.job({**DONE, "files": [factory.file(reply(picture(size=(900, 600))))]}, ident="pictured")
    task = nbh.Task("mill", "pictured", label=HOSTILE, params={"prompt": HOSTILE})
    path = nbh.watch(task, display=False).gallery(row="prompt", size=128).save(Path("gallery.html"))
    page = browser.new_page()
    try:
        page.goto(path.as_uri())
        page.wait_for_function("() => document.querySelector('.nbh-gallery img')?.naturalWidth > 0")
        image = page.locator(".nbh-gallery img")
        small = image.bounding_box()["width"]
        image.click()

        assert small == 128
        assert image.bounding_box()["width"] > 1.5 * small
        check_hostile(page)
    finally:
        page.close()
