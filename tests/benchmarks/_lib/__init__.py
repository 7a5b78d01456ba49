"""What the benchmark scripts share; importing it puts this checkout, its tests and its kernels on `sys.path`."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

for folder in ("tests/providers", "tests/views", "tests", "."):
    sys.path.insert(0, str(ROOT / folder))
