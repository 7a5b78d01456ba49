"""A little of what `python tests/benchmarks/faults.py store` does in full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import torture
from support.chaos.disk import compiler
from support.scripts import ROOT, environment

from nbhelper import _salvage
from nbhelper._store import Store

TESTS = Path(__file__).parents[1]
SCENES = ("a new store", "a store", "a torn store", "migration", "salvage", "another program's")
FACTS = [
    "8 processes write at once",
    "killed amid writing",
    "killed at a commit",
    "killed beside others",
    *[f"killed opening: {scene}" for scene in ("a new store", "a store", "migration", "salvage")],
    *[f"killed in each change: {scene}" for scene in SCENES],
    "cuts",
    "flips",
    "torn: cuts",
    "torn: cuts of the journal",
    "torn: flips in the journal",
]


@pytest.fixture(scope="module")
def quick():
    """What is found with a few of each; by fact."""
    command = [sys.executable, "-W", "error", "-m", "support.store_torture", "--quick"]
    done = subprocess.run(
        command, env=environment(PYTHONPATH=f"{TESTS}{os.pathsep}{ROOT}"), capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {fact.pop("fact"): fact for fact in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("fact", FACTS)
def test_quick(quick, fact):
    """Killed, cut or with a bit turned over: no promised row is lost, and nothing else is read without a word."""
    if fact.startswith("killed in each change") and compiler() is None:
        pytest.skip("needs a C compiler")

    assert not quick[fact]["found"].startswith("0 done")
    assert quick[fact]["met"], quick[fact]


def test_all_facts_are_asked(quick):
    """The list above is the script's."""
    assert [*quick] == FACTS


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A closed small store: its folder, its bytes, and what is read from it."""
    return torture.small(tmp_path_factory.mktemp("torture") / "nbhelper-data")


def test_the_small_store_is_read_whole(small):
    """Unhurt, the small store gives all that was written, without a note: the comparison below means something."""
    tally = torture.cuts(small, [len(small.data)])

    assert (tally.unnoticed, tally.salvaged, tally.present) == ([], 0, tally.rows)
    assert len(small.whole["events"]) == 13
    assert all(small.whole.values())


def test_a_flip_is_found_by_this_comparison(small):
    """The comparison is not blind: a store whose digests are not asked is caught reading a changed word."""
    place = small.data.index(b'"word":"ok"') + 8
    tally = torture.Tally()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nbhelper._rows.Rows.whole", lambda self, row, uid=None: True)
        torture.hurt(small, {"history.db": small.data[:place] + b"OK" + small.data[place + 2 :]}, "blind", tally)

    assert [what for what, *_ in tally.unnoticed] == ["blind"]


def test_whole_rows_survive_the_loss_of_all_other_pages(small):
    """A row is salvaged by its own bytes: the pages that lead to it may be gone."""
    data, page = small.data, torture.PAGE
    pages = [data[at : at + page] for at in range(0, len(data), page)]
    tree = {2, 5, 10}  # pages of indexes, and those that lead to the leaves of tables
    found = _salvage.rows_of(b"".join(bytes(page) if n == 0 or one[0] in tree else one for n, one in enumerate(pages)))
    everything = _salvage.rows_of(data)

    assert found["events"].keys() == everything["events"].keys()
    assert len(found["events"]) == 13
    counts = {table: len(rows) for table, rows in found.items()}
    assert counts == {
        "meta": 1, "tasks": 4, "summaries": 4, "events": 13, "replies": 3, "intents": 2, "links": 1, "prices": 1,
    }  # fmt: skip


@pytest.mark.parametrize("page", [512, 1024, 4096])
def test_a_lost_header_hides_no_rows(tmp_path, monkeypatch, page):
    """Without its first 100 bytes nothing says how large the pages are, and every row is still found."""
    monkeypatch.setattr(torture, "PAGE", page)
    small = torture.small(tmp_path / "data")
    found = _salvage.rows_of(bytes(100) + small.data[100:])

    assert found == _salvage.rows_of(small.data)
    assert len(found["events"]) == 13


@pytest.mark.parametrize("page", [512, 4096])
def test_a_place_beyond_the_page_hides_no_row(tmp_path, monkeypatch, page):
    """Where a row begins is told within its page: SQLite does not ask for the bits above, and neither does salvage."""
    monkeypatch.setattr(torture, "PAGE", page)
    small = torture.small(tmp_path / "data")
    rows = _salvage.rows_of(small.data)
    leaves = [at for at in range(page, len(small.data), page) if small.data[at] == 13 and small.data[at + 4]]
    found = [_salvage.rows_of(torture.flipped(small.data, at + 8, 4)) for at in leaves]

    assert len(leaves) > 5
    assert all(one == rows for one in found)


@pytest.mark.parametrize("bit", range(8))
def test_a_schema_of_another_format_is_damage(small, bit):
    """A flip in the one byte that tells the schema's format, which SQLite refuses as too new, is told and salvaged."""
    tally = torture.flips(small, [(47, bit)])

    assert (tally.unnoticed, tally.present) == ([], tally.rows)


def test_long_rows_are_salvaged(tmp_path):
    """A row that goes on over several pages comes back as well."""
    small = torture.small(tmp_path / "data")
    longest = max(small.whole["events"].values(), key=lambda row: len(str(row["body"])))
    rows = _salvage.rows_of(small.data)["events"]

    assert len(str(longest["body"])) > torture.PAGE
    assert any(len(row[4]) > torture.PAGE for row in rows.values())


def test_a_salvaged_store_goes_on(small):
    """What was salvaged is written to like any store, and is not salvaged again."""
    folder = small.folder
    for path in folder.iterdir():
        path.unlink()
    (folder / "history.db").write_bytes(b"\xff" * 100 + small.data[100:])
    first = Store(folder)
    histories = first.histories()
    first.close()
    second = Store(folder)

    assert len(histories) == 3
    assert "4 tasks with 13 observations could be read" in first.notes[0]
    assert [history.events for history in second.histories()] == [history.events for history in histories]
    assert second.link(histories[0].uid, "a") is None
    assert second.notes == []
    assert len(list(folder.glob("*.aside"))) == 1
    second.close()
