"""What becomes of the creates of an experiment when the API, the disk or the connection fails."""

import pandas as pd
import pytest
from support.experiments import ask
from support.mill import QUEUED, reset, silence
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._submitting import create_limit, send

BUSY = reply({"message": "slow down"}, 429, {"retry-after": "1"})


def test_a_refused_create_is_a_row_and_the_rest_goes_on(experiment, factory, run):
    """The row has the server's code and words and the outcome `failed`; the next run submits the task again."""
    factory.answers = [reply({"errcode": 1004, "message": "size is wrong"}, 400)]
    exp = experiment(shuffle=None, concurrency=1)
    watch = run(exp)
    row = exp.to_frame().iloc[0]

    assert [str(h.outcome) for h in watch] == ["failed", *["succeeded"] * 3]
    assert (row["outcome"], row["error_code"], row["error_message"]) == ("failed", "1004", "size is wrong")
    assert pd.isna(row["task_id"])
    assert len(exp.plan()) == 1
    assert watch[0].error == "size is wrong"

    run(exp)

    assert exp.to_frame()["outcome"].tolist() == ["succeeded"] * 4
    assert len(nbh.tasks(experiment="owls")) == 5


def test_a_create_is_sent_again_after_retry_after(experiment, factory, run):
    """All creates wait for the `Retry-After`; the create that was refused keeps its row."""
    factory.answers = [None, BUSY]
    exp = experiment(shuffle=None, concurrency=1)
    watch = run(exp)
    arrivals = [request.at for request in factory.server.requests if request.method == "POST"]

    assert [str(h.outcome) for h in watch] == ["succeeded"] * 4
    assert len(arrivals) == 5
    assert arrivals[2] - arrivals[1] >= 1.0
    assert len(nbh.tasks(experiment="owls")) == 4


def test_while_an_api_asks_to_wait_the_watch_says_so(experiment, factory):
    """A note names the API and how many tasks wait; `stop()` does not wait for the pause."""
    factory.answers = [reply({"message": "slow"}, 429, {"retry-after": "300"})]
    watch = experiment(concurrency=1).run(display=False, block=False)
    note = until(lambda: watch.notes)

    assert note[0].startswith("mill asks to wait")
    assert "to be submitted there" in note[0]
    watch.stop()
    watch.result(timeout=30)
    assert all("not submitted" in h.error for h in watch)


def test_other_apis_go_on_while_one_waits(experiment, factory, emulator, run):
    """The pause that one API asks for delays no create at another API."""

    def request(prompt, api):
        if api == "kie":
            return nbh.Request("kie", {"model": "google/nano-banana", "input": {"prompt": prompt}})
        return ask(prompt)

    factory.answers = [reply({"message": "slow"}, 429, {"retry-after": "300"})]
    grid = {"prompt": ["owl", "fox"], "api": ["mill", "kie"]}
    watch = experiment(grid, request=request, shuffle=None, concurrency=1).run(display=False, block=False)
    until(lambda: sum(str(h.outcome) == "succeeded" for h in watch) == 2, deadline=30)

    assert len(factory.creates) == 1
    watch.stop()
    watch.result(timeout=30)


def test_an_api_s_create_limit_is_kept(experiment, factory, mill, run):
    """With `create_limit=(2, 2.0)` the third create is sent two seconds after the first."""
    from support.mill import provider

    nbh.register(provider(mill.root, create_limit=(2, 2.0)))
    run(experiment(concurrency=4))
    arrivals = [request.at for request in factory.server.requests if request.method == "POST"]

    # A busy machine may be late to take the first of each pair.
    assert arrivals[2] - arrivals[0] >= 1.5
    assert arrivals[3] - arrivals[1] >= 1.5


