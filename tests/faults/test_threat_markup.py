"""Two hundred HTML and script injections in every text of every provider: wherever they are shown, they are escaped."""

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
"""Harmless texts, short and long; only elements and attributes that they are drawn with are allowed."""
KEPT = {"status", "state", "task_status", "taskStatus", "code", "error_code", "status_code", "successFlag", "failCode"}


def record(ident, *seen, label=None, params=None, provider="kie"):
    history = nbh.History(nbh.Task(provider, ident, label=label, params=params or {}), uid=ident[:40])
    for at, item in enumerate(seen):
        history = history.add(item, NOW - timedelta(seconds=len(seen) - at))
    return history


def fill_texts(body, text):
    """A reply with each of its texts replaced, except state and code; links get the text in path and query."""
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
    """Histories from one provider's ordinary replies with a text in every field."""
    cases = [c for c in corpus(name)["cases"] if c.get("represents")]
    seen = [read(name, fill_texts(case["body"], text), case.get("http", 200)) for case in cases]
    return [record(f"{name}-{n}", item, provider=name) for n, item in enumerate(seen)]


def histories_of_every_kind(text):
    """Histories of each state, with a text in every field."""
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
        record(ident, Snapshot(state=State.QUEUED, word=text, queue_position=3, model=text), **about),
        record("b", Snapshot(state=State.RUNNING, word=text, progress=0.4), trouble, **about),
        record("c", Snapshot(state=State.UNKNOWN, word=text), **about),
        record("d", Snapshot(state=State.FAILED, word=text, error=TaskError(text, text)), **about),
        record("e", trouble, Mark(word=MarkWord.LOST, note=text), **about),
        record("f", done, saved, **about),
        record("g", done, Saved(name=name, state=SaveState.FAILED, message=text), **about),
        record("h", done, Saved(name=name, file=f"{BASE}/data/v.mp4", kind="video", n_bytes=9, message=text), **about),
        record("i", done, Saved(name=name, file=f"{BASE}/data/m.glb", kind="model", n_bytes=9), **about),
    ]


def drawings(histories, text, alone=None):
    """Each HTML view of histories: live and frozen, of all together, and of each one (or each of `alone`)."""
    thumbs = {Path(s.file): GREY for h in histories for s in h.saves.values() if s.file and s.kind == "image"}
    common = {"now": NOW, "base": BASE, "folder": text, "thumbnails": thumbs, "notes": (text,)}
    live, frozen = Scene(live=True, **common), Scene(live=False, **common)
    for some in ([h] for h in (histories if alone is None else alone)):
        yield from (card(some, frozen), live_body(some, live), live_below(some, live), history_line(some[0]))
    yield from (card(histories, frozen), live_body(histories, live), live_below(histories, live))


def allowed(draw):
    """The elements and attributes in the markup of PLAIN texts."""
    made = [ParsedHtml(markup) for text in PLAIN for markup in draw(text)]
    return {part for m in made for part in m.parts}


def check_only_text(markup, known):
    """Assert that markup has known elements and attributes only, and URLs only of data or relative files."""
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
    """There are at least 200 different payloads, and most of them set `window.hit` if they run."""
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 200
    assert sum("window.hit" in p or "parent.hit" in p for p in PAYLOADS) > 150


@pytest.mark.parametrize("name", NAMES)
def test_threat_markup_in_any_reply(name):
    """Payloads in every text of a provider's replies add no element or attribute to the card."""
    known = allowed(lambda text: drawings([*replies(name, text), *histories_of_every_kind(text)], text))
    for payload in PAYLOADS:
        for history in replies(name, payload):
            check_only_text(card([history], Scene(now=NOW, base=BASE, live=False)), known)


def test_threat_markup_in_any_field_of_a_history():
    """Payloads in id, label, parameters, words, codes, notes, names and paths are escaped in markup and in text.

    Each payload is drawn in a card of all kinds of histories, and in every third of the cards of one.
    """
    known = allowed(lambda text: drawings(histories_of_every_kind(text), text))
    for n, payload in enumerate(PAYLOADS):
        histories = histories_of_every_kind(payload)
        for markup in drawings(histories, payload, histories[n % 3 :: 3]):
            check_only_text(markup, known)
        words = f"{describe_all(histories, NOW)}{final_words(histories)}{histories!r}"
        assert "\x1b" not in words
        assert "\x00" not in words


