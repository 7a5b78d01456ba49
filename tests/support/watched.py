"""Watches without a display, their histories, and what must hold of them whatever went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from support.mill import DONE, FLOOR, Answer, Mill
from support.raw_server import Conn, Request

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._watching.references import references_of
from nbhelper.types import Event, Mark, Miss, Outcome, Snapshot


def watch(what: Any, **options: Any) -> nbh.Watch:
    """`nbhelper.watch` without a display and without waiting."""
    return nbh.watch(what, block=False, display=False, **options)


def resume(*what: Any, **options: Any) -> nbh.Watch:
    """`nbhelper.resume` without a display and without waiting."""
    return nbh.resume(*what, block=False, display=False, **options)


def reasons_pending() -> dict[str, str]:
    """Why each task is pending, by its id; "-" where it has none."""
    frame = nbh.pending()
    return dict(zip(frame["task_id"].fillna("-"), frame["pending"], strict=True))


def tasks_of(what: Any, provider: str | None = None) -> tuple[list[nbh.Task], bool]:
    """The tasks that an argument of `watch()` names, and whether it is a single one."""
    references, is_single = references_of(what, provider)
    return [reference.task for reference in references], is_single


def ended(what: Any, seconds: float = 20, **options: Any) -> nbh.History:
    """One task's history at the end of its watch."""
    return watch(what, **options).result(seconds)


def events_of(history: nbh.History) -> list[Event]:
    """Every event of a history, which itself holds the newest 8.

    The store has all but the last mark of a handle that has left others watching.
    """
    stored = [event for event in session.store().events(history.uid) if event.seq <= history.seq]
    last = stored[-1].seq if stored else 0
    return [*stored, *(event for event in history.events if event.seq > last)]


def looks(history: nbh.History) -> list[Snapshot | Miss]:
    """The result of each look: a `Snapshot` or a `Miss`."""
    return [e.seen for e in events_of(history) if isinstance(e.seen, Snapshot | Miss)]


def misses(history: nbh.History) -> list[str]:
    """The kinds of all misses, in order."""
    return [str(seen.kind) for seen in looks(history) if isinstance(seen, Miss)]


def marks(history: nbh.History) -> list[str]:
    """The words of all marks, in order."""
    return [str(e.seen.word) for e in events_of(history) if isinstance(e.seen, Mark)]


def sound(histories: nbh.History | Iterable[nbh.History], mill: Mill | None = None, failed: int = 0) -> bool:
    """Assert that all histories have an outcome and their files, `failed` of them failed, and no floor was broken."""
    watched = [histories] if isinstance(histories, nbh.History) else list(histories)
    for history in watched:
        assert history.outcome is not None, history
        assert "nbhelper itself" not in (history.error or ""), history
        assert all(s.file or s.message for s in history.saves.values())
        assert set(history.saves) == {o.name for o in history.outputs} or history.outcome is Outcome.STOPPED
    assert sum(h.outcome is Outcome.FAILED for h in watched) == failed
    if mill is not None:
        starts = [gap for ident in mill.looks for gap in mill.starts(f"mill:{ident}")]
        assert min(starts, default=FLOOR) >= FLOOR, starts
    return True


def close_after(data: bytes = b"") -> Answer:
    """An answer that sends these bytes and closes the connection."""

    async def act(conn: Conn, _: Request) -> None:
        await conn.send(data)
        conn._writer.close()

    return act


def each(mill: Mill, cases: Mapping[str, Answer | tuple[Answer, ...]]) -> dict[str, str]:
    """A task for each case, all watched at once: its looks meet the case's answers and then its end.

    Returns:
        The kinds of misses of each, as words; all have succeeded, with no look more than answers.
    """
    answers = {name: case if isinstance(case, tuple) else (case,) for name, case in cases.items()}
    refs = [mill.job(*sent, DONE) for sent in answers.values()]
    histories = watch(refs).result(30)
    assert sound(histories, mill)
    assert [(n, str(h.outcome)) for n, h in zip(cases, histories, strict=True)] == [(n, "succeeded") for n in cases]
    assert all(h.facts.polls <= len(sent) + 1 for h, sent in zip(histories, answers.values(), strict=True))
    return {name: " ".join(misses(history)) for name, history in zip(cases, histories, strict=True)}
