"""`run_sync`: a coroutine to its end in a script, inside a running loop, in a thread, interrupted, and gone wrong."""

import asyncio
import contextvars
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.scripts import run, start

import nbhelper as nbh

pytestmark = pytest.mark.usefixtures("isolated")

WHERE = contextvars.ContextVar("where", default="nowhere")


async def echo(value, seconds=0.0):
    await asyncio.sleep(seconds)
    return value


def plainly(call):
    return call()


def inside_a_loop(call):
    async def main():
        return call()

    return asyncio.run(main())


def inside_a_task(call):
    async def work():
        await asyncio.sleep(0)
        return call()

    async def main():
        return await asyncio.create_task(work())

    return asyncio.run(main())


def in_a_thread(call):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def inside_itself(call):
    async def main():
        return call()

    return nbh.run_sync(main())


PLACES = [plainly, inside_a_loop, inside_a_task, in_a_thread, inside_itself]


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.__name__)
def test_a_coroutine_is_run_to_its_end(place):
    """Its result comes back, whether or not a loop runs here, and no thread of its stays."""
    before = threading.active_count()

    assert place(lambda: nbh.run_sync(echo([1, "two"], 0.01))) == [1, "two"]
    assert threading.active_count() <= before


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.__name__)
def test_what_it_raises_is_raised_here(place):
    """The exception itself, with the line that raised it, not one of ours around it."""

    class OwnError(Exception):
        pass

    error = OwnError("from within")

    async def fail():
        await asyncio.sleep(0)
        raise error

    with pytest.raises(OwnError) as caught:
        place(lambda: nbh.run_sync(fail()))

    assert caught.value is error
    assert caught.traceback[-1].name == "fail"


def test_what_the_caller_set_is_what_it_reads():
    """The caller's context goes along, and what the coroutine sets stays with it."""

    async def read():
        was = WHERE.get()
        WHERE.set("inside")
        return was

    token = WHERE.set("here")
    try:
        assert nbh.run_sync(read()) == "here"
        assert WHERE.get() == "here"
    finally:
        WHERE.reset(token)


def test_many_threads_run_theirs_at_once():
    """Each call has a loop of its own."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: nbh.run_sync(echo(n, 0.01)), range(40)))

    assert found == list(range(40))


@pytest.mark.parametrize("block", [True, False])
def test_a_watch_is_awaited_in_it(mill, block):
    """`await watch(...)` works in what is run, and in what is run inside a loop."""

    async def main():
        return await nbh.watch(mill.job(), display=False, block=block)

    assert nbh.run_sync(main()).succeeded
    assert inside_a_loop(lambda: nbh.run_sync(main())).succeeded


NESTED = """
import asyncio, sys
import nbhelper as nbh

async def echo(value):
    await asyncio.sleep(0.01)
    return value, id(asyncio.get_running_loop())

async def main():
    there = id(asyncio.get_running_loop())
    later = asyncio.create_task(echo("task"))
    value, here = nbh.run_sync(echo("nested"), nested=True)
    assert here == there
    try:
        nbh.run_sync(asyncio.wait_for(asyncio.sleep(9), 0.01), nested=True)
    except TimeoutError:
        print("raised")
    print(value, (await later)[0])

before = asyncio.BaseEventLoop._run_once
nbh.run_sync(echo("helper thread"))
assert asyncio.BaseEventLoop._run_once is before, "patched without being asked"
assert not {"nest_asyncio", "nest_asyncio2"} & set(sys.modules)
asyncio.run(main())
print(nbh.run_sync(echo("alone"), nested=True)[0])
"""


def test_nested_runs_on_the_loop_that_is_there(tmp_path):
    """Objects bound to the running loop can be used; nothing is patched unless it is asked for."""
    done = run(NESTED, cwd=tmp_path)

    assert (done.stdout.splitlines(), done.stderr) == (["raised", "nested task", "alone"], "")


FOREIGN = """
import asyncio
import nbhelper as nbh

class Foreign(asyncio.AbstractEventLoop):
    def __getattr__(self, name):
        return getattr(inner, name)

inner = asyncio.new_event_loop()
asyncio._set_running_loop(Foreign())
try:
    nbh.run_sync(asyncio.sleep(0), nested=True)
except nbh.BadInput as error:
    print(error)
finally:
    asyncio._set_running_loop(None)
    inner.close()
"""


def test_a_loop_that_cannot_be_nested_is_told(tmp_path):
    """Loops that are not asyncio's own (uvloop): one line that says what to leave out."""
    done = run(FOREIGN, cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.startswith("nested=True cannot be had here: ")
    assert done.stdout.count("\n") == 1


INTERRUPTED = """
import asyncio, sys, threading
import nbhelper as nbh

async def forever():
    try:
        print("ready", flush=True)
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise

async def main():
    nbh.run_sync(forever(), nested=NESTED)

try:
    asyncio.run(main()) if LOOP else nbh.run_sync(forever(), nested=NESTED)
except KeyboardInterrupt:
    print("interrupted", [t.name for t in threading.enumerate() if t.name == "nbhelper-sync"])
    sys.exit(3)
"""


@pytest.mark.parametrize("loop", [False, True], ids=["plain", "in a loop"])
def test_an_interrupt_cancels_it(tmp_path, loop):
    """Ctrl-C reaches the coroutine as a cancellation and the caller as KeyboardInterrupt, at once."""
    code = INTERRUPTED.replace("NESTED", "False").replace("LOOP", str(loop))
    with start(code, cwd=tmp_path) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)

    assert (out.splitlines(), err, process.returncode) == (["cancelled", "interrupted []"], "", 3)


STUBBORN = """
import asyncio
import nbhelper as nbh

async def stubborn():
    print("ready", flush=True)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

nbh.run_sync(stubborn())
"""


def test_what_ignores_its_cancellation_does_not_hold_the_caller(tmp_path):
    """Whoever interrupts gets out, whatever the coroutine does about it."""
    with start(STUBBORN, cwd=tmp_path) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert process.returncode != 0
    assert "KeyboardInterrupt" in err
