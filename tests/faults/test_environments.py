"""Scripts, event loops, threads, terminals, notebooks and kernels, each as a real process with the same result."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent, indent
from types import SimpleNamespace

import nbformat
import pytest
from kernels import Kernel, frozen, of_type, printed, raised, variables
from support.mill import DONE, FLOOR, KEY, WORKING, Mill, later, png, sha256, silence
from support.raw_server import reply
from support.scripts import run, start
from support.waiting import until

import nbhelper as nbh

PICTURE = png(3000)
SETUP = dedent("""
    import asyncio, hashlib, os, sys, threading
    import nbhelper as nbh
    from support.mill import provider

    nbh.register(provider(os.environ["MILL_ROOT"]))

    def tell(result):
        h = result[0] if isinstance(result, (list, nbh.Watch)) else result
        digest = hashlib.sha256(h.files[0].read_bytes()).hexdigest()
        print(f"result {h.task.id} {h.outcome} {len(h.files)} {digest}\\n", end="")  # one write: there are two threads
""")
PLAIN = 'tell(nbh.watch("mill:x"))'
ASYNC = """
async def main():
    tell(await nbh.watch("mill:x"))
asyncio.run(main())
"""
IN_ONE_PROCESS = {
    "asyncio.run": ASYNC,
    "blocking inside a loop": 'async def main():\n    tell(nbh.watch("mill:x", block=True))\nasyncio.run(main())',
    "thread": 't = threading.Thread(target=lambda: tell(nbh.watch("mill:x")))\nt.start()\nt.join()',
    "two loops in turn": f"{ASYNC}\nasyncio.run(main())",
    "two loops at once": f"""
def go():
{indent(ASYNC, "    ")}
both = [threading.Thread(target=go) for _ in range(2)]
[t.start() for t in both]
[t.join() for t in both]
""",
    "run_sync": 'async def main():\n    return await nbh.watch("mill:x")\ntell(nbh.run_sync(main()))',
    "as_completed": 'tell(list(nbh.watch("mill:x", block=False, display=False).as_completed()))',
}
"""Code that runs one after the other in one process, each with a task of its own, by the name of its environment."""
PATCHED = "import nest_asyncio; nest_asyncio.apply()\n"


def _id(environment):
    return re.sub(r"\W+", "-", environment)


def _with_id(environment, code):
    """The code with a task whose id is made from the name of the environment."""
    return code.replace("mill:x", f"mill:{_id(environment)}")


def _script(code):
    return lambda folder: [sys.executable, "-c", code]


def _file(name, code, *command):
    def make(folder):
        (folder / name).write_text(code)
        return [sys.executable, *command, name]

    return make


def _book(code, *command):
    def make(folder):
        kernel = {"name": "python3", "display_name": "x", "language": "python"}
        book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        book.cells = [nbformat.v4.new_code_cell(c) for c in (SETUP, code)]
        nbformat.write(book, folder / "book.ipynb")
        return [sys.executable, "-m", *command]

    return make


SESSION = SETUP + "\n".join(_with_id(name, code) for name, code in IN_ONE_PROCESS.items())
PROCESSES = {
    "script": (["plain script"], _script(SETUP + _with_id("plain script", PLAIN))),
    "session": (
        [*IN_ONE_PROCESS, "import, patched"],
        _script(f"{SESSION}\n{PATCHED}{_with_id('import, patched', ASYNC)}"),
    ),
    "patched": (["patched, import"], _script(PATCHED + SETUP + _with_id("patched, import", ASYNC))),
    "terminal": (
        ["IPython"],
        _file(
            "x.ipy", SETUP + _with_id("IPython", PLAIN), "-m", "IPython", "--simple-prompt", "--no-banner",
            "--colors=NoColor",
        ),
    ),
    "terminal, await": (
        ["IPython, await"],
        _file(
            "x.ipy", f'{SETUP}{_with_id("IPython, await", """tell(await nbh.watch("mill:x", display="text"))""")}',
            "-m", "IPython", "--simple-prompt",
        ),
    ),
    "tests": (
        ["pytest"],
        _file(
            "test_x.py", f"{SETUP}\ndef test_x():\n    {_with_id('pytest', PLAIN)}\n",
            "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider",
        ),
    ),
    "nbconvert": (
        ["nbconvert"],
        _book(_with_id("nbconvert", PLAIN), "nbconvert", "--execute", "--to", "markdown", "--stdout", "book.ipynb"),
    ),
    "papermill": (
        ["papermill"],
        _book(_with_id("papermill", PLAIN), "papermill", "book.ipynb", "-", "--no-progress-bar", "--log-output"),
    ),
}  # fmt: skip
"""Process name to the environments that it covers and the function that makes its command."""
ENVIRONMENTS = {name: process for process, (environments, _) in PROCESSES.items() for name in environments}


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Each process's CompletedProcess and number of looks by task id; run in parallel, with a mill and folder each."""
    # Made before the threads start: threads that first ask for a folder at the same time remove each other's.
    folders = {name: tmp_path_factory.mktemp(_id(name)) for name in PROCESSES}

    def go(name):
        folder, (environments, command) = folders[name], PROCESSES[name]
        mill = Mill()
        for environment in environments:
            mill.job(WORKING, {**DONE, "files": [mill.file(reply(PICTURE))]}, ident=_id(environment))
        more = {"MILL_ROOT": mill.root, "MILL_API_KEY": KEY, "COLUMNS": "200"}
        try:
            done = subprocess.run(
                command(folder), cwd=folder, env={**variables(folder), **more}, capture_output=True, text=True,
                timeout=240, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            mill.close()
        return done, {ident: len(looks) for ident, looks in mill.looks.items()}

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(PROCESSES, pool.map(go, PROCESSES), strict=True))


