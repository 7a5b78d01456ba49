"""Send a create: its intent is in the store before the request, and nothing is sent twice without being told to.

*Sent* means that bytes of the request itself may have reached the API; a proxy's CONNECT is none of them. A create that
was sent and got no clear answer is in doubt (`SubmitUnknown`); one that was refused or not sent is known not to have
been made (`SubmitFailed`). `Unreached.is_sent` says which it was, where there is no reply.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .._model.errors import BadInput, NbhelperError, StoreError, SubmitFailed, SubmitUnknown
from .._model.misses import Miss, MissKind
from .._model.task import Task
from .._model.text import clean
from .._network.faults import Forbidden, Unreached
from .._network.http import CREATE_DEADLINE
from .._providers.provider import Provider
from .._providers.reader import read_created
from .._providers.reply_parts import Endpoint
from .._providers.requests import HttpReply, HttpRequest
from .._providers.templates import fill
from .._session import session
from .._session.session import Connection
from .._watching.engine import Engine, engine
from .._watching.waiting import result_of
from .draft import Draft, draft

if TYPE_CHECKING:
    from .._model.history import History
    from .._store.store import Store

_AGAIN = 1.0
"""Seconds until the second attempt, where a request id makes it safe; twice as many until the third."""


@dataclass(frozen=True, slots=True)
class PreparedCreate:
    """A checked create, with the address and the key that it is sent with; not sent yet."""

    draft: Draft
    connection: Connection


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending a create.

    Attributes:
        task: The task that was made.
        miss: Why there is none, by the latest attempt.
        doubt: What the attempt met that may have made one: it was sent and got no clear answer.
        is_sent: Whether bytes of the create may have reached the API.
    """

    task: Task | None = None
    miss: Miss | None = None
    doubt: Miss | None = None
    is_sent: bool = True

    @property
    def is_in_doubt(self) -> bool:
        """Whether a task may have been made that nobody knows of."""
        return self.doubt is not None


def prepare(
    provider_name: object,
    request: object,
    *,
    endpoint: object = None,
    files: object = None,
    params: object = None,
) -> PreparedCreate:
    """Check a create without sending anything.

    Raises:
        BadInput: What is wrong, in one line.
        MissingAPIKey: There is no key to send it with.
    """
    checked = draft(provider_name, request, endpoint=endpoint, files=files, params=params)
    return PreparedCreate(checked, session.connection(checked.provider.name))


def send(create: PreparedCreate, *, label: str | None = None, reuse: bool = False) -> Task:
    """Send one create, once.

    Args:
        create: What `prepare` gave.
        label: A name for the task.
        reuse: Take the stored task of an identical create, where there is one that did not fail.

    Raises:
        SubmitFailed: The API refused, or nothing was sent.
        SubmitUnknown: The create was sent and got no clear answer.
    """
    store = session.store()
    if reuse:
        origin = create.connection.origin
        earlier = store.find_submitted(create.draft.provider.name, origin, create.draft.digest)
        if earlier is not None:
            return earlier.task
    request_id = new_request_id(create)
    uid = result_of(store.begin_intent(**intent(create, store, label, request_id)))
    running = engine()
    # An interrupt does not cancel a create that is in flight: only its reply tells whether it was billed.
    return result_of(running.run(_send(running, store, create, uid, label, request_id)))


def new_request_id(create: PreparedCreate) -> str | None:
    """A new id that makes the create safe to repeat, where the API takes one."""
    return str(uuid.uuid4()) if create.draft.endpoint.request_id else None


def intent(create: PreparedCreate, store: Store, label: str | None, request_id: str | None) -> dict[str, Any]:
    """What `Store.begin_intent` keeps of a create."""
    checked = create.draft
    return {
        "provider": checked.provider.name,
        "origin": create.connection.origin,
        "endpoint": checked.name,
        "request_digest": checked.digest,
        "params": checked.params,
        "label": label,
        "request_id": request_id,
        "fingerprint": session.fingerprint(create.connection, store),
        "model": checked.model,
    }


