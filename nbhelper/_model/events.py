"""What is seen of a task, and what we did with it: all frozen, each printable on one line, none ever holding a key.

Each look at a `Task` gives a `Snapshot` (a good reply) or a `Miss` (anything else). Together with what we did ourselves
(`Saved`, `Mark`) these are the `Event`s of a `History`, from which everything shown is derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import partial
from typing import Any

from .fields import nothing
from .json_text import loads
from .misses import Miss
from .states import MarkWord, SaveState, State
from .text import clean, without_query


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

    A field that is added here is read from replies (at the path that a `Provider` names by the same name), stored and
    read back by its type: text, a number, or a time.

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
    reply: str | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # As in Task: the mappingproxy that stands for "no params" cannot be pickled.
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return partial(type(self), **{**given, "params": dict(self.params)}), ()

    @property
    def raw(self) -> Any:
        """The reply parsed, anew at each call; None where it is not kept."""
        return None if self.reply is None else loads(self.reply)

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
