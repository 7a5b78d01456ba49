"""Creating tasks: the intent is in the store before the request leaves, and nothing is ever sent twice by itself."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .._model.errors import BadInput, NbhelperError, StoreError, SubmitFailed, SubmitUnknown
from .._model.seen import Miss, MissKind
from .._model.task import Task
from .._model.text import clean
from .._network.faults import Forbidden, Unreached
from .._network.http import CREATE_DEADLINE
from .._providers.provider import Provider
from .._providers.reader import read_created
from .._providers.reply_parts import Endpoint
from .._providers.requests import HttpReply, HttpRequest
from .._providers.templates import fill
from .._session.session import Connection, connection, fingerprint, store
from .._watching.engine import Engine, engine
from .._watching.waiting import result_of
from .draft import Draft, draft

if TYPE_CHECKING:
    from .._model.history import History
    from .._store.store import Store

_AGAIN = 1.0
"""Seconds after which a lost answer is asked for again, where that is safe; then twice as many."""


@dataclass(frozen=True, slots=True)
class Create:
    """A draft and where it goes: ready, not sent."""

    draft: Draft
    connection: Connection


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending a create.

    Attributes:
        task: What was made.
        miss: Why nothing was, as far as we know.
        doubt: Whether it may have been made all the same.
        sent: Whether anything left this machine.
    """

    task: Task | None = None
    miss: Miss | None = None
    doubt: bool = False
    sent: bool = True


def prepare(
    provider_name: object,
    request: object,
    *,
    endpoint: object = None,
    files: object = None,
    params: object = None,
) -> Create:
    """Check a create without sending anything.

    Raises:
        BadInput: What is wrong, in one line.
        MissingAPIKey: There is no key to send it with.
    """
    made = draft(provider_name, request, endpoint=endpoint, files=files, params=params)
    return Create(made, connection(made.provider.name))


def send(create: Create, *, label: str | None = None, reuse: bool = False) -> Task:
    """Send one create, once.

    Args:
        create: What `prepare` gave.
        label: A name for the task.
        reuse: Take the stored task of an identical create, where there is one that did not fail.

    Raises:
        SubmitFailed: The API refused, or nothing was sent.
        SubmitUnknown: It was sent and the answer is lost.
    """
    book = store()
    if reuse:
        origin = create.connection.origin
        earlier = book.find_submitted(create.draft.provider.name, origin, create.draft.digest)
        if earlier is not None:
            return earlier.task
    request_id = new_request_id(create)
    uid = result_of(book.begin_intent(**intent(create, book, label, request_id)))
    running = engine()
    # A create that is under way is not torn off by an interrupt: its answer is what tells whether it was billed.
    return result_of(running.run(_send(running, book, create, uid, label, request_id)))


def new_request_id(create: Create) -> str | None:
    """What makes a create safe to ask again, where the API has such a thing."""
    return str(uuid.uuid4()) if create.draft.endpoint.request_id else None


def intent(create: Create, book: Store, label: str | None, request_id: str | None) -> dict[str, Any]:
    """What `Store.begin_intent` keeps of a create."""
    made = create.draft
    return {
        "provider": made.provider.name,
        "origin": create.connection.origin,
        "endpoint": made.name,
        "request_digest": made.digest,
        "params": made.params,
        "label": label,
        "request_id": request_id,
        "fingerprint": fingerprint(create.connection, book),
        "model": made.model,
    }


async def _send(
    running: Engine, book: Store, create: Create, uid: str, label: str | None, request_id: str | None
) -> Task:
    answer = await ask(running, book, create, uid, label, request_id)
    await keep(book, uid, answer)
    if answer.task is None:
        raise error_of(create.draft.provider, answer)
    return answer.task


async def ask(
    running: Engine,
    book: Store,
    create: Create,
    uid: str,
    label: str | None,
    request_id: str | None,
    leaving: Callable[[], None] = lambda: None,
) -> Answer:
    """Send one create whose intent is in the store; what came of it is not recorded yet.

    Up to the call of `leaving` nothing of the create has left, however long its turn is waited for.
    """
    where, provider, spec = create.connection, create.draft.provider, create.draft.endpoint
    multipart = spec.encoding == "multipart"
    body = dict(create.draft.body)
    if create.draft.files and not multipart:
        refused = await _hand_over(running, create, body)
        if refused is not None:
            return refused
    request = HttpRequest("POST", spec.path, json=None if multipart else body)
    data = {k: _form(v) for k, v in body.items()} if multipart else None
    headers = {spec.request_id: request_id} if spec.request_id and request_id else {}
    # With a request id the API makes one task however often it is asked, so a lost answer may be asked for again.
    tries = 3 if headers else 1
    answer: Task | Miss = Miss(kind=MissKind.NETWORK)
    sent = False
    for attempt in range(tries):
        async with running.gate(where).passing():
            # From here on a process that dies leaves a create in doubt.
            leaving()
            await asyncio.wrap_future(book.intent_sent(uid))
            reply, miss, left = await _post(
                running, where, request, data=data, files=create.draft.files if multipart else (), headers=headers
            )
        sent = sent or left
        if reply is not None:
            # Neither the key nor a reply that may echo it stays in a variable, for tracebacks that show variables.
            answer = _created(provider, spec, reply, (where.key.reveal(),), label, create.draft.params)
            reply = None
        else:
            answer = miss
        if not isinstance(answer, Miss) or answer.kind not in _DOUBTFUL:
            break
        if attempt + 1 < tries:
            await asyncio.sleep(_AGAIN * 2**attempt)
    if isinstance(answer, Task):
        return Answer(task=answer)
    return Answer(miss=answer, doubt=sent and answer.kind in _DOUBTFUL, sent=sent)


