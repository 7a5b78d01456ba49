"""The sample replies of all providers, stored in tests/providers, and what the corpus says that each of them means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1] / "providers"
PAYLOADS = HERE / "payloads"
NAMES = tuple(path.stem for path in sorted((HERE / "corpus").glob("*.json")))


@cache
def corpus(provider: str) -> dict[str, Any]:
    """One provider's table of replies and their readings."""
    return json.loads((HERE / "corpus" / f"{provider}.json").read_text())


def cases(table: str) -> list[Any]:
    """Every entry of one table of all providers, as (provider, entry), with its name."""
    import pytest

    return [
        pytest.param(name, case, id=f"{name}-{case['case']}") for name in NAMES for case in corpus(name).get(table, ())
    ]


def body_of(case: dict[str, Any]) -> bytes:
    """The reply's bytes."""
    return case["text"].encode() if "text" in case else json.dumps(case["body"]).encode()


def representatives() -> list[Any]:
    """One ordinary reply for each shape of reply, as (provider, parsed body)."""
    import pytest

    return [
        pytest.param(name, case["body"], id=f"{name}-{case['case']}")
        for name in NAMES
        for case in corpus(name)["cases"]
        if case.get("represents")
    ]


def at(body: Any, path: str) -> Any:
    """The value at a dotted path, None for none, by plain dict access: independent of the library's own paths."""
    for key in path.split("."):
        body = body.get(key) if isinstance(body, dict) else None
    return body


def states_in(provider: str, body: Any) -> set[str]:
    """The states that a reply's state words name, by the corpus alone."""
    table = corpus(provider)
    states = set()
    for path in table["state_at"]:
        value = at(body, path)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            continue
        is_whole = isinstance(value, float) and value.is_integer()  # 2.0 is "2"; neither NaN nor infinity is whole
        word = str(int(value) if is_whole else value).strip()
        states.add(table["words"].get(word, "unknown"))
    return states


def ended_rightly(provider: str, state: str, word: str, body: Any) -> bool:
    """Whether the body names this end: by a state word and no other one, or by a code that the corpus calls an end."""
    by_code = any(word.startswith(code) for code in corpus(provider).get("ending_codes", ()))
    return by_code or states_in(provider, body) - {"unknown"} == {state}


def places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value below the root."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(node: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with another value at one path."""
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = changed(node[path[0]], path[1:], value)
    return copy
