"""Running an experiment: each task is submitted once, within the limits, shown, tabulated and exported."""

import time

import pandas as pd
import pytest
from support.mill import QUEUED, WORKING
from support.waiting import until

import nbhelper as nbh

TASKS = [("owl", 1), ("owl", 2), ("fox", 1), ("fox", 2)]


def sent(factory):
    return [(body["prompt"], body["size"]) for body in factory.creates]


def test_every_task_is_submitted_once_and_tabulated(experiment, factory, run):
    """The table has one row per task in the grid's order, and each parameter in a column of its own."""
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
    """`summary`, `to_csv` and `gallery` take an experiment as they take a watch or a frame."""
    exp = experiment()
    run(exp)

    assert nbh.summary(exp, by="param_prompt")["n"].tolist() == [2, 2]
    assert exp.summary("prompt")["succeeded"].tolist() == [2, 2]
    assert exp.summary()["succeeded"].tolist() == [1, 1, 1, 1]
    pd.testing.assert_frame_equal(nbh.read_csv(nbh.to_csv(exp, "owls.csv")), exp.to_frame())
    assert nbh.gallery(exp, row="prompt").pictures == 0
    assert nbh.pending(experiment="owls").empty


def test_running_again_submits_only_what_is_missing(experiment, factory, run):
    """The same grid sends nothing, a larger one its new tasks, by the same object or another one."""
    exp = experiment()
    first = run(exp)
    again = run(exp)
    larger = run(experiment({"prompt": ["owl", "fox", "hen"], "size": [2, 1]}))

    assert sent(factory)[4:] in ([("hen", 1), ("hen", 2)], [("hen", 2), ("hen", 1)])
    assert {h.task.id for h in first} == {h.task.id for h in again}
    assert len(larger) == 6
    assert len(exp.plan()) == 0


def test_another_name_is_another_experiment(experiment, factory, run):
    """Tasks with the same parameters under another name are submitted anew."""
    run(experiment())
    run(experiment(name="owls 2"))

    assert len(factory.creates) == 8


def test_no_more_tasks_run_at_once_than_concurrency(experiment, factory, mill, run):
    """With `concurrency=2` the third task is submitted when one of the first two is over."""
    factory.job = [WORKING, WORKING, {"state": "done"}]
    alive = []
    watch = experiment(concurrency=2).run(display=False, block=False)
    while not watch.done:
        alive.append(sum(h.created and h.outcome is None for h in watch))
        time.sleep(0.005)

    assert max(alive) == 2
    assert len(factory.creates) == 4


def test_waiting_tasks_are_shown_as_unsent(experiment, factory):
    """Every task is in the repr and in the table from the start, and `result()` waits for all of them."""
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
    """After `stop()` no create is sent; tasks that were made are stopped, unsent ones have no row in the store."""
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


def test_a_run_after_stop_continues(experiment, factory, run):
    """A run after `stop()` watches the tasks that were made and submits the others."""
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


def test_a_second_run_takes_over_from_the_first(experiment, factory, run):
    """The later run ends the submitting of the earlier one, and no task is sent twice."""
    factory.job = [WORKING] * 3 + [{"state": "done"}]
    exp = experiment(concurrency=1)
    first = exp.run(display=False, block=False)
    until(lambda: factory.creates)
    second = run(experiment(concurrency=4))

    assert sorted(sent(factory)) == sorted(TASKS)
    assert [str(h.outcome) for h in second] == ["succeeded"] * 4
    first.result(timeout=30)
    assert any("not submitted: run again" in (h.error or "") for h in first)


def test_limits_hold_over_all_runs(experiment, factory, run):
    """A run sends what `max_tasks` leaves after earlier runs; the watch's notes and the plan say so."""
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


def test_as_completed_waits_for_tasks_submitted_later(experiment, factory):
    """`as_completed()` yields tasks too that were not submitted when the loop began."""
    watch = experiment(concurrency=1).run(display=False, block=False)

    ended = [h.task.id for h in watch.as_completed()]

    assert sorted(ended) == [f"made-{n}" for n in range(1, 5)]


def test_events_begin_with_the_create(experiment, factory):
    """`events()` of the watch yields the marks `submitting` and `submitted` before `watching`."""

    async def seen(watch):
        return [observation async for observation in watch.events()]

    watch = experiment({"prompt": ["owl"]}).run(display=False, block=False)
    observations = nbh.run_sync(seen(watch))

    assert [str(getattr(o.seen, "word", "")) for o in observations][:3] == ["submitting", "submitted", "watching"]


def test_options_of_the_watch_are_checked_first(experiment, factory):
    """A wrong option of `run` is refused before any create is sent."""
    exp = experiment()

    for options in ({"preview": 3}, {"display": "card"}, {"timeout": -1}, {"retry_in_doubt": "yes"}):
        with pytest.raises(nbh.BadInput):
            exp.run(**options)
    with pytest.raises(nbh.BadInput, match=r'takes no "intervall"\. Did you mean "interval"'):
        exp.run(intervall=3)

    assert factory.creates == []


def test_a_missing_key_is_an_error_before_anything_is_sent(experiment, factory, monkeypatch):
    """`plan()` works without a key; `run()` raises `MissingAPIKey`, which names the variable."""
    exp = experiment()
    monkeypatch.delenv("MILL_API_KEY")

    assert len(exp.plan()) == 4
    with pytest.raises(nbh.MissingAPIKey, match="MILL_API_KEY"):
        exp.run()
    assert factory.creates == []


def kie(prompt):
    return nbh.Request("kie", {"model": "google/nano-banana", "input": {"prompt": f"{prompt} emu:stuck"}})


def test_closing_the_emulator_ends_the_submitting(isolated):
    """When the emulator closes, unsent tasks and those made in it are stopped, and the watch ends."""
    with nbh.Emulator(speed=1000) as emulator:
        watch = nbh.Experiment("owls", kie, {"prompt": ["a", "b", "c", "d"]}, concurrency=2).run(
            display=False, block=False
        )
        until(lambda: watch.alive == 2)
        assert watch.emulated
    watch.result(timeout=30)

    assert len(emulator.ledger().tasks) == 2
    assert [str(h.outcome) for h in watch] == ["stopped"] * 4
    assert sum("the emulator was closed" in h.error for h in watch) == 4


def test_emulated_tasks_need_no_limit(isolated):
    """Sixty tasks at the emulator, which cost nothing, run without a limit."""
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
    """A line says how many tasks are watched, how many are still to be submitted, and what ends both."""
    factory.job = [QUEUED]
    watch = experiment(concurrency=1).run(display=False, block=False)
    until(lambda: watch.alive == 1)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(watch), "_sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        watch.result()

    output = capsys.readouterr().out
    assert "1 task still watched, 3 still to be submitted in the background" in output
    assert "w.stop() ends the submitting and watching" in output
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


EXPORTS = {"no text": (7, "takes a file"), "empty": (" ", "takes a file"), "a folder": (".", "is a folder")}


@pytest.mark.parametrize(("path", "words"), EXPORTS.values(), ids=EXPORTS)
def test_an_export_to_nowhere_is_refused(experiment, factory, run, path, words):
    """A path that names no file that can be written is refused."""
    exp = experiment({"prompt": ["owl"]})
    run(exp)

    with pytest.raises(nbh.BadInput, match=words):
        exp.export(path)
    with pytest.raises(nbh.BadInput, match="cannot be written"):
        exp.export("/nowhere/at/all.zip")
