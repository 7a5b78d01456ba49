"""D: wrong bodies of replies, over a real socket into the store, tables and views."""

from datetime import timedelta

import pytest
from support.mill import DONE, QUEUED, WORKING, png, provider, sha256
from support.raw_server import reply
from support.waiting import until
from support.watched import looks

import nbhelper as nbh
from nbhelper._model import lost_sight
from nbhelper._views.terminal import StateLines
from nbhelper._watching import pace

BROKEN = {
    "no JSON": b'{"state": "do',
    "a page": b"<html><body>Log in</body></html>",
    "empty": b"",
    "white space": b" \r\n\t ",
    "half a word": b"tru",
    "a control character": b'{"state": "do\x00ne"}',
}


@pytest.fixture
def hasty(monkeypatch):
    """Patience (10 minutes) is 0.5 seconds, and slow looks come each 0.1 seconds."""
    monkeypatch.setattr(lost_sight, "PATIENCE", timedelta(seconds=0.5))
    monkeypatch.setattr(pace, "SLOW", 0.1)


def ended(ref, **options):
    """Watch one task to its end; its history."""
    return nbh.watch(ref, display=False, **options)[0]


def test_d01_invalid_json(mill):
    """A body that is not JSON is garbled, with its excerpt kept; looking goes on."""
    refs = [mill.job(reply(body), WORKING, reply(body), DONE) for body in BROKEN.values()]

    histories = nbh.watch(refs, display=False).result()

    for body, history in zip(BROKEN.values(), histories, strict=True):
        first, _, second, _ = looks(history)
        assert history.succeeded
        assert [first.kind, second.kind] == ["garbled", "garbled"]
        assert first.excerpt == "".join(body.decode().replace("\x00", " ").split("\r\n")).strip()


def test_d02_not_an_object(mill, hasty):
    """JSON that is no object is a miss; after ten minutes of nothing else the watch is lost, never failed."""
    bodies = [body.encode() for body in ("[]", '["done"]', '"done"', "17", "null", "true")]
    refs = [mill.job(reply(b), DONE) for b in bodies] + [mill.job(reply(b)) for b in bodies]

    histories = nbh.watch(refs, display=False).result()

    assert [str(h.outcome) for h in histories] == ["succeeded"] * 6 + ["lost"] * 6
    for always in histories[6:]:
        assert always.state is None
        assert always.facts.misses >= 2
        assert "unreadable replies" in always.error


def test_d03_json_with_comments(mill):
    """JSON with comments is garbled."""
    commented = b'{\n  "state": "done", // the task is over\n  "files": []\n}'

    history = ended(mill.job(reply(commented), WORKING, DONE))

    assert looks(history)[0].kind == "garbled"
    assert history.succeeded


def test_d04_duplicate_keys(mill):
    """A duplicate `state` key with two words is garbled, with one word it is read."""
    twice = reply(b'{"state": "working", "state": "done"}')

    history = ended(mill.job(twice, WORKING, reply(b'{"state": "done", "state": "done"}')))

    assert looks(history)[0].kind == "garbled"
    assert "twice" in looks(history)[0].message
    assert history.succeeded


def test_d05_numbers_that_are_none(mill):
    """NaN, Infinity and 1e999 are read as None, in the history and in the table."""
    odd = b'{"state": "working", "percent": NaN, "left": Infinity, "ahead": -Infinity, "credits": 1e999}'

    history = ended(mill.job(reply(odd), reply(odd.replace(b"working", b"done"))))
    row = nbh.tasks().iloc[0]

    first = looks(history)[0]
    assert (first.progress, first.seconds_left, first.queue_position, first.credits) == (None, None, None, None)
    assert row[["credits"]].isna().all()
    assert row["outcome"] == "succeeded"


def test_d06_deep_nesting(mill):
    """JSON of a hundred thousand levels is garbled, without a RecursionError."""
    deep = b'{"state": "done", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    history = ended(mill.job(reply(deep), WORKING, DONE))

    assert looks(history)[0].kind == "garbled"
    assert history.succeeded


def test_d07_integer_of_thousands_of_digits(mill):
    """An integer beyond Python's limit of digits is garbled, without a ValueError."""
    long = b'{"state": "done", "credits": ' + b"7" * 5000 + b"}"

    history = ended(mill.job(reply(long), WORKING, DONE))

    assert looks(history)[0].kind == "garbled"
    assert history.succeeded


def test_d06_a_million_values(mill):
    """A reply of over 100,000 values is garbled: as Python objects they take up a hundred times its bytes."""
    nbh.register(provider(mill.root, "wide", max_reply=2_000_000, key_variable="MILL_API_KEY"))
    mill.jobs["x"] = [reply(b'{"state": "done", "x": [' + b"{}," * 600_000 + b"{}]}"), DONE]

    history = ended("wide:x")

    assert looks(history)[0].kind == "garbled"
    assert "more than 100,000 values" in looks(history)[0].message
    assert history.succeeded


