"""`Watch.events()`: each event of each task once, in order, with the history up to it."""

import asyncio

from support.mill import DONE, QUEUED, WORKING, png
from support.raw_server import reply
from support.waiting import until
from support.watched import events_of, watch

from nbhelper._watching import engine as _engine
from nbhelper.types import Outcome, Snapshot, State


def test_events_are_every_observation_in_order(mill):
    """`events()` gives what was seen, with the history up to there."""
    data = reply(png())
    handle = watch(mill.job(QUEUED, WORKING, {"state": "done", "files": [mill.file(data)]}))

    async def main():
        return [o async for o in handle.events()]

    seen = asyncio.run(main())

    assert [o.event.seq for o in seen] == list(range(1, len(seen) + 1))
    assert [type(o.seen).__name__ for o in seen] == ["Mark", "Snapshot", "Snapshot", "Snapshot", "Saved"]
    assert [o.history.outcome for o in seen] == [None, None, None, Outcome.SUCCEEDED, Outcome.SUCCEEDED]
    assert seen[-1].history.events == handle[0].events


def test_events_of_a_second_watch_begin_with_it(mill):
    """A later watch tells what happened since, not the whole past."""
    ref = mill.job(WORKING)
    watch(ref, timeout=0).result(30)
    mill.jobs["job-1"][:] = [DONE]

    async def main():
        return [type(o.seen).__name__ async for o in watch(ref).events()]

    assert asyncio.run(main()) == ["Mark", "Snapshot"]


def recorded(words):
    """Have the watcher of the one watched task record so many looks at once, as if it had made them."""
    engine = _engine.engine()
    (watcher,) = until(lambda: tuple(engine.watchers.values()))
    return engine.run(watcher._recorder.record(*(Snapshot(state=State.RUNNING, word=f"{word}") for word in words)))


def test_events_that_came_faster_than_they_were_asked_for_are_all_told(mill):
    """A thousand looks, of which the history holds the newest eight: each is told once, in order, with its history."""
    handle = watch(mill.job(WORKING))
    recorded(range(1000)).result(30)

    async def main():
        observed = []
        async for observation in handle.events():
            observed.append(observation)
            if len(observed) in {1, 500, 1000}:  # some come while others are read
                await asyncio.wrap_future(recorded(range(1000 + 20 * len(observed), 1020 + 20 * len(observed))))
            if len(observed) == 1000:
                mill.jobs["job-1"][:] = [DONE]
        return observed

    observed = asyncio.run(main())

    words = [int(o.seen.word) for o in observed if isinstance(o.seen, Snapshot) and o.seen.word.isdecimal()]
    assert words[:1000] == [*range(1000)]
    assert words == sorted(words)
    assert len(words) >= 1020
    assert [o.event.seq for o in observed] == [o.history.seq for o in observed] == list(range(1, len(observed) + 1))
    assert [o.history.facts.polls for o in observed] == list(range(len(observed)))
    assert observed[-1].history == handle[0]
    assert [o.event for o in observed] == events_of(handle[0])
