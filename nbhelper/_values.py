"""The values that travel through nbhelper: all frozen, each printable on one line, none of them ever holding a key.

A `Task` is a reference. Each look at it gives a `Snapshot` (a good reply) or a `Miss` (anything else). Together with
what we did ourselves (`Saved`, `Mark`) these are the `Event`s of a `History`, from which everything shown is derived.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from ._errors import BadInput
from ._json import JsonText, loads
from ._text import clean, kind_of, without_query

NOTHING: Mapping[str, Any] = MappingProxyType({})


def nothing() -> Mapping[str, Any]:
    """The empty mapping, shared: a default that nobody can change."""
    return NOTHING


NO_ID = "(no id yet)"
"""Stands where the API has not given an id: a create that waits, was refused, or is in doubt."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_LONGEST_ID = 1024


class _Word(StrEnum):
    __hash__ = str.__hash__  # an enumeration hashes by its names, slowly, although its members equal their texts


class State(_Word):
    """What a task is doing, in one vocabulary for all APIs.

    `unknown` is a word that nobody declared: it is shown, recorded and looked at again, never taken for an end.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether the server will not say anything new."""
        return self in _FINAL


_FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


class Outcome(_Word):
    """How a watch ended: the first four are the server's word, the last two are ours and can be resumed."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LOST = "lost"
    """We cannot see the task any more; it may still finish and be billed."""
    STOPPED = "stopped"
    """We stopped looking (timeout, interrupt, `stop()`); the task goes on and may be billed."""


class MissKind(_Word):
    """Why a look gave no snapshot. None of these says anything about the task itself."""

    NETWORK = "network"
    SERVER = "server"
    GARBLED = "garbled"
    RATE_LIMITED = "rate_limited"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    NO_CREDIT = "no_credit"
    BAD_REQUEST = "bad_request"


class SaveState(_Word):
    """What became of one output's file."""

    SAVED = "saved"
    PENDING = "pending"
    EXPIRED = "expired"
    FAILED = "failed"


