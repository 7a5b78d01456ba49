"""C: HTTP status codes, Retry-After and Date headers."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.mill import DONE, FLOOR, KEY, WORKING, png
from support.raw_server import reply
from support.waiting import until
from support.watched import each, ended, events_of, looks, marks, misses, sound, watch

import nbhelper as nbh
from nbhelper._model import lost_sight
from nbhelper._model.history import History
from nbhelper._model.lost_sight import verdict
from nbhelper._network import gate
from nbhelper._providers.requests import HttpReply
from nbhelper._providers.scalars import retry_after
from nbhelper._views.history_line import history_line
from nbhelper._watching import engine, pace
from nbhelper._watching.pace import pause
from nbhelper.types import Miss, MissKind, Snapshot, State, Task

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEAST, MORE = pace.JITTER
"""The least jitter that is added to every pause, and how much more chance adds at most."""


@pytest.fixture
def hasty(monkeypatch):
    """Patience (10 minutes) and grace (1 minute) are 0.33 seconds, and slow looks come at the floor."""
    monkeypatch.setattr(lost_sight, "PATIENCE", timedelta(seconds=0.33))
    monkeypatch.setattr(lost_sight, "GRACE", timedelta(seconds=0.33))
    monkeypatch.setattr(pace, "SLOW", FLOOR)


@pytest.fixture
def quick_probes(monkeypatch):
    """An outage is probed every 0.1 seconds instead of every minute."""
    monkeypatch.setattr(gate, "_PROBE_CAP", 0.1)


def refusal(status, message="sorry", **headers):
    return reply({"message": message}, status, {k.replace("_", "-"): v for k, v in headers.items()})


def page(status):
    return reply("<html><h1>Sorry</h1></html>", status, {"content-type": "text/html"})


def check_misses(mill, *answers, kind):
    """Watch a task with these answers: each is one miss of this kind, then success; its history."""
    history = ended(mill.job(*answers, DONE))

    assert sound(history, mill)
    assert history.succeeded
    assert misses(history) == [kind] * len(answers)
    assert len(mill.looks["job-1"]) == len(answers) + 1
    return history


def wait_after(mill):
    """Seconds from the first reply to the second look at the first job."""
    return mill.looks["job-1"][1] - mill.replied["job-1"][0]


# Too many requests


def test_c01_retry_after(mill, bound):
    """After a 429 the next look comes when Retry-After is over, and `next_at` has that time meanwhile."""
    handle = watch(mill.job(refusal(429, retry_after="1.5"), DONE))
    until(lambda: misses(handle[0]))
    watcher = next(iter(engine.engine().watchers.values()))
    shown = (watcher.next_at - datetime.now(UTC)).total_seconds()

    history = handle.result(30)

    assert sound(history, mill)
    assert 1.5 <= wait_after(mill) < 10
    bound(sum(at < mill.replied["job-1"][0] + 1.5 for at in mill.looks["job-1"]), 1, "looks before Retry-After is over")
    assert 0 < shown <= 1.6
    assert looks(history)[0].retry_after == 1.5
    assert history.facts.rate_limited == 1


def test_c02_retry_after_as_a_date(mill):
    """A Retry-After date is relative to the reply's own `Date`, however wrong the server's clock is."""
    base = datetime(2031, 1, 1, tzinfo=UTC)
    dates = {
        "date": format_datetime(base, usegmt=True),
        "retry_after": format_datetime(base + timedelta(seconds=1), usegmt=True),
    }

    history = check_misses(mill, refusal(429, **dates), kind="rate_limited")

    assert looks(history)[0].retry_after == 1
    assert 1 <= wait_after(mill) < 10


def record(*seen, every=2.0):
    history, at = History(Task("mill", "x")), T0
    for item in seen:
        history, at = history.add(item, at), at + timedelta(seconds=every)
    return history


def next_pause(*seen, chance, floor=2.0):
    history = record(*seen)
    return pause(history, history.events[-1].at, floor=floor, chance=chance) / (1 + LEAST)


def test_c03_429_without_retry_after(mill):
    """After a 429 without Retry-After the pause is random between the floor and a growing end, at most a minute."""
    limited = Miss(kind=MissKind.RATE_LIMITED)
    longest = [next_pause(*[limited] * n, chance=1.0) for n in range(1, 12)]
    shortest = [next_pause(*[limited] * n, chance=0.0) for n in range(1, 12)]

    check_misses(mill, refusal(429), refusal(429), kind="rate_limited")

    most = (1 + LEAST + MORE) / (1 + LEAST)
    assert longest == sorted(longest)
    assert (longest[0], longest[-1]) == pytest.approx((4 * most, 60 * most))
    assert shortest == pytest.approx([2.0] * 11)


HEADERS = {
    "seconds": ({"retry-after": "7"}, 7.0),
    "fraction": ({"retry-after": "1.5"}, 1.5),
    "date": ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 30.0),
    "date behind": ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, None),
    "date without a base": ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, None),
    "two": ({"retry-after": "5, 7"}, 5.0),
    "zero": ({"retry-after": "0"}, None),
    "negative": ({"retry-after": "-5"}, None),
    "an hour": ({"retry-after": "3600"}, 600.0),
    "a billion": ({"retry-after": "1e9"}, None),
    "400 digits": ({"retry-after": "9" * 400}, 600.0),
    "soon": ({"retry-after": "soon"}, None),
    "NaN": ({"retry-after": "nan"}, None),
    "none": ({}, None),
}


@pytest.mark.parametrize(("headers", "wait"), HEADERS.values(), ids=HEADERS)
def test_c04_retry_after_values(headers, wait):
    """Retry-After is seconds or a date, at most ten minutes; invalid values are None."""
    assert retry_after(HttpReply(429, headers)) == wait


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"[-+]?\d{1,50}(\.\d*)?([eE]\d+)?"), st.text(max_size=40))
@example("9" * 5000, "")
@example("Sun, 99 Nov 99999 12:00:30 GMT", "Sun, 22 Nov 2026 12:00:00 GMT")
def test_c04_any_header_at_all(header, date):
    """For any Retry-After and Date headers the wait is None or within ten minutes."""
    wait = retry_after(HttpReply(429, {"retry-after": header, "date": date}))

    assert wait is None or 0 < wait <= 600


def test_c04_invalid_values_wait_no_longer(mill):
    """After an invalid Retry-After the next look comes at the floor and the backoff."""
    values = ("0", "-1", "NaN", "soon", "1e9")

    kinds = each(mill, {value: refusal(429, retry_after=value) for value in values})

    assert kinds == dict.fromkeys(values, "rate_limited")
    assert max(mill.gaps()) < 10


def test_c05_one_limit_for_all(mill, bound):
    """A Retry-After for one of fifty tasks delays the looks of all tasks with the same key."""
    limited = mill.job(WORKING, refusal(429, retry_after="1"), DONE)
    others = [mill.job(*[WORKING] * 3, DONE) for _ in range(49)]

    histories = watch([limited, *others]).result(40)

    begun = mill.replied["job-1"][1]
    during = [t for times in mill.looks.values() for t in times if begun < t < begun + 0.95]
    assert sound(histories, mill)
    assert [h.outcome for h in histories] == ["succeeded"] * 50
    bound(len(during), gate.IN_FLIGHT)  # those in flight
    assert all(t < begun + 0.8 for t in during)


# Server errors


def test_c06_server_errors(mill, quick_probes):
    """A 500, 502, 503 or 504, as JSON or page, is a server miss."""
    made = {"JSON": refusal, "page": page}
    cases = {f"{status} {name}": make(status) for status in (500, 502, 503, 504) for name, make in made.items()}

    assert each(mill, cases) == dict.fromkeys(cases, "server")


def test_c06_a_page_stays_text(mill):
    """The HTML page of a 502 is kept as an excerpt, and not in the message or the history line."""
    history = check_misses(mill, page(502), kind="server")

    seen = looks(history)[0]
    assert seen.status == 502
    assert "<h1>" in seen.excerpt
    assert "<h1>" not in seen.message
    assert "<h1>" not in history_line(history)


def test_c07_an_hour_of_503(bound):
    """In an hour of 503 the task stays pending, with looks at least once a minute and hardly more often."""
    history, at, pauses = record(Snapshot(state=State.RUNNING)), T0 + timedelta(seconds=2), []
    end = at + timedelta(hours=1)
    while at < end:
        history = history.add(Miss(kind=MissKind.SERVER, status=503), at)
        assert verdict(history, at) is None
        pauses.append(pause(history, at, floor=2.0, chance=0.5))
        at += timedelta(seconds=pauses[-1])

    assert history.outcome is None
    assert max(pauses) <= pace.BACKOFF_CAP * (1 + LEAST + MORE)
    bound(len(pauses), 130, "looks at one task in an hour")


def test_c08_edge_codes(mill, quick_probes):
    """Statuses 520 to 530 are server misses."""
    cases = {str(status): page(status) for status in range(520, 531)}

    assert each(mill, cases) == dict.fromkeys(cases, "server")


# Refusals


@pytest.mark.parametrize("status", [400, 422])
def test_c09_bad_request(mill, status):
    """Two 400 or 422 in a row end the watch as lost, with the server's message cut and escaped."""
    words = "<b>the id is not one of ours</b> " * 100
    history = ended(mill.job(refusal(status, words)))

    assert sound(history, mill)
    assert history.outcome == "lost"
    assert misses(history) == ["bad_request"] * 2
    assert "the id is not one of ours" in history.error
    assert len(looks(history)[0].message) <= 500
    assert "<b>" not in history_line(history)
    assert len(mill.looks["job-1"]) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_c10_wrong_key(mill, status, logged, bound):
    """A key that is refused twice from the start ends the watch as lost; no part of the key is shown."""
    history = ended(mill.job(refusal(status, f"key {KEY} is not valid")))

    assert sound(history, mill)
    assert history.outcome == "lost"
    assert misses(history) == ["refused"] * 2
    assert "refused two looks in a row" in history.error
    bound(len(mill.looks["job-1"]), 2, "looks")
    assert KEY[-4:] not in f"{history!r} {history.error} {logged.text} {history.events}"


