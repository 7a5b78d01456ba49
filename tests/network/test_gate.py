"""The gate of one key: its rate, how many requests fly at once, and an outage that one request probes."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from nbhelper._network import gate as _gate
from nbhelper._network.gate import Gate
from nbhelper.types import Miss, MissKind, Snapshot, State


def miss(kind, wait=None):
    return Miss(kind=MissKind(kind), retry_after=wait)


def through(gate, n, hold=0.0):
    """A coroutine function that sends n requests through a gate, and the times at which they passed, by number."""
    times, begun = {}, time.monotonic()

    async def one(i):
        async with gate.passing():
            times[i] = time.monotonic() - begun
            await asyncio.sleep(hold)

    async def main():
        await asyncio.gather(*(one(i) for i in range(n)))

    return main, times


def run(make):
    """The result of `make`, run in an event loop of its own, as a gate belongs to one."""

    async def main():
        return await make()

    return asyncio.run(main())


def test_requests_pass_at_their_rate():
    """Requests beyond the first second's worth are spaced by the rate, in the order of waiting."""

    async def make():
        main, times = through(Gate(rate=20, in_flight=100), 30)
        await main()
        return times

    times = run(make)

    assert times[29] >= 0.4
    assert sorted(times.values()) == [times[i] for i in range(30)]


def test_a_seconds_worth_passes_at_once(monkeypatch):
    """With a clock that stands still, twenty requests pass at twenty a second, and the one that is due."""
    monkeypatch.setattr(_gate, "time", SimpleNamespace(monotonic=lambda: 1000.0))

    async def make():
        main, times = through(Gate(rate=20, in_flight=100), 30)
        going = asyncio.create_task(main())
        await asyncio.sleep(0.2)
        going.cancel()
        return len(times)

    assert run(make) == 21


def test_at_most_in_flight_requests_at_once():
    """At most `in_flight` requests are in flight; those that wait go first come, first served."""

    async def make():
        gate, flying, most, order = Gate(rate=1000, in_flight=3), 0, 0, []

        async def one(i):
            nonlocal flying, most
            async with gate.passing():
                order.append(i)
                flying += 1
                most = max(most, flying)
                await asyncio.sleep(0.01)
                flying -= 1

        await asyncio.gather(*(one(i) for i in range(12)))
        return most, order

    assert run(make) == (3, list(range(12)))


def test_a_hold_delays_all_requests():
    """After `hold` no request passes before its time; a shorter hold does not shorten it."""

    async def make():
        gate = Gate()
        gate.outage.hold(0.3)
        gate.outage.hold(0.1)  # a shorter hold does not shorten it
        main, times = through(gate, 5)
        await main()
        return times

    assert min(run(make).values()) >= 0.29


def test_in_an_outage_one_request_at_a_time_is_sent(monkeypatch):
    """After five faults in a row one request at a time is sent; the first answer opens the gate for all."""
    monkeypatch.setattr(_gate, "_PROBE_CAP", 0.04)

    async def make():
        gate, flying, most, sent = Gate(rate=1000, in_flight=12), 0, 0, 0

        async def one():
            nonlocal flying, most, sent
            while True:
                async with gate.passing():
                    flying += 1
                    sent += 1
                    most = max(most, flying if gate.outage.is_down else 0)
                    await asyncio.sleep(0.005)
                    flying -= 1
                    if sent > 20:
                        gate.outage.answered()
                        return
                    gate.outage.fault()

        for _ in range(5):
            gate.outage.fault()
        begun = time.monotonic()
        await asyncio.gather(*(one() for _ in range(30)))
        return most, time.monotonic() - begun

    most, spent = run(make)

    assert most == 1
    assert spent > 0.7  # twenty probes, four hundredths of a second apart


def test_requests_that_failed_together_are_one_outage():
    """Twelve faults of requests in flight together delay the first probe by one second at most."""

    async def make():
        gate = Gate()
        for _ in range(12):
            gate.outage.fault()
        return gate.outage.is_down, gate.outage.until - time.monotonic()

    down, wait = run(make)

    assert down
    assert wait <= 1.0


