"""When to look again: floors hold, the server's wishes are kept, what ended before tells when to expect an end."""

import math
import random
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhelper._model.history import History
from nbhelper._watching import durations
from nbhelper._watching.durations import Curve, Durations, Spell, schedule
from nbhelper._watching.pace import BACKOFF_CAP, JITTER, LONGEST, PRICE, SLOW, pause
from nbhelper._watching.past import Past
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Snapshot, State, Task

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
FLOOR = 2.0
A_MINUTE = math.sqrt(2 * PRICE * FLOOR * 60)
"""The pause after a minute of which nothing is known."""


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


def queued(**more):
    return Snapshot(state=State.QUEUED, **more)


PAUSES = {
    "just begun": ([running()], 2.0),
    "an estimate below the floor": ([running(seconds_left=0.5)], 2.0),
    "an estimate of hours": ([running(seconds_left=9000.0)], LONGEST),
    "no slope yet": ([running(progress=0.5), running(progress=0.5)], 2.0),
    "nothing told for a minute": ([running(), 58.0, running()], A_MINUTE),
    "never longer than the longest": ([running(), 9000.0, running()], LONGEST),
    "queued for a minute": ([queued(), 58.0, queued()], A_MINUTE),
    "a queue that moves": ([queued(queue_position=9), 8.0, queued(queue_position=4)], 8.0),
    "overdue by a minute": ([running(seconds_left=1.0), 59.0, running(seconds_left=1.0)], A_MINUTE),
    "stuck near the end": (
        [running(progress=0.5), running(progress=0.99), 58.0, running(progress=0.99)], A_MINUTE
    ),
    "a good look after misses": ([miss("server")] * 6 + [running(seconds_left=1.0)], 2.0),
}  # fmt: skip

TROUBLES = {
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
}


@pytest.mark.parametrize(("seen", "expected"), PAUSES.values(), ids=PAUSES)
def test_pauses(seen, expected):
    """The table of pauses, without chance; the jitter adds a share of the floor and never takes away."""
    wait = next_pause(*seen)

    assert wait == pytest.approx(max(FLOOR, expected) + FLOOR * JITTER[0])


@pytest.mark.parametrize(("seen", "expected"), TROUBLES.values(), ids=TROUBLES)
def test_pauses_in_trouble(seen, expected):
    """The same while looks give nothing; here the jitter is a share of the pause, since many wait for the same."""
    wait = next_pause(*seen)

    assert wait == pytest.approx(max(FLOOR, expected) * (1 + JITTER[0]))


@pytest.mark.parametrize("left", [8.0, 20.0, 40.0])
def test_the_look_comes_soon_after_a_finish_that_is_told(left):
    """Near a finish the look aims behind it; from afar, where a miss costs little, before it: it sharpens the aim."""
    by_time_left = next_pause(running(seconds_left=left))
    by_slope = next_pause(running(progress=0.1), left * 0.5 - 2, running(progress=0.4))

    assert left * 0.78 < by_time_left < left * 1.12
    assert left * 0.55 < by_slope < left * 1.1


def test_a_look_that_is_shared_is_cheap():
    """A request for a hundred tasks costs each of them a hundredth: looks come at the floor."""
    history = grown(running(), 58.0, running())

    alone, shared = (pause(history, history.events[-1].at, floor=FLOOR, sharing=n) for n in (1, 100))

    assert alone > 3 * FLOOR
    assert shared < FLOOR * 1.05


@pytest.mark.parametrize("kind", ["network", "server", "rate_limited"])
def test_an_outage_is_met_with_full_jitter(kind):
    """The pause grows to a minute, spread over all of it, so that a fleet does not come back as one."""
    longest = [next_pause(*[miss(kind)] * n, chance=1.0) for n in range(1, 12)]
    shortest = [next_pause(*[miss(kind)] * n, chance=0.0) for n in range(1, 12)]

    assert longest == sorted(longest)
    assert longest[0] == pytest.approx(4 * (1 + sum(JITTER)))
    assert longest[-1] == pytest.approx(60 * (1 + sum(JITTER)))
    assert set(shortest) == {2.0 * (1 + JITTER[0])}


def test_a_wish_is_for_healthy_looks_alone():
    """`interval` replaces the aim, not the backoff and not the server's word."""
    jitter = 1 + JITTER[0]

    assert next_pause(running(seconds_left=60.0), interval=4.0) == pytest.approx(4.0 * jitter)
    assert next_pause(running(), interval=0.01) == pytest.approx(2.0 * jitter)
    assert next_pause(miss("server", 9.0), interval=3.0) == pytest.approx(9.0 * jitter)


