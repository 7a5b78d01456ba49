"""When looks go out: never before the floor, whatever is asked, and as the interval or the server says."""

import time

import pytest
from support.mill import DONE, FLOOR, WORKING, png, provider, sha256, silence
from support.raw_server import reply
from support.waiting import until
from support.watched import looks, watch

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._watching import engine as _engine
from nbhelper._watching import task_watcher
from nbhelper.types import Outcome


def test_no_floor_is_broken_whatever_is_asked(mill):
    """An interval below the floor is a warning, once, and the floor holds for every handle and every file."""
    dead = reply(b"", 403)
    names = [mill.file(dead, name=f"{n}.png") for n in range(4)]
    ref = mill.job(*[WORKING] * 6, {"state": "done", "files": names})

    with pytest.warns(UserWarning, match=r"mill is looked at every 0\.1 s at the most") as caught:
        handles = [watch(ref, interval=0.01) for _ in range(3)]
    for handle in handles:
        handle.result(30)

    assert len(caught) == 1
    assert len(mill.looks["job-1"]) >= 8
    assert min(mill.gaps()) >= FLOOR


def test_links_that_died_together_share_their_looks(mill):
    """Four dead links of a running task take a look for fresh ones, and never two looks at once."""
    nbh.register(provider(mill.root, floor=1.5))
    data = png(10)
    dead = [mill.file(reply(b"", 410), name=f"{n}.png") for n in range(4)]
    alive = [mill.file(reply(data + bytes([n])), name=f"{n}.png") for n in range(4)]
    ref = mill.job({"state": "working", "files": dead}, {"state": "working", "files": alive}, DONE)

    history = watch(ref).result(30)

    assert sorted(sha256(f.read_bytes()) for f in history.files) == sorted(sha256(data + bytes([n])) for n in range(4))
    assert min(mill.gaps()) >= 1.5
    assert len(mill.looks["job-1"]) <= 4


def watched_again(history):
    """Begin to watch with a history of one's own, as a call does that read it from the store."""
    engine, store = _engine.engine(), session.store()
    calls = []
    engine.attach([(history, session.connection("mill"))], calls.append, store=store, folder=None, interval=None)
    return calls


def test_a_watch_that_knows_an_older_history_keeps_the_floor(mill):
    """What a call has read may be older than the last look of the watch that ends meanwhile."""
    nbh.register(provider(mill.root, floor=1.5))
    handle = watch(mill.job(WORKING))
    until(lambda: looks(handle[0]))
    early = handle[0]
    until(lambda: handle[0].facts.polls == 2)
    handle.stop()
    handle.result(30)

    calls = watched_again(early)

    until(lambda: len(mill.looks["job-1"]) == 3)
    assert min(mill.gaps()) >= 1.5
    _engine.engine().detach([calls[-1].key], calls.append, "enough").result(30)


def test_a_look_that_was_given_up_counts_for_the_floor(mill, monkeypatch):
    """The server may have answered a look that nobody waited for: the next watch does not ask at once."""
    nbh.register(provider(mill.root, floor=1.5))
    monkeypatch.setattr(task_watcher, "_LAST_REPLY", 0.01)
    handle = watch(mill.job(silence, DONE))
    until(lambda: mill.looks.get("job-1"))
    stopped = time.monotonic()
    handle.stop()
    handle.result(30)

    assert watch("mill:job-1").result(30).outcome is Outcome.SUCCEEDED
    assert mill.looks["job-1"][1] - stopped >= 1.5


def test_an_interval_is_kept(mill):
    """A wish above the floor decides how often a healthy task is looked at."""
    watch(mill.job(WORKING, WORKING, DONE), interval=0.4).result(30)

    assert min(mill.gaps()) >= 0.4


def test_the_shortest_interval_of_several_handles_counts(mill):
    """A handle that joins with a shorter interval moves the look that is planned; a longer one changes nothing."""
    handles = [watch(mill.job(WORKING), interval=600.0)]
    until(lambda: handles[0][0].facts.polls == 1)
    for interval in (0.2, 600.0):
        handles.append(watch("mill:job-1", interval=interval))
        polls = handles[0][0].facts.polls
        until(lambda polls=polls: handles[0][0].facts.polls >= polls + 3)

    for handle in handles:
        handle.stop()


@pytest.mark.parametrize("left", [0.3, 0.6])
def test_looks_aim_at_the_finish_that_the_server_expects(mill, left):
    """With the server's own estimate there is one look less than the floor would allow for."""
    watch(mill.job({"state": "working", "left": left}, DONE)).result(30)

    assert len(mill.looks["job-1"]) == 2
    assert mill.gaps()[0] >= left