@pytest.mark.kernel
@pytest.mark.timeout(300)  # the first test waits for all processes
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_g23_everywhere_the_same(processes, environment, bound):
    """A task has the same outcome, file and number of looks everywhere; without a front end progress is text."""
    done, looks = processes[ENVIRONMENTS[environment]]
    ident = _id(environment)

    expected = f"result {ident} succeeded 1 {sha256(PICTURE)}"
    lines = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if f"result {ident} " in line]
    assert done.returncode == 0, done.stderr[-2000:]
    assert lines
    assert all(expected in line for line in lines)
    bound(looks[ident], 2, "looks")
    if environment not in {"nbconvert", "papermill", "as_completed"}:
        assert f"mill:{ident} succeeded" in done.stdout
    if ENVIRONMENTS[environment] in {"script", "session"}:
        assert done.stderr == ""


def test_g23_a_line_of_progress_is_one_write(mill, monkeypatch):
    """A progress line and its newline are one write to stdout, so that two threads' watches do not mix their lines."""
    written = []
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=written.append, flush=lambda: None, encoding="utf-8"))

    nbh.watch(mill.job(WORKING, DONE), display="text")

    lines = [text for text in written if text]
    assert lines
    assert all(text.endswith("\n") and text.count("\n") == 1 for text in lines)


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ipywidgets", "comm", "IPython", "ipykernel", "traitlets"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def test_g24_no_widget_stack(mill, tmp_path):
    """Without ipywidgets, comm and IPython, every display falls back to text, and nothing is an ImportError."""
    mill.job(WORKING, DONE, ident="x")
    shown = "for d in ('auto', 'widget', 'html', 'text', False): print(nbh.watch('mill:x', display=d))"

    done = run(BLOCKED + SETUP + shown, cwd=tmp_path, MILL_ROOT=mill.root, MILL_API_KEY=KEY)

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.count("<Watch mill:x succeeded>") == 5
    assert done.stdout.count("mill:x succeeded") == 4 + 5


def test_interrupt_anywhere(mill, tmp_path):
    """SIGINT (Ctrl-C) at any moment ends a run in time with empty stderr, and the next run has every result."""
    for n in range(4):
        mill.job(WORKING, {**DONE, "files": [mill.file(later(0.05, reply(png(500, n))))]}, ident=f"t{n}")
    names = [f"mill:t{n}" for n in range(4)]
    code = SETUP + dedent(f"""
        try:
            print("ready", flush=True)
            nbh.watch({names}, display="text")
            nbh.tasks()
            [nbh.watch(n, display=False, interval=0.1, timeout=0.3) for n in {names}]
        except KeyboardInterrupt:
            os._exit(130) if "hard" in sys.argv else sys.exit(130)
    """)
    seen = []
    for n, delay in enumerate((0.0, 0.05, 0.15, 0.3)):
        # With warnings as a person has them: an import that is interrupted leaves its file to the garbage collector.
        process = start(
            code, *["hard"] * (n % 2), cwd=tmp_path, MILL_ROOT=mill.root, MILL_API_KEY=KEY,
            PYTHONWARNINGS="",
        )  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        seen.append((process.returncode, err))
        assert "Traceback" not in out

    final = nbh.watch(names, display=False).result(30)

    assert {code for code, _ in seen} <= {0, 130, -signal.SIGINT}  # the last when Python was leaving already
    assert {err for _, err in seen} == {""}
    assert [len(h.files) for h in final] == [1] * 4


