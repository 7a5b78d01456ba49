"""Real kernels with cells in the queue: "Run all" sends them without waiting, and a patched loop may lose them."""

import queue
import subprocess
import time

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from support.waiting import until

pytestmark = [
    pytest.mark.usefixtures("isolated"),
    pytest.mark.kernel,
    pytest.mark.filterwarnings("ignore:.*TCP without encryption"),
]


class Cells:
    """Cells that were all sent to a kernel at once, with the status and text of each."""

    def __init__(self, cells, *, folder, allow_stdin=True, deadline=60.0):
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder), stderr=subprocess.DEVNULL)
        try:
            self.ids = [client.execute(cell, allow_stdin=allow_stdin) for cell in cells]
            self.status = dict.fromkeys(self.ids, "never ran")
            self.texts = dict.fromkeys(self.ids, "")
            self._read(client, time.monotonic() + deadline)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    def _read(self, client, ends):
        idle = set()
        while time.monotonic() < ends and ("never ran" in self.status.values() or len(idle) < len(self.ids)):
            for get in (client.get_iopub_msg, client.get_shell_msg):
                try:
                    while True:
                        self._take(get(timeout=0.02), idle)
                except queue.Empty:
                    pass

    def _take(self, message, idle):
        cell, content = message["parent_header"].get("msg_id"), message["content"]
        if cell not in self.texts:
            return
        if message["msg_type"] == "execute_reply":
            self.status[cell] = content["status"]
        elif message["msg_type"] == "stream":
            self.texts[cell] += content["text"]
        elif message["msg_type"] == "error":
            self.texts[cell] += f"{content['ename']}: {content['evalue']}"
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            idle.add(cell)

    @property
    def seen(self):
        """Status and text of each cell, in the order they were sent."""
        return [(self.status[i], self.texts[i]) for i in self.ids]


def ok(*texts):
    return [("ok", "" if text == "" else f"{text}\n") for text in texts]


