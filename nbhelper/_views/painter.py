"""The state of a card between two drawings: thumbnails, costs of finished tasks, the folder where links start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from .._model.history import History
from .card import card
from .preview import Thumbnail, can_preview, previewer
from .scene import Money, Scene
from .tiles import PICTURES
from .words import describe_all, key_of, saved_files, unique


class Watched(Protocol):
    """What a card reads of a watch; of these only `costs` may block, and a drawing never calls it."""

    @property
    def histories(self) -> Sequence[History]:
        """The tasks as they stand now."""

    @property
    def folder(self) -> Path | None:
        """Where histories and files are kept."""

    @property
    def emulated(self) -> bool:
        """Whether an emulator answers."""

    @property
    def next_look(self) -> float | None:
        """Seconds until the next look, of a task watched alone."""

    @property
    def elsewhere(self) -> frozenset[str]:
        """The rows of the tasks that another notebook looks at."""

    @property
    def notes(self) -> Sequence[str]:
        """What went wrong on our side, such as a full disk."""

    @property
    def nothing(self) -> str:
        """The text in place of tasks where there are none."""

    def costs(self, histories: Sequence[History]) -> Sequence[tuple[float | None, str | None, str]]:
        """Amount, currency and source for each of some histories; reads the store, so it may wait for a lock."""


class Painter:
    """Draws one watch again and again, from memory; costs and thumbnails are fetched by the methods that may block.

    Attributes:
        side: Longest side of a thumbnail in pixels; None for no thumbnails.
        thumbnails: By file: a thumbnail, or the reason why there is none.
        stopping: Whether a person has asked to stop.
    """

    def __init__(self, side: int | None) -> None:
        self.side = side
        self.thumbnails: dict[Path, Thumbnail | str] = {}
        self.stopping = False
        self._base = Path.cwd()  # links are relative to the notebook, wherever a later cell changes to
        self._costs: dict[str, tuple[History, float | None, str | None]] = {}

    # Drawing: reads no disk but for the videos that a frozen card embeds, and never waits

    def bundle(self, watch: Watched, *, live: bool, notes: Sequence[str] = ()) -> dict[str, str]:
        """The whole card as HTML and as text."""
        histories = unique(watch.histories)
        drawn = card(histories, self.scene(watch, histories, live=live, notes=notes))
        return {"text/html": drawn, "text/plain": "\n".join((text_of(watch), *notes))}

    def scene(self, watch: Watched, histories: Sequence[History], *, live: bool, notes: Sequence[str] = ()) -> Scene:
        """What a drawing needs besides the histories, as far as it is known."""
        return Scene(
            now=datetime.now(UTC),
            thumbnails=dict(self.thumbnails),
            money=self._money(histories),
            folder=self._folder(watch.folder),
            base=self._base,
            live=live,
            emulated=watch.emulated,
            next_look=watch.next_look,
            elsewhere=watch.elsewhere,
            previews=self.side is not None,
            notes=(*watch.notes, *notes),
            nothing="" if histories else watch.nothing,
            stopping=self.stopping,
        )

    def _money(self, histories: Sequence[History]) -> Money:
        """Credits as the servers state them, cost as `tasks()` has it; unknown costs are counted, not zero."""
        credits_ = [h.credits for h in histories if h.credits is not None]
        cost: dict[str, float] = {}
        unknown = 0
        for history in histories:
            priced, amount, currency = self._costs.get(key_of(history), (None, None, None))
            if amount is not None and currency is not None:
                cost[currency] = cost.get(currency, 0.0) + amount
            elif priced is not None:
                unknown += 1
        return Money(sum(credits_) if credits_ else None, cost, unknown)

    def _folder(self, folder: Path | None) -> str:
        if folder is None:
            return ""
        with contextlib.suppress(ValueError):  # another drive
            relative = os.path.relpath(folder, self._base)
            return relative if not relative.startswith("..") else str(folder)
        return str(folder)

    # Costs and thumbnails: may block

    def find_unpriced(self, watch: Watched) -> list[History]:
        """The tasks that have ended and whose cost was not fetched since."""
        ended = [h for h in unique(watch.histories) if h.outcome is not None]
        return [h for h in ended if self._costs.get(key_of(h), (None,))[0] is not h]

    def fetch_costs(self, watch: Watched, histories: Sequence[History]) -> None:
        """Read what some tasks cost; blocks while the store is locked."""
        costs: Sequence[tuple[float | None, str | None, str]] = [(None, None, "")] * len(histories)
        try:
            if histories:
                costs = watch.costs(histories)
        finally:  # a cost that cannot be read is unknown, and not read again
            for history, (amount, currency, _) in zip(histories, costs, strict=True):
                self._costs[key_of(history)] = history, amount, currency

    def find_unpainted(self, watch: Watched) -> list[Path]:
        """The saved pictures that have no thumbnail yet, as many as one card shows."""
        if self.side is None:
            return []
        files = (Path(s.file) for h in unique(watch.histories) for s in saved_files(h) if s.file)
        shown = [path for path in dict.fromkeys(files) if can_preview(path)][:PICTURES]
        return [path for path in shown if path not in self.thumbnails]

    def paint(self, path: Path) -> None:
        """Make one thumbnail; blocks until the worker has answered."""
        assert self.side is not None
        self.thumbnails[path] = previewer().thumbnail(path, self.side)


def text_of(watch: Watched) -> str:
    """The card in plain text."""
    return describe_all(unique(watch.histories), datetime.now(UTC)) or watch.nothing
