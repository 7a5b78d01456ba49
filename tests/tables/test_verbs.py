"""The functions that give tables: of a store, of one task, and where nothing was kept."""

from pathlib import Path

import pytest
from support.mill import DONE, KEY

import nbhelper as nbh

pytestmark = pytest.mark.usefixtures("isolated")


def test_reading_tables_makes_no_store():
    """Without a store each table is empty, with all its columns, and no file is made."""
    for table in (nbh.tasks(), nbh.events(), nbh.outputs()):
        assert len(table) == 0
        assert len(table.columns) > 5

    assert list(Path.cwd().iterdir()) == []


def test_providers_are_listed_without_a_key_or_a_store(monkeypatch):
    """Name, variable, where the key was found, address, endpoints, limits, docs; never the key."""
    monkeypatch.setenv("KIE_API_KEY", KEY)

    frame = nbh.providers()

    assert list(frame["provider"])[:7] == ["ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie"]
    assert frame.set_index("provider").loc["kie", "key_found"] == "environment KIE_API_KEY"
    assert frame.set_index("provider").loc["kie", "create_limit"] == "20 in 10 s"
    assert frame.set_index("provider").loc[["aigptimage", "ailab"], "create_limit"].isna().all()  # unknown is not none
    assert KEY not in frame.to_csv()
    assert list(Path.cwd().iterdir()) == []


def test_events_of_one_task_alone(mill):
    """`events(task)` has every observation of the tasks given, as text, task, history or list, and of no other."""
    refs = [mill.job(DONE) for _ in range(3)]
    first, second, _ = nbh.watch(refs, display=False, block=False).result(30)
    everything = nbh.events()

    assert set(everything["task"]) == set(refs)
    for task in (refs[0], first, first.task, [first], iter([refs[0], first.task])):
        frame = nbh.events(task)
        assert list(frame["seq"]) == list(range(1, first.seq + 1))
        assert set(frame["task"]) == {refs[0]}
    assert set(nbh.events([first, second.task])["task"]) == set(refs[:2])
    assert len(nbh.events(first, outcome="failed")) == len(nbh.events("mill:nobody")) == len(nbh.events([])) == 0
