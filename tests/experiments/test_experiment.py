"""Running an experiment: each task once, within the limits, whatever the API says to its creates."""

import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from support.experiments import ask
from support.mill import QUEUED, WORKING, reset, silence
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._submitting import create_limit, send

BUSY = reply({"message": "slow down"}, 429, {"retry-after": "1"})
TASKS = [("owl", 1), ("owl", 2), ("fox", 1), ("fox", 2)]


def sent(factory):
    return [(body["prompt"], body["size"]) for body in factory.creates]


def test_every_task_is_submitted_once_and_tabulated(experiment, factory, run):
    """A row per task in the grid's order, each parameter in a column of its own."""
    exp = experiment(repeats=2)
    watch = run(exp)
    frame = exp.to_frame()

    assert sorted(sent(factory)) == sorted(TASKS * 2)
    assert [h.outcome for h in watch] == ["succeeded"] * 8
    assert list(zip(frame["param_prompt"], frame["param_size"], frame["repeat"], strict=True)) == [
        (*task, repeat) for task in TASKS for repeat in (1, 2)
    ]
    assert set(frame["experiment"]) == {"owls"}
    assert frame["label"].tolist()[:2] == ["owl, 1 #1", "owl, 1 #2"]
    assert frame["task_id"].nunique() == 8
    pd.testing.assert_frame_equal(frame, watch.to_frame())
    assert len(nbh.tasks(experiment="owls")) == 8
    assert repr(exp) == "<Experiment owls: 8 tasks, price unknown, 8 sent>"


def test_every_table_takes_an_experiment(experiment, run):
    """As it takes a watch or a frame."""
    exp = experiment()
    run(exp)

    assert nbh.summary(exp, by="param_prompt")["n"].tolist() == [2, 2]
    assert exp.summary("prompt")["succeeded"].tolist() == [2, 2]
    assert exp.summary()["succeeded"].tolist() == [1, 1, 1, 1]
    pd.testing.assert_frame_equal(nbh.read_csv(nbh.to_csv(exp, "owls.csv")), exp.to_frame())
    assert nbh.gallery(exp, row="prompt").pictures == 0
    assert nbh.pending(experiment="owls").empty


def test_running_again_submits_only_what_is_missing(experiment, factory, run):
    """The same grid sends nothing, a larger one what is new, with the same object or another one."""
    exp = experiment()
    first = run(exp)
    again = run(exp)
    larger = run(experiment({"prompt": ["owl", "fox", "hen"], "size": [2, 1]}))

    assert sent(factory)[4:] in ([("hen", 1), ("hen", 2)], [("hen", 2), ("hen", 1)])
    assert {h.task.id for h in first} == {h.task.id for h in again}
    assert len(larger) == 6
    assert len(exp.plan()) == 0


def test_another_name_is_another_experiment(experiment, factory, run):
    """The name is part of a task's identity."""
    run(experiment())
    run(experiment(name="owls 2"))

    assert len(factory.creates) == 8


def test_no_more_tasks_are_alive_than_wanted(experiment, factory, mill, run):
    """The next one is submitted when one is over."""
    factory.job = [WORKING, WORKING, {"state": "done"}]
    alive = []
    watch = experiment(concurrency=2).run(display=False, block=False)
    while not watch.done:
        alive.append(sum(h.created and h.outcome is None for h in watch))
        time.sleep(0.005)

    assert max(alive) == 2
    assert len(factory.creates) == 4


def test_what_waits_is_shown_as_unsent(experiment, factory):
    """Places are there from the start, in the repr and in the table, and `result()` waits for all of them."""
    factory.job = [QUEUED]
    exp = experiment(concurrency=1)
    watch = exp.run(display=False, block=False)
    until(lambda: watch.alive == 1)

    assert "3 unsent" in repr(watch)
    assert len(watch) == 4
    with pytest.raises(nbh.WatchTimeout):
        watch.result(timeout=0.05)
    frame = watch.to_frame(wait=False)
    assert frame["task_id"].notna().sum() == 1
    assert frame["param_prompt"].notna().all()
    assert frame["outcome"].isna().all()
    watch.stop()
    watch.result(timeout=30)


