"""State that all emulated APIs of one server share: tasks, accounts, rate limits, and the records for the ledger."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nbhelper._emulator.clock import Clock
from nbhelper._emulator.ledger import CreateAttempt, Download, FileRecord, Ledger, Poll, Struck, TaskRecord
from nbhelper._emulator.media import Asset
from nbhelper._emulator.plan import Directives, Moment, Pace, Plan, make_plan, read_directives

LookFailure = Literal["late", "rate-limit", "server-error"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a task ends: the state for the ledger, the API's own word, error code and message for its replies."""

    state: str  # succeeded failed cancelled expired unknown, or running for a task that never ends
    word: Any = ""
    code: str | None = None
    message: str = ""


@dataclass(slots=True, eq=False)
class Job:
    """One task on the server. Its state is computed from plan and time; requests for it are recorded."""

    provider: str
    endpoint: str
    id: str
    account: str
    created: float
    plan: Plan
    verdict: Verdict
    assets: tuple[Asset, ...]
    price: float
    states_price: bool
    prompt: str
    seed: int
    body: Mapping[str, Any]
    body_digest: str
    request_id: str | None = None
    also: str | None = None  # its id at the other generation of the same API
    kind: str = ""  # the API's own task type, model or result shape
    words: tuple[str, str] = ("queued", "running")  # the API's words before the end
    key: str = field(default_factory=lambda: secrets.token_hex(8))  # identifies the task in links, in place of its id
    extra: dict[str, Any] = field(default_factory=dict)
    polls: list[Poll] = field(default_factory=list)
    downloads: list[Download] = field(default_factory=list)
    made: dict[str, tuple[str, int]] = field(default_factory=dict)  # key path -> digest, size
    links: dict[str, list[tuple[str, float]]] = field(default_factory=dict)  # key path -> url, expiry
    delivered: bool = False
    _looks: int = 0

    def moment(self, now: float) -> Moment:
        """Return phase, progress and queue position."""
        return self.plan.at(now - self.created)

    def is_final(self, now: float) -> bool:
        """Whether the task has ended."""
        return now - self.created >= self.plan.total

    def has_succeeded(self, now: float) -> bool:
        """Whether the task has ended with success."""
        return self.is_final(now) and self.verdict.state == "succeeded"

    def word(self, now: float) -> Any:
        """Return the state in the API's own word."""
        phase = self.moment(now).phase
        return self.verdict.word if phase == "final" else self.words[phase == "running"]

    def next_look_failure(self, now: float) -> LookFailure | None:
        """Count a look; return the failure that directives ask for at this look, or None."""
        if now - self.created < self.plan.late:
            return "late"
        self._looks += 1
        if self._looks <= self.plan.rate_limits:
            return "rate-limit"
        if self._looks <= self.plan.rate_limits + self.plan.server_errors:
            return "server-error"
        return None

    def is_hidden(self, now: float) -> bool:
        """Whether looks still answer that the id is unknown (``emu:late``)."""
        return now - self.created < self.plan.late

    def credits_taken(self, now: float) -> float | None:
        """Return the credits taken: 0 for a failed task, None before the end."""
        if not self.is_final(now):
            return None
        return self.price if self.verdict.state == "succeeded" else 0.0

    def has_visible_results(self, now: float) -> bool:
        """Whether replies contain the results."""
        if self.plan.no_output:
            return False
        return self.has_succeeded(now) or (self.plan.early and self.moment(now).phase == "running")


@dataclass(slots=True)
class Limit:
    """At most `n` calls in any `seconds`."""

    n: int
    seconds: float


