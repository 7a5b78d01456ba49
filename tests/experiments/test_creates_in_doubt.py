"""An experiment's creates in doubt at an API that takes a request id: repeated for a day, never with another id."""

from datetime import UTC, datetime, timedelta

import pytest
from support.mill import reset
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._submitting import send


def safe(experiment):
    """An experiment of one task at an endpoint that takes a request id."""
    return experiment({"prompt": ["owl"]}, request=lambda prompt: nbh.Request("mill", {"a": 1}, endpoint="safe"))


def request_ids(factory):
    return [request.header("x-request-id") for request in factory.server.requests if request.method == "POST"]


def test_a_create_stays_in_doubt_when_its_repetition_is_refused(experiment, factory, run, monkeypatch):
    """The first attempt may have made a task: a later run repeats it with the same request id, never with a new one."""
    monkeypatch.setattr(send, "_AGAIN", 0.01)
    factory.answers = [reset, reset, reset, reply({"message": "pay first"}, 402)]
    exp = safe(experiment)
    run(exp)

    assert [str(h.outcome) for h in run(exp)] == ["lost"]
    assert [row.state for row in session.store().creates("owls")] == ["in_doubt"]
    assert [str(h.outcome) for h in run(exp)] == ["succeeded"]
    assert len(request_ids(factory)) == 5
    assert len(set(request_ids(factory))) == 1


def test_a_create_stays_in_doubt_while_its_repetition_has_to_wait(experiment, factory, run, monkeypatch):
    """A repetition that was stopped in the pause of a 429 leaves the create in doubt, not unsent."""
    monkeypatch.setattr(send, "_AGAIN", 0.01)
    factory.answers = [reset, reset, reset, reply({"message": "slow down"}, 429, {"retry-after": "600"})]
    exp = safe(experiment)
    run(exp)
    watch = exp.run(display=False, block=False)
    until(lambda: any("asks to wait" in note for note in watch.notes))

    watch.stop()

    assert [str(h.outcome) for h in watch.result(timeout=30)] == ["lost"]
    assert [row.state for row in session.store().creates("owls")] == ["in_doubt"]
    assert [str(h.outcome) for h in run(exp)] == ["succeeded"]
    assert len(set(request_ids(factory))) == 1


AGES = {
    "a day but a minute": (timedelta(hours=23, minutes=59), 4),
    "a day and a minute": (timedelta(hours=24, minutes=1), 3),
}


@pytest.mark.parametrize(("age", "n"), AGES.values(), ids=AGES)
def test_a_create_in_doubt_is_repeated_for_24_hours(experiment, factory, run, monkeypatch, age, n):
    """No API says how long it remembers a request id: after 24 hours no run repeats the create by itself."""
    monkeypatch.setattr(send, "_AGAIN", 0.01)
    exp = safe(experiment)
    factory.answers = [reset, reset, reset]
    run(exp)
    store = session.store()
    begun = (datetime.now(UTC) - age).isoformat()
    store._writer.put(lambda db: db.execute("UPDATE intents SET at = ?", (begun,))).result()

    run(exp)

    assert len(factory.creates) == n
