"""Beginning a watch: options are checked, tasks are put into the store, a view is chosen."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .._model.errors import BadInput
from .._model.task import Task
from .._model.text import clean
from .._session import environment, session
from .choose_view import choose_view, print_lines, show_view
from .waiting import checked_seconds, result_of

if TYPE_CHECKING:
    from .._model.history import History
    from .._session.session import Connection
    from .._store.store import Store
    from .references import Reference
    from .watch import Watch

BLOCKING_TIMEOUT = 3600.0
"""Seconds after which a blocking watch stops by itself: a cell must end."""
_TOGETHER = 500
"""Tasks that the store is asked for at a time: what waits for each takes more memory than its history."""
_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class Choices:
    """The checked options of a watch; checking them made and showed nothing.

    Attributes:
        blocking: Whether to wait.
        limit: Seconds until the watch stops.
        interval: Seconds between looks at a healthy task.
        save: `True`, `False` or a folder.
        side: Longest side of previews in pixels.
        kind: What is shown: `widget`, `html`, `text` or nothing.
    """

    blocking: bool
    limit: float | None
    interval: float | None
    save: bool | Path
    side: int | None
    kind: str

    def places(self) -> tuple[Store, Path | None]:
        """The store, and the folder for results, which is made here: the last step that can be refused."""
        if isinstance(self.save, Path):
            _make(self.save)
        store = session.store()
        return store, store.folder / "results" if self.save is True else self.save or None


def choices(
    names: Iterable[str],
    *,
    timeout: object = "auto",
    interval: float | None = None,
    save: object = True,
    preview: object = 384,
    display: object = "auto",
    block: object = "auto",
) -> Choices:
    """The options of a watch of tasks at these providers.

    Raises:
        BadInput: An option has a wrong type or value.
    """
    blocking = _blocking(block)
    limit = (
        (BLOCKING_TIMEOUT if blocking else None)
        if isinstance(timeout, str) and timeout == "auto"
        else checked_seconds(timeout, "timeout")
    )
    check_interval(interval, names)
    kind = choose_view(display)
    folder = _folder(save)
    if preview is not False and (
        isinstance(preview, bool) or not isinstance(preview, int) or not 16 <= preview <= 2048
    ):
        raise BadInput("preview is the longest side in pixels, 16 to 2048, or False for none.")
    return Choices(blocking, limit, interval, folder or save is True, preview or None, kind)


def opened(
    references: Sequence[Reference],
    connections: Mapping[str, Connection],
    chosen: Choices,
    *,
    single: bool,
    lines: tuple[str, ...] = (),
    again: bool = False,
) -> Watch:
    """Watch tasks at these connections.

    A task that was seen at another origin is drawn from the store if it is over there, and refused otherwise: at this
    origin its id may be somebody else's task.

    Args:
        references: The tasks; one that appears twice is watched once and keeps both places.
        connections: By provider.
        chosen: The options.
        single: Whether one task was given and not a list.
        lines: Further lines for the card.
        again: Whether files that were given up are tried once more, and the lines printed where no card shows them.

    Raises:
        BadInput: A key was given as an id, a task has to be looked at elsewhere, or a folder cannot be made.
    """
    from .resume import other_keys
    from .watch import Watch

    tasks = [(ref.task, ref.origin or connections[ref.task.provider].origin) for ref in references]
    unique = [*dict.fromkeys(tasks)]
    _no_keys([task for task, _ in unique], connections)
    histories = _ended_elsewhere(unique, connections, saving=chosen.save is not False, again=again)
    store, folder = chosen.places()
    prints = {name: session.fingerprint(connection, store) for name, connection in connections.items()}
    opening = [key for key in unique if key not in histories]
    for start in range(0, len(opening), _TOGETHER):
        some = opening[start : start + _TOGETHER]
        rows = [store.open_task(task, origin, fingerprint=prints[task.provider]) for task, origin in some]
        histories.update(zip(some, map(result_of, rows), strict=True))

    handle = Watch(
        [histories[key] for key in tasks],
        [connections[task.provider] for task, _ in tasks],
        single=single,
        saving=folder is not None,
        store=store,
        again=again,
    )
    handle._lines = (*lines, *other_keys(store, handle._going(), prints))  # noqa: SLF001
    if again:
        print_lines(handle, chosen.kind)
    return begin(handle, chosen, store, folder)


def begin(handle: Watch, chosen: Choices, store: Store, folder: Path | None) -> Watch:
    """Show a handle and start it; waits for its end if `chosen.blocking`."""
    show_view(handle, chosen.kind, blocking=chosen.blocking, side=chosen.side)
    if not handle.done:
        from .engine import engine

        handle._start(engine(), store, folder, chosen.interval)  # noqa: SLF001
    if chosen.limit is not None:
        handle._limit(chosen.limit)  # noqa: SLF001
    if len(handle) and handle._card is not None:  # noqa: SLF001
        handle._card.start()  # noqa: SLF001
    if chosen.blocking:
        handle.result()
    return handle


def _blocking(block: object) -> bool:
    if isinstance(block, bool):
        return block
    if not isinstance(block, str) or block != "auto":
        raise BadInput('block is True, False or "auto".')
    wish = environment.flag("NBHELPER_BLOCK")
    if wish in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        return wish in {"1", "true", "yes", "on"}
    if wish not in {"", "auto"}:
        raise BadInput(f'NBHELPER_BLOCK is "{clean(wish, 40)}"; it takes 1, 0 or auto.')
    where = environment.place()
    if where in {"notebook", "headless"}:
        return where == "headless" or environment.in_colab()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False  # inside somebody's loop, waiting here would stop it: `await watch(...)` instead


def check_interval(interval: object, names: Iterable[str]) -> None:
    if interval is None:
        return
    if isinstance(interval, bool) or not isinstance(interval, int | float) or not 0 < interval < 1e9:
        raise BadInput("interval is a number of seconds above zero, or None to aim at the finish.")
    from .._providers import get

    for name in sorted(set(names)):
        floor = get(name).floor
        if interval < floor and name not in _warned:
            _warned.add(name)
            warnings.warn(
                f"{name} is looked at every {floor:g} s at the most; interval={interval:g} asks for more.",
                UserWarning,
                stacklevel=4,
            )


def _folder(save: object) -> Path | None:
    """The folder of `save=`, absolute; None for none, and for `True`, whose folder is the store's."""
    if save is True or save is False:
        return None
    return session.folder_of(save, "save is True, False or a folder.")


