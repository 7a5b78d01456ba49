"""The card as a pure drawing of histories: what it says, what it leaves out, and that words stay words."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbhelper as nbh
from nbhelper._model.task import NO_ID
from nbhelper._views.card import ROWS, card, final_words, live_below, live_body
from nbhelper._views.preview import Thumbnail
from nbhelper._views.scene import Money, Scene
from nbhelper._views.tiles import EMBED, PICTURES
from nbhelper.types import Mark, MarkWord, Miss, MissKind, Output, Saved, SaveState, Snapshot, State, TaskError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GREY = Thumbnail("image/jpeg", b"\xff\xd8\xff", 384, 256, (1536, 1024))


class Page(HTMLParser):
    """The elements, attributes and words of some markup."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self._open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if "style" not in self._open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def values(self, name):
        return [v for _, n, v in self.attributes if n == name]


def history(*seen, label=None, ident="t-1", params=None, provider="kie"):
    made = nbh.History(nbh.Task(provider, ident, label=label, params=params or {}), uid=ident)
    for at, item in enumerate(seen):
        made = made.add(item, NOW - timedelta(seconds=len(seen) - at))
    return made


def running(**more):
    return Snapshot(state=State.RUNNING, word="running", **more)


def succeeded(*files, **more):
    names = [Output(name=f"out{n}", url=f"https://x.example/{n}", kind=s.kind) for n, s in enumerate(files)]
    return Snapshot(state=State.SUCCEEDED, word="done", outputs=tuple(names), **more)


def saved(at, file, kind="image", n_bytes=1000):
    return Saved(name=f"out{at}", file=f"/base/nbhelper-data/{file}", kind=kind, n_bytes=n_bytes)


def done(*files, **more):
    return history(succeeded(*files), *files, **more)


def scene(*, live=False, **more):
    return Scene(now=NOW, base=Path("/base"), folder="nbhelper-data", live=live, **more)


def thumbs(*files):
    return {Path(f"/base/nbhelper-data/{f}"): GREY for f in files}


def test_what_is_not_known_is_not_shown_as_zero():
    """Without progress the bar has no value; without credits or price there is no number, and after the end a word."""
    going = Page(live_body([history(running())], scene(live=True)))
    over = Page(card([done()], scene(money=Money(unknown=1))))

    assert "progressbar" in going.values("role")
    assert going.values("aria-valuenow") == []
    assert "credit" not in going.text
    assert "%" not in going.text
    assert "cost unknown" in over.text


def test_credits_and_money_are_told_apart():
    """Credits are the server's, money is ours by currency, zero is a number."""
    page = Page(card([done()], scene(money=Money(0, {"USD": 1.5, "EUR": 0.1234}, 0))))

    for words in ("0 credits", "USD 1.50", "EUR 0.123"):
        assert words in page.text


def test_success_without_a_file_says_so():
    """A success that names no result is a success with a remark."""
    assert "no file in the reply" in Page(card([done()], scene())).text


def test_a_start_that_nobody_knows_gives_no_duration():
    """Of a task that was found running the card says how long it was watched, which is not how long it took."""
    unknown = Page(card([history(running(), running(), succeeded())], scene()))
    sent = Page(card([history(Mark(word=MarkWord.SUBMITTED), running(), succeeded())], scene()))
    left = Page(card([history(Mark(word=MarkWord.SUBMITTED), running(), Mark(word=MarkWord.STOPPED))], scene()))

    assert "watched for 2.0 s" in unknown.text
    assert "1.5 s" in sent.text
    assert "watched" not in sent.text
    assert "last seen after 1.0 s" in left.text


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (Mark(word=MarkWord.STOPPED, note="stopped by hand"), "The task goes on and may be billed"),
        (Mark(word=MarkWord.LOST, note="no such id"), "The task may still finish and be billed"),
    ],
    ids=["stopped", "lost"],
)
def test_stopped_and_lost_say_that_the_task_goes_on(mark, words):
    """Stopped and lost say that the task itself goes on, why, and how to look again."""
    page = Page(card([history(running(), mark)], scene()))

    assert words in page.text
    assert mark.note in page.text
    assert "nbhelper.watch()" in page.text


ENDED_BY_US = {
    "all stopped": ("ss", "The tasks go on and may be billed; nbhelper.resume() looks at them again."),
    "one stopped": ("sd", "The stopped task goes on and may be billed; nbhelper.resume() looks at it again."),
    "some stopped": ("ssdr", "The 2 stopped tasks go on and may be billed; nbhelper.resume() looks at them again."),
    "one lost": ("lr", "The lost task may still finish and be billed; nbhelper.resume() looks at it again."),
    "both": ("lsd", "The 2 stopped or lost tasks may still finish and be billed; nbhelper.resume() looks at them"),
    "none": ("rd", None),
    "never sent": ("nd", None),
}