async def _send(
    running: Engine, store: Store, create: PreparedCreate, uid: str, label: str | None, request_id: str | None
) -> Task:
    answer = await ask(running, store, create, uid, label, request_id)
    await keep(store, uid, answer)
    if answer.task is None:
        raise error_of(create.draft.provider, answer)
    return answer.task


async def ask(
    running: Engine,
    store: Store,
    create: PreparedCreate,
    uid: str,
    label: str | None,
    request_id: str | None,
    on_leave: Callable[[], None] = lambda: None,
    doubt: Miss | None = None,
) -> Answer:
    """Send one create whose intent is in the store; its result is not recorded yet.

    A doubt stays whatever a later attempt is answered, unless with a task: the API may refuse a repetition for reasons
    of its own.

    Args:
        running: The engine, whose gate and clients are used.
        store: Where the intent is.
        create: What is sent.
        uid: The row of its intent.
        label: Of the task.
        request_id: Makes it safe to repeat: a lost reply is requested up to twice more.
        on_leave: Called right before the request: until then nothing was sent, however long the gate's turn is waited
            for.
        doubt: Of an earlier attempt with this request id.
    """
    connection, provider, spec = create.connection, create.draft.provider, create.draft.endpoint
    is_multipart = spec.encoding == "multipart"
    body = dict(create.draft.body)
    if create.draft.files and not is_multipart:
        failure = await _upload_files(running, create, body)
        if failure is not None:
            return replace(failure, doubt=doubt)
    request = HttpRequest("POST", spec.path, json=None if is_multipart else body)
    data = {k: _form_text(v) for k, v in body.items()} if is_multipart else None
    headers = {spec.request_id: request_id} if spec.request_id and request_id else {}
    # With a request id the API makes one task, however often the create is sent.
    attempts = 3 if headers else 1
    miss, is_sent = Miss(kind=MissKind.NETWORK), False
    for attempt in range(attempts):
        async with running.gate(connection).passing():
            # A process that dies from here on leaves a create in doubt.
            on_leave()
            await asyncio.wrap_future(store.intent_sent(uid))
            files = create.draft.files if is_multipart else ()
            reply, miss, was_sent = await _post(running, connection, request, data=data, files=files, headers=headers)
        is_sent = is_sent or was_sent
        if reply is not None:
            # Neither the key nor a reply that may echo it stays in a variable: some tracebacks show variables.
            made = _read_task(provider, spec, reply, (connection.key.reveal(),), label, create.draft.params)
            reply = None
            if isinstance(made, Task):
                return Answer(task=made)
            miss = made
        if miss.kind not in _DOUBTFUL:
            break
        doubt = doubt or (miss if was_sent else None)
        if attempt + 1 < attempts:
            await asyncio.sleep(_AGAIN * 2**attempt)
    return Answer(miss=miss, doubt=doubt, is_sent=is_sent)


async def _post(
    running: Engine, connection: Connection, request: HttpRequest, **options: Any
) -> tuple[HttpReply | None, Miss, bool]:
    """The reply, or why there is none; and whether bytes of the request may have reached the API."""
    no_miss = Miss(kind=MissKind.NETWORK)
    try:
        return await running.http().api(connection, request, deadline=CREATE_DEADLINE, **options), no_miss, True
    except Unreached as error:
        return None, Miss(kind=MissKind.NETWORK, message=clean(error)), error.is_sent
    except Forbidden as error:
        return None, Miss(kind=MissKind.REFUSED, message=clean(error)), True


async def _upload_files(running: Engine, create: PreparedCreate, body: dict[str, Any]) -> Answer | None:
    """Upload the files before the create and put the tokens of the replies into its body.

    Returns:
        Why an upload failed: no create is sent then, so none is in doubt. None when all files are uploaded.
    """
    connection, provider = create.connection, create.draft.provider
    spec = provider.upload
    assert spec is not None  # `draft` has refused files otherwise
    request = HttpRequest("POST", spec.path)
    for upload in create.draft.files:
        async with running.gate(connection).passing():
            part = (replace(upload, name=spec.field),)
            reply, miss, _ = await _post(running, connection, request, data={}, files=part, headers={})
        token: str | Miss = miss
        if reply is not None:
            endpoint = Endpoint(path=spec.path, id=spec.answer)
            token = read_created(provider, endpoint, reply, (connection.key.reveal(),))
            reply = None
        if isinstance(token, Miss):
            what = f"the upload of {upload.filename} did not work: {str(token).rstrip('.')}"
            return Answer(miss=replace(token, message=clean(what)), is_sent=token.kind is not MissKind.NETWORK)
        kind = upload.filename.rpartition(".")[2]
        value = fill(HttpRequest("POST", "/", json=spec.value), {"token": token, "type": kind}).json
        is_list = sum(u.name == upload.name for u in create.draft.files) > 1 or upload.name in _PLURAL
        body[upload.name] = [*body.get(upload.name, ()), value] if is_list else value
    return None


