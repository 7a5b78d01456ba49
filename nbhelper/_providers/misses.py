"""Read a reply whose HTTP status or error code states a failure: as a `Miss` of some kind, or as the task's end."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from .._model.events import Snapshot, TaskError
from .._model.misses import Miss, MissKind
from .._model.states import State
from .._model.text import EXCERPT
from .provider import Provider
from .reply_paths import find
from .requests import HttpReply
from .safe import redact_reply, redact_text
from .scalars import as_number, as_text, read_date, retry_after
from .states import UNREADABLE, find_error_code, find_states

_REASONS = {
    400: "bad request",
    401: "the key was refused",
    402: "not enough credit",
    403: "not allowed",
    404: "not found",
    408: "request timeout",
    410: "gone",
    422: "not accepted",
    429: "too many requests",
    500: "server error",
    502: "bad gateway",
    503: "service unavailable",
    504: "gateway timeout",
}

_MEANINGS = {
    MissKind.NETWORK: "no connection",
    MissKind.SERVER: "server error",
    MissKind.GARBLED: "unreadable reply",
    MissKind.RATE_LIMITED: "too many requests",
    MissKind.NOT_FOUND: "not found",
    MissKind.REFUSED: "the key was refused",
    MissKind.NO_CREDIT: "not enough credit",
    MissKind.BAD_REQUEST: "not accepted",
}


def classify_status(status: int) -> MissKind:
    """Return the kind of `Miss` for an HTTP status that no `ErrorRule` matches."""
    if status in {401, 403, 407}:
        return MissKind.REFUSED
    if status == 402:
        return MissKind.NO_CREDIT
    if status in {404, 410}:
        return MissKind.NOT_FOUND
    if status == 429:
        return MissKind.RATE_LIMITED
    if status in {408, 425} or 500 <= status < 600:
        return MissKind.SERVER
    if 400 <= status < 500:
        return MissKind.BAD_REQUEST
    return MissKind.GARBLED


def describe_status(status: int) -> str:
    """Return the message for an HTTP status whose reply has none, such as "not found"."""
    return _REASONS.get(status, "server error" if 500 <= status < 600 else f"unexpected status {status}")


def read_failure(provider: Provider, reply: HttpReply, body: Any, secrets: tuple[str, ...]) -> Snapshot | Miss | None:
    """Read the failure that HTTP status, body status or error code state.

    Returns:
        A `Miss` for a failed request, a final `Snapshot` where an `ErrorRule` means a final state, None where neither
        status nor code state a failure.
    """
    status = reply.status
    inner = as_number(provider.finders.body_status(body))
    if inner is not None and inner.is_integer() and 300 <= inner < 600 and status < 300:
        status = int(inner)
    code = find_error_code(provider, body)
    may_be_reason = code is not None and status < 300 and not provider.strict_code and code != UNREADABLE
    if may_be_reason and set(find_states(provider, body)) == {State.FAILED}:
        code = None  # beside a state word for failure the code is the task's reason, not the request's
    if status < 300 and code is None:
        if reply.status in {200, 201, 202, 203}:
            return None
        return make_miss(reply, MissKind.GARBLED, f"HTTP {reply.status} is no answer to a look", secrets=secrets)

    message = redact_text(as_text(find(provider.message, body)) or "", secrets)
    shown = code or (str(status) if status != reply.status else None)
    wait = as_number(find(provider.retry_after, body))
    trace = find_trace(provider, reply, body, secrets)
    for rule in provider.errors:
        if rule.status and status not in rule.status:
            continue
        if rule.code and not any(fnmatchcase(code or "", known) for known in rule.code):
            continue
        if rule.words and rule.words not in message.casefold():
            continue
        if isinstance(rule.means, State):
            return Snapshot(
                state=rule.means,
                word=redact_text(code or status, secrets, 80),
                error=TaskError(redact_text(code or status, secrets, 80), redact_text(message, secrets)),
                trace=trace,
                replied_at=read_date(reply),
                reply=redact_reply(body, secrets)[1],
            )
        kind = MissKind(rule.means)
        return make_miss(reply, kind, message or _MEANINGS[kind], code=shown, wait=wait, secrets=secrets, trace=trace)
    if status >= 300:
        kind, message = classify_status(status), message or describe_status(status)
    elif provider.strict_code or code == UNREADABLE:
        kind, message = MissKind.GARBLED, f"an error code that nbhelper does not know: {message or code}"
    else:
        return None
    return make_miss(reply, kind, message, code=shown, wait=wait, secrets=secrets, trace=trace)


def make_miss(
    reply: HttpReply,
    kind: MissKind,
    message: str,
    *,
    code: str | None = None,
    wait: float | None = None,
    trace: str | None = None,
    secrets: tuple[str, ...] = (),
) -> Miss:
    """Make a `Miss` for a reply, with an excerpt of its body; all texts cleaned and redacted.

    Args:
        reply: Status, headers, body.
        kind: What went wrong.
        message: What to show.
        code: The API's own error code.
        wait: Seconds to wait that the body states.
        trace: The request id that the API's support asks for.
        secrets: Texts that must not be kept.
    """
    excerpt = reply.body[: EXCERPT * 4].decode("utf-8", "replace")
    return Miss(
        kind=kind,
        status=reply.status,
        code=redact_text(code, secrets, 80) if code else None,
        message=redact_text(message, secrets),
        excerpt=redact_text(excerpt, secrets),
        trace=trace,
        retry_after=retry_after(reply, wait),
        replied_at=read_date(reply),
    )


def find_trace(provider: Provider, reply: HttpReply, body: Any, secrets: tuple[str, ...]) -> str | None:
    """Return the trace id of a reply, by `Provider.trace`: a response header, else a path in the body."""
    trace = reply.headers.get(provider.trace.casefold())
    if not trace and "-" not in provider.trace:  # with a "-" it is a header: JMESPath quotes such keys
        trace = as_text(find(provider.trace, body))
    return redact_text(trace or "", secrets, 120) or None
