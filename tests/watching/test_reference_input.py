"""Every way into `watch()`: what each API really answers to a create, what people have in a notebook, and the magic."""

import io
from types import MappingProxyType

import httpx
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.mill import DONE, WORKING

import nbhelper as nbh
from nbhelper import _magic
from nbhelper._watching.references import references_of
from nbhelper.types import HttpRequest, Task


def tasks_of(what, provider=None):
    found, single = references_of(what, provider)
    return [meant.task for meant in found], single


def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


CREATES = {
    "ailab": ("/api/portrait/effects/hairstyle-editor-pro", {"task_type": "async", "hair_style": "BuzzCut"}),
    "ailab-legacy": ("/api/image/effects/ai-anime-generator", {"task_type": "async", "index": "1"}),
    "gptge": ("/task/minimax/v1/video_generation", {"model": "MiniMax-Hailuo-02", "prompt": "waves"}),
    "tripo": ("/task", {"type": "text_to_model", "prompt": "an owl"}),
    "tripo-v3": ("/generation/text-to-model", {"prompt": "a chair", "model": "v2.5-20250123"}),
    "aigptimage": ("/api/v1/jobs/createTask", {"model": "gpt-image-2-text-to-image", "input": {"prompt": "a fox"}}),
    "kie": ("/api/v1/jobs/createTask", {"model": "google/nano-banana", "input": {"prompt": "a fox"}}),
}
UNIQUE = {"ailab": "ailab", "ailab-legacy": "ailab", "gptge": "gptge"}
"""Whose answer to a create has a shape of its own. Today's first-generation calls of AILab give a `task_id` as well,
which is for the second generation."""


def create(emulator, name):
    """What the API answers, as a client of one's own gets it."""
    path, body = CREATES[name]
    key = emulator.key(name)
    header = {"ailabapi-api-key": key} if name.startswith("ailab") else {"authorization": f"Bearer {key}"}
    sent = {"data": body, "files": {"image": ("a.png", picture())}} if name.startswith("ailab") else {"json": body}
    with httpx.Client(trust_env=False, verify=False) as client:
        reply = client.post(emulator.url(name) + path, headers=header, **sent)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize("name", [n for n in CREATES if n != "ailab-legacy"])
def test_what_an_api_answers_to_a_create_is_that_task(emulator, name):
    """The parsed reply as it came, with `provider=`, alone or in a list."""
    reply = create(emulator, name)

    (task,), single = tasks_of(reply, name)

    assert single
    assert task.provider == name
    assert emulator.ledger().task(name, task.id).id == task.id
    assert tasks_of([reply, reply], name) == ([task, task], False)


@pytest.mark.parametrize("name", CREATES)
def test_a_reply_says_whose_it_is_or_is_asked(emulator, name):
    """A shape that one API alone has is recognised; one that several have is asked about, with their names."""
    reply = create(emulator, name)

    if name in UNIQUE:
        (task,), single = tasks_of(reply)
        assert single
        assert task.provider == UNIQUE[name]
    else:
        with pytest.raises(nbh.BadInput, match=r"could be of .*provider=…") as caught:
            tasks_of(reply)
        assert name in str(caught.value)


def test_the_legacy_apis_reply_asks_for_the_type(emulator):
    """Its tasks are looked up by id and type, and the reply has the id alone: the valid types are in the text."""
    reply = create(emulator, "ailab-legacy")

    with pytest.raises(nbh.BadInput) as caught:
        nbh.watch(reply, provider="ailab-legacy")

    assert "HD_COLOUR_MIGRATION" in str(caught.value)
    assert "GENERATE_CARTOONIZED_IMAGE" in str(caught.value)
    assert 'extra={"type": ' in str(caught.value)


LEGACY = {
    "text": "ailab-legacy:j?type=HD_COLOUR_MIGRATION",
    "task": Task("ailab-legacy", "j", extra={"type": "HD_COLOUR_MIGRATION"}),
    "history": nbh.History(Task("ailab-legacy", "j", extra={"type": "HD_COLOUR_MIGRATION"})),
    "frame": pd.DataFrame({"provider": ["ailab-legacy"], "task_id": ["j"], "extra_type": ["HD_COLOUR_MIGRATION"]}),
    "frame with its endpoint": pd.DataFrame(
        {"provider": ["ailab-legacy"], "task_id": ["j"], "endpoint": ["hd-color-migration"]}
    ),
}


@pytest.mark.parametrize("what", LEGACY.values(), ids=LEGACY)
def test_the_type_can_be_said_in_every_form(what):
    """What belongs to the id travels in text, tasks, histories and tables."""
    (task,), _ = tasks_of(what)

    assert str(task) == "ailab-legacy:j?type=HD_COLOUR_MIGRATION"


WITHOUT = ["ailab-legacy:j", Task("ailab-legacy", "j"), nbh.History(Task("ailab-legacy", "j")), ["ailab-legacy:j"]]


@pytest.mark.parametrize("what", WITHOUT, ids=["text", "task", "history", "list"])
def test_a_missing_type_is_asked_for_before_anything_happens(refused, what):
    """Each form without it is refused with the example that has it."""
    with refused(words='needs "type" beside the id .*nbhelper.Task\\("ailab-legacy", "j", extra='):
        nbh.watch(what)


