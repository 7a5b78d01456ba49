"""Waiting for a watch: `result`, `as_completed`, `await`, and where `watch` itself waits."""

import asyncio
import re
import threading

import pytest
from support.mill import DONE, WORKING, later
from support.watched import marks, watch

import nbhelper as nbh
from nbhelper.types import Outcome


def test_one_alone_gives_a_history_and_a_list_gives_a_list(mill):
    """What `result` returns has the shape of what was passed in."""
    one, other = mill.job(), mill.job()

    assert isinstance(watch(one).result(30), nbh.History)
    assert [str(h.task) for h in watch([other, one]).result(30)] == [other, one]


def test_result_with_a_timeout_limits_the_wait_alone(mill):
    """`result(timeout)` raises `WatchTimeout`, which is a TimeoutError, and the watch goes on."""
    ref = mill.job(WORKING)
    handle = watch(ref)

    with pytest.raises(nbh.WatchTimeout, match="The watch goes on") as caught:
        handle.result(0.2)
    mill.jobs["job-1"][:] = [DONE]

    assert isinstance(caught.value, TimeoutError)
    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert "stopped" not in marks(handle[0])


def test_as_completed_gives_each_as_it_ends(mill):
    """The quickest comes first, duplicates once."""
    slow, quick = mill.job(WORKING, WORKING, WORKING, WORKING, DONE), mill.job(DONE)

    order = [str(h.task) for h in watch([slow, quick, slow]).as_completed()]

    assert order == [quick, slow]


def test_as_completed_in_an_async_cell(mill):
    """`async for` gives the same order and leaves the loop free."""
    slow, quick = mill.job(WORKING, WORKING, WORKING, WORKING, DONE), mill.job(DONE)
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.01)

    async def main():
        ticking = asyncio.create_task(tick())
        ended = [str(h.task) async for h in watch([slow, quick]).as_completed()]
        ticking.cancel()
        return ended

    assert asyncio.run(main()) == [quick, slow]
    assert len(ticks) > 5


def test_await_gives_what_result_gives(mill):
    """`await w` is the same as `w.result()`, again and in another loop too."""
    handle = watch(mill.job(WORKING, DONE))

    async def main():
        return await handle

    assert asyncio.run(main()) is asyncio.run(main())
    assert handle.result(0).outcome is Outcome.SUCCEEDED


def test_two_loops_at_once_wait_for_one_watch(mill):
    """A watch is bound to no loop: two threads with a loop each await it together."""
    handle = watch(mill.job(WORKING, WORKING, DONE))
    ended = []

    async def main():
        ended.append((await handle).outcome)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert ended == [Outcome.SUCCEEDED] * 2


def test_a_loop_that_closed_while_waiting_ends_nothing(mill):
    """A coroutine that awaited it in a loop that is closed by now does not disturb the watch."""
    handle = watch(mill.job(WORKING, WORKING, WORKING, DONE))
    loop = asyncio.new_event_loop()
    waiting = handle._async_result()
    task = loop.create_task(waiting)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()  # without cancelling what runs in it

    assert handle.result(30).outcome is Outcome.SUCCEEDED
    assert marks(handle[0]) == ["watching"]
    task._log_destroy_pending = False
    waiting.close()


def test_a_watch_in_a_script_waits_by_itself(mill, capsys):
    """Without a notebook `watch` blocks and writes one line per change."""
    handle = nbh.watch(mill.job(*[WORKING] * 8, DONE))

    lines = capsys.readouterr().out.splitlines()

    assert handle.done
    assert [re.match(r"\w+", line.split(" ", 2)[2])[0] for line in lines] == ["running", "succeeded"]


def test_a_watch_inside_a_running_loop_does_not_wait(mill):
    """In an async function `watch` returns at once, whatever the place, and is awaited."""

    async def main():
        handle = nbh.watch(mill.job(WORKING, DONE), display=False)
        pending = not handle.done
        return pending, await handle

    pending, history = asyncio.run(main())

    assert pending
    assert history.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(("wish", "waits"), [("0", False), ("1", True)])
def test_the_environment_decides_about_waiting(mill, monkeypatch, wish, waits):
    """`NBHELPER_BLOCK` overrides what the place would say."""
    monkeypatch.setenv("NBHELPER_BLOCK", wish)

    handle = nbh.watch(mill.job(later(0.2, DONE)), display=False)

    assert handle.done is waits
    handle.result(30)
