"""Creating tasks: the intent is in the store before the request leaves, and nothing is ever sent twice by itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._engine import Engine, engine
from ._errors import BadInput, StoreError, SubmitFailed, SubmitUnknown
from ._http import CREATE_DEADLINE, Forbidden, Unreached, Upload
from ._providers.contract import Endpoint, HttpReply, HttpRequest, Provider
from ._providers.reader import find, read_created
from ._session import Connection, connection, fingerprint, store
from ._sniff import HEAD, sniff
from ._text import clean, kind_of, nearest
from ._values import Miss, MissKind, Task, digest
from ._waiting import result_of

if TYPE_CHECKING:
    from ._store import Store

LARGEST_UPLOAD = 50_000_000
"""Bytes of one uploaded file; no API here takes more."""
_DEEPEST = 64
_HALF = re.compile("[\ud800-\udfff]")
_AGAIN = 1.0
"""Seconds after which a lost answer is asked for again, where that is safe; then twice as many."""


@dataclass(frozen=True, slots=True)
class Create:
    """One create, checked and ready, not sent.

    Attributes:
        connection: Where it goes.
        name: The endpoint's short name, or its path.
        endpoint: How it is sent and read.
        body: The parameters, `fixed` ones included.
        files: The uploads.
        params: What the tables keep of it: bytes as digest and size.
        digest: Of all that decides what is made; equal creates have equal digests.
    """

    connection: Connection
    name: str
    endpoint: Endpoint
    body: Mapping[str, Any]
    files: tuple[Upload, ...]
    params: Mapping[str, Any]
    digest: str


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
    from ._providers import get

    provider = get(provider_name)
    if not isinstance(request, Mapping):
        raise BadInput(f'A request is a mapping of parameters, such as {{"prompt": "an owl"}}, not {kind_of(request)}.')
    if not request and not files:
        raise BadInput('The request is empty. Pass the API\'s parameters, such as {"prompt": "an owl"}.')
    if params is not None and not isinstance(params, Mapping):
        raise BadInput(f"params is a mapping of what the tables should show, not {kind_of(params)}.")
    if files is not None and not isinstance(files, Mapping):
        example = '{"image": "me.jpg"}'
        raise BadInput(f"files is a mapping of parameter to path or bytes, such as {example}, not {kind_of(files)}.")
    if not all(
        isinstance(key, str) and key and key.isprintable() for key in (*request, *(files or ()), *(params or ()))
    ):
        raise BadInput("Each parameter's name must be text, without line breaks and the like.")
    name, spec = find_endpoint(provider, endpoint)
    uploads, body = _uploads(request, files)
    for field in spec.fixed:
        body.setdefault(field, spec.fixed[field])
    if uploads and spec.encoding != "multipart":
        raise BadInput(
            f'{provider.name}\'s "{name}" takes JSON, so no file can go along ("{uploads[0].name}"). '
            "Give it a link to the picture, or upload it first as the API's docs say.",
        )
    body = _plain(body)
    for field in spec.required:
        if field not in body and field not in {u.name for u in uploads}:
            hint = nearest(field, body)
            raise BadInput(f'{provider.name}\'s "{name}" needs "{field}".{hint}')
    shown = dict(params) if params is not None else {k: v for k, v in body.items() if k not in spec.fixed}
    shown |= {u.name: digest(u.content) for u in uploads}
    material = [provider.name, spec.path, body, {u.name: hashlib.sha256(u.content).hexdigest() for u in uploads}]
    short = hashlib.sha256(json.dumps(material, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    return Create(connection(provider.name), name, spec, body, uploads, shown, short)


def find_endpoint(provider: Provider, wanted: object) -> tuple[str, Endpoint]:
    """The endpoint of that short name or path; the only one when none is named.

    Raises:
        BadInput: Unknown, or one of several has to be named; the text lists them.
    """
    known = ", ".join(sorted(provider.creates))
    if wanted is None:
        if len(provider.creates) == 1:
            return next(iter(provider.creates.items()))
        if not provider.creates:
            raise BadInput(f'"{provider.name}" has no endpoints to create with; give it some when you register it.')
        raise BadInput(f"{provider.name} has several endpoints; name one: endpoint=… of {known}.")
    if not isinstance(wanted, str) or not wanted.strip():
        raise BadInput(f"endpoint is a short name or a path, not {kind_of(wanted)}. {provider.name} has {known}.")
    text = wanted.strip()
    if text in provider.creates:
        return text, provider.creates[text]
    for name, spec in provider.creates.items():
        if spec.path == text:
            return name, spec
    if text.startswith("/") and provider.other is not None and text.isprintable() and not set(text) & set(" ?#{}\\"):
        from dataclasses import replace

        return text, replace(provider.other, path=text)
    hint = nearest(text, provider.creates)
    raise BadInput(f'{provider.name} has no endpoint "{clean(text, 60)}".{hint} It has {known}.')


def send(create: Create, *, label: str | None = None, reuse: bool = False, **notes: Any) -> Task:
    """Send one create, once.

    Args:
        create: What `prepare` gave.
        label: A name for the task.
        reuse: Take the stored task of an identical create, where there is one that did not fail.
        notes: Experiment, repeat and cell, for the store.

    Raises:
        SubmitFailed: The API refused, or nothing was sent.
        SubmitUnknown: It was sent and the answer is lost.
    """
    where, provider, spec = create.connection, create.connection.provider, create.endpoint
    book = store()
    if reuse:
        earlier = book.find_submitted(provider.name, where.origin, create.digest)
        if earlier is not None:
            return earlier.task
    request_id = str(uuid.uuid4()) if spec.request_id else None
    model = find(provider.request_model, dict(create.body)) if provider.request_model else None
    intent = book.begin_intent(
        provider=provider.name,
        origin=where.origin,
        endpoint=create.name,
        request_digest=create.digest,
        params=create.params,
        label=label,
        request_id=request_id,
        fingerprint=fingerprint(where, book),
        model=model if isinstance(model, str) else spec.model or None,
        **notes,
    )
    uid = result_of(intent)
    running = engine()
    # A create that is under way is not torn off by an interrupt: its answer is what tells whether it was billed.
    return result_of(running.run(_send(running, book, create, uid, label, request_id)))


async def _send(
    running: Engine, book: Store, create: Create, uid: str, label: str | None, request_id: str | None
) -> Task:
    where, provider, spec = create.connection, create.connection.provider, create.endpoint
    multipart = spec.encoding == "multipart"
    request = HttpRequest("POST", spec.path, json=None if multipart else dict(create.body))
    data = {k: _form(v) for k, v in create.body.items()} if multipart else None
    headers = {spec.request_id: request_id} if request_id else {}
    # With a request id the API makes one task however often it is asked, so a lost answer may be asked for again.
    tries = 3 if request_id else 1
    answer: Task | Miss = Miss(kind=MissKind.NETWORK)
    sent = False
    for attempt in range(tries):
        async with running.gate(where).passing():
            # From here on a process that dies leaves a create in doubt.
            await asyncio.wrap_future(book.intent_sent(uid))
            try:
                reply: HttpReply | None = await running.http().api(
                    where, request, deadline=CREATE_DEADLINE, data=data, files=create.files, headers=headers
                )
            except Unreached as error:
                reply, sent = None, sent or error.sent
                answer = Miss(kind=MissKind.NETWORK, message=clean(error))
            except Forbidden as error:
                reply, sent = None, True
                answer = Miss(kind=MissKind.REFUSED, message=clean(error))
        if reply is not None:
            sent = True
            # Neither the key nor a reply that may echo it stays in a variable, for tracebacks that show variables.
            answer = _created(provider, spec, reply, (where.key.reveal(),), label, create.params)
            reply = None
        if not isinstance(answer, Miss) or answer.kind not in _DOUBTFUL:
            break
        if attempt + 1 < tries:
            await asyncio.sleep(_AGAIN * 2**attempt)

    if isinstance(answer, Task):
        try:
            await asyncio.wrap_future(book.intent_created(uid, answer))
        except StoreError as error:
            raise StoreError(f'"{answer}" was created and may be billed, but not recorded: {error}') from None
        return answer
    if answer.kind in _DOUBTFUL and sent:
        note = str(answer).rstrip(".")
        await asyncio.wrap_future(book.intent_in_doubt(uid, note))
        raise SubmitUnknown(
            f"{provider.name} was asked to create a task and no clear answer came ({note}). It may have been made and "
            f"billed: check your account at the provider before sending it again. It is kept as in doubt.",
        )
    code = answer.code or (str(answer.status) if answer.status and answer.status != 200 else "")
    await asyncio.wrap_future(book.intent_refused(uid, code, answer.message))
    if not sent:
        raise SubmitFailed(
            f"Nothing was sent to {provider.name}: {answer.message.rstrip('.')}.", code="network", words=answer.message
        )
    hint = _HINTS.get(answer.kind, "")
    wait = f" It asks to wait {answer.retry_after:g} s." if answer.retry_after else ""
    raise SubmitFailed(
        f"{provider.name} refused the create: {str(answer).rstrip('.')}.{hint}{wait}",
        code=code,
        words=answer.message,
        retry_after=answer.retry_after,
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


# Parameters and files


def _uploads(request: Mapping[str, Any], files: Mapping[str, Any] | None) -> tuple[tuple[Upload, ...], dict[str, Any]]:
    """The uploads, and the parameters that are none: bytes and paths among the parameters are uploads too."""
    given = dict(files or {})
    body: dict[str, Any] = {}
    for key, value in request.items():
        if isinstance(value, bytes | bytearray | Path):
            given.setdefault(key, value)
        else:
            body[key] = value
    return tuple(_upload(field, value) for field, value in given.items()), body


def _upload(field: str, value: object) -> Upload:
    if isinstance(value, str | Path):
        try:
            path = Path(value).expanduser()
            if not path.is_file():
                raise BadInput(f'The file for "{clean(field, 40)}" does not exist: {clean(path, 120)}.')
            _check_size(field, path.stat().st_size)
            content = path.read_bytes()
        except RuntimeError as error:  # "~nobody"
            raise BadInput(f'The file for "{clean(field, 40)}" cannot be found: {clean(error, 120)}.') from None
        except OSError as error:
            raise BadInput(f'The file for "{clean(field, 40)}" cannot be read: {error.strerror}.') from None
    elif isinstance(value, bytes | bytearray):
        content = bytes(value)
    else:
        raise BadInput(f'The file for "{clean(field, 40)}" is a path or bytes, not {kind_of(value)}.')
    _check_size(field, len(content))
    found = sniff(content[:HEAD])
    return Upload(field, f"{clean(field, 40)}{found.suffix}", content, found.mime)


def _check_size(field: str, n_bytes: int) -> None:
    if n_bytes == 0:
        raise BadInput(f'The file for "{clean(field, 40)}" is empty.')
    if n_bytes > LARGEST_UPLOAD:
        raise BadInput(f'The file for "{clean(field, 40)}" has {n_bytes:,} bytes; at most {LARGEST_UPLOAD:,} are sent.')


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as JSON has them.

    Raises:
        BadInput: A value that JSON has not; the text names the parameter.
    """

    def walk(node: Any, path: str, depth: int) -> Any:
        shown = f'The parameter "{clean(path, 60)}"'
        if depth > _DEEPEST:
            raise BadInput(f"{shown} is nested more than {_DEEPEST} levels deep, or holds itself.")
        if isinstance(node, Mapping):
            if not all(isinstance(key, str) and not _HALF.search(key) for key in node):
                raise BadInput(f"{shown} is a mapping whose keys are not all text.")
            return {key: walk(value, f"{path}.{key}" if path else key, depth + 1) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [walk(value, f"{path}[{index}]", depth + 1) for index, value in enumerate(node)]
        if type(node).__module__ == "numpy" and getattr(node, "ndim", 1) == 0:
            node = node.item()  # a number of a frame or an arange
        if isinstance(node, float) and not math.isfinite(node):
            raise BadInput(f"{shown} is {node}, which JSON has not.")
        if not isinstance(node, str | int | float | bool | None):
            raise BadInput(f"{shown} is {kind_of(node)}; use text, numbers, lists and mappings.")
        if isinstance(node, int) and node.bit_length() > 1024:
            raise BadInput(f"{shown} is a whole number of hundreds of digits.")
        if isinstance(node, str) and _HALF.search(node):
            raise BadInput(f"{shown} holds half a character (a lone surrogate).")
        return node

    plain: dict[str, Any] = walk(body, "", 0)
    return plain


def _form(value: Any) -> str:
    """A form field as these APIs write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
