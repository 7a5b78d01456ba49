"""What is unfinished and what is in doubt, and which of it can be watched again from here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .._model.errors import BadInput, MissingAPIKey
from .._model.history import History
from .._model.task import Task
from .._model.text import clean, count_tasks
from .._model.times import instant
from .._providers import names
from .._session import session
from .._session.session import Connection
from .._store.filter import Filter
from .references import Reference, references_of

if TYPE_CHECKING:
    from .._store.store import Store

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """The tasks that `resume()` watches.

    Attributes:
        tasks: In the order of the store, or as given.
        connections: By provider.
        single: Whether one task alone was given.
        lines: One line for each reason why tasks are left out, with what to do.
    """

    tasks: Sequence[Reference]
    connections: Mapping[str, Connection]
    single: bool = False
    lines: tuple[str, ...] = ()


@dataclass(slots=True)
class _Left:
    """Counts of tasks that are left out, by provider and reason."""

    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)

    def lines(self) -> tuple[str, ...]:
        return tuple(f"{count_tasks(n)} of {name} left pending: {why}" for (name, why), n in self.reasons.items())


def plan_all(store: Store, max_age: Any) -> Plan:
    """Plan to watch every unfinished task that is not older than `max_age`."""
    since = instant(max_age, datetime.now(UTC), "max_age")
    rows = store.pending_rows(Filter(since=since))
    doubtful = [row for row in rows if row["pending"] == "in doubt"]
    older = 0
    if since is not None:
        left = store.rows(Filter(until=since, outcome=("pending", "lost", "stopped")))
        older = sum(row["task_id"] is not None for row in left)
    plan = _reachable([_reference(row) for row in rows if row["pending"] != "in doubt"])
    lines = (*plan.lines, *_in_doubt(doubtful))
    if older:
        hint = 'nbhelper.resume(max_age="30d") takes them, too.'
        lines += (f"{count_tasks(older)} older than {clean(max_age, 40)} left pending: {hint}",)
    return Plan(plan.tasks, plan.connections, lines=lines)


def plan_chosen(store: Store, what: object, provider: object) -> Plan:
    """Plan to watch the tasks in `what`, which may be anything that `watch()` takes, or an empty list."""
    if type(what).__name__ == "DataFrame" and hasattr(what, "columns"):
        return _of_frame(store, what, provider)
    if isinstance(what, Iterable) and not isinstance(what, str | bytes | bytearray | Mapping | Task | History):
        what = list(what)
        if not what:
            return Plan((), {})
    references, single = references_of(what, provider)
    plan = _reachable(references)
    return Plan(plan.tasks, plan.connections, single and bool(plan.tasks), plan.lines)


def _of_frame(store: Store, frame: Any, provider: object) -> Plan:
    """Plan to watch the rows of a frame of `pending()` or `tasks()`, with label and params as the store has them."""
    doubtful: list[Row] = []
    if "task_id" in frame.columns:
        missing = frame["task_id"].isna()
        doubtful, frame = frame[missing].to_dict("records"), frame[~missing]
    lines = _in_doubt(doubtful)
    if "task_id" in frame.columns and not len(frame):
        return Plan((), {}, lines=lines)
    stored = _stored(store, frame)
    references: list[Reference] = []
    for number, cells in enumerate(frame.to_dict("records")):
        row = stored.get((cells.get("provider"), cells.get("task_id"), cells.get("origin")))
        references.append(_reference(row) if row else references_of(frame.iloc[number : number + 1], provider)[0][0])
    plan = _reachable(references)
    return Plan(plan.tasks, plan.connections, lines=(*plan.lines, *lines))


def _stored(store: Store, frame: Any) -> dict[tuple[Any, Any, Any], Row]:
    """The stored rows of a frame by (provider, id, origin); a key that fits two rows is left out."""
    if not {"provider", "task_id", "origin"} <= set(frame.columns):
        return {}
    idents = [ident for ident in frame["task_id"] if isinstance(ident, str)]
    rows = [((row["provider"], row["task_id"], row["origin"]), row) for row in store.rows_with_ids(idents)]
    often = Counter(key for key, _ in rows)
    return {key: row for key, row in rows if often[key] == 1}


def _reference(row: Row) -> Reference:
    task = Task(row["provider"], row["task_id"], row["label"], row["params"] or {}, row["extra"] or {})
    return Reference(task, row["origin"])


def _reachable(references: Sequence[Reference]) -> Plan:
    """The references whose provider is registered, has a key and is at their origin; a line for each other reason."""
    left = _Left()
    connections: dict[str, Connection] = {}
    reasons: dict[str, str] = {}
    for name in dict.fromkeys(reference.task.provider for reference in references):
        if name not in names():
            reasons[name] = "it is not registered here; call nbhelper.register() first."
            continue
        try:
            connections[name] = session.connection(name)
        except (MissingAPIKey, BadInput) as error:
            reasons[name] = str(error)
    tasks = []
    for reference in references:
        name, origin = reference.task.provider, reference.origin
        here = connections.get(name)
        if here is None:
            left.reasons[name, reasons[name]] += 1
        elif origin is not None and origin != here.origin:
            hint = f'nbhelper.connect("{name}", base_url="{origin}/…") goes there.'
            left.reasons[name, f"made at {origin}, and {name} is {here.origin} now. {hint}"] += 1
        else:
            tasks.append(reference)
    return Plan(tasks, connections, lines=left.lines())


def _in_doubt(rows: Sequence[Mapping[Any, Any]]) -> tuple[str, ...]:
    if not rows:
        return ()
    whose = ", ".join(f"{n} {name}" for name, n in Counter(str(row.get("provider")) for row in rows).items())
    what = "1 create is" if len(rows) == 1 else f"{len(rows)} creates are"
    line = f"{what} in doubt ({clean(whose, 80)}): sent, but no answer came, so it may exist and be billed. "
    return (f"{line}Look in your account there before you send it again; nothing is sent again by itself.",)


def other_keys(store: Store, uids: Iterable[str], prints: Mapping[str, str]) -> tuple[str, ...]:
    """A line for each provider whose key is not the one that its tasks were watched with first.

    Args:
        store: Where their fingerprints are.
        uids: The tasks.
        prints: The fingerprints of the keys now, by provider.
    """
    other = Counter(name for name, kept in store.fingerprints(uids) if kept and name in prints and kept != prints[name])
    return tuple(
        f'{count_tasks(n)} of {name} watched with another key before: it may answer "not found" to this one. '
        f'nbhelper.connect("{name}", api_key=…) takes the other.'
        for name, n in other.items()
    )
