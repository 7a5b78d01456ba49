"""Replies that say a prompt back which is not ASCII, of every provider, many looks long."""

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
    """The reply as an API gives it that says the prompt back beside each of its own values."""
    if not isinstance(body, dict):
        return body
    return {name: with_prompt(value, prompt) for name, value in body.items()} | {"prompt": prompt, "echo": prompt}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize(("provider", "body"), representatives())
def test_looks_whose_reply_holds_the_prompt_add_up(provider, body, prompt, tmp_path):
    """Twelve looks, each with another trace, make a history that is kept, read back and pickled unchanged."""
    replies = [json.dumps(with_prompt(body, f"{prompt} {n}")).encode() for n in range(12)]
    seen = [read(provider, reply) for reply in replies]
    store, task = Store(tmp_path), nbh.Task(provider, "an-id", label="an owl", extra={})
    history = store.open_task(task, "https://api.example").result()
    for n, one in enumerate(seen):
        history = history.add(one, BEGIN + timedelta(seconds=5 * n))
        store.append(history.uid, [history.events[-1]], summary=history).result()

    kept, events = store.load(history.uid), store.events(history.uid)
    store.close()
    assert all(isinstance(one, Snapshot) for one in seen)
    assert [e.seq for e in events] == list(range(1, 13))
    assert [e.seen.raw for e in events] == [one.raw for one in seen]
    assert kept.facts.polls == history.facts.polls == 12
    assert kept.state is history.state
    assert pickle.loads(pickle.dumps(history)).state is history.state
