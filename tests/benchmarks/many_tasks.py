"""Many tasks over all APIs at once: `python tests/benchmarks/many_tasks.py [200]`.

One process watches and saves; the emulator runs in it too, so memory includes it. Prints time, memory above the
imports, files that are byte-identical to what was served, and the smallest gap between two looks at one task.
"""

import collections
import io
import os
import sys
import tempfile
import time

import httpx  # noqa: F401  # what is imported here is not counted as memory of the watch
import jmespath  # noqa: F401
import pandas as pd  # noqa: F401
import psutil
import rich  # noqa: F401
import starlette  # noqa: F401
import uvicorn  # noqa: F401
from PIL import Image

import nbhelper as nbh
from nbhelper._providers import get, names


def creates():
    """One create for each way of creating."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "JPEG")
    picture = buffer.getvalue()
    prompt = {"prompt": "a fox"}
    return [
        ("ailab", {"image": picture, "hair_style": "BuzzCut"}, "hairstyle-pro"),
        ("ailab-legacy", {"image": picture, "index": 1}, "anime"),
        ("gptge", {"model": "MiniMax-Hailuo-02", **prompt}, "hailuo"),
        ("gptge", {"model": "doubao-seedance-1-0-lite", **prompt}, "seedance"),
        ("gptge", {"model": "wan2.2-t2v-plus", "input": prompt}, "bailian"),
        ("tripo", {"type": "text_to_model", **prompt}, None),
        ("tripo-v3", {"model": "v2.5-20250123", **prompt}, "text-to-model"),
        ("aigptimage", {"model": "gpt-image-2-text-to-image", "input": prompt}, None),
        ("kie", {"model": "google/nano-banana", "input": prompt}, None),
    ]


def main():
    """Measure and print."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    kinds = creates()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        memory = psutil.Process().memory_info
        before = memory().rss
        with nbh.Emulator(speed=20) as emulator:
            tasks = [
                nbh.submit(name, request, endpoint=endpoint)
                for name, request, endpoint in (kinds[i % len(kinds)] for i in range(n))
            ]
            begun = time.monotonic()
            watch = nbh.watch(tasks, display=False, timeout=300, block=True)
            spent = time.monotonic() - begun
            ledger = emulator.ledger()
            identical = sum(
                {s.sha256 for s in h.saves.values()}
                == {f.sha256 for f in ledger.task(h.task.provider, h.task.id).files.values() if f.sha256}
                for h in watch
            )
        grown = (memory().rss - before) / 1e6
    outcomes = collections.Counter(str(h.outcome) for h in watch)
    gaps = {name: min(found) for name in names() if (found := ledger.gaps(name))}
    print(f"{n} tasks over in {spent:.1f} s: {dict(outcomes)}; memory above the imports {grown:.0f} MB")
    print(f"{identical} of {n} with every file byte-identical to what was served")
    for name, gap in gaps.items():
        print(f"{name:<13} floor {get(name).floor:g} s, smallest gap {gap:.3f} s")


if __name__ == "__main__":
    main()
