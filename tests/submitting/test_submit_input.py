"""What `submit` checks before anything is sent: parameters and endpoints; and what it keeps of them."""

import hashlib
import json
from datetime import date
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from support.creates import OWL, send
from support.experiments import picture

import nbhelper as nbh
from nbhelper._providers import get, names
from nbhelper._session import session

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(100)
KEPT = {"sha256": hashlib.sha256(PICTURE).hexdigest(), "n_bytes": len(PICTURE)}


# What cannot work


class Odd:
    pass


LOOP = {"a": {}}
LOOP["a"]["a"] = LOOP["a"]
DEEP = {"a": 1}
for _ in range(3000):
    DEEP = {"a": DEEP}

BAD = {
    "no mapping": ({"request": "an owl"}, "mapping of parameters"),
    "None": ({"request": None}, "not None"),
    "empty": ({"request": {}}, "empty"),
    "number as name": ({"request": {1: "x"}}, "name must be"),
    "empty name": ({"request": {"": "x"}}, "name must be"),
    "object": ({"request": {"a": Odd()}}, '"a" is an? Odd'),
    "object inside": ({"request": {"a": [{"b": Odd()}]}}, r'"a\[0\]\.b" is an? Odd'),
    "NaN": ({"request": {"a": float("nan")}}, "nan, which JSON has not"),
    "infinite": ({"request": {"a": [float("inf")]}}, "inf, which JSON has not"),
    "surrogate": ({"request": {"a": "\ud800"}}, "lone surrogate"),
    "mixed keys": ({"request": {"a": {1: 2, "b": 3}}}, "keys are not all text"),
    "holds itself": ({"request": LOOP}, "holds itself"),
    "very deep": ({"request": DEEP}, "nested more than 64"),
    "set": ({"request": {"a": {1, 2}}}, '"a" is a set'),
    "unknown provider": ({"provider": "kei"}, 'Did you mean "kie"'),
    "provider of another type": ({"provider": 7}, "named by text"),
    "no endpoint": ({"endpoint": None}, "several endpoints; name one: endpoint=… of form, image, safe"),
    "unknown endpoint": ({"endpoint": "imagge"}, 'no endpoint "imagge". Did you mean "image"'),
    "endpoint of another type": ({"endpoint": 3}, "short name or a path"),
    "empty endpoint": ({"endpoint": " "}, "short name or a path"),
    "unknown path": ({"endpoint": "/v9/x"}, 'no endpoint "/v9/x"'),
    "file for JSON": ({"request": {"image": b"x"}}, "takes JSON, so no file can go along"),
    "files no mapping": ({"endpoint": "form", "files": ["a.png"]}, "files is a mapping"),
    "nobody's home": ({"endpoint": "form", "files": {"image": "~nobody-here/a.png"}}, "cannot be"),
    "NUL in a path": ({"endpoint": "form", "files": {"image": "a\0b"}}, 'The file for "image"'),
    "empty bytes": ({"endpoint": "form", "files": {"image": b""}}, "is empty"),
    "too large": ({"endpoint": "form", "files": {"image": bytes(50_000_001)}}, "at most 50,000,000 are sent"),
    "picture object": ({"endpoint": "form", "files": {"image": Odd()}}, "Pillow picture or an array, not an? Odd"),
    "label": ({"label": 3}, "label must be text"),
    "reuse": ({"reuse": "yes"}, "reuse is True or False"),
    "params": ({"params": [1]}, "params is a mapping"),
    "params with a number as name": ({"params": {1: 2}}, "name must be"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD)
def test_what_cannot_work_is_refused_before_anything_happens(mill, change, words):
    """A wrong argument of `submit` is refused in one line: no request, no store."""
    call = {"provider": "mill", "request": OWL, "endpoint": "image", **change}

    with pytest.raises(nbh.BadInput, match=words) as caught:
        nbh.submit(call.pop("provider"), call.pop("request"), **call)

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert mill.server.connections == 0
    assert list(Path.cwd().iterdir()) == []


def test_a_missing_key_is_refused_before_anything_happens(mill, monkeypatch):
    """Without a key `submit` names the variable: no request, no store."""
    monkeypatch.delenv("MILL_API_KEY")

    with pytest.raises(nbh.MissingAPIKey, match="Set the environment variable MILL_API_KEY"):
        send(mill)

    assert mill.server.connections == 0
    assert list(Path.cwd().iterdir()) == []


CREATES = [
    pytest.param(name, short, id=f"{name}-{short}")
    for name in names()
    for short, spec in get(name).creates.items()
    if spec.required
]  # fmt: skip


@pytest.mark.parametrize(("name", "short"), CREATES)
def test_a_missing_required_parameter_is_refused(refused, monkeypatch, name, short):
    """The error names the parameter that the API documents as required; nothing is sent."""
    monkeypatch.setenv(get(name).variables[0], "tsk_0123456789abcdef")
    spec = get(name).creates[short]

    for missing in spec.required:
        given = {field: PICTURE if field in spec.files else "x" for field in spec.required if field != missing}
        with refused() as texts:
            nbh.submit(name, given or {"other": "x"}, endpoint=short)
        assert f'needs "{missing}"' in texts[0]


SLIPS = {
    "kie": ("kie", {"modle": "x", "input": {}}, None, 'needs "model", not "modle"'),
    "bald": ("ailab", {"imag": "x"}, "bald", 'needs "image", not "imag"'),
    "tripo": ("tripo", {"type": "text_to_model", "promt": "owl"}, None, '"promt". Did you mean "prompt"'),
    "hailuo": (
        "gptge", {"model": "x", "prompt": "y", "duraton": 6}, "hailuo", '"duraton". Did you mean "duration"',
    ),
    "hairstyle": (
        "ailab", {"image": picture(), "hair_style": "x", "colour": "red"}, "hairstyle-pro", 'Did you mean "color"',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "request_", "endpoint", "words"), SLIPS.values(), ids=SLIPS)
def test_a_misspelt_parameter_is_refused(emulator, name, request_, endpoint, words):
    """An API may ignore a misspelt parameter and bill all the same; the error has the nearest name."""
    with pytest.raises(nbh.BadInput, match=words):
        nbh.submit(name, request_, endpoint=endpoint)

    assert emulator.ledger().requests == 0


def test_an_unknown_parameter_is_sent(emulator):
    """A parameter unlike any known one is sent: APIs learn new ones before we do."""
    nbh.submit("tripo", {"type": "text_to_model", "prompt": "owl", "brand_new_thing": 3})

    assert len(emulator.ledger().creates) == 1


@pytest.mark.parametrize("name", [n for n in names() if len(get(n).creates) > 1])
def test_an_unknown_endpoint_lists_the_known(refused, name):
    """The error for an unknown or missing endpoint lists every short name."""
    for wrong in ("no-such-endpoint", None):
        with refused() as texts:
            nbh.submit(name, {"prompt": "owl"}, endpoint=wrong)
        assert all(short in texts[0] for short in get(name).creates)


# What is sent and kept


def test_json_values_are_sent_unchanged(mill):
    """Text of every script, numbers, truth values, null, lists and mappings are sent as they are."""
    body = {
        "prompt": "Eule 🦉 \u2028 \x00",
        "n": 3,
        "f": 0.1,
        "yes": True,
        "none": None,
        "list": [1, [2]],
        "deep": {"a": {"b": "c"}},
    }
    mill.creates.append({"id": "job-1"})

    nbh.submit("mill", body, endpoint="image")

    assert mill.requests_to("/jobs")[0].json() == json.loads(json.dumps(body))


def test_mappings_and_tuples_of_any_kind_are_sent_as_json(mill):
    """Read-only mappings are sent as JSON objects, tuples as arrays."""
    send(mill, request=MappingProxyType({"a": MappingProxyType({"b": (1, 2)})}))

    assert mill.server.requests[0].json() == {"a": {"b": [1, 2]}}


def test_numbers_of_numpy_are_sent_as_numbers(mill):
    """NumPy's integers, floats and truth values need no conversion."""
    send(mill, request={"seed": np.int64(3), "scale": np.float32(0.5), "on": np.True_})

    assert mill.server.requests[0].json() == {"seed": 3, "scale": 0.5, "on": True}


def test_params_replace_what_the_tables_show(mill):
    """`params=` replaces the request in the tables; bytes in it become digest and size, other types text."""
    mill.creates.append({"id": "job-1"})

    nbh.submit(
        "mill", {"prompt": "p" * 5000}, endpoint="image", params={"style": 3, "mask": PICTURE, "when": date(2026, 1, 1)}
    )

    (row,) = session.store().rows()
    assert row["params"] == {"style": 3, "mask": KEPT, "when": "2026-01-01"}
    assert mill.requests_to("/jobs")[0].json() == {"prompt": "p" * 5000}
