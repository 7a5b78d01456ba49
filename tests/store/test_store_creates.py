"""Creates: the row before the request is sent, and its state after each kind of answer."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from support.stored import ORIGIN, kept

from nbhelper import StoreError
from nbhelper._model.events import Snapshot, TaskError
from nbhelper._model.states import MarkWord, State
from nbhelper._model.task import Task
from nbhelper._store.filter import Filter


def begun(store, digest="d", **more):
    return store.begin_intent(
        provider="kie", origin=ORIGIN, request_digest=digest, endpoint="image", params={"prompt": "owl"}, **more
    ).result()


def intent(store, uid):
    with closing(sqlite3.connect(store.folder / "history.db")) as db:
        return db.execute("SELECT state, code, note FROM intents WHERE uid = ?", (uid,)).fetchone()


def test_an_intent_is_listed_before_it_is_sent(store):
    """A create has its row, with the mark `submitting`, before its request is sent."""
    uid = begun(store, label="owl")
    row = store.rows()[0]

    assert (row["uid"], row["task_id"], row["label"], row["outcome"]) == (uid, None, "owl", None)
    assert [e.seen.word for e in store.load(uid).events] == [MarkWord.SUBMITTING]
    assert intent(store, uid)[0] == "begun"
    assert store.histories() == []


def test_a_create_that_worked(store):
    """The id is written into the row of the create, which is from then on found by the task's identity."""
    uid = begun(store)
    store.intent_sent(uid).result()
    history = store.intent_created(uid, Task("kie", "new", extra={"type": "x"})).result()

    assert history.uid == uid
    assert store.open_task(Task("kie", "new", extra={"type": "x"}), ORIGIN).result().uid == uid
    assert [e.seen.word for e in history.events] == [MarkWord.SUBMITTING, MarkWord.SUBMITTED]
    assert history.task.params == {"prompt": "owl"}
    assert intent(store, uid)[0] == "created"


def test_a_create_that_was_refused(store):
    """The row's outcome is failed, with the API's code and message."""
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
    """Without an answer the row's outcome is lost, with the reason, and it has no id."""
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
    """A uid without a create raises a StoreError that names it."""
    with pytest.raises(StoreError, match='no create "nope"'):
        store.intent_sent("nope").result()