class World:
    """The state of one server. Changed in its event loop only; `ledger` may be called from any thread."""

    def __init__(self, *, speed: float, seed: int, limits: bool, skew: float = 0.0) -> None:
        self.clock = Clock(skew)
        self.speed = speed
        self.seed = seed
        self.limits = limits
        self.root = ""
        self.requests = 0
        self.jobs: list[Job] = []
        self.creates: list[CreateAttempt] = []
        self.faults: list[Struck] = []
        self._by_id: dict[tuple[str, str], Job] = {}
        self._by_key: dict[str, Job] = {}
        self._counts: dict[str, int] = {}
        self._scripts: dict[str, deque[Directives]] = {}
        self._salt = secrets.token_bytes(16)
        self._windows: dict[tuple[str, ...], deque[float]] = {}
        self._active: dict[tuple[str, ...], list[Job]] = {}

    # Accounts

    def account(self, key: str) -> str:
        """Return the account of a key: a keyed hash, salted per server, that does not reveal the key."""
        return hashlib.blake2b(key.encode("utf-8", "replace"), key=self._salt, digest_size=6).hexdigest()

    def jobs_of(self, account: str, *providers: str) -> list[Job]:
        """Return all tasks of an account, oldest first."""
        return [job for job in self.jobs if job.account == account and job.provider in providers]

    # Directives

    def script(self, provider: str, directives: Directives, times: int) -> None:
        """Queue directives for the next creates at an API."""
        self._scripts.setdefault(provider, deque()).extend([directives] * times)

    def directives_for(self, provider: str, texts: Iterable[str]) -> Directives:
        """Return the directives for a create: the queued ones, overridden by those in its own texts."""
        scripted = self._scripts.get(provider)
        words = dict(scripted.popleft().words) if scripted else {}
        words.update(read_directives(texts).words)
        return Directives(words)

    # Tasks

    def make_dice(self, provider: str) -> random.Random:
        """Return the random generator for an API's next task, seeded with the server's seed and the task's number."""
        n = self._counts.get(provider, 0)
        self._counts[provider] = n + 1
        return random.Random(f"{self.seed}:{provider}:{n}")

    def draw_plan(self, provider: str, directives: Directives, pace: Pace) -> tuple[Plan, int]:
        """Draw a plan, and a seed for the task's files."""
        rng = self.make_dice(provider)
        return make_plan(directives, pace, self.speed, rng), rng.getrandbits(31)

    def add(self, job: Job) -> Job:
        """Store a new task, its first result padded where the plan says so."""
        if job.plan.huge and job.assets:
            first = job.assets[0]
            padded = Asset(
                first.name, first.kind, first.form, first.width, first.height, first.view, job.plan.huge << 20
            )
            job.assets = (padded, *job.assets[1:])
        self.jobs.append(job)
        self._by_id[job.provider, job.id] = job
        self._by_key[job.key] = job
        return job

    def add_alias(self, job: Job, provider: str, id: str) -> None:  # noqa: A002 - an id is an id
        """Make a task findable under a second provider and id."""
        self._by_id[provider, id] = job

    def find(self, provider: str, id: str, account: str | None = None) -> Job | None:  # noqa: A002 - see above
        """Find a task by its id, and, where an account is given, only among that account's tasks."""
        job = self._by_id.get((provider, id))
        return job if job is not None and account in (None, job.account) else None

    def find_by_key(self, key: str) -> Job | None:
        """Find a task by the key in its links."""
        return self._by_key.get(key)

    # Limits

    def count_call(self, limit: Limit, *who: str) -> float:
        """Count one call against a sliding-window limit; return the seconds to wait, 0 where the call is allowed.

        The window is in real seconds, whatever the speed.
        """
        if not self.limits:
            return 0.0
        now = self.clock.now()
        window = self._windows.setdefault(who, deque())
        while window and window[0] <= now - limit.seconds:
            window.popleft()
        if len(window) >= limit.n:
            return max(0.01, window[0] + limit.seconds - now)
        window.append(now)
        return 0.0

    def has_unfinished(self, n: int, *who: str) -> bool:
        """Whether at least `n` tasks added under this name are unfinished."""
        if not self.limits:
            return False
        now = self.clock.now()
        active = [job for job in self._active.get(who, []) if not job.is_final(now)]
        self._active[who] = active
        return len(active) >= n

    def add_unfinished(self, job: Job, *who: str) -> None:
        """Add a task to those counted by `has_unfinished` under this name."""
        if self.limits:
            self._active.setdefault(who, []).append(job)

    # Records

    def record_look(self, job: Job, status: int, outcome: str, *, batch: bool = False) -> None:
        """Record one look at a task."""
        job.polls.append(Poll(self.clock.utc(self.clock.now()), status, outcome, batch))

    def ledger(self) -> Ledger:
        """Return a snapshot of all records; thread-safe, since the lists are only appended to."""
        now = self.clock.now()
        return Ledger(
            at=self.clock.utc(now),
            tasks=tuple(self._record(job, now) for job in tuple(self.jobs)),
            creates=tuple(self.creates),
            requests=self.requests,
            faults=tuple(self.faults),
        )

    def _record(self, job: Job, now: float) -> TaskRecord:
        utc, phase = self.clock.utc, job.moment(now).phase
        final = phase == "final"
        billed = job.credits_taken(now)
        return TaskRecord(
            provider=job.provider,
            endpoint=job.endpoint,
            id=job.id,
            account=job.account,
            created=utc(job.created),
            started=None if phase == "queued" else utc(job.created + job.plan.queue),
            finished=utc(job.created + job.plan.total) if final else None,
            state=job.verdict.state if final else phase,
            word=str(job.word(now)),
            credits=billed if job.states_price else None,
            billed=billed,
            error_code=job.verdict.code if final else None,
            request_id=job.request_id,
            also=job.also,
            body_digest=job.body_digest,
            prompt=job.prompt,
            polls=tuple(job.polls),
            downloads=tuple(job.downloads),
            files={asset.name: self._file(job, asset) for asset in job.assets},
        )

    def _file(self, job: Job, asset: Asset) -> FileRecord:
        digest, size = job.made.get(asset.name, (None, None))
        links = tuple(job.links.get(asset.name, ()))
        return FileRecord(
            kind=asset.kind,
            path=f"/files/{job.key}/{asset.file}" if links else None,
            sha256=digest,
            n_bytes=size,
            expires=self.clock.utc(links[-1][1]) if links else None,
        )
