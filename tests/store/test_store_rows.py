from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

import nbhelper as nbh
from nbhelper import BadInput, StoreError
from nbhelper._model.history import History
from nbhelper._model.json_text import dumps
from nbhelper._model.seen import (
    Mark,
    MarkWord,
    Miss,
    MissKind,
    Outcome,
    Output,
    Saved,
    SaveState,
    Snapshot,
    State,
    TaskError,
)
from nbhelper._model.task import Task
from nbhelper._store.filter import Filter
from nbhelper._store.store import Store
from nbhelper._store.summary_row import summary_row

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORIGIN = "https://api.example"
LINK = "https://cdn.example/a.png?signature=SECRET"
DONE = Snapshot(
    state=State.SUCCEEDED,
    word="success",
    outputs=(Output(name="a", url=LINK, kind="image"),),
    reply='{"status":"success"}',
)


def opened(store, ident="t1", **known):
    return store.open_task(Task("kie", ident), ORIGIN, **known).result()


def grown(history, *seen, start=None):
    start = start or datetime(2026, 11, 21, 12, tzinfo=UTC)
    for number, item in enumerate(seen):
        history = history.add(item, start + timedelta(seconds=number))
    return history


def kept(store, history, *seen, **options):
    added, at = [], datetime(2026, 11, 21, 12, tzinfo=UTC)
    for number, item in enumerate(seen):
        history = history.add(item, at + timedelta(seconds=number))
        added.append(history.events[-1])
    store.append(history.uid, added, summary=history, **options).result()
    return history


def content(store):
    return (store.folder / "history.db").read_bytes()


# Tasks and observations


def test_a_task_that_nobody_has_looked_at_is_opened_again(store):
    """Watches of one new task that begin before its first look, and are written together: one row."""
    asked = [store.open_task(Task("kie", "t1"), ORIGIN) for _ in range(4)]

    assert len({future.result().uid for future in asked}) == 1
    assert len(store.rows()) == 1


def test_nothing_is_made_by_reading(store):
    """Reading a store that does not exist gives nothing and makes nothing."""
    assert store.rows() == store.histories() == store.event_rows() == store.output_rows() == []
    assert store.load("x") is store.find(Task("kie", "x"), ORIGIN) is store.link("x", "a") is None
    assert not store.folder.exists()


def test_a_new_task(store):
    """A task that was never seen gets a row and an empty history."""
    history = opened(store)

    assert history.task == Task("kie", "t1")
    assert (history.events, history.origin, history.outcome) == ((), ORIGIN, None)
    assert [row["uid"] for row in store.rows()] == [history.uid]


def test_an_identity_has_one_row(store):
    """Provider, origin, id and extra are the identity: each of them makes another row."""
    tasks = [Task("kie", "1"), Task("tripo", "1"), Task("kie", "2"), Task("kie", "1", extra={"type": "x"})]
    uids = {store.open_task(task, origin).result().uid for task in tasks for origin in (ORIGIN, "https://b")}

    assert len(uids) == 8
    assert store.open_task(tasks[3], ORIGIN).result().uid in uids
    assert len(store.rows()) == 8


def test_uids_sort_by_time(tmp_path):
    """Later rows have later names, even when the clock is set back in between."""
    times = iter([datetime(2026, 11, 21, 12, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)] * 8)
    store = Store(tmp_path / "s", clock=lambda: next(times))

    uids = [opened(store, str(n)).uid for n in range(4)]
    store.close()

    assert uids == sorted(set(uids))


