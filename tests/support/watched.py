"""A watch to its end, and what must hold of it whatever went wrong on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from support.mill import FLOOR, Mill

import nbhelper as nbh
from nbhelper.types import Mark, Miss, Outcome, Snapshot


def watch(what: Any, **options: Any) -> nbh.Watch:
    """A handle that draws nothing and does not wait."""
    return nbh.watch(what, block=False, display=False, **options)


def ended(what: Any, seconds: float = 20, **options: Any) -> nbh.History:
    """One task's history at the end of its watch."""
    return watch(what, **options).result(seconds)


def looks(history: nbh.History) -> list[Snapshot | Miss]:
    """What each look saw."""
    return [e.seen for e in history.events if isinstance(e.seen, Snapshot | Miss)]


def misses(history: nbh.History) -> list[str]:
    """The kinds of the looks that saw nothing."""
    return [str(seen.kind) for seen in looks(history) if isinstance(seen, Miss)]


def marks(history: nbh.History) -> list[str]:
    """What was done."""
    return [str(e.seen.word) for e in history.events if isinstance(e.seen, Mark)]


def sound(histories: nbh.History | Iterable[nbh.History], mill: Mill | None = None, failed: int = 0) -> bool:
    """Whether every watch has one outcome, nothing failed that no server called so, and no floor was broken."""
    found = [histories] if isinstance(histories, nbh.History) else list(histories)
    for history in found:
        assert history.outcome is not None, history
        assert "nbhelper itself" not in (history.error or ""), history
        assert all(s.file or s.message for s in history.saves.values())
        assert set(history.saves) == {o.name for o in history.outputs} or history.outcome is Outcome.STOPPED
    assert sum(h.outcome is Outcome.FAILED for h in found) == failed
    if mill is not None:
        starts = [gap for ident in mill.looks for gap in mill.starts(f"mill:{ident}")]
        assert min(starts, default=FLOOR) >= FLOOR, starts
    return True
