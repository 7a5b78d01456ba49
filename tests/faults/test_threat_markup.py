"""Two hundred texts that try to become markup, in every text of every provider: shown anywhere, they stay text."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from front_end import ARGUMENTS, chromium
from nbconvert import HTMLExporter
from support.markup import PAYLOADS, ParsedHtml
from support.provider_samples import NAMES, changed, corpus, places
from support.raw_server import RawServer, always, reply

import nbhelper as nbh
from nbhelper._views.card import Scene, card, final_words, live_below, live_body
from nbhelper._views.history_line import history_line
from nbhelper._views.preview import Thumbnail
from nbhelper._views.words import describe_all
from nbhelper.testing import read
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Output, Saved, SaveState, Snapshot, State, TaskError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BASE = Path("/base")
GREY = Thumbnail("image/jpeg", b"\xff\xd8\xff", 384, 256, (1536, 1024))
PLAIN = ("words", "many words " * 120)
"""What harmless texts, short and long, are drawn as is all that may be drawn."""
KEPT = {"status", "state", "task_status", "taskStatus", "code", "error_code", "status_code", "successFlag", "failCode"}


def grown(ident, *seen, label=None, params=None, provider="kie"):
    history = nbh.History(nbh.Task(provider, ident, label=label, params=params or {}), uid=ident[:40])
    for at, item in enumerate(seen):
        history = history.add(item, NOW - timedelta(seconds=len(seen) - at))
    return history


def put(body, text):
    """A reply with a text in place of each of its texts, except those that say state and code, and links."""
    for path in list(places(body)):
        node = body
        for key in path:
            node = node[key] if isinstance(node, list | dict) else None
        if not isinstance(node, str) or path[-1] in KEPT:
            continue
        if "http" in node:
            link = f"https://cdn.example/{text}/a.png?{text}"
            body = changed(body, path, json.dumps({text: [link]}) if node.startswith("{") else link)
        else:
            body = changed(body, path, text)
    return body


def replies(name, text):
    """What one provider's ordinary replies say with a text in every field."""
    cases = [c for c in corpus(name)["cases"] if c.get("represents")]
    seen = [read(name, put(case["body"], text), case.get("http", 200)) for case in cases]
    return [grown(f"{name}-{n}", item, provider=name) for n, item in enumerate(seen)]


def of_every_kind(text):
    """Histories with a text in every field that a history has."""
    name = f"out {text}"
    outputs = (Output(name=name, url=f"https://cdn.example/{text}", kind="image"),)
    file = os.fsdecode(text[:60].replace("\0", "").replace("/", "_").encode("utf-8", "replace") + b"\xff.png")
    saved = Saved(name=name, file=f"{BASE}/data/{file}", kind="image", n_bytes=9)
    body = json.dumps({text: text})
    done = Snapshot(state=State.SUCCEEDED, word=text, outputs=outputs, model=text, trace=text, reply=body)
    trouble = Miss(kind=MissKind.SERVER, status=500, code=text, message=text, excerpt=text, trace=text)
    ident = "".join(c for c in text if c.isprintable() and not "\ud800" <= c <= "\udfff")[:80].strip() or "x"
    about = {"label": text, "params": {"prompt": text, text: {text: [text]}}}
    return [
        grown(ident, Snapshot(state=State.QUEUED, word=text, queue_position=3, model=text), **about),
        grown("b", Snapshot(state=State.RUNNING, word=text, progress=0.4), trouble, **about),
        grown("c", Snapshot(state=State.UNKNOWN, word=text), **about),
        grown("d", Snapshot(state=State.FAILED, word=text, error=TaskError(text, text)), **about),
        grown("e", trouble, Mark(word=MarkWord.LOST, note=text), **about),
        grown("f", done, saved, **about),
        grown("g", done, Saved(name=name, state=SaveState.FAILED, message=text), **about),
        grown("h", done, Saved(name=name, file=f"{BASE}/data/v.mp4", kind="video", n_bytes=9, message=text), **about),
        grown("i", done, Saved(name=name, file=f"{BASE}/data/m.glb", kind="model", n_bytes=9), **about),
    ]


def drawings(histories, text, alone=None):
    """Every way to draw them as HTML, live and frozen, together, and alone all or some of them."""
    thumbs = {Path(s.file): GREY for h in histories for s in h.saves.values() if s.file and s.kind == "image"}
    common = {"now": NOW, "base": BASE, "folder": text, "thumbnails": thumbs, "notes": (text,)}
    live, frozen = Scene(live=True, **common), Scene(live=False, **common)
    for some in ([h] for h in (histories if alone is None else alone)):
        yield from (card(some, frozen), live_body(some, live), live_below(some, live), history_line(some[0]))
    yield from (card(histories, frozen), live_body(histories, live), live_below(histories, live))


def allowed(draw):
    """The elements and attributes that harmless texts are drawn with."""
    made = [ParsedHtml(markup) for text in PLAIN for markup in draw(text)]
    return {part for m in made for part in m.parts}


def is_only_text(markup, known):
    """Nothing but known elements with known attributes, and no address but pictures of ours and files beside."""
    made = ParsedHtml(markup)
    strange = [part for part in made.parts if part not in known]
    away = [
        (tag, name, value[:80])
        for tag, name, value in made.values
        if name in {"src", "href", "poster", "action", "data", "srcset", "formaction"}
        and not value.startswith(("data:image/", "data:video/", "data/", "../", "./"))
    ]
    assert not strange
    assert not away


