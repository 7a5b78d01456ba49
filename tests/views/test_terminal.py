"""What a terminal and a log show: the whole state, the same when drawn twice, and no escape code of a server."""

import io
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from nbhelper._model.history import History
from nbhelper._model.text import seconds, size
from nbhelper._model.timing import timing
from nbhelper._views import terminal
from nbhelper._views.terminal import StateLines, block
from nbhelper._views.words import describe_details, describe_time_left, elapsed
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Output, Saved, SaveState, Snapshot, State, Task, TaskError

pytestmark = pytest.mark.usefixtures("isolated")

EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\n\u202e[bold]x[/bold] :smile: \ud800\x00"


def now():
    return datetime.now(UTC)


def grown(*seen, ident="x", label=None, ago=10.0):
    history = History(Task("mill", ident, label), uid=f"uid-{ident}")
    for item in seen:
        history = history.add(item, now() - timedelta(seconds=ago))
    return history


def state(word, **more):
    return Snapshot(state=State(word), word=word, **more)


def drawn(histories, width=140, *, colours=False):
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=colours, highlight=False, color_system="truecolor" if colours else None
    )
    console.print(block(histories, console))
    return out.getvalue()


DURATIONS = {0.04: "0.0 s", 8.24: "8.2 s", 9.96: "10 s", 59.6: "1:00", 187: "3:07", 3753: "1:02:33"}
SIZES = {0: "0 B", 999: "999 B", 1500: "1.5 kB", 2_400_000: "2.4 MB", 3_100_000_000: "3.1 GB"}


@pytest.mark.parametrize(("value", "text"), DURATIONS.items())
def test_durations_as_people_read_them(value, text):
    """Tenths below ten seconds, clock time above a minute."""
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), SIZES.items())
def test_sizes_as_people_read_them(value, text):
    """Decimal units, one digit."""
    assert size(value) == text


DETAILS = {
    "queue": ([state("queued", queue_position=3)], "3 ahead in the queue"),
    "time left": ([state("running", seconds_left=42.4)], "about 32 s left"),
    "overdue": ([state("running", seconds_left=2.0)], "should finish soon"),
    "unknown word": ([Snapshot(state=State.UNKNOWN, word="pondering")], 'the API says "pondering"'),
    "one miss": (
        [state("running"), Miss(kind=MissKind.SERVER, status=502, message="bad gateway")],
        "HTTP 502: bad gateway, trying again",
    ),
    "many misses": (
        [Miss(kind=MissKind.NETWORK, message="cannot reach x")] * 3,
        "cannot reach x, 3 misses, trying again",
    ),
    "not known yet": (
        [Miss(kind=MissKind.NOT_FOUND, status=200, code="422", message="recordInfo is null")],
        "the API does not know this id yet (code 422: recordInfo is null), trying again",
    ),
    "not known any more": (
        [state("running"), Miss(kind=MissKind.NOT_FOUND, status=404, message="no task")],
        "HTTP 404: no task, trying again",
    ),
    "failed": ([state("failed", error=TaskError("7", "too dark"))], "7 too dark"),
    "lost": ([state("running"), Mark(word=MarkWord.LOST, note="wrong key")], "wrong key"),
    "saving": ([state("succeeded", outputs=(Output(name="a", url="u"), Output(name="b", url="v")))], "saving 2 files"),
    "no file": ([state("succeeded")], "no file in the reply"),
    "credits": ([state("failed", credits=0.0)], "0 credits"),
}


@pytest.mark.parametrize(("seen", "text"), DETAILS.values(), ids=DETAILS)
def test_details_have_each_fact_that_is_known(seen, text):
    """Each fact in its words, and nothing of what is unknown."""
    assert describe_details(grown(*seen), now()) == text


def test_an_id_may_be_too_new_for_a_minute():
    """While the grace lasts an id that is not known is not known yet; later the server's words stand alone."""
    miss = Miss(kind=MissKind.NOT_FOUND, status=404, message="no task")
    early = History(Task("mill", "x")).add(miss, now() - timedelta(seconds=70))
    late = early.add(miss, now())

    assert describe_details(early, now()) == "the API does not know this id yet (HTTP 404: no task), trying again"
    assert describe_details(late, now()) == "HTTP 404: no task, 2 misses, trying again"


@pytest.mark.parametrize(("late", "text"), [(8, "should finish soon"), (40, "longer than usual")])
def test_a_task_that_is_overdue(late, text):
    """A task that exceeds its first estimate by more than half takes longer than usual, whatever is estimated now."""
    at = now() - timedelta(seconds=20 + late)
    begun = History(Task("mill", "x")).add(state("running", seconds_left=20.0), at)

    assert describe_time_left(begun.add(state("running", seconds_left=0.5), now()), now()) == text


