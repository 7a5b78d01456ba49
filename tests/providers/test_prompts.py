"""Replies of every provider that contain a prompt which is not ASCII, over twelve looks."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.provider_samples import representatives

import nbhelper as nbh
from nbhelper._store.store import Store
from nbhelper.testing import read
from nbhelper.types import Snapshot

PROMPTS = {
    "chinese": "一只木头雕刻的猫头鹰",
    "arabic": "بومة منحوتة من الخشب",
    "emoji": "🦉 of 木, 👩🏽‍🎨",
    "lone surrogate": "half an owl \ud83e",
}
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


def with_prompt(body: Any, prompt: str) -> Any:
    """Return the reply with the prompt added to each of its objects."""
    if not isinstance(body, dict):
        return body
    return {name: with_prompt(value, prompt) for name, value in body.items()} | {"prompt": prompt, "echo": prompt}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize(("provider", "body"), representatives())
def test_replies_that_contain_the_prompt_are_stored_and_pickled_unchanged(provider, body, prompt, tmp_path):
    """A history of twelve looks, each with another reply, is stored, loaded and pickled unchanged."""
    replies = [json.dumps(with_prompt(body, f"{prompt} {n}")).encode() for n in range(12)]
    seen = [read(provider, reply) for reply in replies]
    store, task = Store(tmp_path), nbh.Task(provider, "an-id", label="an owl", extra={})
    history = store.open_task(task, "https://api.example").result()
    for n, snapshot in enumerate(seen):
        history = history.add(snapshot, BEGIN + timedelta(seconds=5 * n))
        store.append(history.uid, [history.events[-1]], summary=history).result()

    loaded, events = store.load(history.uid), store.events(history.uid)
    store.close()
    assert all(isinstance(snapshot, Snapshot) for snapshot in seen)
    assert [e.seq for e in events] == list(range(1, 13))
    assert [e.seen.raw for e in events] == [snapshot.raw for snapshot in seen]
    assert loaded.facts.polls == history.facts.polls == 12
    assert loaded.state is history.state
    assert pickle.loads(pickle.dumps(history)).state is history.state
