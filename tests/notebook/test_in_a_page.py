"""Python inside a browser's page (JupyterLite): awaiting works, and what cannot work there says so.

Mostly there is no Pyodide here: a process that has its name and its lack of threads, and one loop that runs; in the
place of the page's `fetch` stands httpx's own transport. The last test is a real Pyodide in a real page, where one is
installed (see README.md).
"""

import asyncio
import io
import json
import os
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.mill import KEY, QUEUED, WORKING, png
from support.raw_server import reply
from support.scripts import ROOT, run

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


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0x7f.0.0.1", "localhost", "nas.local"]
)
def test_a_link_into_the_own_network_is_refused_by_its_name(host):
    """A page cannot look names up, so that what a browser would read as an address of its own network is refused."""
    from nbhelper._fetch import PageHttp
    from nbhelper._http import Forbidden

    async def fetch():
        async with PageHttp().download(f"https://{host}/a.png", None, {}):
            pass

    with pytest.raises(Forbidden, match=r"no (public|plain) address"):
        asyncio.run(fetch())


LOAD = """async ([root, code]) => {
    const { loadPyodide } = await import(`${root}/page/pyodide.mjs`);
    const python = await loadPyodide({ indexURL: `${root}/page/` });
    const archive = await (await fetch(`${root}/page/packages.zip`)).arrayBuffer();
    python.unpackArchive(archive, "zip", { extractDir: "/packages" });
    return await python.runPythonAsync(code);
}"""

REAL = """
import asyncio, json, os, sys
sys.path.insert(0, "/packages")
import nbhelper as nbh
from nbhelper import _session
from support.mill import KEY, provider

nbh.register(provider({root!r}))
nbh.connect("mill", KEY)
w = nbh.watch(["mill:whole", "mill:moved", "mill:strays"], display=False)
try:
    w.result()
except nbh.NbhelperError as error:
    refused = str(error)
whole, moved, strays = await w
large = await nbh.watch("mill:large", display=False, timeout=0)
[before] = [event.seen for event in large.events if isinstance(event.seen, nbh.types.Miss)]
json.dumps(dict(
    refused=refused, outcomes=[h.outcome for h in (whole, moved, strays)],
    sizes=[f.stat().st_size for f in whole.files], moved=moved.error,
    strays=[s.message for s in strays.saves.values()], large=before.message,
    rows=[[row["task_id"], row["outcome"]] for row in _session.store().rows()],
))
"""


def packages():
    """This checkout, the mill, and what both import, as one archive."""
    names = ("aiohappyeyeballs", "httpx", "httpcore", "h11", "anyio", "certifi", "idna", "jmespath")
    folders = {Path(find_spec(name).origin).parent for name in names}
    folders |= {ROOT / "nbhelper", ROOT / "tests" / "support"}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.write(find_spec("typing_extensions").origin, "typing_extensions.py")
        for folder in folders:
            for path in (*folder.rglob("*.py"), *folder.rglob("*.pem")):
                file.write(path, path.relative_to(folder.parent))
    return archive.getvalue()


@pytest.mark.browser
@pytest.mark.skipif("NBHELPER_PYODIDE" not in os.environ, reason="NBHELPER_PYODIDE names no folder of a Pyodide")
def test_a_watch_is_awaited_in_a_real_page(factory, browser):
    """In Chromium a watch goes through `fetch`: files saved, large replies cut off, no redirect followed with a key."""
    kinds = {".mjs": "text/javascript", ".wasm": "application/wasm"}
    for path in Path(os.environ["NBHELPER_PYODIDE"]).glob("p*.*"):
        kind = {"content-type": kinds.get(path.suffix, "application/octet-stream")}
        factory.paths[f"/page/{path.name}"] = [reply(path.read_bytes(), headers=kind)]
    factory.paths["/page/packages.zip"] = [reply(packages())]
    factory.paths["/page/"] = [reply(b"<!doctype html><title>A page</title>", headers={"content-type": "text/html"})]
    elsewhere = reply(b"", 302, {"location": "/page/elsewhere"})
    whole, stray = factory.file(reply(png(300_000))), factory.file(elsewhere)
    factory.job(QUEUED, WORKING, {"state": "done", "files": [whole]}, ident="whole")
    factory.job(elsewhere, ident="moved")
    factory.job({"state": "done", "files": [stray]}, ident="strays")
    factory.job({"state": "working", "why": "x" * 2_000_000}, ident="large")
    page = browser.new_page()

    page.goto(f"{factory.root}/page/")
    found = json.loads(page.evaluate(LOAD, [factory.root, REAL.format(root=factory.root)]))

    assert "`await w`" in found["refused"]
    assert found["outcomes"] == ["succeeded", "lost", "succeeded"]
    assert found["sizes"] == [len(png(300_000))]
    assert "redirects, and a browser does not say where to" in found["moved"]
    assert "redirects, and a browser does not say where to" in found["strays"][0]
    assert "larger than 1,000,000 bytes" in found["large"]
    assert dict(found["rows"])["whole"] == "succeeded"
    assert factory.asked("/page/elsewhere") == []
    looks = factory.asked("/jobs/")
    assert {look.header("authorization") for look in looks} == {f"Bearer {KEY}"}
    assert {look.header("cookie") for look in looks} == {None}
    page.close()
