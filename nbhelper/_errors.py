"""Every error this library raises: one tree, each text saying what was found and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._history import History


class NbhelperError(Exception):
    """Whatever nbhelper raises on purpose; catch this one to catch them all."""


class BadInput(NbhelperError, ValueError):
    """An argument that cannot work, refused before any request was sent or file written."""


class MissingAPIKey(NbhelperError):
    """No key was found; the text names the variable to set."""


class SubmitFailed(NbhelperError):
    """The API refused a create, or it was never sent: nothing was made and nothing is billed.

    Attributes:
        code: The API's own code as text, or the HTTP status when the body gave none.
        words: What the API said, cleaned and cut to 500 characters.
        retry_after: Seconds the API asked to wait, where it did.
    """

    def __init__(self, message: str, *, code: str = "", words: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.words = words
        self.retry_after = retry_after


class SubmitUnknown(NbhelperError):
    """A create was sent and its answer lost: it may have been billed, and it is never sent again by itself."""


class WatchTimeout(NbhelperError, TimeoutError):
    """The wait is over before the task is; the watch itself goes on."""


class TaskFailed(NbhelperError):
    """Raised by `History.raise_for_failure()` alone; a task that failed is otherwise returned.

    Attributes:
        history: Everything seen of the task.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history

    def __reduce__(self) -> tuple[type[TaskFailed], tuple[str, History]]:
        return type(self), (str(self), self.history)


class StoreError(NbhelperError):
    """The folder or database that keeps histories cannot be used; the text says which and what to do."""


class EmulatorError(NbhelperError):
    """The emulator cannot start, or was asked for something it does not do."""
