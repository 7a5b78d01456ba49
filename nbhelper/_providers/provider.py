"""What an API has to say about itself: a frozen `Provider`, mostly data.

A provider never sees a key, a clock, a client or a widget. It names requests, and where in a reply each fact stands, as
JMESPath expressions (https://jmespath.org) with one function added: `from_json(text)` reads JSON inside a string and
gives null for anything that is not JSON. `reader.py` does the reading, in the same way for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from .._model.errors import BadInput
from .._model.seen import Snapshot, State, field_types
from .._model.text import clean
from .paths import Finder, finder
from .reply_parts import Batch, Endpoint, ErrorRule, FileUpload, Outputs, Resolve
from .requests import HttpRequest

_MADE = {"state", "word", "outputs", "error", "resolution_s", "replied_at", "trace", "params", "reply"}
"""The fields of a `Snapshot` that the reader makes from more than the value at one path."""
SCALARS: Mapping[str, Any] = {name: kind for name, kind in field_types(Snapshot).items() if name not in _MADE}
"""The fields of a `Snapshot` that are one value at one path, which a provider names by the same name; their types."""

_Class = TypeVar("_Class", bound=type)


def _with_paths(cls: _Class) -> _Class:
    """Add a path for each field of `SCALARS` without one of its own; empty unless a provider names it."""
    for name in SCALARS.keys() - cls.__annotations__.keys():
        cls.__annotations__[name] = "str"
        setattr(cls, name, "")
    return cls


@dataclass(frozen=True, kw_only=True)
@_with_paths
class Provider:
    """An API as data: one of your own takes a cell.

    Every path is a JMESPath (https://jmespath.org) into the JSON of a reply, where `from_json(text)` reads JSON inside
    a string; an empty one means that the API does not say. The types of the parts, such as `Endpoint`, `Outputs` and
    `ErrorRule`, are in `nbhelper.types`.

    Example:
        nbh.register(nbh.Provider(
            name="pixelmill",
            base_url="https://api.pixelmill.example",
            key_variable="PIXELMILL_API_KEY",
            poll="GET /v1/jobs/{id}",
            state="job.status",
            words={"waiting": "queued", "working": "running", "done": "succeeded", "error": "failed"},
            outputs="job.images",
            progress="job.percent",
            credits="job.credits_used",
            error_message="job.reason",
            endpoints={"image": "POST /v1/jobs"},
            create_id="job.id",
        ))
        task = nbh.Task("pixelmill", "an id")  # or nbh.submit("pixelmill", {"prompt": "an owl"}), with a key

    Attributes:
        name: What references start with: lower-case letters, digits, `-`.
        base_url: The API's root, prefix included; https, or http on loopback.
        key_variable: Environment variable with the key, or several in order.
        key_header: The header that carries it.
        key_format: How it stands there.
        key_starts: What a key must begin with, where the API insists.
        docs: The page to read.
        floor: Least seconds between two looks at one task; nothing goes below it.
        lifetime: Seconds that a result's link lives.
        looks_per_second: The API's limit for looks with one key; None where nobody says.
        poll: One look, such as `"GET /v1/jobs/{id}"`.
        reply_id: Path to the id in a look's reply; another task's reply is refused by it.
        state: Path to the state word, or several places that must agree.
        words: Word (or number, as text) to `State`; anything else is `unknown`.
        confirm: Words that the docs call final although they say nothing; one more look, then `lost`.
        outputs: Where results stand: a path, or `Outputs`.
        progress: Path to the progress.
        progress_max: What a full bar is: 100 for per cent, 1 for a fraction.
        queue_position: Path; -1 and below mean none.
        seconds_left: Path, in seconds; -1 and below mean none.
        credits: Path to what the task took.
        created_at: Path; seconds, milliseconds or ISO text.
        started_at: The same.
        finished_at: The same.
        utc_offset: Hours east of Greenwich for ISO times without a zone; None leaves such times out.
        model: Path to the model's name.
        params: Path to the request that the API echoes.
        width: Path to the results' width in pixels.
        height: The same for the height.
        error_code: Path to why a task failed.
        error_message: The same, in words.
        trace: Response header, or path, with the id for support.
        code: Path to the code of a refused request in the body, or several: the first that is not `ok` counts.
        ok: Codes that mean no error.
        body_status: Path to a number in the body that means what an HTTP status means.
        message: Path to the words of a refused request.
        retry_after: Path to seconds in the body, beside the `Retry-After` header.
        errors: What statuses and codes mean; the rest follows HTTP.
        strict_code: Whether a code that is neither known nor `ok` makes a reply unreadable; else a state that is not
            final is read beside it.
        resolve: The second request for a `ref`.
        batch: The request for many tasks at once.
        endpoints: Creates by short name: an `Endpoint`, or text such as `"POST /v1/jobs"`.
        other: What a create at a path that is in no endpoint looks like; None refuses such paths.
        create_id: Path to the id in a create's reply.
        create_limit: The API's limit of creates with one key: how many in how many seconds; None where nobody says.
        upload: How files are handed over where creates take JSON; None where the API takes links only.
        request_model: Path to the model in a create's parameters.
        max_reply: Most bytes of one reply; results inside replies need more than the usual 2 MB.
        adjust: A pure function from the parsed reply to the one that the paths are read from, for what data cannot say.
    """

    name: str
    base_url: str
    key_variable: str | tuple[str, ...]
    poll: str | HttpRequest
    state: str | tuple[str, ...]
    words: Mapping[str, State | str]
    key_header: str = "Authorization"
    key_format: str = "Bearer {key}"
    key_starts: tuple[str, ...] = ()
    docs: str = ""
    floor: float = 2.0
    lifetime: float | None = None
    looks_per_second: float | None = None
    reply_id: str = ""
    confirm: frozenset[str] = frozenset()
    outputs: str | Outputs | tuple[Outputs, ...] = ()
    progress: str = ""
    progress_max: float = 100.0
    queue_position: str = ""
    seconds_left: str = ""
    credits: str = ""
    created_at: str = ""
    started_at: str = ""
    finished_at: str = ""
    utc_offset: float | None = None
    model: str = ""
    params: str = ""
    width: str = ""
    height: str = ""
    error_code: str = ""
    error_message: str = ""
    trace: str = ""
    code: str | tuple[str, ...] = ""
    ok: frozenset[str] = frozenset({"0", "200", ""})
    body_status: str = ""
    message: str = ""
    retry_after: str = ""
    errors: tuple[ErrorRule, ...] = ()
    strict_code: bool = True
    resolve: Resolve | None = None
    batch: Batch | None = None
    endpoints: Mapping[str, Endpoint | str] = field(default_factory=dict)
    other: Endpoint | None = None
    create_id: str = "id || task_id || data.task_id || data.id"
    create_limit: tuple[int, float] | None = None
    upload: FileUpload | None = None
    request_model: str = "model"
    max_reply: int = 2_000_000
    adjust: Callable[[Any], Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", self.name):
            raise BadInput('A provider\'s name is lower-case letters, digits and "-", such as "pixelmill".')
        for name, types, what in _SHAPES:
            if not isinstance(getattr(self, name), types):
                given = type(getattr(self, name)).__name__
                raise BadInput(f'{name} of "{self.name}" must be {what}, not {given}.')
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", self.base_url):
            raise BadInput(f'base_url of "{self.name}" must be an address such as "https://api.pixelmill.example".')
        put(self, "base_url", self.base_url.rstrip("/"))
        put(self, "key_variable", _several(self.key_variable))
        if not self.variables or not all(
            isinstance(v, str) and re.fullmatch(r"[A-Za-z_]\w*", v) for v in self.variables
        ):
            raise BadInput(f'key_variable of "{self.name}" must name an environment variable, such as "MILL_API_KEY".')
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", self.key_header):
            raise BadInput(f'key_header of "{self.name}" must be a header\'s name, such as "Authorization".')
        if "{key}" not in self.key_format or not self.key_format.isprintable():
            raise BadInput(f'key_format of "{self.name}" must hold "{{key}}", on one line.')
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if isinstance(value, bool) or (value is not None and not low <= value <= high):
                raise BadInput(f'{name} of "{self.name}" must lie between {low:g} and {high:g}.')
        if not all(isinstance(rule, ErrorRule) for rule in self.errors):
            raise BadInput(f'errors of "{self.name}" must be ErrorRules.')
        if not all(isinstance(name, str) and name for name in self.endpoints):
            raise BadInput(f'endpoints of "{self.name}" must be named by text, such as "image".')
        if not self.words or not any(_several(self.state)):
            raise BadInput(
                f'The provider "{self.name}" must say where the state stands (state=) and what its words mean (words=).'
            )
        if isinstance(self.floor, bool) or not 0.1 <= self.floor <= 3600:
            raise BadInput(f'floor of "{self.name}" must be seconds between 0.1 and 3600.')
        if isinstance(self.progress_max, bool) or not 0 < self.progress_max < 1e12:
            raise BadInput(f'progress_max of "{self.name}" is what a full bar is: 100 for per cent, 1 for a fraction.')
        if isinstance(self.poll, str):
            put(self, "poll", HttpRequest.parse(self.poll))
        if "{id}" not in f"{self.look.path} {dict(self.look.query)} {self.look.json}":
            raise BadInput(f'poll of "{self.name}" must say where the id stands, as in "GET /v1/jobs/{{id}}".')
        put(self, "state", _several(self.state))
        put(self, "code", _several(self.code))
        words = {str(word): _state(self.name, state) for word, state in self.words.items()}
        put(self, "words", MappingProxyType(words))
        if isinstance(self.outputs, str):
            plain = self.outputs if re.fullmatch(r"[\w.]+", self.outputs) else ""
            put(self, "outputs", (Outputs(path=self.outputs, name=plain),) if self.outputs else ())
        else:
            put(self, "outputs", _several(self.outputs))
        if not all(isinstance(spec, Outputs) for spec in self.results):
            raise BadInput(f'outputs of "{self.name}" must be a JMESPath, or Outputs.')
        put(self, "endpoints", MappingProxyType({k: _endpoint(v) for k, v in self.endpoints.items()}))
        self._check_paths()

    def _check_paths(self) -> None:
        named = {name: getattr(self, name) for name in PATHS}
        named |= {f"state[{i}]": path for i, path in enumerate(self.state)}
        named |= {f"code[{i}]": path for i, path in enumerate(self.code)}
        named |= {f"outputs[{i}]": spec.path for i, spec in enumerate(self.results)}
        named |= {f"endpoints[{k}].id": e.id for k, e in self.creates.items()}
        if self.batch:
            named |= {f"batch.{name}": getattr(self.batch, name) for name in ("items", "item_id", "missed")}
        if self.resolve:
            named["resolve.url"] = self.resolve.url
        if self.upload:
            named["upload.answer"] = self.upload.answer
        for name, path in named.items():
            if not isinstance(path, str):
                raise BadInput(f'{name} of "{self.name}" is a JMESPath, so text, not {type(path).__name__}.')
            try:
                finder(path)
            except ValueError as error:
                raise BadInput(f'{name} of "{self.name}" is no JMESPath: {clean(error, 120)}') from None

    @cached_property
    def finders(self) -> Finders:
        """What reads a look's reply: made once, since each look at each task asks for most of them."""
        return Finders(
            state=tuple(map(finder, self.state)),
            code=tuple(map(finder, self.code)),
            outputs=tuple((spec, finder(spec.path)) for spec in self.results),
            scalars=tuple((name, kind, finder(getattr(self, name))) for name, kind in SCALARS.items()),
            **{name: finder(getattr(self, name)) for name in _ASKED},
        )

    @property
    def look(self) -> HttpRequest:
        """The poll request, parsed."""
        assert isinstance(self.poll, HttpRequest)
        return self.poll

    @property
    def states(self) -> Mapping[str, State]:
        """The words, each with its state."""
        return self.words  # type: ignore[return-value]  # __post_init__ made every value a State

    @property
    def results(self) -> tuple[Outputs, ...]:
        """Where outputs stand, each as `Outputs`."""
        assert isinstance(self.outputs, tuple)
        return self.outputs

    @property
    def variables(self) -> tuple[str, ...]:
        """The key's environment variables, in order."""
        assert isinstance(self.key_variable, tuple)
        return self.key_variable

    @property
    def creates(self) -> Mapping[str, Endpoint]:
        """The endpoints, parsed."""
        return self.endpoints  # type: ignore[return-value]  # __post_init__ made every value an Endpoint

    def __repr__(self) -> str:
        return f"<Provider {self.name} {self.base_url}>"


PATHS = (
    *SCALARS, "reply_id", "params", "width", "height", "error_code", "error_message", "body_status", "message",
    "retry_after", "create_id", "request_model",
)  # fmt: skip
"""The fields of a Provider that are one JMESPath each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finders:
    """The paths of a `Provider` that a look's reply is read by, each as a function of the parsed reply."""

    state: tuple[Finder, ...]
    code: tuple[Finder, ...]
    outputs: tuple[tuple[Outputs, Finder], ...]
    scalars: tuple[tuple[str, Any, Finder], ...]
    reply_id: Finder
    params: Finder
    width: Finder
    height: Finder
    error_code: Finder
    error_message: Finder
    body_status: Finder


_ASKED = tuple(f.name for f in fields(Finders) if f.name in PATHS)


_SHAPES: tuple[tuple[str, Any, str], ...] = (
    ("base_url", str, 'an address such as "https://api.pixelmill.example"'),
    ("key_variable", str | tuple | list, 'an environment variable, such as "MILL_API_KEY"'),
    ("key_format", str, 'text with "{key}"'),
    ("floor", int | float, "seconds"),
    ("progress_max", int | float, "a number"),
    ("poll", str | HttpRequest, 'a request, such as "GET /v1/jobs/{id}"'),
    ("state", str | tuple | list, "a JMESPath, or several"),
    ("words", Mapping, "a mapping of the API's words to states"),
    ("outputs", str | Outputs | tuple | list, "a JMESPath, or Outputs"),
    ("code", str | tuple | list, "a JMESPath, or several"),
    ("endpoints", Mapping, 'a mapping such as {"image": "POST /v1/jobs"}'),
    ("key_header", str, 'a header, such as "Authorization"'),
    ("key_starts", tuple, 'several beginnings, such as ("tsk_",)'),
    ("docs", str, "an address"),
    ("confirm", frozenset | set, "a set of words"),
    ("ok", frozenset | set, "a set of codes, as text"),
    ("errors", tuple | list, "several ErrorRules"),
    ("strict_code", bool, "True or False"),
    ("resolve", Resolve | None, "a Resolve, or None"),
    ("batch", Batch | None, "a Batch, or None"),
    ("other", Endpoint | None, "an Endpoint, or None"),
    ("create_limit", tuple | None, "(how many, in how many seconds), or None"),
    ("upload", FileUpload | None, "a FileUpload, or None"),
    ("trace", str, "a header, or a JMESPath"),
    ("max_reply", int, "a number of bytes"),
    ("lifetime", int | float | None, "seconds, or None"),
    ("looks_per_second", int | float | None, "a number, or None"),
    ("utc_offset", int | float | None, "hours, or None"),
    ("adjust", Callable | None, "a function, or None"),
)
"""The fields whose type is worth a line of its own when it is wrong."""
_RANGES = (("max_reply", 1_000, 1e12), ("lifetime", 0, 1e12), ("looks_per_second", 0.001, 1e6), ("utc_offset", -24, 24))
"""Numbers that may be None, and between what they lie."""


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _state(name: str, state: State | str) -> State:
    try:
        return State(state)
    except ValueError:
        known = ", ".join(s.value for s in State)
        raise BadInput(f'words of "{name}" maps to "{clean(state, 40)}"; the states are {known}.') from None


def _endpoint(value: Endpoint | str) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    if not isinstance(value, str):
        raise BadInput(f'An endpoint is text such as "POST /v1/jobs", or an Endpoint, not {type(value).__name__}.')
    request = HttpRequest.parse(value)
    if request.method != "POST":
        raise BadInput(f'An endpoint is a POST, such as "POST /v1/jobs", not "{clean(value, 60)}".')
    return Endpoint(path=request.path)
