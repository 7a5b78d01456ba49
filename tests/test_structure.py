"""Which part may know which, read from the source: imports, public names, and the tests' own docstrings."""

import ast
import re
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
    """The absolute names that a module imports at run time; `if TYPE_CHECKING` blocks count where `typing` asks."""

    def __init__(self, path, *, typing):
        self.typing = typing
        self.package = ("nbhelper", *path.relative_to(ROOT).parts[:-1])
        self.found = set()

    def visit_If(self, node):
        if self.typing or "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)

    def visit_Import(self, node):
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node):
        base = self.package[: len(self.package) - node.level + 1] if node.level else ()
        module = ".".join((*base, *filter(None, [node.module])))
        self.found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}


def imports(path, *, typing=False):
    visitor = Imports(path, typing=typing)
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

    assert ours == within(ours, "nbhelper._emulator", "nbhelper._model.errors")


MIDDLE = ("durations", "errors", "events", "history", "json", "pace", "task", "text", "values")


@pytest.mark.parametrize("path", modules(*(f"_{name}.py" for name in MIDDLE)))
def test_the_middle_is_pure(path):
    """Values, histories and pace have no effects: no socket, no clock, no widget, no provider's words."""
    found = imports(path)

    assert not within(found, *SOCKETS, *HEAVY, *CLOCKS)
    assert not within(
        found, "nbhelper._providers", "nbhelper._watching.engine", "nbhelper._store.store", "nbhelper._network.http"
    )
    assert "datetime.now(" not in path.read_text()


VIEWS = (
    *(
        "card",
        "card_loop",
        "card_scene",
        "card_tiles",
        "draw_limit",
        "gallery",
        "history_line",
        "live_card",
        "markup",
        "painter",
    ),
    *("preview", "still_card", "terminal", "thumbnailer", "words"),
)
BELOW_VIEWS = ("environment", "errors", "facts", "history", "json", "lost_sight", "task", "text", "timing", "values")


@pytest.mark.parametrize("path", modules(*(f"_{name}.py" for name in VIEWS)))
def test_views_draw_and_do_not_fetch(path):
    """A view knows the model and where it runs, also for typing: no provider, client, engine, watch or store."""
    found = imports(path, typing=True)
    ours = within(found, "nbhelper") - {"nbhelper"}

    assert ours == within(ours, *(f"nbhelper._{name}" for name in (*VIEWS, *BELOW_VIEWS)))
    assert not within(found, *SOCKETS)


TAG = re.compile(r"</?[a-z][a-z0-9]*(?:[\s/>]|$)|<!doctype")


def tags(tree, *, inside_markup=False):
    """The texts with a tag: those that are filled in as they are, and those outside of `Markup(...)`."""
    if isinstance(tree, ast.Call) and ast.unparse(tree.func) == "Markup":
        inside_markup = True
    if isinstance(tree, ast.JoinedStr):
        yield from (part.value for part in tree.values if isinstance(part, ast.Constant) and TAG.search(part.value))
    elif (
        isinstance(tree, ast.Constant) and isinstance(tree.value, str) and not inside_markup and TAG.search(tree.value)
    ):
        yield tree.value
    else:
        for child in ast.iter_child_nodes(tree):
            yield from tags(child, inside_markup=inside_markup)


def without_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return tree


@pytest.mark.parametrize("path", modules("**/*.py"))
def test_no_f_string_builds_a_tag(path):
    """Markup is filled in by `Markup.format`, which escapes by itself: no f-string holds a tag."""
    texts = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.JoinedStr))

    assert [found for text in texts for found in tags(text)] == []


@pytest.mark.parametrize("path", modules(*(f"_{name}.py" for name in VIEWS)))
def test_tags_stand_in_markup_alone(path):
    """In a view, a text with a tag is the argument of `Markup`: put together in any other way it would not escape."""
    assert list(tags(without_docstrings(ast.parse(path.read_text())))) == []


@pytest.mark.parametrize("name", ["card", "gallery", "history", "colours"])
def test_every_class_of_ours_is_prefixed(name):
    """A host's style never meets ours by accident: each CSS class begins with `nbh-`, or is the host's own."""
    sheet = (ROOT / f"{name}.css").read_text()
    classes = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"\{[^{}]*\}|/\*.*?\*/", "{}", sheet, flags=re.DOTALL)))

    assert {c for c in classes if not c.startswith("nbh-")} <= {"jupyter-widgets", "widget-html", "widget-html-content"}


def test_one_module_opens_sockets():
    """Outside the emulator and its start, one module talks to the network, and one looks up names."""
    talking = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if within(imports(path), *SOCKETS) and "_emulator" not in path.relative_to(ROOT).parts
    }

    assert talking - {"_emulated.py"} == {"_http.py", "_http_destinations.py"}


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
