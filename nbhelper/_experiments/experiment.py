"""`Experiment`: a grid of parameters, submitted as tasks. Running again submits only what the store does not have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._model.errors import BadInput, StoreError
from .._model.events import Mark
from .._model.history import History
from .._model.misses import Miss, MissKind
from .._model.states import MarkWord
from .._model.task import NO_ID, Request, Task
from .._model.text import clean, nearest
from .._session import session
from .._store.filter import Filter
from .._tables import verbs
from .._watching import begin
from .._watching.waiting import result_of
from .._watching.watch import place_of
from . import budget
from .budget import Estimate, Limits
from .experiment_watch import ExperimentWatch
from .grid import Repetition, cells_of, check_grid, repetitions_of, shuffled
from .lock import Lock
from .planned_tasks import (
    PlannedTask,
    allowed,
    beyond_limits,
    check,
    estimate,
    is_repeatable,
    planned_tasks,
    preparing,
    prices_now,
)
from .submission import PlannedCreate, Submission

if TYPE_CHECKING:
    import pandas as pd

    from .._session.session import Connection
    from .._store.store import Store
    from .._views.gallery import Gallery
    from .._watching.watch import Watch

UNLIMITED = 50
"""Tasks that are submitted to real APIs where no limit was set."""
_OPTIONS = ("timeout", "interval", "save", "preview", "display", "block")


class Experiment:
    """A grid of parameters, submitted as tasks: compare prompts, models, settings and APIs side by side.

    A task belongs to its name, its parameters and its repetition: running again, in this process or after a restart,
    submits only what is missing. What was refused was not made and is sent again; what may have been made is in doubt,
    is listed, and is not sent again by itself.

    Args:
        name: Its tasks are found by it, in `nbhelper.tasks(experiment=name)` too.
        request: A function of the grid's parameters, by name, that returns an `nbhelper.Request`. It is called once
            for each combination when the experiment is made.
        grid: A list of values for each parameter. The order of the names is the order of the tables.
        repeats: How often each combination is submitted.
        concurrency: How many tasks run at once at most, over all APIs.
        max_cost: What all tasks of the experiment may cost together, earlier runs included, by the price list, in
            `currency`. It is refused while the price of a request is not known: see `nbhelper.set_price`.
        currency: ISO code of `max_cost`; prices in another one are never added up.
        max_credits: How many credits of one account all tasks may take together, earlier runs included.
        max_tasks: How many tasks the experiment may have together, earlier runs included.
        shuffle: Seed of the order of submitting, so that no setting meets the quiet hours alone; None is the
            grid's order.

    Raises:
        BadInput: A grid, a request or a limit that cannot work; the text says what to change.

    Example:
        def request(prompt, resolution):
            given = {"prompt": prompt, "resolution": resolution}
            return nbh.Request("kie", {"model": "nano-banana-pro", "input": given})

        grid = {"prompt": ["an owl", "a fox"], "resolution": ["1K", "2K"]}
        exp = nbh.Experiment("owls", request, grid=grid, repeats=2, max_tasks=8)
        exp.plan()                         # what would be sent, at what price
        w = exp.run()                      # returns at once in a notebook; submitting goes on in the background
        exp.summary()                      # waits for the end
    """

    def __init__(
        self,
        name: str,
        request: Callable[..., Request],
        grid: Mapping[str, Iterable[Any]],
        repeats: int = 1,
        concurrency: int = 6,
        max_cost: float | None = None,
        currency: str = "USD",
        max_credits: float | None = None,
        max_tasks: int | None = None,
        shuffle: int | None = 0,
    ) -> None:
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 100:
            raise BadInput('An experiment is named by a few words of text, such as "owls".')
        check_grid(request, grid)
        _check_whole("repeats", repeats, 1, 10_000)
        _check_whole("concurrency", concurrency, 1, 1000)
        if shuffle is not None and (isinstance(shuffle, bool) or not isinstance(shuffle, int)):
            raise BadInput("shuffle is a whole number, the seed of the order, or None for the grid's order.")
        self.name = name.strip()
        self.repeats = repeats
        self.concurrency = concurrency
        self.limits = Limits.checked(max_cost, currency, max_credits, max_tasks)
        self._cells = cells_of(request, grid)
        self._checked = {cell.key: check(cell) for cell in self._cells}
        self._repetitions = repetitions_of(self._cells, repeats)
        self._order = shuffled(self._repetitions, shuffle)
        self._varying = [key for key in grid if len({str(cell.params[key]) for cell in self._cells}) > 1]
        self._watch: Watch | None = None

    def __len__(self) -> int:
        """How many tasks the experiment has, submitted or not."""
        return len(self._repetitions)

    def __repr__(self) -> str:
        parts = [budget.describe(self._estimates(self._repetitions))]
        with contextlib.suppress(StoreError):
            statuses = [task.status for task in self._planned(session.store())]
            sent, doubt = statuses.count("sent"), statuses.count("in doubt")
            parts += [f"{sent} sent"] * (sent > 0) + [f"{doubt} in doubt"] * (doubt > 0)
        return f"<Experiment {self.name}: {', '.join(parts)}>"

    # What would be sent

    def plan(self) -> pd.DataFrame:
        """What `run()` would submit now, in this order, at what price: one row per task.

        `cost` (in `currency`) and `credits` are those of a task that succeeds, by the price list; missing where no
        price is known.
        """
        import pandas as pd

        from .._tables.columns import PARAM, as_one, column
        from .._tables.params import flat

        planned = allowed(self._planned(session.store()), self._order, self.limits, retry_in_doubt=False)
        cells = [task.checked for task in planned]
        estimates = [cell.estimate for cell in cells]

        data: dict[str, Any] = {
            "provider": column([cell.provider for cell in cells], "string"),
            "endpoint": column([cell.endpoint for cell in cells], "string"),
            "model": column([cell.model for cell in cells], "string"),
            "label": column([self._label(task.repetition) for task in planned], "string"),
            "repeat": column([task.repetition.repeat for task in planned], "Int64"),
            "credits": column([one.credits for one in estimates], "Float64"),
            "cost": column([one.amount for one in estimates], "Float64"),
            "currency": column([one.currency for one in estimates], "string"),
            "price_source": column([one.source for one in estimates], "string"),
        }
        for name, values_by_row in flat((cell.params for cell in cells), PARAM).items():
            kind, values = as_one(values_by_row)
            data[name] = column(values, kind)
        return pd.DataFrame(data)

    def _estimates(self, repetitions: Sequence[Repetition]) -> list[Estimate]:
        prices = prices_now()
        estimates = {key: estimate(checked, prices) for key, checked in self._checked.items()}
        return [estimates[repetition.cell.key] for repetition in repetitions]

    def _planned(self, store: Store) -> list[PlannedTask]:
        return planned_tasks(self.name, self._repetitions, self._checked, store)

    # Running

    def run(self, *, retry_in_doubt: bool = False, **watch_options: Any) -> Watch:
        """Submit what is missing and watch everything; returns at once, like `nbhelper.watch` and with its options.

        `w.stop()` and the card's Stop end the submitting too. Where `watch` would wait, in scripts and headless runs,
        `run()` waits too.

        Args:
            retry_in_doubt: Submit once more what may have been made already, and billed. A create in doubt is sent
                again anyway, for 24 hours, where the API makes one task of one request id.
            watch_options: `timeout`, `interval`, `save`, `preview`, `display`, `block`.

        Returns:
            A handle with a history for each task, in the order of the grid; a task that waits to be submitted is
            `unsent`.

        Raises:
            BadInput: A limit cannot be kept, or more than 50 tasks at real APIs have none, or another process submits
                this experiment. Nothing was sent.
            MissingAPIKey: A provider's key was not found; nothing was sent.
            StoreError: The store's folder cannot be used.
        """
        if not isinstance(retry_in_doubt, bool):
            raise BadInput("retry_in_doubt is True or False.")
        for option in watch_options:
            if option not in _OPTIONS:
                raise BadInput(f'run() takes no "{clean(option, 40)}".{nearest(option, _OPTIONS)}')
        names = dict.fromkeys(checked.provider for checked in self._checked.values())
        chosen = begin.choices(names, **watch_options)
        connections = {name: session.connection(name) for name in names}
        store, folder = chosen.places()
        prints = {name: session.fingerprint(where, store) for name, where in connections.items()}
        lock = Lock(store.folder, self.name)
        submission = None
        try:
            planned = self._planned(store)
            repeatable = [
                task
                for task in planned
                if is_repeatable(task, connections[task.checked.provider], prints[task.checked.provider])
            ]
            to_send = allowed(planned, self._order, self.limits, retry_in_doubt=retry_in_doubt, repeatable=repeatable)
            self._check_number(to_send, connections)
            going = {task.repetition for task in (*repeatable, *to_send)}
            watched = [task for task in planned if task.status != "unsent" or task.repetition in going]
            if not watched:
                raise BadInput(f"There is nothing to run: {self.limits} lets nothing through.")
            remarks = [*self._note_doubts(store, planned, going), *beyond_limits(planned, to_send, self.limits)]
            histories = [self._history(store, task, connections, waiting=task.repetition in going) for task in watched]
            keys = {task.repetition: place_of(history) for task, history in zip(watched, histories, strict=True)}
            creates = self._creates(store, [*repeatable, *to_send], keys, connections)
            if creates:
                submission = Submission(
                    creates,
                    store=store,
                    concurrency=self.concurrency,
                    experiment=self.name,
                    done=lock.release,
                    recent=self._recent(store),
                )
            handle = ExperimentWatch(
                histories,
                [connections[task.checked.provider] for task in watched],
                saving=folder is not None,
                store=store,
                submission=submission,
                frame=lambda: self._frame(store),
                remarks=remarks,
            )
            lock.submission = submission
            self._watch = handle
            if chosen.kind == "text":
                for line in remarks:
                    print(line)  # noqa: T201  # the text view has no line for it
            return begin.begin(handle, chosen, store, folder)
        finally:
            if submission is None or not submission.started:
                lock.release()

    def _check_number(self, to_send: Sequence[PlannedTask], connections: Mapping[str, Connection]) -> None:
        """Refuse more than 50 tasks at real APIs without a limit."""
        real = [task.checked.estimate for task in to_send if not connections[task.checked.provider].emulated]
        if len(real) > UNLIMITED and not self.limits:
            raise BadInput(
                f"{budget.describe(real)} would be submitted at real APIs. Say how many it may be: "
                f"Experiment(…, max_tasks={len(real)}), or max_cost= or max_credits=.",
            )

    def _recent(self, store: Store) -> dict[str, list[float]]:
        """How many seconds ago this experiment's creates of the last minute were begun, by provider."""
        recent: dict[str, list[float]] = {}
        now = datetime.now(UTC)
        for row in store.creates(self.name):
            passed = (now - row.at).total_seconds() if row.at is not None else -1.0
            if row.cell in self._checked and 0 <= passed < 60:
                recent.setdefault(self._checked[row.cell].provider, []).append(passed)
        return recent

    def _note_doubts(self, store: Store, planned: Sequence[PlannedTask], going: set[Repetition]) -> list[str]:
        """Record creates that a process left without an answer as in doubt; a line that says how many there are."""
        doubtful = [task for task in planned if task.status == "in doubt" and task.repetition not in going]
        for task in doubtful:
            if task.row is not None and task.row.state == "sent":
                note = "the process that sent it ended before the answer came; it may have been made"
                result_of(store.intent_in_doubt(task.row.uid, note))
        n = len(doubtful)
        creates = f"{n:,} creates are" if n != 1 else "1 create is"
        check = "check your account at the provider, then run(retry_in_doubt=True)"
        return [f"{creates} in doubt and not sent again: {check}"] * bool(n)

    def _history(
        self, store: Store, planned: PlannedTask, connections: Mapping[str, Connection], *, waiting: bool
    ) -> History:
        """The stored history of a task; an empty one, with a uid of its own, for a task that waits to be submitted."""
        stored = store.load(planned.row.uid) if planned.row is not None and not waiting else None
        if stored is not None:
            return stored
        checked, repetition = planned.checked, planned.repetition
        task = Task(checked.provider, NO_ID, self._label(repetition), checked.params)
        uid = f"{repetition.cell.key}#{repetition.repeat}"
        empty = History.of(task, (), origin=connections[checked.provider].origin, uid=uid)
        if waiting:
            return empty
        note = "its row in the history cannot be read; it was sent, and is not sent again"
        return empty.add(Mark(word=MarkWord.LOST, note=note), datetime.now(UTC))

    def _label(self, repetition: Repetition) -> str:
        label = repetition.cell.label
        return f"{label} #{repetition.repeat}" if self.repeats > 1 else label

    def _creates(
        self,
        store: Store,
        to_send: Sequence[PlannedTask],
        keys: Mapping[Repetition, Any],
        connections: Mapping[str, Connection],
    ) -> list[PlannedCreate]:
        """The creates to send; one whose row is that of an equal request, unsent or repeatable, keeps that row."""
        creates = []
        for position, task in enumerate(to_send):
            row, checked = task.row, task.checked
            where = connections[checked.provider]
            create = PlannedCreate(task.repetition, keys[task.repetition], position, preparing(checked, where), where)
            same = row is not None and row.request_digest == checked.digest and row.origin == where.origin
            if row is not None and row.state == "begun" and not same:
                # Never sent, and the request is another one by now.
                result_of(store.intent_refused(row.uid, "", "not sent: the experiment's request has changed"))
            elif row is not None and same and (row.state == "begun" or (task.status == "in doubt" and row.request_id)):
                create.uid, create.request_id = row.uid, row.request_id
                if task.status == "in doubt":
                    create.doubt = Miss(kind=MissKind.NETWORK, message="an earlier run got no clear answer")
            creates.append(create)
        return creates

    # Tables

    def to_frame(self, *, wait: bool = True) -> pd.DataFrame:
        """One row per task of the grid, in its order, the columns of `nbhelper.tasks()`.

        Every parameter is a `param_…` column. A task that was not submitted has a row without an id, times or outcome.

        Args:
            wait: Wait for the end of the latest `run()` of this object first.
        """
        if wait and self._watch is not None:
            self._watch.result()
        return self._frame(session.store())

    def _frame(self, store: Store) -> pd.DataFrame:
        from .._tables.frames import tasks_frame
        from .._tables.price_list import known_prices

        stored = {str(row["uid"]): row for row in store.rows(Filter(experiment=(self.name,)))}
        rows = []
        for task in self._planned(store):
            row = stored.get(task.row.uid) if task.row is not None and task.row.state != "begun" else None
            if row is None:
                checked = task.checked
                row = {
                    "provider": checked.provider, "label": self._label(task.repetition), "experiment": self.name,
                    "repeat": task.repetition.repeat, "model": checked.model, "endpoint": checked.endpoint,
                    "params": checked.params,
                }  # fmt: skip
            rows.append(row)
        return tasks_frame(rows, known_prices(store.prices()))

    def summary(self, by: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Counts, success rate, times and cost per group, as `nbhelper.summary`.

        Args:
            by: Parameters or columns; None groups by every parameter that varies.
        """
        from .._views.gallery import find_column

        frame = self.to_frame()
        if by is None:
            names = [f"param_{key}" for key in self._varying if f"param_{key}" in frame.columns]
            return verbs.summary(frame, by=names or ["provider", "model"])
        names = [by] if isinstance(by, str) else list(by)
        return verbs.summary(frame, by=[find_column(frame, name, "by") or name for name in names])

    def gallery(self, row: str | None = None, col: str | None = None, size: int = 256) -> Gallery:
        """The pictures in a grid by up to two parameters, as `nbhelper.gallery`.

        Args:
            row: A parameter or column for the rows; without both, the first two that vary.
            col: The same for the columns.
            size: Longest side of a thumbnail in pixels.
        """
        if row is None and col is None:
            row, col = (*self._varying, None, None)[:2]
        return verbs.gallery(self.to_frame(), row, col, size)

    def export(self, path: str | Path) -> Path:
        """Write everything into one ZIP file: `tasks.csv`, the results, and `gallery.html`.

        Returns:
            The file, absolute; it is replaced as a whole or not at all.

        Raises:
            BadInput: The path names no file that can be written.
        """
        from .archive import export

        frame = self.to_frame()
        return export(frame, self.gallery(), session.store().folder, path)


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadInput(f"{name} is a whole number from {least} to {most:,}, not {clean(repr(value), 40)}.")
