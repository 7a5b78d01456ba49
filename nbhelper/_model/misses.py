"""A look that gave no snapshot: the kinds of misses, and what is known of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from .states import Word
from .text import clean


class MissKind(Word):
    """Why a look gave no snapshot. None of these says anything about the task itself.

    A new kind is named here, recognised in `_providers/misses.py`, and the pause after it set in `_watching/pace.py`.
    """

    NETWORK = "network"
    SERVER = "server"
    GARBLED = "garbled"
    RATE_LIMITED = "rate_limited"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    NO_CREDIT = "no_credit"
    BAD_REQUEST = "bad_request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A look that gave no snapshot. It never says anything about the task.

    Attributes:
        kind: What went wrong.
        status: HTTP status, None when there was no reply.
        code: The API's own code as text, where the body had one.
        message: What happened, in words fit to show.
        excerpt: The reply's beginning, at most 500 characters, redacted.
        trace: The request id to give to the API's support.
        retry_after: Seconds that the server asked to wait.
        replied_at: The reply's `Date` header.
    """

    kind: MissKind
    status: int | None = None
    code: str | None = None
    message: str = ""
    excerpt: str = field(default="", repr=False)
    trace: str | None = None
    retry_after: float | None = None
    replied_at: datetime | None = None

    def __str__(self) -> str:
        """What a person reads: `HTTP 502: bad gateway`."""
        head = f"HTTP {self.status}" if self.status and self.status != 200 else ""
        code = f"code {self.code}" if self.code and self.code != str(self.status) else ""
        return ": ".join(filter(None, (", ".join(filter(None, (head, code))), self.message))) or str(self.kind)

    def __repr__(self) -> str:
        parts = [str(self.kind)]
        if self.status is not None:
            parts.append(f"HTTP {self.status}")
        if self.code:
            parts.append(f"code {clean(self.code, 40)}")
        if self.message:
            parts.append(f'"{clean(self.message, 80)}"')
        return f"<Miss {' '.join(parts)}>"
