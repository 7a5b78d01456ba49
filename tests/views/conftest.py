"""Fixtures that take seconds to start: one Jupyter server for all tests, a browser and the tests' API for a module."""

import os
from pathlib import Path

import pytest


def _missing(reason):
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI=true asks for it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory):
    """A Jupyter server with JupyterLab and Notebook 7."""
    for name in ("jupyterlab", "notebook"):
        try:
            __import__(name)
        except ImportError:
            _missing(f"{name} is not installed")
    from front_end import Server

    server = Server(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def browser(request):
    """Headless Chromium, each pixel of a page `SCALE` of the screen's, if the module has that name."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    from front_end import ARGUMENTS, chromium

    path = chromium()
    if path is None:
        _missing("there is no Chromium on the path")
    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        scale = getattr(request.module, "SCALE", 1)
        yield launched.new_context(device_scale_factor=scale)  # one for all pages: Jupyter's scripts are fetched once
        launched.close()


@pytest.fixture(scope="module")
def opened(jupyter, browser):
    """Write a notebook with these cells and open it in a page of its own."""
    from front_end import Book

    books = []

    def open_book(name, *cells, app="lab", width=1400, height=1500):
        page = browser.new_page()
        page.set_viewport_size({"width": width, "height": height})
        books.append(Book(jupyter, page, jupyter.write(name, *cells), app=app))
        return books[-1].open()

    yield open_book
    for book in books:
        book.js("app.shell.currentWidget.sessionContext.shutdown()")
        book.page.close()


@pytest.fixture
def offline_page(browser):
    """A page that reaches no network."""
    page = browser.new_page()
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    yield page
    page.close()


@pytest.fixture(scope="session")
def pictures_folder(tmp_path_factory):
    """The folder for screenshots of the cards: `NBHELPER_SCREENSHOTS`, or one of pytest's temporary folders."""
    from front_end import SCREENSHOTS

    if SCREENSHOTS is None:
        return tmp_path_factory.mktemp("screenshots")
    folder = Path(SCREENSHOTS).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