def test_saved_files_are_counted_and_unsaved_ones_named():
    """Saved files have their number and size, a missing one the reason why."""
    history = grown(
        state("succeeded", outputs=tuple(Output(name=n, url=n) for n in "ab"), credits=12.5),
        Saved(name="a", file="/f", n_bytes=1500),
        Saved(name="b", state=SaveState.EXPIRED, message="the link has expired (HTTP 403)"),
    )

    assert (
        describe_details(history, now()) == "1 file, 1.5 kB, b not saved: the link has expired (HTTP 403), 12.5 credits"
    )


def test_time_runs_until_the_end():
    """Elapsed counts to the end once there is one, and is never negative."""
    begun = now() - timedelta(seconds=100)
    running = History(Task("mill", "x")).add(state("running", created_at=begun), begun)
    ended = running.add(state("succeeded", finished_at=begun + timedelta(seconds=30)), now())
    early = History(Task("mill", "x")).add(state("running", created_at=now() + timedelta(hours=1)), begun)

    assert elapsed(running, now()) == pytest.approx(100, abs=1)
    assert elapsed(ended, now()) == pytest.approx(30)
    assert elapsed(early, now()) == 0
    assert elapsed(History(Task("mill", "x")), now()) is None
    assert describe_time_left(ended, now()) == ""


BEGUN = datetime(2026, 11, 21, 12, tzinfo=UTC)
END, LATER = BEGUN + timedelta(seconds=7), BEGUN + timedelta(hours=3)
AHEAD = {"replied_at": LATER}
ENDED = {
    "both by the server": [state("running", created_at=BEGUN), state("succeeded", finished_at=END)],
    "an end seen between two looks": [Mark(word=MarkWord.SUBMITTED), state("running"), state("succeeded")],
    "an end seen at the first look": [Mark(word=MarkWord.SUBMITTING), Mark(word=MarkWord.SUBMITTED), state("failed")],
    "a server hours ahead": [state("running", created_at=LATER, **AHEAD), state("succeeded", **AHEAD)],
    "a start that nobody knows": [state("running"), state("succeeded")],
    "refused": [Mark(word=MarkWord.SUBMITTING), Mark(word=MarkWord.REFUSED)],
}  # fmt: skip


@pytest.mark.parametrize("seen", ENDED.values(), ids=ENDED)
def test_an_end_has_one_duration(seen):
    """Card, text and table tell one number of a task that is over, whenever they are drawn, or all three none."""
    history = History(Task("mill", "x"))
    for index, item in enumerate(seen):
        history = history.add(item, BEGUN + timedelta(seconds=10 * index))

    assert elapsed(history, now()) == timing(history).total_s
    assert elapsed(history, now() + timedelta(hours=1)) == timing(history).total_s


def test_a_running_task_of_a_server_hours_ahead():
    """What has passed is counted on our clock, by the difference that the server's replies show."""
    history = History(Task("mill", "x"))
    history = history.add(state("running", created_at=LATER, **AHEAD), BEGUN)

    assert elapsed(history, BEGUN + timedelta(seconds=20)) == pytest.approx(20, abs=0.6)


# Lines


def test_a_line_for_each_change_and_no_more():
    """Printed twice, a state has one line; its time is UTC."""
    printed = []
    lines = StateLines(printed.append)
    history = grown(state("queued"), label="owl")

    lines.print([history])
    lines.print([history])
    history = history.add(state("running"), now())
    lines.print([history, history])
    lines.print([history.add(state("running", progress=0.9), now())])

    assert [re.sub(r"^\d\d:\d\d:\d\dZ ", "", line) for line in printed] == [
        "mill:x (owl) queued",
        "mill:x (owl) running",
    ]


def test_a_state_between_two_drawings_has_its_line():
    """However short a state was, the newest events tell it; the lines of all tasks stand in the order of time."""
    printed = []
    first, other = grown(ident="x"), grown(ident="y", ago=8.5)
    lines = StateLines(printed.append, begun=[first, other])

    for ago, word in ((10, "queued"), (9, "running"), (8, "queued"), (7, "running"), (6, "succeeded")):
        first = first.add(state(word), now() - timedelta(seconds=ago))
    other = other.add(state("failed", error=TaskError("7", "too dark")), now() - timedelta(seconds=8.5))
    lines.print([first, other])
    lines.print([first, other], last=True)

    assert [re.split(r"[ ,:]+", line.split("Z ")[1].replace("mill:", ""))[:2] for line in printed] == [
        ["x", "queued"],
        ["x", "running"],
        ["x", "queued"],
        ["x", "running"],
        ["x", "succeeded"],
        ["y", "failed"],
    ]
    assert [line[:8] for line in printed] == sorted(line[:8] for line in printed)