# A kernel


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A copy of the library that a test may change."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(Path(nbh.__file__).parent, folder / "nbhelper", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, factory, library):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILL_ROOT", factory.root)
        patch.setenv("MILL_API_KEY", KEY)
        made = Kernel(tmp_path_factory.mktemp("kernel"))
    made.run(
        f"import sys; sys.path.insert(0, {str(library)!r})\nimport os; os.environ['MILL_API_KEY'] = {KEY!r}{SETUP}"
    )
    yield made
    made.close()


MOMENTS = {
    "waiting": (1, "nbh.watch('mill:{0}', display=False).result()"),
    "twice": (2, "nbh.watch('mill:{0}', display=False).result()"),
    "downloading": (1, "nbh.watch('mill:{0}-files', display=False).result()"),
    "writing": (1, "nbh.watch(['mill:{0}', *(f'mill:{0}-{{n}}' for n in range(60))], display=False).result()"),
    "drawing": (1, "nbh.watch('mill:{0}', block=True, display='html')"),
}


@pytest.mark.kernel
@pytest.mark.parametrize("moment", MOMENTS)
def test_g17_interrupt(kernel, factory, moment):
    """Interrupted while it waits, downloads, writes or draws, a cell ends in time with one line; the kernel lives."""
    times, code = MOMENTS[moment]
    factory.job(WORKING, ident=moment)
    link = factory.file(silence)
    factory.job({**DONE, "files": [link]}, ident=f"{moment}-files")
    for n in range(60):
        factory.job(WORKING, ident=f"{moment}-{n}")
    cell = kernel.send(f"print('ready')\n{code.format(moment)}")
    kernel.until(lambda m: "ready" in str(m["content"].get("text")))
    # The first look may come before the cell waits, and then no wait is interrupted.
    until(lambda: len(factory.looks.get(moment, ())) >= 2 or factory.requests_to(link.removeprefix(factory.root)))

    for _ in range(times):
        kernel.manager.interrupt_kernel()
    sent = kernel.finish(cell)

    # Interrupted while it shows the first one, IPython itself writes the word and no traceback.
    assert raised(sent) == ["KeyboardInterrupt"] or printed(sent).endswith("KeyboardInterrupt")
    lines = [line for line in printed(sent).splitlines() if line not in {"", "ready", "KeyboardInterrupt"}]
    assert [line[:20] for line in lines] == ["Interrupted the wait"]
    assert kernel.value("print(6 * 7)") == "42"


@pytest.mark.kernel
def test_g19_cell_run_twice(kernel, factory, bound):
    """A cell that is run three times shows a card each time, and one watcher looks at its task."""
    ref = factory.job(WORKING, ident="again")
    for _ in range(3):
        sent = kernel.run(f"w = nbh.watch('{ref}', interval=0.1)", cell="a")
        assert len(of_type(sent, "display_data")) == 1
    until(lambda: len(factory.looks.get("again", ())) >= 8)
    factory.jobs["again"][:] = [DONE]

    assert kernel.value("print(w.result(30).outcome)") == "succeeded"
    bound(sum(gap < FLOOR for gap in factory.starts(ref)), 0, "looks below the floor, for three runs of the cell")


