"""The layers of the package, read from its imports; markup, public names, and the tests' own docstrings."""

import ast
import re
from pathlib import Path

import pytest

import nbhelper

ROOT = Path(nbhelper.__file__).parent
TESTS = Path(__file__).parent
SOCKETS = {"httpx", "httpx2", "requests", "aiohttp", "urllib3", "socket", "ssl", "http.client", "urllib.request"}
CLIENTS = SOCKETS | {"ipywidgets", "IPython", "pandas", "PIL", "rich"}
CLOCKS = {"time", "asyncio", "threading", "sched"}

LAYERS = [
    {"_model", "_version"},
    {"_providers", "_store", "_emulator"},
    {"_session"},
    {"_network", "_views"},
    {"_tables"},
    {"_watching"},
    {"_submitting"},
    {"_experiments"},
    {"_emulated", "_sync", "types", "testing"},
    {"_api"},
    {"_demo", "_examples", "_magic"},
    {"cli"},
    {"", "__main__"},
]
"""Each part of the package imports itself and the sets before its own; the package's own `__init__` is named ""."""


def name_of(path):
    """The dotted name of a file below the package; "" for its `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(path):
    """The absolute names that a file imports: at its top, inside functions and for typing alike."""
    package = ("nbhelper", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def ours(path):
    """The files of the package that a file imports, or imports names from; never itself or the package's `__init__`."""
    names = set()
    for name in within(set(imports(path)), "nbhelper"):
        dotted = name.removeprefix("nbhelper.")
        names.add(dotted if dotted in FILES else dotted.rpartition(".")[0])
    return names - {"", name_of(path)}


def within(names, *parents):
    """The dotted names that are one of `parents` or stand below one."""
    return {n for n in names if any(n == p or n.startswith(f"{p}.") for p in parents)}


def files(*folders):
    """The files of some folders, as parameters of a test."""
    paths = [path for name, path in FILES.items() if name.partition(".")[0] in folders]
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


FLOOR = {part: floor for floor, parts in enumerate(LAYERS) for part in parts}


def test_imports_go_down_only():
    """Every import, wherever it stands, goes to the same part or to a lower one; a new part has to be put somewhere."""
    part = {name: name.partition(".")[0] for name in FILES}
    wrong = [
        f"{name} imports {other}"
        for name, path in FILES.items()
        for other in ours(path)
        if part[other] != part[name] and FLOOR[part[other]] >= FLOOR[part[name]]
    ]

    assert wrong == []


def test_no_two_files_import_each_other():
    """The imports of files form no circle, imports inside functions and for typing included."""
    left = {name: ours(path) for name, path in FILES.items()}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]

    assert left == {}


def test_no_file_is_long_and_few_lie_flat():
    """A file has at most 420 lines, and at most 12 lie beside the folders."""
    assert {name: n for name, path in FILES.items() if (n := len(path.read_text().splitlines())) > 420} == {}
    assert len(list(ROOT.glob("*.py"))) <= 12


@pytest.mark.parametrize("path", files("_model", "_providers"))
def test_values_and_providers_know_no_client_and_no_clock(path):
    """What is seen and what an API is are data: no socket, no widget, no table, no clock."""
    assert not within(set(imports(path)), *CLIENTS, *CLOCKS)
    assert "datetime.now(" not in path.read_text()


@pytest.mark.parametrize("path", files("_emulator"))
def test_the_emulator_shares_nothing_with_what_it_tests(path):
    """The emulator is written apart, so that it can contradict the library: it shares the errors alone."""
    assert {name for name in ours(path) if not within({name}, "_emulator")} <= {"_model.errors"}


@pytest.mark.parametrize("path", files("_views"))
def test_views_draw_and_do_not_fetch(path):
    """A view knows the model and where it runs: no provider, store, key or socket."""
    assert {name for name in ours(path) if not within({name}, "_views", "_model")} <= {"_session.environment"}
    assert not within(set(imports(path)), *SOCKETS)


def test_sockets_stand_in_one_folder():
    """Outside the emulator, the network alone opens sockets and looks up names."""
    talking = {name for name, path in FILES.items() if within(set(imports(path)), *SOCKETS)}

    assert {name.partition(".")[0] for name in talking} == {"_network", "_emulator"}


def test_sql_stands_in_one_folder():
    """The store alone imports SQLite."""
    assert {name.partition(".")[0] for name, path in FILES.items() if "sqlite3" in set(imports(path))} == {"_store"}


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
    """The same tree with no docstring in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return tree


@pytest.mark.parametrize("path", [pytest.param(path, id=name or "nbhelper") for name, path in FILES.items()])
def test_no_f_string_builds_a_tag(path):
    """Markup is filled in by `Markup.format`, which escapes by itself: no f-string holds a tag."""
    texts = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.JoinedStr))

    assert [tag for text in texts for tag in tags(text)] == []


@pytest.mark.parametrize("path", files("_views"))
def test_tags_stand_in_markup_alone(path):
    """In a view, a text with a tag is the argument of `Markup`: put together in any other way it would not escape."""
    assert list(tags(without_docstrings(ast.parse(path.read_text())))) == []


@pytest.mark.parametrize("name", ["card", "gallery", "history", "colours"])
def test_every_class_of_ours_is_prefixed(name):
    """A host's style never meets ours by accident: each CSS class begins with `nbh-`, or is the host's own."""
    sheet = (ROOT / "_views" / f"{name}.css").read_text()
    classes = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"\{[^{}]*\}|/\*.*?\*/", "{}", sheet, flags=re.DOTALL)))

    assert {c for c in classes if not c.startswith("nbh-")} <= {"jupyter-widgets", "widget-html", "widget-html-content"}


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