def test_a_create_without_a_reply_is_in_doubt(experiment, factory, run):
    """The create is counted in the repr and not sent again, except once with `retry_in_doubt=True`."""
    factory.answers = [reset]
    exp = experiment(shuffle=None, concurrency=1)
    watch = run(exp)

    assert [str(h.outcome) for h in watch] == ["lost", *["succeeded"] * 3]
    assert "3 sent, 1 in doubt" in repr(exp)
    again = run(exp)
    assert len(factory.creates) == 4
    assert "1 create is in doubt and not sent again" in again.notes[0]

    run(exp, retry_in_doubt=True)

    assert len(factory.creates) == 5
    assert exp.to_frame()["outcome"].tolist() == ["succeeded"] * 4
    assert nbh.tasks(experiment="owls")["outcome"].tolist().count("lost") == 1


def test_a_create_in_doubt_with_a_request_id_is_repeated_with_the_same_id(experiment, factory, run, monkeypatch):
    """Where the API makes one task of one request id, the next run repeats the create: same row, same id."""
    monkeypatch.setattr(send, "_AGAIN", 0.01)

    def request(prompt):
        return nbh.Request("mill", {"prompt": prompt}, endpoint="safe")

    factory.answers = [reset, reset, reset]
    exp = experiment({"prompt": ["owl"]}, request=request)
    assert [str(h.outcome) for h in run(exp)] == ["lost"]

    watch = run(exp)

    ids = [request.header("x-request-id") for request in factory.server.requests if request.method == "POST"]
    assert len(ids) == 4
    assert len(set(ids)) == 1
    assert [str(h.outcome) for h in watch] == ["succeeded"]
    assert len(nbh.tasks(experiment="owls")) == 1


def test_a_request_id_is_not_used_for_another_request(experiment, factory, run, monkeypatch):
    """Where the function gives another request meanwhile, the old create is not repeated and stays in doubt."""
    monkeypatch.setattr(send, "_AGAIN", 0.01)
    factory.answers = [reset, reset, reset]
    run(experiment({"prompt": ["owl"]}, request=lambda prompt: nbh.Request("mill", {"a": 1}, endpoint="safe")))
    posts = len(factory.creates)

    watch = run(experiment({"prompt": ["owl"]}, request=lambda prompt: nbh.Request("mill", {"a": 2}, endpoint="safe")))

    assert len(factory.creates) == posts
    assert [str(h.outcome) for h in watch] == ["lost"]


SPOILED = {
    "wrong key": (reply({"message": "who are you"}, 401), "mill refused the key 3 times in a row", "failed"),
    "no credit": (reply({"message": "pay first"}, 402), "mill said that there is no credit 3 times in a row", "failed"),
    "no answers": (reset, "mill gave no clear answer 3 times in a row", "lost"),
}


@pytest.mark.parametrize(("answer", "why", "outcome"), SPOILED.values(), ids=SPOILED)
def test_three_spoiled_creates_in_a_row_end_the_submitting(experiment, factory, run, monkeypatch, answer, why, outcome):
    """After three refused keys, missing credits or lost replies in a row the other tasks stay unsent."""
    monkeypatch.setattr(create_limit, "IN_FLIGHT", 1)
    factory.answers = [answer] * 20
    watch = run(experiment({"prompt": [f"p{n}" for n in range(10)]}))

    assert len(factory.creates) == 3
    assert sorted(str(h.outcome) for h in watch) == sorted([outcome] * 3 + ["stopped"] * 7)
    assert sum(f"not submitted: {why}" in (h.error or "") for h in watch) == 7
    assert any(why in note for note in watch.notes)