def test_a_history_comes_back(store):
    """What was appended is read back in order, by another store on the same folder too."""
    history = kept(
        store,
        opened(store),
        Mark(word=MarkWord.WATCHING),
        Miss(kind=MissKind.SERVER, status=502, message="bad gateway"),
        DONE,
        Saved(name="a", file=str(store.folder / "results" / "a.png"), n_bytes=5, sha256="00"),
    )
    other = Store(store.folder)
    read = other.load(history.uid)
    other.close()

    assert read.outcome is Outcome.SUCCEEDED
    assert [e.seen for e in read.events if not isinstance(e.seen, Snapshot)] == [
        e.seen for e in history.events if not isinstance(e.seen, Snapshot)
    ]
    assert [(e.seq, e.at) for e in read.events] == [(e.seq, e.at) for e in history.events]
    assert read.snapshot.raw == {"status": "success"}
    assert read.files == history.files


def test_a_moved_folder_keeps_its_files(store, tmp_path):
    """Files inside the folder are found again when the folder was moved."""
    history = kept(store, opened(store), DONE, Saved(name="a", file=str(store.folder / "results" / "a.png")))
    store.close()
    moved = Store(store.folder.rename(tmp_path / "elsewhere"))
    files = moved.load(history.uid).files
    moved.close()

    assert files == (tmp_path / "elsewhere" / "results" / "a.png",)


def test_a_later_call_fills_in(store):
    """What the first call did not know is filled in by a later one; what it did know stands."""
    first = store.open_task(Task("kie", "t", label="mine"), ORIGIN).result()
    again = store.open_task(
        Task("kie", "t", label="other", params={"prompt": "owl"}), ORIGIN, endpoint="image", experiment="owls", repeat=2
    ).result()
    row = store.rows()[0]

    assert again.uid == first.uid
    assert (again.task.label, again.task.params) == ("mine", {"prompt": "owl"})
    assert (row["label"], row["endpoint"], row["experiment"], row["repeat"]) == ("mine", "image", "owls", 2)
    assert row["params"] == {"prompt": "owl"}


def test_appending_twice_changes_nothing(store):
    """A retry of what is already kept adds no row."""
    history = grown(opened(store), Mark(word=MarkWord.WATCHING), DONE)
    for _ in range(2):
        store.append(history.uid, history.events, summary=history).result()

    assert store.load(history.uid).events[0] == history.events[0]
    assert len(store.load(history.uid).events) == 2


def test_a_number_already_taken(store):
    """Two watchers of one task lose nothing: the second one's observation takes the next free number."""
    mine = theirs = opened(store)
    mine = kept(store, mine, Mark(word=MarkWord.WATCHING, note="mine"))
    kept(store, theirs, Mark(word=MarkWord.WATCHING, note="theirs"), DONE)
    kept(store, mine, Miss(kind=MissKind.NETWORK))
    read = store.load(mine.uid)

    assert [event.seq for event in read.events] == [1, 2, 3, 4]
    assert [getattr(event.seen, "note", None) for event in read.events] == ["mine", "theirs", None, None]
    row = store.rows()[0]
    assert (row["outcome"], row["polls"], row["misses"]) == ("succeeded", 2, 1)


def test_equal_replies_are_kept_once(store):
    """A hundred looks with the same reply store it one time."""
    reply = {"status": "queued", "padding": "x" * 1000}
    history = kept(store, opened(store), *[Snapshot(state=State.QUEUED, reply=dumps(reply))] * 100)

    assert content(store).count(b"x" * 1000) == 1
    assert [event.seen.raw for event in store.events(history.uid)] == [reply] * 100


def test_events_behind_a_number(store):
    """All observations of a task are read as they came, older replies and parameters included, or those behind one."""
    looks = [Snapshot(state=State.RUNNING, reply=dumps({"n": n}), params={"n": n}) for n in range(20)]
    history = kept(store, opened(store), *looks)

    events = store.events(history.uid)

    assert [event.seen for event in events] == looks
    assert [event.seq for event in events] == list(range(1, 21))
    assert store.events(history.uid, 17) == events[17:]
    assert store.events(history.uid, 20) == store.events("nobody") == []
    assert store.load(history.uid) == history
    assert store.notes == []


