"""The plan of a task: durations and ending, drawn from the seed and overridden by directives in the request.

A plan is made once, when the task is created. The state at any later time is a pure function of the plan and of the
seconds since then: no timer or background task runs for it.
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

#: Words that decide how a task ends; the first of them that is given wins.
_ENDINGS = ("stuck", "policy", "banned", "cancelled", "expired", "unknown", "timeout", "retries", "fail")

Ending = Literal[
    "success", "stuck", "policy", "banned", "cancelled", "expired", "unknown", "timeout", "retries", "fail"
]
Phase = Literal["queued", "running", "final"]


@dataclass(frozen=True, slots=True)
class Directives:
    """The directives of one create request, parsed: word to value."""

    words: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, word: str) -> bool:
        return word in self.words

    def text(self, word: str) -> str:
        """The value of a directive; empty where it has none."""
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


def read_directives(texts: Iterable[str]) -> Directives:
    """Parse the directives in some texts; of a repeated word the last value wins, unknown words are ignored."""
    words: dict[str, str] = {}
    for text in texts:
        if "emu:" not in text.lower():
            continue
        for word, value in _DIRECTIVE.findall(text):
            if word.lower() in DIRECTIVES:
                words[word.lower()] = value
    return Directives(words)


def unknown_words(text: str) -> list[str]:
    """Return the directive words in a text that DIRECTIVES lacks."""
    return [word for word, _ in _DIRECTIVE.findall(text) if word.lower() not in DIRECTIVES]


@dataclass(frozen=True, slots=True)
class Pace:
    """Ranges, in seconds at speed 1, from which an API's durations are drawn."""

    queue: tuple[float, float]
    run: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of a task at one time."""

    phase: Phase
    progress: int  # percent; 0 while queued, 100 when final
    position: int  # place in the queue, 0 when not queued
    left: int  # estimated seconds to the end; biased, as the estimates of real APIs are


@dataclass(frozen=True, slots=True)
class Plan:
    """What will happen to one task; durations are real seconds, speed included."""

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
        """Return the phase `elapsed` seconds after the create."""
        if elapsed < self.queue:
            return "queued"
        return "running" if elapsed < self.total else "final"

    def at(self, elapsed: float) -> Moment:
        """Return the state `elapsed` seconds after the create."""
        phase = self.phase(elapsed)
        if phase == "final":
            return Moment("final", 100, 0, 0)
        if phase == "queued":
            waiting = 1 - elapsed / self.queue
            return Moment("queued", 0, max(1, math.ceil(self.depth * waiting)), math.ceil(self.run * (1 + self.bias)))
        done = (elapsed - self.queue) / self.run if self.run else 1.0
        # A stuck task's progress approaches 99 % and stays there.
        shown = 1 - math.exp(-done) if self.ending == "stuck" else done
        left = max(self.total - elapsed, 0.0) if self.ending != "stuck" else 0.0
        estimate = left * (1 + self.bias * (1 - min(done, 1.0)))
        return Moment("running", min(99, max(1, int(100 * shown**self.bend))), 0, max(1, math.ceil(estimate)))


def make_plan(directives: Directives, pace: Pace, speed: float, rng: random.Random) -> Plan:
    """Draw a plan; the same generator state and directives give the same plan."""
    # All draws happen in one fixed order, so that a directive changes only what it names.
    queue, run = rng.uniform(*pace.queue) / speed, rng.uniform(*pace.run) / speed
    depth, bend, bias = rng.randint(1, 9), rng.uniform(0.75, 1.4), rng.uniform(-0.2, 0.25)
    if (seconds := directives.number("queue")) is not None:
        queue = seconds / speed
    if (seconds := directives.number("seconds")) is not None:
        run = seconds / speed
    if (seconds := directives.number("real-seconds")) is not None:
        run = seconds
    size = directives.number("huge")
    return Plan(
        queue=queue,
        run=run,
        ending=directives.ending,
        code=directives.text("fail"),
        late=directives.number("late") or 0.0,
        rate_limits=directives.count("rate-limit"),
        server_errors=directives.count("server-error"),
        link=directives.number("link"),
        dead_link="dead-link" in directives,
        huge=0 if "huge" not in directives else 64 if size is None else min(int(size), 512),
        no_output="no-output" in directives,
        early="early" in directives,
        base64="base64" in directives,
        shape=directives.text("shape"),
        depth=depth,
        bend=bend,
        bias=bias,
    )
