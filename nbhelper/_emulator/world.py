"""What all APIs share: tasks, accounts, limits, and the record of what happened."""

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
from nbhelper._emulator.plan import Moment, Pace, Plan, Wish, make_plan, read_wish

Trouble = Literal["late", "rate-limit", "server-error"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a task ends: in our words for the ledger, in the API's words for its replies."""

    state: str  # succeeded failed cancelled expired unknown, or running for a task that never ends
    word: Any = ""
    code: str | None = None
    message: str = ""


@dataclass(slots=True, eq=False)
class Job:
    """One task on the server. Its state is computed, only what was seen of it is kept."""

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
    also: str | None = None  # the id by which another generation of the same API knows it
    kind: str = ""  # the API's own task type, model or result shape
    words: tuple[str, str] = ("queued", "running")  # the API's words before the end
    key: str = field(default_factory=lambda: secrets.token_hex(8))  # in links, where the task id need not show
    extra: dict[str, Any] = field(default_factory=dict)
    polls: list[Poll] = field(default_factory=list)
    downloads: list[Download] = field(default_factory=list)
    made: dict[str, tuple[str, int]] = field(default_factory=dict)  # key path -> digest, size
    links: dict[str, list[tuple[str, float]]] = field(default_factory=dict)  # key path -> url, expiry
    delivered: bool = False
    _looks: int = 0

    def moment(self, now: float) -> Moment:
        """Where the task stands."""
        return self.plan.at(now - self.created)

    def final(self, now: float) -> bool:
        """Whether the task has ended."""
        return now - self.created >= self.plan.total

    def succeeded(self, now: float) -> bool:
        """Whether the task has ended well."""
        return self.final(now) and self.verdict.state == "succeeded"

    def word(self, now: float) -> Any:
        """The state in the API's words."""
        phase = self.moment(now).phase
        return self.verdict.word if phase == "final" else self.words[phase == "running"]

    def trouble(self, now: float) -> Trouble | None:
        """What stands in the way of this look, if the request asked for that; counts the look."""
        if now - self.created < self.plan.late:
            return "late"
        self._looks += 1
        if self._looks <= self.plan.rate_limits:
            return "rate-limit"
        if self._looks <= self.plan.rate_limits + self.plan.server_errors:
            return "server-error"
        return None

    def hidden(self, now: float) -> bool:
        """Whether the id is still unknown to looks."""
        return now - self.created < self.plan.late

    def billed(self, now: float) -> float | None:
        """What was really taken: nothing for a task that failed, unknown before the end."""
        if not self.final(now):
            return None
        return self.price if self.verdict.state == "succeeded" else 0.0

    def named(self, now: float) -> bool:
        """Whether replies name the results."""
        if self.plan.no_output:
            return False
        return self.succeeded(now) or (self.plan.early and self.moment(now).phase == "running")


@dataclass(slots=True)
class Limit:
    """At most so many in so many seconds."""

    n: int
    seconds: float


class World:
    """The state of one server. Touched by its event loop only; snapshots may be taken from any thread."""

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
        self._scripts: dict[str, deque[Wish]] = {}
        self._salt = secrets.token_bytes(16)
        self._windows: dict[tuple[str, ...], deque[float]] = {}
        self._active: dict[tuple[str, ...], list[Job]] = {}

    # Accounts

    def account(self, key: str) -> str:
        """The account a key belongs to: a fingerprint that cannot be turned back and differs per server."""
        return hashlib.blake2b(key.encode("utf-8", "replace"), key=self._salt, digest_size=6).hexdigest()

    def of_account(self, account: str, *providers: str) -> list[Job]:
        """All tasks of an account, oldest first."""
        return [job for job in self.jobs if job.account == account and job.provider in providers]

    # Directives

    def script(self, provider: str, wish: Wish, times: int) -> None:
        """Make the next creates at an API behave as asked."""
        self._scripts.setdefault(provider, deque()).extend([wish] * times)

    def wish(self, provider: str, texts: Iterable[str]) -> Wish:
        """The directives for a create: what was scripted, and above it what its own words say."""
        scripted = self._scripts.get(provider)
        words = dict(scripted.popleft().words) if scripted else {}
        words.update(read_wish(texts).words)
        return Wish(words)

    # Tasks

    def lot(self, provider: str) -> random.Random:
        """The dice for the next task of an API: the same for the same seed and number."""
        n = self._counts.get(provider, 0)
        self._counts[provider] = n + 1
        return random.Random(f"{self.seed}:{provider}:{n}")

    def plan(self, provider: str, wish: Wish, pace: Pace) -> tuple[Plan, int]:
        """Draw a plan and a seed for its pictures."""
        rng = self.lot(provider)
        return make_plan(wish, pace, self.speed, rng), rng.getrandbits(31)

    def add(self, job: Job) -> Job:
        """Take up a new task."""
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

    def alias(self, job: Job, provider: str, id: str) -> None:  # noqa: A002 - an id is an id
        """Let a task be found under a second name."""
        self._by_id[provider, id] = job

    def find(self, provider: str, id: str, account: str | None = None) -> Job | None:  # noqa: A002 - see above
        """A task by its id, for its own account only when one is given."""
        job = self._by_id.get((provider, id))
        return job if job is not None and account in (None, job.account) else None

    def by_key(self, key: str) -> Job | None:
        """A task by the part of its links that stands for it."""
        return self._by_key.get(key)

    # Limits

    def over(self, limit: Limit, *who: str) -> float:
        """Count one call against a limit; seconds to wait when there are too many, else 0.

        Always counted in real seconds: a limit guards the server, however quick its tasks are.
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

    def busy(self, n: int, *who: str) -> bool:
        """Whether n tasks counted under this name are still unfinished."""
        if not self.limits:
            return False
        now = self.clock.now()
        active = [job for job in self._active.get(who, []) if not job.final(now)]
        self._active[who] = active
        return len(active) >= n

    def occupy(self, job: Job, *who: str) -> None:
        """Count a task among those unfinished under this name."""
        if self.limits:
            self._active.setdefault(who, []).append(job)

    # The record

    def look(self, job: Job, status: int, outcome: str, *, batch: bool = False) -> None:
        """Note one look at a task."""
        job.polls.append(Poll(self.clock.utc(self.clock.now()), status, outcome, batch))

    def ledger(self) -> Ledger:
        """The record so far. Lists only ever grow, so a copy of each is consistent from any thread."""
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
        billed = job.billed(now)
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
