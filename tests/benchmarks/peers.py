"""What others use, each release in an environment of its own under `.conformance/`, made at first use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = (
    "tripo3d==0.4.2", "ailabtools-sdk==0.5.4", "replicate==1.0.7", "fal-client==1.0.3", "openai==3.57.0", "aiohttp",
)  # fmt: skip


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


if __name__ == "__main__":
    print(python())
