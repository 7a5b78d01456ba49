"""Every error this library raises: one tree, each text saying what was found and what to do."""

from __future__ import annotations

import os
from pathlib import Path


class NbhelperError(Exception):
    """The base class of every error that nbhelper raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """The traceback that IPython shows: the user's own lines and the error's text, without lines of this package.

        `%debug`, `sys.last_traceback` and every traceback outside IPython stay whole.
        """
        import traceback

        inside = (f"{Path(__file__).parents[1]}{os.sep}", f"{os.sep}IPython{os.sep}")
        frames = traceback.extract_tb(self.__traceback__)
        own = [frame for frame in frames if not any(part in frame.filename for part in inside)]
        return [*(f"{_place(f.filename)}line {f.lineno}: {f.line}" for f in own), f"{type(self).__name__}: {self}"]


def _place(filename: str) -> str:
    """The file's name in a traceback; none for a cell, whose file name IPython made up."""
    return "" if "ipykernel_" in filename or filename.startswith("<") else f"{filename}, "


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


class StoreError(NbhelperError):
    """The folder or database that keeps histories cannot be used; the text says which and what to do."""


class EmulatorError(NbhelperError):
    """The emulator cannot start, or was asked for something it does not do."""
