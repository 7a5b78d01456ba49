"""What `import nbhelper` costs over a bare interpreter: the median of nine runs each, in turn, as one line."""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time


def seconds(code: str) -> float:
    """Wall-clock time of one interpreter that runs the code."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="how often each is run (default: %(default)s)")
    runs = parser.parse_args().runs
    seconds("import nbhelper")  # byte code is written, files are cached
    pairs = [(seconds("pass"), seconds("import nbhelper")) for _ in range(runs)]
    bare, full = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
    print(
        f"import nbhelper: {full - bare:.1f} ms over a bare interpreter's {bare:.1f} ms "
        f"(median of {runs}, Python {platform.python_version()}, {platform.machine()})",
    )


if __name__ == "__main__":
    main()
