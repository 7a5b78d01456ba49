"""The words for states, ends, saves and marks: enumerations whose members equal their texts."""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """An enumeration of words."""

    __hash__ = str.__hash__  # an enumeration hashes by its names, slowly, although its members equal their texts


class State(Word):
    """What a task is doing, in one vocabulary for all APIs.

    `unknown` is a word that nobody declared: it is shown, recorded and looked at again, never taken for an end.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether the server will not say anything new."""
        return self in _FINAL


_FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


class Outcome(Word):
    """How a watch ended: the first four are the server's word, the last two are ours and can be resumed."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LOST = "lost"
    """We cannot see the task any more; it may still finish and be billed."""
    STOPPED = "stopped"
    """We stopped looking (timeout, interrupt, `stop()`); the task goes on and may be billed."""


class SaveState(Word):
    """What became of one output's file."""

    SAVED = "saved"
    PENDING = "pending"
    EXPIRED = "expired"
    FAILED = "failed"


class MarkWord(Word):
    """What we did with a task; all other kinds of events are what we saw of it."""

    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    REFUSED = "refused"
    """The API refused the create, or nothing was sent: nothing was made."""
    WATCHING = "watching"
    STOPPED = "stopped"
    LOST = "lost"
    RESUMED = "resumed"
