"""The parts of a `Provider`: where a reply keeps results, what its codes mean, and the requests beside the look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._model.errors import BadInput
from .._model.seen import MissKind, State, nothing
from .._model.text import clean
from .requests import HttpRequest

Form = Literal["url", "data", "ref"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where a reply keeps results: every link found at or below `path` is one output, named by its key path.

    Attributes:
        path: JMESPath to a link, a list or a whole tree.
        name: What the key paths start with; `""` for the keys below alone.
        form: `url` for links, `data` for base64 text, `ref` for what `Provider.resolve` turns into a link.
        kind: Forces the kind; otherwise it follows from the file suffix, then from the key's name.
        lifetime: Seconds the link lives, where it differs from the provider's.
        skip: Keys below `path` that hold links which are no results.
    """

    path: str
    name: str = ""
    form: Form = "url"
    kind: str = ""
    lifetime: float | None = None
    skip: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRule:
    """What a status or body code means: the first rule of a provider that matches decides.

    Attributes:
        means: A `MissKind`, or a final `State` where the reply is the task's end (AILab's content errors).
        status: HTTP status, or the body's own number where the provider has `body_status`; empty matches any.
        code: The API's own codes, as text, with `*` for any text (`ERROR_*`); empty matches also none.
        words: A part of the message, lower-case; empty matches any.
    """

    means: MissKind | State | str
    status: tuple[int, ...] = ()
    code: tuple[str, ...] = ()
    words: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "means", _meaning(self.means))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUpload:
    """How a file gets to an API whose creates take JSON: it is sent first, and the create names what came back.

    Attributes:
        path: POST, multipart, relative to the base URL.
        answer: JMESPath to what came back.
        value: What stands in the create for the file; `{token}` and `{type}` (such as `jpg`) are filled in.
        field: The name of the part that holds the file.
    """

    path: str
    answer: str
    value: Any = "{token}"
    field: str = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One way to create a task.

    Attributes:
        path: Relative to the base URL; always POST.
        encoding: `json` or `multipart`.
        id: JMESPath to the new task's id in the reply; empty for the provider's `create_id`.
        extra: What the reference needs besides the id (AILab legacy's `type`).
        fixed: Parameters that are always sent (AILab's `task_type=async`).
        params: Parameters the docs name, for help with misspelt ones; empty when unknown.
        required: Those without which the API refuses.
        files: Parameters that take an upload.
        file_bytes: Most bytes of one file, where the docs say.
        file_pixels: Most pixels of a picture's longer side, where the docs say.
        request_id: A header that makes the create idempotent, where the API has one (aigptimage's `X-Request-ID`).
        model: What the tables show as the model when neither request nor reply names one.
        docs: The page this was read from.
    """

    path: str
    encoding: Literal["json", "multipart"] = "json"
    id: str = ""
    extra: Mapping[str, str] = field(default_factory=nothing)
    fixed: Mapping[str, Any] = field(default_factory=nothing)
    params: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    file_bytes: int | None = None
    file_pixels: int | None = None
    request_id: str = ""
    model: str = ""
    docs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """The second request, for an API that answers with a reference where others give a link.

    Attributes:
        request: With `{ref}`.
        url: JMESPath to the link.
        lifetime: Seconds the link lives.
    """

    request: HttpRequest
    url: str
    lifetime: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Looking at many tasks with one request.

    Attributes:
        request: With `"{ids}"` in its JSON.
        size: The most ids that one request may hold.
        items: JMESPath to the details: a mapping by id, or a list of details.
        item_id: JMESPath from one detail to its id, for a list.
        missed: JMESPath to the ids that the API did not find.
        wrap: The key path that a single look has around a detail, such as `data`.
    """

    request: HttpRequest
    size: int
    items: str
    item_id: str = ""
    missed: str = ""
    wrap: str = "data"


def _meaning(means: object) -> MissKind | State:
    kinds = {str(k): k for k in MissKind}
    ends = {str(s): s for s in State if s.final}
    known = kinds.get(str(means)) or ends.get(str(means))
    if known is None:
        raise BadInput(f'An error rule means "{clean(means, 40)}"; it can mean {", ".join((*kinds, *ends))}.')
    return known
