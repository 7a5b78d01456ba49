"""Observations as JSON and back; paths and times as the store keeps them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbhelper import BadInput
from nbhelper._model.events import Mark, Output, Saved, Snapshot, TaskError
from nbhelper._model.json_text import dumps, loads
from nbhelper._model.misses import Miss, MissKind
from nbhelper._model.states import MarkWord, SaveState, State
from nbhelper._model.times import instant, iso, moment
from nbhelper._store.codec import decode, encode, kept_path, plain, real_path, stored

UNTIMED = settings(deadline=None, suppress_health_check=list(HealthCheck))  # the machine may be busy
FOLDER = Path("/data/nbhelper-data")

# Texts that `redact` would change have tests of their own: here are only texts that it keeps.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00")).filter(lambda t: "://" not in t)
maybe_text = st.none() | texts.filter(bool)
whole = st.none() | st.integers(-(2**63), 2**63 - 1)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
times = st.none() | st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
outputs = st.builds(
    Output, name=texts, url=st.none() | st.just("https://cdn.example/a/b.png"), ref=maybe_text, kind=texts,
    lifetime=numbers, width=whole, height=whole,
)  # fmt: skip
snapshots = st.builds(
    Snapshot, state=st.sampled_from(State), word=texts, progress=numbers, queue_position=whole, seconds_left=numbers,
    credits=numbers, outputs=st.lists(outputs, max_size=2).map(tuple),
    error=st.none() | st.builds(TaskError, maybe_text, texts),
    created_at=times, started_at=times, finished_at=times, resolution_s=numbers, replied_at=times, model=maybe_text,
    trace=maybe_text, params=st.dictionaries(texts, json_values, max_size=2),
    reply=st.none() | json_values.map(dumps),
)  # fmt: skip
misses = st.builds(
    Miss, kind=st.sampled_from(MissKind), status=whole, code=maybe_text, message=texts, excerpt=texts, trace=maybe_text,
    retry_after=numbers, replied_at=times,
)  # fmt: skip
names = st.text("abc d.é-", min_size=1, max_size=5).filter(lambda n: n.strip(" ."))
saves = st.builds(
    Saved, name=texts, state=st.sampled_from(SaveState), kind=texts, n_bytes=whole, sha256=maybe_text, width=whole,
    height=whole, message=texts,
    file=st.none() | names.map(lambda n: str(FOLDER / "results" / n)) | names.map(lambda n: f"/elsewhere/{n}"),
)  # fmt: skip
marks = st.builds(Mark, word=st.sampled_from(MarkWord), note=texts)


def kept(seen):
    """One observation as the store gives it back to `decode`."""
    written = encode(seen, FOLDER)
    return json.loads(written.body) | ({} if written.raw is None else {"reply": written.raw})


@UNTIMED
@given(st.one_of(snapshots, misses, saves, marks))
def test_round_trip(seen):
    """Every observation comes back from its JSON text as it was."""
    assert decode(kept(seen), FOLDER) == seen


FIELDS = ["state", "word", "kind", "outputs", "error", "reply", "file", "name", "params", "x"]


@UNTIMED
@given(
    st.dictionaries(st.sampled_from(FIELDS), json_values),
    st.sampled_from(["snapshot", "miss", "saved", "mark", "later"]),
)
def test_hostile_rows(body, kind):
    """Any JSON object in a row decodes to an observation or None, without an error."""
    seen = decode({**body, "seen": kind}, FOLDER)

    assert seen is None or isinstance(seen, Snapshot | Miss | Saved | Mark)


def test_newer_fields_are_passed_over():
    """A field that a newer version added does not hide the rest."""
    body = kept(Snapshot(state=State.RUNNING, progress=0.5)) | {
        "mood": "good",
        "outputs": [{"name": "a", "hue": 3}],
    }

    assert decode(body, FOLDER) == Snapshot(state=State.RUNNING, progress=0.5, outputs=(Output(name="a"),))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"seen": "verdict", "word": "x"}, None),
        ({"seen": "mark", "word": "paused"}, None),
        ({"seen": "miss", "kind": "gravity"}, None),
        ({"seen": "snapshot", "state": "paused"}, Snapshot(state=State.UNKNOWN)),
        ({"seen": "snapshot", "state": 5}, None),
        ({"seen": "snapshot", "state": "queued", "progress": "half"}, Snapshot(state=State.QUEUED)),
        ("text", None),
        (None, None),
    ],
    ids=["kind", "mark", "miss", "state word", "state type", "field type", "text", "nothing"],
)
def test_words_of_newer_versions(body, expected):
    """A word that only a newer version knows decodes to UNKNOWN, to a default or to None, without an error."""
    assert decode(body, FOLDER) == expected


def test_links_lose_their_queries_everywhere():
    """No query of a link is in a stored observation, whichever field it stood in."""
    link = "https://cdn.example/a.png?sig=SECRET"
    seen = Snapshot(
        state=State.FAILED, outputs=(Output(name="a", url=link),), error=TaskError("1", f"see {link}"),
        params={"image": link},
    )  # fmt: skip
    miss = Miss(kind=MissKind.SERVER, message=link, excerpt=f"<a href='{link}'>")

    text = dumps([kept(seen), kept(miss)])

    assert "SECRET" not in text
    assert text.count("https://cdn.example/a.png") == 5


hostile = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary(max_size=4)
    | st.sampled_from(["https://a.example/x?sig=1", r"https:\/\/a.example\/x?sig=1", "a//b", "\x00", "\ud800", 2**63]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@UNTIMED
@given(hostile)
def test_stored_is_the_text_of_plain(value):
    """`stored(value)` is `dumps(plain(value))`, also where it does not walk the value."""
    assert stored(value) == dumps(plain(value))


def test_bytes_are_kept_as_digest():
    """An output's bytes stand in the row as size and digest only."""
    body = kept(Snapshot(state=State.SUCCEEDED, outputs=(Output(name="a", data=b"pixels"),)))

    assert body["outputs"] == [{"name": "a", "data": {"n_bytes": 6, "sha256": body["outputs"][0]["data"]["sha256"]}}]
    assert decode(body, FOLDER).outputs == (Output(name="a"),)


