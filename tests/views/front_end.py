"""JupyterLab and Notebook 7, served from a folder and driven in headless Chromium as a person would."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image
from support.scripts import ROOT, environment
from support.waiting import until

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
THEMES = ("JupyterLab Light", "JupyterLab Dark")
WIDTHS = (480, 900, 1400)
SCREENSHOTS = os.environ.get("NBHELPER_SCREENSHOTS")
"""A folder for the pictures that the tests take; unset, they are kept with pytest's temporary files."""
SETUP = """
import os
os.environ["MILL_API_KEY"] = "mill-key-1234567890"
import nbhelper as nbh
from support.mill import provider
nbh.register(provider("{root}"));
"""
"""A first cell: the tests' own API under the name `mill`."""


def chromium() -> str | None:
    """The path of a Chromium on `PATH`; None for none."""
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


class Server:
    """One Jupyter server with both front ends, all settings as they come, everything of its own below a folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        # The question about news would lie above the notebook.
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        own = {
            "JUPYTER_CONFIG_DIR": folder / "config",
            "JUPYTER_DATA_DIR": folder / "data",
            "JUPYTER_RUNTIME_DIR": folder / "runtime",
            "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
            "IPYTHONDIR": folder / "ipython",
        }
        paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        variables = environment(**{k: str(v) for k, v in own.items()}, PYTHONPATH=paths)
        del variables["PYTHONWARNINGS"]  # Jupyter's own
        choices = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": self.port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self.root,
            "ServerApp.open_browser": False,
            "ServerApp.disable_check_xsrf": True,
            "IdentityProvider.token": "",
            "LabApp.expose_app_in_browser": True,
            "LabApp.extension_manager": "readonly",
            "JupyterNotebookApp.expose_app_in_browser": True,
        }
        command = [sys.executable, "-m", "jupyterlab", "--allow-root", *(f"--{k}={v}" for k, v in choices.items())]
        self._log = (folder / "log.txt").open("w")
        self.process = subprocess.Popen(command, env=variables, stdout=self._log, stderr=subprocess.STDOUT)
        until(self._answers, 60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        assert self.process.poll() is None
        try:
            with urllib.request.urlopen(f"{self.url}/api/status", timeout=5) as reply:
                return reply.status == 200
        except OSError:
            time.sleep(0.1)
            return False

    def write(self, name: str, *cells: str | nbformat.NotebookNode) -> Path:
        """Write a notebook of these cells into a folder of its own; a text is a cell of code."""
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        book.cells = [nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
        path = self.root / name / f"{name}.ipynb"
        path.parent.mkdir()
        nbformat.write(book, path)
        return path

    def close(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


class Book:
    """One notebook in a page of the browser."""

    def __init__(self, server: Server, page: Any, path: Path, *, app: str = "lab") -> None:
        self.server, self.page, self.path, self.app = server, page, path, app
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    @property
    def relative(self) -> str:
        return str(self.path.relative_to(self.server.root))

    def open(self, *, kernel: bool = True) -> Book:
        """Load the page from scratch."""
        where = f"lab/tree/{self.relative}?reset" if self.app == "lab" else f"notebooks/{self.relative}"
        self.page.goto(f"{self.server.url}/{where}")
        self.ready(kernel=kernel)
        self.js("app.shell.collapseLeft()")  # the file browser, as people do on a narrow screen
        return self

    def ready(self, *, kernel: bool = True) -> None:
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.content?.widgets?.length", timeout=60_000
        )
        if kernel:
            self.until("app.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'", 60)

    def js(self, expression: str, argument: Any = None) -> Any:
        """Evaluate a JavaScript expression, in which `app` is the application and `a` the argument."""
        return self.page.evaluate(
            f"(a) => {{ const app = window.jupyterapp; return ({expression.strip()}) }}", argument
        )

    def until(self, expression: str, seconds: float = 20, argument: Any = None) -> None:
        """Wait until a JavaScript expression is true, with names as in `js`."""
        code = f"(a) => {{ const app = window.jupyterapp; return ({expression.strip()}) }}"
        self.page.wait_for_function(code, arg=argument, timeout=seconds * 1000, polling=50)

    def start(self, cell: int) -> None:
        """Run a cell without waiting for it."""
        self.js(
            "void (app.shell.currentWidget.content.activeCellIndex = a, app.commands.execute('notebook:run-cell'))",
            cell,
        )

    def run(self, *cells: int, seconds: float = 30) -> None:
        """Run cells to their ends, one after another."""
        for cell in cells:
            self.start(cell)
            self.until(
                "(m => m && !m.outputs.loading && app.shell.currentWidget.content.widgets[a].prompt !== '*' "
                "&& m.executionCount !== null && m.executionState !== 'running')"
                "(app.shell.currentWidget.content.widgets[a].model)",
                seconds,
                cell,
            )

    def idle(self) -> bool:
        return bool(self.js("app.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"))

    def cell(self, index: int) -> Any:
        """The output area of a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-OutputArea").first

    def text(self, index: int) -> str:
        return str(self.cell(index).inner_text())

    def says(self, index: int, words: str, seconds: float = 20) -> None:
        """Wait until a cell's output has these words."""
        self.until(
            "document.querySelectorAll('.jp-Notebook .jp-Cell')[a[0]]?.querySelector('.jp-OutputArea')"
            "?.innerText.includes(a[1])",
            seconds,
            [index, words],
        )

    def frozen(self, index: int, seconds: float = 30) -> None:
        """Wait until a cell's output has a card and no widget."""
        self.until(
            "(o => o.querySelector('.nbh-card') && !o.querySelector('.jupyter-widgets'))"
            "(document.querySelectorAll('.jp-Notebook .jp-Cell')[a].querySelector('.jp-OutputArea'))",
            seconds,
            index,
        )

    def save(self) -> dict[str, Any]:
        """Save by the front end's own command, and read the file."""
        self.js("app.commands.execute('docmanager:save')")
        self.until("!app.shell.currentWidget.context.model.dirty")
        return dict(json.loads(self.path.read_text()))

    def shoot(self, cell: int, path: Path) -> None:
        """Save a screenshot of one cell's output."""
        self.cell(cell).screenshot(path=str(path))


