"""From the argument of `watch()` to task references, with one line of error for each wrong kind of argument."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .._model.errors import BadInput
from .._model.history import History
from .._model.task import Task
from .._model.text import clean, kind_of
from .._providers import get, names
from .._providers.provider import Provider
from .._providers.reader import read_created
from .._providers.requests import HttpReply

_EXAMPLE = 'Pass a task, text such as "tripo:1ec04ced-…", a create call\'s reply, or a list of these.'


@dataclass(frozen=True, slots=True)
class Reference:
    """A task and the origin that the argument named.

    Attributes:
        task: The task.
        origin: Scheme and host, given by a row of a table and by a history; None takes the provider's present origin.
    """

    task: Task
    origin: str | None = None


def references_of(what: object, provider: object = None) -> tuple[list[Reference], bool]:
    """The references in `what`, and whether `what` is a single one.

    Args:
        what: A Task, History, text, create reply (dict), or an iterable, Series or `tasks()` frame of these.
        provider: Name or `Provider` for ids and replies that name none.

    Raises:
        BadInput: Another type, an empty list, or a text that is no reference.
    """
    spec = None if provider is None else get(provider)
    single = _single(what, spec)
    if single is not None:
        return [single], True
    if _is_frame(what):
        return _from_frame(what, spec), False
    if not isinstance(what, Iterable) or isinstance(what, bytes | bytearray):
        raise BadInput(f"watch() cannot take {_describe(what)}. {_EXAMPLE}")
    references: list[Reference] = []
    for index, item in enumerate(what):
        reference = _single(item, spec)
        if reference is None:
            raise BadInput(f"Item {index} of the list is {_describe(item)}. {_EXAMPLE}")
        references.append(reference)
    if not references:
        raise BadInput(f"There is nothing to watch: the list is empty. {_EXAMPLE}")
    return references, False


def _single(what: object, spec: Provider | None) -> Reference | None:
    if isinstance(what, Task):
        return Reference(_complete(what))
    if isinstance(what, History):
        return Reference(_complete(what.task), what.origin or None)
    if isinstance(what, str):
        return Reference(_complete(_from_text(what, spec)))
    if isinstance(what, Mapping):
        return Reference(_complete(_from_reply(what, spec)))
    return None


def _from_text(text: str, spec: Provider | None) -> Task:
    text = text.strip()
    if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]  # pasted with its quotes
    head = text.strip().partition(":")[0]
    if spec is not None and head not in names():
        ident, _, query = text.strip().partition("?")
        if query:
            return Task.parse(f"{spec.name}:{ident.replace('%', '%25')}?{query}")
        return Task(spec.name, text)
    task = Task.parse(text)
    get(task.provider)
    if spec is not None and task.provider != spec.name:
        raise BadInput(f'"{clean(text, 60)}" names {task.provider}, but provider= says {spec.name}.')
    return task


def _from_reply(reply: Mapping[str, Any], spec: Provider | None) -> Task:
    try:
        body = json.dumps(dict(reply)).encode()
    except (TypeError, ValueError, RecursionError):
        raise BadInput("That mapping is no reply of an API: it holds values that JSON has not.") from None
    candidates = [spec] if spec is not None else [get(name) for name in names()]
    matches: list[Task] = []
    for provider in candidates:
        for endpoint in _distinct_endpoints(provider):
            ident = read_created(provider, endpoint, HttpReply(200, {}, body))
            if isinstance(ident, str) and (spec is not None or _has_shape(provider.name, reply)):
                matches.append(Task(provider.name, ident, extra=endpoint.extra))
    if len(matches) == 1:
        return matches[0]
    if not matches:
        whose = f" of {spec.name}" if spec else ""
        raise BadInput(f"That mapping is not the reply to a create{whose}: no task id was found in it. {_EXAMPLE}")
    if len({(t.provider, t.id) for t in matches}) == 1:
        return Task(matches[0].provider, matches[0].id)  # which of its kinds it is, the reply does not say
    whose = " or ".join(dict.fromkeys(t.provider for t in matches))
    raise BadInput(f"That reply could be of {whose}. Say whose it is: watch(reply, provider=…).")


def _distinct_endpoints(provider: Provider) -> list[Any]:
    """One endpoint for each way in which a create's reply is read."""
    from .._providers.reply_parts import Endpoint

    seen: dict[tuple[Any, ...], Endpoint] = {}
    for endpoint in (*provider.creates.values(), *((provider.other,) if provider.other else ())):
        seen.setdefault((endpoint.id, tuple(endpoint.extra.items())), endpoint)
    return list(seen.values()) or [Endpoint(path="/")]