@pytest.mark.kernel
def test_g18_kernel_killed_while_downloading(tmp_path, factory):
    """After a kernel is killed in the middle of a download, the next kernel saves the whole file, byte for byte."""
    whole = reply(png(200_000, 8), headers={"etag": '"8"'})

    async def stuck(conn, _request):
        await conn.send(whole[:-5000])
        await conn.gone()

    link = factory.file(stuck, whole)
    factory.job({**DONE, "files": [link]}, ident="cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILL_ROOT", factory.root)
        patch.setenv("MILL_API_KEY", KEY)
        made = Kernel(tmp_path)
    try:
        setup = f"import os; os.environ['MILL_API_KEY'] = {KEY!r}{SETUP}"
        made.run(setup)
        made.run("w = nbh.watch('mill:cut')")
        until(lambda: len(factory.requests_to(link.removeprefix(factory.root))) == 1)
        made.manager.restart_kernel(now=True)
        made.client.wait_for_ready(timeout=60)
        made.run(setup)

        ended = made.value("h = nbh.watch('mill:cut', display=False).result(30); print(h.outcome, len(h.files))")
        digest = made.value("print(hashlib.sha256(h.files[0].read_bytes()).hexdigest())")
    finally:
        made.close()

    assert ended == "succeeded 1"
    assert digest == sha256(png(200_000, 8))


@pytest.mark.kernel
def test_g20_front_end_closed_and_opened(kernel, factory):
    """Watching goes on while no client is connected to the kernel; a new client gets the outcome and its card."""
    factory.job(WORKING, ident="left")
    kernel.run("w = nbh.watch('mill:left', interval=0.1)", cell="left")
    kernel.client.stop_channels()
    seen = len(factory.looks.get("left", ()))
    until(lambda: len(factory.looks.get("left", ())) >= seen + 3)
    factory.jobs["left"][:] = [DONE]
    until(lambda: factory.replied["left"][-1] and factory.looks["left"])

    kernel.client = kernel.manager.client()
    kernel.client.start_channels()
    kernel.client.wait_for_ready(timeout=60)

    assert kernel.value("print(w.result(30).outcome)") == "succeeded"
    until(lambda: kernel.value("print(w._card.over)") == "True")
    drawn = of_type(kernel.run("w", cell="back"), "display_data")[-1]["content"]["data"]
    assert "mill:left: succeeded" in drawn["text/plain"]


@pytest.mark.kernel
def test_g25_watching_prints_into_no_other_cell(kernel, factory):
    """Cells that run while a task is watched show what they print and nothing else."""
    factory.job(*[{"state": "working", "percent": p} for p in range(0, 100, 5)], DONE, ident="busy")
    kernel.run("w = nbh.watch('mill:busy', interval=0.1)", cell="b")

    for n in range(10):
        sent = kernel.run(f"import time; time.sleep(0.1); print({n})", cell=f"c{n}")
        mine = [m for m in sent if m["msg_type"] in {"stream", "display_data", "execute_result", "error"}]
        # A kernel may send what one `print` writes as one message or as two: it flushes by the clock.
        assert {m["msg_type"] for m in mine} == {"stream"}
        assert "".join(m["content"]["text"] for m in mine) == f"{n}\n"
    assert kernel.value("print(w.result(30).outcome)") == "succeeded"
    kernel.until(frozen("busy"))


CHANGED = (
    "__init__.py", "_model/text.py", "_model/history.py", "_watching/pace.py", "_watching/engine.py",
    "_watching/task_watcher.py",
)  # fmt: skip
"""Source files of several layers, changed by the test."""


@pytest.mark.kernel
def test_g28_autoreload(kernel, factory, library):
    """With `%autoreload 2`, changed source files and a reload leave running and new watches working."""
    factory.job(WORKING, ident="kept")
    kernel.run("%load_ext autoreload\n%autoreload 2\nw = nbh.watch('mill:kept', display=False, interval=0.1)")
    assert kernel.value("print(nbh.__file__)").startswith(str(library))
    until(lambda: factory.looks.get("kept"))
    for name in CHANGED:
        path = library / "nbhelper" / name
        path.write_text(path.read_text() + "\n# changed\n")
        future = time.time() + 5
        os.utime(path, (future, future))
    kernel.run("import nbhelper as nbh\nimport importlib; importlib.reload(nbh)")
    seen = len(factory.looks["kept"])
    until(lambda: len(factory.looks["kept"]) >= seen + 3)
    factory.job(WORKING, DONE, ident="new")

    new = kernel.value("print(nbh.watch('mill:new', display=False).result(30).outcome)")
    factory.jobs["kept"][:] = [DONE]
    kept = kernel.value("print(w.result(30).outcome)")
    threads = kernel.value("import threading; print(sum(t.name == 'nbhelper' for t in threading.enumerate()))")
    kernel.run("%autoreload 0")

    assert (new, kept) == ("succeeded", "succeeded")
    assert int(threads) <= 2
