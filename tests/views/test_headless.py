"""Notebooks run by nbclient, nbconvert and papermill: the cell waits, the file holds one HTML output and no widget."""

import subprocess
import sys
from html.parser import HTMLParser
from textwrap import dedent

import nbformat
import pytest
from kernels import variables

pytestmark = pytest.mark.kernel

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
    "nested": ["-c", "from nbclient.cli import main; main()", "book.ipynb", "--inplace"],
    "nbconvert": ["-m", "nbconvert", "--execute", "--to", "notebook", "--output", "book", "book.ipynb"],
    "papermill": ["-m", "papermill", "book.ipynb", "book.ipynb", "--no-progress-bar"],
}
FIRST = {"nested": "import nest_asyncio; nest_asyncio.apply()\n"}
"""The first line of the notebook by runner: nest_asyncio patches the kernel, whichever runner it has."""


def write(path, cells):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    book.cells = [nbformat.v4.new_code_cell(dedent(cell)) for cell in cells]
    nbformat.write(book, path)


@pytest.fixture(
    scope="module",
    params=["nbclient", *(pytest.param(name, marks=pytest.mark.front_ends) for name in RUNNERS if name != "nbclient")],
)
def book(request, tmp_path_factory):
    """The notebook as a runner executed and saved it."""
    folder = tmp_path_factory.mktemp(request.param)
    write(folder / "book.ipynb", (FIRST.get(request.param, "") + CELLS[0], *CELLS[1:]))
    done = subprocess.run(
        [sys.executable, *RUNNERS[request.param]],
        cwd=folder,
        env=variables(folder),
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(folder / "book.ipynb", as_version=4)


class Markup(HTMLParser):
    """The elements of some markup, and where its pictures come from."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.tags = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            self.sources.append(dict(attributes)["src"])


def test_the_cell_waits_and_leaves_one_html_output(book):
    """Each watching cell has exactly one output: HTML and text of the end, with the picture in it."""
    for index, words in ((1, ": succeeded"), (2, ": failed"), (4, ": failed")):
        outputs = book.cells[index].outputs
        assert [o.output_type for o in outputs] == ["display_data"]
        assert set(outputs[0].data) == {"text/html", "text/plain"}
        assert words in outputs[0].data["text/plain"]
        page = Markup(outputs[0].data["text/html"])
        assert [src[:11] for src in page.sources] == ["data:image/"]
        assert "script" not in page.tags
    assert book.cells[3].outputs[0].text == "succeeded failed\n"


def test_the_file_holds_no_widget(book):
    """The file knows no widget: neither in its metadata nor in an output."""
    assert "widgets" not in book.metadata
    assert "jupyter.widget" not in nbformat.writes(book)
