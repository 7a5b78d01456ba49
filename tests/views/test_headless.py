"""Notebooks that nobody looks at: the cell waits, and the file holds one finished HTML output and no widget."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from textwrap import dedent

import nbformat
import pytest
from kernels import variables

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]  # the first of them waits for all

CELLS = (
    "import nbhelper as nbh\nemu = nbh.Emulator(speed=1000)",
    'w = nbh.watch(nbh.submit("tripo", {"type": "text_to_model", "prompt": "an owl"}))\nw',
    """
    def submit(prompt):
        return nbh.submit("kie", {"model": "google/nano-banana", "input": {"prompt": prompt}})

    many = nbh.watch([submit("a fox"), submit("a bear emu:policy")])
    """,
    "assert w.done and many.done; print(*(h.outcome for h in many))",
    "many",
)
RUNNERS = {
    "nbclient": ["-c", "from nbclient.cli import main; main()", "book.ipynb", "--inplace"],
    "nbconvert": ["-m", "nbconvert", "--execute", "--to", "notebook", "--output", "book", "book.ipynb"],
    "papermill": ["-m", "papermill", "book.ipynb", "book.ipynb", "--no-progress-bar"],
}
CASES = [*((name, False) for name in RUNNERS), ("nbclient", True)]
"""A runner, and whether nest_asyncio is applied: that is the kernel's, whichever runner asks it."""


def write(path, cells):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    book.cells = [nbformat.v4.new_code_cell(dedent(cell)) for cell in cells]
    nbformat.write(book, path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Every runner, and one with nest_asyncio applied in its kernel, side by side: the notebooks they leave."""

    def run(name, first, folder):
        write(folder / "book.ipynb", (first + CELLS[0], *CELLS[1:]))
        done = subprocess.run(
            [sys.executable, *RUNNERS[name]],
            cwd=folder,
            env=variables(folder),
            capture_output=True,
            text=True,
            timeout=220,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return nbformat.read(folder / "book.ipynb", as_version=4)

    nested = "import nest_asyncio; nest_asyncio.apply()\n"
    # The folders are made before the threads, two of which might find the same name free.
    jobs = {(name, nest): (name, nested * nest, tmp_path_factory.mktemp(name)) for name, nest in CASES}
    with ThreadPoolExecutor(3) as pool:
        futures = {key: pool.submit(run, *job) for key, job in jobs.items()}
    return {key: future.result() for key, future in futures.items()}


@pytest.fixture(params=CASES, ids=lambda p: p[0] + " nested" * p[1])
def book(request, runs):
    """One of the notebooks."""
    return runs[request.param]


class Pictures(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.tags = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            self.found.append(dict(attributes)["src"])


def test_the_cell_waits_and_leaves_one_html_output(book):
    """Each watching cell has exactly one output: HTML and text of the end, with the picture in it."""
    for index, words in ((1, ": succeeded"), (2, ": failed"), (4, ": failed")):
        outputs = book.cells[index].outputs
        assert [o.output_type for o in outputs] == ["display_data"]
        assert set(outputs[0].data) == {"text/html", "text/plain"}
        assert words in outputs[0].data["text/plain"]
        page = Pictures(outputs[0].data["text/html"])
        assert [src[:11] for src in page.found] == ["data:image/"]
        assert "script" not in page.tags
    assert book.cells[3].outputs[0].text == "succeeded failed\n"


def test_no_widget_anywhere(book):
    """The file knows no widget: neither in its metadata nor in an output."""
    assert "widgets" not in book.metadata
    assert "jupyter.widget" not in nbformat.writes(book)