def test_an_api_that_cannot_be_reached_is_given_up(experiment, mill, run, monkeypatch):
    """An unreachable API is tried a few times; nothing is in doubt, and the other tasks stay unsent."""
    monkeypatch.setattr(create_limit, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(create_limit, "_LONGEST_WAIT", 0.02)
    exp = experiment(concurrency=1)
    mill.close()
    watch = run(exp)

    assert sorted(str(h.outcome) for h in watch) == ["failed", "stopped", "stopped", "stopped"]
    assert exp.to_frame()["error_code"].dropna().tolist() == ["network"]


def test_a_full_disk_ends_the_submitting(experiment, factory, run, monkeypatch):
    """Without an intent in the store no create is sent; each history has the error, and the watch ends."""
    from concurrent.futures import Future

    def full(**_):
        refused = Future()
        refused.set_exception(nbh.StoreError("the disk is full"))
        return refused

    exp = experiment()
    session.store().fingerprint("")
    monkeypatch.setattr(session.store(), "begin_intent", full)
    watch = run(exp)

    assert factory.creates == []
    assert {str(h.outcome) for h in watch} == {"stopped"}
    assert all("the disk is full" in h.error for h in watch)


def test_a_task_that_cannot_be_recorded_is_watched_all_the_same(experiment, factory, run, monkeypatch):
    """A task that the store could not record is watched to its end, and no more are submitted."""
    from concurrent.futures import Future

    def full(*_):
        refused = Future()
        refused.set_exception(nbh.StoreError("the disk is full"))
        return refused

    exp = experiment(shuffle=None, concurrency=1)
    session.store().fingerprint("")
    monkeypatch.setattr(session.store(), "intent_created", full)
    watch = run(exp)

    assert len(factory.creates) == 1
    assert [str(h.outcome) for h in watch] == ["succeeded", *["stopped"] * 3]


def test_a_file_that_is_gone_when_its_create_is_sent_fails_that_task(experiment, factory, run, tmp_path, monkeypatch):
    """A file that was deleted after the experiment was made fails its own task only."""
    from support.experiments import picture

    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(picture())

    def request(name):
        return nbh.Request("mill", {"prompt": "x"}, endpoint="form", files={"image": tmp_path / f"{name}.png"})

    exp = experiment({"name": ["a", "b"]}, request=request, shuffle=None)
    (tmp_path / "a.png").unlink()
    watch = run(exp)

    assert [str(h.outcome) for h in watch] == ["failed", "succeeded"]
    assert "does not exist" in watch[0].error


def test_no_emulator_opens_while_real_tasks_wait_to_be_submitted(experiment, factory):
    """An emulator, which would answer for their provider, does not open while tasks wait."""
    factory.answers = [reply({"message": "slow"}, 429, {"retry-after": "300"})]
    watch = experiment({"prompt": ["owl"]}).run(display=False, block=False)
    until(lambda: watch.notes)

    with pytest.raises(nbh.EmulatorError, match="Real tasks are being watched"):
        nbh.Emulator()

    watch.stop()
    watch.result(timeout=30)
    nbh.Emulator().close()


def test_a_create_that_the_end_of_the_process_cuts_off_is_in_doubt(experiment, factory):
    """A create without a reply when the process (or the emulator) ends is `lost`, and the watch ends."""
    from nbhelper._watching.engine import engine

    factory.answers = [silence]
    exp = experiment(shuffle=None, concurrency=1)
    watch = exp.run(display=False, block=False)
    until(lambda: factory.creates)
    (sender,) = engine().senders

    engine().run(sender.finish("the process ended", 0.1)).result(30)
    watch.result(timeout=30)

    assert [str(h.outcome) for h in watch] == ["lost", "stopped", "stopped", "stopped"]
    assert [row.state for row in session.store().creates("owls")] == ["sent"]
    assert repr(exp).endswith("1 in doubt>")
    assert engine().senders == set()


def test_stop_cancels_a_create_that_waits_at_the_gate(experiment, factory, mill):
    """A create that waits for the gate is not sent after `stop()`, and the watch ends."""
    from nbhelper._watching.engine import engine

    factory.job = [QUEUED]
    exp = experiment(shuffle=None, concurrency=2)
    engine().gate(session.connection("mill")).outage.hold(600)
    watch = exp.run(display=False, block=False)
    until(lambda: [row.state for row in session.store().creates("owls")] == ["begun", "begun"])

    watch.stop()
    watch.result(timeout=30)

    assert factory.creates == []
    assert all("not submitted: stopped by hand" in h.error for h in watch)
    assert len(exp.plan()) == 4
