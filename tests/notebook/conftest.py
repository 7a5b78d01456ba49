"""A kernel, or a browser with one Jupyter server, for a whole module: both take seconds to start."""

import os

import pytest


def _missing(reason):
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI=true asks for it")
    pytest.skip(reason)


@pytest.fixture(scope="module")
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
def browser():
    """Headless Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    from front_end import ARGUMENTS, chromium

    path = chromium()
    if path is None:
        _missing("there is no Chromium on the path")
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield found.new_context()  # one for all pages, so that Jupyter's scripts are fetched once
        found.close()