def test_d08_lone_surrogate(mill, tmp_path, capsys):
    """A lone surrogate is escaped or replaced in the store, table, CSV, terminal and card."""
    from nbhelper._views.card import Scene, card

    half = b'{"state": "error", "code": "\\ud800", "why": "half \\ud800 a character", "files": ["https://x/\\udfff"]}'
    history = ended(mill.job(reply(half)), save=False)

    StateLines().print([history], last=True)
    nbh.to_csv(nbh.tasks(), tmp_path / "t.csv")
    again = nbh.read_csv(tmp_path / "t.csv")
    drawn = card([history], Scene(now=history.events[-1].at, base=tmp_path, folder="x"))

    for text in (capsys.readouterr().out, drawn, (tmp_path / "t.csv").read_text("utf-8"), again.to_csv()):
        text.encode("utf-8")
    assert history.outcome == "failed"
    assert again["error_message"].tolist() == nbh.tasks()["error_message"].tolist()
    assert "half" in again["error_message"].iloc[0]


def test_d09_control_characters_and_a_megabyte(mill, capsys):
    """NUL, bidi overrides, ANSI escapes and a megabyte of text are removed or cut where shown, and kept in `raw`."""
    long = "\x00\u202e\x1b[2J\x1b]0;owned\x07 not a face. " + "very long " * 90_000
    history = ended(mill.job({"state": "error", "why": long}))

    StateLines().print([history], last=True)
    shown = capsys.readouterr().out

    assert history.outcome == "failed"
    for text in (history.error, shown.strip(), repr(history)):
        assert len(text) < 1000
        assert text.isprintable()
    stored = nbh.watch(history.task, display=False)[0]
    assert stored.snapshot.raw["why"].endswith("very long very long ")
    assert len(stored.snapshot.raw["why"]) > 900_000


def test_d10_integers_beyond_64_bits(mill):
    """Integers beyond 64 bits are text in the stored raw reply and the table."""
    big = 2**63
    history = ended(mill.job({"state": "error", "code": big, "why": -big - 1, "n": [big, 2**200]}))

    stored = nbh.watch(history.task, display=False)[0]

    assert stored.snapshot.error.code == str(big)
    assert stored.snapshot.raw["n"] == [str(big), str(2**200)]
    assert nbh.tasks()["error_code"].iloc[0] == str(big)


def test_d12_unknown_fields(mill):
    """Undeclared fields change nothing and are kept in the raw reply."""
    more = {**WORKING, "mood": {"today": ["fine"]}, "status": "failed", "State": "error"}

    history = ended(mill.job(more, {**DONE, "mood": 1}))

    assert [s.state for s in looks(history)] == ["running", "succeeded"]
    assert looks(history)[0].raw == more


def test_d13_unknown_state_word(mill, hasty):
    """An unknown state word goes on and is kept; after ten minutes of nothing else the watch is lost, never failed."""
    once = ended(mill.job({"state": "contemplating"}, {"state": 77}, DONE))
    always = ended(mill.job({"state": "contemplating"}))

    assert [s.word for s in looks(once)][:2] == ["contemplating", "77"]
    assert [s.state for s in looks(once)] == ["unknown", "unknown", "succeeded"]
    assert (always.outcome, always.state) == ("lost", "unknown")
    assert "contemplating" in always.error


@pytest.mark.parametrize("word", ["DONE", "Done", "done.", "d o n e"])
def test_d14_case_and_space(mill, word):
    """A state word in other case or spelling is unknown unless declared; whitespace around it is stripped."""
    history = ended(mill.job({"state": word}, {"state": " done\n"}))

    assert [s.state for s in looks(history)] == ["unknown", "succeeded"]


def test_d15_state_goes_backwards(mill):
    """A state that goes back from running to queued is kept, and the watch goes on to the end."""
    history = ended(mill.job(WORKING, QUEUED, WORKING, DONE))

    assert [s.state for s in looks(history)] == ["running", "queued", "running", "succeeded"]


def look_after_success(mill, later):
    """Watch a task that succeeds with a good and a dead link, and has another reply at the next look; its history."""
    good, dead = mill.file(reply(png(100))), mill.file(reply(b"", 403))
    return ended(mill.job({**DONE, "files": [good, dead]}, later))


@pytest.mark.parametrize("later", [WORKING, QUEUED, {"state": "contemplating"}], ids=str)
def test_d16_success_then_running(mill, later):
    """After success a later state that is not final is one more event, and the outcome stays."""
    history = look_after_success(mill, later)

    assert history.outcome == "succeeded"
    assert [s.word for s in looks(history)] == ["done", later["state"]]
    assert nbh.tasks()["outcome"].tolist() == ["succeeded"]


@pytest.mark.parametrize("later", [{"state": "error", "why": "no"}, {"state": "gone"}, {"state": "stopped"}], ids=str)
def test_d17_success_then_failed(mill, later):
    """After success a later final state changes neither the outcome nor the downloaded files."""
    history = look_after_success(mill, later)

    assert history.outcome == "succeeded"
    assert [s.word for s in looks(history)] == ["done", later["state"]]
    assert {n: str(s.state) for n, s in history.saves.items()} == {"files[0]": "saved", "files[1]": "expired"}
    assert sha256(history.files[0].read_bytes()) == sha256(png(100))