def _make(folder: Path) -> None:
    """Make the folder of `save=`; the last thing that can be refused, so that nothing else leaves one behind."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f'save="{clean(folder, 120)}" cannot be made: {error.strerror or error}.') from None


def _ended_elsewhere(
    tasks: Sequence[tuple[Task, str]], connections: Mapping[str, Connection], *, saving: bool, again: bool
) -> dict[tuple[Task, str], History]:
    """The stored histories of tasks at an origin that is not their provider's present one.

    Raises:
        BadInput: One of them is not over, and would need a look.
    """
    from .watch import is_complete

    ended: dict[tuple[Task, str], History] = {}
    left: list[tuple[Task, str]] = []
    for task, origin in tasks:
        if origin == connections[task.provider].origin:
            continue
        known = session.store().find(task, origin)
        if known is not None and is_complete(known, saving=saving, again=again):
            ended[task, origin] = known
        else:
            left.append((task, origin))
    if left:
        task, origin = left[0]
        name, there = task.provider, clean(origin, 120)
        n = sum((other.provider, where) == (name, origin) for other, where in left)
        whose = f"{clean(task, 80)} was" if n == 1 else f"{clean(task, 80)} and {n - 1} more were"
        raise BadInput(
            f"{whose} made at {there}, and {name} is {connections[name].origin} now. "
            f'nbhelper.connect("{name}", base_url="{there}/…") goes there; else leave {"it" if n == 1 else "them"} out.'
        )
    return ended


def _no_keys(tasks: Sequence[Task], connections: Mapping[str, Connection]) -> None:
    """Refuse a key that was passed as an id: what is watched is stored and shown."""
    from .._session.keys import Secret

    for task in tasks:
        if Secret(task.id) == connections[task.provider].key:
            raise BadInput(f"That id is the API key of {task.provider}. Pass the id from the reply to the create call.")
