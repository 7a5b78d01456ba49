"""A little of what `tests/benchmarks/store_torture.py` does in full."""

from __future__ import annotations

import pytest
from support import torture

from nbhelper import _salvage
from nbhelper._store import Store


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A closed small store: its folder, its bytes, and what is read from it."""
    folder = tmp_path_factory.mktemp("torture") / "nbhelper-data"
    whole = torture.small(folder)
    return folder, (folder / "history.db").read_bytes(), whole


def test_the_small_store_is_read_whole(small):
    """Unhurt, the small store gives all that was written, without a note: the comparison below means something."""
    folder, data, whole = small
    tally = torture.cuts(folder, data, whole, [len(data)])

    assert (tally.unnoticed, tally.salvaged, tally.present) == ([], 0, tally.rows)
    assert len(whole["events"]) == 11


def test_cuts_are_noticed_and_salvaged(small):
    """A file that was cut off anywhere is noticed and set aside; nothing wrong is read."""
    folder, data, whole = small
    tally = torture.cuts(folder, data, whole, [2, 15, 99, 100, 101, 1023, *range(1024, len(data), 1531), len(data) - 1])

    assert tally.unnoticed == []


def test_flips_are_noticed(small):
    """One bit turned over anywhere changes nothing that is read, or is said; nearly everything is still there."""
    folder, data, whole = small
    places = [*range(0, 100, 9), *range(107, len(data), 331)]
    tally = torture.flips(folder, data, whole, [(place, place % 8) for place in places])

    assert tally.unnoticed == []
    assert tally.present > 0.97 * tally.rows


def test_a_flip_is_found_by_this_comparison(small):
    """The comparison is not blind: a store whose digests are not asked is caught reading a changed word."""
    folder, data, whole = small
    place = data.index(b'"word":"ok"') + 8
    tally = torture.Tally()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nbhelper._rows.Rows.whole", lambda self, row, uid=None: True)
        torture.damaged(folder, data[:place] + b"OK" + data[place + 2 :], whole, "blind", tally)

    assert tally.unnoticed == ["blind"]


def test_whole_rows_survive_the_loss_of_all_other_pages(small):
    """A row is salvaged by its own bytes: the pages that lead to it may be gone."""
    _, data, _ = small
    page = torture.PAGE
    pages = [data[at : at + page] for at in range(0, len(data), page)]
    tree = {2, 5, 10}  # pages of indexes, and those that lead to the leaves of tables
    found = _salvage.rows_of(b"".join(bytes(page) if n == 0 or one[0] in tree else one for n, one in enumerate(pages)))
    everything = _salvage.rows_of(data)

    assert found["events"].keys() == everything["events"].keys()
    assert len(found["events"]) == 11
    counts = {table: len(rows) for table, rows in found.items()}
    assert counts == {"meta": 1, "tasks": 4, "summaries": 4, "events": 11, "replies": 3, "intents": 1}


def test_long_rows_are_salvaged(tmp_path):
    """A row that goes on over several pages comes back as well."""
    folder = tmp_path / "data"
    whole = torture.small(folder)
    data = (folder / "history.db").read_bytes()
    longest = max(whole["events"].values(), key=lambda row: len(str(row["body"])))
    rows = _salvage.rows_of(data)["events"]

    assert len(str(longest["body"])) > torture.PAGE
    assert any(len(row[4]) > torture.PAGE for row in rows.values())


def test_killed_writers_lose_nothing(tmp_path):
    """Writers killed at random moments leave every acknowledged row, and a whole file."""
    tally = torture.kills(tmp_path / "kills", 6, seed=1)

    assert (tally.done, tally.lost, tally.corrupt) == (6, 0, 0)
    assert tally.rows >= 18


def test_a_salvaged_store_goes_on(small):
    """What was salvaged is written to like any store, and is not salvaged again."""
    folder, data, _ = small
    for path in folder.iterdir():
        path.unlink()
    (folder / "history.db").write_bytes(b"\xff" * 100 + data[100:])
    first = Store(folder)
    histories = first.histories()
    first.close()
    second = Store(folder)

    assert len(histories) == 3
    assert "4 tasks with 11 observations could be read" in first.notes[0]
    assert [history.events for history in second.histories()] == [history.events for history in histories]
    assert second.link(histories[0].uid, "a") is None
    assert second.notes == []
    assert len(list(folder.glob("*.aside"))) == 1
    second.close()
