"""Python inside a browser's page (JupyterLite): what cannot work there says so, and what can works.

There is no Pyodide here. The process has its name and its lack of threads, which is where everything would end.
"""

from support.scripts import run

PAGE = """
import asyncio, sys, threading
import pandas, nbhelper as nbh
from nbhelper import _api, _emulated, _session, _store, _sync, _tables

def refuse(self):
    raise RuntimeError("can't start new thread")

sys.platform, threading.Thread.start = "emscripten", refuse

async def main():
    create = {"type": "text_to_model", "prompt": "an owl"}
    for call in (
        lambda: nbh.watch("tripo:1"), lambda: nbh.submit("tripo", create), nbh.Emulator,
        lambda: nbh.run_sync(asyncio.sleep(0)),
    ):
        try:
            call()
        except nbh.NbhelperError as error:
            print(error)
    print(len(nbh.tasks()))

asyncio.run(main())
"""


def test_inside_a_page(tmp_path):
    """Watching, submitting, the emulator and run_sync are refused in one line that says what to do; tables are read."""
    found = run(PAGE, cwd=tmp_path, TRIPO_API_KEY="tsk_0123456789abcdef")

    assert found.stderr == ""
    lines = found.stdout.splitlines()
    assert [line.partition(" needs threads")[0] for line in lines[:4]] == [
        "watch()",
        "submit()",
        "The emulator",
        "run_sync()",
    ]
    assert "Open the notebook on a Jupyter server" in lines[0]
    assert "`await`" in lines[3]
    assert lines[4:] == ["0"]
    assert list(tmp_path.iterdir()) == []
