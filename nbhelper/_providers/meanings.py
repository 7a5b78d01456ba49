"""What a reply's status, code and state word mean: the state of the task, or what went wrong with the request."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from .._model.seen import Miss, MissKind, Snapshot, State, TaskError
from .._model.text import EXCERPT
from .paths import find
from .provider import Provider
from .requests import HttpReply
from .safe import keepable, showable
from .scalars import as_number, as_text, as_word, date_of, retry_after

UNREADABLE = "(unreadable)"
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


def by_status(status: int) -> MissKind:
    """What an HTTP status means where the provider declares nothing else."""
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


def reason_of(status: int) -> str:
    return _REASONS.get(status, "server error" if 500 <= status < 600 else f"unexpected status {status}")


def states_of(provider: Provider, body: Any) -> dict[State, str]:
    """Each state that the reply names, with the word for it; several places of an API must agree."""
    states: dict[State, str] = {}
    for search in provider.finders.state:
        if word := _word_at(search(body)):
            states[provider.states.get(word, State.UNKNOWN)] = word
    return states


def code_of(provider: Provider, body: Any) -> str | None:
    """The first code that is not `ok`; None when all is well."""
    for search in provider.finders.code:
        if (code := _word_at(search(body))) and code not in provider.ok:
            return code
    return None


def _word_at(value: Any) -> str:
    """A state word or code as text: empty when there is none, `UNREADABLE` when something else stands there."""
    if isinstance(value, str):
        return value.strip()
    if value is None or value is False or value in ([], {}):
        return ""
    word = as_word(value)
    return UNREADABLE if word is None else word


def trouble_of(provider: Provider, reply: HttpReply, body: Any, secrets: tuple[str, ...]) -> Snapshot | Miss | None:
    """A Miss, or a final Snapshot, when status or code say that this is no ordinary reply; else None."""
    status = reply.status
    inner = as_number(provider.finders.body_status(body))
    if inner is not None and inner.is_integer() and 300 <= inner < 600 and status < 300:
        status = int(inner)
    code = code_of(provider, body)
    mild = code is not None and status < 300 and not provider.strict_code and code != UNREADABLE
    if mild and set(states_of(provider, body)) == {State.FAILED}:
        code = None  # beside a word for failure it is the reason
    if status < 300 and code is None:
        if reply.status in {200, 201, 202, 203}:
            return None
        return miss_of(reply, MissKind.GARBLED, f"HTTP {reply.status} is no answer to a look", secrets=secrets)

    message = showable(as_text(find(provider.message, body)) or "", secrets)
    shown = code or (str(status) if status != reply.status else None)
    wait = as_number(find(provider.retry_after, body))
    trace = trace_of(provider, reply, body, secrets)
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
                word=showable(code or status, secrets, 80),
                error=TaskError(showable(code or status, secrets, 80), showable(message, secrets)),
                trace=trace,
                replied_at=date_of(reply),
                reply=keepable(body, secrets)[1],
            )
        kind = MissKind(rule.means)
        return miss_of(reply, kind, message or _MEANINGS[kind], code=shown, wait=wait, secrets=secrets, trace=trace)
    if status >= 300:
        kind, message = by_status(status), message or reason_of(status)
    elif provider.strict_code or code == UNREADABLE:
        kind, message = MissKind.GARBLED, f"an error code that nbhelper does not know: {message or code}"
    else:
        return None
    return miss_of(reply, kind, message, code=shown, wait=wait, secrets=secrets, trace=trace)


def miss_of(
    reply: HttpReply,
    kind: MissKind,
    message: str,
    *,
    code: str | None = None,
    wait: float | None = None,
    trace: str | None = None,
    secrets: tuple[str, ...] = (),
) -> Miss:
    excerpt = reply.body[: EXCERPT * 4].decode("utf-8", "replace")
    return Miss(
        kind=kind,
        status=reply.status,
        code=showable(code, secrets, 80) if code else None,
        message=showable(message, secrets),
        excerpt=showable(excerpt, secrets),
        trace=trace,
        retry_after=retry_after(reply, wait),
        replied_at=date_of(reply),
    )


def trace_of(provider: Provider, reply: HttpReply, body: Any, secrets: tuple[str, ...]) -> str | None:
    told = reply.headers.get(provider.trace.casefold())
    if not told and "-" not in provider.trace:  # a header's name; no key of a body is written so without quotes
        told = as_text(find(provider.trace, body))
    return showable(told or "", secrets, 120) or None
