"""When to look again, and through which gate: floors hold, the server's wishes are kept, an outage is no storm."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhelper import _gate
from nbhelper._gate import Gate
from nbhelper._history import History
from nbhelper._pace import BACKOFF_CAP, LONGEST, SLOW, pause
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Snapshot, State, Task

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
FLOOR = 2.0


def grown(*seen, every=2.0):
    history, at = History(Task("mill", "x")), T0
    for item in seen:
        if isinstance(item, int | float):
            at += timedelta(seconds=item)
        else:
            history = history.add(item, at)
            at += timedelta(seconds=every)
    return history


def next_pause(*seen, floor=FLOOR, interval=None, chance=0.0):
    history = grown(*seen)
    return pause(history, history.events[-1].at, floor=floor, interval=interval, chance=chance)


def running(**more):
    return Snapshot(state=State.RUNNING, **more)


def miss(kind, wait=None):
    return Miss(kind=MissKind(kind), retry_after=wait)


SEEN = st.one_of(
    st.builds(
        Snapshot,
        state=st.sampled_from([State.QUEUED, State.RUNNING, State.UNKNOWN]),
        progress=st.none() | st.floats(0, 1),
        seconds_left=st.none() | st.floats(0, 1e9),
    ),
    st.builds(Miss, kind=st.sampled_from(MissKind), retry_after=st.none() | st.floats(0.001, 600)),
    st.just(Mark(word=MarkWord.RESUMED)),
)


@settings(max_examples=400)
@given(
    st.lists(st.tuples(SEEN, st.floats(0, 5000)), min_size=1, max_size=14),
    st.floats(0.1, 60),
    st.none() | st.floats(0.001, 1e6),
    st.floats(0, 1),
)
def test_nothing_goes_below_the_floor(past, floor, interval, chance):
    """Whatever was seen and wished, the next look comes after the floor and after what the server asked for."""
    history, at = History(Task("mill", "x")), T0
    for seen, later in past:
        at += timedelta(seconds=later)
        history = history.add(seen, at)

    wait = pause(history, at, floor=floor, interval=interval, chance=chance)

    trouble = history.facts.trouble
    if history.facts.last_look_at is not None:
        assert wait >= floor
        assert wait >= (trouble.retry_after or 0 if trouble else 0)
        assert wait <= max(floor, interval or 0, LONGEST, BACKOFF_CAP, 600) * 1.08


def test_the_first_look_is_at_once():
    """Nothing was seen, so nothing is waited for."""
    history = grown(Mark(word=MarkWord.WATCHING))

    assert pause(history, T0, floor=5) == 0


PAUSES = {
    "just begun": ([running()], 2.0),
    "the server's own estimate": ([running(seconds_left=8.0)], 8.26),
    "an estimate below the floor": ([running(seconds_left=0.5)], 2.0),
    "an estimate of hours": ([running(seconds_left=9000.0)], LONGEST),
    "the slope of the progress": ([running(progress=0.1), 3.0, running(progress=0.5)], 5 / 0.4 * 0.5 * 1.02 + 0.1),
    "no slope yet": ([running(progress=0.5), running(progress=0.5)], 2.0),
    "a sixth of the time spent": ([running(), 58.0, running()], 10.0),
    "never longer than the longest": ([running(), 900.0, running()], LONGEST),
    "queued for a minute": ([Snapshot(state=State.QUEUED), 58.0, Snapshot(state=State.QUEUED)], 10.0),
    "one unknown word": ([Snapshot(state=State.UNKNOWN)], 2.0),
    "three unknown words": ([Snapshot(state=State.UNKNOWN)] * 3, SLOW),
    "garbled once": ([miss("garbled")], 2.0),
    "garbled thrice": ([miss("garbled")] * 3, SLOW),
    "no credit": ([miss("no_credit")], SLOW),
    "refused": ([miss("refused")], 2.0),
    "not found": ([miss("not_found")], 2.0),
    "not found again": ([miss("not_found")] * 3, 6.0),
    "asked to wait": ([miss("rate_limited", 7.0)], 7.0),
    "asked to wait less than the floor": ([miss("rate_limited", 0.5)], 2.0),
    "asked to wait ten minutes": ([miss("server", 600.0)], 600.0),
    "a good look after misses": ([miss("server")] * 6 + [running(seconds_left=4.0)], 4.18),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "expected"), PAUSES.values(), ids=PAUSES)
def test_pauses(seen, expected):
    """The table of pauses, without chance; the jitter adds two per cent at least and never takes away."""
    wait = next_pause(*seen)

    assert wait == pytest.approx(max(FLOOR, expected) * 1.02)


@pytest.mark.parametrize("kind", ["network", "server", "rate_limited"])
def test_an_outage_is_met_with_full_jitter(kind):
    """The pause grows to a minute, spread over all of it, so that a fleet does not come back as one."""
    longest = [next_pause(*[miss(kind)] * n, chance=1.0) for n in range(1, 12)]
    shortest = [next_pause(*[miss(kind)] * n, chance=0.0) for n in range(1, 12)]

    assert longest == sorted(longest)
    assert longest[0] == pytest.approx(4 * 1.07)
    assert longest[-1] == pytest.approx(60 * 1.07)
    assert set(shortest) == {2.0 * 1.02}


def test_a_wish_is_for_healthy_looks_alone():
    """`interval` replaces the aim, not the backoff and not the server's word."""
    assert next_pause(running(seconds_left=60.0), interval=4.0) == pytest.approx(4.08)
    assert next_pause(running(), interval=0.01) == pytest.approx(2.04)
    assert next_pause(miss("server", 9.0), interval=3.0) == pytest.approx(9.18)