def test_c11_key_revoked(mill):
    """A key revoked in the middle ends the watch as lost with its events; with a new key it goes on from there."""
    new = "another-canary-8e21"

    async def by_key(conn, request):
        known = request.header("authorization") == f"Bearer {new}"
        await conn.send(reply({"state": "done", "files": [link]}) if known else refusal(401))

    link = mill.file(reply(png(9)))
    ref = mill.job(WORKING, WORKING, by_key)
    lost = ended(ref)
    nbh.connect("mill", new, mill.root)

    resumed = ended(ref)

    assert sound([lost, resumed], mill)
    assert lost.outcome == "lost"
    assert lost.state == "running"
    assert resumed.succeeded
    assert len(resumed.files) == 1
    assert events_of(resumed)[: lost.seq] == events_of(lost)
    assert marks(resumed) == ["watching", "lost", "resumed"]


def test_c12_one_stray_refusal(mill, bound):
    """One 401 or 403 between good looks does not end the watch."""
    history = ended(mill.job(WORKING, refusal(401), WORKING, refusal(403), DONE))

    assert sound(history, mill)
    assert history.succeeded
    assert misses(history) == ["refused"] * 2
    assert marks(history) == ["watching"]
    bound(len(mill.looks["job-1"]), 5, "looks")


def test_c13_no_credit(mill, hasty):
    """A watch without credit (402) is lost after ten minutes; watched again, with credit, the task succeeds."""
    ref = mill.job(refusal(402, "top up"))
    lost = ended(ref)
    mill.jobs["job-1"][:] = [refusal(402, "top up"), DONE]

    resumed = ended(ref)

    assert sound([lost, resumed], mill)
    assert lost.outcome == "lost"
    assert "10 minutes of no credit" in lost.error
    assert set(misses(lost)) == {"no_credit"}
    assert len(misses(lost)) >= 2
    assert resumed.succeeded