def test_stop_also_stops_submitting(experiment, factory):
    """Nothing more is sent; what was made is stopped and may be watched again, what was not is no row of the store."""
    factory.job = [QUEUED]
    exp = experiment(concurrency=2)
    watch = exp.run(display=False, block=False)
    until(lambda: watch.alive == 2)

    watch.stop()
    watch.result(timeout=30)

    assert len(factory.creates) == 2
    assert [str(h.outcome) for h in watch] == ["stopped"] * 4
    assert sum("not submitted: stopped by hand" in (h.error or "") for h in watch) == 2
    assert len(nbh.tasks(experiment="owls")) == 2
    assert exp.to_frame()["outcome"].isna().sum() == 2
    assert exp.summary(by=["provider", "model"])["unfinished"].tolist() == [2]


def test_a_stopped_experiment_goes_on(experiment, factory, run):
    """Running again watches what was made and submits the rest."""
    factory.job = [QUEUED]
    watch = experiment(concurrency=2).run(display=False, block=False)
    until(lambda: watch.alive == 2)
    watch.stop()
    watch.result(timeout=30)

    factory.job = {"state": "done"}
    for answers in factory.jobs.values():
        answers[:] = [{"state": "done"}]
    again = run(experiment())

    assert sorted(sent(factory)) == sorted(TASKS)
    assert [str(h.outcome) for h in again] == ["succeeded"] * 4


def test_running_twice_at_once_takes_over(experiment, factory, run):
    """The later run ends the earlier one's submitting, and nothing is sent twice."""
    factory.job = [WORKING] * 3 + [{"state": "done"}]
    exp = experiment(concurrency=1)
    first = exp.run(display=False, block=False)
    until(lambda: factory.creates)
    second = run(experiment(concurrency=4))

    assert sorted(sent(factory)) == sorted(TASKS)
    assert [str(h.outcome) for h in second] == ["succeeded"] * 4
    first.result(timeout=30)
    assert any("not submitted: run again" in (h.error or "") for h in first)


def test_a_refused_create_is_a_row_and_the_rest_goes_on(experiment, factory, run):
    """Its outcome is failed, with the server's code and words; nothing was made, so it is missing for the next run."""
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


def test_a_create_that_has_to_wait_waits_and_goes_on(experiment, factory, run):
    """The API's Retry-After is kept by all, one create tries before the others, and the row is the same one."""
    factory.answers = [None, BUSY]
    exp = experiment(shuffle=None, concurrency=1)
    begun = time.monotonic()
    watch = run(exp)
    arrivals = [asked.at for asked in factory.server.requests if asked.method == "POST"]

    assert [str(h.outcome) for h in watch] == ["succeeded"] * 4
    assert len(arrivals) == 5
    assert arrivals[2] - arrivals[1] >= 1.0
    assert len(nbh.tasks(experiment="owls")) == 4
    assert time.monotonic() - begun < 30


def test_while_an_api_asks_to_wait_the_watch_says_so(experiment, factory):
    """The card has a line with the API and how many wait; stopping does not wait for it."""
    factory.answers = [reply({"message": "slow"}, 429, {"retry-after": "300"})]
    watch = experiment(concurrency=1).run(display=False, block=False)
    note = until(lambda: watch.notes)

    assert note[0].startswith("mill asks to wait")
    assert "to be submitted there" in note[0]
    watch.stop()
    watch.result(timeout=30)
    assert all("not submitted" in h.error for h in watch)


def test_other_apis_go_on_while_one_waits(experiment, factory, emulator, run):
    """Each API has a door of its own."""

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
    """Where an API declares one, it is not even tried."""
    from support.mill import provider

    nbh.register(provider(mill.root, create_limit=(2, 2.0)))
    run(experiment(concurrency=4))
    arrivals = [asked.at for asked in factory.server.requests if asked.method == "POST"]

    # A busy machine may be late to take the first of each pair.
    assert arrivals[2] - arrivals[0] >= 1.5
    assert arrivals[3] - arrivals[1] >= 1.5


def test_a_lost_answer_leaves_one_in_doubt(experiment, factory, run):
    """It is listed, never sent again by itself, and counted in the repr; asked for, it is sent once more."""
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


