"""Turn an HTTP reply into a `Snapshot` or a `Miss`; no other module reads replies of the APIs.

The order matters and is the same for every API: is the body JSON; does a status or code say that the *request* failed;
only then, what does the state word say of the *task*. A broken reply must never give a final state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from sys import intern
from typing import Any

from .._model.events import Snapshot, TaskError
from .._model.fields import NOTHING
from .._model.misses import Miss, MissKind
from .._model.states import State
from .._model.text import clean, is_harmless
from .misses import classify_status, describe_status, find_trace, make_miss, read_failure
from .outputs import find_outputs
from .provider import Provider
from .reply_parts import Endpoint
from .reply_paths import find
from .requests import HttpReply
from .safe import redact_reply, redact_text, remove_secrets
from .scalars import as_count, as_positive, as_progress, as_text, as_time, as_word, read_date
from .states import UNREADABLE, find_error_code, find_states
from .strict_json import NotJson, parse


def read(
    provider: Provider,
    reply: HttpReply,
    *,
    ident: str | None = None,
    secrets: Iterable[str] = (),
    last: Snapshot | None = None,
) -> Snapshot | Miss:
    """Read the reply to a look at one task.

    Args:
        provider: The provider of the API that sent the reply.
        reply: Status, headers, body.
        ident: The task id in the request; a reply about another task is a `Miss`.
        secrets: Texts that must not be kept, such as the key that was sent.
        last: The snapshot of the look before; where the reply has the same JSON, it is copied and not read anew.
    """
    secrets = tuple(secrets)
    body, text, miss = _parse(provider, reply, secrets)
    if miss is not None:
        return miss
    return _Reading(provider, reply, text, secrets).look(body, ident, last)


def read_batch(
    provider: Provider,
    reply: HttpReply,
    last: Mapping[str, Snapshot | None],
    secrets: Iterable[str] = (),
) -> dict[str, Snapshot | Miss] | Miss:
    """Read the reply to a batch look: a mapping of each task id in the request to a result as of `read`.

    Returns one `Miss` where the whole request failed; it says nothing about any of the tasks.

    Args:
        provider: The provider of the API that sent the reply; its `batch` is not None.
        reply: Status, headers, body.
        last: Task id -> snapshot of the last good look or None, for every id in the request.
        secrets: Texts that must not be kept, such as the key that was sent.
    """
    batch = provider.batch
    assert batch is not None
    secrets = tuple(secrets)
    body, text, miss = _parse(provider, reply, secrets)
    if miss is None:
        failure = read_failure(provider, reply, body, secrets)
        miss = failure if isinstance(failure, Miss) else None
    if miss is not None:
        return miss
    items, missed = find(batch.items, body), find(batch.missed, body)
    if isinstance(items, list):
        items = {as_word(find(batch.item_id, item)): item for item in items}
    details = items if isinstance(items, dict) else {}
    unknown = {as_word(ident) for ident in missed} if isinstance(missed, list) else set()

    if not details and not unknown:
        return make_miss(reply, MissKind.GARBLED, "the reply to the batch holds no task", secrets=secrets)

    reading = _Reading(provider, reply, text, secrets)
    wrap_keys = batch.wrap.split(".")[::-1] if batch.wrap else ()

    def read_task(ident: str) -> Snapshot | Miss:
        if ident in details:
            wrapped = details[ident]
            for key in wrap_keys:
                wrapped = {key: wrapped}
            if isinstance(wrapped, dict):
                return reading.look(wrapped, ident, last[ident])
        if ident in unknown:
            return make_miss(reply, MissKind.NOT_FOUND, "the API does not know this task", secrets=secrets)
        return make_miss(reply, MissKind.GARBLED, "the reply to the batch leaves this task out", secrets=secrets)

    return {ident: read_task(ident) for ident in last}


def read_link(provider: Provider, reply: HttpReply, secrets: Iterable[str] = ()) -> str | Miss:
    """Read the reply to the request of `Provider.resolve`: the link, or a `Miss` with the reason why there is none."""
    assert provider.resolve is not None
    secrets = tuple(secrets)
    body, _, miss = _parse(provider, reply, secrets)
    if miss is not None:
        return miss
    failure = read_failure(provider, reply, body, secrets)
    if isinstance(failure, Miss):
        return failure
    link = find(provider.resolve.url, body)
    if isinstance(link, str) and link.strip():
        return remove_secrets(link.strip(), secrets)
    return make_miss(reply, MissKind.GARBLED, "the reply names no download link", secrets=secrets)


def read_created(provider: Provider, endpoint: Endpoint, reply: HttpReply, secrets: Iterable[str] = ()) -> str | Miss:
    """Read the reply to a create: the new task's id, or a `Miss` with the reason why there is none.

    A reply that is not the API's own (no JSON, a gateway's page, no id) is `garbled` or `server`: it leaves open
    whether a task was created.
    """
    secrets = tuple(secrets)
    body, _, miss = _parse(provider, reply, secrets)
    if miss is not None:
        return miss
    failure = read_failure(provider, reply, body, secrets)
    if isinstance(failure, Snapshot):  # a rule that ends a task refuses its creation
        error = failure.error or TaskError(None, failure.word)
        return make_miss(reply, MissKind.BAD_REQUEST, error.message or failure.word, code=error.code, secrets=secrets)
    if failure is not None:
        return failure
    ident = as_word(find(endpoint.id or provider.create_id, body))
    if ident and ident == remove_secrets(ident, secrets):
        return ident
    return make_miss(reply, MissKind.GARBLED, "the reply to the create names no task id", secrets=secrets)


def _parse(provider: Provider, reply: HttpReply, secrets: tuple[str, ...]) -> tuple[Any, str | None, Miss | None]:
    """Parse the body of a reply.

    Returns:
        The JSON object, after `adjust`; its text as of `dumps`, or None where it would have to be made; a `Miss` where
        there is no such object, else None.
    """
    try:
        body, text = parse(reply.body)
    except NotJson as error:
        if reply.status == 200 or reply.status in {204, 206, 304}:
            what = "no content" if reply.status == 204 else str(error)
            return None, None, make_miss(reply, MissKind.GARBLED, what, secrets=secrets)
        return (
            None,
            None,
            make_miss(reply, classify_status(reply.status), describe_status(reply.status), secrets=secrets),
        )
    if not isinstance(body, dict):
        kind = MissKind.GARBLED if reply.status < 300 else classify_status(reply.status)
        what = f"the reply is a JSON {type(body).__name__}, not an object"
        return None, None, make_miss(reply, kind, what, secrets=secrets)
    if provider.adjust is not None:
        try:
            body, text = provider.adjust(body), None
        except Exception as error:  # noqa: BLE001  # a user's function may raise anything
            what = f"adjust() of {provider.name} failed on the reply ({type(error).__name__})"
            return None, None, make_miss(reply, MissKind.GARBLED, what, secrets=secrets)
    return body, text, None


class _Reading:
    """One reply with what its tasks share, `replied_at` and `trace`; `look` reads one task (a batch has many)."""

    def __init__(self, provider: Provider, reply: HttpReply, text: str | None, secrets: tuple[str, ...]) -> None:
        self.provider = provider
        self.reply = reply
        self.secrets = secrets
        self.is_harmless = text is not None and is_harmless(text, secrets)
        self._shown: dict[tuple[str, int], str] = {}
        self.replied_at = read_date(reply)
        self.trace = find_trace(provider, reply, None, secrets)

    def miss(self, message: str) -> Miss:
        """Make a `Miss` of kind `garbled`."""
        return make_miss(self.reply, MissKind.GARBLED, message, secrets=self.secrets)

    def look(self, body: Any, ident: str | None, last: Snapshot | None) -> Snapshot | Miss:
        """Read one task's part of the reply."""
        provider, reply, secrets = self.provider, self.reply, self.secrets
        kept, text = redact_reply(body, secrets, sure=self.is_harmless)
        if last is not None and text == last.reply and reply.status == 200 and not (last.state.final or last.outputs):
            return replace(last, replied_at=self.replied_at, trace=self._trace(body))
        failure = read_failure(provider, reply, body, secrets)
        if isinstance(failure, Miss):
            return failure
        reply_id = as_word(provider.finders.reply_id(body))
        if ident is not None and reply_id and reply_id != ident:
            return self.miss(f"the reply is about another task ({clean(reply_id, 60)})")
        states = find_states(provider, body)
        if failure is None:
            return self._task(body, kept, text, states)

        # An error code ended the task. A state word beside it must not contradict it; under an HTTP error, a word that
        # is not final may be the field's default value.
        others = set(states) - {failure.state, State.UNKNOWN}
        if any(state.final or reply.status < 300 for state in others):
            shown = " and ".join(f'"{clean(w, 30)}"' for w in (failure.word, *states.values()))
            return self.miss(f"the reply contradicts itself: {shown}")
        if set(states) == {failure.state}:
            task = self._task(body, kept, text, states)
            return replace(task, error=task.error or failure.error) if isinstance(task, Snapshot) else task
        return failure

    def _redact_text(self, words: str, limit: int) -> str:
        """`redact_text`, cached: the tasks of a batch have most of their texts in common."""
        shown = self._shown.get((words, limit))
        if shown is None:
            shown = self._shown[words, limit] = redact_text(words, self.secrets, limit)
        return shown

    def _trace(self, body: Any) -> str | None:
        return self.trace or find_trace(self.provider, self.reply, body, self.secrets)

    def _task(self, body: Any, kept: Any, text: str, states: dict[State, str]) -> Snapshot | Miss:
        """Read one task's part by its state words.

        Args:
            body: The part as parsed.
            kept: The part as redacted.
            text: The JSON text of `kept`.
            states: The result of `find_states`.
        """
        provider, finders, secrets = self.provider, self.provider.finders, self.secrets
        if not states or UNREADABLE in states.values():
            keys = ", ".join(clean(k, 24) for k in list(body)[:8]) or "none"
            return self.miss(f"the reply has no readable state; its keys are {keys}")
        known = states
        if len(states) > 1:
            known = {state: word for state, word in states.items() if state is not State.UNKNOWN}
        state, word = next(iter(known.items()))
        final = state.final
        error_code = find_error_code(provider, body) if state is State.SUCCEEDED else None
        if len(known) > 1 or (final and len(states) > 1) or error_code:
            words = " and ".join(f'"{clean(w, 30)}"' for w in (*states.values(), *filter(None, [error_code])))
            return self.miss(f"the reply contradicts itself: {words}")

        scalars, resolution = self._scalars(body)
        created, finished = scalars["created_at"], scalars["finished_at"]
        if not final or (finished and created and finished < created):
            scalars["finished_at"] = None
        if final:
            scalars["queue_position"] = scalars["seconds_left"] = None
        if state not in _HAS_PROGRESS:
            scalars["progress"] = None
        size = as_count(finders.width(body)), as_count(finders.height(body))
        error = None
        if final and state is not State.SUCCEEDED:
            # An error field beside any other state means nothing: one aggregator keeps the file id there.
            code, message = as_text(finders.error_code(body)), as_text(finders.error_message(body))
            if code in provider.ok:
                code = None  # a zero in the field means no code
            if code or message:
                error = TaskError(redact_text(code, secrets, 80) if code else None, redact_text(message or "", secrets))
        params = finders.params(kept)
        return Snapshot(
            state=state,
            word=intern(self._redact_text(word, 80)),  # interned, as texts of `_scalars` are: every look repeats it
            outputs=find_outputs(provider, body, size, secrets),
            error=error,
            resolution_s=resolution,
            replied_at=self.replied_at,
            trace=self._trace(body),
            params=params if isinstance(params, dict) and params else NOTHING,
            reply=text,
            **scalars,
        )

    def _scalars(self, body: Any) -> tuple[dict[str, Any], float | None]:
        """Return the fields of `SCALARS`, and the coarsest resolution in seconds of the times among them."""
        provider = self.provider
        scalars: dict[str, Any] = {}
        resolution = None
        for name, kind, search in provider.finders.scalars:
            value = search(body)
            if value is None:
                scalars[name] = None
            elif kind is str:
                scalars[name] = intern(self._redact_text(as_text(value) or "", 120)) or None
            elif kind is datetime:
                scalars[name], fine = as_time(provider, value)
                resolution = max(filter(None, (resolution, fine)), default=None)
            elif name == "progress":
                scalars[name] = as_progress(provider, value)
            else:
                scalars[name] = _NUMBERS[kind](value)
        return scalars, resolution


_HAS_PROGRESS = (State.RUNNING, State.SUCCEEDED)
_NUMBERS: Mapping[Any, Callable[[Any], Any]] = {int: as_count, float: as_positive}