def test_the_summary_row_is_that_of_the_history(store):
    """The row that the table reads is what the history says, after every append."""
    history = opened(store, experiment="owls", repeat=1, endpoint="image", model="m")
    for seen in (Mark(word=MarkWord.SUBMITTED), Snapshot(state=State.RUNNING, progress=0.5), DONE):
        history = kept(store, history, seen)
        told = {"endpoint": "image", "model": "m", "experiment": "owls", "repeat": 1}
        assert store.rows() == [summary_row(history, store.folder, **told)]


def test_the_summary_row_follows_every_kind_of_look(store):
    """What a look does not move stays as the history says: clocks, queue, credits, an end, a resume."""
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def look(state, second, **more):
        return Snapshot(state=state, replied_at=noon + timedelta(seconds=second), **more)

    looks = [
        Mark(word=MarkWord.WATCHING),
        look(State.QUEUED, 3, created_at=noon, resolution_s=1.0),
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
        look(State.SUCCEEDED, 24, outputs=DONE.outputs, finished_at=noon + timedelta(seconds=23)),
    ]
    history = opened(store)
    for number, seen in enumerate(looks):
        history = history.add(seen, noon + timedelta(seconds=number))
        store.append(history.uid, history.events[-1:], summary=history).result()
        assert store.rows() == [summary_row(history, store.folder)]
    assert store.notes == []


def test_a_summary_that_another_process_wrote_is_written_whole(store):
    """What another process filled in or wrote meanwhile stays."""
    history = kept(store, opened(store), Snapshot(state=State.RUNNING, progress=0.1))
    other = Store(store.folder)
    other.open_task(Task("kie", "t1", label="theirs"), ORIGIN).result()
    with closing(sqlite3.connect(store.folder / "history.db")) as db, db:
        db.execute("DELETE FROM summaries")
    history = kept(store, history, Snapshot(state=State.RUNNING, progress=0.2))
    with closing(sqlite3.connect(store.folder / "history.db")) as db, db:
        db.execute("DELETE FROM summaries")
    history = kept(store, history, Snapshot(state=State.RUNNING, progress=0.3))
    other.close()

    assert [(row["label"], row["polls"]) for row in store.rows()] == [("theirs", 3)]
    assert store.notes == []


def test_a_file_that_was_deleted_is_made_again(store):
    """When the folder is deleted under a running watch, the next append keeps all that is known in a new one."""
    history = kept(store, opened(store), Mark(word=MarkWord.WATCHING))
    for path in store.folder.iterdir():
        path.unlink()
    store.folder.rmdir()
    history = kept(store, history, DONE)

    assert len(store.load(history.uid).events) == 2
    assert store.rows()[0]["outcome"] == "succeeded"


def test_a_new_file_that_was_read_is_the_one_written_to(store):
    """The file was deleted under this process, and another one was made and has been read: writes go to that one."""
    opened(store, "t1")
    (store.folder / "history.db").unlink()
    other = Store(store.folder)
    opened(other, "t2")
    assert [row["task_id"] for row in store.rows()] == ["t2"]
    opened(store, "t3")

    assert [row["task_id"] for row in other.rows()] == ["t2", "t3"]
    other.close()


def test_a_file_that_was_deleted_late_is_made_again(store):
    """After many looks a new file holds the newest 8 observations under their numbers, and the summary of all."""
    looks = [Snapshot(state=State.RUNNING, reply=dumps({"n": n})) for n in range(20)]
    history = kept(store, opened(store), *looks)
    for path in store.folder.iterdir():
        path.unlink()
    history = kept(store, history, Snapshot(state=State.SUCCEEDED, reply=dumps({"n": 20})))

    assert [event.seq for event in store.events(history.uid)] == list(range(14, 22))
    assert store.events(history.uid, 20) == list(history.events[-1:])
    assert store.load(history.uid).events == history.events
    assert len(store.event_rows()) == 8
    assert [row["polls"] for row in store.rows()] == [21]


