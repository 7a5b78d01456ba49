"""The official clients, each in an environment of its own, so that their dependencies never meet ours."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbhelper._emulator import Server

#: Two environments, because the two Tripo generations share a package name; the gate makes the first one only.
ENVIRONMENTS = {
    "v2": ("ailabtools-sdk==0.5.4", "tripo3d==0.4.2", "minimax-python==0.2.0", "aiohttp==3.14.5", "httpx==0.28.1"),
    "v3": ("tripo3d==1.0.0", "aiohttp==3.14.5"),
}
CLIENTS = Path(__file__).parent / "clients"
ROOT = Path(__file__).parents[2]


def cache() -> Path:
    """The folder of the environments."""
    return Path(os.environ.get("NBHELPER_CONFORMANCE_DIR") or ROOT / ".conformance")


def python_of(name: str) -> Path:
    """The interpreter of an environment, made when missing; skips where the packages cannot be had."""
    packages = ENVIRONMENTS[name]
    digest = hashlib.sha256("\n".join((sys.version, *packages)).encode()).hexdigest()[:12]
    folder = cache() / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    # This interpreter's pip installs for it: one of its own would take longer than the clients do.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=300)
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    pip += ["install", "--quiet", "--disable-pip-version-check", "--no-compile", *packages]
    done = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["pip gave no reason"]
        # A gate that could not install the clients has not shown that they accept the emulator.
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"cannot install {', '.join(packages)}: {last[0]}")
    (folder / "ready").touch()
    return python


@pytest.fixture(scope="session")
def interpreters() -> Callable[[str], Path]:
    """Interpreters by the environment's name, each made once."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = python_of(name)
        return made[name]

    return get


@pytest.fixture
def server() -> Iterator[Server]:
    """A quick server of this test's own."""
    with Server(speed=100) as emulator:
        yield emulator


@pytest.fixture
def run(interpreters: Callable[[str], Path], tmp_path: Path) -> Callable[..., Any]:
    """Run one client script and decode what it printed."""

    def call(environment: str, script: str, *arguments: str) -> Any:
        clean = {k: v for k, v in os.environ.items() if "PROXY" not in k.upper() and not k.endswith("_API_KEY")}
        done = subprocess.run(
            [str(interpreters(environment)), str(CLIENTS / script), *arguments, str(tmp_path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=100,
            cwd=tmp_path,
            env={**clean, "NO_PROXY": "127.0.0.1"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return call
