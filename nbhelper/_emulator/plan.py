"""What will happen to a task: drawn from the seed, changed by words in the request.

A plan is made once, when the task is created. The state at any later moment is a pure function of the
plan and the time since then, so nothing runs in the background and a ledger can be recomputed.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

#: Every word a request may carry as ``emu:WORD`` or ``emu:WORD=VALUE``, and what it does.
DIRECTIVES: Mapping[str, str] = {
    "policy": "the task fails later, refused by content policy in the API's own way",
    "policy-now": "the create itself is refused by content policy",
    "fail": "the task fails; =VALUE gives the API's own error code or failure word",
    "no-credit": "the create is refused for lack of credit",
    "cancelled": "the task ends as cancelled, in the nearest words the API has",
    "expired": "the task ends as expired, in the nearest words the API has",
    "banned": "Tripo's word; elsewhere the same as policy",
    "unknown": "Tripo's word; elsewhere a state word the API never documented",
    "timeout": "ends as the legacy API's TIMEOUT_FAILED; elsewhere a failure that says so",
    "retries": "ends as the legacy API's LIMIT_RETRY_FAILED; elsewhere the same as fail",
    "stuck": "the task never finishes",
    "seconds": "=N, run time at speed 1",
    "real-seconds": "=N, run time whatever the speed",
    "queue": "=N, time in the queue at speed 1",
    "rate-limit": "=N, the first N looks get the API's rate limit reply",
    "server-error": "=N, the first N looks get an HTML page with status 502",
    "late": "=N, the id is unknown for N real seconds after the create",
    "link": "=N, result links live N real seconds",
    "dead-link": "the first link of each result answers 403, a fresh look gives a good one",
    "huge": "=N, the first result is padded to N MiB (64 when not said)",
    "no-output": "success without any result",
    "base64": "results inside the reply (ailab: delivered by one look only; gptge: Jimeng)",
    "shape": "=KEY, which of the API's result shapes is used",
    "early": "results are named while the task is still running",
}

_DIRECTIVE = re.compile(r"\bemu:([a-z][a-z0-9-]*)(?:=([\w.+-]*\w))?", re.IGNORECASE)

#: Words that decide how a task ends, the strongest first.
_ENDINGS = ("stuck", "policy", "banned", "cancelled", "expired", "unknown", "timeout", "retries", "fail")

Ending = Literal[
    "success", "stuck", "policy", "banned", "cancelled", "expired", "unknown", "timeout", "retries", "fail"
]
Phase = Literal["queued", "running", "final"]


@dataclass(frozen=True, slots=True)
class Wish:
    """The directives of one create, as read."""

    words: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, word: str) -> bool:
        return word in self.words

    def text(self, word: str) -> str:
        """The value given with a word, empty when none was."""
        return self.words.get(word, "")

    def number(self, word: str) -> float | None:
        """The value as a finite number >= 0; None when the word is missing or its value is no such number."""
        try:
            value = float(self.words[word])
        except (KeyError, ValueError):
            return None
        return value if math.isfinite(value) and value >= 0 else None

    def count(self, word: str) -> int:
        """The value as a whole number; 1 when the word stands alone, 0 when it is missing."""
        if word not in self.words:
            return 0
        value = self.number(word)
        return 1 if value is None else int(value)

    @property
    def ending(self) -> Ending:
        """How the task ends."""
        for word in _ENDINGS:
            if word in self.words:
                return word  # type: ignore[return-value]  # _ENDINGS holds only members of Ending
        return "success"


def read_wish(texts: Iterable[str]) -> Wish:
    """Collect the directives in some texts; the last one wins, unknown words are ignored."""
    words: dict[str, str] = {}
    for text in texts:
        if "emu:" not in text.lower():
            continue
        for word, value in _DIRECTIVE.findall(text):
            if word.lower() in DIRECTIVES:
                words[word.lower()] = value
    return Wish(words)


def unknown_words(text: str) -> list[str]:
    """The directive words in a text that do not exist."""
    return [word for word, _ in _DIRECTIVE.findall(text) if word.lower() not in DIRECTIVES]


@dataclass(frozen=True, slots=True)
class Pace:
    """Ranges, in seconds at speed 1, from which an API's durations are drawn."""

    queue: tuple[float, float]
    run: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a task stands."""

    phase: Phase
    progress: int  # percent; 0 while queued, 100 when final
    position: int  # place in the queue, 0 when not queued
    left: int  # estimated seconds to the end; estimates are as wrong as real ones


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that will happen to one task, in real seconds."""

    queue: float
    run: float
    ending: Ending = "success"
    code: str = ""
    late: float = 0.0
    rate_limits: int = 0
    server_errors: int = 0
    link: float | None = None
    dead_link: bool = False
    huge: int = 0
    no_output: bool = False
    early: bool = False
    base64: bool = False
    shape: str = ""
    depth: int = 3
    bend: float = 1.0
    bias: float = 0.0

    @property
    def total(self) -> float:
        """Seconds from create to end; infinite for a stuck task."""
        return math.inf if self.ending == "stuck" else self.queue + self.run

    def phase(self, elapsed: float) -> Phase:
        """The phase after some seconds."""
        if elapsed < self.queue:
            return "queued"
        return "running" if elapsed < self.total else "final"

    def at(self, elapsed: float) -> Moment:
        """Where the task stands after some seconds."""
        phase = self.phase(elapsed)
        if phase == "final":
            return Moment("final", 100, 0, 0)
        if phase == "queued":
            waiting = 1 - elapsed / self.queue
            return Moment("queued", 0, max(1, math.ceil(self.depth * waiting)), math.ceil(self.run * (1 + self.bias)))
        done = (elapsed - self.queue) / self.run if self.run else 1.0
        # A stuck task creeps towards the end without reaching it, as real ones do.
        shown = 1 - math.exp(-done) if self.ending == "stuck" else done
        left = max(self.total - elapsed, 0.0) if self.ending != "stuck" else 0.0
        estimate = left * (1 + self.bias * (1 - min(done, 1.0)))
        return Moment("running", min(99, max(1, int(100 * shown**self.bend))), 0, max(1, math.ceil(estimate)))


def make_plan(wish: Wish, pace: Pace, speed: float, rng: random.Random) -> Plan:
    """Draw a plan; the same generator state and wish give the same plan."""
    # All draws happen in one fixed order, so that a directive changes only what it names.
    queue, run = rng.uniform(*pace.queue) / speed, rng.uniform(*pace.run) / speed
    depth, bend, bias = rng.randint(1, 9), rng.uniform(0.75, 1.4), rng.uniform(-0.2, 0.25)
    if (asked := wish.number("queue")) is not None:
        queue = asked / speed
    if (asked := wish.number("seconds")) is not None:
        run = asked / speed
    if (asked := wish.number("real-seconds")) is not None:
        run = asked
    size = wish.number("huge")
    return Plan(
        queue=queue,
        run=run,
        ending=wish.ending,
        code=wish.text("fail"),
        late=wish.number("late") or 0.0,
        rate_limits=wish.count("rate-limit"),
        server_errors=wish.count("server-error"),
        link=wish.number("link"),
        dead_link="dead-link" in wish,
        huge=0 if "huge" not in wish else 64 if size is None else min(int(size), 512),
        no_output="no-output" in wish,
        early="early" in wish,
        base64="base64" in wish,
        shape=wish.text("shape"),
        depth=depth,
        bend=bend,
        bias=bias,
    )
