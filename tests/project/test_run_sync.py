"""`run_sync`: a coroutine to its end from anywhere, and every queued cell of a real kernel runs."""

import asyncio
import contextvars
import queue
import signal
import threading
import time

import pytest
from jupyter_client.manager import KernelManager
from support.scripts import environment, run, start
from support.waiting import until

import nbhelper as nbh

pytestmark = pytest.mark.usefixtures("isolated")


async def double(x):
    await asyncio.sleep(0)
    return 2 * x


async def fail():
    await asyncio.sleep(0)
    raise ZeroDivisionError("as asked")


def test_it_runs_where_no_loop_does():
    """In a script: the result, nothing else."""
    assert nbh.run_sync(double(2)) == 4


def test_it_runs_inside_a_running_loop():
    """In an async function, where `asyncio.run` would refuse."""

    async def main():
        return nbh.run_sync(double(3))

    assert asyncio.run(main()) == 6


def test_it_runs_in_a_thread():
    """Also where no loop was ever set."""
    found = []
    thread = threading.Thread(target=lambda: found.append(nbh.run_sync(double(4))))
    thread.start()
    thread.join(30)

    assert found == [8]


def test_it_runs_inside_itself():
    """A helper that uses it may be called from one that does."""

    async def outer():
        return nbh.run_sync(double(nbh.run_sync(double(1))))

    assert nbh.run_sync(outer()) == 4


def test_an_error_comes_through_as_it_is():
    """Type, text and the line where it was raised."""
    with pytest.raises(ZeroDivisionError, match="as asked") as caught:
        nbh.run_sync(fail())

    assert caught.traceback[-1].name == "fail"


def test_what_the_caller_set_is_what_the_coroutine_reads():
    """Context variables go along."""
    colour = contextvars.ContextVar("colour", default="none")

    async def read():
        return colour.get()

    colour.set("blue")

    assert nbh.run_sync(read()) == "blue"


def test_nothing_of_the_callers_is_patched():
    """Without `nested` the loops of this process are as they were."""

    async def main():
        loop = asyncio.get_running_loop()
        before = type(loop).run_until_complete
        nbh.run_sync(double(1))
        return type(loop).run_until_complete is before and not hasattr(asyncio, "_nest_patched")

    assert asyncio.run(main())


def test_a_watch_can_be_waited_for(mill):
    """`run_sync(w)`'s coroutine twin works with a watch."""
    handle = nbh.watch(mill.job(), block=False, display=False)

    async def wait():
        return await handle

    assert nbh.run_sync(wait()).succeeded


@pytest.mark.parametrize("given", [None, 5, double, [], "x"], ids=["None", "number", "function", "list", "text"])
def test_what_is_no_coroutine_is_refused(given):
    """An uncalled function gets the hint to call it."""
    with pytest.raises(nbh.BadInput, match="takes a coroutine") as caught:
        nbh.run_sync(given)

    assert ("call the function" in str(caught.value)) is (given is double)


def test_nested_without_a_loop_is_plain(tmp_path):
    """`nested=True` in a script needs no patch."""
    code = """
    import asyncio, nbhelper as nbh
    async def f():
        return 7
    print(nbh.run_sync(f(), nested=True), hasattr(asyncio, "_nest_patched"))
    """

    assert run(code, cwd=tmp_path).stdout == "7 False\n"


def test_nested_runs_on_the_loop_that_runs(tmp_path):
    """For objects that are bound to the running loop: the same loop, patched, in a process of its own."""
    code = """
    import asyncio, nbhelper as nbh
    async def which():
        await asyncio.sleep(0.01)
        return id(asyncio.get_running_loop())
    async def main():
        return nbh.run_sync(which(), nested=True) == id(asyncio.get_running_loop())
    print(asyncio.run(main()))
    """

    done = run(code, cwd=tmp_path, PYTHONWARNINGS="default")

    assert done.stdout == "True\n"


def test_an_interrupt_cancels_the_coroutine(tmp_path):
    """Ctrl-C ends the wait at once and lets the coroutine clean up."""
    process = start(
        """
        import asyncio, nbhelper as nbh
        async def f():
            try:
                print("ready", flush=True)
                await asyncio.sleep(60)
            finally:
                print("cleaned up", flush=True)
        try:
            nbh.run_sync(f())
        except KeyboardInterrupt:
            print("raised", flush=True)
        """,
        cwd=tmp_path,
    )
    assert process.stdout.readline() == "ready\n"

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert (out, err) == ("cleaned up\nraised\n", "")


