"""A little of what `python tests/benchmarks/faults.py store` does in full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import store_damage
from support.chaos.disk import compiler
from support.scripts import ROOT, environment

from nbhelper._store import salvage
from nbhelper._store.store import Store

TESTS = Path(__file__).parents[1]
SCENES = ("a new store", "a store", "a torn store", "another version", "salvage", "another program's")
FACTS = [
    "8 processes write at once",
    "killed amid writing",
    "killed at a commit",
    "killed beside others",
    *[f"killed opening: {scene}" for scene in ("a new store", "a store", "another version", "salvage")],
    *[f"killed in each change: {scene}" for scene in SCENES],
    "cuts",
    "flips",
    "torn: cuts",
    "torn: cuts of the journal",
    "torn: flips in the journal",
]


@pytest.fixture(scope="module")
def quick():
    """The results of a run with a few of each, by fact."""
    command = [sys.executable, "-W", "error", "-m", "support.store_torture", "--quick"]
    done = subprocess.run(
        command, env=environment(PYTHONPATH=f"{TESTS}{os.pathsep}{ROOT}"), capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {fact.pop("fact"): fact for fact in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("fact", FACTS)
def test_quick(quick, fact):
    """Killed, cut or with a flipped bit: no acknowledged row is lost, and none is read wrongly without a note."""
    if fact.startswith("killed in each change") and compiler() is None:
        pytest.skip("needs a C compiler")

    assert not quick[fact]["measured"].startswith("0 done")
    assert quick[fact]["met"], quick[fact]


def test_the_list_of_facts_is_complete(quick):
    """`FACTS` are the facts of the script, in its order."""
    assert [*quick] == FACTS


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A closed small store: its folder, its bytes, and what is read from it."""
    return store_damage.small(tmp_path_factory.mktemp("torture") / "nbhelper-data")


def test_the_small_store_is_read_whole(small):
    """Undamaged, the small store gives all that was written, without a note: the comparison below is valid."""
    tally = store_damage.cuts(small, [len(small.data)])

    assert (tally.unnoticed, tally.salvaged, tally.present) == ([], 0, tally.rows)
    assert len(small.whole["events"]) == 13
    assert all(small.whole.values())


def test_the_comparison_reports_a_lost_row(small, monkeypatch):
    """The comparison reports a salvage that leaves a table out."""
    monkeypatch.setattr(salvage, "TABLES", [table for table in salvage.TABLES if table != "events"])
    tally = store_damage.cuts(small, [len(small.data) - store_damage.PAGE])

    assert tally.set_aside == 1
    assert tally.behind


@pytest.mark.parametrize("bit", range(8))
def test_a_schema_of_another_format_is_damage(small, bit):
    """A flip in the one byte that tells the schema's format, which SQLite refuses as too new, is noted."""
    tally = store_damage.flips(small, [(47, bit)])

    assert (tally.unnoticed, tally.behind) == ([], [])


def test_a_salvaged_store_goes_on(small):
    """What was salvaged is written to like any store, and is not salvaged again."""
    folder = small.folder
    for path in folder.iterdir():
        path.unlink()
    (folder / "history.db").write_bytes(small.data[: -store_damage.PAGE])
    first = Store(folder)
    histories = first.histories()
    first.close()
    second = Store(folder)

    assert len(histories) == 3
    assert "4 tasks with 1" in first.notes[0]
    assert [history.events for history in second.histories()] == [history.events for history in histories]
    assert second.notes == []
    assert len(list(folder.glob("*.aside"))) == 1
    second.close()