def test_threat_corpus():
    """There are two hundred different texts, and each that can run says so under a number of its own."""
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 200
    assert sum("window.hit" in p or "parent.hit" in p for p in PAYLOADS) > 150


@pytest.mark.parametrize("name", NAMES)
def test_threat_markup_in_any_reply(name):
    """In every text of every reply of a provider: the card has not one more element or attribute."""
    known = allowed(lambda text: drawings([*replies(name, text), *of_every_kind(text)], text))
    for payload in PAYLOADS:
        for history in replies(name, payload):
            is_only_text(card([history], Scene(now=NOW, base=BASE, live=False)), known)


def test_threat_markup_in_any_field_of_a_history():
    """In id, label, parameters, words, codes, notes, names and paths: drawn as text, and said as text.

    Every text is drawn in a card of all kinds of histories, and in every third of the cards of one.
    """
    known = allowed(lambda text: drawings(of_every_kind(text), text))
    for n, payload in enumerate(PAYLOADS):
        histories = of_every_kind(payload)
        for markup in drawings(histories, payload, histories[n % 3 :: 3]):
            is_only_text(markup, known)
        words = f"{describe_all(histories, NOW)}{final_words(histories)}{histories!r}"
        assert "\x1b" not in words
        assert "\x00" not in words


@pytest.fixture
def gallery(tmp_path):
    """The gallery of all texts as label, prompt and reason, in a grid by two of them, or of one harmless text."""

    def make(texts):
        found = [
            grown(
                f"t{n}", Snapshot(state=State.FAILED, error=TaskError(t, t)), label=t, params={"prompt": t, "size": "1"}
            )
            for n, t in enumerate(texts)
        ]
        frame = nbh.to_frame(found)
        return [nbh.gallery(frame)._repr_html_(), nbh.gallery(frame, row="prompt", col="size")._repr_html_()]

    return make


def test_threat_markup_in_the_gallery(gallery):
    """The gallery's captions, heads and reasons are text."""
    known = {part for markup in gallery(PLAIN) for part in ParsedHtml(markup).parts}
    for markup in gallery(PAYLOADS):
        is_only_text(markup, known)


def notebook(markups, says):
    """A saved notebook whose outputs are these cards, as HTML and as text."""
    cell = nbformat.v4.new_code_cell("w")
    cell.outputs = [
        nbformat.v4.new_output("display_data", data={"text/html": m, "text/plain": says}) for m in markups
    ] + [nbformat.v4.new_output("display_data", data={"text/plain": says})]
    return nbformat.v4.new_notebook(cells=[cell])


def everything(texts):
    return [
        m
        for t in texts
        for m in (
            card(of_every_kind(t), Scene(now=NOW, base=BASE, live=False)),
            live_body(of_every_kind(t), Scene(now=NOW)),
        )
    ]


def test_threat_markup_in_nbconvert(gallery, tmp_path):
    """Converted to HTML, a notebook with all of them has no element or attribute that a harmless one has not."""
    exporter = HTMLExporter()
    plain, _ = exporter.from_notebook_node(
        notebook(everything(PLAIN) + gallery(PLAIN), describe_all(of_every_kind("words"), NOW))
    )
    words = "\n".join(describe_all(of_every_kind(p), NOW) for p in PAYLOADS)
    evil, _ = exporter.from_notebook_node(notebook(everything(PAYLOADS[::5]) + gallery(PAYLOADS), words))

    assert set(ParsedHtml(evil).parts) <= set(ParsedHtml(plain).parts)


CENSUS = """() => {
  const found = new Set();
  for (const node of document.querySelectorAll('main *'))
    found.add(node.localName + ' ' + [...node.attributes].map(a => a.name).sort().join(' '));
  return [...found].sort();
}"""


@pytest.mark.browser
def test_threat_markup_in_a_browser(gallery, tmp_path, bound):
    """A browser makes no element or attribute of them, runs nothing, asks for no address and opens no dialog."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium on the path")
    pages = {"plain": everything(PLAIN) + gallery(PLAIN), "evil": everything(PAYLOADS) + gallery(PAYLOADS)}
    faults, requested, census = [], [], {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        page = browser.new_page()
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        for name, markups in pages.items():
            body = f"<!doctype html><meta charset=utf-8><main>{''.join(markups)}</main>".encode("utf-8", "replace")
            with RawServer(always(reply(body, headers={"content-type": "text/html; charset=utf-8"}))) as server:
                page.goto(f"{server.root}/{name}", wait_until="load")
                # A person opens what can be opened and moves over what can be moved over.
                page.evaluate("() => document.querySelectorAll('main details').forEach(d => { d.open = true })")
                page.evaluate(
                    "() => document.querySelectorAll('main *').forEach(n => ['mouseover', 'focus', 'animationstart']"
                    ".forEach(kind => n.dispatchEvent(new Event(kind))))"
                )
                page.wait_for_timeout(300)
                census[name] = page.evaluate(CENSUS)
                assert page.evaluate("() => window.hit") is None
                assert page.evaluate("() => document.querySelectorAll('main .nbh-card').length") >= 2
        browser.close()

    made = set(census["evil"]) - set(census["plain"])
    assert made == set()
    bound(len(made), 0, f"new elements of {len(PAYLOADS)} texts")
    assert faults == []
    names = {url.rpartition("/")[2] for url in requested if not url.startswith("data:")}
    assert names <= {"plain", "evil", "favicon.ico"}
