"""Every test here runs in a process without keys, proxies or a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.mill import Mill

import nbhelper as nbh


@pytest.fixture(autouse=True)
def _isolated(isolated: Path) -> Path:
    return isolated


@pytest.fixture
def refused(mill: Mill) -> Callable[..., object]:
    """Check that a call ends in one line of our own, before any request, folder or database."""

    @contextmanager
    def check(kind: type[nbh.NbhelperError] = nbh.BadInput, words: str = "") -> Iterator[list[str]]:
        before, said = sorted(Path.cwd().rglob("*")), []
        with pytest.raises(kind, match=words or None) as caught:
            yield said
        error = caught.value
        said.append(str(error))
        assert isinstance(error, nbh.NbhelperError)
        assert str(error).isprintable()
        assert 10 < len(str(error)) < 600  # the longest lists forty endpoints
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__
        assert mill.server.connections == 0
        assert sorted(Path.cwd().rglob("*")) == before

    return check