@pytest.mark.parametrize(("kinds", "words"), ENDED_BY_US.values(), ids=ENDED_BY_US)
def test_stopped_and_lost_are_explained_once_among_many(kinds, words):
    """A card of many says once that what was stopped or lost goes on, and how to look again."""
    ends = {
        "s": (running(), Mark(word=MarkWord.STOPPED)),
        "l": (running(), Mark(word=MarkWord.LOST)),
        "d": (succeeded(),),
        "r": (running(),),
        "n": (Mark(word=MarkWord.STOPPED),),
    }
    histories = [history(*ends[kind], ident=NO_ID if kind == "n" else f"t-{n}") for n, kind in enumerate(kinds)]
    page = Page(card(histories, scene()))

    assert page.text.count("be billed") == (words is not None)
    assert (words or "") in page.text


def test_the_last_trouble_takes_one_line():
    """The message, when the next look is, how many misses; whole in the title."""
    miss = Miss(kind=MissKind.SERVER, status=502, message="bad gateway " * 30)
    drawn = live_body([history(running(), miss, miss, miss)], scene(live=True, next_look=3.2))
    page = Page(drawn)

    assert drawn.count('class="nbh-why') == 1
    assert "HTTP 502: bad gateway" in page.text
    assert ", trying again in 4 s, 3 misses" in page.text
    assert max(map(len, page.values("title"))) > 300


def test_another_notebook_that_looks_is_named():
    """A live card says that another notebook looks, of one task or of how many; a frozen one does not."""
    one, two = history(running(), ident="t-1"), history(running(), ident="t-2")
    theirs = {"live": True, "elsewhere": frozenset({"t-1"})}
    texts = [
        Page(live_body(histories, scene(**options))).text
        for histories, options in (
            ([one], theirs),
            ([one, two], theirs),
            ([one, two], {"live": True, "elsewhere": frozenset({"t-1", "t-2"})}),
            ([one], {**theirs, "live": False}),
        )
    ]

    assert [re.findall(r"[\d,]* ?looked at by another notebook", text) for text in texts] == [
        [" looked at by another notebook"],
        ["1 looked at by another notebook"],
        [" looked at by another notebook"],
        [],
    ]


def test_an_id_that_is_not_known_yet():
    """A first "not found" says that the API does not know the id yet, with the server's own words behind it."""
    miss = Miss(kind=MissKind.NOT_FOUND, status=200, code="422", message="recordInfo is null")
    page = Page(live_body([history(miss)], scene(live=True, next_look=2)))

    assert "the API does not know this id yet (code 422: recordInfo is null)" in page.text
    assert "the API does not know this id yet (code 422: recordInfo is null)" in page.values("title")


def test_a_note_of_the_store_is_shown():
    """A note of the store, such as that the disk is full, stands on the card."""
    assert (
        "▲ the disk is full" in Page(live_body([history(running())], scene(live=True, notes=["the disk is full"]))).text
    )


def test_a_failed_save_is_shown_beside_the_success():
    """A file that could not be kept never hides that the task succeeded."""
    lost = Saved(name="out0", state=SaveState.EXPIRED, kind="image", message="the link has expired (HTTP 403)")
    page = Page(card([history(succeeded(lost), lost)], scene()))

    assert "succeeded" in page.text
    assert "out0 was not saved: the link has expired (HTTP 403)" in page.text


def test_a_model_stands_below_its_picture():
    """A 3D file with a rendered picture is one tile: the poster, its link, the model's link."""
    files = saved(0, "a.glb", "model"), saved(1, "a.png")
    page = Page(card([done(*files)], scene(thumbnails=thumbs("a.png"))))

    assert page.tags.count("img") == 1
    assert page.tags.count("figure") == 1
    assert page.values("href") == ["nbhelper-data/a.png", "nbhelper-data/a.glb"]
    assert "3D model" in page.text


def test_pictures_stand_in_the_order_of_the_reply():
    """Whichever download ends first, the pictures stand as the server named them."""
    files = [saved(n, f"{n}.png") for n in range(3)]
    made = history(succeeded(*files), files[2], files[0], files[1])
    page = Page(card([made], scene(thumbnails=thumbs("0.png", "1.png", "2.png"))))

    assert page.values("href") == [f"nbhelper-data/{n}.png" for n in range(3)]


