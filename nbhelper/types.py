"""The value types, for annotations and `isinstance`: frozen, with a repr of one line, never holding a key."""

from ._model.events import Event, Mark, Output, Saved, Snapshot, TaskError
from ._model.history import History
from ._model.misses import Miss, MissKind
from ._model.states import MarkWord, Outcome, SaveState, State
from ._model.task import Request, Task
from ._providers.provider import Provider
from ._providers.reply_parts import Batch, Endpoint, ErrorRule, FileUpload, Outputs, Resolve
from ._providers.requests import HttpReply, HttpRequest
from ._tables.prices import Price

__all__ = [
    "Batch",
    "Endpoint",
    "ErrorRule",
    "Event",
    "FileUpload",
    "History",
    "HttpReply",
    "HttpRequest",
    "Mark",
    "MarkWord",
    "Miss",
    "MissKind",
    "Outcome",
    "Output",
    "Outputs",
    "Price",
    "Provider",
    "Request",
    "Resolve",
    "SaveState",
    "Saved",
    "Snapshot",
    "State",
    "Task",
    "TaskError",
]
