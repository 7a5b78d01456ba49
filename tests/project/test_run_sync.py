"""`run_sync`: a coroutine to its end in a script, inside a running loop, in a thread, interrupted, failed."""

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
    """Its result comes back, whether or not a loop runs here, and no thread stays behind."""
    before = threading.active_count()

    assert place(lambda: nbh.run_sync(echo([1, "two"], 0.01))) == [1, "two"]
    assert threading.active_count() <= before


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.__name__)
def test_an_exception_is_raised_here(place):
    """The coroutine's own exception reaches the caller, with the line that raised it, and none of ours around it."""

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


def test_context_variables_of_the_caller_are_read():
    """The caller's context goes along, and what the coroutine sets is not set here."""

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
        values = list(pool.map(lambda n: nbh.run_sync(echo(n, 0.01)), range(40)))

    assert values == list(range(40))


@pytest.mark.parametrize("block", [True, False])
def test_a_watch_is_awaited_in_it(mill, block):
    """`await watch(...)` works in the coroutine, also where `run_sync` is called inside a loop."""

    async def main():
        return await nbh.watch(mill.job(), display=False, block=block)

    assert nbh.run_sync(main()).succeeded
    assert inside_a_loop(lambda: nbh.run_sync(main())).succeeded


@pytest.mark.parametrize(("given", "hint"), [(echo, True), (print, False), (5, False)], ids=["async", "plain", "int"])
def test_an_uncalled_async_function_gets_the_hint_to_call_it(given, hint):
    """An async function is refused with the hint to call it, any other value that is no coroutine without the hint."""
    with pytest.raises(nbh.BadInput, match="takes a coroutine") as caught:
        nbh.run_sync(given)

    assert ("call the function" in str(caught.value)) is hint


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

async def plain():
    nbh.run_sync(echo("helper thread, inside a loop"))

before = asyncio.BaseEventLoop._run_once
nbh.run_sync(echo("helper thread"))
asyncio.run(plain())
print(nbh.run_sync(echo("alone"), nested=True)[0])
assert asyncio.BaseEventLoop._run_once is before, "patched without being asked"
assert not {"nest_asyncio", "nest_asyncio2"} & set(sys.modules)
asyncio.run(main())
"""


def test_nested_runs_on_the_loop_that_runs(tmp_path):
    """Objects bound to the running loop can be used; without `nested`, or without a loop, nothing is patched."""
    done = run(NESTED, cwd=tmp_path)

    assert (done.stdout.splitlines(), done.stderr) == (["alone", "raised", "nested task"], "")


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


def test_a_loop_that_cannot_be_nested_is_refused_in_one_line(tmp_path):
    """Loops that are not asyncio's own (uvloop): the line says what to leave out."""
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
    nbh.run_sync(forever())

try:
    asyncio.run(main()) if LOOP else nbh.run_sync(forever())
except KeyboardInterrupt:
    print("interrupted", [t.name for t in threading.enumerate() if t.name == "nbhelper-sync"])
    sys.exit(3)
"""


def interrupt(code, cwd):
    """Run a script, send Ctrl-C when it has printed `ready`; code, output and error output."""
    with start(code, cwd=cwd) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)  # the coroutines sleep ten minutes
    return process.returncode, out, err


@pytest.mark.parametrize("loop", [False, True], ids=["plain", "in a loop"])
def test_an_interrupt_cancels_the_coroutine(tmp_path, loop):
    """Ctrl-C reaches the coroutine as a cancellation and the caller as KeyboardInterrupt; no thread stays behind."""
    code, out, err = interrupt(INTERRUPTED.replace("LOOP", str(loop)), tmp_path)

    assert (code, out.splitlines(), err) == (3, ["cancelled", "interrupted []"], "")


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


def test_a_coroutine_that_ignores_its_cancellation_does_not_hold_the_caller(tmp_path):
    """The interrupt ends the script, whatever the coroutine does about it."""
    code, _, err = interrupt(STUBBORN, tmp_path)

    assert code != 0
    assert "KeyboardInterrupt" in err


def test_an_interrupt_cancels_the_coroutine_whenever_it_comes(tmp_path):
    """An interrupt also cancels it as soon as the coroutine runs, before the caller has begun to wait."""
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