def test_c13_slow_looks_without_credit():
    """Without credit a look comes every thirty seconds."""
    assert next_pause(Miss(kind=MissKind.NO_CREDIT), chance=0.0) == pytest.approx(30)


# Not found


def test_c14_not_found_yet(mill):
    """A 404 within a minute of the task's creation does not end the watch."""
    check_misses(mill, refusal(404), refusal(404), refusal(404), kind="not_found")


def test_c14_a_fresh_create_that_is_late(emulator):
    """A 404 for a task that was just created by submit() is one miss, and the task succeeds."""
    task = nbh.submit("kie", {"model": "google/nano-banana", "input": {"prompt": "x emu:late=1.5"}})

    history = ended(task)

    assert sound(history)
    assert history.succeeded
    assert misses(history) == ["not_found"]


def test_c15_gone_after_it_was_seen(mill, hasty):
    """Two 404 in a row after the grace end the watch as lost: the task is gone or belongs to another key."""
    history = ended(mill.job(WORKING, WORKING, refusal(404, "no such task")))

    assert sound(history, mill)
    assert history.outcome == "lost"
    assert history.state == "running"
    assert "the task belongs to another key" in history.error


def test_c16_another_key(mill, hasty):
    """Where an API hides other keys' tasks, a watch is lost with the wrong key and succeeds with the right one."""
    owner = "the-owner-canary-51c7"

    async def hidden(conn, request):
        mine = request.header("authorization") == f"Bearer {owner}"
        await conn.send(reply(DONE) if mine else refusal(404, "no such task"))

    ref = mill.job(hidden)
    lost = ended(ref)
    nbh.connect("mill", owner, mill.root)

    resumed = ended(ref)

    assert sound([lost, resumed], mill)
    assert lost.outcome == "lost"
    assert "another key" in lost.error
    assert resumed.succeeded