# What is measured in a page

LINE = 22
"""The height of a line of the card in pixels, rounded up."""
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
        const part = n.querySelector('.jp-OutputArea .nbh-card .nbh-part');
        return part && {width: part.getBoundingClientRect().width,
                        live: !!n.querySelector('.jupyter-widgets'), text: part.innerText,
                        height: part.getBoundingClientRect().height,
                        spoken: n.querySelector('[role=status]')?.innerText ?? ''};
      }),
    });
  }, 100);
})()
"""
"""JavaScript that appends the text and the height of each card to `window.seen`, ten times a second."""
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
  const contrasts = [];
  for (const root of document.querySelectorAll('.nbh-card, .nbh-gallery, .nbh-history')) {
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const node = walk.currentNode.parentElement;
      if (!walk.currentNode.textContent.trim() || !node.checkVisibility() || node.closest('.nbh-says, style')) continue;
      const back = ground(node), front = over(rgba(getComputedStyle(node).color), back);
      const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
      contrasts.push([(a + 0.05) / (b + 0.05), walk.currentNode.textContent.trim().slice(0, 40)]);
    }
  }
  return contrasts;
})()
"""
"""JavaScript: the contrast ratio of every text on the cards, galleries and histories to the colour behind it."""


def change_theme(book, theme):
    """Choose a theme, and wait until the page is drawn in it."""
    book.js("app.commands.execute('apputils:change-theme', {theme: a})", theme)
    light = str(theme == THEMES[0]).lower()
    book.until("document.body.dataset.jpThemeLight === a && getComputedStyle(document.body).opacity === '1'", 20, light)
    book.until("document.querySelector('.nbh-card').getBoundingClientRect().width > 100")
    book.until("!document.getElementById('jupyterlab-splash')")  # which covers all until it has faded away


def distinct(texts):
    return len(dict.fromkeys(texts))


def steps(cards):
    """By how many pixels a card's text grew or shrank from one drawing to the next."""
    return [abs(b["height"] - a["height"]) for a, b in pairwise(cards) if a["width"] == b["width"] > 0]


def loaded(page):
    """Wait until the first picture of a card is decoded and has a size; True."""
    page.wait_for_function("() => document.querySelector('.nbh-card img')?.naturalWidth > 0", timeout=60_000)
    return True


def convert(path, exporter, folder):
    """Convert a saved notebook by an exporter of nbconvert; the path of the result."""
    body, _ = exporter().from_filename(str(path))
    converted = folder / f"{path.stem}{exporter().file_extension}"
    converted.write_text(body)
    return converted


def picture(colour=(30, 120, 90), size=(320, 240)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()
