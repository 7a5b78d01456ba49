"""Prompts that are not ASCII: created, watched to the end and tabulated at every API."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

import nbhelper as nbh

PROMPTS = {
    "chinese": "一只木头雕刻的猫头鹰",
    "arabic": "بومة منحوتة من الخشب",
    "emoji": "🦉 of 木, 👩🏽‍🎨",
    "combining": "u\u0308ber den Da\u0308chern",
}
LONG = "emu:queue=0 emu:seconds=180"
"""18 s at speed 10: more than three looks even where the floor is 5 s."""


@pytest.fixture(autouse=True)
def _isolated(isolated):
    return isolated


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "#dfe7ee").save(buffer, "PNG")
    return buffer.getvalue()


def creates(prompt: str) -> list[tuple[str, dict[str, object], str | None]]:
    """Return one create for each API and form of request; AILabTools has no prompt, but other free text."""
    text = f"{prompt} {LONG}"
    return [
        ("ailab", {"image": picture(), "hair_style": text}, "hairstyle-pro"),
        ("ailab-legacy", {"image": picture(), "mode": text}, "hd-color-migration"),
        ("gptge", {"model": "MiniMax-Hailuo-02", "prompt": text, "duration": 6}, "hailuo"),
        ("gptge", {"model": "doubao-seedance-1-0-lite", "prompt": text}, "seedance"),
        ("gptge", {"model": "wan2.2-t2v-plus", "input": {"prompt": text}}, "bailian"),
        ("tripo", {"type": "text_to_model", "prompt": text}, "task"),
        ("tripo-v3", {"prompt": text, "model": "v2.5-20250123"}, "text-to-model"),
        ("aigptimage", {"model": "gpt-image-2-text-to-image", "input": {"prompt": text}}, None),
        ("kie", {"model": "google/nano-banana", "input": {"prompt": text}}, None),
    ]


@pytest.mark.slow
def test_every_api_takes_prompts_of_any_language():
    """Each task is looked at several times, succeeds, and its prompt stands in the history and in the table as sent."""
    with nbh.Emulator(speed=10) as emulator:
        tasks = {
            nbh.submit(api, body, endpoint=endpoint, label=f"{name} {prompt}"): prompt
            for name, prompt in PROMPTS.items()
            for api, body, endpoint in creates(prompt)
        }
        histories = nbh.watch(list(tasks), block=False, display=False).result(120)
        frame = nbh.tasks()
        polls = [len(emulator.ledger().task(h.task.provider, h.task.id).polls) for h in histories]

    assert [(str(h.task), str(h.outcome)) for h in histories if not h.succeeded] == []
    assert min(polls) >= 3
    assert [h for h in histories if h.facts.misses] == []
    for history, prompt in zip(histories, tasks.values(), strict=True):
        assert prompt in (history.task.label or "")
        assert f"{prompt} {LONG}" in json.dumps(dict(history.task.params), ensure_ascii=False)
        assert history.files
        row = frame.set_index("task_id").loc[history.task.id]
        assert any(f"{prompt} {LONG}" == value for value in row if isinstance(value, str))


@pytest.mark.parametrize("api", ["tripo", "kie"])
def test_a_lone_surrogate_in_a_prompt_is_refused_before_a_request_is_sent(api):
    """A lone surrogate has no UTF-8: BadInput names the parameter, and no request is sent."""
    with nbh.Emulator(speed=1000) as emulator:
        body = {"type": "text_to_model", "prompt": "an owl \ud83e"} if api == "tripo" else None
        body = body or {"model": "google/nano-banana", "input": {"prompt": "an owl \ud83e"}}
        with pytest.raises(nbh.BadInput, match=r"prompt.*half a character"):
            nbh.submit(api, body)

        assert not emulator.ledger().tasks
