"""Mutated replies, read by every reader: none raises, and none reads a final state that no state word named.

Sample replies are mutated in their structure and in their bytes, from a seed; Hypothesis generates others.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from support.provider_samples import NAMES, PAYLOADS, changed, corpus, ended_rightly, places

from nbhelper._providers import get
from nbhelper._providers.provider import Provider
from nbhelper._providers.reader import read, read_batch, read_created, read_link
from nbhelper._providers.requests import HttpReply
from nbhelper._providers.strict_json import NotJson, loads
from nbhelper.types import Miss, Snapshot

POOL: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 3, -1, 1.5, 2.0, 200, 401, 404, 429, 500, 1e308, 2**63, "", " ", "0", "1", "2", "200",
    "done", "success", "SUCCESS", "Success", "succeeded", "fail", "Failed", "failed", "error", "PROCESS_FAILED",
    "banned", "cancelled", "expired", "unknown", "ERROR_NO_FACE_IN_FILE", "501", "[]", "{}",
    '{"resultUrls": ["https://x.example/a"]}',
    "https://x.example/a.png", "data:image/png;base64,AAAA", "javascript:alert(1)", "<b>", "\ud800", "\x00", "x" * 3000,
    [], {}, [None], [[]], {"status": "failed"}, {"data": {"status": "success"}}, ["https://x.example/a.png"] * 3,
)  # fmt: skip
STATUSES = (
    200,
    200,
    200,
    200,
    200,
    201,
    204,
    206,
    302,
    400,
    401,
    402,
    403,
    404,
    410,
    422,
    429,
    433,
    500,
    503,
    520,
    999,
)
FOLDERS = {
    "ailab": ("ailab",), "ailab_legacy": ("ailab-legacy",), "gptge": ("gptge",), "recordinfo": ("kie", "aigptimage"),
    "tripo": ("tripo", "tripo-v3"),
}  # fmt: skip


@dataclass
class Figures:
    """Results of all readings.

    Attributes:
        replies: How many were read.
        kinds: How many were read as each state or kind of miss.
        uncaught: Exceptions that came out of a reader.
        invented: Ends that neither a state word nor a code named.
    """

    replies: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    uncaught: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)


def samples() -> list[tuple[str, Any]]:
    """Every stored reply that is JSON, with a provider that may get it."""
    pairs = [
        (n, c["body"]) for n in NAMES for table in ("cases", "created") for c in corpus(n).get(table, ()) if "body" in c
    ]
    for folder, names in FOLDERS.items():
        bodies = [json.loads(path.read_text()) for path in sorted((PAYLOADS / folder).glob("*.json"))]
        pairs += [(name, body) for name in names for body in bodies]
    return [(name, body) for name, body in pairs if isinstance(body, dict)]


def mutated(body: Any, rng: random.Random) -> bytes:
    """The reply with one to three values changed, and sometimes with bytes changed as well."""
    for _ in range(rng.randint(1, 3)):
        spots = list(places(body))
        if not spots:
            break
        path = rng.choice(spots)
        what = rng.random()
        if what < 0.6:
            body = changed(body, path, rng.choice(POOL))
        elif what < 0.8:
            other = rng.choice(spots)
            value = body
            for key in other:
                value = value[key]
            body = changed(body, path, value)
        else:
            node = body
            for key in path[:-1]:
                node = node[key]
            left = {k: v for k, v in node.items() if k != path[-1]} if isinstance(node, dict) else node[:-1]
            body = changed(body, path[:-1], left)
    raw = json.dumps(body).encode()
    if rng.random() < 0.25 and raw:
        at = rng.randrange(len(raw))
        noise = rng.choice(
            [b"", b"\x00", b"\xff", b'"', b"}", b"[", b"NaN", b",", b"1e999", b"\\ud800", rng.randbytes(3)]
        )
        raw = raw[:at] + noise + raw[at + rng.randint(0, 8) :]
    return raw


def check(figures: Figures, spec: Provider, raw: bytes, status: int) -> None:
    """Read one reply with every reader of one provider."""
    reply = HttpReply(status, {"retry-after": "7", "x-tripo-trace-id": "t"}, raw)
    figures.replies += 1
    try:
        seen = read(spec, reply, ident="t", secrets=("s3cret",))
        ends = [seen, read(spec, reply)]
        for endpoint in list(spec.creates.values())[:1]:
            assert isinstance(read_created(spec, endpoint, reply), str | Miss)
        if spec.batch:
            many = read_batch(spec, reply, {"t": None, "u": None})
            ends += [many] if isinstance(many, Miss) else many.values()
        if spec.resolve:
            assert isinstance(read_link(spec, reply), str | Miss)
        repr(ends)
    except Exception as error:  # a reader that raises is what this looks for
        figures.uncaught.append(f"{spec.name} {status} {raw[:300]!r}: {error!r}")
        return
    figures.kinds[str(seen.state if isinstance(seen, Snapshot) else seen.kind)] += 1
    try:
        body = loads(raw)
    except NotJson:
        body = None
    for end in ends[:2]:
        if isinstance(end, Snapshot) and end.state.final and not _is_named(spec.name, end, body):
            figures.invented.append(f"{spec.name} {status} {raw[:300]!r}: {end.state}")


def _is_named(name: str, end: Snapshot, body: Any) -> bool:
    """Whether the body names this final state, by a state word or a code of the corpus."""
    return body is not None and ended_rightly(name, str(end.state), end.word, body)


def run(n: int = 100_000, *, seed: int = 0, generated: int = 0) -> Figures:
    """Read `n` mutated replies, and for each provider `generated` replies of Hypothesis."""
    figures, rng, known = Figures(), random.Random(seed), samples()
    for _ in range(n):
        name, body = rng.choice(known)
        check(figures, get(name), mutated(body, rng), rng.choice(STATUSES))
    if generated:
        _check_generated(figures, generated)
    return figures


def _check_generated(figures: Figures, n: int) -> None:
    from hypothesis import HealthCheck, settings
    from test_fuzz import JSON, STATUS

    quiet = settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    for name in NAMES:
        _generate(figures, get(name), quiet, JSON, STATUS)


def _generate(figures: Figures, spec: Provider, quiet: Any, bodies: Any, statuses: Any) -> None:
    from hypothesis import given

    @quiet
    @given(bodies, statuses)
    def one(body: Any, status: int) -> None:
        check(figures, spec, json.dumps(body).encode(), status)

    one()
