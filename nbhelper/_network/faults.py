"""Exceptions of a request that got no reply, or that is not made."""

from __future__ import annotations


class Unreached(Exception):  # never leaves the engine
    """There was no whole reply.

    Attributes:
        is_sent: Whether bytes of the request itself, never those of a proxy's CONNECT, may have reached the server:
            a create that was sent is in doubt, one that was not is known not to have been made.
    """

    def __init__(self, message: str, *, is_sent: bool) -> None:
        super().__init__(message)
        self.is_sent = is_sent


class Forbidden(Exception):  # never leaves the engine
    """A link or redirect that is never followed; the text says why."""
