"""When a create may leave, on a clock of the test's own."""

import pytest

from nbhelper._submitting.create_limit import IN_FLIGHT, CreateLimit
from nbhelper.types import Miss, MissKind

BUSY = Miss(kind=MissKind.RATE_LIMITED)


def door(n=20, limit=None):
    made = CreateLimit("mill", limit)
    made.waiting.extend(range(n))
    return made


def sends(door, now):
    """How many leave at once."""
    n = 0
    while door.waiting and door.pause(now) == 0:
        door.leave(now)
        n += 1
    return n


def lands(door, now, miss=None, **more):
    """One answer is back."""
    door.flying -= 1
    return door.judge(miss, now, **more)


def test_a_few_fly_at_once():
    """The next leaves when one is back."""
    one = door()

    assert sends(one, 0.0) == IN_FLIGHT
    assert one.pause(0.0) is None
    assert lands(one, 0.1) is False
    assert sends(one, 0.1) == 1


def test_a_declared_limit_is_a_sliding_window():
    """Three in ten seconds: the fourth waits until the first is ten seconds old, and so on."""
    one = door(limit=(3, 10.0))
    for second in (0.0, 4.0, 5.0):
        one.leave(second)
        lands(one, second)

    assert one.pause(6.0) == pytest.approx(4.0)
    assert one.pause(10.0) == 0
    one.leave(10.0)
    lands(one, 10.0)
    assert one.pause(10.0) == pytest.approx(4.0)


def test_what_another_process_sent_counts():
    """A door that is told of earlier creates waits for them too."""
    one = CreateLimit("mill", (2, 10.0))
    one.begun.extend([-3.0, -1.0])
    one.waiting.append(0)

    assert one.pause(0.0) == pytest.approx(7.0)


def test_asked_to_wait_one_tries_first():
    """Retry-After is kept, whatever flew along; then one create tries, and its success lets the others follow."""
    one = door()
    sends(one, 0.0)

    assert lands(one, 1.0, Miss(kind=MissKind.RATE_LIMITED, retry_after=30)) is True
    for _ in range(IN_FLIGHT - 1):
        assert lands(one, 1.1) is False
    assert one.pause(1.2) == pytest.approx(29.8)
    assert sends(one, 31.0) == 1
    lands(one, 32.0)

    assert sends(one, 32.0) == IN_FLIGHT


def test_four_that_are_told_to_wait_at_once_are_one_wait():
    """The growing waits grow once for each time, not once for each create."""
    one = door()
    sends(one, 0.0)
    for _ in range(IN_FLIGHT):
        lands(one, 0.0, BUSY)

    assert one.pause(0.0) == 2
    assert sends(one, 2.0) == 1
    lands(one, 2.0, BUSY)
    assert one.pause(2.0) == 4


@pytest.mark.parametrize("asked", [None, 0], ids=["nothing said", "zero"])
def test_without_retry_after_the_waits_grow(asked):
    """Two seconds, then twice as many each time, up to a minute; a success begins anew."""
    one = door()
    waits, now = [], 0.0
    for _ in range(7):
        one.leave(now)
        lands(one, now, Miss(kind=MissKind.RATE_LIMITED, retry_after=asked))
        waits.append(one.pause(now))
        now += waits[-1]

    assert waits == [2, 4, 8, 16, 32, 60, 60]
    one.leave(now)
    lands(one, now)
    one.leave(now)
    lands(one, now, BUSY)
    assert one.pause(now) == 2


def test_a_retry_after_of_a_year_is_not_believed():
    """Ten minutes at the most."""
    one = door()
    one.leave(0.0)
    lands(one, 0.0, Miss(kind=MissKind.RATE_LIMITED, retry_after=3e7))

    assert one.pause(0.0) == 600


SPOILED = {
    "wrong key": ({"miss": Miss(kind=MissKind.REFUSED)}, "mill refused the key 3 times in a row"),
    "no credit": ({"miss": Miss(kind=MissKind.NO_CREDIT)}, "mill said that there is no credit 3 times in a row"),
    "no answers": (
        {"miss": Miss(kind=MissKind.SERVER), "is_in_doubt": True},
        "mill gave no clear answer 3 times in a row",
    ),
}


@pytest.mark.parametrize(("answer", "why"), SPOILED.values(), ids=SPOILED)
def test_it_closes_after_three_in_a_row(answer, why):
    """And not when something else came between."""
    one = door()
    refused = Miss(kind=MissKind.BAD_REQUEST)
    for given in (answer, answer, {"miss": refused}, answer, answer):
        one.leave(0.0)
        assert lands(one, 0.0, **given) is False
    assert one.closed == ""

    one.leave(0.0)
    lands(one, 0.0, **answer)

    assert one.closed == why


def test_an_api_that_cannot_be_reached_is_tried_six_times():
    """Nothing was sent, so the same create is sent again; then it is given up."""
    one = door()
    again, now = [], 0.0
    for _ in range(6):
        now += one.pause(now)
        one.leave(now)
        again.append(lands(one, now, Miss(kind=MissKind.NETWORK), is_sent=False))

    assert again == [True] * 5 + [False]
    assert one.closed == "mill cannot be reached"


def test_a_note_tells_who_waits_and_how_long():
    """Only while it is worth telling."""
    one = door(3)
    assert one.note(0.0) == ""
    one.hold(0.0, 30)

    assert one.note(0.0) == "mill asks to wait 30 s; 3 tasks to be submitted there"
    assert one.note(29.5) == ""
    one.waiting.clear()
    assert one.note(0.0) == ""
