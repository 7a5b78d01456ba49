"""Types of the parts of a `Provider`: `Outputs`, `ErrorRule`, `FileUpload`, `Endpoint`, `Resolve` and `Batch`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._model.errors import BadInput
from .._model.fields import nothing
from .._model.misses import MissKind
from .._model.states import State
from .._model.text import clean
from .requests import HttpRequest

Form = Literal["url", "data", "ref"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where the results are in a reply: every link at or below `path` is one output, named by its key path.

    Attributes:
        path: JMESPath to a link, a list or an object with links at any depth.
        name: Prefix of the outputs' key paths; `""` for the keys below `path` alone.
        form: `url` for links, `data` for base64 text, `ref` for references that `Provider.resolve` turns into a link.
        kind: Kind of the outputs; empty: by the file suffix, then by the key's name.
        lifetime: Seconds that the link is valid, where it differs from the provider's.
        skip: Keys below `path` whose links are no results.
    """

    path: str
    name: str = ""
    form: Form = "url"
    kind: str = ""
    lifetime: float | None = None
    skip: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRule:
    """What an HTTP status or error code means; the first rule of a provider that matches is used.

    Attributes:
        means: A `MissKind`, or a final `State` where such a reply ends the task (AILab's content errors).
        status: HTTP statuses, or numbers in the body where the provider has `body_status`; empty matches any.
        code: The API's error codes as text, with wildcards as of `fnmatch` (`ERROR_*`); empty matches any and none.
        words: A substring of the message, in lower case; empty matches any.
    """

    means: MissKind | State | str
    status: tuple[int, ...] = ()
    code: tuple[str, ...] = ()
    words: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "means", _parse_meaning(self.means))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUpload:
    """Upload request of an API whose creates take JSON: it sends the file, and the create names the token returned.

    Attributes:
        path: POST, multipart, relative to the base URL.
        answer: JMESPath to the token in the reply.
        value: The value in the create's JSON for the file; `{token}` and `{type}` (such as `jpg`) are filled in.
        field: The name of the multipart field with the file.
    """

    path: str
    answer: str
    value: Any = "{token}"
    field: str = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A request that creates a task.

    Attributes:
        path: Relative to the base URL; always POST.
        encoding: `json` or `multipart`.
        id: JMESPath to the new task's id in the reply; empty for the provider's `create_id`.
        extra: Keys of the task reference besides the id (AILab legacy's `type`).
        fixed: Parameters that are always sent (AILab's `task_type=async`).
        params: Documented parameters, to find misspelt ones; empty where they are not known.
        required: Parameters without which the API refuses the create.
        files: Parameters that take an upload.
        file_bytes: Most bytes of one file, where the docs say.
        file_pixels: Most pixels of a picture's longer side, where the docs say.
        request_id: Header that makes the create idempotent, where the API has one (aigptimage's `X-Request-ID`).
        model: The model that tables show where neither request nor reply names one.
        docs: Address of the page that documents it.
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
    """The request that turns a reference into a link, for an API whose results are references.

    Attributes:
        request: The request, with `{ref}` where the reference goes.
        url: JMESPath to the link in the reply.
        lifetime: Seconds that the link is valid; None where it is not documented.
    """

    request: HttpRequest
    url: str
    lifetime: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The request for the states of many tasks at once.

    Attributes:
        request: The request, with `"{ids}"` in its JSON.
        size: The most ids that one request may hold.
        items: JMESPath to the tasks: an object by id, or a list.
        item_id: JMESPath from one task to its id, where `items` is a list.
        missed: JMESPath to the ids that the API did not find.
        wrap: The key path under which the reply to a single look has the task, such as `data`.
    """

    request: HttpRequest
    size: int
    items: str
    item_id: str = ""
    missed: str = ""
    wrap: str = "data"


def _parse_meaning(means: object) -> MissKind | State:
    kinds = {str(k): k for k in MissKind}
    ends = {str(s): s for s in State if s.final}
    known = kinds.get(str(means)) or ends.get(str(means))
    if known is None:
        raise BadInput(f'An error rule means "{clean(means, 40)}"; it can mean {", ".join((*kinds, *ends))}.')
    return known
