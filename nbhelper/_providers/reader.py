"""One reply in, one `Snapshot` or `Miss` out: nothing else reads what servers say.

The order matters and is the same for every API: is it JSON; does a status or code say that the *request* went wrong;
only then, what does the state word say of the *task*. Nothing on the way may turn a broken reply into an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from sys import intern
from typing import Any

from .._model.seen import NOTHING, Miss, MissKind, Snapshot, State, TaskError
from .._model.text import clean, is_harmless
from .meanings import UNREADABLE, by_status, code_of, miss_of, reason_of, states_of, trace_of, trouble_of
from .outputs import outputs_of
from .paths import find
from .provider import Provider
from .reply_parts import Endpoint
from .requests import HttpReply
from .safe import keepable, showable, without_secrets
from .scalars import as_count, as_positive, as_progress, as_text, as_time, as_word, date_of
from .strict_json import NotJson, parse


def read(
    provider: Provider,
    reply: HttpReply,
    *,
    ident: str | None = None,
    secrets: Iterable[str] = (),
    last: Snapshot | None = None,
) -> Snapshot | Miss:
    """What one reply to a look says.

    Args:
        provider: Whose reply it is.
        reply: Status, headers, body.
        ident: The id that was asked for; a reply about another task is refused.
        secrets: Texts that must not be kept, such as the key that was sent.
        last: What the last look at the task gave: the same reply again is not read again.
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
    """What one reply to a batch look says of each task that was asked for, as `read` says it of one.

    A `Miss` where the whole request went wrong, which says nothing of any task in it.

    Args:
        provider: Whose reply it is; it has a `batch`.
        reply: Status, headers, body.
        last: What the last good look gave, by each id that was asked for.
        secrets: Texts that must not be kept, such as the key that was sent.
    """
    batch = provider.batch
    assert batch is not None
    secrets = tuple(secrets)
    body, text, miss = _parse(provider, reply, secrets)
    if miss is None:
        trouble = trouble_of(provider, reply, body, secrets)
        miss = trouble if isinstance(trouble, Miss) else None
    if miss is not None:
        return miss
    items, missed = find(batch.items, body), find(batch.missed, body)
    if isinstance(items, list):
        items = {as_word(find(batch.item_id, item)): item for item in items}
    details = items if isinstance(items, dict) else {}
    unknown = {as_word(ident) for ident in missed} if isinstance(missed, list) else set()

    if not details and not unknown:
        return miss_of(reply, MissKind.GARBLED, "the reply to the batch holds no task", secrets=secrets)

    reading = _Reading(provider, reply, text, secrets)
    around = batch.wrap.split(".")[::-1] if batch.wrap else ()

    def one(ident: str) -> Snapshot | Miss:
        if ident in details:
            wrapped = details[ident]
            for key in around:
                wrapped = {key: wrapped}
            if isinstance(wrapped, dict):
                return reading.look(wrapped, ident, last[ident])
        if ident in unknown:
            return miss_of(reply, MissKind.NOT_FOUND, "the API does not know this task", secrets=secrets)
        return miss_of(reply, MissKind.GARBLED, "the reply to the batch leaves this task out", secrets=secrets)

    return {ident: one(ident) for ident in last}


def read_link(provider: Provider, reply: HttpReply, secrets: Iterable[str] = ()) -> str | Miss:
    """What the second request gave: a link, or why there is none."""
    assert provider.resolve is not None
    secrets = tuple(secrets)
    body, _, miss = _parse(provider, reply, secrets)
    if miss is not None:
        return miss
    trouble = trouble_of(provider, reply, body, secrets)
    if isinstance(trouble, Miss):
        return trouble
    link = find(provider.resolve.url, body)
    if isinstance(link, str) and link.strip():
        return without_secrets(link.strip(), secrets)
    return miss_of(reply, MissKind.GARBLED, "the reply names no download link", secrets=secrets)


def read_created(provider: Provider, endpoint: Endpoint, reply: HttpReply, secrets: Iterable[str] = ()) -> str | Miss:
    """What a create gave: the new task's id, or why there is none.

    A reply that is not the API's own (no JSON, a gateway's page, no id) is `garbled` or `server`: it does not say
    whether a task was made.
    """
    secrets = tuple(secrets)
    body, _, miss = _parse(provider, reply, secrets)
    if miss is not None:
        return miss
    trouble = trouble_of(provider, reply, body, secrets)
    if isinstance(trouble, Snapshot):  # a rule that ends a task refuses its creation
        error = trouble.error or TaskError(None, trouble.word)
        return miss_of(reply, MissKind.BAD_REQUEST, error.message or trouble.word, code=error.code, secrets=secrets)
    if trouble is not None:
        return trouble
    ident = as_word(find(endpoint.id or provider.create_id, body))
    if ident and ident == without_secrets(ident, secrets):
        return ident
    return miss_of(reply, MissKind.GARBLED, "the reply to the create names no task id", secrets=secrets)


def _parse(provider: Provider, reply: HttpReply, secrets: tuple[str, ...]) -> tuple[Any, str | None, Miss | None]:
    """The body, its JSON text where that is at hand, and what is wrong with it."""
    try:
        body, text = parse(reply.body)
    except NotJson as error:
        if reply.status == 200 or reply.status in {204, 206, 304}:
            what = "no content" if reply.status == 204 else str(error)
            return None, None, miss_of(reply, MissKind.GARBLED, what, secrets=secrets)
        return None, None, miss_of(reply, by_status(reply.status), reason_of(reply.status), secrets=secrets)
    if not isinstance(body, dict):
        kind = MissKind.GARBLED if reply.status < 300 else by_status(reply.status)
        what = f"the reply is a JSON {type(body).__name__}, not an object"
        return None, None, miss_of(reply, kind, what, secrets=secrets)
    if provider.adjust is not None:
        try:
            body, text = provider.adjust(body), None
        except Exception as error:  # noqa: BLE001  # somebody's function met a reply that nobody foresaw
            what = f"adjust() of {provider.name} failed on the reply ({type(error).__name__})"
            return None, None, miss_of(reply, MissKind.GARBLED, what, secrets=secrets)
    return body, text, None


