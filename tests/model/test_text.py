"""What becomes of hostile text: shown it is one harmless line, kept it holds no secret, as a file name it is safe."""

import json
import re
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.raw_server import reply

import nbhelper as nbh
from nbhelper._model.text import clean, kind_of, nearest, redact, slug, without_queries
from nbhelper._views import terminal
from nbhelper._views.terminal import Lines, block
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Output, Saved, SaveState, Snapshot, State, TaskError

pytestmark = pytest.mark.usefixtures("isolated")

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUICK = settings(max_examples=60, deadline=None)
PLAIN = settings(QUICK, max_examples=25)
EVIL = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x00\x07\x1b\x9b\r\n\t\u202e\u2066\u200f\u2028\ud800\udfff\ufeff[]{}<>&%$`*_:/\\"),
        st.sampled_from("\u0301\u200b\U000e0041"),
    ),
    max_size=80,
) | st.sampled_from([
    "\x1b]0;title\x07", "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "\x1b[2J\x1b[H", "\x9b31m",
    "[bold]x[/bold]",
    "[link=https://evil.example]x[/link]", ":smile:", "\r\nforged line", "a\u202egnp.exe", "\x1bPq\x1b\\", "x" * 3000,
])  # fmt: skip
SPLIT = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


def harmless(text):
    """One line without controls, overrides or halves of characters."""
    assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}]
    assert not [c for c in text if unicodedata.bidirectional(c) in SPLIT or c in "\u200e\u200f\u061c"]
    text.encode()
    return True


@QUICK
@given(EVIL, st.integers(1, 200))
def test_clean_text_is_one_harmless_line(text, limit):
    """Whatever comes in: no control, no override, no half of a character, no longer than asked; and again the same."""
    shown = clean(text, limit)

    assert harmless(shown)
    assert len(shown) <= limit
    assert clean(shown, limit) == shown


REAL = {
    "sk-proj-zq7canary0123456789ABCDEFGH": "a project's", "sk-zq7canary0123456789abcdefg": "a plain one",
    "tsk_zq7canary0123456789abcdefg": "Tripo's", "Bearer zq7canary0123456789": "a header's",
}  # fmt: skip


@pytest.mark.parametrize("key", REAL, ids=REAL.values())
@pytest.mark.parametrize(
    "around", ["{}", "Incorrect API key provided: {}.", '{{"key": "{}"}}', "a {} b {}", "x={}&y=1"]
)
def test_what_looks_like_a_key_is_not_shown(key, around):
    """Servers repeat a wrong key, and people pass one in the wrong place: neither is shown."""
    assert "canary" not in clean(around.format(key, key))
    assert "[key removed]" in clean(around.format(key, key))


@pytest.mark.parametrize(
    "text",
    [
        "tripo:1ec04ced-0ff3-4a11-9d2c-0f6f8f7b6a54", "task-0123456789abcdef0123", "risk-0123456789abcdef01",
        "sk-learn",
        "Bearer authentication required", "a disk_0123456789abcdef0123", "owl-sketch-with-a-very-long-name-indeed",
    ],
)  # fmt: skip
def test_what_is_no_key_is_shown(text):
    """Ids and words that merely remind of one stay."""
    assert clean(text) == text


@QUICK
@given(EVIL)
@example("CON")
@example("com1.txt")
@example("..")
@example("-rf")
@example("COM\u00b9")
@example("a" * 300)
def test_a_slug_is_always_a_safe_file_name(text):
    """ASCII, never empty, hidden, an option, a device of Windows or a way out of the folder."""
    name = slug(text)

    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    assert not name.endswith((".", "-"))
    assert len(name) <= 50
    assert not re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE)
    assert slug(name) == name


SECRET = "zq7canary"
LINKS = {
    "plain": f"https://cdn.example/a.png?Signature={SECRET}&Expires=1",
    "capitals": f"HTTPS://cdn.example/a.png?Signature={SECRET}",
    "fragment": f"https://cdn.example/a.png#{SECRET}",
    "user": f"https://{SECRET}:{SECRET}@cdn.example/a.png",
    "port": f"http://cdn.example:8080/a.png?x={SECRET}",
    "port that cannot be": f"https://cdn.example:99999/a.png?x={SECRET}",
    "IPv6": f"https://[2001:db8::1]/a.png?x={SECRET}",
    "broken": f"https://[2001/a.png?x={SECRET}",
    "no path": f"https://cdn.example?x={SECRET}",
    "in a sentence": f"failed to fetch https://cdn.example/a?x={SECRET}, sorry",
    "in quotes": f'see "https://cdn.example/a?x={SECRET}"',
    "two": f"https://a.example/?x={SECRET} https://b.example/?y={SECRET}",
    "JSON in a string": json.dumps({"resultUrls": [f"https://cdn.example/a.png?x={SECRET}"]}),
    "JSON in a string, ampersands escaped": f'{{"u":"https://cdn.example/a.png?Expires=1\\u0026Signature={SECRET}"}}',
    "JSON in a string, slashes escaped": f'{{"u":"https:\\/\\/cdn.example\\/a.png?Signature={SECRET}"}}',
    "JSON in a string, question mark escaped": f'{{"u":"https://cdn.example/a.png\\u003fSignature={SECRET}"}}',
    "JSON in JSON in a string": json.dumps(json.dumps({"u": f"https://cdn.example/a?b=1\\u0026x={SECRET}"})),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_no_query_of_a_link_is_kept(link):
    """However a link stands in a reply, what signs it is gone; nested JSON is JSON still."""
    assert SECRET not in without_queries(link)
    assert SECRET not in json.dumps(redact({"a": [link], link: {"b": link}}))
    if link.startswith("{"):
        assert list(json.loads(without_queries(link))) == list(json.loads(link))


@QUICK
@given(
    st.recursive(
        st.text(max_size=20) | st.integers() | st.floats() | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["0123456789abcdef", "a/b+c==", "ünï-key", "key"]),
    st.sampled_from(list(LINKS.values())),
)
def test_redacted_replies_hold_neither_key_nor_query(body, key, link):
    """Anywhere in a reply, in names and values, inside longer text: the key and what signs a link are not kept."""
    reply_ = {"echo": f"bad key {key}!", key: [key, body], "nested": {"deep": [{"u": link, key + "x": link}]}}

    kept = json.dumps(redact(reply_, [key]), ensure_ascii=False)

    assert f"bad key {key}" not in kept
    assert f'"{key}"' not in kept
    assert SECRET not in kept


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "None"), (5, "an int"), ([], "a list"), ("x", "a str"), (object(), "an object"), (True, "a bool")],
)
def test_kinds_are_named_as_people_say_them(value, text):
    """What an error calls the thing that was passed."""
    assert kind_of(value) == text


@given(st.text(max_size=30))
def test_a_name_that_is_near_is_one_of_the_known(word):
    """Nothing is made up, whatever was typed."""
    hint = nearest(word, ["tripo", "tripo-v3", "kie"])

    assert hint in {"", ' Did you mean "tripo"?', ' Did you mean "tripo-v3"?', ' Did you mean "kie"?'}


# The terminal


def histories(word):
    """Tasks in every state, the same word in every place that takes one."""
    output = Output(name=word, url=f"https://cdn.example/a?sig={SECRET}", kind="image")
    seen = {
        "queued": [Snapshot(state=State.QUEUED, word=word, queue_position=3, model=word)],
        "running": [Snapshot(state=State.RUNNING, word=word, progress=0.5, seconds_left=9.0, outputs=(output,))],
        "odd": [Snapshot(state=State.UNKNOWN, word=word)],
        "failed": [Snapshot(state=State.FAILED, word=word, error=TaskError(word, word))],
        "missed": [Miss(kind=MissKind.SERVER, status=500, code=word, message=word, trace=word)],
        "lost": [Mark(word=MarkWord.LOST, note=word)],
        "unsaved": [
            Snapshot(state=State.SUCCEEDED, outputs=(output,), credits=1.5),
            Saved(name=word, state=SaveState.FAILED, message=word),
        ],
        "saved": [
            Snapshot(state=State.SUCCEEDED, outputs=(output,)),
            Saved(name=word, file=f"/x/{slug(word)}.png", kind="image", n_bytes=5, sha256="0" * 64),
        ],
    }  # fmt: skip
    grown = []
    for ident, events in seen.items():
        history = nbh.History(nbh.Task("kie", ident, label=word), uid=ident)
        for event in events:
            history = history.add(event, NOON)
        grown.append(history)
    return grown


@PLAIN
@given(EVIL)
def test_nothing_that_a_server_or_label_says_drives_the_terminal(word):
    """Lines and the live block at three widths: every line is harmless, none is wrapped, no link's query is in it."""
    tasks, lines = histories(word), []
    Lines(lines.append).print(tasks, last=True)
    for width in (40, 80, 200):
        console = Console(width=width, force_terminal=True, color_system=None, highlight=False)
        with console.capture() as capture:
            console.print(block(tasks, console))
        drawn = capture.get().splitlines()
        assert len(drawn) == len(tasks) + 1
        lines += drawn

    assert lines
    for line in lines:
        assert harmless(line)
        assert SECRET not in line


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_thousand_tasks_fit_on_a_screen(width):
    """About twenty rows, those that went wrong among them, and how many more there are; no row is wider than asked."""
    states = [State.RUNNING] * 600 + [State.QUEUED] * 300 + [State.SUCCEEDED] * 97 + [State.FAILED] * 3
    tasks = [
        nbh.History(nbh.Task("kie", f"{n:032x}"), uid=str(n)).add(Snapshot(state=s, progress=None), NOON)
        for n, s in enumerate(states)
    ]
    console = Console(width=width, force_terminal=True, color_system=None, highlight=False)

    with console.capture() as capture:
        console.print(block(tasks, console))
    lines = capture.get().splitlines()

    assert len(lines) <= 22
    assert lines[-1].strip() == f"and {1000 - terminal.ROWS} more"
    assert sum("✗" in line for line in lines) == 3
    assert all(len(line) <= width for line in lines)


@PLAIN
@given(EVIL)
def test_every_value_reads_as_one_line(word):
    """Tasks, histories, events, requests and replies read back: one harmless line each, with nothing secret."""
    shown = [repr(value) for history in histories(word) for value in (history, history.task, *history.events)]
    shown += [repr(output) for history in histories(word) for output in history.outputs]
    shown.append(repr(nbh.Request("kie", {word: word, "prompt": word}, endpoint=word if word.strip() else None)))

    for text in shown:
        assert harmless(text)
        assert SECRET not in text
        assert len(text) < 1000 or text.startswith("<Event")


def test_an_emulator_reads_as_one_line(emulator):
    """Where it listens while it is open, and that it is closed."""
    assert repr(emulator) == f"<Emulator {emulator.root}>"
    emulator.close()
    assert repr(emulator) == "<Emulator closed>"


def test_a_hostile_server_through_the_whole_library(mill, capsys):
    """From the wire to the terminal: state word, error and label of a real watch print as harmless lines."""
    evil = "\x1b]0;owned\x07\x1b[31mred\u202e\x00\ud800\r\n$(reboot)"
    ref = mill.job(reply({"state": "error", "why": evil, "code": evil}))

    history = nbh.watch(nbh.Task("mill", ref.partition(":")[2], label="\x1b[2Jlabel"), display="text", block=True)[0]

    printed = capsys.readouterr().out
    assert history.outcome == "failed"
    assert all(harmless(line) for line in printed.splitlines())
    assert "$(reboot)" in printed
    assert harmless(nbh.tasks()["error_message"].iloc[0].replace("\\ud800", ""))
