"""The rows that tables are made of: summaries, files, and which of them a filter chooses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.stored import DONE, NOON, ORIGIN, grown, kept, opened

import nbhelper as nbh
from nbhelper import BadInput
from nbhelper._model.events import Mark, Saved, Snapshot, TaskError
from nbhelper._model.history import History
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, Outcome, SaveState, State
from nbhelper._model.task import Task
from nbhelper._store.filter import Filter
from nbhelper._store.history_to_row import summary_row

NOW = datetime(2026, 11, 21, 16, tzinfo=UTC)


@pytest.fixture
def five(store):
    """Tasks begun at noon, an hour later and so on; kie and tripo in turn, with different ends."""
    ends = [
        DONE,
        Snapshot(state=State.FAILED),
        Mark(word=MarkWord.STOPPED),
        Mark(word=MarkWord.LOST),
        Snapshot(state=State.RUNNING),
    ]
    for number, end in enumerate(ends):
        task = Task("kie" if number % 2 == 0 else "tripo", f"t{number}")
        history = store.open_task(task, ORIGIN, experiment="owls" if number < 2 else None).result()
        start = datetime(2026, 11, 21, 12 + number, tzinfo=UTC)
        longer = grown(history, Mark(word=MarkWord.SUBMITTED), end, start=start)
        store.append(history.uid, longer.events, summary=longer).result()
    return store


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, "01234"),
        ({"provider": "kie"}, "024"),
        ({"provider": ["kie", "tripo"]}, "01234"),
        ({"provider": "k'ie"}, ""),
        ({"experiment": "owls"}, "01"),
        ({"outcome": "succeeded"}, "0"),
        ({"outcome": Outcome.LOST}, "3"),
        ({"outcome": ["failed", "stopped"]}, "12"),
        ({"outcome": "pending"}, "4"),
        ({"since": "2026-11-21T14:00:00+00:00"}, "234"),
        ({"until": datetime(2026, 11, 21, 13, tzinfo=UTC)}, "01"),
        ({"since": "2026-11-21T13:00Z", "until": "2026-11-21T15:00Z", "provider": "tripo"}, "13"),
        ({"since": "90min", "until": "20m"}, "3"),
        ({"provider": []}, ""),
    ],
    ids=str,
)
def test_filters(five, conditions, expected):
    """All conditions of a filter must hold; rows come newest last; rows, histories and events are chosen alike."""
    chosen = Filter.of(NOW, **conditions)

    assert "".join(row["task_id"][1:] for row in five.rows(chosen)) == expected
    assert "".join(h.task.id[1:] for h in five.histories(chosen)) == expected
    assert [row["task"][-1] for row in five.event_rows(chosen)] == [n for n in expected for _ in range(2)]


def test_a_filter_by_uids(five):
    """A filter with uids gives the rows of these uids."""
    uids = [row["uid"] for row in five.rows()]

    assert [row["uid"] for row in five.rows(Filter(uids=tuple(uids[1:3])))] == uids[1:3]


def test_an_unknown_outcome():
    """A misspelt outcome is refused, with the nearest one."""
    with pytest.raises(BadInput, match='Did you mean "succeeded"'):
        Filter.of(NOW, outcome="success")


@pytest.mark.parametrize("table", [nbh.tasks, nbh.events, nbh.outputs, nbh.pending], ids=lambda table: table.__name__)
def test_a_wrong_filter_is_refused_before_a_file_is_opened(table, tmp_path):
    """A time that cannot be read raises BadInput before the store opens its file."""
    (tmp_path / "data" / "history.db").mkdir(parents=True)
    nbh.set_store(tmp_path / "data")

    with pytest.raises(BadInput, match="since takes a time"):
        table(since="lately")
    with pytest.warns(UserWarning, match="history.db is a folder"):
        table(since="2h")


def test_output_rows(store):
    """One row per saved file, from its newest `Saved`."""
    history = kept(
        store,
        opened(store),
        DONE,
        Saved(name="a", state=SaveState.FAILED, message="no room"),
        Saved(
            name="a", file=str(store.folder / "results/a.png"), kind="image", n_bytes=5, sha256="ff", width=2, height=3
        ),
        Saved(name="b", state=SaveState.EXPIRED),
    )

    assert store.output_rows() == [
        {
            "uid": history.uid, "task": "kie:t1", "seen": "saved", "name": "a", "file": "results/a.png",
            "kind": "image", "n_bytes": 5, "sha256": "ff", "width": 2, "height": 3,
        },
    ]  # fmt: skip


# Summaries


def test_the_summary_row_is_that_of_the_history(store):
    """After every append, the row of `tasks()` is `summary_row` of the history."""
    history = opened(store, experiment="owls", repeat=1, endpoint="image", model="m")
    for seen in (Mark(word=MarkWord.SUBMITTED), Snapshot(state=State.RUNNING, progress=0.5), DONE):
        history = kept(store, history, seen)
        known = {"endpoint": "image", "model": "m", "experiment": "owls", "repeat": 1}
        assert store.rows() == [summary_row(history, store.folder, **known)]


def test_the_summary_row_follows_every_kind_of_look(store):
    """After every kind of look and mark, the stored row is `summary_row`: clocks, queue, credits, end, resume."""

    def look(state, second, **more):
        return Snapshot(state=state, replied_at=NOON + timedelta(seconds=second), **more)

    looks = [
        Mark(word=MarkWord.WATCHING),
        look(State.QUEUED, 3, created_at=NOON, resolution_s=1.0),
        look(State.QUEUED, 5),
        Miss(kind=MissKind.RATE_LIMITED, status=429),
        look(State.RUNNING, 9),
        look(State.RUNNING, 14, progress=0.4, credits=2),
        look(State.UNKNOWN, 20, word="odd"),
        look(State.RUNNING, 21, model="m2", params={"prompt": "owl"}),
        Mark(word=MarkWord.LOST, note="gone"),
        Mark(word=MarkWord.RESUMED),
        look(State.RUNNING, 22),
        look(State.RUNNING, 23),
        look(State.SUCCEEDED, 24, outputs=DONE.outputs, finished_at=NOON + timedelta(seconds=23)),
    ]
    history = opened(store)
    for number, seen in enumerate(looks):
        history = history.add(seen, NOON + timedelta(seconds=number))
        store.append(history.uid, history.events[-1:], summary=history).result()
        assert store.rows() == [summary_row(history, store.folder)]
    assert store.notes == []


def test_a_summary_holds_whatever_a_server_says(store):
    """Half a character, NUL and numbers beyond 64 bits: SQLite refuses none of them, and the row is the history's."""
    error = TaskError("\ud83d", "no\x00")
    seen = Snapshot(state=State.FAILED, model="m\ud83d", credits=2**70, error=error)
    history = kept(store, opened(store), seen)
    row = store.rows()[0]

    assert row == summary_row(history, store.folder)
    assert (row["model"], row["error_code"], row["error_message"]) == ("m\\ud83d", "\\ud83d", "no\\u0000")
    assert row["credits"] == 2.0**70


def test_a_history_without_a_store():
    """The row of a history can be had without any store: paths are then absolute."""
    history = grown(History(Task("kie", "1")), DONE, Saved(name="a", file="/x/a.png", n_bytes=3))
    row = summary_row(history)

    assert (row["files"], row["n_bytes"], row["uid"], row["endpoint"]) == (["/x/a.png"], 3, "", None)


def test_summaries_are_read_without_their_events(five):
    """The table of tasks is read by one statement, which touches no event."""
    statements = []
    with five._database.reading() as db:
        db.set_trace_callback(statements.append)

    assert len(five.rows()) == 5
    selects = [sql for sql in statements if sql.startswith("SELECT")]
    assert len(selects) == 1
    assert "events" not in selects[0]
