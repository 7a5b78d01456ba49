"""Exceptions of a request that got no reply, or that is not made."""

from __future__ import annotations


class Unreached(Exception):  # never leaves the engine
    """There was no whole reply.

    Attributes:
        sent: Whether bytes of the request may have reached the server.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Forbidden(Exception):  # never leaves the engine
    """A link or redirect that is not followed, whoever asks; the text says why."""