def test_hostile_text(store):
    """SQL, NUL, lone surrogates and emoji are text like any other."""
    words = "'; DROP TABLE tasks; -- \x00 \ud83d 🦉"
    history = kept(store, opened(store, "'; DROP TABLE tasks"), Miss(kind=MissKind.GARBLED, message=words))

    assert store.load(history.uid).events[0].seen.message == "'; DROP TABLE tasks; -- \\u0000 \\ud83d 🦉"
    assert store.rows()[0]["task_id"] == "'; DROP TABLE tasks"


# Links and secrets


def test_a_live_link_lives_until_its_file_is_saved(store):
    """A signed link is kept while it is needed, and no byte of its query stays in the file afterwards."""
    history = kept(store, opened(store), DONE, links={"a": LINK})
    assert store.link(history.uid, "a") == LINK
    assert b"signature=SECRET" in content(store)

    kept(store, history, Saved(name="a", file="/x/a.png"))

    assert store.link(history.uid, "a") is None
    assert b"SECRET" not in content(store)
    assert store.load(history.uid).outputs[0].url == "https://cdn.example/a.png"


def test_a_link_given_up_goes_too(store):
    """An output that expired or failed leaves no link behind; others keep theirs."""
    history = kept(store, opened(store), DONE, links={"a": LINK, "b": LINK + "2"})
    kept(store, history, Saved(name="a", state=SaveState.EXPIRED))

    assert store.link(history.uid, "a") is None
    assert store.link(history.uid, "b") == LINK + "2"


def test_a_fingerprint_tells_keys_apart(store, tmp_path):
    """Equal keys have equal fingerprints in one store and others in another; the key itself is nowhere."""
    other = Store(tmp_path / "other")
    prints = [
        store.fingerprint("sk-one"),
        store.fingerprint("sk-one"),
        store.fingerprint("sk-two"),
        other.fingerprint("sk-one"),
    ]
    again = Store(store.folder)

    assert again.fingerprint("sk-one") == prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert all(len(p) == 8 and int(p, 16) >= 0 for p in prints)
    assert b"sk-one" not in content(store)
    again.close()
    other.close()


# Creates


def begun(store, digest="d", **more):
    return store.begin_intent(
        provider="kie", origin=ORIGIN, request_digest=digest, endpoint="image", params={"prompt": "owl"}, **more
    ).result()


def intent(store, uid):
    with closing(sqlite3.connect(store.folder / "history.db")) as db:
        return db.execute("SELECT state, code, note FROM intents WHERE uid = ?", (uid,)).fetchone()


def test_an_intent_is_listed_before_it_is_sent(store):
    """A create has its row, with the mark `submitting`, before anything leaves."""
    uid = begun(store, label="owl")
    row = store.rows()[0]

    assert (row["uid"], row["task_id"], row["label"], row["outcome"]) == (uid, None, "owl", None)
    assert [e.seen.word for e in store.load(uid).events] == [MarkWord.SUBMITTING]
    assert intent(store, uid)[0] == "begun"
    assert store.histories() == []


def test_a_create_that_worked(store):
    """The id fills the same row, which is from then on found by its identity."""
    uid = begun(store)
    store.intent_sent(uid).result()
    history = store.intent_created(uid, Task("kie", "new", extra={"type": "x"})).result()

    assert history.uid == uid
    assert store.open_task(Task("kie", "new", extra={"type": "x"}), ORIGIN).result().uid == uid
    assert [e.seen.word for e in history.events] == [MarkWord.SUBMITTING, MarkWord.SUBMITTED]
    assert history.task.params == {"prompt": "owl"}
    assert intent(store, uid)[0] == "created"