_SHAPES: Mapping[str, frozenset[str]] = {
    # Keys at the top of a create's reply that identify the provider.
    "ailab": frozenset({"task_id", "error_detail"}),
    "gptge": frozenset({"task_id", "base_resp"}),
    "tripo": frozenset({"code", "data"}),
    "tripo-v3": frozenset({"code", "data"}),
    "aigptimage": frozenset({"code", "msg", "data"}),
    "kie": frozenset({"code", "msg", "data"}),
}


def _has_shape(name: str, reply: Mapping[str, Any]) -> bool:
    return name in _SHAPES and _SHAPES[name] <= set(reply)


def _is_frame(what: object) -> bool:
    return type(what).__name__ == "DataFrame" and hasattr(what, "columns")


def _from_frame(frame: Any, spec: Provider | None) -> list[Reference]:
    if "task_id" not in frame.columns or ("provider" not in frame.columns and spec is None):
        raise BadInput('The frame needs the columns "provider" and "task_id", as nbhelper.tasks() has them.')
    references: list[Reference] = []
    for index, row in enumerate(frame.to_dict("records")):
        ident, name = row["task_id"], row.get("provider") if spec is None else spec.name
        if not isinstance(ident, str) or not isinstance(name, str):
            raise BadInput(f"Row {index} of the frame has no task id; a create in doubt cannot be watched.")
        extra = _extra_of(get(name), row)
        label, origin = row.get("label"), row.get("origin")
        task = Task(name, ident, label if isinstance(label, str) else None, extra=extra)
        references.append(Reference(_complete(task), origin if isinstance(origin, str) and origin else None))
    if not references:
        raise BadInput("There is nothing to watch: the frame has no rows.")
    return references


def _extra_of(provider: Provider, row: Mapping[Any, Any]) -> Mapping[str, str]:
    """The `extra` of a row: from its `extra_…` columns, else from the endpoint that made the task."""
    columns = {str(k).removeprefix("extra_"): v for k, v in row.items() if str(k).startswith("extra_")}
    extra = {k: v for k, v in columns.items() if isinstance(v, str)}
    made = provider.creates.get(str(row.get("endpoint")))
    return extra or (made.extra if made is not None else {})


def _complete(task: Task) -> Task:
    """The task itself.

    Raises:
        BadInput: Its provider is unknown, or its look request needs an `extra` key that the task has not.
    """
    provider = get(task.provider)
    template = f"{provider.look.path} {dict(provider.look.query)} {provider.look.json}"
    for needed in sorted(_placeholders(template) - {"id"} - set(task.extra)):
        values = sorted({e.extra[needed] for e in provider.creates.values() if needed in e.extra})
        hint = f" ({' or '.join(values)})" if values else ""
        example = values[0] if values else "…"
        raise BadInput(
            f'{task.provider} needs "{needed}" beside the id{hint}: '
            f'nbhelper.Task("{task.provider}", "{clean(task.id, 40)}", extra={{"{needed}": "{example}"}}).',
        )
    return task


def _placeholders(template: str) -> set[str]:
    import re

    return set(re.findall(r"{(\w+)}", template))


def _describe(what: object) -> str:
    if what is None:
        return "None"
    if isinstance(what, str) and not what.strip():
        return "an empty text"
    if isinstance(what, int | float | str):
        big = isinstance(what, int) and what.bit_length() > 1024  # Python refuses to write these out
        return f"{'a number' if big else clean(repr(what), 40)} ({type(what).__name__})"
    return kind_of(what)
