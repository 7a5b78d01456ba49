"""Python inside a browser's page (JupyterLite): awaiting works, and what cannot work there says so.

There is no Pyodide here. The process has its name and its lack of threads, and one loop that runs; in the place of the
page's `fetch` stands httpx's own transport. `pyodide.mjs` beside this file is the same in a real Pyodide.
"""

import json

from support.scripts import run

import nbhelper as nbh

PAGE = """
import asyncio, json, os, sys, threading, time
del os.link, time.thread_time  # as in Pyodide

import httpx, pandas
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
import nbhelper as nbh
from nbhelper import _api, _emulated, _experiment, _fetch, _notebook, _tables

def refuse(self):
    raise RuntimeError("can't start new thread")

sys.platform, threading.Thread.start, _fetch.Fetch = "emscripten", refuse, httpx.AsyncHTTPTransport
shell = InteractiveShell.instance()
shell.kernel, shell.display_pub = object(), CapturingDisplayPublisher()

def said(call):
    try:
        call()
    except nbh.NbhelperError as error:
        return str(error)
"""

REFUSED = (
    PAGE
    + """
create = {"type": "text_to_model", "prompt": "an owl"}
experiment = nbh.Experiment("owls", lambda prompt: nbh.Request("tripo", create), grid={"prompt": ["an owl"]})

async def main():
    calls = (lambda: nbh.submit("tripo", create), nbh.Emulator, lambda: nbh.run_sync(asyncio.sleep(0)), experiment.run,
             lambda: nbh.watch("tripo:1", block=True))
    print(json.dumps([*map(said, calls), len(nbh.tasks())]))

asyncio.run(main())
"""
)

AWAITED = (
    PAGE
    + """
url, key, *ids = sys.argv[1:]
nbh.connect("tripo", key, url)

async def main():
    w = nbh.watch([f"tripo:{ident}" for ident in ids])
    early = [w.done, *map(said, (w.result, w.to_frame, lambda: next(iter(w.as_completed()))))]
    ends = [history.task.id async for history in w.as_completed()]
    histories = await w
    while not w._card.over:
        await asyncio.sleep(0.05)
    rows = nbh.tasks()
    short = await nbh.watch("tripo:unknown-here", timeout=0.3, display=False)
    return {
        "early": early, "ends": sorted(ends), "outcomes": [h.outcome for h in histories],
        "files": [[p.stat().st_size for p in h.files] for h in histories],
        "rows": dict(zip(rows.task_id, rows.outcome)), "saved": rows.n_saved.tolist(),
        "frame": len(w.to_frame()), "card": w._card._body.value + w._card._below.value,
        "frozen": shell.display_pub.outputs[-1]["data"]["text/html"],
        "short": short.outcome, "threads": threading.active_count(),
    }

print(json.dumps(asyncio.run(main())))
"""
)


def test_what_needs_a_machine_is_refused(tmp_path):
    """Submitting, the emulator, run_sync and waiting are refused in one line that says what to do; tables are read."""
    found = run(REFUSED, cwd=tmp_path, TRIPO_API_KEY="tsk_0123456789abcdef")

    assert found.stderr == ""
    *lines, tasks = json.loads(found.stdout)
    assert [line.partition(" needs threads")[0] for line in lines[:4]] == [
        "submit()",
        "The emulator",
        "run_sync()",
        "Experiment.run()",
    ]
    assert "Open the notebook on a Jupyter server" in lines[0]
    assert "A cell can `await`" in lines[2]
    assert lines[4].startswith("block=True would never end")
    assert "Use `await w`" in lines[4]
    assert tasks == 0
    assert list(tmp_path.iterdir()) == []


def test_a_watch_is_awaited(isolated):
    """Without a thread, awaiting looks, saves, stores and draws; whatever would block says to await instead."""
    folder = isolated / "page"
    folder.mkdir()
    with nbh.Emulator(speed=50) as emu:
        url, key = emu.url("tripo"), emu.key("tripo")
        tasks = [nbh.submit("tripo", {"type": "text_to_model", "prompt": word}) for word in ("an owl", "a cat")]
        found = run(AWAITED, url, key, *(task.id for task in tasks), cwd=folder)

    assert found.stderr == ""
    page = json.loads(found.stdout)
    ids = [task.id for task in tasks]
    assert page["early"][0] is False
    assert all("would never end" in line and "`await w`" in line for line in page["early"][1:])
    assert page["ends"] == sorted(ids)
    assert page["outcomes"] == ["succeeded", "succeeded"]
    assert all(files and all(files) for files in page["files"])
    assert page["rows"] == dict.fromkeys(ids, "succeeded")
    assert page["saved"] == [len(files) for files in page["files"]]
    assert page["frame"] == 2
    assert "succeeded" in page["card"]
    assert "no preview inside a browser" in page["card"]
    assert "no preview inside a browser" in page["frozen"]
    assert page["short"] == "stopped"
    assert page["threads"] == 1