def test_a_create_with_a_request_id_is_asked_again_with_the_same_one(experiment, factory, run, monkeypatch):
    """Where the API makes one task of one request id, a create in doubt costs nothing: the same row, the same id."""
    monkeypatch.setattr(send, "_AGAIN", 0.01)

    def request(prompt):
        return nbh.Request("mill", {"prompt": prompt}, endpoint="safe")

    factory.answers = [reset, reset, reset]
    exp = experiment({"prompt": ["owl"]}, request=request)
    assert [str(h.outcome) for h in run(exp)] == ["lost"]

    watch = run(exp)

    ids = [asked.header("x-request-id") for asked in factory.server.requests if asked.method == "POST"]
    assert len(ids) == 4
    assert len(set(ids)) == 1
    assert [str(h.outcome) for h in watch] == ["succeeded"]
    assert len(nbh.tasks(experiment="owls")) == 1


def safe(experiment):
    """An experiment of one task at an endpoint that takes a request id."""
    return experiment({"prompt": ["owl"]}, request=lambda prompt: nbh.Request("mill", {"a": 1}, endpoint="safe"))


def request_ids(factory):
    return [asked.header("x-request-id") for asked in factory.server.requests if asked.method == "POST"]


def test_a_doubt_stays_when_its_repetition_is_refused(experiment, factory, run, monkeypatch):
    """The first create may have been made: a later run repeats it with the same request id, never with a new one."""
    monkeypatch.setattr(send, "_AGAIN", 0.01)
    factory.answers = [reset, reset, reset, reply({"message": "pay first"}, 402)]
    exp = safe(experiment)
    run(exp)

    assert [str(h.outcome) for h in run(exp)] == ["lost"]
    assert [row.state for row in session.store().creates("owls")] == ["in_doubt"]
    assert [str(h.outcome) for h in run(exp)] == ["succeeded"]
    assert len(request_ids(factory)) == 5
    assert len(set(request_ids(factory))) == 1


def test_a_doubt_stays_while_its_repetition_is_told_to_wait(experiment, factory, run, monkeypatch):
    """Stopped before it was sent once more, it is in doubt as before, and not a create that was never sent."""
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
def test_a_request_id_is_trusted_for_a_day(experiment, factory, run, monkeypatch, age, n):
    """No API says how long it remembers one: a create in doubt is repeated by itself for 24 hours, and then no more."""
    monkeypatch.setattr(send, "_AGAIN", 0.01)
    exp = safe(experiment)
    factory.answers = [reset, reset, reset]
    run(exp)
    store = session.store()
    begun = (datetime.now(UTC) - age).isoformat()
    store._writer.put(lambda db: db.execute("UPDATE intents SET at = ?", (begun,))).result()

    run(exp)

    assert len(factory.creates) == n


def test_a_request_id_is_not_used_for_another_request(experiment, factory, run, monkeypatch):
    """The function changed meanwhile: the old create stays in doubt."""
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
def test_what_goes_wrong_for_all_ends_after_three(experiment, factory, run, monkeypatch, answer, why, outcome):
    """A wrong key, no credit or a broken connection does not spoil a whole grid: the rest stays unsent."""
    monkeypatch.setattr(create_limit, "IN_FLIGHT", 1)
    factory.answers = [answer] * 20
    watch = run(experiment({"prompt": [f"p{n}" for n in range(10)]}))

    assert len(factory.creates) == 3
    assert sorted(str(h.outcome) for h in watch) == sorted([outcome] * 3 + ["stopped"] * 7)
    assert sum(f"not submitted: {why}" in (h.error or "") for h in watch) == 7
    assert any(why in note for note in watch.notes)


