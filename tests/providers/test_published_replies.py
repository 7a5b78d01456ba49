"""The published sample replies give the readings in `readings.json`."""

import json

import pytest
from support.provider_samples import PAYLOADS

from nbhelper.testing import read
from nbhelper.types import Miss, Snapshot

READINGS = json.loads((PAYLOADS / "readings.json").read_text())


def reading(seen):
    return str(seen.state) if isinstance(seen, Snapshot) else f"miss:{seen.kind}"


@pytest.mark.parametrize("name", READINGS, ids=str)
def test_a_published_reply_has_its_listed_reading(name):
    """Every published sample gives a state, or kind of miss, that `readings.json` accepts, with all its facts."""
    expected = READINGS[name]

    seen = read(expected["provider"], (PAYLOADS / name).read_bytes(), expected["http"])

    assert reading(seen) in expected["accept"]
    if isinstance(seen, Miss):
        assert seen.retry_after == expected.get("retry_after")
        return
    assert len(seen.outputs) >= expected.get("min_outputs", 0)
    assert len(seen.outputs) <= expected.get("max_outputs", 256)
    for key in ("credits", "error_code", "progress", "seconds_left"):
        if key in expected:
            assert getattr(seen, key) == expected[key]
    if "server_seconds" in expected:
        assert (seen.finished_at - seen.created_at).total_seconds() == pytest.approx(expected["server_seconds"])


def test_every_published_sample_has_a_reading():
    """Every sample file has an entry in `readings.json`, and every entry its file."""
    files = {str(p.relative_to(PAYLOADS)) for p in PAYLOADS.rglob("*") if p.is_file() and p.parent != PAYLOADS}

    assert files == set(READINGS)