class _Reading:
    """One reply, which may speak of many tasks, and what it says of all of them."""

    def __init__(self, provider: Provider, reply: HttpReply, text: str | None, secrets: tuple[str, ...]) -> None:
        self.provider = provider
        self.reply = reply
        self.secrets = secrets
        self.is_harmless = text is not None and is_harmless(text, secrets)
        self._shown: dict[tuple[str, int], str] = {}
        self.replied_at = date_of(reply)
        self.trace = trace_of(provider, reply, None, secrets)

    def miss(self, message: str) -> Miss:
        return miss_of(self.reply, MissKind.GARBLED, message, secrets=self.secrets)

    def look(self, body: Any, ident: str | None, last: Snapshot | None) -> Snapshot | Miss:
        """What the reply says of one task."""
        provider, reply, secrets = self.provider, self.reply, self.secrets
        kept, text = keepable(body, secrets, sure=self.is_harmless)
        if last is not None and text == last.reply and reply.status == 200 and not (last.state.final or last.outputs):
            return replace(last, replied_at=self.replied_at, trace=self._trace(body))
        trouble = trouble_of(provider, reply, body, secrets)
        if isinstance(trouble, Miss):
            return trouble
        named = as_word(provider.finders.reply_id(body))
        if ident is not None and named and named != ident:
            return self.miss(f"the reply is about another task ({clean(named, 60)})")
        states = states_of(provider, body)
        if trouble is None:
            return self._task(body, kept, text, states)

        # A code ended the task. A state word beside it must not say otherwise; under an HTTP error, a word that is not
        # final may be a default that nobody set.
        others = set(states) - {trouble.state, State.UNKNOWN}
        if any(state.final or reply.status < 300 for state in others):
            shown = " and ".join(f'"{clean(w, 30)}"' for w in (trouble.word, *states.values()))
            return self.miss(f"the reply contradicts itself: {shown}")
        if set(states) == {trouble.state}:
            task = self._task(body, kept, text, states)
            return replace(task, error=task.error or trouble.error) if isinstance(task, Snapshot) else task
        return trouble

    def _showable(self, words: str, limit: int) -> str:
        """Words fit to show; the tasks of a batch share most of theirs, and then the text."""
        shown = self._shown.get((words, limit))
        if shown is None:
            shown = self._shown[words, limit] = showable(words, self.secrets, limit)
        return shown

    def _trace(self, body: Any) -> str | None:
        return self.trace or trace_of(self.provider, self.reply, body, self.secrets)

    def _task(self, body: Any, kept: Any, text: str, states: dict[State, str]) -> Snapshot | Miss:
        provider, at, secrets = self.provider, self.provider.finders, self.secrets
        if not states or UNREADABLE in states.values():
            keys = ", ".join(clean(k, 24) for k in list(body)[:8]) or "none"
            return self.miss(f"the reply has no readable state; its keys are {keys}")
        known = states
        if len(states) > 1:
            known = {state: word for state, word in states.items() if state is not State.UNKNOWN}
        state, word = next(iter(known.items()))
        final = state.final
        odd = code_of(provider, body) if state is State.SUCCEEDED else None
        if len(known) > 1 or (final and len(states) > 1) or odd:
            words = " and ".join(f'"{clean(w, 30)}"' for w in (*states.values(), *filter(None, [odd])))
            return self.miss(f"the reply contradicts itself: {words}")

        scalars, resolution = self._scalars(body)
        created, finished = scalars["created_at"], scalars["finished_at"]
        if not final or (finished and created and finished < created):
            scalars["finished_at"] = None
        if final:
            scalars["queue_position"] = scalars["seconds_left"] = None
        if state not in _HAS_PROGRESS:
            scalars["progress"] = None
        size = as_count(at.width(body)), as_count(at.height(body))
        error = None
        if final and state is not State.SUCCEEDED:
            # A filled error field beside any other state means nothing: one aggregator keeps the file id there.
            code, message = as_text(at.error_code(body)), as_text(at.error_message(body))
            if code in provider.ok:
                code = None  # a zero that stands there for "none"
            if code or message:
                error = TaskError(showable(code, secrets, 80) if code else None, showable(message or "", secrets))
        params = at.params(kept)
        return Snapshot(
            state=state,
            word=intern(self._showable(word, 80)),  # each look repeats it, and so the model
            outputs=outputs_of(provider, body, size, secrets),
            error=error,
            resolution_s=resolution,
            replied_at=self.replied_at,
            trace=self._trace(body),
            params=params if isinstance(params, dict) and params else NOTHING,
            reply=text,
            **scalars,
        )

    def _scalars(self, body: Any) -> tuple[dict[str, Any], float | None]:
        """The values at the paths of `SCALARS`, each read by its type, and how fine the times among them are."""
        provider = self.provider
        scalars: dict[str, Any] = {}
        resolution = None
        for name, kind, search in provider.finders.scalars:
            value = search(body)
            if value is None:
                scalars[name] = None
            elif kind is str:
                scalars[name] = intern(self._showable(as_text(value) or "", 120)) or None
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