def test_pauses_between_probes_double_up_to_a_minute(monkeypatch):
    """1, 2, 4 … up to 60 seconds between probes; an answer ends the outage."""

    async def make():
        gate, waits, clock = Gate(), [], [1000.0]
        monkeypatch.setattr(_gate.time, "monotonic", lambda: clock[0])
        for _ in range(4):
            gate.outage.fault()
        for _ in range(9):
            gate.outage.fault()
            waits.append(gate.outage.until - clock[0])
            clock[0] = gate.outage.until
        gate.outage.answered()
        return waits, gate.outage.is_down

    waits, down = run(make)
    monkeypatch.undo()

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert not down


def test_an_answer_lets_all_waiting_requests_pass():
    """When an outage ends, requests that waited for a probe pass at once."""

    async def make():
        gate = Gate()
        for _ in range(5):
            gate.outage.fault()
        gate.outage._next_probe = time.monotonic() + 3600
        main, times = through(gate, 6, hold=0.05)
        waiting = asyncio.create_task(main())
        await asyncio.sleep(0.05)
        gate.outage.answered()
        await asyncio.wait_for(waiting, 60)
        return times

    assert len(run(make)) == 6


def test_a_cancelled_request_gives_its_turn_back():
    """A request that is cancelled, waiting or in flight, frees its turn."""

    async def make():
        gate = Gate(in_flight=1)

        async def hold():
            async with gate.passing():
                await asyncio.sleep(3600)

        tasks = [asyncio.create_task(hold()) for _ in range(4)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(30), gate.passing():
            return True

    assert run(make)


def test_urgent_requests_pass_before_others():
    """An urgent request (a create or first look) passes before waiting next looks, which keep their order."""

    async def make():
        gate, order = Gate(rate=1e6, in_flight=2), []

        async def one(name, urgent):
            async with gate.passing(urgent=urgent):
                order.append(name)
                await asyncio.sleep(0)

        old = [asyncio.create_task(one(n, urgent=False)) for n in range(1000)]
        await asyncio.sleep(0)
        new = asyncio.create_task(one("new", urgent=True))
        await asyncio.gather(new, *old)
        return order

    order = run(make)

    assert order.index("new") < 10
    assert [n for n in order if n != "new"] == list(range(1000))


def test_a_refusal_without_retry_after_halves_the_rate():
    """The rate is halved down to one request in two seconds; good answers bring it back slowly."""

    async def make():
        gate, spacings = Gate(rate=100), []
        for _ in range(12):
            gate.judge(miss("rate_limited"), 0.0)
            spacings.append(gate._spacing)
        for _ in range(400):
            gate.judge(Snapshot(state=State.RUNNING), 0.0)
        return spacings, gate._spacing, gate.outage.is_down

    spacings, after, down = run(make)

    assert spacings[:3] == pytest.approx([0.02, 0.04, 0.08])
    assert spacings[-1] == 2.0
    assert after == pytest.approx(0.01)
    assert not down


def test_a_refusal_with_retry_after_is_a_hold(monkeypatch):
    """With `Retry-After` the gate waits for so long and keeps its rate."""

    async def make():
        gate = Gate(rate=100)
        with monkeypatch.context() as still:
            still.setattr(_gate.time, "monotonic", lambda: 1000.0)
            gate.judge(miss("rate_limited", 0.3), 5.0)
        return gate.outage.until - 1000, gate._spacing

    wait, spacing = run(make)

    assert wait == pytest.approx(0.3)
    assert spacing == pytest.approx(0.01)


@pytest.mark.parametrize("kind", ["garbled", "not_found", "refused", "no_credit", "bad_request"])
def test_any_answer_ends_an_outage(kind):
    """A miss that the server itself answered ends an outage."""

    async def make():
        gate = Gate()
        for _ in range(6):
            gate.judge(miss("server"), 2.0)
        was = gate.outage.is_down
        gate.judge(miss(kind), 2.0)
        return was, gate.outage.is_down

    assert run(make) == (True, False)