def test_large_numbers_are_kept():
    """Whole numbers beyond 63 bits survive, as text in between."""
    seen = Snapshot(state=State.RUNNING, queue_position=10**30)
    body = kept(seen)

    assert body["queue_position"] == str(10**30)
    assert decode(body, FOLDER) == seen


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        ("/data/nbhelper-data/results/kie/a.png", "results/kie/a.png"),
        ("/data/nbhelper-data/../nbhelper-data/a.png", "a.png"),
        ("/home/me/a.png", "/home/me/a.png"),
        ("/data/nbhelper-data-2/a.png", "/data/nbhelper-data-2/a.png"),
    ],
    ids=["inside", "roundabout", "outside", "neighbour"],
)
def test_paths(file, kept):
    """A file inside the folder is kept relative to it, so that the folder can move; any other one absolute."""
    assert kept_path(file, FOLDER) == kept
    assert real_path(kept, Path("/moved")) == (kept if kept.startswith("/") else f"/moved/{kept}")


@pytest.mark.parametrize("kept", ["../secret", "a/../../b", "", ".."])
def test_climbing_paths_are_refused(kept):
    """A relative path that leads out of the folder gives None: this library never writes one."""
    assert real_path(kept, FOLDER) is None


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        (" 1.5 H ", NOW - timedelta(minutes=90)),
        ("10min", NOW - timedelta(minutes=10)),
        (timedelta(seconds=5), NOW - timedelta(seconds=5)),
        ("2026-11-21T13:00:00+02:00", NOW - timedelta(hours=1)),
        ("2026-11-21T11:00:00Z", NOW - timedelta(hours=1)),
        (datetime(2026, 11, 21, 13, tzinfo=timezone(timedelta(hours=2))), NOW - timedelta(hours=1)),
    ],
    ids=str,
)
def test_instants(value, expected):
    """A filter takes a time, ISO text, or an age."""
    assert instant(value, NOW, "since") == iso(expected)


@pytest.mark.parametrize("value", ["soon", "", "-2h", "2 years", 5, True, "9" * 400 + "d", "99999999d"], ids=str)
def test_no_instants(value):
    """A value that is no time and no age raises BadInput with the parameter's name."""
    with pytest.raises(BadInput, match="since takes"):
        instant(value, NOW, "since")


def test_naive_times_are_local():
    """A time without a zone is local time."""
    naive = datetime(2026, 7, 1, 8)  # noqa: DTZ001

    assert instant(naive, NOW, "since") == iso(naive.astimezone())


@UNTIMED
@given(times.filter(bool))
def test_iso_round_trip(at):
    """Times keep their microseconds, and their texts sort as they do."""
    assert moment(iso(at)) == at
    assert len(iso(at)) == len(iso(NOW))


def test_plain():
    """Parameters of any type become JSON: bytes as digest, paths as text, half characters escaped."""
    value = plain({"a": b"xx", "b": Path("x/y"), 3: {"c": (1, None)}, "s": "\ud800", "big": 2**70, "nan": float("nan")})

    assert value["a"]["n_bytes"] == 2
    assert value["b"] == "x/y"
    assert value["3"] == {"c": [1, None]}
    assert value["s"] == "\\ud800"
    assert value["big"] == str(2**70)
    assert value["nan"] == "nan"
    assert loads(dumps(value)) == value
