"""The reply to a create, as an argument of `watch()`: what each API really answers."""

import io
from types import MappingProxyType

import httpx
import pytest
from PIL import Image
from support.watched import tasks_of

import nbhelper as nbh
from nbhelper.types import Task


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
