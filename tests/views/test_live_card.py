"""A live card beside the watching: drawing holds up no look, and old cards are not kept for ever."""

import sqlite3
import time
from contextlib import closing

import pytest
from kernels import SETUP, Kernel
from support.mill import DONE, WORKING
from support.waiting import until

from nbhelper._store.file import WAIT

pytestmark = pytest.mark.kernel

INTERVAL = 2.0
LOCKED = WAIT - 5
"""The most seconds that the file is locked: less than a reader waits for it."""
GROUPS, SIZE = 8, 8


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, factory):
    made = Kernel(tmp_path_factory.mktemp("kernel"))
    made.run(SETUP.format(root=factory.root))
    yield made
    made.close()


def test_a_locked_history_holds_up_no_look(kernel, factory):
    """While the file is locked after tasks have ended, their costs wait, and the looks at other tasks go on."""
    going = [factory.job(WORKING, ident=f"on-{n}") for n in range(GROUPS * SIZE)]
    ends = [factory.job(DONE, ident=f"end-{n}") for n in range(200)]
    kernel.run(
        f"""
        going = []
        for some in {[going[n::GROUPS] for n in range(GROUPS)]}:
            going.append(nbh.watch(some, interval={INTERVAL}))
            time.sleep({INTERVAL} / {GROUPS})
        ends = nbh.watch({ends})
        """
    )
    until(lambda: sum(f"end-{n}" in factory.looks for n in range(len(ends))) > len(ends) / 4)
    file = kernel.folder / "nbhelper-data" / "history.db"
    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        locked = time.monotonic()

        def looked():
            return [n for n in range(len(going)) if factory.looks[f"on-{n}"][-1] > locked]

        until(lambda: len({n % GROUPS for n in looked()}) >= GROUPS - 2 and len(looked()) > len(going) / 2, LOCKED)
        other.execute("ROLLBACK")
    kernel.run("for w in (ends, *going): w.stop()")


def test_of_many_cells_the_last_cards_are_kept(kernel, factory):
    """Of cards whose handle is gone, twenty stay for a page that is reloaded; not one for every cell there ever was."""
    ref = factory.job(DONE, ident="short")
    counting = "import gc; from nbhelper._views.live_card import LiveCard, _KEPT"
    for n in range(25):
        kernel.run(f"w = nbh.watch('{ref}', display='html')", cell=f"many-{n}")
        until(lambda: kernel.value("print(w._card.over)") == "True")
    kernel.run(f"del w; {counting}")

    left = "gc.collect(); print(sum(isinstance(o, LiveCard) for o in gc.get_objects()))"
    until(lambda: int(kernel.value(left)) <= int(kernel.value("print(_KEPT)")) + GROUPS + 1)


def test_cards_are_drawn_beside_the_looks(kernel, factory):
    """No drawing in the network loop: another thread draws, the same for all cards."""
    refs = [factory.job(WORKING, ident=f"drawn-{n}") for n in range(3)]
    kernel.run(
        f"""
        import threading
        from nbhelper._views import live_card as _live_card
        threads, body = set(), _live_card.live_body
        def noted(*args):
            threads.add(threading.current_thread().name)
            return body(*args)
        _live_card.live_body = noted
        drawn = [nbh.watch(ref) for ref in {refs}]
        """
    )
    try:
        until(lambda: "nbhelper-cards" in kernel.value("print(threads)"))
    finally:
        kernel.run("_live_card.live_body = body\nfor w in drawn: w.stop()")

    assert kernel.value("print(sorted(threads))") == "['MainThread', 'nbhelper-cards']"