def test_a_stop_between_two_drawings_has_its_line():
    """Stopped by another handle and taken up again: both are told, and a late look behind the stop is no change."""
    printed = []
    history = grown(state("running"))
    lines = StateLines(printed.append)
    lines.print([history])

    stopped = history.add(Mark(word=MarkWord.STOPPED, note="stopped by hand"), now()).add(state("running"), now())
    lines.print([stopped.add(Mark(word=MarkWord.RESUMED), now()).add(state("running"), now())])

    assert [line.split(" ", 2)[2] for line in printed] == ["running", "stopped: stopped by hand", "running"]


def test_states_before_the_wait_are_no_change():
    """Of a history that was stored, the state that it is in has a line, the earlier ones have none."""
    printed = []
    stored = grown(state("queued"), state("running"))
    lines = StateLines(printed.append, begun=[stored])

    lines.print([stored])
    lines.print([stored.add(state("running"), now())])

    assert [line.split(" ", 2)[2] for line in printed] == ["running"]


def test_a_task_without_a_look_has_no_line():
    """A task that nobody has looked at has no line."""
    printed = []
    StateLines(printed.append).print([History(Task("mill", "x"))])

    assert printed == []


def evil():
    output = Output(name=EVIL, url="https://x.example/a?sig=secret")
    return [
        grown(Snapshot(state=State.UNKNOWN, word=EVIL), ident="a", label=EVIL),
        grown(state("failed", error=TaskError(EVIL, EVIL)), ident="b[bold]", label="[red]x"),
        grown(Miss(kind=MissKind.SERVER, message=EVIL), ident="c"),
        grown(Mark(word=MarkWord.LOST, note=EVIL), ident="d"),
        grown(state("succeeded", outputs=(output,)), Saved(name=EVIL, state=SaveState.FAILED, message=EVIL), ident="e"),
    ]


def test_hostile_words_never_reach_a_log():
    """One printable line each, however a server or a label tries."""
    printed = []

    StateLines(printed.append).print(evil())

    assert len(printed) == 4
    assert all(line.isprintable() for line in printed)
    "".join(printed).encode()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_hostile_words_never_reach_a_terminal(width):
    """Of all escapes only rich's own colours remain; markup and emoji codes stay text."""
    text = drawn(evil(), width=width, colours=True)

    left = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert all(c == "\n" or c.isprintable() for c in left)
    assert "\x1b]" not in text
    assert "secret" not in text
    if width == 200:
        assert "[bold]x[/bold] :smile:" in left
        assert "[red]x" in left


# The live block


def test_the_block_shows_state_bar_time_and_detail():
    """One row per task and a line over all."""
    text = drawn([
        grown(state("running", progress=0.5, seconds_left=42.4), ident="a", label="owl"),
        grown(state("succeeded", credits=3.0), ident="b"),
        grown(state("failed", error=TaskError("7", "too dark")), ident="c"),
    ])  # fmt: skip

    head, *rows = text.splitlines()
    assert "2 of 3 over" in head
    assert "1 running, 1 succeeded, 1 failed" in head
    assert re.search(r"3 credits\W+2", head)  # what is unknown is counted, never taken for zero
    assert [row.split()[0] for row in rows] == ["◐", "✗", "✓"]
    assert "mill owl" in rows[0]
    assert "about 32 s left" in rows[0]
    assert "7 too dark" in rows[1]


def test_stopped_and_lost_tasks_are_not_over():
    """Stopped and lost tasks are counted by their words; over is what the server ended."""
    stopped = grown(state("running"), Mark(word=MarkWord.STOPPED, note="stopped by hand"), ident="a")
    lost = grown(state("running"), Mark(word=MarkWord.LOST, note="no such id"), ident="b")

    head = drawn([stopped, lost, grown(state("failed"), ident="c")]).splitlines()[0]

    assert "1 of 3 over" in head
    assert "1 stopped, 1 lost, 1 failed" in head


def test_drawing_twice_gives_the_same_text():
    """The text view is a function of the histories: it keeps no state between two drawings."""
    histories = [grown(state("succeeded", credits=1.0))]

    assert drawn(histories) == drawn(histories)