@pytest.fixture
def gallery(tmp_path):
    """A function from texts to galleries with them as label, prompt and reason: without and with a grid."""

    def make(texts):
        histories = [
            record(
                f"t{n}", Snapshot(state=State.FAILED, error=TaskError(t, t)), label=t, params={"prompt": t, "size": "1"}
            )
            for n, t in enumerate(texts)
        ]
        frame = nbh.to_frame(histories)
        return [nbh.gallery(frame)._repr_html_(), nbh.gallery(frame, row="prompt", col="size")._repr_html_()]

    return make


def test_threat_markup_in_the_gallery(gallery):
    """Payloads in a gallery's captions, heads and reasons add no element or attribute."""
    known = {part for markup in gallery(PLAIN) for part in ParsedHtml(markup).parts}
    for markup in gallery(PAYLOADS):
        check_only_text(markup, known)


def notebook(markups, says):
    """A notebook whose outputs are these markups as HTML, with `says` as plain text."""
    cell = nbformat.v4.new_code_cell("w")
    cell.outputs = [
        nbformat.v4.new_output("display_data", data={"text/html": m, "text/plain": says}) for m in markups
    ] + [nbformat.v4.new_output("display_data", data={"text/plain": says})]
    return nbformat.v4.new_notebook(cells=[cell])


def all_cards(texts):
    return [
        m
        for t in texts
        for m in (
            card(histories_of_every_kind(t), Scene(now=NOW, base=BASE, live=False)),
            live_body(histories_of_every_kind(t), Scene(now=NOW)),
        )
    ]


def test_threat_markup_in_nbconvert(gallery, tmp_path):
    """A notebook of payloads, converted by nbconvert, has the elements and attributes of one of harmless texts only."""
    exporter = HTMLExporter()
    plain, _ = exporter.from_notebook_node(
        notebook(all_cards(PLAIN) + gallery(PLAIN), describe_all(histories_of_every_kind("words"), NOW))
    )
    words = "\n".join(describe_all(histories_of_every_kind(p), NOW) for p in PAYLOADS)
    evil, _ = exporter.from_notebook_node(notebook(all_cards(PAYLOADS[::5]) + gallery(PAYLOADS), words))

    assert set(ParsedHtml(evil).parts) <= set(ParsedHtml(plain).parts)


LIST_ELEMENTS = """() => {
  const elements = new Set();
  for (const node of document.querySelectorAll('main *'))
    elements.add(node.localName + ' ' + [...node.attributes].map(a => a.name).sort().join(' '));
  return [...elements].sort();
}"""


@pytest.mark.browser
def test_threat_markup_in_a_browser(gallery, tmp_path, bound):
    """In a browser payloads add no element or attribute, run no script, request no URL and open no dialog."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium on the path")
    pages = {"plain": all_cards(PLAIN) + gallery(PLAIN), "evil": all_cards(PAYLOADS) + gallery(PAYLOADS)}
    faults, requested, listed = [], [], {}
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
                # As a user does: open each <details>, and move over each element.
                page.evaluate("() => document.querySelectorAll('main details').forEach(d => { d.open = true })")
                page.evaluate(
                    "() => document.querySelectorAll('main *').forEach(n => ['mouseover', 'focus', 'animationstart']"
                    ".forEach(kind => n.dispatchEvent(new Event(kind))))"
                )
                page.wait_for_timeout(300)
                listed[name] = page.evaluate(LIST_ELEMENTS)
                assert page.evaluate("() => window.hit") is None
                assert page.evaluate("() => document.querySelectorAll('main .nbh-card').length") >= 2
        browser.close()

    made = set(listed["evil"]) - set(listed["plain"])
    assert made == set()
    bound(len(made), 0, f"new elements of {len(PAYLOADS)} texts")
    assert faults == []
    names = {url.rpartition("/")[2] for url in requested if not url.startswith("data:")}
    assert names <= {"plain", "evil", "favicon.ico"}