# What the store knows


def looks_by(curve, floor=1.0, price=0.2, until=1000.0):
    """The ages at which a task is looked at that never ends."""
    plan, ages = schedule(curve, floor, price), [0.0]
    while ages[-1] < until and (wait := plan.next(ages[-1])) is not None:
        ages.append(ages[-1] + wait)
    return ages[1:]


def curve_of(*seconds, going=()):
    return Curve.of([*map(Spell, seconds), *(Spell(s, over=False) for s in going)])


def test_what_was_left_unfinished_is_no_short_duration():
    """A task stopped after 30 s took at least so long: with many of those, the mean goes up, not down."""
    seen = curve_of(*range(20, 40))
    stopped = curve_of(*range(20, 40), going=[30] * 20)

    assert stopped.left(0)[0] > seen.left(0)[0] + 2
    assert sum(stopped.mass) == pytest.approx(1)


def test_the_share_that_is_left_is_kaplan_and_meiers():
    """Of six, two are stopped at 15: those that end at 20 and 30 then stand for three parts of four each."""
    steps = durations._kaplan_meier([Spell(s) for s in (10, 12, 20, 30)] + [Spell(15, over=False)] * 2)

    assert steps == [(10, pytest.approx(1 / 6)), (12, pytest.approx(1 / 6)), (20, pytest.approx(1 / 3)),
                     (30, pytest.approx(1 / 3))]  # fmt: skip


def test_few_durations_promise_little():
    """Three of equal length leave half of the chance elsewhere; three hundred leave next to none."""
    few, many = curve_of(*[60.0] * 3), curve_of(*[60.0] * 300)

    assert few.left(0)[1] > 5 * many.left(0)[1]
    assert looks_by(few)[0] < 60 - 5
    assert looks_by(many)[0] == pytest.approx(60)


def test_no_look_before_anything_can_have_ended():
    """Durations of 55 to 75 s: the first look is after 55 s, the others lie in between, none goes below the floor."""
    ages = looks_by(curve_of(*(55 + k / 10 for k in range(200))), until=75)

    assert 55 <= ages[0] < 58
    assert 5 <= len([a for a in ages if a < 75]) <= 12
    assert min(b - a for a, b in pairwise(ages)) >= 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.5, 3000), min_size=1, max_size=40), st.floats(0.1, 30), st.floats(0.01, 5))
def test_a_schedule_keeps_the_floor_and_ends(seconds, floor, price):
    """Whatever took how long: each look is a floor or more behind the one before, and beyond the curve it is None."""
    curve = curve_of(*seconds)

    ages = [0.0, *looks_by(curve, floor, price, until=1e5)]

    assert all(b - a >= floor * 0.999 for a, b in pairwise(ages))
    assert schedule(curve, floor, price).next(curve.edges[-1]) is None


def test_the_floor_itself_is_a_choice():
    """Where looks cost nothing each comes at the floor, however wide the curve's own steps are by then."""
    curve = curve_of(*(20 + k / 5 for k in range(200)))

    ages = looks_by(curve, floor=5.0, price=0.0, until=60)

    pauses = [b - a for a, b in pairwise(ages) if a >= 20]
    assert pauses == pytest.approx([5.0] * len(pauses))
    assert len(pauses) >= 7


def test_the_schedule_is_the_cheapest():
    """No choice of looks at the curve's own moments costs less: every one is tried."""
    curve, floor, price = curve_of(4.0, 5.0, 7.0, 7.5, 9.0), 2.0, 0.5
    plan = schedule(curve, floor, price)
    cells = list(zip(curve.edges, curve.edges[1:], curve.mass, strict=False))

    def ended(age):
        """The share that has ended by an age, and the sum of its durations."""
        parts = [(low, min(high, age), mass if high <= age else mass * (age - low) / (high - low))
                 for low, high, mass in cells if low < age or high <= age]  # fmt: skip
        return sum(m for *_, m in parts), sum(m * (a + b) / 2 for a, b, m in parts)

    def cost(ages):
        total, share, lived = 0.0, 0.0, 0.0
        for n, age in enumerate([*ages, curve.edges[-1]], 1):
            now, lasted = ended(age)
            total += (age + price * n) * (now - share) - (lasted - lived)
            share, lived = now, lasted
        return total

    ours = cost([a for a in looks_by(curve, floor, price) if a < curve.edges[-1]])
    inner = [e for e in curve.edges[1:-1] if floor <= e <= 14]
    others = [
        choice for n in range(5) for choice in combinations(inner[::2], n)
        if all(b - a >= floor for a, b in pairwise((*choice, curve.edges[-1])))
    ]  # fmt: skip

    assert plan.cost[0] == pytest.approx(ours, rel=0.01)  # between two edges it is taken for a straight line
    assert len(others) > 100
    assert ours <= min(map(cost, others)) + 1e-9


