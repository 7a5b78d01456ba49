"""Many tasks over all APIs at once: all end, every byte is right, no floor is broken, little memory is used."""

import json

import pytest
from support.scripts import run

CODE = """
import hashlib, io, json, pathlib, sys, time
import psutil
import pandas, httpx, rich, jmespath, PIL.Image
import nbhelper as nbh
import nbhelper._api, nbhelper._emulated
from nbhelper._network import http
from nbhelper._submitting import send
from nbhelper._tables import frames, summary
from nbhelper._watching import engine
from nbhelper._providers import get, names

def picture():
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), "teal").save(buffer, "JPEG")
    return buffer.getvalue()

def image(model):
    return {"model": model, "input": {"prompt": "a fox"}}

CREATES = [
    ("ailab", {"image": picture(), "index": 0}, "anime"),
    ("ailab-legacy", {"image": picture(), "index": 1}, "anime"),
    ("gptge", {"model": "MiniMax-Hailuo-02", "prompt": "waves"}, "hailuo"),
    # At this speed a link lives for seven seconds, and a busy machine may take longer to fetch two hundred.
    ("tripo", {"type": "text_to_model", "prompt": "an owl emu:link=600"}, None),
    ("tripo-v3", {"prompt": "a chair emu:link=600", "model": "v2.5-20250123"}, "text-to-model"),
    ("aigptimage", image("gpt-image-2-text-to-image"), None),
    ("kie", image("google/nano-banana"), None),
]
N = int(sys.argv[1])
memory = psutil.Process().memory_info
# The emulator is another process, as a real API would be; only its bookkeeping is read here.
with nbh.Emulator(speed=40, seed=3) as emulator:
    before = memory().rss
    most = before
    tasks = []
    for n in range(N):
        name, request, endpoint = CREATES[n % len(CREATES)]
        tasks.append(nbh.submit(name, request, endpoint=endpoint, label=f"{n}"))
    begun = time.monotonic()
    handle = nbh.watch(tasks, block=False, display=False, preview=False)
    while not handle.done:
        try:
            handle.result(0.25)
        except nbh.WatchTimeout:
            pass
        most = max(most, memory().rss)
        assert time.monotonic() - begun < 200
    spent = time.monotonic() - begun
    ledger = emulator.ledger()
    wrong = []
    for history in handle:
        truth = ledger.task(history.task.provider, history.task.id)
        saved = {s.sha256 for s in history.saves.values()}
        if history.outcome != truth.state or saved != {f.sha256 for f in truth.files.values()}:
            wrong.append(str(history))
    for history in handle:
        for s in history.saves.values():
            if not s.file or hashlib.sha256(pathlib.Path(s.file).read_bytes()).hexdigest() != s.sha256:
                wrong.append(s.name)
    floors = {n: min(ledger.gaps(n), default=99) - get(n).floor for n in names()}
    keyed = sum(d.with_key for t in ledger.tasks for d in t.downloads)
    print(json.dumps({
        "outcomes": sorted({str(h.outcome) for h in handle}), "wrong": wrong, "floors": floors, "keyed": keyed,
        "spent": spent, "grown": (most - before) / 1e6, "rows": len(nbh.tasks()), "files": len(handle.files),
        "misses": sum(h.facts.misses for h in handle),
    }))
"""


@pytest.mark.long
@pytest.mark.timeout(240)
def test_two_hundred_tasks_over_all_apis(tmp_path):
    """Two hundred at once: all succeed, files as the ledger has them, floors kept, less than 150 MB more."""
    done = run(CODE, "200", cwd=tmp_path, timeout=220)

    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["outcomes"] == ["succeeded"]
    assert report["wrong"] == []
    assert min(report["floors"].values()) >= 0
    assert report["keyed"] == 0
    assert report["rows"] == 200
    assert report["misses"] == 0
    assert report["grown"] < 150