@pytest.mark.parametrize(("status", "kind"), [(405, "bad_request"), (410, "not_found")])
def test_c17_gone_or_not_allowed(mill, hasty, status, kind):
    """A 405 or 410 ends the watch as lost, and never as failed or expired."""
    history = ended(mill.job(refusal(status)))

    assert sound(history, mill)
    assert history.outcome == "lost"
    assert set(misses(history)) == {kind}


def test_c18_too_late_too_early(mill):
    """408 and 425 are server misses."""
    check_misses(mill, refusal(408), refusal(425), kind="server")


# Replies of something else than the API


def test_c19_login_page(mill, hasty):
    """An HTML page with status 200 is garbled; after ten minutes of nothing else the watch is lost."""
    history = ended(mill.job(WORKING, page(200)))

    assert sound(history, mill)
    assert history.outcome == "lost"
    assert set(misses(history)) == {"garbled"}
    assert len(misses(history)) >= 2
    assert "unreadable replies" in history.error
    assert history.state == "running"


def test_c19_slow_looks_at_a_page():
    """After the third unreadable reply in a row looks come every thirty seconds."""
    waits = [next_pause(*[Miss(kind=MissKind.GARBLED)] * n, chance=0.0) for n in (1, 2, 3, 9)]

    assert waits == pytest.approx([2, 2, 30, 30])


def test_c19_one_page_after_an_outage():
    """Network misses before a garbled reply do not count towards slow looks."""
    lost, garbled = Miss(kind=MissKind.NETWORK), Miss(kind=MissKind.GARBLED)

    assert next_pause(lost, lost, lost, garbled, chance=0.0) == pytest.approx(2)
    assert next_pause(garbled, garbled, lost, garbled, chance=0.0) == pytest.approx(2)


def test_c20_another_schema(mill, hasty):
    """Valid JSON of another schema has no state, and its excerpt is kept."""
    maintenance = reply({"maintenance": True, "until": "06:00"})

    history = ended(mill.job(maintenance))

    assert sound(history, mill)
    assert history.outcome == "lost"
    assert "maintenance" in looks(history)[0].excerpt
    assert history.state is None


@pytest.mark.parametrize("hours", [-30, 30])
def test_c21_clock_hours_off(mill, hours):
    """A server clock that is 30 hours off is recorded as skew: no link expires by it, and no event's time changes."""
    date = {"date": format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)}
    done = {"state": "done", "files": [mill.file(reply(png(9), headers=date))]}
    begun = time.time()

    history = ended(mill.job(reply(WORKING, headers=date), reply(done, headers=date)))

    assert sound(history, mill)
    assert history.succeeded
    assert len(history.files) == 1
    assert history.facts.skew_s == pytest.approx(hours * 3600, abs=5)
    assert all(begun - 1 < e.at.timestamp() < begun + 60 for e in history.events)
