"""An experiment in a kernel: its card shows unsent tasks, Stop ends the submitting, after the end it sends nothing."""

import itertools

import pytest
from kernels import SETUP, Kernel, of_type, printed
from support.mill import DONE, WORKING, Mill
from support.raw_server import reply
from support.waiting import until

pytestmark = pytest.mark.kernel

ASK = """
import nbhelper as nbh
def ask(n):
    return nbh.Request("mill", {"n": n}, endpoint="image")
"""


@pytest.fixture(scope="module")
def factory():
    """The mill takes every create; its jobs work until the test ends them."""
    made, numbers = Mill(), itertools.count()

    async def create(conn, _request):
        ident = f"made-{next(numbers)}"
        made.job(WORKING, ident=ident)
        await conn.send(reply({"id": ident}))

    made.creates[:] = [create]
    yield made
    made.close()
    assert made.server.faults == []


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, factory):
    made = Kernel(tmp_path_factory.mktemp("kernel"))
    made.run(SETUP.format(root=factory.root))
    made.run(ASK)
    yield made
    made.close()


def test_the_cell_returns_at_once_and_the_card_shows_what_waits(kernel, factory):
    """Four places from the start; what waits is unsent, in the card and in the repr; the end freezes one HTML card."""
    sent = kernel.run("exp = nbh.Experiment('e', ask, {'n': range(4)}, concurrency=1); w = exp.run()", cell="a")

    assert len(of_type(sent, "display_data")) == 1
    kernel.until(lambda m: "3 unsent" in str(m["content"]))
    assert "3 unsent" in kernel.value("print(w)")

    def finished():
        for answers in factory.jobs.values():
            answers[:] = [DONE]
        return kernel.value("print(w.done)") == "True"

    until(finished, deadline=30)
    until(lambda: kernel.value("print(w._card.over)") == "True", deadline=30)
    shown = of_type(kernel.run("w", cell="b"), "display_data")[0]["content"]["data"]
    assert "all 4 over" in shown["text/html"]
    assert "unsent" not in shown["text/html"]


def test_after_the_end_nothing_is_sent(kernel):
    """No clock goes on: a hosted session whose tasks are over counts as idle and may end."""
    while kernel.next(1.0) is not None:
        pass

    assert kernel.next(1.5) is None  # a live card's clock ticks each second


def test_the_button_ends_the_submitting(kernel, factory):
    """A click while three wait: they are never sent, and the card says so."""
    before = len(factory.jobs)
    kernel.run("s = nbh.Experiment('s', ask, {'n': range(4)}, concurrency=1).run()", cell="c")
    until(lambda: len(factory.jobs) > before)
    until(lambda: kernel.value("print(s.alive)") == "1")

    kernel.run("s._card._stop.click()")

    assert kernel.value("print(len(s.result(30)))") == "4"
    assert len(factory.jobs) == before + 1
    assert "not submitted: stopped with the card" in printed(kernel.run("print([h.error for h in s])"))