# The gate


def through(gate, n, hold=0.0):
    """When each of n requests passed, in order of asking."""
    times, begun = {}, time.monotonic()

    async def one(i):
        async with gate.passing():
            times[i] = time.monotonic() - begun
            await asyncio.sleep(hold)

    async def main():
        await asyncio.gather(*(one(i) for i in range(n)))

    return main, times


def run(make):
    """A gate belongs to the loop it is used in."""

    async def main():
        return await make()

    return asyncio.run(main())


def test_requests_pass_at_their_rate():
    """Beyond a second's worth at once, requests are spaced by the API's limit."""

    async def make():
        main, times = through(Gate(rate=20, in_flight=100), 30)
        await main()
        return times

    times = run(make)

    assert times[19] < 0.3
    assert times[29] >= 0.4
    assert sorted(times.values()) == [times[i] for i in range(30)]


def test_so_many_fly_at_once():
    """Never more than the gate allows, first come first served."""

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


def test_a_wish_to_wait_holds_for_all():
    """What the server asks of one, everybody keeps."""

    async def make():
        gate = Gate()
        gate.slow_down(0.3)
        gate.slow_down(0.1)  # a shorter wish takes nothing back
        main, times = through(gate, 5)
        await main()
        return times

    assert min(run(make).values()) >= 0.29


def test_an_outage_is_probed_by_one(monkeypatch):
    """After five faults in a row one request at a time goes out; the first answer opens the gate for all."""
    monkeypatch.setattr(_gate, "_PROBE_CAP", 0.04)

    async def make():
        gate, flying, most, asked = Gate(rate=1000, in_flight=12), 0, 0, 0

        async def one():
            nonlocal flying, most, asked
            while True:
                async with gate.passing():
                    flying += 1
                    asked += 1
                    most = max(most, flying if gate.down else 0)
                    await asyncio.sleep(0.005)
                    flying -= 1
                    if asked > 20:
                        gate.fine()
                        return
                    gate.fault()

        for _ in range(5):
            gate.fault()
        begun = time.monotonic()
        await asyncio.gather(*(one() for _ in range(30)))
        return most, time.monotonic() - begun

    most, spent = run(make)

    assert most == 1
    assert spent > 0.7  # twenty probes, four hundredths of a second apart
    assert spent < 6


def test_requests_that_failed_together_are_one_outage():
    """Twelve requests under way when the network goes do not make the first probe wait a minute."""

    async def make():
        gate = Gate()
        for _ in range(12):
            gate.fault()
        return gate.down, gate._not_before - time.monotonic()

    down, wait = run(make)

    assert down
    assert wait <= 1.0


def test_probes_are_further_and_further_apart(monkeypatch):
    """One, two, four … up to sixty seconds between probes; an answer begins anew."""

    async def make():
        gate, waits, clock = Gate(), [], [1000.0]
        monkeypatch.setattr(_gate.time, "monotonic", lambda: clock[0])
        for _ in range(4):
            gate.fault()
        for _ in range(9):
            gate.fault()
            waits.append(gate._not_before - clock[0])
            clock[0] = gate._not_before
        gate.fine()
        return waits, gate.down

    waits, down = run(make)
    monkeypatch.undo()

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert not down


def test_an_answer_ends_an_outage_for_those_who_wait():
    """Whoever waited for a probe passes at once, and together."""

    async def make():
        gate = Gate()
        for _ in range(5):
            gate.fault()
        gate._not_before = time.monotonic() + 30
        main, times = through(gate, 6, hold=0.05)
        waiting = asyncio.create_task(main())
        await asyncio.sleep(0.05)
        gate.fine()
        await asyncio.wait_for(waiting, 2)
        return times

    assert max(run(make).values()) < 0.3


def test_a_cancelled_request_gives_its_turn_back():
    """Cancelled while waiting or flying, nothing stays taken."""

    async def make():
        gate = Gate(in_flight=1)

        async def hold():
            async with gate.passing():
                await asyncio.sleep(30)

        tasks = [asyncio.create_task(hold()) for _ in range(4)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(1), gate.passing():
            return True

    assert run(make)