def test_a_create_that_was_refused(store):
    """The row's outcome is failed, with the API's code and words."""
    uid = begun(store)
    store.intent_refused(uid, "402", "no credit left").result()
    row = store.rows(Filter(outcome=("failed",)))[0]

    assert (row["uid"], row["outcome"], row["error_code"], row["error_message"]) == (
        uid,
        "failed",
        "402",
        "no credit left",
    )
    assert row["polls"] == 0
    assert intent(store, uid) == ("refused", "402", "no credit left")


def test_a_create_in_doubt(store):
    """Without an answer the row is lost, says why, and has no id."""
    uid = begun(store)
    store.intent_sent(uid).result()
    store.intent_in_doubt(uid, "connection reset").result()
    row = store.rows(Filter(outcome=("lost",)))[0]

    assert (row["task_id"], row["error_message"]) == (None, "connection reset")
    assert intent(store, uid) == ("in_doubt", None, "connection reset")


def test_an_id_that_is_already_known(store):
    """An idempotent create that gives a known id joins its row: one row, all marks."""
    there = store.intent_created(begun(store), Task("kie", "same")).result()
    here = begun(store)
    joined = store.intent_created(here, Task("kie", "same")).result()

    assert joined.uid == there.uid
    assert len(joined.events) == 4
    assert [row["uid"] for row in store.rows()] == [there.uid]
    assert store.load(here) is None


def test_reuse_finds_the_newest_that_did_not_fail(store):
    """An identical request is found by its digest, unless it was refused or the task did not succeed."""
    older = store.intent_created(begun(store), Task("kie", "1")).result()
    newer = store.intent_created(begun(store), Task("kie", "2")).result()
    store.intent_refused(begun(store), "1", "no").result()
    store.intent_in_doubt(begun(store), "?").result()
    assert store.find_submitted("kie", ORIGIN, "d").uid == newer.uid

    kept(store, newer, Snapshot(state=State.FAILED, error=TaskError("x")))

    assert store.find_submitted("kie", ORIGIN, "d").uid == older.uid
    assert store.find_submitted("kie", "https://other", "d") is None
    assert store.find_submitted("tripo", ORIGIN, "d") is None
    assert store.find_submitted("kie", ORIGIN, "other") is None


def test_an_unknown_intent(store):
    """Naming a create that is not there is an error with words."""
    with pytest.raises(StoreError, match='no create "nope"'):
        store.intent_sent("nope").result()


# Filters

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
    ("wanted", "expected"),
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
def test_filters(five, wanted, expected):
    """Every filter must hold; rows come newest last, and all four tables choose alike."""
    chosen = Filter.of(NOW, **wanted)

    assert "".join(row["task_id"][1:] for row in five.rows(chosen)) == expected
    assert "".join(h.task.id[1:] for h in five.histories(chosen)) == expected
    assert [row["task"][-1] for row in five.event_rows(chosen)] == [n for n in expected for _ in range(2)]


def test_chosen_rows(five):
    """Rows can be asked for by name."""
    uids = [row["uid"] for row in five.rows()]

    assert [row["uid"] for row in five.rows(Filter(uids=tuple(uids[1:3])))] == uids[1:3]


def test_an_unknown_outcome():
    """A misspelt outcome is refused, with the nearest one."""
    with pytest.raises(BadInput, match='Did you mean "succeeded"'):
        Filter.of(NOW, outcome="success")


@pytest.mark.parametrize("table", [nbh.tasks, nbh.events, nbh.outputs, nbh.pending], ids=lambda table: table.__name__)
def test_a_wrong_filter_is_told_before_a_file_is_opened(table, tmp_path):
    """What cannot be is said of the call, before the store finds out what its file is."""
    (tmp_path / "data" / "history.db").mkdir(parents=True)
    nbh.set_store(tmp_path / "data")

    with pytest.raises(BadInput, match="since takes a time"):
        table(since="lately")
    with pytest.warns(UserWarning, match="history.db is a folder"):
        table(since="2h")


def test_output_rows(store):
    """One row per file that was saved, by the newest word about it."""
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


