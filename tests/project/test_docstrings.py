"""The examples in public docstrings, each run as it stands against the emulator."""

import contextlib
import inspect
import re
import textwrap

import pytest

import nbhelper as nbh
from nbhelper import testing

BLOCK = re.compile(r"^Example:\n((?:    .*\n|\n)+)", re.MULTILINE)
WITHOUT_EXAMPLE = (
    "connect",
    "register",
    "set_store",
    "outputs",
    "pending",
    "prices",
    "providers",
    "read_csv",
    "to_frame",
    "plot",
)
"""Functions that need no example: a call of one word, or a text that says all."""


def examples():
    """Each example by the name of what it is an example of."""
    public = {name: getattr(nbh, name) for name in nbh.__all__ if name != "__version__"}
    for name, value in {**public, "testing.read": testing.read}.items():
        yield from ((name, textwrap.dedent(code)) for code in BLOCK.findall(f"{inspect.getdoc(value)}\n"))


EXAMPLES = dict(examples())


@pytest.fixture
def _isolated(isolated):
    return isolated


@pytest.mark.usefixtures("_isolated")
@pytest.mark.parametrize("code", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_runs(code):
    """What `help()` shows can be pasted into a cell and works."""
    own = "nbh.Emulator(" in code

    with contextlib.nullcontext() if own else nbh.Emulator(speed=1000):
        exec(compile(code, "example", "exec"), {"nbh": nbh})  # that is what is tested


def test_what_a_user_calls_has_an_example():
    """Every public function has one, but for those whose call is their example."""
    functions = [name for name in nbh.__all__ if inspect.isfunction(getattr(nbh, name))]

    assert sorted({*functions} - EXAMPLES.keys()) == sorted(WITHOUT_EXAMPLE)


@pytest.mark.parametrize("name", sorted({*nbh.__all__} - {"__version__"}))
def test_the_first_line_of_every_public_docstring_fits_a_tooltip(name):
    """Each name of `__all__` has a docstring, whose first line is no longer than 120 characters."""
    assert 0 < len(getattr(nbh, name).__doc__.strip().splitlines()[0]) <= 120