async def _post(
    running: Engine, where: Connection, request: HttpRequest, **options: Any
) -> tuple[HttpReply | None, Miss, bool]:
    """The reply, or why there is none; and whether anything was sent."""
    none = Miss(kind=MissKind.NETWORK)
    try:
        return await running.http().api(where, request, deadline=CREATE_DEADLINE, **options), none, True
    except Unreached as error:
        return None, Miss(kind=MissKind.NETWORK, message=clean(error)), error.sent
    except Forbidden as error:
        return None, Miss(kind=MissKind.REFUSED, message=clean(error)), True


async def _hand_over(running: Engine, create: Create, body: dict[str, Any]) -> Answer | None:
    """Send the files ahead and put what came back into the body; an upload makes no task, whatever becomes of it."""
    where, provider = create.connection, create.draft.provider
    how = provider.upload
    assert how is not None  # `draft` has refused files otherwise
    request = HttpRequest("POST", how.path)
    for upload in create.draft.files:
        async with running.gate(where).passing():
            part = (replace(upload, name=how.field),)
            reply, miss, _ = await _post(running, where, request, data={}, files=part, headers={})
        token: str | Miss = miss
        if reply is not None:
            token = read_created(provider, Endpoint(path=how.path, id=how.answer), reply, (where.key.reveal(),))
            reply = None
        if isinstance(token, Miss):
            what = f"the upload of {upload.filename} did not work: {str(token).rstrip('.')}"
            return Answer(miss=replace(token, message=clean(what)), sent=token.kind is not MissKind.NETWORK)
        kind = upload.filename.rpartition(".")[2]
        value = fill(HttpRequest("POST", "/", json=how.value), {"token": token, "type": kind}).json
        several = sum(u.name == upload.name for u in create.draft.files) > 1 or upload.name in _PLURAL
        body[upload.name] = [*body.get(upload.name, ()), value] if several else value
    return None


_PLURAL = frozenset({"files", "inputs"})
"""Parameters that are lists even with one file in them."""


async def keep(book: Store, uid: str, answer: Answer) -> History | None:
    """Record what came of a create; the history of the task that was made.

    Raises:
        StoreError: It cannot be recorded; the text names a task that was made.
    """
    if answer.task is not None:
        try:
            return await asyncio.wrap_future(book.intent_created(uid, answer.task))
        except StoreError as error:
            raise StoreError(f'"{answer.task}" was created and may be billed, but not recorded: {error}') from None
    assert answer.miss is not None
    if answer.doubt:
        await asyncio.wrap_future(book.intent_in_doubt(uid, str(answer.miss).rstrip(".")))
    else:
        await asyncio.wrap_future(book.intent_refused(uid, code_of(answer), answer.miss.message))
    return None


def code_of(answer: Answer) -> str:
    """The API's own code, else the HTTP status; `network` where nothing was sent."""
    miss = answer.miss
    assert miss is not None
    return miss.code or (str(miss.status) if miss.status and miss.status != 200 else "" if answer.sent else "network")


def error_of(provider: Provider, answer: Answer) -> NbhelperError:
    """Why there is no task, for a person."""
    miss = answer.miss
    assert miss is not None
    said = str(miss).rstrip(".")
    if answer.doubt:
        return SubmitUnknown(
            f"{provider.name} was asked to create a task and no clear answer came ({said}). It may have been made and "
            f"billed: check your account at the provider before sending it again. It is kept as in doubt.",
        )
    if not answer.sent:
        words = miss.message
        return SubmitFailed(f"Nothing was sent to {provider.name}: {words.rstrip('.')}.", code="network", words=words)
    hint = _HINTS.get(miss.kind, "")
    wait = f" It asks to wait {miss.retry_after:g} s." if miss.retry_after else ""
    return SubmitFailed(
        f"{provider.name} refused the create: {said}.{hint}{wait}",
        code=code_of(answer),
        words=miss.message,
        retry_after=miss.retry_after,
    )


def _created(
    provider: Provider,
    spec: Endpoint,
    reply: HttpReply,
    secrets: tuple[str, ...],
    label: str | None,
    params: Mapping[str, Any],
) -> Task | Miss:
    ident = read_created(provider, spec, reply, secrets)
    if isinstance(ident, Miss):
        return ident
    try:
        return Task(provider.name, ident, label, params, spec.extra)
    except BadInput as error:
        return Miss(kind=MissKind.GARBLED, status=reply.status, message=f"the reply's task id cannot be one: {error}")


_DOUBTFUL = frozenset({MissKind.NETWORK, MissKind.SERVER, MissKind.GARBLED})
"""Answers that do not say whether a task was made."""
_HINTS = {
    MissKind.NO_CREDIT: " Add credit at the provider, then submit again.",
    MissKind.REFUSED: " Check the key: nbhelper.providers() shows where it was found.",
    MissKind.RATE_LIMITED: " Submit again later, or fewer at once.",
}


def _form(value: Any) -> str:
    """A form field as these APIs write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
