"""Rate limit and back-off for creates, on a clock of the test's own."""

import pytest

from nbhelper._submitting.create_limit import IN_FLIGHT, CreateLimit
from nbhelper.types import Miss, MissKind

BUSY = Miss(kind=MissKind.RATE_LIMITED)


def full(n=20, limit=None):
    """A `CreateLimit` with `n` creates that wait to be sent."""
    creates = CreateLimit("mill", limit)
    creates.waiting.extend(range(n))
    return creates


def send_all(creates, now):
    """Send as many creates as may be sent now; returns how many."""
    n = 0
    while creates.waiting and creates.pause(now) == 0:
        creates.leave(now)
        n += 1
    return n


def receive(creates, now, miss=None, **more):
    """Take one reply; returns whether its create is to be sent once more."""
    creates.flying -= 1
    return creates.judge(miss, now, **more)


def test_a_few_are_in_flight_at_a_time():
    """The next create is sent when one in flight has its reply."""
    creates = full()

    assert send_all(creates, 0.0) == IN_FLIGHT
    assert creates.pause(0.0) is None
    assert receive(creates, 0.1) is False
    assert send_all(creates, 0.1) == 1


def test_a_declared_limit_is_a_sliding_window():
    """Three in ten seconds: the fourth waits until the first is ten seconds old, and so on."""
    creates = full(limit=(3, 10.0))
    for second in (0.0, 4.0, 5.0):
        creates.leave(second)
        receive(creates, second)

    assert creates.pause(6.0) == pytest.approx(4.0)
    assert creates.pause(10.0) == 0
    creates.leave(10.0)
    receive(creates, 10.0)
    assert creates.pause(10.0) == pytest.approx(4.0)


def test_what_another_process_sent_counts():
    """Creates that another process sent a moment ago count towards the limit."""
    creates = CreateLimit("mill", (2, 10.0))
    creates.begun.extend([-3.0, -1.0])
    creates.waiting.append(0)

    assert creates.pause(0.0) == pytest.approx(7.0)


def test_after_a_pause_one_create_tries_first():
    """After a `Retry-After` one create is sent, and after its success the others."""
    creates = full()
    send_all(creates, 0.0)

    assert receive(creates, 1.0, Miss(kind=MissKind.RATE_LIMITED, retry_after=30)) is True
    for _ in range(IN_FLIGHT - 1):
        assert receive(creates, 1.1) is False
    assert creates.pause(1.2) == pytest.approx(29.8)
    assert send_all(creates, 31.0) == 1
    receive(creates, 32.0)

    assert send_all(creates, 32.0) == IN_FLIGHT


def test_four_refusals_at_once_are_one_pause():
    """The back-off doubles once for creates that were in flight together, not once for each."""
    creates = full()
    send_all(creates, 0.0)
    for _ in range(IN_FLIGHT):
        receive(creates, 0.0, BUSY)

    assert creates.pause(0.0) == 2
    assert send_all(creates, 2.0) == 1
    receive(creates, 2.0, BUSY)
    assert creates.pause(2.0) == 4


@pytest.mark.parametrize("retry_after", [None, 0], ids=["nothing said", "zero"])
def test_without_retry_after_the_pauses_grow(retry_after):
    """Two seconds, then twice as many each time, up to a minute; a success resets the pause."""
    creates = full()
    pauses, now = [], 0.0
    for _ in range(7):
        creates.leave(now)
        receive(creates, now, Miss(kind=MissKind.RATE_LIMITED, retry_after=retry_after))
        pauses.append(creates.pause(now))
        now += pauses[-1]

    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    creates.leave(now)
    receive(creates, now)
    creates.leave(now)
    receive(creates, now, BUSY)
    assert creates.pause(now) == 2


def test_a_retry_after_counts_for_ten_minutes_at_most():
    """A longer `Retry-After` is cut to 600 seconds."""
    creates = full()
    creates.leave(0.0)
    receive(creates, 0.0, Miss(kind=MissKind.RATE_LIMITED, retry_after=3e7))

    assert creates.pause(0.0) == 600


SPOILED = {
    "wrong key": ({"miss": Miss(kind=MissKind.REFUSED)}, "mill refused the key 3 times in a row"),
    "no credit": ({"miss": Miss(kind=MissKind.NO_CREDIT)}, "mill said that there is no credit 3 times in a row"),
    "no answers": (
        {"miss": Miss(kind=MissKind.SERVER), "is_in_doubt": True},
        "mill gave no clear answer 3 times in a row",
    ),
}


@pytest.mark.parametrize(("answer", "why"), SPOILED.values(), ids=SPOILED)
def test_three_spoiled_creates_in_a_row_close_the_limit(answer, why):
    """A refused key, missing credit or lost reply three times in a row; another reply in between resets the count."""
    creates = full()
    refused = Miss(kind=MissKind.BAD_REQUEST)
    for given in (answer, answer, {"miss": refused}, answer, answer):
        creates.leave(0.0)
        assert receive(creates, 0.0, **given) is False
    assert creates.closed == ""

    creates.leave(0.0)
    receive(creates, 0.0, **answer)

    assert creates.closed == why


def test_an_api_that_cannot_be_reached_is_tried_six_times():
    """A create that was not sent is sent again up to five times; then nothing more is sent."""
    creates = full()
    again, now = [], 0.0
    for _ in range(6):
        now += creates.pause(now)
        creates.leave(now)
        again.append(receive(creates, now, Miss(kind=MissKind.NETWORK), is_sent=False))

    assert again == [True] * 5 + [False]
    assert creates.closed == "mill cannot be reached"


def test_a_note_names_the_api_the_pause_and_the_number_of_tasks():
    """There is a note only while tasks wait, for a pause of more than a second."""
    creates = full(3)
    assert creates.note(0.0) == ""
    creates.hold(0.0, 30)

    assert creates.note(0.0) == "mill asks to wait 30 s; 3 tasks to be submitted there"
    assert creates.note(29.5) == ""
    creates.waiting.clear()
    assert creates.note(0.0) == ""
