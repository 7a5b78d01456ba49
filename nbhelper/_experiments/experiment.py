"""Batch experiments: a grid in, a table out. Running again submits only what is missing, also after a restart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._model.errors import BadInput, StoreError
from .._model.history import History
from .._model.seen import Miss, MissKind
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
from .grid import Place, cells_of, check_grid, places_of, shuffled
from .lock import Lock
from .slots import Slot, allowed, check, estimate, is_repeatable, left_out, preparing, prices_now, slots_of
from .submission import Errand, Submission

if TYPE_CHECKING:
    import pandas as pd

    from .._session.session import Connection
    from .._store.store import Store
    from .._views.gallery import Gallery
    from .._watching.watch import Watch

UNASKED = 50
"""Tasks that are submitted to real APIs without anybody having set a limit."""
_OPTIONS = ("timeout", "interval", "save", "preview", "display", "block")


class Experiment:
    """A grid of parameters, submitted as tasks: compare prompts, models, settings and APIs side by side.

    A task belongs to its name, its parameters and its repetition: running again, in this process or after a restart,
    submits only what is missing. What was refused was not made and is sent again; what may have been made is in doubt,
    is listed, and is not sent again by itself.

    Args:
        name: What its tasks are found by, in `nbhelper.tasks(experiment=name)` too.
        request: From the grid's parameters, by name, to an `nbhelper.Request`; called once for each combination, here.
        grid: Values by parameter. The order of the names is the order of the tables.
        repeats: How often each combination is submitted.
        concurrency: Tasks that are alive at once, over all APIs.
        max_cost: Money that all tasks of the experiment may cost together, earlier runs included, by the price list.
            A request whose price nobody knows is refused then: see `nbhelper.set_price`.
        currency: Of `max_cost`; prices in another one are never added up.
        max_credits: The same in credits of one account.
        max_tasks: The same as a number of tasks.
        shuffle: Seed of the order of submitting, so that no setting meets the quiet hours alone; None is the
            grid's order.

    Raises:
        BadInput: Anything that cannot work, before anything is submitted.

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
        self._places = places_of(self._cells, repeats)
        self._order = shuffled(self._places, shuffle)
        self._varying = [key for key in grid if len({str(cell.params[key]) for cell in self._cells}) > 1]
        self._watch: Watch | None = None

    def __len__(self) -> int:
        """How many tasks it has, submitted or not."""
        return len(self._places)

    def __repr__(self) -> str:
        parts = [budget.told(self._estimates(self._places))]
        with contextlib.suppress(StoreError):
            slots = self._slots(session.store())
            sent, doubt = (sum(s.status == word for s in slots) for word in ("sent", "in doubt"))
            parts += [f"{sent} sent"] * (sent > 0) + [f"{doubt} in doubt"] * (doubt > 0)
        return f"<Experiment {self.name}: {', '.join(parts)}>"

    # What would be sent

    def plan(self) -> pd.DataFrame:
        """What `run()` would submit now, in this order, at what price: one row per task.

        `cost` and `credits` are those of a task that succeeds, by the price list; missing where nobody says.
        """
        from .._tables.frames import PARAM, as_one, column
        from .._tables.params import flat

        slots = allowed(self._slots(session.store()), self._order, self.limits, retry_in_doubt=False)
        rows = [(slot, slot.checked, slot.checked.estimate) for slot in slots]
        import pandas as pd

        data: dict[str, Any] = {
            "provider": column([c.provider for _, c, _ in rows], "string"),
            "endpoint": column([c.endpoint for _, c, _ in rows], "string"),
            "model": column([c.model for _, c, _ in rows], "string"),
            "label": column([self._label(s.place) for s, _, _ in rows], "string"),
            "repeat": column([s.place.repeat for s, _, _ in rows], "Int64"),
            "credits": column([e.credits for _, _, e in rows], "Float64"),
            "cost": column([e.amount for _, _, e in rows], "Float64"),
            "currency": column([e.currency for _, _, e in rows], "string"),
            "price_source": column([e.source for _, _, e in rows], "string"),
        }
        for name, cells in flat((c.params for _, c, _ in rows), PARAM).items():
            kind, values = as_one(cells)
            data[name] = column(values, kind)
        return pd.DataFrame(data)

    def _estimates(self, places: Sequence[Place]) -> list[Estimate]:
        prices = prices_now()
        estimates = {key: estimate(checked, prices) for key, checked in self._checked.items()}
        return [estimates[place.cell.key] for place in places]

    def _slots(self, store: Store) -> list[Slot]:
        return slots_of(self.name, self._places, self._checked, store)

    # Running

    def run(self, *, retry_in_doubt: bool = False, **watch_options: Any) -> Watch:
        """Submit what is missing and watch everything; returns at once, like `nbhelper.watch` and with its options.

        `w.stop()` and the card's Stop end the submitting too. Where `watch` would wait, in scripts and headless runs,
        this waits too.

        Args:
            retry_in_doubt: Submit once more what may have been made already, and billed. Creates that an API lets one
                repeat safely are repeated anyway.
            watch_options: `timeout`, `interval`, `save`, `preview`, `display`, `block`.

        Returns:
            A handle with a place for each task, in the order of the grid; what waits to be submitted is `unsent`.

        Raises:
            BadInput: A limit that cannot be kept, or one is needed, or another process runs this experiment.
            MissingAPIKey: A provider's key was not found.
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
            slots = self._slots(store)
            safe = [s for s in slots if is_repeatable(s, connections[s.checked.provider], prints[s.checked.provider])]
            todo = allowed(slots, self._order, self.limits, retry_in_doubt=retry_in_doubt, safe=safe)
            self._check_number(todo, connections)
            going = {slot.place for slot in (*safe, *todo)}
            shown = [slot for slot in slots if slot.status != "unsent" or slot.place in going]
            if not shown:
                raise BadInput(f"There is nothing to run: {self.limits} lets nothing through.")
            remarks = [*self._doubts(store, slots, going), *left_out(slots, todo, self.limits)]
            histories = [self._history(store, slot, connections, waiting=slot.place in going) for slot in shown]
            keys = {slot.place: place_of(history) for slot, history in zip(shown, histories, strict=True)}
            errands = self._errands(store, [*safe, *todo], keys, connections)
            if errands:
                notes = {"experiment": self.name}
                submission = Submission(
                    errands,
                    store=store,
                    concurrency=self.concurrency,
                    notes=notes,
                    done=lock.release,
                    recent=self._recent(store),
                )
            handle = ExperimentWatch(
                histories,
                [connections[slot.checked.provider] for slot in shown],
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
                    print(line)  # noqa: T201  # the text view has no place for it
            return begin.begin(handle, chosen, store, folder)
        finally:
            if submission is None or not submission.started:
                lock.release()

    def _check_number(self, todo: Sequence[Slot], connections: Mapping[str, Connection]) -> None:
        real = [slot.checked.estimate for slot in todo if not connections[slot.checked.provider].emulated]
        if len(real) > UNASKED and not self.limits:
            raise BadInput(
                f"{budget.told(real)} would be submitted at real APIs. Say how many it may be: "
                f"Experiment(…, max_tasks={len(real)}), or max_cost= or max_credits=.",
            )

    def _recent(self, store: Store) -> dict[str, list[float]]:
        """How many seconds ago this experiment's creates of the last minute were begun, by provider."""
        found: dict[str, list[float]] = {}
        now = datetime.now(UTC)
        for row in store.creates(self.name):
            passed = (now - row.at).total_seconds() if row.at is not None else -1.0
            if row.cell in self._checked and 0 <= passed < 60:
                found.setdefault(self._checked[row.cell].provider, []).append(passed)
        return found

    def _doubts(self, store: Store, slots: Sequence[Slot], going: set[Place]) -> list[str]:
        """Creates that a process left without an answer are in doubt from now on; how many there are, in words."""
        doubtful = [slot for slot in slots if slot.status == "in doubt" and slot.place not in going]
        for slot in doubtful:
            if slot.row is not None and slot.row.state == "sent":
                note = "the process that sent it ended before the answer came; it may have been made"
                result_of(store.intent_in_doubt(slot.row.uid, note))
        n = len(doubtful)
        creates = f"{n:,} creates are" if n != 1 else "1 create is"
        check = "check your account at the provider, then run(retry_in_doubt=True)"
        return [f"{creates} in doubt and not sent again: {check}"] * bool(n)

    def _history(self, store: Store, slot: Slot, connections: Mapping[str, Connection], *, waiting: bool) -> History:
        """What is seen of a place so far; a place without a task yet goes by a name of its own."""
        if not waiting and slot.row is not None:
            known = store.load(slot.row.uid)
            if known is not None:
                return known
        checked, place = slot.checked, slot.place
        task = Task(checked.provider, NO_ID, self._label(place), checked.params)
        return History.of(task, (), origin=connections[checked.provider].origin, uid=f"{place.cell.key}#{place.repeat}")

    def _label(self, place: Place) -> str:
        return f"{place.cell.label} #{place.repeat}" if self.repeats > 1 else place.cell.label

    def _errands(
        self, store: Store, going: Sequence[Slot], keys: Mapping[Place, Any], connections: Mapping[str, Connection]
    ) -> list[Errand]:
        found = []
        for position, slot in enumerate(going):
            row, checked = slot.row, slot.checked
            where = connections[checked.provider]
            errand = Errand(slot.place, keys[slot.place], position, preparing(checked, where), where)
            same = row is not None and row.request_digest == checked.digest and row.origin == where.origin
            if row is not None and row.state == "begun" and not same:
                # Never sent, and the request is another one by now.
                result_of(store.intent_refused(row.uid, "", "not sent: the experiment's request has changed"))
            elif row is not None and same and (row.state == "begun" or (slot.status == "in doubt" and row.request_id)):
                errand.uid, errand.request_id = row.uid, row.request_id
                if slot.status == "in doubt":
                    errand.doubt = Miss(kind=MissKind.NETWORK, message="an earlier run got no clear answer")
            found.append(errand)
        return found

    # Tables

    def to_frame(self, *, wait: bool = True) -> pd.DataFrame:
        """One row per task of the grid, in its order, the columns of `nbhelper.tasks()`.

        Every parameter is a `param_…` column. What was not submitted has a row without an id, times or outcome.

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
        for slot in self._slots(store):
            row = stored.get(slot.row.uid) if slot.row is not None and slot.row.state != "begun" else None
            if row is None:
                checked = slot.checked
                row = {
                    "provider": checked.provider, "label": self._label(slot.place), "experiment": self.name,
                    "repeat": slot.place.repeat, "model": checked.model, "endpoint": checked.endpoint,
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
        wanted = [by] if isinstance(by, str) else list(by)
        return verbs.summary(frame, by=[find_column(frame, name, "by") or name for name in wanted])

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