def test_a_bar_is_whole_only_after_a_success():
    """Failed at 40 %, the bar says 40 and is no whole one; succeeded, it is whole without a progress."""
    error = Snapshot(state=State.FAILED, word="error", error=TaskError("E7", "refused"))
    failed = Page(card([history(running(progress=0.4), error)], scene()))
    good = Page(card([done()], scene()))

    assert (failed.values("aria-valuenow"), failed.values("aria-valuetext")) == (["40"], ["failed"])
    assert "width:40%" in failed.values("style")
    assert good.values("aria-valuenow") == ["100"]


def test_files_without_a_picture_are_named():
    """A 3D file alone, sound, and a picture that could not be decoded have a box with type, size and reason."""
    files = saved(0, "a.glb", "model"), saved(1, "b.mp3", "audio"), saved(2, "c.png")
    page = Page(card([done(*files)], scene(thumbnails={Path("/base/nbhelper-data/c.png"): "cannot identify image"})))

    for words in ("3D model, 1.0 kB", "audio, 1.0 kB", "picture, 1.0 kB (cannot identify image)"):
        assert words in page.text
    assert len(page.values("href")) == 3


def test_without_previews_files_are_named():
    """With preview=False the files are named at once, live too."""
    page = Page(live_below([done(saved(0, "a.png"))], scene(live=True, previews=False)))

    assert "picture, 1.0 kB" in page.text


def test_a_video_is_embedded_under_the_cap(tmp_path):
    """A frozen card carries a short video; a longer one, and all beyond the card's cap, are links; live ones never."""
    sizes = [1000, EMBED, EMBED, EMBED, EMBED + 1]
    files = []
    for at, size in enumerate(sizes):
        path = tmp_path / f"{at}.mp4"
        path.write_bytes(bytes(size))
        files.append(Saved(name=f"out{at}", file=str(path), kind="video", n_bytes=size))
    frozen = Page(card([done(*files)], Scene(now=NOW, base=tmp_path, live=False)))
    live = Page(card([done(*files)], Scene(now=NOW, base=tmp_path, live=True)))

    assert frozen.tags.count("video") == 3
    assert frozen.values("href") == [f"{at}.mp4" for at in (0, 1, 2, 3, 4)]
    assert live.tags.count("video") == 0
    assert live.values("href") == []


def test_the_videos_of_a_batch_are_told_apart(tmp_path):
    """Below each stands its task's name, as below pictures: a server gives all files the same one."""
    tasks = []
    for ident in ("t-1", "t-2"):
        path = tmp_path / ident / "out.mp4"
        path.parent.mkdir()
        path.write_bytes(bytes(1000))
        tasks.append(
            done(Saved(name="out", file=str(path), kind="video", n_bytes=1000), ident=ident, label=f"film {ident}")
        )
    page = Page(card(tasks, Scene(now=NOW, base=tmp_path, live=False)))

    assert page.tags.count("video") == 2
    assert page.text.count("film t-1") == page.text.count("film t-2") == 2


def test_the_caps_of_a_batch():
    """Twenty rows and "and n more", twenty-four pictures and "and n more files"."""
    many = [done(saved(0, f"{n}.png"), ident=f"t-{n}") for n in range(1000)]
    page = Page(card(many, scene(thumbnails=thumbs(*(f"{n}.png" for n in range(1000))))))

    assert page.tags.count("tr") == ROWS
    assert page.tags.count("img") == PICTURES
    assert "and 980 more" in page.text
    assert "and 976 more files on disk" in page.text


def test_failures_are_seen_among_a_thousand():
    """However many run, up to ten failures have a row."""
    going = [history(running(), ident=f"r-{n}") for n in range(900)]
    error = Snapshot(state=State.FAILED, word="error", error=TaskError("E7", "refused"))
    wrong = [history(error, ident=f"f-{n}") for n in range(100)]
    page = Page(live_body([*going, *wrong], scene(live=True)))

    assert page.text.count("refused") == ROWS // 2
    assert page.text.count("◐ running") == ROWS // 2
    assert "900 running" in page.text
    assert "100 failed" in page.text


def test_only_ends_are_spoken():
    """The live region is empty while anything is under way."""
    over, going = done(label="an owl"), history(running(), ident="t-2")

    assert Page(final_words([going])).text == ""
    assert Page(final_words([over, going])).text == ""
    assert Page(final_words([over])).text == "an owl: succeeded"
    assert Page(final_words([over, done(ident="t-3")])).text == "All 2 tasks are over: 2 succeeded"


