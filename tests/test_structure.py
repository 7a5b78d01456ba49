"""Which part may know which, read from the source: imports, public names, and the tests' own docstrings."""

import ast
import sys
from pathlib import Path

import pytest

import nbhelper

ROOT = Path(nbhelper.__file__).parent
TESTS = Path(__file__).parent
HEAVY = {"httpx", "httpx2", "requests", "aiohttp", "urllib3", "ipywidgets", "IPython", "pandas", "PIL", "rich"}
SOCKETS = {"httpx", "httpx2", "requests", "aiohttp", "urllib3", "socket", "ssl", "http.client", "urllib.request"}
CLOCKS = {"time", "asyncio", "threading", "sched"}


class Imports(ast.NodeVisitor):
    """The absolute names that a module imports at run time; `if TYPE_CHECKING` blocks do not count."""

    def __init__(self, path):
        self.package = ("nbhelper", *path.relative_to(ROOT).parts[:-1])
        self.found = set()

    def visit_If(self, node):
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)

    def visit_Import(self, node):
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node):
        base = self.package[: len(self.package) - node.level + 1] if node.level else ()
        module = ".".join((*base, *filter(None, [node.module])))
        self.found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}


def imports(path):
    visitor = Imports(path)
    visitor.visit(ast.parse(path.read_text()))
    return visitor.found


def modules(*patterns):
    """The modules of the library that match; each test names at least one that is there."""
    found = sorted({p for pattern in patterns for p in ROOT.glob(pattern) if p.suffix == ".py"})
    return [pytest.param(p, id=str(p.relative_to(ROOT))) for p in found]


def within(names, *parents):
    return {n for n in names if any(n == p or n.startswith(f"{p}.") for p in parents)}


@pytest.mark.parametrize("path", modules("_providers/*.py"))
def test_providers_know_no_client_no_widget_no_engine(path):
    """A provider is data: it imports the values, the words and its own files, and nothing heavy."""
    found = imports(path)
    ours = within(found, "nbhelper")
    allowed = within(ours, *(f"nbhelper.{name}" for name in ("_errors", "_json", "_text", "_values", "_providers")))
    tops = {n.partition(".")[0] for n in found - ours} - {"nbhelper"}

    assert ours - {"nbhelper"} == allowed
    assert tops <= sys.stdlib_module_names | {"jmespath"}
    assert not within(found, *SOCKETS, *HEAVY, *CLOCKS)


@pytest.mark.parametrize("path", modules("_emulator/*.py"))
def test_the_emulator_shares_nothing_with_what_it_tests(path):
    """The emulator is written apart, so that it can contradict the library: it shares the errors alone."""
    ours = within(imports(path), "nbhelper") - {"nbhelper"}

    assert ours == within(ours, "nbhelper._emulator", "nbhelper._errors")


MIDDLE = ("durations", "errors", "events", "history", "json", "pace", "task", "text", "values")


@pytest.mark.parametrize("path", modules(*(f"_{name}.py" for name in MIDDLE)))
def test_the_middle_is_pure(path):
    """Values, histories and pace have no effects: no socket, no clock, no widget, no provider's words."""
    found = imports(path)

    assert not within(found, *SOCKETS, *HEAVY, *CLOCKS)
    assert not within(found, "nbhelper._providers", "nbhelper._engine", "nbhelper._store", "nbhelper._http")
    assert "datetime.now(" not in path.read_text()


@pytest.mark.parametrize("path", modules("_card*.py", "_terminal.py", "_draw*.py", "_gallery.py", "_preview.py"))
def test_views_draw_and_do_not_fetch(path):
    """A view is drawn from the history; it knows neither providers nor HTTP."""
    found = imports(path)

    assert not within(found, *SOCKETS, "nbhelper._providers", "nbhelper._http", "nbhelper._engine")


def test_one_module_opens_sockets():
    """Outside the emulator and its start, one module and its sockets talk to the network."""
    talking = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if within(imports(path), *SOCKETS) and "_emulator" not in path.relative_to(ROOT).parts
    }

    assert talking - {"_emulated.py"} == {"_http.py", "_wire.py"}


def test_no_public_name_is_a_submodule():
    """`nbhelper.x` never means two things, whatever was imported before."""
    submodules = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}

    assert not submodules & set(nbhelper.__all__)


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(TESTS))) for p in sorted(TESTS.rglob("*.py"))])
def test_every_test_states_its_fact(path):
    """Each test's docstring says what is true, so that a failure reads as a sentence."""
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    silent = [f.name for f in functions if f.name.startswith("test_") and not ast.get_docstring(f)]

    assert silent == []