def test_an_interrupt_cancels_the_coroutine_whenever_it_comes(tmp_path):
    """Also when it comes as soon as the coroutine runs, before the caller has begun to wait."""
    code = """
    import asyncio, os, signal, nbhelper as nbh
    begun, cleaned = [], []
    async def f():
        try:
            begun.append(1)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            cleaned.append(1)
    for _ in range(200):
        try:
            nbh.run_sync(f())
        except KeyboardInterrupt:
            pass
    print(len(begun), len(cleaned))
    """

    done = run(code, cwd=tmp_path)

    assert (done.stdout, done.stderr) == ("200 200\n", "")


# Real kernels


@pytest.fixture
def kernel(tmp_path):
    """A real kernel with this checkout on its path."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path), env=environment(PYTHONWARNINGS="default", IPYTHONDIR=str(tmp_path / "ipy")))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=30)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def answers(client, cells, deadline=30.0):
    """What each cell printed or raised, all of them sent before the first has run."""
    sent = [client.execute(code) for code in cells]
    found = dict.fromkeys(sent, "")
    idle = set()
    ends = time.monotonic() + deadline
    while len(idle) < len(sent) and time.monotonic() < ends:
        try:
            message = client.get_iopub_msg(timeout=0.5)
        except queue.Empty:
            continue
        parent = message["parent_header"].get("msg_id")
        if parent not in found:
            continue
        content = message["content"]
        if message["msg_type"] == "stream":
            found[parent] += content["text"]
        elif message["msg_type"] == "error":
            found[parent] += f"{content['ename']}: {content['evalue']}"
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            idle.add(parent)
    return [found[ident].strip() if ident in idle else "never ran" for ident in sent]


SETUP = """
import asyncio, warnings
warnings.simplefilter("ignore")
import nbhelper as nbh
async def f(x):
    await asyncio.sleep(0.05)
    return x
print("set up")
"""
WAYS = {
    "plain": ("", "nested=False"),
    "nested": ("", "nested=True"),
    "after the user's nest_asyncio2": ("import nest_asyncio2; nest_asyncio2.apply()", "nested=False"),
    "nested after the user's nest_asyncio2": ("import nest_asyncio2; nest_asyncio2.apply()", "nested=True"),
    "after the user's nest_asyncio": ("import nest_asyncio; nest_asyncio.apply()", "nested=False"),
}


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.parametrize(("first", "how"), WAYS.values(), ids=WAYS)
def test_every_queued_cell_runs(kernel, first, how):
    """Five cells sent without waiting, as "Run All" does: each one runs and answers."""
    cells = [SETUP, first or "pass", *(f"print(nbh.run_sync(f({n}), {how}))" for n in range(5)), "print('last')"]

    found = answers(kernel, cells)

    assert found[2:] == ["0", "1", "2", "3", "4", "last"]


@pytest.mark.kernel
@pytest.mark.slow
def test_watching_goes_on_while_cells_are_queued(kernel, tmp_path):
    """A real notebook's run: emulator, creates, a watch, an async cell, a plain one; all queued at once."""
    cells = [
        SETUP,
        "emu = nbh.Emulator(speed=1000); print('open')",
        "t = nbh.submit('kie', {'model': 'google/nano-banana', 'input': {'prompt': 'x'}}); print(t.provider)",
        "w = nbh.watch(t, display=False); print(type(w).__name__)",
        "print((await w).outcome)",
        "print(nbh.run_sync(f(3)), w.result().outcome, len(w.files))",
        "emu.close(); print('closed')",
    ]

    found = answers(kernel, cells)

    assert found == ["set up", "open", "kie", "Watch", "succeeded", "3 succeeded 1", "closed"]


STUCK = """
emu = nbh.Emulator(speed=1)
t = nbh.submit("kie", {"model": "google/nano-banana", "input": {"prompt": "emu:stuck"}})
w = nbh.watch(t, block=False, display=False)
"""


@pytest.mark.kernel
@pytest.mark.slow
def test_an_interrupt_in_a_cell_ends_the_wait_and_not_the_watch(tmp_path):
    """The kernel's interrupt button: one line, KeyboardInterrupt, and the watch is still there."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path), env=environment(PYTHONWARNINGS="default"))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        answers(client, [SETUP, STUCK])
        sent = client.execute("print('waiting', flush=True); w.result()")
        until(lambda: _printed(client, sent, "waiting"))
        manager.interrupt_kernel()
        until(lambda: client.get_shell_msg(timeout=30)["parent_header"].get("msg_id") == sent)
        # A failed cell takes those behind it along, also the ones that come a moment after its reply.
        until(lambda: answers(client, ["print('runs')"]) == ["runs"])
        found = answers(client, ["print(w.done, t.id == w[0].task.id); w.stop(); w.result(); emu.close()"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    assert found == ["False True"]


def _printed(client, ident, text):
    try:
        message = client.get_iopub_msg(timeout=0.2)
    except queue.Empty:
        return False
    return message["parent_header"].get("msg_id") == ident and text in message["content"].get("text", "")
