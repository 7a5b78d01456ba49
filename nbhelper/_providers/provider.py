"""`Provider`: the description of one API as a frozen dataclass, mostly data.

A provider holds no key, clock, client or widget. It names the requests, and the path of each fact in a reply, as
JMESPath expressions (https://jmespath.org) with one function added: `from_json(text)` parses JSON inside a string and
returns null for anything that is not JSON. `reader.py` reads the replies of all providers with the same code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from .._model.errors import BadInput
from .._model.events import Snapshot
from .._model.fields import field_types
from .._model.states import State
from .._model.text import clean
from .reply_parts import Batch, Endpoint, ErrorRule, FileUpload, Outputs, Resolve
from .reply_paths import Finder, compile_path
from .requests import HttpRequest

_COMPOSED = {"state", "word", "outputs", "error", "resolution_s", "replied_at", "trace", "params", "reply"}
"""Fields of `Snapshot` that the reader computes from more than the value at one path."""
SCALARS: Mapping[str, Any] = {name: kind for name, kind in field_types(Snapshot).items() if name not in _COMPOSED}
"""Name -> type, of the fields of `Snapshot` that are the value at one path; `Provider` has the path by that name."""

_Class = TypeVar("_Class", bound=type)


def _with_paths(cls: _Class) -> _Class:
    """Class decorator: add a `str` field, default "", for each name in `SCALARS` that the class does not declare."""
    for name in SCALARS.keys() - cls.__annotations__.keys():
        cls.__annotations__[name] = "str"
        setattr(cls, name, "")
    return cls


@dataclass(frozen=True, kw_only=True)
@_with_paths
class Provider:
    """Description of an API as data; one of your own is one notebook cell.

    Every path is a JMESPath (https://jmespath.org) into the JSON of a reply, where `from_json(text)` parses JSON inside
    a string; an empty path means that the API does not state the fact. The types of the parts, such as `Endpoint`,
    `Outputs` and `ErrorRule`, are in `nbhelper.types`.

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
        name: The prefix of task references: lower-case letters, digits, `-`.
        base_url: The API's root, prefix included; https, or http on loopback.
        key_variable: Environment variable with the key, or several in order.
        key_header: The request header that carries the key.
        key_format: The value of that header, with `{key}` in it.
        key_starts: Prefixes of valid keys; a key with another one is refused. Empty: any key.
        docs: Address of the API's documentation.
        floor: Least seconds between two looks at one task; no option goes below it.
        lifetime: Seconds that a result's link is valid; None where it is not documented.
        looks_per_second: The API's limit for looks with one key; None where it is not documented.
        poll: The request of one look, such as `"GET /v1/jobs/{id}"`.
        reply_id: Path to the task id in a look's reply; a reply with another id is refused.
        state: Path to the state word, or several paths, whose words must agree.
        words: State word (or number, as text) -> `State`; any other word is `unknown`.
        confirm: Words that the docs call final but that name no outcome: one more look, then the task is `lost`.
        outputs: Paths of the results: a path, or `Outputs`.
        progress: Path to the progress.
        progress_max: The value of a complete progress: 100 for per cent, 1 for a fraction.
        queue_position: Path; -1 and below mean none.
        seconds_left: Path, in seconds; -1 and below mean none.
        credits: Path to the credits that the task took.
        created_at: Path to the time of creation: Unix seconds, Unix milliseconds or ISO 8601 text.
        started_at: Path to the time of the start, in the same formats.
        finished_at: Path to the time of the end, in the same formats.
        utc_offset: Hours east of Greenwich for ISO times without a zone; None ignores such times.
        model: Path to the model's name.
        params: Path to the request that the API echoes.
        width: Path to the results' width in pixels.
        height: Path to the results' height in pixels.
        error_code: Path to the error code of a failed task.
        error_message: Path to the error message of a failed task.
        trace: Response header, or path, with the request id that the API's support asks for.
        code: Path to the error code of a refused request, or several paths: the first code that is not `ok` counts.
        ok: Codes that mean no error.
        body_status: Path to a number in the body with the meaning of an HTTP status.
        message: Path to the error message of a refused request.
        retry_after: Path to the seconds to wait in the body; a valid `Retry-After` header takes precedence.
        errors: What statuses and codes mean; without a matching rule the HTTP status decides.
        strict_code: Whether a code that is neither known nor `ok` makes a reply unreadable; else a state that is not
            final is read beside it.
        resolve: The request that turns an output of form `ref` into a link.
        batch: The request for many tasks at once; None where the API has none.
        endpoints: Short name -> create request: an `Endpoint`, or text such as `"POST /v1/jobs"`.
        other: Template for creates at a path that is in no endpoint; None refuses such paths.
        create_id: Path to the id in a create's reply.
        create_limit: The API's limit of creates with one key: (number, seconds); None where it is not documented.
        upload: The request that uploads a file, where creates take JSON; None where the API takes links only.
        request_model: Path to the model in a create's parameters.
        max_reply: Most bytes of one reply; APIs with results inside replies need more than the default of 2 MB.
        adjust: A pure function from the parsed reply to the value that the paths are read from, for replies that paths
            cannot describe.
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
        for name, types, what in _FIELD_TYPES:
            if not isinstance(getattr(self, name), types):
                given = type(getattr(self, name)).__name__
                raise BadInput(f'{name} of "{self.name}" must be {what}, not {given}.')
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", self.base_url):
            raise BadInput(f'base_url of "{self.name}" must be an address such as "https://api.pixelmill.example".')
        put(self, "base_url", self.base_url.rstrip("/"))
        put(self, "key_variable", _as_tuple(self.key_variable))
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
        if not self.words or not any(_as_tuple(self.state)):
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
        put(self, "state", _as_tuple(self.state))
        put(self, "code", _as_tuple(self.code))
        words = {str(word): _parse_state(self.name, state) for word, state in self.words.items()}
        put(self, "words", MappingProxyType(words))
        if isinstance(self.outputs, str):
            plain = self.outputs if re.fullmatch(r"[\w.]+", self.outputs) else ""
            put(self, "outputs", (Outputs(path=self.outputs, name=plain),) if self.outputs else ())
        else:
            put(self, "outputs", _as_tuple(self.outputs))
        if not all(isinstance(spec, Outputs) for spec in self.results):
            raise BadInput(f'outputs of "{self.name}" must be a JMESPath, or Outputs.')
        put(self, "endpoints", MappingProxyType({k: _parse_endpoint(v) for k, v in self.endpoints.items()}))
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
                compile_path(path)
            except ValueError as error:
                raise BadInput(f'{name} of "{self.name}" is no JMESPath: {clean(error, 120)}') from None

    @cached_property
    def finders(self) -> Finders:
        """The compiled paths for a look's reply; cached, since each look at each task uses most of them."""
        return Finders(
            state=tuple(map(compile_path, self.state)),
            code=tuple(map(compile_path, self.code)),
            outputs=tuple((spec, compile_path(spec.path)) for spec in self.results),
            scalars=tuple((name, kind, compile_path(getattr(self, name))) for name, kind in SCALARS.items()),
            **{name: compile_path(getattr(self, name)) for name in _FINDER_FIELDS},
        )

    @property
    def look(self) -> HttpRequest:
        """`poll` as an `HttpRequest`."""
        assert isinstance(self.poll, HttpRequest)
        return self.poll

    @property
    def states(self) -> Mapping[str, State]:
        """`words`, every value a `State`."""
        return self.words  # type: ignore[return-value]  # __post_init__ made every value a State

    @property
    def results(self) -> tuple[Outputs, ...]:
        """`outputs` as a tuple of `Outputs`."""
        assert isinstance(self.outputs, tuple)
        return self.outputs

    @property
    def variables(self) -> tuple[str, ...]:
        """`key_variable` as a tuple of environment variables, in the order in which they are read."""
        assert isinstance(self.key_variable, tuple)
        return self.key_variable

    @property
    def creates(self) -> Mapping[str, Endpoint]:
        """`endpoints`, every value an `Endpoint`."""
        return self.endpoints  # type: ignore[return-value]  # __post_init__ made every value an Endpoint

    def __repr__(self) -> str:
        return f"<Provider {self.name} {self.base_url}>"


PATHS = (
    *SCALARS, "reply_id", "params", "width", "height", "error_code", "error_message", "body_status", "message",
    "retry_after", "create_id", "request_model",
)  # fmt: skip
"""Fields of `Provider` that are one JMESPath each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finders:
    """Compiled paths of a `Provider` for the reply to a look, each a function of the parsed reply."""

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


_FINDER_FIELDS = tuple(f.name for f in fields(Finders) if f.name in PATHS)
"""Fields of `Finders` that are compiled from the `Provider` field of the same name."""


_FIELD_TYPES: tuple[tuple[str, Any, str], ...] = (
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
"""Field of `Provider`, its types, and what the error for another type says it must be."""
_RANGES = (("max_reply", 1_000, 1e12), ("lifetime", 0, 1e12), ("looks_per_second", 0.001, 1e6), ("utc_offset", -24, 24))
"""Numeric fields of `Provider`, their least and their greatest value; those that default to None may be None."""


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _parse_state(name: str, state: State | str) -> State:
    try:
        return State(state)
    except ValueError:
        known = ", ".join(s.value for s in State)
        raise BadInput(f'words of "{name}" maps to "{clean(state, 40)}"; the states are {known}.') from None


def _parse_endpoint(value: Endpoint | str) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    if not isinstance(value, str):
        raise BadInput(f'An endpoint is text such as "POST /v1/jobs", or an Endpoint, not {type(value).__name__}.')
    request = HttpRequest.parse(value)
    if request.method != "POST":
        raise BadInput(f'An endpoint is a POST, such as "POST /v1/jobs", not "{clean(value, 60)}".')
    return Endpoint(path=request.path)
