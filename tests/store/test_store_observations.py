"""Tasks and their observations, written and read back; live links and fingerprints of keys."""

from __future__ import annotations

from datetime import UTC, datetime

from support.stored import DONE, LINK, ORIGIN, grown, kept, opened

from nbhelper._model.events import Mark, Saved, Snapshot
from nbhelper._model.json_text import dumps
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, Outcome, SaveState, State
from nbhelper._model.task import Task
from nbhelper._store.store import Store


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


def test_a_task_that_nobody_has_looked_at_is_opened_again(store):
    """Watches of one new task that begin before its first look, and are written together: one row."""
    futures = [store.open_task(Task("kie", "t1"), ORIGIN) for _ in range(4)]

    assert len({future.result().uid for future in futures}) == 1
    assert len(store.rows()) == 1


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
    """Columns that the first call left empty are filled in by a later one; the others stay."""
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
    """Appending the same observations again adds no row."""
    history = grown(opened(store), Mark(word=MarkWord.WATCHING), DONE)
    for _ in range(2):
        store.append(history.uid, history.events, summary=history).result()

    assert store.load(history.uid).events[0] == history.events[0]
    assert len(store.load(history.uid).events) == 2


def test_equal_replies_are_kept_once(store):
    """A hundred looks with the same reply store it one time."""
    reply = {"status": "queued", "padding": "x" * 1000}
    history = kept(store, opened(store), *[Snapshot(state=State.QUEUED, reply=dumps(reply))] * 100)

    assert content(store).count(b"x" * 1000) == 1
    assert [event.seen.raw for event in store.events(history.uid)] == [reply] * 100


def test_events_after_a_number(store):
    """All observations of a task are read back, with all replies and parameters, or those after a number."""
    looks = [Snapshot(state=State.RUNNING, reply=dumps({"n": n}), params={"n": n}) for n in range(20)]
    history = kept(store, opened(store), *looks)

    events = store.events(history.uid)

    assert [event.seen for event in events] == looks
    assert [event.seq for event in events] == list(range(1, 21))
    assert store.events(history.uid, 17) == events[17:]
    assert store.events(history.uid, 20) == store.events("nobody") == []
    assert store.load(history.uid) == history
    assert store.notes == []


def test_hostile_text(store):
    """SQL, NUL, lone surrogates and emoji are text like any other."""
    words = "'; DROP TABLE tasks; -- \x00 \ud83d 🦉"
    history = kept(store, opened(store, "'; DROP TABLE tasks"), Miss(kind=MissKind.GARBLED, message=words))

    assert store.load(history.uid).events[0].seen.message == "'; DROP TABLE tasks; -- \\u0000 \\ud83d 🦉"
    assert store.rows()[0]["task_id"] == "'; DROP TABLE tasks"


# Links and secrets


def content(store):
    return (store.folder / "history.db").read_bytes()


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