# Writing together


def test_many_writes_share_few_transactions(store):
    """What is asked for while a transaction runs goes into the next one together."""
    opened(store)
    commits = []
    writer = store._writer
    original = writer._write
    writer._write = lambda batch: (commits.append(len(batch)), original(batch))
    futures = [store.open_task(Task("kie", f"n{n}"), ORIGIN) for n in range(500)]
    histories = [future.result() for future in futures]

    assert len({history.uid for history in histories}) == 500
    assert sum(commits) == 500
    assert len(commits) < 100


def looked_at(store, count=3):
    """Tasks that go on: each has been looked at twice."""
    return [
        kept(store, opened(store, f"t{n}"), *[Snapshot(state=State.RUNNING, progress=0.1 * k) for k in (1, 2)])
        for n in range(count)
    ]


def looked_again(store, histories):
    """One more look at each, in one transaction; whether each has its number, and the histories with it."""
    seen = Snapshot(state=State.RUNNING, progress=0.3)
    longer = [history.add(seen, NOON + timedelta(minutes=len(history.events))) for history in histories]
    futures = [store.append(history.uid, history.events[-1:], summary=history) for history in longer]
    store._writer.put(lambda _: None)
    return [future.result() for future in futures], longer


def test_looks_that_met_another_process(store):
    """Of looks that are written together, the one whose number is taken gets the next free one; all are kept."""
    histories = looked_at(store)
    other = Store(store.folder)
    kept(other, histories[1], Miss(kind=MissKind.NETWORK))
    other.close()
    numbered, longer = looked_again(store, histories)

    kept_numbers = [[event.seq for event in store.load(history.uid).events] for history in longer]
    assert numbered == [True, False, True]
    assert kept_numbers == [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3]]
    assert [row["polls"] for row in store.rows()] == [3, 4, 3]


def test_one_failing_write_loses_no_other(store):
    """A write that fails inside a shared transaction takes nothing of the others back."""

    def bad(db):
        db.execute("DELETE FROM tasks")
        raise ValueError("mine")

    futures = [
        store.open_task(Task("kie", "1"), ORIGIN),
        store._writer.put(bad),
        store.open_task(Task("kie", "2"), ORIGIN),
    ]

    with pytest.raises(ValueError, match="mine"):
        futures[1].result()
    assert [future.result().task.id for future in (futures[0], futures[2])] == ["1", "2"]
    assert len(store.rows()) == 2


def test_a_write_outlives_whoever_waits(store):
    """Cancelling the wait does not cancel the write."""
    history = grown(opened(store), DONE)

    async def give_up():
        waiting = asyncio.ensure_future(asyncio.wrap_future(store.append(history.uid, history.events, summary=history)))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(give_up())
    store.close()

    assert store.rows()[0]["outcome"] == "succeeded"


def test_closing_is_not_final(store):
    """A closed store opens again at its next use; closing twice is fine."""
    opened(store)
    store.close()
    store.close()

    assert opened(store, "t2").task.id == "t2"
    assert len(store.rows()) == 2


def test_ten_thousand_rows_without_their_events(store):
    """The table of 10,000 tasks is read from one row each, without touching any event."""
    futures = [store.open_task(Task("kie", f"n{n}"), ORIGIN) for n in range(10_000)]
    for future in futures:
        future.result()
    asked = []
    with store._database.reading() as db:
        db.set_trace_callback(asked.append)
    rows = store.rows()

    assert len(rows) == 10_000
    assert not [sql for sql in asked if "FROM events" in sql]


def test_a_history_without_a_store():
    """The row of a history can be had without any store: paths are then absolute."""
    history = grown(History(Task("kie", "1")), DONE, Saved(name="a", file="/x/a.png", n_bytes=3))
    row = summary_row(history)

    assert (row["files"], row["n_bytes"], row["uid"], row["endpoint"]) == (["/x/a.png"], 3, "", None)
