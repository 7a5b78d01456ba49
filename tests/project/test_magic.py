"""`%watch`: the line that IPython hands over, as arguments of `watch()`."""

import pytest
from support.mill import DONE

import nbhelper as nbh
from nbhelper import _magic


class Shell:
    """As much of IPython as the extension touches."""

    def __init__(self):
        self.magics = {}

    def register_magic_function(self, call, magic_kind, magic_name):
        self.magics[magic_kind, magic_name] = call


@pytest.fixture
def line_magic(monkeypatch):
    monkeypatch.setenv("NBHELPER_DISPLAY", "off")
    monkeypatch.setenv("NBHELPER_BLOCK", "1")
    shell = Shell()
    nbh.load_ipython_extension(shell)
    return shell.magics["line", "watch"]


def test_the_magic_watches_one_or_many(mill, line_magic):
    """`%watch a` gives a handle on one task, `%watch a b` on both; quotes are the shell's."""
    one, other = mill.job(DONE), mill.job(DONE)

    assert line_magic(f"  {one} ").result().succeeded
    assert [str(h.task) for h in line_magic(f"{one} '{other}'").result()] == [one, other]


@pytest.mark.parametrize("line", ["", "   ", "'mill:x", "x", "miil:x", "mill:x None", "sk-0123456789abcdefghijklmnop"])
def test_the_magic_refuses_in_one_line(refused, line):
    """An empty line, an open quote and what is no reference are refused in one line, as by `watch()`."""
    with refused() as lines:
        _magic.watch_line(line)

    assert "sk-0123" not in lines[0]