def test_a_hundred_tasks_take_twenty_rows_and_failures_are_among_them():
    """The rest is counted; what went wrong is seen however many are running."""
    running = [grown(state("running"), ident=f"r{n}") for n in range(97)]
    failed = [grown(state("failed"), ident=f"f{n}") for n in range(3)]

    lines = drawn([*running, *failed]).splitlines()

    assert len(lines) == 1 + terminal.ROWS + 1
    assert sum("✗" in line for line in lines) == 3
    assert lines[-1].strip() == "and 80 more"


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize(
    "name",
    ["an owl in a very old oak tree at night, {}", "夜のとても古い樫の木にいる一羽の梟、ある一羽の梟、{}"],
    ids=["latin", "wide"],
)
def test_long_names_give_way_in_their_middle(name, width):
    """The names of a grid differ at their ends, which stay in sight, in a terminal and in a log."""
    histories = [grown(state("running"), ident=n, label=name.format(n)) for n in ("1K", "2K")]
    printed = []
    StateLines(printed.append).print(histories)

    for lines in (drawn(histories, width=width).splitlines()[1:], printed):
        assert [line.partition("…")[2].split("K")[0][-1:] + "K" for line in lines] == ["1K", "2K"]
    assert all(cell_len(line) <= width for line in drawn(histories, width=width).splitlines())


def test_a_provider_is_not_named_twice():
    """A label that ends in its provider's name stands without it, as on the card."""
    rows = drawn([grown(state("running"), ident=label, label=label) for label in ("an owl, Mill", "an owl, mill #2")])

    assert [row.split()[1:4] for row in rows.splitlines()[1:]] == [["an", "owl,", "Mill"], ["an", "owl,", "mill"]]


def test_duplicates_are_one_row():
    """The same task twice in a list is drawn once."""
    history = grown(state("running"))

    assert len(drawn([history, history]).splitlines()) == 1


@pytest.mark.parametrize("width", [20, 40, 60, 89, 90, 300])
def test_rows_fit_any_width(width):
    """Rows are cut and never wrapped."""
    histories = [grown(state("running", progress=0.3, queue_position=2), ident="x" * 80, label="y" * 80)] * 3

    lines = drawn(histories, width=width).splitlines()

    assert len(lines) == 1
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize("state_word", [*State, None])
def test_every_state_has_a_sign_and_a_word(state_word):
    """A row has a sign and a word for its state, so that colour is not needed."""
    history = grown(*([state(state_word)] if state_word else []), ident="y")

    row = drawn([history]).splitlines()[0]

    assert not row.split()[0].isascii() or row.split()[0] == "?"
    assert (str(state_word) if state_word else "waiting") in row


class Watched:
    def __init__(self, histories):
        self.histories = histories


def test_the_live_view_draws_its_last_state(monkeypatch):
    """In a terminal the block stays on the screen as it was at the end."""
    out = io.StringIO()
    monkeypatch.setattr(terminal, "place", lambda: "terminal")
    monkeypatch.setattr(terminal.sys, "stdout", out)
    monkeypatch.setenv("FORCE_COLOR", "1")
    watch = Watched([grown(state("running"))])

    with terminal.text_view(lambda: watch.histories) as draw:
        draw()
        watch.histories = [grown(state("succeeded"))]

    assert "succeeded" in out.getvalue()


def test_the_line_view_writes_to_the_output_of_the_moment(monkeypatch, capsys):
    """Where output is no terminal, lines are plain, and the last state has one even when nothing drew it."""
    monkeypatch.setattr(terminal, "place", lambda: "script")
    watch = Watched([grown(state("running"))])

    with terminal.text_view(lambda: watch.histories) as draw:
        draw()
        watch.histories = [watch.histories[0].add(state("succeeded"), now())]

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == ["running", "succeeded,"]


def test_the_line_view_walks_the_tasks_a_few_times_a_second(monkeypatch, capsys):
    """All tasks are walked before the wait, a few times a second, and at its end, however many looks there are."""
    monkeypatch.setattr(terminal, "place", lambda: "script")
    histories = [grown(state("running"), ident=f"t-{n}") for n in range(1000)]
    walks = []
    begun = time.monotonic()

    with terminal.text_view(lambda: walks.append(time.monotonic()) or histories) as draw:
        for _ in range(1000):
            draw()
        histories[0] = histories[0].add(state("succeeded"), now())

    assert len(walks) <= 3 + (walks[-1] - begun) / terminal._DRAW
    assert " mill:t-0 succeeded" in capsys.readouterr().out.splitlines()[-1]
