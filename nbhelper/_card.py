"""The card as HTML: a pure drawing of histories, the same for the live widget and for the frozen output.

No script, no external address, no page anchor. Text from servers passes `escaped` or `cut` on its way in. State is
told by word and glyph, never by colour alone; numbers have digits of one width, so that nothing jumps.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from datetime import datetime

from ._card_scene import CLASSES, Money, Scene, class_of, cut, escaped, middled, name_of
from ._card_style import CARD
from ._card_tiles import tiles
from ._history import History
from ._terminal import (
    GLYPHS,
    begun,
    detail,
    elapsed,
    ends_in,
    over,
    seconds,
    size,
    state_of,
    time_left,
    trouble,
    word_of,
)
from ._text import clean
from ._values import MissKind, Outcome, SaveState, State

ROWS = 20
"""Tasks listed in a batch card; the rest is counted below."""
_WORDS = {
    None: "waiting for the first look",
    State.UNKNOWN: "unknown state",
    Outcome.LOST: "lost sight of it",
    Outcome.STOPPED: "stopped watching",
}
_DOT = '<span class="dim"> · </span>'
_ELSEWHERE = "looked at by another notebook"
_PART = "nbh-part mathjax_ignore tex2jax_ignore"
"""Classes of each piece of markup; the last two keep "$5 and $6" in a prompt from being typeset as a formula."""


def card(histories: Sequence[History], scene: Scene) -> str:
    """The whole card as one piece of HTML: what a saved notebook keeps.

    Args:
        histories: Unique ones, in the order they were given.
        scene: The rest.
    """
    name = escaped(name_of(histories[0]), 80) if len(histories) == 1 else f"{len(histories)} tasks"
    return (
        f'{CARD}<div class="nbh"><div class="{_PART}" role="group" aria-label="{name}">'
        f"{_body(histories, scene)}{tiles(histories, scene)}{_foot(histories, scene)}</div></div>"
    )


def live_body(histories: Sequence[History], scene: Scene) -> str:
    """What changes all the time: state, bar, facts, rows. The live box brings border and style."""
    return f'<div class="{_PART}">{_body(histories, scene)}</div>'


def live_below(histories: Sequence[History], scene: Scene) -> str:
    """What changes rarely: the style, the thumbnails, the last line."""
    return f'{CARD}<div class="{_PART}">{tiles(histories, scene)}{_foot(histories, scene)}</div>'


def final_words(histories: Sequence[History]) -> str:
    """What a screen reader is told: ends only, one sentence."""
    words = ""
    if len(histories) == 1 and histories[0].outcome is not None:
        words = f"{escaped(name_of(histories[0]), 120)}: {escaped(_word(histories[0]))}"
    elif histories and all(h.outcome is not None for h in histories):
        n, ended = len(histories), sum(map(over, histories))
        head = f"All {n} tasks are over" if ended == n else f"The watch has ended, {ended} of {n} tasks are over"
        words = f"{head}: {', '.join(f'{n} {w}' for w, n in _counts(histories).items())}"
    return f'<div role="status" aria-live="polite">{words}</div>'


def _body(histories: Sequence[History], scene: Scene) -> str:
    if not histories:
        drawn = f'<div class="line">{escaped(scene.nothing, 400)}</div>'
    else:
        drawn = _single(histories[0], scene) if len(histories) == 1 else _batch(histories, scene)
    notes = "".join(f'<div class="why warn">▲ {cut(note, 220)}</div>' for note in scene.notes)
    return drawn + notes


# One task


def _single(history: History, scene: Scene) -> str:
    state = state_of(history)
    klass = class_of(state)
    model = history.snapshot.model if history.snapshot else None
    tags = _tags(f"{history.task.provider}{f' · {model}' if model else ''}", scene)
    word = "stopping" if scene.stopping and history.outcome is None else _word(history)
    top = (
        f'<div class="top"><span class="state {klass}"><span aria-hidden="true">{GLYPHS.get(state, "◌")}</span> '
        f"{escaped(word)}</span> {cut(name_of(history), 160, klass='name')} {tags}</div>"
    )
    return top + _bar(history, klass) + f'<div class="line">{_facts(history, scene)}</div>' + _trouble(history, scene)


def _tags(first: str, scene: Scene) -> str:
    tags = [cut(first, 60, klass="tag")] if first else []
    if scene.emulated:
        tags.append('<span class="tag">emulated</span>')
    return f'<span class="tags">{" ".join(tags)}</span>' if tags else ""


def _word(history: History) -> str:
    state = state_of(history)
    word = _WORDS.get(state, str(state))
    if state is None and not history.created:
        word = "waiting to be submitted"
    elif state is None and history.facts.polls:
        word = "waiting for an answer"
    if state is State.UNKNOWN and history.snapshot is not None:
        word += f' "{clean(history.snapshot.word, 30)}"'
    return word


def _bar(history: History, klass: str) -> str:
    label = f'aria-label="{escaped(name_of(history), 80)}"'
    if history.outcome is not None:
        done = 100 if history.succeeded else round((history.facts.progress or 0) * 100)
        value = f'aria-valuenow="{done}" aria-valuetext="{escaped(_word(history))}"'
        inner = f'<i class="{klass}" style="width:{done}%"></i>'
        return (
            f'<div class="bar {klass}" role="progressbar" aria-valuemin="0" aria-valuemax="100" {value} {label}>'
            f"{inner}</div>"
        )
    progress = history.facts.progress
    if progress is None:
        # No value: the server gives none, and a made-up one would be believed.
        return (
            f'<div class="bar open" role="progressbar" aria-valuetext="{escaped(_word(history))}" {label}><i></i></div>'
        )
    per_cent = min(99, round(progress * 100))  # never whole before the server says so
    value = f'aria-valuenow="{per_cent}" aria-valuetext="{escaped(_word(history))}, {per_cent} %"'
    inner = f'<i style="width:{per_cent}%"></i>'
    return f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" {value} {label}>{inner}</div>'


def _facts(history: History, scene: Scene) -> str:
    parts: list[str] = []
    latest = history.snapshot
    if spent := _spent(history, scene.now):
        parts.append(spent)
    if history.outcome is None and latest is not None:
        if latest.queue_position is not None:
            ahead = latest.queue_position
            parts.append("next in the queue" if ahead == 0 else f"{ahead} ahead in the queue")
        if history.facts.progress is not None and latest.state is State.RUNNING:
            parts.append(f"{min(99, round(history.facts.progress * 100))} %")
        if left := time_left(history, scene.now):
            parts.append(left)
    parts += _money(scene.money)
    parts += [escaped(w, 90) for w in _files(history)]
    if scene.live and history.uid in scene.elsewhere:
        parts.append(f'<span class="dim">{_ELSEWHERE}</span>')
    elif history.outcome is None and history.facts.trouble is None and scene.live and scene.next_look is not None:
        parts.append(f'<span class="dim">next look in {_whole(scene.next_look)}</span>')
    return _DOT.join(parts)


def _spent(history: History, now: datetime) -> str:
    """How long it took, or takes; where nobody knows its start, how long we have watched."""
    facts = history.facts
    span = elapsed(history, now)
    if facts.created or facts.submitted_at or facts.submitting_at:
        if span is None or over(history):
            return "" if span is None else seconds(span)
        return f"{seconds(span)} elapsed" if history.outcome is None else f"last seen after {seconds(span)}"
    if facts.first_look_at is None:
        return ""
    until = facts.final_at or (facts.last_look_at if history.outcome else None) or now
    watched = (until - facts.first_look_at).total_seconds()
    return f"watched for {seconds(watched)}" if watched > 0 else ""


def _whole(value: float) -> str:
    """Seconds to come, rounded up: a countdown of whole numbers."""
    return seconds(max(1, math.ceil(value))).replace(".0 s", " s")


def _money(money: Money) -> list[str]:
    parts = []
    if money.credits is not None:
        parts.append(f"{money.credits:,.6g} credit{'s' * (money.credits != 1)}")
    parts += [
        f"{escaped(currency, 8)} {amount:,.{3 if 0 < amount < 1 else 2}f}" for currency, amount in money.cost.items()
    ]
    if money.unknown:
        parts.append(f"cost of {money.unknown} unknown" if money.cost or money.credits is not None else "cost unknown")
    return parts


def _files(history: History) -> list[str]:
    saves = history.saves.values()
    saved = [s for s in saves if s.state is SaveState.SAVED]
    words = []
    if saved:
        words.append(f"{len(saved)} file{'s' * (len(saved) != 1)}, {size(sum(s.n_bytes or 0 for s in saved))}")
    if (going := len(history.outputs) - len(history.saves)) > 0:
        words.append(f"saving {going} file{'s' * (going != 1)}")
    if history.outcome is Outcome.SUCCEEDED and not history.outputs:
        words.append("no file in the reply")
    return words


def _trouble(history: History, scene: Scene) -> str:
    lines: list[str] = []
    miss = history.facts.trouble
    if history.outcome is None and miss is not None:
        # One line however long the message: what goes on below must not jump with each look.
        n = history.facts.misses_in_a_row
        again = f"trying again in {_whole(scene.next_look)}" if scene.next_look is not None and scene.live else ""
        count = f"{n} misses" if n > 1 else ""
        rest = ", ".join(filter(None, (again or "trying again", count)))
        told = trouble(history, 500)
        if miss.kind is MissKind.NO_CREDIT:
            told += ". The task itself may still finish; nothing is submitted again."
        words = trouble(history, 300)
        title = html.escape(told, quote=True)
        lines.append(
            f'<div class="why now"><span class="warn" title="{title}">▲ {html.escape(words)}</span>'
            f'<span><span class="sep">, </span>{rest}</span></div>'
        )
    if history.error:
        klass = "bad" if history.outcome is Outcome.FAILED else "warn"
        lines.append(f'<div class="why {klass}">{cut(history.error, 220)}</div>')
    if history.outcome in {Outcome.LOST, Outcome.STOPPED}:
        lines.append(
            '<div class="why">The task goes on and may be billed; <span class="mono">nbhelper.watch()</span> '
            "looks at it again.</div>"
            if history.outcome is Outcome.STOPPED
            else '<div class="why">The task may still finish and be billed; <span class="mono">nbhelper.watch()</span> '
            "looks at it again.</div>"
        )
    lines += [
        f'<div class="why warn">▲ {escaped(s.name, 60)} was not saved: {cut(s.message, 160)}</div>'
        for s in history.saves.values()
        if s.state is not SaveState.SAVED
    ]
    return "".join(lines)


# Many tasks


def _counts(histories: Sequence[History]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for history in histories:
        word = word_of(history)
        counts[word] = counts.get(word, 0) + 1
    order = ["running", "queued", "waiting", "unsent", "unknown", "succeeded"]
    return dict(sorted(counts.items(), key=lambda kv: order.index(kv[0]) if kv[0] in order else len(order)))


def _batch(histories: Sequence[History], scene: Scene) -> str:
    n = len(histories)
    ended = sum(map(over, histories))
    going = any(h.outcome is None for h in histories)
    good = sum(h.succeeded for h in histories)
    bad = sum(h.outcome is Outcome.FAILED for h in histories)
    state = "run" if going else ("good" if good == n else "warn")
    word = f"all {n:,} over" if ended == n else f"{ended:,} of {n:,} over"
    if scene.stopping and going:
        word += ", stopping"
    elif not going:
        left = {kind: sum(h.outcome is kind for h in histories) for kind in (Outcome.STOPPED, Outcome.LOST)}
        word += "".join(f", {number:,} {kind}" for kind, number in left.items() if number)
    glyph = "◐" if going else ("✓" if good == n else "▲")
    counts = " ".join(
        f'<span class="{_class_of(kind)}"><span aria-hidden="true">{_glyph_of(kind)}</span> {number:,} {kind}</span>'
        for kind, number in _counts(histories).items()
    )
    names = {h.task.provider for h in histories}
    top = (
        f'<div class="top all"><span class="state {state}"><span aria-hidden="true">{glyph}</span> {word}</span> '
        f"{_tags(names.pop() if len(names) == 1 else '', scene)}</div>"
    )
    share = [("good", good), ("bad", bad), ("warn", ended - good - bad)]
    bars = "".join(f'<i class="{k}" style="width:{100 * v / n:.2f}%"></i>' for k, v in share if v)
    bar = (
        f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="{n}" aria-valuenow="{ended}" '
        f'aria-valuetext="{word}" aria-label="all tasks">{bars}</div>'
    )
    known = [begin for h in histories if (begin := begun(h)) is not None]
    ends = [h.facts.final_at or h.facts.last_look_at or scene.now for h in histories]
    parts = []
    if known:
        until = scene.now if going else max(ends)
        parts.append(f"{seconds(max(0.0, (until - min(known)).total_seconds()))}{' elapsed' if going else ''}")
    parts += _money(scene.money)
    files = [s for h in histories for s in h.saves.values() if s.state is SaveState.SAVED]
    if files:
        parts.append(f"{len(files):,} file{'s' * (len(files) != 1)}, {size(sum(s.n_bytes or 0 for s in files))}")
    if scene.live and (others := sum(h.uid in scene.elsewhere for h in histories)):
        parts.append(f'<span class="dim">{f"{others:,} " if others < n else ""}{_ELSEWHERE}</span>')
    facts = f'<div class="counts">{counts}</div><div class="line">{_DOT.join(parts)}</div>'
    return top + bar + facts + _going_on(histories) + _rows(histories, scene)


def _going_on(histories: Sequence[History]) -> str:
    """That tasks which nobody looks at any more go on, and how to look again."""
    ends = [h.outcome for h in histories if h.created and h.outcome in {Outcome.STOPPED, Outcome.LOST}]
    if not ends:
        return ""
    kinds = " or ".join(sorted(set(map(str, ends)), reverse=True))
    one, every = len(ends) == 1, len(ends) == len(histories)
    which = "The tasks" if every else f"The {kinds} task" if one else f"The {len(ends):,} {kinds} tasks"
    goes = f"{'goes' if one else 'go'} on and may be billed"
    does = goes if set(ends) == {Outcome.STOPPED} else "may still finish and be billed"
    again = f'<span class="mono">nbhelper.resume()</span> looks at {"it" if one else "them"} again.'
    return f'<div class="why">{which} {does}; {again}</div>'


def _class_of(word: str) -> str:
    return next((k for s, k in CLASSES.items() if str(s) == word), "wait")


def _glyph_of(word: str) -> str:
    return next((g for s, g in GLYPHS.items() if str(s) == word), "◌")


_ENDED_BADLY = 1


def _rank(history: History) -> int:
    state = state_of(history)
    if state is State.RUNNING:
        return 0
    if history.outcome is not None and not history.succeeded:
        return _ENDED_BADLY
    if not history.created and history.outcome is None:
        return 5
    return {State.UNKNOWN: 2, State.QUEUED: 3, None: 4}.get(state, 6)  # type: ignore[arg-type]  # outcomes fall to 6


def _rows(histories: Sequence[History], scene: Scene) -> str:
    ordered = sorted(histories, key=_rank)
    shown = ordered[:ROWS]
    failed = [h for h in ordered[ROWS:] if _rank(h) == _ENDED_BADLY]
    if failed:
        # Failures stay visible however many tasks run: they take the places of the last rows.
        keep = min(len(failed), ROWS // 2)
        shown = [*ordered[: ROWS - keep], *failed[:keep]]
    prefix = len({h.task.provider for h in histories}) > 1
    rows = "".join(_row(h, scene, prefix=prefix) for h in shown)
    more = len(histories) - len(shown)
    rest = (
        f'<div class="dim">and {more:,} more; <span class="mono">nbhelper.tasks()</span> has all</div>' if more else ""
    )
    return f'<table class="rows" aria-label="tasks"><tbody>{rows}</tbody></table>{rest}'


def _row(history: History, scene: Scene, *, prefix: bool) -> str:
    state = state_of(history)
    klass = class_of(state)
    spent = elapsed(history, scene.now)
    progress = history.facts.progress
    word = word_of(history)
    if state is State.RUNNING and progress is not None:
        word += f" {min(99, round(progress * 100))} %"
    name = name_of(history)
    title = f"{name} ({history.task})" if name != history.task.id and history.created else name
    provider = history.task.provider
    origin = "" if not prefix or ends_in(name, provider) else f'<span class="dim">{escaped(provider)} ·</span> '
    ended = ' class="ended"' if _rank(history) == _ENDED_BADLY else ""
    return (
        f'<tr{ended}><td class="c1" title="{escaped(title, 2200)}">{middled(name, 90, origin)}</td>'
        f'<td class="c2 {klass}"><span aria-hidden="true">{GLYPHS.get(state, "◌")}</span> {escaped(word)}</td>'
        f'<td class="c3 dim">{"" if spent is None else seconds(spent)}</td>'
        f"{cut(detail(history, scene.now), 160, 'td', 'c4 dim')}</tr>"
    )


def _foot(histories: Sequence[History], scene: Scene) -> str:
    parts = []
    if len(histories) == 1 and histories[0].created:
        parts.append(cut(histories[0].task, 90, klass="mono"))
    if scene.folder:
        parts.append(cut(f"kept in {scene.folder}", 160, klass="kept"))
    return f'<div class="foot">{" ".join(parts)}</div>' if parts else ""