def test_a_model_that_is_known_is_looked_at_near_its_end():
    """With durations of the run, a run of 60 s is first looked at shortly before 60 s, whatever time it queued."""
    known = Durations(run=curve_of(*(55 + k / 10 for k in range(100))), queue=curve_of(*(k / 10 for k in range(1, 40))))
    history = grown(Mark(word=MarkWord.SUBMITTED), queued(), running())

    wait = pause(history, history.events[-1].at, floor=FLOOR, known=known)
    first = pause(grown(Mark(word=MarkWord.SUBMITTED), queued()), T0, floor=FLOOR, known=known)

    assert 50 < wait < 58
    assert 55 < first < 60


@pytest.mark.parametrize("left", [1e12, 1e15, 1e300])
def test_a_server_may_state_any_time_left(left):
    """However absurd, it is a reason to look seldom, and none to stop."""
    history = grown(running(seconds_left=left), 3.0, running(seconds_left=left))

    assert FLOOR <= pause(history, history.events[-1].at, floor=FLOOR, chance=0) <= LONGEST * 2


def watched(jobs, known, floor=5.0):
    """What is seen of tasks that queue and run for so many seconds, and the mean of their lags."""
    histories, lags = [], []
    for n, (queue, run) in enumerate(jobs):
        history, at = History(Task("mill", f"{n}"), uid=f"{n}").add(Mark(word=MarkWord.SUBMITTED), T0), 0.0
        while history.outcome is None:
            state = State.QUEUED if at < queue else State.RUNNING if at < queue + run else State.SUCCEEDED
            now = T0 + timedelta(seconds=at)
            history = history.add(Snapshot(state=state), now)
            at += pause(history, now, floor=floor, known=known)
        histories.append(history)
        lags.append((history.facts.final_at - T0).total_seconds() - queue - run)
    return histories, sum(lags) / len(lags)


def test_what_it_learns_from_its_own_looks_does_not_mislead_it():
    """A look that is aimed at the end sees little of the queue; durations learnt so, again and again, still serve."""
    dice, known, lags = random.Random(3), Durations(), []
    for _ in range(5):
        histories, lag = watched([(dice.uniform(0, 4), dice.lognormvariate(2.9, 0.45)) for _ in range(200)], known)
        past = Past()
        for history in histories:
            past.add(history)
        known = past.of(histories[0])
        lags.append(lag)

    assert known.run is not None
    assert max(lags[1:]) < 5


def test_queues_that_differ_widely_are_no_reason_to_come_late():
    """Where the queue takes anything from 0 to 200 s, a task that is queued now is not left alone for their mean."""
    dice = random.Random(4)
    jobs = [(dice.uniform(0, 200), dice.uniform(15, 25)) for _ in range(200)]
    known = Durations(curve_of(*map(sum, jobs)), *(curve_of(*part) for part in zip(*jobs, strict=True)))

    histories, lag = watched(jobs, known)

    assert lag < 12
    assert sum(h.facts.polls for h in histories) / len(histories) < 15


def test_the_sharper_word_is_followed():
    """A good slope beats durations that differ by hundreds of seconds; durations all alike beat a slope of 2 %."""
    wide = Durations(total=curve_of(*range(20, 400, 10)), run=curve_of(*range(20, 400, 10)))
    narrow = Durations(total=curve_of(*[60.0] * 99), run=curve_of(*[60.0] * 99))
    exact = grown(running(progress=0.3), 3.0, running(progress=0.6))
    vague = grown(running(progress=0.01), running(progress=0.03))

    def wait(history, known):
        return pause(history, history.events[-1].at, floor=FLOOR, known=known)

    assert wait(exact, wide) == wait(exact, Durations())
    assert wait(vague, narrow) > 50
    assert wait(vague, narrow) > wait(vague, Durations())
