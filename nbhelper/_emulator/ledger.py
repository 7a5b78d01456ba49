"""What the server did, as frozen dataclasses: requests, creates, tasks, downloads, injected faults.

The server appends records; a `Ledger` is a snapshot of them, with the state of every task computed for one moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from nbhelper._model.errors import EmulatorError


@dataclass(frozen=True, slots=True)
class Poll:
    """One look at a task."""

    at: datetime
    status: int  # HTTP status of the reply
    outcome: str  # the API's own state word, or its error code
    batch: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """One request for a result file, refused ones included."""

    at: datetime
    name: str  # the output's key path
    path: str
    status: int
    n_bytes: int  # bytes of the body handed to the connection
    with_key: bool  # the request had a header that carries keys; only the API's own origin should get one


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One result of a task. Digest and size are None until the first download makes the file."""

    kind: str
    path: str | None  # None while no link was given out, and for results delivered inside a reply
    sha256: str | None
    n_bytes: int | None
    expires: datetime | None  # of the newest link


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """The true state of one task, whether or not a client has seen it."""

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
    billed: float | None  # credits taken from the account; None until the task is final
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
    """One request hit by a fault, where the emulator was started with faults."""

    at: datetime
    what: str  # `Fault.what`
    on: str  # look create file
    path: str
    n: int  # number of the request among those for the same target


@dataclass(frozen=True, slots=True, repr=False)
class Ledger:
    """Snapshot of everything the server did."""

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
