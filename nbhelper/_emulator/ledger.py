"""The ground truth: what the server did, as frozen values.

The server appends records; a ledger is a snapshot of them with every task's state worked out for one moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from nbhelper._errors import EmulatorError


@dataclass(frozen=True, slots=True)
class Poll:
    """One look at a task."""

    at: datetime
    status: int  # HTTP status of the reply
    outcome: str  # the API's own state word, or its error code
    batch: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """One request for a result file, also a refused one."""

    at: datetime
    name: str  # the output's key path
    path: str
    status: int
    n_bytes: int  # bytes of the body handed to the connection
    with_key: bool  # a header that carries keys came along; only the API's own origin should get one


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One result of a task.

    Files are made when first asked for: until then digest and size are None.
    """

    kind: str
    path: str | None  # None while no link was given out, and for results delivered inside a reply
    sha256: str | None
    n_bytes: int | None
    expires: datetime | None  # of the newest link


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task as it really is, whatever anyone saw of it."""

    provider: str
    endpoint: str
    id: str
    account: str  # a fingerprint that differs from server to server, never a key
    created: datetime
    started: datetime | None
    finished: datetime | None
    state: str  # queued running succeeded failed cancelled expired unknown
    word: str  # the state in the API's own words
    credits: float | None  # as the API states them; None where it does not, or not yet
    billed: float | None  # what was really taken; None until the task is final
    error_code: str | None
    request_id: str | None
    also: str | None  # AILab's first generation: the `task_id` by which today's knows the same task
    body_digest: str
    prompt: str
    polls: tuple[Poll, ...]
    downloads: tuple[Download, ...]
    files: Mapping[str, FileRecord]


@dataclass(frozen=True, slots=True)
class CreateAttempt:
    """One create call, accepted or not."""

    at: datetime
    provider: str
    path: str
    body_digest: str
    status: int  # HTTP status of the reply
    task_id: str | None


@dataclass(frozen=True, slots=True)
class Struck:
    """One request that was damaged on its way, where the emulator was started with faults."""

    at: datetime
    what: str  # the fault's word or status
    on: str  # look create file
    path: str
    n: int  # the request's number among those for the same thing


@dataclass(frozen=True, slots=True, repr=False)
class Ledger:
    """Everything the server did up to one moment."""

    at: datetime
    tasks: tuple[TaskRecord, ...]
    creates: tuple[CreateAttempt, ...]
    requests: int  # those that reached the APIs
    faults: tuple[Struck, ...] = ()

    def __repr__(self) -> str:
        return f"<Ledger: {len(self.tasks)} tasks, {len(self.creates)} creates, {self.requests} requests>"

    def task(self, provider: str, id: str) -> TaskRecord:  # noqa: A002 - the column is called id everywhere
        """Find one task.

        Raises:
            EmulatorError: No such task was created.
        """
        for record in self.tasks:
            if (record.provider == provider and record.id == id) or (record.also == id and provider == "ailab"):
                return record
        known = sum(record.provider == provider for record in self.tasks)
        raise EmulatorError(f"No task {id!r} of {provider!r} in the ledger; it has {known} of that API.")

    def gaps(self, provider: str) -> tuple[float, ...]:
        """Seconds between consecutive looks at the same task, over all tasks of one API."""
        return tuple(
            (later.at - earlier.at).total_seconds()
            for record in self.tasks
            if record.provider == provider
            for earlier, later in pairwise(record.polls)
        )