@pytest.mark.parametrize(
    ("word", "head", "spoken"),
    [
        (MarkWord.STOPPED, "1 of 3 over, 2 stopped", "1 of 3 tasks are over: 1 succeeded, 2 stopped"),
        (MarkWord.LOST, "1 of 3 over, 2 lost", "1 of 3 tasks are over: 1 succeeded, 2 lost"),
    ],
    ids=["stopped", "lost"],
)
def test_stopped_and_lost_tasks_are_not_over(word, head, spoken):
    """Only what the server ended is over: a batch that is stopped or lost says so, to eyes and to screen readers."""
    left = [history(running(), Mark(word=word, note="why"), ident=f"t-{n}") for n in range(2)]
    histories = [done(), *left]
    page = Page(card(histories, scene()))

    assert head in page.text
    assert "all 3 over" not in page.text
    assert page.values("aria-valuenow") == ["1"]
    assert page.values("aria-valuetext") == [head]
    assert Page(final_words(histories)).text == f"The watch has ended, {spoken}"


def test_names_that_differ_at_their_end_are_told_apart():
    """In rows and captions a long name gives way in its middle, its end apart; the title has it whole."""
    name = "an owl, studio light, gpt-image-2-text-to-image, 2K"
    files = (saved(0, "a.png"),)
    histories = [done(*files, label=name), done(ident="t-2", label="short")]
    drawn = card(histories, scene(thumbnails=thumbs("a.png")))

    assert drawn.count("<span>an owl, studio light, gpt-image-2-text-to</span><span>-image, 2K</span>") == 2
    assert f"{name} (kie:t-1)" in Page(drawn).values("title")
    assert "<span>short</span><span></span>" in drawn


def test_the_provider_is_named_once():
    """Among several APIs a row begins with its provider, but for a name that ends with it."""
    histories = [done(label="an owl, kie"), done(label="a fox", ident="t-2"), done(label="x", provider="tripo")]
    text = Page(card(histories, scene())).text

    assert "kie · a fox" in text
    assert "kie · an owl" not in text


def test_a_file_outside_the_notebook_s_folder_is_no_link():
    """Jupyter serves what lies below the notebook; anything else is a path."""
    files = (Saved(name="out0", file="/elsewhere/a.png", kind="image", n_bytes=5),)
    page = Page(card([done(*files)], scene(thumbnails={Path("/elsewhere/a.png"): GREY})))

    assert page.values("href") == []
    assert "../elsewhere/a.png, 5 B" in page.values("title")


def test_links_survive_odd_folders():
    """Spaces, percent and hash signs, and a folder that looks like a scheme are quoted."""
    files = (Saved(name="out0", file="/base/javascript:1/a b#c%.png", kind="image", n_bytes=5),)
    page = Page(card([done(*files)], scene(thumbnails={Path("/base/javascript:1/a b#c%.png"): GREY})))

    assert page.values("href") == ["javascript%3A1/a%20b%23c%25.png"]


WORDS = st.text(st.one_of(st.sampled_from("<>&\"'`=/ \n\x1b\u202e$"), st.characters()), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(label=WORDS, prompt=WORDS, word=WORDS, code=WORDS, name=WORDS, note=WORDS)
def test_no_words_become_markup(label, prompt, word, code, name, note):
    """Whatever a server or a prompt says, the elements and the kinds of attributes on the card are the same."""

    def pages(*texts):
        label, prompt, word, code, name, note = texts
        error = Snapshot(state=State.FAILED, word=word, model=word, error=TaskError(code, note))
        unknown = Snapshot(state=State.UNKNOWN, word=word, model=word)
        file = Saved(name=name, file="/base/nbhelper-data/a.png", kind="image", n_bytes=5)
        good = Snapshot(state=State.SUCCEEDED, outputs=(Output(name=name, url="https://x.example/", kind="image"),))
        task = {"label": label, "params": {"prompt": prompt}}
        three = [
            history(error, ident="a", **task),
            history(unknown, Miss(kind=MissKind.SERVER, message=note), ident="b", params={"input": {"prompt": prompt}}),
            history(good, file, ident="c", **task),
        ]
        drawn = scene(thumbnails=thumbs("a.png"), notes=[note])
        return [Page(card(some, drawn)) for some in (three, *([h] for h in three))]

    plain = pages("l", "p", "w", "c", "n", "t")
    given_ = pages(*(f"x{text}" for text in (label, prompt, word, code, name, note)))

    for expected, page in zip(plain, given_, strict=True):
        assert page.tags == expected.tags
        assert {n for _, n, _ in page.attributes} <= {n for _, n, _ in expected.attributes} | {"title"}
        assert not {"\x1b", "\u202e"} & set(page.text)
