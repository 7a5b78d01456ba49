"""The card as HTML: a pure drawing of histories, the same for the live widget and for the frozen output.

No script, no external address, no page anchor. State is told by word and glyph, never by colour alone; numbers have
digits of one width, so that nothing jumps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from .._model.history import History
from .._model.states import Outcome, State
from .._model.text import clean, seconds
from .markup import CELL, NOTHING, cut, elide_middle, style
from .scene import Money, Scene, colour_of
from .tiles import tiles
from .words import (
    advise,
    count_states,
    describe_counts,
    describe_details,
    describe_files,
    describe_saved,
    describe_time,
    describe_time_left,
    describe_trouble,
    elapsed,
    elapsed_together,
    ended_badly,
    ends_with_provider,
    glyph_of,
    is_over,
    name_of,
    percent,
    saved_files,
    select_rows,
    state_of,
    unsaved_files,
    word_of,
    words_of,
)

ROWS = 20
"""Tasks listed in a batch card; the rest is counted below."""
_DOT = Markup('<span class="nbh-dim"> · </span>')
_DIM = Markup('<span class="nbh-dim">{}</span>')
_ELSEWHERE = "looked at by another notebook"
_PART = Markup('<div class="nbh-part mathjax_ignore tex2jax_ignore">{}</div>')
"""Each piece of markup; the last two classes keep "$5 and $6" in a prompt from being typeset as a formula."""
_BAR = Markup(
    '<div class="nbh-bar{}" role="progressbar" aria-valuemin="0" aria-valuemax="{}" aria-valuenow="{}" '
    'aria-valuetext="{}" aria-label="{}">{}</div>'
)
_OPEN_BAR = Markup('<div class="nbh-bar nbh-open" role="progressbar" aria-valuetext="{}" aria-label="{}"><i></i></div>')
_SIGN = Markup('<span aria-hidden="true">{}</span>')
_AGAIN = Markup('<div class="nbh-why">{}; <span class="nbh-mono">nbhelper.{}()</span> looks at {} again.</div>')


def card(histories: Sequence[History], scene: Scene) -> str:
    """The whole card as one piece of HTML: what a saved notebook keeps.

    Args:
        histories: Unique ones, in the order they were given.
        scene: The rest.
    """
    drawn = Markup(
        '{}<div class="nbh-card"><div class="nbh-part mathjax_ignore tex2jax_ignore" role="group" aria-label="{}">'
        "{}{}{}</div></div>"
    ).format(
        style("card"),
        clean(name_of(histories[0]), 80) if len(histories) == 1 else f"{len(histories)} tasks",
        _body(histories, scene),
        tiles(histories, scene),
        _foot(histories, scene),
    )
    return str(drawn)


def live_body(histories: Sequence[History], scene: Scene) -> str:
    """What changes all the time: state, bar, facts, rows. The live box brings border and style."""
    return str(_PART.format(_body(histories, scene)))


def live_below(histories: Sequence[History], scene: Scene) -> str:
    """What changes rarely: the style, the thumbnails, the last line."""
    return str(style("card") + _PART.format(tiles(histories, scene) + _foot(histories, scene)))


def final_words(histories: Sequence[History]) -> str:
    """What a screen reader is told: ends only, one sentence."""
    words = ""
    if len(histories) == 1 and histories[0].outcome is not None:
        words = f"{clean(name_of(histories[0]), 120)}: {clean(words_of(histories[0]), 200)}"
    elif histories and all(h.outcome is not None for h in histories):
        n, ended = len(histories), sum(map(is_over, histories))
        head = f"All {n} tasks are over" if ended == n else f"The watch has ended, {ended} of {n} tasks are over"
        words = f"{head}: {describe_counts(histories)}"
    return str(Markup('<div role="status" aria-live="polite">{}</div>').format(words))


def _body(histories: Sequence[History], scene: Scene) -> Markup:
    if not histories:
        drawn = _line([clean(scene.nothing, 400)])
    else:
        drawn = _single(histories[0], scene) if len(histories) == 1 else _batch(histories, scene)
    notes = (Markup('<div class="nbh-why nbh-warn">▲ {}</div>').format(cut(note, 220)) for note in scene.notes)
    return drawn + NOTHING.join(notes)


# One task


def _single(history: History, scene: Scene) -> Markup:
    state = state_of(history)
    model = history.snapshot.model if history.snapshot else None
    word = "stopping" if scene.stopping and history.outcome is None else words_of(history)
    top = Markup('<div class="nbh-top"><span class="nbh-state {}">{} {}</span> {} {}</div>').format(
        colour_of(state),
        _SIGN.format(glyph_of(state)),
        clean(word, 200),
        cut(name_of(history), 160, "nbh-name"),
        _tags(f"{history.task.provider}{f' · {model}' if model else ''}", scene),
    )
    return top + _bar(history) + _line(_facts(history, scene)) + _trouble(history, scene)


def _line(parts: Iterable[str]) -> Markup:
    return Markup('<div class="nbh-line">{}</div>').format(_DOT.join(parts))


def _tags(first: str, scene: Scene) -> Markup:
    tags = [cut(first, 60, "nbh-tag")] if first else []
    if scene.emulated:
        tags.append(Markup('<span class="nbh-tag">emulated</span>'))
    return Markup('<span class="nbh-tags">{}</span>').format(Markup(" ").join(tags)) if tags else NOTHING


def _bar(history: History) -> Markup:
    words, name, progress = clean(words_of(history), 200), clean(name_of(history), 80), percent(history)
    if history.outcome is not None:
        done = 100 if history.succeeded else round((history.facts.progress or 0) * 100)
        colour = colour_of(state_of(history))
        filled = Markup('<i class="{}" style="width:{}%"></i>').format(colour, done)
        return _BAR.format(f" {colour}", 100, done, words, name, filled)
    if progress is None:
        # No value: the server gives none, and a made-up one would be believed.
        return _OPEN_BAR.format(words, name)
    filled = Markup('<i style="width:{}%"></i>').format(progress)
    return _BAR.format("", 100, progress, f"{words}, {progress} %", name, filled)


def _facts(history: History, scene: Scene) -> list[str]:
    parts: list[str] = []
    latest = history.snapshot
    if spent := describe_time(history, scene.now):
        parts.append(spent)
    if history.outcome is None and latest is not None:
        if latest.queue_position is not None:
            ahead = latest.queue_position
            parts.append("next in the queue" if ahead == 0 else f"{ahead} ahead in the queue")
        if latest.state is State.RUNNING and (progress := percent(history)) is not None:
            parts.append(f"{progress} %")
        if left := describe_time_left(history, scene.now):
            parts.append(left)
    parts += _money(scene.money)
    parts += describe_files(history)
    if scene.live and history.uid in scene.elsewhere:
        parts.append(_DIM.format(_ELSEWHERE))
    elif history.outcome is None and history.facts.trouble is None and scene.live and scene.next_look is not None:
        parts.append(_DIM.format(f"next look in {_whole(scene.next_look)}"))
    return parts


def _whole(value: float) -> str:
    """Seconds to come, rounded up: a countdown of whole numbers."""
    return seconds(max(1, math.ceil(value))).replace(".0 s", " s")


def _money(money: Money) -> list[str]:
    parts = []
    if money.credits is not None:
        parts.append(f"{money.credits:,.6g} credit{'s' * (money.credits != 1)}")
    parts += [
        f"{clean(currency, 8)} {amount:,.{3 if 0 < amount < 1 else 2}f}" for currency, amount in money.cost.items()
    ]
    if money.unknown:
        parts.append(f"cost of {money.unknown} unknown" if money.cost or money.credits is not None else "cost unknown")
    return parts


def _trouble(history: History, scene: Scene) -> Markup:
    lines: list[Markup] = []
    if history.outcome is None and history.facts.trouble is not None:
        # One line however long the message: what goes on below must not jump with each look.
        n = history.facts.misses_in_a_row
        again = f" in {_whole(scene.next_look)}" if scene.next_look is not None and scene.live else ""
        lines.append(
            Markup(
                '<div class="nbh-why nbh-now"><span class="nbh-warn" title="{}">▲ {}</span>'
                '<span><span class="nbh-sep">, </span>trying again{}{}</span></div>'
            ).format(
                describe_trouble(history, 500) + advise(history),
                describe_trouble(history, 300),
                again,
                f", {n} misses" if n > 1 else "",
            )
        )
    if history.error:
        colour = "nbh-bad" if history.outcome is Outcome.FAILED else "nbh-warn"
        lines.append(Markup('<div class="nbh-why {}">{}</div>').format(colour, cut(history.error, 220)))
    if history.outcome is Outcome.LOST:
        lines.append(_AGAIN.format("The task may still finish and be billed", "watch", "it"))
    elif history.outcome is Outcome.STOPPED:
        lines.append(_AGAIN.format("The task goes on and may be billed", "watch", "it"))
    lines += [
        Markup('<div class="nbh-why nbh-warn">▲ {} was not saved: {}</div>').format(
            clean(s.name, 60), cut(s.message, 160)
        )
        for s in unsaved_files(history)
    ]
    return NOTHING.join(lines)


# Many tasks


def _batch(histories: Sequence[History], scene: Scene) -> Markup:
    ended = sum(map(is_over, histories))
    good = sum(h.succeeded for h in histories)
    bad = sum(h.outcome is Outcome.FAILED for h in histories)
    going = any(h.outcome is None for h in histories)
    n = len(histories)
    glyph, colour = ("◐", "nbh-run") if going else ("✓", "nbh-good") if good == n else ("▲", "nbh-warn")
    words = _headline(histories, scene, ended, going=going)
    names = {h.task.provider for h in histories}
    counts = count_states(histories).items()
    share = [("nbh-good", good), ("nbh-bad", bad), ("nbh-warn", ended - good - bad)]
    filled = (Markup('<i class="{}" style="width:{:.2f}%"></i>').format(k, 100 * v / n) for k, v in share if v)
    return NOTHING.join((
        Markup('<div class="nbh-top nbh-all"><span class="nbh-state {}">{} {}</span> {}</div>').format(
            colour, _SIGN.format(glyph), words, _tags(names.pop() if len(names) == 1 else "", scene)
        ),
        _BAR.format("", n, ended, words, "all tasks", NOTHING.join(filled)),
        Markup('<div class="nbh-counts">{}</div>').format(Markup(" ").join(_count(*count) for count in counts)),
        _line(_batch_facts(histories, scene, going=going)),
        _going_on(histories),
        _rows(histories, scene),
    ))  # fmt: skip


def _headline(histories: Sequence[History], scene: Scene, ended: int, *, going: bool) -> str:
    n = len(histories)
    words = f"all {n:,} over" if ended == n else f"{ended:,} of {n:,} over"
    if scene.stopping and going:
        words += ", stopping"
    elif not going:
        left = {kind: sum(h.outcome is kind for h in histories) for kind in (Outcome.STOPPED, Outcome.LOST)}
        words += "".join(f", {number:,} {kind}" for kind, number in left.items() if number)
    return words


def _count(word: str, number: int) -> Markup:
    sign = _SIGN.format(glyph_of(word))
    return Markup('<span class="{}">{} {:,} {}</span>').format(colour_of(word), sign, number, word)


def _batch_facts(histories: Sequence[History], scene: Scene, *, going: bool) -> list[str]:
    parts: list[str] = []
    if (spent := elapsed_together(histories, scene.now)) is not None:
        parts.append(f"{seconds(spent)}{' elapsed' if going else ''}")
    parts += _money(scene.money)
    if files := [s for h in histories for s in saved_files(h)]:
        parts.append(describe_saved(files))
    if scene.live and (others := sum(h.uid in scene.elsewhere for h in histories)):
        parts.append(_DIM.format(f"{f'{others:,} ' if others < len(histories) else ''}{_ELSEWHERE}"))
    return parts


def _going_on(histories: Sequence[History]) -> Markup:
    """That tasks which nobody looks at any more go on, and how to look again."""
    ends = [h.outcome for h in histories if h.created and h.outcome in {Outcome.STOPPED, Outcome.LOST}]
    if not ends:
        return NOTHING
    kinds = " or ".join(sorted(set(map(str, ends)), reverse=True))
    one, every = len(ends) == 1, len(ends) == len(histories)
    which = "The tasks" if every else f"The {kinds} task" if one else f"The {len(ends):,} {kinds} tasks"
    goes = f"{'goes' if one else 'go'} on and may be billed"
    does = goes if set(ends) == {Outcome.STOPPED} else "may still finish and be billed"
    return _AGAIN.format(f"{which} {does}", "resume", "it" if one else "them")


def _rows(histories: Sequence[History], scene: Scene) -> Markup:
    shown = select_rows(histories, ROWS)
    several = len({h.task.provider for h in histories}) > 1
    more = len(histories) - len(shown)
    rest = Markup('<div class="nbh-dim">and {:,} more; <span class="nbh-mono">nbhelper.tasks()</span> has all</div>')
    return Markup('<table class="nbh-rows" aria-label="tasks"><tbody>{}</tbody></table>{}').format(
        NOTHING.join(_row(h, scene, several=several) for h in shown), rest.format(more) if more else ""
    )


def _row(history: History, scene: Scene, *, several: bool) -> Markup:
    """One task of many; where there are several providers, with its own before its name."""
    state, provider = state_of(history), history.task.provider
    spent = elapsed(history, scene.now)
    word = word_of(history)
    if state is State.RUNNING and (progress := percent(history)) is not None:
        word += f" {progress} %"
    name = name_of(history)
    title = f"{name} ({history.task})" if name != history.task.id and history.created else name
    origin = NOTHING
    if several and not ends_with_provider(name, provider):
        origin = Markup('<span class="nbh-dim">{} ·</span> ').format(provider)
    return Markup(
        '<tr{}><td class="nbh-c1" title="{}">{}</td><td class="nbh-c2 {}">{} {}</td><td class="nbh-c3 nbh-dim">{}</td>'
        "{}</tr>"
    ).format(
        Markup(' class="nbh-ended"') if ended_badly(history) else "",
        clean(title, 2200),
        elide_middle(name, 90, origin),
        colour_of(state),
        _SIGN.format(glyph_of(state)),
        clean(word, 200),
        "" if spent is None else seconds(spent),
        cut(describe_details(history, scene.now), 160, "nbh-c4 nbh-dim", element=CELL),
    )


def _foot(histories: Sequence[History], scene: Scene) -> Markup:
    parts = []
    if len(histories) == 1 and histories[0].created:
        parts.append(cut(histories[0].task, 90, "nbh-mono"))
    if scene.folder:
        parts.append(cut(f"kept in {scene.folder}", 160, "nbh-kept"))
    return Markup('<div class="nbh-foot">{}</div>').format(Markup(" ").join(parts)) if parts else NOTHING
