"""What the tests of several folders share: a process without keys or store, the mill, and an emulator."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from support.fault_table import pytest_addoption, pytest_configure  # noqa: F401  # pytest takes them as its hooks
from support.mill import KEY, Mill, provider
from support.waiting import end
from support.wire import authority, library, names, serve, tls  # noqa: F401  # fixtures

import nbhelper as nbh

ON_REQUEST = ("binder", "front_ends", "long", "pictures", "sdks")
"""Markers of tests that run only where `-m` names them; pyproject.toml and README.md say what each costs."""
SLOW = ("browser", "conformance", "kernel", "slow")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

settings.register_profile("any speed", deadline=None)  # 200 ms an example, which a busy machine exceeds by chance
settings.load_profile("any speed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a shell starts in the background ignores Ctrl-C, and so would the scripts and kernels that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has a marker of `ON_REQUEST` that `-m` does not name, and begin with the files that take longest.

    No worker is left alone with one of those at the end.
    """
    left_out = [name for name in ON_REQUEST if name not in config.option.markexpr]
    deselected = [item for item in items if any(item.get_closest_marker(name) for name in left_out)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
    slow = {item.path for item in items if any(item.get_closest_marker(name) for name in SLOW)}
    kept = [item for item in items if not any(item.get_closest_marker(name) for name in left_out)]
    items[:] = sorted(kept, key=lambda item: item.path not in slow)


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, no keys, no proxies, and afterwards nothing of the library's left in the process."""
    from nbhelper import _providers
    from nbhelper._session import session
    from nbhelper._watching import begin, engine

    for name in os.environ:
        if name.endswith("_API_KEY") or name.startswith("NBHELPER_") or name.casefold() in PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "_state", session._State())
    monkeypatch.setattr(_providers, "_added", {})
    monkeypatch.setattr(begin, "_warned", set())
    yield tmp_path
    running = engine._engine
    if running is not None and running.alive:
        running.run(asyncio.sleep(0)).result(30)  # coroutines handed to the engine last have begun
        if running.watchers or running.senders:
            end(running)  # ends watches and submits that a test left running
    for store in session._state.stores.values():
        store.close()


@pytest.fixture
def fresh_engine(isolated: Path) -> Iterator[None]:
    """An engine that no other test has used."""
    from nbhelper._watching import engine

    if engine._engine is not None:
        end(engine._engine)
    yield
    if engine._engine is not None:
        end(engine._engine)


@pytest.fixture
def mill(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mill]:
    """The tests' own API, registered as `mill`, its key in the environment."""
    made = Mill()
    nbh.register(provider(made.root))
    monkeypatch.setenv("MILL_API_KEY", KEY)
    yield made
    made.close()
    assert made.server.faults == []


@pytest.fixture(scope="module")
def factory() -> Iterator[Mill]:
    """The tests' own API, for a whole module."""
    made = Mill()
    yield made
    made.close()
    assert made.server.faults == []


@pytest.fixture
def emulator(isolated: Path) -> Iterator[nbh.Emulator]:
    """All seven APIs, a thousand times as fast as the real ones."""
    with nbh.Emulator(speed=1000) as made:
        yield made


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that anybody logs, at every level."""
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.fixture
def refused(mill: Mill) -> Callable[..., object]:
    """Check that a call raises an error of ours in one line before any request or file; yields a list for that line."""

    @contextmanager
    def check(kind: type[nbh.NbhelperError] = nbh.BadInput, words: str = "") -> Iterator[list[str]]:
        before, lines = sorted(Path.cwd().rglob("*")), []
        with pytest.raises(kind, match=words or None) as caught:
            yield lines
        error = caught.value
        lines.append(str(error))
        assert isinstance(error, nbh.NbhelperError)
        assert str(error).isprintable()
        assert 10 < len(str(error)) < 600  # the longest lists forty endpoints
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__
        assert mill.server.connections == 0
        assert sorted(Path.cwd().rglob("*")) == before

    return check