_PLURAL = frozenset({"files", "inputs"})
"""Parameters that are lists even with one file in them."""


async def keep(store: Store, uid: str, answer: Answer) -> History | None:
    """Record the result of a create; the history of the task, if one was made.

    Raises:
        StoreError: The result cannot be recorded; the text names the task that was made.
    """
    if answer.task is not None:
        try:
            return await asyncio.wrap_future(store.intent_created(uid, answer.task))
        except StoreError as error:
            raise StoreError(f'"{answer.task}" was created and may be billed, but not recorded: {error}') from None
    assert answer.miss is not None
    if answer.doubt is not None:
        await asyncio.wrap_future(store.intent_in_doubt(uid, str(answer.doubt).rstrip(".")))
    else:
        await asyncio.wrap_future(store.intent_refused(uid, code_of(answer), answer.miss.message))
    return None


def code_of(answer: Answer) -> str:
    """The code of a create that made no task: the API's own, else the HTTP status; `network` if it was not sent."""
    miss = answer.miss
    assert miss is not None
    if miss.code or not answer.is_sent:
        return miss.code or "network"
    return str(miss.status) if miss.status and miss.status != 200 else ""


def error_of(provider: Provider, answer: Answer) -> NbhelperError:
    """The exception of a create that made no task, or perhaps one."""
    miss = answer.miss
    assert miss is not None
    reason = str(miss).rstrip(".")
    if answer.doubt is not None:
        lost = str(answer.doubt).rstrip(".")
        reason = lost if miss.kind in _DOUBTFUL else f"{lost}; then {reason}"
        return SubmitUnknown(
            f"{provider.name} was asked to create a task and no clear answer came ({reason}). It may have been made "
            f"and billed: check your account at the provider before sending it again. It is kept as in doubt.",
        )
    if not answer.is_sent:
        words = miss.message
        return SubmitFailed(f"Nothing was sent to {provider.name}: {words.rstrip('.')}.", code="network", words=words)
    hint = _HINTS.get(miss.kind, "")
    wait = f" It asks to wait {miss.retry_after:g} s." if miss.retry_after else ""
    return SubmitFailed(
        f"{provider.name} refused the create: {reason}.{hint}{wait}",
        code=code_of(answer),
        words=miss.message,
        retry_after=miss.retry_after,
    )


def _read_task(
    provider: Provider,
    spec: Endpoint,
    reply: HttpReply,
    secrets: tuple[str, ...],
    label: str | None,
    params: Mapping[str, Any],
) -> Task | Miss:
    """The task whose id a reply names, or why it names none."""
    ident = read_created(provider, spec, reply, secrets)
    if isinstance(ident, Miss):
        return ident
    try:
        return Task(provider.name, ident, label, params, spec.extra)
    except BadInput as error:
        return Miss(kind=MissKind.GARBLED, status=reply.status, message=f"the reply's task id cannot be one: {error}")


_DOUBTFUL = frozenset({MissKind.NETWORK, MissKind.SERVER, MissKind.GARBLED})
"""Kinds of misses that do not say whether a task was made."""
_HINTS = {
    MissKind.NO_CREDIT: " Add credit at the provider, then submit again.",
    MissKind.REFUSED: " Check the key: nbhelper.providers() shows where it was found.",
    MissKind.RATE_LIMITED: " Submit again later, or fewer at once.",
}


def _form_text(value: Any) -> str:
    """The text of a form's field: JSON, except that text stays as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