def test_what_a_look_needs_is_asked_for_wherever_it_stands(refused):
    """An API of one's own may have its placeholder in the path, in the query or in a JSON body."""
    templates = {
        "path": "GET /{kind}/{id}",
        "query": "GET /x?id={id}&kind={kind}",
        "body": HttpRequest("POST", "/x", json={"ids": ["{id}"], "kind": "{kind}"}),
    }
    for place, poll in templates.items():
        nbh.register(nbh.Provider(
            name=place, base_url="https://x.example", key_variable="X_KEY", poll=poll, state="s", words={"a": "queued"}
        ))  # fmt: skip
        with refused(words=f'{place} needs "kind" beside the id'):
            nbh.watch(f"{place}:1")


FORMS = {
    "list": lambda refs: refs,
    "tuple": tuple,
    "generator": lambda refs: (r for r in refs),
    "map": lambda refs: map(nbh.Task.parse, refs),
    "dict's values": lambda refs: dict(enumerate(refs)).values(),
    "series": pd.Series,
    "series with an index of its own": lambda refs: pd.Series(refs, index=list("cab")),
    "index": pd.Index,
    "histories": lambda refs: [nbh.History(nbh.Task.parse(r)) for r in refs],
    "frame": lambda refs: pd.DataFrame([dict(zip(("provider", "task_id"), r.split(":"), strict=True)) for r in refs]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_many_in_whatever_people_have(mill, form):
    """Order and places are kept, also of what stands there twice; each task is looked at once."""
    refs = [mill.job(DONE), mill.job(DONE)]
    refs.append(refs[0])

    handle = nbh.watch(form(refs), display=False, block=True)

    assert [str(h.task) for h in handle.result()] == refs
    assert [len(looks) for looks in mill.looks.values()] == [1, 1]


def test_the_table_of_this_morning_is_watched_in_the_evening(mill):
    """`watch(tasks())` takes the library's own table, filtered or not, labels included."""
    mill.creates.extend([{"id": "job-a"}, {"id": "job-b"}])
    mill.job(WORKING, DONE, ident="job-a")
    mill.job(WORKING, DONE, ident="job-b")
    for name in ("an owl", "a fox"):
        nbh.submit("mill", {"prompt": name}, endpoint="image", label=name)

    table = nbh.tasks()
    handle = nbh.watch(table[table["label"] == "a fox"], display=False, block=True)

    assert [(h.task.label, h.succeeded) for h in handle] == [("a fox", True)]


def test_a_table_row_in_doubt_is_told(refused):
    """A create without an answer has no id yet: its row is named, and nothing is guessed."""
    table = pd.DataFrame({"provider": ["mill", "mill"], "task_id": pd.array(["x", pd.NA], "string")})

    with refused(words="Row 1 of the frame has no task id; a create in doubt cannot be watched"):
        nbh.watch(table)


def test_a_mapping_that_cannot_be_changed_is_a_reply_too():
    """Clients hand out replies as mappings of several kinds."""
    reply = MappingProxyType({"task_id": "1", "base_resp": {"status_code": 0}})

    assert tasks_of(reply)[0] == [Task("gptge", "1")]


def test_a_reply_nested_beyond_reason_is_refused(refused):
    """A mapping that no JSON could be made of in time."""
    deep: dict = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with refused():
        nbh.watch(deep)
    while deep:  # taken apart by hand: Python itself cannot free it
        deep = deep["a"]


TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40)


@given(ident=TEXT, extra=st.dictionaries(TEXT, TEXT, max_size=2))
def test_the_text_of_any_task_is_that_task(ident, extra):
    """Slashes, question marks, hashes, per cents, dots and every script round-trip, alone and in a list."""
    try:
        task = Task("kie", ident, extra=extra)
    except nbh.BadInput:
        return  # looks like a key

    assert tasks_of(str(task)) == ([task], True)
    assert tasks_of([str(task)]) == ([task], False)
    assert str(task).isascii()
    assert " " not in str(task)


@pytest.mark.parametrize(
    "ident", ["a/b", "a?b=c", "a#b", "50%", "%2e%2e", "..", ".", "a b", "ünï", "日本", "a;b", "a:b", "'; --"]
)
def test_a_bare_id_is_taken_as_it_is(ident):
    """With `provider=` nothing in an id is read as syntax, but a question mark that stands before name and value."""
    (task,), _ = tasks_of(ident, "kie")

    assert task.id == ident.partition("?")[0]
    assert dict(task.extra) == ({"b": "c"} if "?" in ident else {})


class Shell:
    """As much of IPython as the extension touches."""

    def __init__(self):
        self.magics = {}

    def register_magic_function(self, call, magic_kind, magic_name):
        self.magics[magic_kind, magic_name] = call


@pytest.fixture
def line_magic(monkeypatch):
    monkeypatch.setenv("NBHELPER_DISPLAY", "off")
    monkeypatch.setenv("NBHELPER_BLOCK", "1")
    shell = Shell()
    nbh.load_ipython_extension(shell)
    return shell.magics["line", "watch"]


def test_the_magic_watches_one_or_many(mill, line_magic):
    """`%watch a` gives a handle on one task, `%watch a b` on both; quotes are the shell's."""
    one, other = mill.job(DONE), mill.job(DONE)

    assert line_magic(f"  {one} ").result().succeeded
    assert [str(h.task) for h in line_magic(f"{one} '{other}'").result()] == [one, other]


@pytest.mark.parametrize("line", ["", "   ", "'mill:x", "x", "miil:x", "mill:x None", "sk-0123456789abcdefghijklmnop"])
def test_the_magic_refuses_in_one_line(refused, line):
    """An empty line, an open quote, what is no reference: told as `watch()` tells it."""
    with refused() as said:
        _magic.watch_line(line)

    assert "sk-0123" not in said[0]
