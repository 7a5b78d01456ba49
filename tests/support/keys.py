"""API keys in the places that the library reads them from."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

PLACES = ["environment", ".env", "Colab", "prompt"]


def fake_kernel(monkeypatch: pytest.MonkeyPatch, *, stdin: bool | None) -> None:
    """Fake a running kernel for `environment.place()`; with `stdin=False` its client is headless and takes no input."""
    kernel = types.SimpleNamespace() if stdin is None else types.SimpleNamespace(_allow_stdin=stdin)
    shell = types.SimpleNamespace(kernel=kernel)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]


def fake_colab(monkeypatch: pytest.MonkeyPatch, get: Callable[[str], str | None]) -> None:
    """Fake Google Colab, whose secret of a name is what `get` returns."""
    colab = types.ModuleType("google.colab")
    colab.userdata = types.SimpleNamespace(get=get)  # type: ignore[attr-defined]
    google = types.ModuleType("google")
    google.colab = colab  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", colab)


def put_key(monkeypatch: pytest.MonkeyPatch, place: str, key: str) -> None:
    """Put the mill's key into one of `PLACES`, and into no other."""
    monkeypatch.delenv("MILL_API_KEY", raising=False)
    if place == "environment":
        monkeypatch.setenv("MILL_API_KEY", key)
    elif place == ".env":
        Path(".env").write_text(f"MILL_API_KEY={key}\n")
    elif place == "Colab":
        fake_colab(monkeypatch, {"MILL_API_KEY": key}.__getitem__)
    elif place == "prompt":
        fake_kernel(monkeypatch, stdin=True)
        monkeypatch.setattr("getpass.getpass", lambda prompt: key)
