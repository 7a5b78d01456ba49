"""One reply in, one `Snapshot` or `Miss` out: the only place that reads what servers say.

The order matters and is the same for every API: is it JSON; does a status or code say that the *request* went wrong;
only then, what does the state word say of the *task*. Nothing on the way may turn a broken reply into an end.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import count
from typing import Any
from urllib.parse import quote, urlsplit

import jmespath
import jmespath.exceptions
import jmespath.functions

from .._errors import BadInput
from .._text import EXCERPT, clean, redact, storable
from .._values import NOTHING, Miss, MissKind, Output, Snapshot, State, TaskError
from .contract import Endpoint, HttpReply, HttpRequest, Outputs, Provider
from .strict_json import NotJson, loads

LONGEST_WAIT = 600.0
"""Seconds beyond which a server's Retry-After is not believed."""
MOST_OUTPUTS = 256
"""Outputs of one task that are saved; the raw reply keeps the rest."""
_LINK = re.compile(r"\s*(?:(?:https?|ftp|file|javascript):|data:[\w/+.-]+[;,])", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_BASE64_SEEN = 400


# Paths


class _Functions(jmespath.functions.Functions):
    """JMESPath's functions and `from_json`."""

    @jmespath.functions.signature({"types": []})
    def _func_from_json(self, text: Any) -> Any:
        if not isinstance(text, str):
            return text  # some servers send the object itself where the docs promise a string
        try:
            value = loads(text.encode("utf-8", "surrogatepass"))
            # Twice encoded now and then.
            return loads(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else value
        except NotJson:
            return None


_OPTIONS = jmespath.Options(custom_functions=_Functions())


class _Keys:
    """A path of plain keys, which most are: followed directly, at a tenth of the cost."""

    def __init__(self, path: str) -> None:
        self._keys = path.split(".")

    def search(self, body: Any, _: object) -> Any:
        for key in self._keys:
            if not isinstance(body, dict):
                return None
            body = body.get(key)
        return body


@lru_cache(maxsize=1024)
def compiled(path: str) -> Any:
    """The parsed expression.

    Raises:
        ValueError: It is none.
    """
    if not path:
        return None
    if _PLAIN.fullmatch(path):
        return _Keys(path)
    try:
        return jmespath.compile(path)
    except jmespath.exceptions.JMESPathError as error:
        raise ValueError(str(error).splitlines()[0]) from None


def find(path: str, body: Any) -> Any:
    """What stands at a path; None where nothing does, or where the reply's types do not fit the path."""
    expression = compiled(path)
    if expression is None or not isinstance(body, dict | list):
        return None
    try:
        return expression.search(body, _OPTIONS)
    except (jmespath.exceptions.JMESPathError, TypeError, ValueError, AttributeError, KeyError, RecursionError):
        return None


# Requests


def fill(request: HttpRequest, values: Mapping[str, str], ids: Iterable[str] = ()) -> HttpRequest:
    """The request with its `{…}` filled in: percent-encoded in the path, as they are in query and JSON."""

    def text(template: str, *, segment: bool = False) -> str:
        def put(match: re.Match[str]) -> str:
            value = values.get(match[1], match[0])
            return _segment(value) if segment else value

        return _PLACEHOLDER.sub(put, template)  # in one go: a value's own braces are only text

    def body(node: Any) -> Any:
        if node == "{ids}":
            return list(ids)
        if isinstance(node, str):
            return text(node)
        if isinstance(node, Mapping):
            return {k: body(v) for k, v in node.items()}
        return [body(v) for v in node] if isinstance(node, list | tuple) else node

    query = {k: text(v) for k, v in request.query.items()}
    return replace(request, path=text(request.path, segment=True), query=query, json=body(request.json))


def _segment(value: str) -> str:
    # "." and ".." would be taken for path navigation by clients and servers alike.
    encoded = quote(value, safe="", errors="surrogatepass")
    return encoded.replace(".", "%2E") if set(encoded) == {"."} else encoded


def look_request(provider: Provider, ident: str, extra: Mapping[str, str] = NOTHING) -> HttpRequest:
    """The request of one look; extra keys that the template does not name go into the query.

    Raises:
        BadInput: The template names a key that the reference does not have.
    """
    template = provider.look
    used = set(_PLACEHOLDER.findall(template.path + "".join(template.query.values())))
    for name in sorted(used - {"id", *extra}):
        raise BadInput(f'A task of {provider.name} needs "{name}" beside its id: "{provider.name}:ID?{name}=…".')
    rest = {k: v for k, v in extra.items() if k not in used}
    filled = fill(template, {**extra, "id": ident})
    return replace(filled, query={**filled.query, **rest})


# Replies


def read(
    provider: Provider, reply: HttpReply, *, ident: str | None = None, secrets: Iterable[str] = ()
) -> Snapshot | Miss:
    """What one reply to a look says.

    Args:
        provider: Whose reply it is.
        reply: Status, headers, body.
        ident: The id that was asked for; a reply about another task is refused.
        secrets: Texts that must not be kept, such as the key that was sent.
    """
    secrets = tuple(secrets)
    body, miss = _parse(provider, reply, secrets)
    if miss is not None:
        return miss
    return _look(provider, reply, body, ident, secrets)


def read_batch(
    provider: Provider, reply: HttpReply, idents: Iterable[str], secrets: Iterable[str] = ()
) -> dict[str, Snapshot | Miss] | Miss:
    """What one reply to a batch look says of each task that was asked for, as `read` says it of one.

    A `Miss` where the whole request went wrong, which says nothing of any task in it.

    Args:
        provider: Whose reply it is; it has a `batch`.
        reply: Status, headers, body.
        idents: The ids that were asked for.
        secrets: Texts that must not be kept, such as the key that was sent.
    """
    batch = provider.batch
    assert batch is not None
    secrets = tuple(secrets)
    body, miss = _parse(provider, reply, secrets)
    if miss is None:
        trouble = _trouble(provider, reply, body, secrets)
        miss = trouble if isinstance(trouble, Miss) else None
    if miss is not None:
        return miss
    items, missed = find(batch.items, body), find(batch.missed, body)
    if isinstance(items, list):
        items = {_word(find(batch.item_id, item)): item for item in items}
    details = items if isinstance(items, dict) else {}
    unknown = {_word(ident) for ident in missed} if isinstance(missed, list) else set()

    if not details and not unknown:
        return _miss(reply, MissKind.GARBLED, "the reply to the batch holds no task", secrets=secrets)

    def one(ident: str) -> Snapshot | Miss:
        if ident in details:
            wrapped = details[ident]
            for key in reversed(batch.wrap.split(".") if batch.wrap else ()):
                wrapped = {key: wrapped}
            if isinstance(wrapped, dict):
                return _look(provider, reply, wrapped, ident, secrets)
        if ident in unknown:
            return _miss(reply, MissKind.NOT_FOUND, "the API does not know this task", secrets=secrets)
        return _miss(reply, MissKind.GARBLED, "the reply to the batch leaves this task out", secrets=secrets)

    return {ident: one(ident) for ident in idents}


def read_link(provider: Provider, reply: HttpReply, secrets: Iterable[str] = ()) -> str | Miss:
    """What the second request gave: a link, or why there is none."""
    assert provider.resolve is not None
    secrets = tuple(secrets)
    body, miss = _parse(provider, reply, secrets)
    if miss is not None:
        return miss
    trouble = _trouble(provider, reply, body, secrets)
    if isinstance(trouble, Miss):
        return trouble
    link = find(provider.resolve.url, body)
    if isinstance(link, str) and link.strip():
        return _hidden(link.strip(), secrets)
    return _miss(reply, MissKind.GARBLED, "the reply names no download link", secrets=secrets)


def read_created(provider: Provider, endpoint: Endpoint, reply: HttpReply, secrets: Iterable[str] = ()) -> str | Miss:
    """What a create gave: the new task's id, or why there is none.

    A reply that is not the API's own (no JSON, a gateway's page, no id) is `garbled` or `server`: it does not say
    whether a task was made.
    """
    secrets = tuple(secrets)
    body, miss = _parse(provider, reply, secrets)
    if miss is not None:
        return miss
    trouble = _trouble(provider, reply, body, secrets)
    if isinstance(trouble, Snapshot):  # a rule that ends a task refuses its creation
        error = trouble.error or TaskError(None, trouble.word)
        return _miss(reply, MissKind.BAD_REQUEST, error.message or trouble.word, code=error.code, secrets=secrets)
    if trouble is not None:
        return trouble
    ident = _word(find(endpoint.id or provider.create_id, body))
    if ident and ident == _hidden(ident, secrets):
        return ident
    return _miss(reply, MissKind.GARBLED, "the reply to the create names no task id", secrets=secrets)


def _parse(provider: Provider, reply: HttpReply, secrets: tuple[str, ...]) -> tuple[Any, Miss | None]:
    try:
        body = loads(reply.body)
    except NotJson as error:
        if reply.status == 200 or reply.status in {204, 206, 304}:
            what = "no content" if reply.status == 204 else str(error)
            return None, _miss(reply, MissKind.GARBLED, what, secrets=secrets)
        return None, _miss(reply, by_status(reply.status), _reason(reply.status), secrets=secrets)
    if not isinstance(body, dict):
        kind = MissKind.GARBLED if reply.status < 300 else by_status(reply.status)
        return None, _miss(reply, kind, f"the reply is a JSON {type(body).__name__}, not an object", secrets=secrets)
    if provider.adjust is not None:
        try:
            body = provider.adjust(body)
        except Exception as error:  # noqa: BLE001  # somebody's function met a reply that nobody foresaw
            what = f"adjust() of {provider.name} failed on the reply ({type(error).__name__})"
            return None, _miss(reply, MissKind.GARBLED, what, secrets=secrets)
    return body, None


def _look(
    provider: Provider, reply: HttpReply, body: Any, ident: str | None, secrets: tuple[str, ...]
) -> Snapshot | Miss:
    trouble = _trouble(provider, reply, body, secrets)
    if isinstance(trouble, Miss):
        return trouble
    told = _word(find(provider.reply_id, body))
    if ident is not None and told and told != ident:
        return _miss(reply, MissKind.GARBLED, f"the reply is about another task ({clean(told, 60)})", secrets=secrets)
    said = _said(provider, body)
    if trouble is None:
        return _task(provider, reply, body, said, secrets)

    # A code ended the task. A state word beside it must not say otherwise; under an HTTP error, a word that is not
    # final may be a default that nobody set.
    others = set(said) - {trouble.state, State.UNKNOWN}
    if any(state.final or reply.status < 300 for state in others):
        shown = " and ".join(f'"{clean(w, 30)}"' for w in (trouble.word, *said.values()))
        return _miss(reply, MissKind.GARBLED, f"the reply contradicts itself: {shown}", secrets=secrets)
    if set(said) == {trouble.state}:
        task = _task(provider, reply, body, said, secrets)
        return replace(task, error=task.error or trouble.error) if isinstance(task, Snapshot) else task
    return trouble


_UNREADABLE = "(unreadable)"


def _code(provider: Provider, body: Any) -> str | None:
    """The first code that is not `ok`; None when all is well."""
    codes = (_told(find(path, body)) for path in provider.code)
    return next((code for code in codes if code and code not in provider.ok), None)


def _told(value: Any) -> str:
    """A state word or code as text: empty when there is none, `_UNREADABLE` when something else stands there."""
    if value is None or value is False or value in ("", [], {}):
        return ""
    word = _word(value)
    return _UNREADABLE if word is None else word


def _trouble(provider: Provider, reply: HttpReply, body: Any, secrets: tuple[str, ...]) -> Snapshot | Miss | None:
    """A Miss, or a final Snapshot, when status or code say that this is no ordinary reply; else None."""
    status = reply.status
    inner = _number(find(provider.body_status, body))
    if inner is not None and inner.is_integer() and 300 <= inner < 600 and status < 300:
        status = int(inner)
    code = _code(provider, body)
    failed = set(_said(provider, body)) == {State.FAILED}
    if status < 300 and failed and not provider.strict_code and code != _UNREADABLE:
        code = None  # beside a word for failure it is the reason
    if status < 300 and code is None:
        if reply.status in {200, 201, 202, 203}:
            return None
        return _miss(reply, MissKind.GARBLED, f"HTTP {reply.status} is no answer to a look", secrets=secrets)

    message = _shown(_text(find(provider.message, body)) or "", secrets)
    shown = code or (str(status) if status != reply.status else None)
    wait = _number(find(provider.retry_after, body))
    trace = _trace(provider, reply, body, secrets)
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
                word=_shown(code or status, secrets, 80),
                error=TaskError(_shown(code or status, secrets, 80), _shown(message, secrets)),
                trace=trace,
                replied_at=_date(reply),
                raw=_raw(body, secrets),
            )
        kind = MissKind(rule.means)
        return _miss(reply, kind, message or _MEANINGS[kind], code=shown, wait=wait, secrets=secrets, trace=trace)
    if status >= 300:
        kind, message = by_status(status), message or _reason(status)
    elif provider.strict_code or code == _UNREADABLE:
        kind, message = MissKind.GARBLED, f"an error code that nbhelper does not know: {message or code}"
    else:
        return None
    return _miss(reply, kind, message, code=shown, wait=wait, secrets=secrets, trace=trace)


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


def _reason(status: int) -> str:
    return _REASONS.get(status, "server error" if 500 <= status < 600 else f"unexpected status {status}")


def _said(provider: Provider, body: Any) -> dict[State, str]:
    """Each state that the reply names, with the word for it; several places of an API must agree."""
    words = [word for path in provider.state if (word := _told(find(path, body)))]
    return {State(provider.words.get(word, State.UNKNOWN)): word for word in words}


def _task(
    provider: Provider, reply: HttpReply, body: Any, said: dict[State, str], secrets: tuple[str, ...]
) -> Snapshot | Miss:
    if not said or _UNREADABLE in said.values():
        keys = ", ".join(clean(k, 24) for k in list(body)[:8]) or "none"
        return _miss(reply, MissKind.GARBLED, f"the reply has no readable state; its keys are {keys}", secrets=secrets)
    known = {state: word for state, word in said.items() if state is not State.UNKNOWN} or said
    state, word = next(iter(known.items()))
    odd = _code(provider, body) if state is State.SUCCEEDED else None
    if len(known) > 1 or (state.final and len(said) > 1) or odd:
        words = " and ".join(f'"{clean(w, 30)}"' for w in (*said.values(), *filter(None, [odd])))
        return _miss(reply, MissKind.GARBLED, f"the reply contradicts itself: {words}", secrets=secrets)

    created, resolution_a = _when(provider, find(provider.created_at, body))
    started, resolution_b = _when(provider, find(provider.started_at, body))
    finished, resolution_c = _when(provider, find(provider.finished_at, body))
    if not state.final or (finished and created and finished < created):
        finished = None
    size = _count(find(provider.width, body)), _count(find(provider.height, body))
    outputs = tuple(_outputs(provider, body, size, secrets))
    error = None
    if state.final and state is not State.SUCCEEDED:
        # A filled error field beside any other state means nothing: one aggregator keeps the file id there.
        code, message = _text(find(provider.error_code, body)), _text(find(provider.error_message, body))
        if code in provider.ok:
            code = None  # a zero that stands there for "none"
        if code or message:
            error = TaskError(_shown(code, secrets, 80) if code else None, _shown(message or "", secrets))
    progress = _progress(provider, find(provider.progress, body)) if state in {State.RUNNING, State.SUCCEEDED} else None
    raw = _raw(body, secrets)
    params = find(provider.params, raw)
    return Snapshot(
        state=state,
        word=_shown(word, secrets, 80),
        progress=progress,
        queue_position=_count(find(provider.queue_position, body)) if not state.final else None,
        seconds_left=_positive(find(provider.seconds_left, body)) if not state.final else None,
        credits=_positive(find(provider.credits, body)),
        outputs=outputs,
        error=error,
        created_at=created,
        started_at=started,
        finished_at=finished,
        resolution_s=max((r for r in (resolution_a, resolution_b, resolution_c) if r), default=None),
        replied_at=_date(reply),
        model=_shown(_text(find(provider.model, body)) or "", secrets, 120) or None,
        trace=_trace(provider, reply, body, secrets),
        params=params if isinstance(params, dict) else NOTHING,
        raw=raw,
    )


# Outputs


def _outputs(
    provider: Provider, body: Any, size: tuple[int | None, int | None], secrets: tuple[str, ...]
) -> Iterator[Output]:
    seen: set[str] = set()
    names: set[str] = set()
    for spec in provider.results:
        for name, value in _leaves(find(spec.path, body), spec.name, spec):
            if len(seen) >= MOST_OUTPUTS:
                return
            output = _output(provider, spec, _shown(name, secrets, 120), value)
            if output is None:
                continue
            # A link that holds the key would carry it to wherever it leads; without it, it leads nowhere.
            url, ref = output.url and _hidden(output.url, secrets), output.ref and _hidden(output.ref, secrets)
            output = replace(output, url=url, ref=ref)
            same = output.url or output.ref or hashlib.sha256(output.data or b"").hexdigest()
            if same in seen:
                continue
            seen.add(same)
            # Names are what files and saves are known by, so two outputs never share one.
            free = next(n for i in count(1) if (n := output.name if i == 1 else f"{output.name} ({i})") not in names)
            names.add(free)
            yield replace(output, name=free, width=size[0], height=size[1])


def _leaves(node: Any, name: str, spec: Outputs) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in spec.skip:
                yield from _leaves(value, f"{name}.{key}" if name else key, spec)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{name}[{index}]", spec)
    elif node is not None and not isinstance(node, bool):
        yield name or spec.form, node


def _output(provider: Provider, spec: Outputs, name: str, value: Any) -> Output | None:
    lifetime = spec.lifetime if spec.lifetime is not None else provider.lifetime
    if spec.form == "ref":
        text = _word(value)
        known = text and text != "0"
        return Output(name=clean(name, 120), ref=text, kind=spec.kind or "file", lifetime=None) if known else None
    if not isinstance(value, str) or not value.strip():
        return None
    text = value.strip()
    inline, link = text[:5].casefold() == "data:", _LINK.match(text)
    if spec.form != "data" and not link:
        return None
    name = clean(name, 120)
    if spec.form == "data" and not (link and not inline):
        data = _decode(text)
        return Output(name=name, data=data, kind=spec.kind or kind_of(name, "")) if data else None
    if inline:
        data = _decode(text)
        return Output(name=name, data=data, kind=spec.kind or kind_of(name, text[5:30])) if data else None
    if len(text) > 16_384:
        return None
    return Output(name=name, url=storable(text), kind=spec.kind or kind_of(name, text), lifetime=lifetime)


def _decode(text: str) -> bytes | None:
    """Base64 as servers write it: a data-URL prefix, line breaks, either alphabet, missing padding."""
    if text[:5].casefold() == "data:":
        text = text.partition(",")[2]
    packed = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


_SUFFIX_KINDS = {
    "image": {"png", "jpg", "jpeg", "webp", "gif", "avif", "bmp", "tif", "tiff", "heic", "svg"},
    "video": {"mp4", "webm", "mov", "m4v", "mkv"},
    "model": {"glb", "gltf", "fbx", "obj", "usdz", "usd", "stl", "3mf", "ply", "blend"},
    "audio": {"mp3", "wav", "ogg", "flac", "m4a", "aac"},
}
_NAME_KINDS = (
    ("video", ("video",)),
    ("audio", ("audio", "sound", "music")),
    ("image", ("image", "picture", "photo", "thumb", "mask", "frame", "view", "render", "poster", "texture", "cover")),
    ("model", ("model", "mesh", "glb")),
)


def kind_of(name: str, link: str) -> str:
    """`image`, `video`, `model`, `audio` or `file`, by the link's suffix, then by the keys of its name."""
    try:
        path = urlsplit(link).path
    except ValueError:
        path = ""
    suffix = path.rpartition(".")[2].casefold() if "." in path else ""
    for kind, suffixes in _SUFFIX_KINDS.items():
        if suffix in suffixes or link.startswith(kind + "/"):
            return kind
    for key in reversed(name.casefold().split(".")):  # the last key that says something: `rendered_image.url`
        for kind, parts in _NAME_KINDS:
            if any(part in key for part in parts):
                return kind
    return "file"


# Scalars


def _word(value: Any) -> str | None:
    """A state word, code or id as text: 2, 2.0 and "2" are the same, true is none of them."""
    if isinstance(value, str):
        return value.strip()
    number = _number(value) if isinstance(value, int | float) else None
    if number is None:
        return None
    return str(int(value)) if isinstance(value, int) or number.is_integer() else str(value)


def _text(value: Any) -> str | None:
    if isinstance(value, dict | list):
        try:
            return json.dumps(value, ensure_ascii=False)[: EXCERPT * 2] if value else None
        except (ValueError, RecursionError):
            return None
    return _word(value) or None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        text = value.strip().removesuffix("%").strip()
        if not re.fullmatch(r"[+-]?\d{1,30}(\.\d{1,30})?", text):
            return None
        return float(text)
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _positive(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _count(value: Any) -> int | None:
    number = _positive(value)
    return int(number) if number is not None and number < 1e12 else None


def _progress(provider: Provider, value: Any) -> float | None:
    number = _number(value)
    if number is None:
        return None
    full = 100.0 if isinstance(value, str) and value.strip().endswith("%") else provider.progress_max
    return min(1.0, max(0.0, number / full))


_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def _when(provider: Provider, value: Any) -> tuple[datetime | None, float | None]:
    """A server's time in UTC and how fine it is; None for zero dates and for numbers that are no time."""
    number = _number(value)
    if number is not None:
        seconds, fine = (number / 1000, 0.001) if number > 1e11 else (number, 1.0 if number.is_integer() else 0.001)
        if not _EARLIEST.timestamp() <= seconds <= _LATEST.timestamp():
            return None, None
        return datetime.fromtimestamp(seconds, UTC), fine
    if not isinstance(value, str):
        return None, None
    try:
        when = datetime.fromisoformat(value.strip()[:40])
    except ValueError:
        return None, None
    if when.tzinfo is None:
        if provider.utc_offset is None:
            return None, None
        when = when.replace(tzinfo=timezone(timedelta(hours=provider.utc_offset)))
    try:
        when = when.astimezone(UTC)
    except (OverflowError, ValueError):
        return None, None
    return (when, 0.001 if "." in value else 1.0) if _EARLIEST <= when <= _LATEST else (None, None)


def _date(reply: HttpReply) -> datetime | None:
    return _http_date(reply.headers.get("date", ""))


@lru_cache(maxsize=64)  # all replies of one second have the same
def _http_date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)


def retry_after(reply: HttpReply, told: float | None = None) -> float | None:
    """Seconds that the server asked to wait, at most 10 minutes; a date counts from the reply's own `Date`."""
    header = reply.headers.get("retry-after", "").strip()
    first = header.split(",")[0].strip()  # two headers arrive as one; a date has a comma of its own
    wait = told
    if re.fullmatch(r"\d{1,400}(\.\d{1,20})?", first):
        wait = float(first[:12]) if len(first) <= 12 else LONGEST_WAIT
    elif header:
        try:
            when = parsedate_to_datetime(header)
            base = _date(reply)
            if base is not None:
                wait = (when.replace(tzinfo=when.tzinfo or UTC) - base).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            pass  # nonsense is as good as no header
    if wait is None or not math.isfinite(wait) or wait <= 0:
        return None
    return min(wait, LONGEST_WAIT)


def _trace(provider: Provider, reply: HttpReply, body: Any, secrets: tuple[str, ...]) -> str | None:
    if "-" in provider.trace:  # a header's name; no key of a body is written so without quotes
        told = reply.headers.get(provider.trace.casefold())
    else:
        told = reply.headers.get(provider.trace.casefold()) or _text(find(provider.trace, body))
    return _shown(told or "", secrets, 120) or None


def _hidden(text: str, secrets: tuple[str, ...]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "[key removed]")
    return text


def _shown(text: object, secrets: tuple[str, ...], limit: int = EXCERPT) -> str:
    """A server's words fit to show: cleaned first, so that no escape inside a key hides it from `redact`."""
    return clean(redact(clean(text, 4 * EXCERPT), secrets), limit)


def _miss(
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
        code=_shown(code, secrets, 80) if code else None,
        message=_shown(message, secrets),
        excerpt=_shown(excerpt, secrets),
        trace=trace,
        retry_after=retry_after(reply, wait),
        replied_at=_date(reply),
    )


def _raw(body: Any, secrets: tuple[str, ...]) -> Any:
    """The reply fit to keep: redacted, and long base64 as digest and size."""
    return redact(body, secrets, _shortened)


def _shortened(text: str) -> str:
    if len(text) <= _BASE64_SEEN or " " in text[:_BASE64_SEEN]:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"[{len(text):,} characters, sha256 {digest[:16]}]"