def test_d18_odd_progress(mill):
    """Progress is clamped to 0 to 1, invalid values are None, `facts.progress` never falls, and raw values are kept."""
    percents = [10, 140, -3, "80%", None, "soon", [5], True, 30]

    history = ended(mill.job(*({"state": "working", "percent": p} for p in percents), DONE))

    running = looks(history)[:-1]
    assert [s.progress for s in running] == [0.1, 1.0, 0.0, 0.8, None, None, None, None, 0.3]
    assert [s.raw["percent"] for s in running] == percents
    assert history.facts.progress == 1.0


@pytest.mark.parametrize("files", [None, [], "", [None, ""]], ids=str)
def test_d19_success_without_outputs(mill, files, bound):
    """A success without outputs is a success, and the card says that there is no file in the reply."""
    from nbhelper._views.card import Scene, card

    history = ended(mill.job({**DONE, "files": files}))

    drawn = card([history], Scene(now=history.events[-1].at, base=None, folder="x"))
    assert history.outcome == "succeeded"
    assert history.outputs == ()
    assert "no file in the reply" in drawn
    bound(len(mill.server.requests), 5)


def test_d20_outputs_while_running(mill):
    """An output of a running task is downloaded before the task is over, and only once."""
    link = mill.file(reply(png(50)))
    ident = mill.job({**WORKING, "files": [link]})
    watch = nbh.watch(ident, display=False, block=False)

    until(lambda: watch.files)
    early = watch[0]
    mill.jobs[ident.partition(":")[2]][:] = [{**DONE, "files": [link]}]
    history = watch.result(30)

    assert early.state == "running"
    assert early.files[0].read_bytes() == png(50)
    assert history.succeeded
    assert len(mill.requests_to("/files/")) == 1


def test_d21_the_same_link_twice_and_ten_thousand(mill):
    """Equal links are one output; beyond 256 outputs nothing is fetched, and the raw reply has every link."""
    link = mill.file(reply(png(50)))
    many = [f"{mill.root}/none/{n}" for n in range(10_000)]

    twice = ended(mill.job({**DONE, "files": [link, link, {"again": link}]}))
    lots = ended(mill.job({**DONE, "files": many}), save=False)

    assert [o.name for o in twice.outputs] == ["files[0]"]
    assert len(mill.requests_to("/files/")) == 1
    assert len(lots.outputs) == 256
    assert len(lots.snapshot.raw["files"]) == 10_000


def test_d22_another_tasks_reply(mill):
    """A reply with another task's id is garbled, whatever its state."""
    nbh.register(provider(mill.root, "picky", reply_id="id", key_variable="MILL_API_KEY"))
    mill.jobs["mine"] = [{"id": "theirs", "state": "error"}, {"id": "theirs", **DONE}, {"id": "mine", **DONE}]

    history = ended("picky:mine")

    assert [getattr(s, "kind", None) for s in looks(history)] == ["garbled", "garbled", None]
    assert "theirs" in looks(history)[0].message
    assert history.succeeded


TIMES = {
    "seconds": (1_768_888_519, "2026-01-20 05:55:19+00:00"),
    "milliseconds": (1_768_888_519_000, "2026-01-20 05:55:19+00:00"),
    "text": ("2026-01-20T05:55:19Z", "2026-01-20 05:55:19+00:00"),
    "zero": (0, None),
    "negative": (-5, None),
    "year 58295": (1_777_474_689_024_000, None),
    "year 9999 in text": ("9999-12-31T23:59:59-23:59", None),
    "no zone": ("2026-01-20T05:55:19", None),
    "words": ("yesterday", None),
    "infinite": ("1e999", None),
    "list": ([1], None),
}


@pytest.mark.parametrize(("time_as_sent", "reads"), TIMES.values(), ids=TIMES)
def test_d23_odd_times(mill, time_as_sent, reads):
    """Times are read from seconds, milliseconds and ISO text; invalid ones are NaT in the table and kept in `raw`."""
    nbh.register(provider(mill.root, "clocked", created_at="made", key_variable="MILL_API_KEY"))
    mill.jobs["x"] = [{**DONE, "made": time_as_sent}]

    history = ended("clocked:x")

    created = nbh.tasks()["created_at"].iloc[0]
    assert (str(created) if reads else created.isoformat() if created == created else None) == reads  # noqa: PLR0124
    assert history.snapshot.raw["made"] == time_as_sent


def test_d24_stuck_running(mill):
    """A task that never ends is stopped at the watch's timeout, which the error names, and can be watched again."""
    ident = mill.job(WORKING)

    stopped = ended(ident, timeout=0.5)
    mill.jobs[ident.partition(":")[2]][:] = [DONE]
    again = ended(ident)

    assert (stopped.outcome, stopped.state) == ("stopped", "running")
    assert "timeout of 0.5 s" in stopped.error
    assert again.outcome == "succeeded"