SYNC = [f"print(nbh.run_sync(asyncio.sleep(0.05, {n}), nested={n > 2}))" for n in range(6)]
WATCHED = [
    "emu = nbh.Emulator(speed=1000)",
    "task = nbh.submit('tripo', {'type': 'text_to_model', 'prompt': 'an owl'})",
    "w = nbh.watch(task, block=False, display=False)",
    "print(w.result(30).outcome)",
    "h = await w\nprint(h.outcome)",
    "print([h.outcome async for h in w.as_completed()][0])",
    "print(nbh.tasks()['outcome'].tolist())",
    "emu.close(); print('closed')",
]
ANSWERS = ok("", "", "", "succeeded", "succeeded", "succeeded", "['succeeded']", "closed")
PATCHES = {
    "nobody's": "pass",
    "nest_asyncio's": "import nest_asyncio; nest_asyncio.apply()",
    "nest_asyncio2's": "import nest_asyncio2; nest_asyncio2.apply()",
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_every_queued_cell_runs_whatever_the_user_has_patched(tmp_path, patch):
    """`run_sync` in a helper thread, then nested, then a watch: each cell runs, in order, and has its own answer.

    Behind the user's own nest-asyncio alone the cells that wait in the queue would never run.
    """
    cells = [f"{patch}\nimport asyncio, nbhelper as nbh", *SYNC, *WATCHED]

    assert Cells(cells, folder=tmp_path).seen == [*ok("", *range(6)), *ANSWERS]


STUCK = """
import nbhelper as nbh
emu = nbh.Emulator(speed=1)
t = nbh.submit("kie", {"model": "google/nano-banana", "input": {"prompt": "emu:stuck"}})
w = nbh.watch(t, block=False, display=False)
"""


def test_an_interrupt_in_a_cell_ends_the_wait_and_not_the_watch(tmp_path):
    """The kernel's interrupt button: KeyboardInterrupt in the cell, and the watch goes on."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path), stderr=subprocess.DEVNULL)
    try:
        client.execute_interactive(STUCK, timeout=60, output_hook=lambda _: None)
        waiting = client.execute("print('waiting', flush=True); w.result()")
        until(lambda: _printed(client, waiting, "waiting"), 60)
        manager.interrupt_kernel()
        until(lambda: client.get_shell_msg(timeout=30)["parent_header"].get("msg_id") == waiting)
        lines = []

        def note(message):
            lines.append(message["content"].get("text", ""))

        # A failed cell takes those behind it along, also the ones that come a moment after its reply.
        until(lambda: client.execute_interactive("", timeout=60)["content"]["status"] == "ok", 60)
        last = "print(w.done, t.id == w[0].task.id); w.stop(); w.result(); emu.close()"
        client.execute_interactive(last, timeout=60, output_hook=note)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    assert "".join(lines) == "False True\n"


def _printed(client, ident, text):
    try:
        message = client.get_iopub_msg(timeout=0.2)
    except queue.Empty:
        return False
    return message["parent_header"].get("msg_id") == ident and text in message["content"].get("text", "")


def test_a_headless_kernel_is_asked_for_no_key(tmp_path, monkeypatch):
    """A client without input gets the error that names the variable, at once; a prompt would hang the run."""
    code = "import nbhelper as nbh\ntry:\n    nbh.watch('kie:x')\nexcept nbh.MissingAPIKey as error:\n    print(error)"

    ((status, text),) = Cells([code], folder=tmp_path, allow_stdin=False).seen

    assert status == "ok"
    assert text.startswith('No key for "kie". Set the environment variable KIE_API_KEY')
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_a_cell_is_the_user_s_line_and_the_text(tmp_path):
    """A traceback in a notebook has the user's own lines and the error's text, and no frame of the library."""
    (tmp_path / "mine.py").write_text("import nbhelper as nbh\ndef ask():\n    nbh.submit('kei', {'prompt': 'x'})\n")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("import mine\nmine.ask()")]
    NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = notebook.cells[0].outputs

    assert output["ename"] == "BadInput"
    assert output["traceback"] == [
        "line 2: mine.ask()",
        f"{tmp_path / 'mine.py'}, line 3: nbh.submit('kei', {{'prompt': 'x'}})",
        f"BadInput: {output['evalue']}",
    ]


def test_the_magic_in_a_kernel(tmp_path):
    """`%load_ext nbhelper`, then `%watch` on a reference, on a variable of the notebook, and on nonsense."""
    cells = [
        f"%load_ext nbhelper\nimport nbhelper as nbh\n{WATCHED[0]}\n{WATCHED[1]}",
        "w = %watch {task}",
        "print(w.result(30).outcome)",
        "try:\n    get_ipython().run_line_magic('watch', 'kei:x')\nexcept nbh.BadInput as error:\n    print(error)",
        "emu.close()",
    ]
    seen = Cells(cells, folder=tmp_path).seen

    assert [status for status, _ in seen] == ["ok"] * 5
    assert seen[2][1] == "succeeded\n"
    assert 'Did you mean "kie"?' in seen[3][1]


VERBOSE = """
%xmode Verbose
import os
import nbhelper as nbh
os.environ["KIE_API_KEY"] = " ".join(["zq7canary0123456789"] * 2)
try:
    nbh.watch("kie:x")
except nbh.BadInput as error:
    lines = get_ipython().InteractiveTB.text(type(error), error, error.__traceback__)
print("session.py" in lines, "provider = <Provider kie" in lines, "canary" in lines.partition("_api.py")[2])
"""


def test_a_traceback_in_a_kernel_shows_no_key(tmp_path):
    """IPython's verbose tracebacks print variables: ours print none that holds the key."""
    ((status, text),) = Cells([VERBOSE.strip()], folder=tmp_path).seen

    assert (status, text.splitlines()[-1]) == ("ok", "True True False")
