"""The official clients, in an environment of their own under `.conformance/`, made at first use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from _lib import ROOT

PEERS = ("tripo3d==0.4.2", "ailabtools-sdk==0.5.4", "aiohttp")  # without aiohttp tripo3d takes no port in an address


def python() -> Path:
    """The interpreter that has the peers."""
    digest = hashlib.sha256("\n".join((sys.version, *PEERS)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("NBHELPER_CONFORMANCE_DIR") or ROOT / ".conformance")
    folder = cache / f"peers-{digest}"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEERS], check=True)
        (folder / "ready").touch()
    return folder / "bin" / "python"