class MarkWord(_Word):
    """What we did with a task, as opposed to what we saw of it."""

    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    REFUSED = "refused"
    """The API refused the create, or nothing was sent: nothing was made."""
    WATCHING = "watching"
    STOPPED = "stopped"
    LOST = "lost"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class Task:
    """A reference to one task at one API; its text `provider:id[?key=value]` round-trips through `Task.parse`.

    Two tasks are equal when provider, id and extra are; label and params are notes about it.

    Attributes:
        provider: A registered name such as `"tripo"`.
        id: The API's own id, as text. Surrounding white space is stripped.
        label: A name of your own, used on the card and for the folder of its files.
        params: What was asked for (bytes as digest and size, never a key).
        extra: What the API needs besides the id, such as `{"type": "HD_COLOUR_MIGRATION"}` for `ailab-legacy`.

    Raises:
        BadInput: An empty id, control characters, more than 1 kB, a name that cannot be a provider's.
    """

    provider: str
    id: str
    label: str | None = field(default=None, compare=False)
    params: Mapping[str, Any] = field(default_factory=nothing, compare=False, repr=False)
    extra: Mapping[str, str] = field(default_factory=nothing)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "provider", _provider_name(self.provider))
        put(self, "id", _task_id(self.id))
        if self.label is not None and not isinstance(self.label, str):
            raise BadInput(f"label must be text or None, not {type(self.label).__name__}.")
        if not isinstance(self.params, Mapping) or not isinstance(self.extra, Mapping):
            raise BadInput('params and extra must be mappings, such as {"type": "HD_COLOUR_MIGRATION"}.')
        extra: dict[str, str] = {}
        for key, value in self.extra.items():
            if not isinstance(key, str) or not isinstance(value, str) or _odd(key) or _odd(value):
                raise BadInput("extra takes plain text for each key and value.")
            if len(key) + len(value) > _LONGEST_ID or looks_like_key(value):
                raise BadInput("extra takes a few words that belong to the id, no keys and no long texts.")
            extra[key] = value
        put(self, "params", MappingProxyType(dict(self.params)) if self.params else NOTHING)
        put(self, "extra", MappingProxyType(dict(sorted(extra.items()))) if extra else NOTHING)
        if self.label is not None:
            put(self, "label", clean(self.label, 200) or None)

    @classmethod
    def parse(cls, text: str) -> Task:
        """The task that `str(task)` named.

        Raises:
            BadInput: The text is not of the form `provider:id[?key=value]`.
        """
        if not isinstance(text, str):
            raise BadInput(f'A task reference is text such as "tripo:1ec04ced-…", not {type(text).__name__}.')
        provider, colon, rest = text.strip().partition(":")
        if not colon or not provider or not rest:
            found = clean(text, 60)
            raise BadInput(
                f'"{found}" is not a task reference. Write "provider:id", such as "tripo:1ec04ced-…".'
                if found
                else 'The task reference is empty. Write "provider:id", such as "tripo:1ec04ced-…".',
            )
        if rest.startswith("//"):
            raise BadInput(f'"{clean(text, 60)}" is a link. Write the provider and the id in it: "provider:id".')
        ident, _, query = rest.partition("?")
        try:
            name = unquote(ident, errors="strict")
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise BadInput(f'"{clean(text, 60)}" is not a task reference: its "%" sequences are no UTF-8.') from None
        if len(dict(pairs)) < len(pairs):
            raise BadInput(f'"{clean(text, 60)}" is not a task reference: it says one thing twice behind its "?".')
        return cls(provider, name, extra=dict(pairs))

    def __str__(self) -> str:
        query = "?" + urlencode(dict(self.extra)) if self.extra else ""
        return f"{self.provider}:{quote(self.id, safe='._~-')}{query}"

    def __repr__(self) -> str:
        label = f" {self.label!r}" if self.label else ""
        return f"<Task {self}{label}>"

    def __hash__(self) -> int:
        return hash((self.provider, self.id, tuple(self.extra.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mappingproxy cannot be pickled; plain dicts can, and __post_init__ wraps them again.
        return type(self), (self.provider, self.id, self.label, dict(self.params), dict(self.extra))


def _provider_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name.strip()):
        shown = f'"{clean(name, 40)}"' if isinstance(name, str) else type(name).__name__
        raise BadInput(f'A provider is named by text such as "tripo" or "kie", not {shown}.')
    return name.strip()


def _odd(text: str) -> bool:
    return any(not c.isprintable() for c in text)


def _task_id(ident: object) -> str:
    if isinstance(ident, bool) or not isinstance(ident, str | int):
        raise BadInput(f"A task id is text, not {type(ident).__name__}.")
    # Python refuses to write out whole numbers of thousands of digits.
    text = "9" * 5000 if isinstance(ident, int) and ident.bit_length() > 8000 else str(ident).strip()
    if not text:
        raise BadInput("The task id is empty. Copy it from the reply to the create call.")
    if _odd(text):
        raise BadInput("The task id holds control characters or line breaks. Copy it again from the create's reply.")
    if (size := len(text.encode("utf-8", "surrogatepass"))) > _LONGEST_ID:
        raise BadInput(f"The task id has {size:,} bytes; none has more than 1 kB. Is it a whole reply?")
    if looks_like_key(text):
        raise BadInput("That looks like an API key, not a task id. Pass keys to nbhelper.connect(provider, api_key=…).")
    return text


def looks_like_key(text: str) -> bool:
    """Whether text has the look of a key (`sk-…`, `tsk_…`, `Bearer …`) that was passed in the wrong place."""
    return bool(re.match(r"(?:bearer\s|sk-[\w-]{16,}$|tsk_[\w-]{16,}$)", text, re.IGNORECASE))


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why the server says that a task did not succeed; `code` is always text, as the API wrote it."""

    code: str | None
    message: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.code, self.message))) or "no reason given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One result that a reply named: a link, the bytes themselves, or a reference that takes a second request.

    Attributes:
        name: The key path in the reply, such as `output.pbr_model` or `resultUrls[0]`.
        url: A link; signed links are secrets and are left out of the repr's query.
        data: The bytes, where the API delivers them in the reply.
        ref: What a second request turns into a link, such as MiniMax's `file_id`.
        kind: `image`, `video`, `model`, `audio` or `file`.
        lifetime: Seconds that the link is promised to live, counted from the look; None where nobody says.
        width: Pixels, where the API tells them.
        height: The same.
    """

    name: str
    url: str | None = None
    data: bytes | None = field(default=None, repr=False)
    ref: str | None = None
    kind: str = "file"
    lifetime: float | None = None
    width: int | None = None
    height: int | None = None

    def __repr__(self) -> str:
        what = without_query(self.url) if self.url else f"{len(self.data):,} bytes" if self.data else f"ref {self.ref}"
        return f"<Output {clean(self.name, 60)} {self.kind} {clean(what, 120)}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one good reply said of a task. Whatever the reply did not say is None, never zero.

    Attributes:
        state: The task's state in our words.
        word: The provider's own word for it.
        progress: 0 to 1; None unless the task runs or is done.
        queue_position: Tasks ahead, 0 for the next one.
        seconds_left: The server's estimate.
        credits: What the server says it took; 0 means free, None means that it did not say.
        outputs: Every result named, also while the task still runs.
        error: The server's reason, for a task that did not succeed.
        created_at: Server clock, UTC; so are `started_at` and `finished_at`.
        resolution_s: How fine the server's times are, in seconds.
        replied_at: The reply's `Date` header, UTC, for the skew between its clock and ours.
        model: What made it.
        trace: The request id to give to the API's support.
        params: What was asked for, where the API echoes it.
        reply: The reply as JSON text, redacted: no keys, no queries of links, long base64 as digest and size.
    """

    state: State
    word: str = ""
    progress: float | None = None
    queue_position: int | None = None
    seconds_left: float | None = None
    credits: float | None = None
    outputs: tuple[Output, ...] = ()
    error: TaskError | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    resolution_s: float | None = None
    replied_at: datetime | None = None
    model: str | None = None
    trace: str | None = None
    params: Mapping[str, Any] = field(default_factory=nothing, repr=False)
    reply: JsonText | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # As in Task: the mappingproxy that stands for "no params" cannot be pickled.
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return partial(type(self), **{**given, "params": dict(self.params)}), ()

    @property
    def raw(self) -> Any:
        """The reply parsed, anew at each call; None where it is not kept."""
        return None if self.reply is None else loads(str(self.reply))

    @property
    def error_code(self) -> str | None:
        """The error's code, None without an error."""
        return self.error.code if self.error else None

    def __repr__(self) -> str:
        parts = [str(self.state)]
        if self.word and self.word != self.state:
            parts.append(f'("{clean(self.word, 40)}")')
        if self.progress is not None:
            parts.append(f"{self.progress:.0%}")
        if self.outputs:
            parts.append(f"{len(self.outputs)} output{'s' * (len(self.outputs) != 1)}")
        if self.error:
            parts.append(clean(self.error, 80))
        return f"<Snapshot {' '.join(parts)}>"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What became of one output: its file, or why there is none.

    Attributes:
        name: The output's name.
        state: `saved`, `expired` (the link died and no fresh one was to be had) or `failed`.
        file: Absolute path (the store keeps it relative to its own folder, so that the folder can move).
        kind: What the bytes are, by their own first bytes.
        n_bytes: Size of the file.
        sha256: Of the file, in hex.
        width: Pixels, for pictures.
        height: The same.
        message: Why not, when not saved.
    """

    name: str
    state: SaveState = SaveState.SAVED
    file: str | None = None
    kind: str = "file"
    n_bytes: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    message: str = ""

    def __repr__(self) -> str:
        what = f"{self.kind} {self.n_bytes or 0:,} bytes" if self.state is SaveState.SAVED else clean(self.message, 80)
        return f"<Saved {clean(self.name, 60)} {self.state} {what}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something we did: began to submit, began to watch, stopped, gave up.

    `note` says why in a few words; it never holds a key. `code` is the API's own, for a create that it refused.
    """

    word: MarkWord
    note: str = ""
    code: str | None = None

    def __repr__(self) -> str:
        return f"<Mark {self.word}{f': {clean(self.note, 80)}' if self.note else ''}>"


Seen = Snapshot | Miss | Saved | Mark


@dataclass(frozen=True, slots=True)
class Event:
    """One observation: when (UTC), in which order, and what."""

    seq: int
    at: datetime
    seen: Seen

    def __repr__(self) -> str:
        return f"<Event {self.seq} {self.at:%H:%M:%S} {self.seen!r}>"


@dataclass(frozen=True, slots=True)
class Request:
    """One create that has not been sent: what an `Experiment`'s function returns.

    Attributes:
        provider: A registered name.
        body: The parameters, as the API documents them.
        endpoint: Short name or path; required where the API has several.
        files: Field name to path, bytes or picture, for uploads.

    Raises:
        BadInput: A part of another type. Names, endpoint and parameters are checked when the experiment is made.
    """

    provider: str
    body: Mapping[str, Any]
    endpoint: str | None = None
    files: Mapping[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "provider", _provider_name(self.provider))
        if not isinstance(self.body, Mapping) or not all(isinstance(name, str) for name in self.body):
            raise BadInput(f"A request's body is a mapping of parameters by name, not {kind_of(self.body)}.")
        if self.endpoint is not None and (not isinstance(self.endpoint, str) or not self.endpoint.strip()):
            raise BadInput(f"A request's endpoint is a short name, a path or None, not {kind_of(self.endpoint)}.")
        if self.files is not None and not isinstance(self.files, Mapping):
            raise BadInput(f"A request's files are a mapping of parameter to path or bytes, not {kind_of(self.files)}.")

    def __repr__(self) -> str:
        where = f" {clean(self.endpoint, 40)}" if self.endpoint else ""
        return f"<Request {self.provider}{where}: {clean(', '.join((*self.body, *(self.files or ()))), 120)}>"


def digest(data: bytes) -> dict[str, Any]:
    """How bytes stand in `params`: by digest and size, so that a history never holds somebody's picture."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "n_bytes": len(data)}


__all__ = [
    "NOTHING", "NO_ID", "Event", "Mark", "MarkWord", "Miss", "MissKind", "Outcome", "Output", "Request", "SaveState",
    "Saved", "Seen", "Snapshot", "State", "Task", "TaskError", "digest", "looks_like_key",
    "nothing",
]  # fmt: skip