def test_an_api_that_cannot_be_reached_is_given_up(experiment, mill, run, monkeypatch):
    """Nothing was sent, so nothing is in doubt: it is tried a few times, then the rest stays unsent."""
    monkeypatch.setattr(create_limit, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(create_limit, "_LONGEST_WAIT", 0.02)
    exp = experiment(concurrency=1)
    mill.close()
    watch = run(exp)

    assert sorted(str(h.outcome) for h in watch) == ["failed", "stopped", "stopped", "stopped"]
    assert exp.to_frame()["error_code"].dropna().tolist() == ["network"]


def test_a_full_disk_sends_nothing_more(experiment, factory, run, monkeypatch):
    """Without an intent on the disk there is no request; the watch says why and ends."""
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
    """It exists and is billed: its result is saved, and nothing more is submitted."""
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


def test_limits_hold_over_all_runs(experiment, factory, run):
    """A run sends what still fits, in the shuffled order; the watch and the plan say so."""
    exp = experiment({"prompt": [f"p{n}" for n in range(5)]}, max_tasks=3)
    assert len(exp.plan()) == 3
    watch = run(exp)
    again = run(exp)

    assert len(factory.creates) == 3
    assert len(watch) == len(again) == 3
    assert watch.notes == ("max_tasks=3: 2 more are not submitted",)
    assert exp.to_frame()["task_id"].notna().sum() == 3
    assert len(exp.plan()) == 0

    run(experiment({"prompt": [f"p{n}" for n in range(5)]}, max_tasks=4))

    assert len(factory.creates) == 4


def test_the_watch_waits_for_all_in_every_way(experiment, factory):
    """`for`, and the observations, see tasks that were not there when the waiting began."""
    watch = experiment(concurrency=1).run(display=False, block=False)

    ended = [h.task.id for h in watch.as_completed()]

    assert sorted(ended) == [f"made-{n}" for n in range(1, 5)]


def test_events_begin_with_the_create(experiment, factory):
    """Submitting is observed like the looks."""

    async def seen(watch):
        return [observation async for observation in watch.events()]

    watch = experiment({"prompt": ["owl"]}).run(display=False, block=False)
    found = nbh.run_sync(seen(watch))

    assert [str(getattr(o.seen, "word", "")) for o in found][:3] == ["submitting", "submitted", "watching"]


def test_a_file_that_changed_since_is_told_at_its_place(experiment, factory, run, tmp_path, monkeypatch):
    """The file was there when the experiment was made; the other tasks go on."""
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


def test_options_of_the_watch_are_checked_first(experiment, factory):
    """Nothing is sent when an option of `run` cannot be."""
    exp = experiment()

    for options in ({"preview": 3}, {"display": "card"}, {"timeout": -1}, {"retry_in_doubt": "yes"}):
        with pytest.raises(nbh.BadInput):
            exp.run(**options)
    with pytest.raises(nbh.BadInput, match=r'takes no "intervall"\. Did you mean "interval"'):
        exp.run(intervall=3)

    assert factory.creates == []


def test_a_missing_key_is_told_before_anything_is_sent(experiment, factory, monkeypatch):
    """A plan needs no key; a run names its variable."""
    exp = experiment()
    monkeypatch.delenv("MILL_API_KEY")

    assert len(exp.plan()) == 4
    with pytest.raises(nbh.MissingAPIKey, match="MILL_API_KEY"):
        exp.run()
    assert factory.creates == []


def kie(prompt):
    return nbh.Request("kie", {"model": "google/nano-banana", "input": {"prompt": f"{prompt} emu:stuck"}})


def test_closing_the_emulator_ends_the_submitting(isolated):
    """Nothing waits for a server that is gone; what was made there is stopped."""
    with nbh.Emulator(speed=1000) as emulator:
        watch = nbh.Experiment("owls", kie, {"prompt": ["a", "b", "c", "d"]}, concurrency=2).run(
            display=False, block=False
        )
        until(lambda: watch.alive == 2)
        assert watch.emulated
    watch.result(timeout=20)

    assert len(emulator.ledger().tasks) == 2
    assert [str(h.outcome) for h in watch] == ["stopped"] * 4
    assert sum("the emulator was closed" in h.error for h in watch) == 4


def test_no_emulator_opens_while_real_tasks_wait_to_be_submitted(experiment, factory):
    """It would answer for their provider."""
    factory.answers = [reply({"message": "slow"}, 429, {"retry-after": "300"})]
    watch = experiment({"prompt": ["owl"]}).run(display=False, block=False)
    until(lambda: watch.notes)

    with pytest.raises(nbh.EmulatorError, match="Real tasks are being watched"):
        nbh.Emulator()

    watch.stop()
    watch.result(timeout=30)
    nbh.Emulator().close()


def test_emulated_tasks_need_no_limit(isolated):
    """Sixty tasks that cost nothing are simply run."""
    with nbh.Emulator(speed=5000):
        grid = {"prompt": [f"p{n}" for n in range(60)]}
        exp = nbh.Experiment(
            "owls",
            lambda prompt: nbh.Request("tripo", {"type": "animate_prerigcheck", "original_model_task_id": prompt}),
            grid,
            concurrency=30,
        )
        watch = exp.run(display=False, block=False, save=False)
        watch.result(timeout=60)

    assert len(watch) == 60


def test_an_interrupt_says_what_goes_on(experiment, factory, monkeypatch, capsys):
    """One line: how many are watched, how many are still to be submitted, and what ends both."""
    factory.job = [QUEUED]
    watch = experiment(concurrency=1).run(display=False, block=False)
    until(lambda: watch.alive == 1)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(watch), "_sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        watch.result()

    said = capsys.readouterr().out
    assert "1 task still watched, 3 still to be submitted in the background" in said
    assert "w.stop() ends the submitting and watching" in said
    monkeypatch.undo()
    watch.stop()


def test_an_export_holds_table_files_and_gallery(isolated, run):
    """The CSV reads back to the same frame, its paths are those in the archive, the gallery is one page."""
    import json
    import zipfile

    with nbh.Emulator(speed=1000):
        exp = nbh.Experiment(
            "owls",
            lambda prompt, size: nbh.Request(
                "kie", {"model": "google/nano-banana", "input": {"prompt": prompt, "image_size": size}}
            ),
            {"prompt": ["owl", "fox"], "size": ["1:1", "16:9"]},
        )
        run(exp)
        path = exp.export("owls.zip")
        gallery = exp.gallery()
        frame = exp.to_frame()

    with zipfile.ZipFile(path) as archive:
        archive.extractall("out")
        names = archive.namelist()
    from pathlib import Path

    pd.testing.assert_frame_equal(nbh.read_csv("out/tasks.csv"), frame)
    assert names[:2] == ["tasks.csv", "gallery.html"]
    assert all((Path("out") / name).is_file() for text in frame["files"] for name in json.loads(text))
    assert gallery.pictures == 4
    assert gallery.body.count("<th") >= 4
    assert Path("out/gallery.html").read_text("utf-8").count("<figure>") == 4


def test_a_create_that_is_cut_off_is_in_doubt(experiment, factory):
    """The process may end, or the emulator close, before an answer: the place says so, and nobody waits for ever."""
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


def test_stop_calls_back_what_only_waits_for_its_turn(experiment, factory, mill):
    """The gate is closed because looks were told to wait: nothing leaves after the stop, and nobody waits for it."""
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


def test_a_create_whose_row_is_damaged_is_not_sent_again(experiment, factory, run):
    """What became of it cannot be trusted any more, so it counts as in doubt."""
    import sqlite3

    factory.answers = [reply({"message": "no"}, 400)]
    exp = experiment({"prompt": ["owl"]})
    run(exp)
    session.store().close()
    with sqlite3.connect(session.store().folder / "history.db") as db:
        db.execute("UPDATE intents SET state = 'begun'")

    assert repr(exp).endswith("1 in doubt>")
    assert [str(h.outcome) for h in run(exp)] == ["failed"]
    assert len(factory.creates) == 1


EXPORTS = {"no text": (7, "takes a file"), "empty": (" ", "takes a file"), "a folder": (".", "is a folder")}


@pytest.mark.parametrize(("path", "words"), EXPORTS.values(), ids=EXPORTS)
def test_an_export_to_nowhere_is_refused(experiment, factory, run, path, words):
    """One line."""
    exp = experiment({"prompt": ["owl"]})
    run(exp)

    with pytest.raises(nbh.BadInput, match=words):
        exp.export(path)
    with pytest.raises(nbh.BadInput, match="cannot be written"):
        exp.export("/nowhere/at/all.zip")


def test_a_create_whose_task_is_damaged_is_not_sent_again(experiment, factory, run):
    """A row that cannot be trusted names no cell; the create is found by its request all the same."""
    import sqlite3

    grid = {"prompt": ["owl"], "note": ["a", "b"]}  # two cells with equal requests
    exp = experiment(grid, request=lambda prompt, note: ask(prompt), repeats=2)
    run(exp)
    session.store().close()
    with sqlite3.connect(session.store().folder / "history.db") as db:
        db.execute("UPDATE tasks SET cell = 'x'")

    assert repr(exp).endswith("4 sent>")
    assert [str(h.outcome) for h in run(exp)] == ["succeeded"] * 4
    assert len(factory.creates) == 4
