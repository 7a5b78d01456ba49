"""The card as HTML: a pure drawing of histories, the same for the live widget and for the frozen output.

No script, no external address, no page anchor. Text from servers passes `_t` or `_cut` on its way in. State is told by
word and glyph, never by colour alone; numbers have digits of one width, so that nothing jumps.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from ._history import History
from ._preview import Thumbnail, can_preview
from ._terminal import GLYPHS, detail, elapsed, seconds, size, state_of, time_left, word_of
from ._text import clean
from ._values import MissKind, Outcome, Saved, SaveState, State

ROWS = 20
"""Tasks listed in a batch card; the rest is counted below."""
PICTURES = 24
"""Thumbnails on one card."""
EMBED = 1_500_000
"""Bytes of a video that a frozen card carries; a longer one is a poster and a path."""
EMBED_ALL = 4_500_000
"""Bytes of all videos on one card."""

_CLASSES = {
    State.QUEUED: "wait",
    State.RUNNING: "run",
    State.UNKNOWN: "warn",
    Outcome.SUCCEEDED: "good",
    Outcome.FAILED: "bad",
    Outcome.CANCELLED: "warn",
    Outcome.EXPIRED: "warn",
    Outcome.LOST: "warn",
    Outcome.STOPPED: "warn",
}
_WORDS = {
    None: "waiting for the first look",
    State.UNKNOWN: "unknown state",
    Outcome.LOST: "lost sight of it",
    Outcome.STOPPED: "stopped watching",
}
_DOT = '<span class="dim"> · </span>'
_PART = "nbh-part mathjax_ignore tex2jax_ignore"
"""Classes of each piece of markup; the last two keep "$5 and $6" in a prompt from being typeset as a formula."""


@dataclass(frozen=True, slots=True)
class Money:
    """What histories took, as far as it is known."""

    credits: float | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    """By currency: currencies are never added up."""
    unknown: int = 0
    """Finished tasks whose cost nobody knows; they are not free."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a drawing needs besides the histories.

    Attributes:
        now: UTC.
        thumbnails: By file; text says why there is none.
        money: Of all histories.
        folder: Where files and histories are kept.
        base: The notebook's folder, which links are relative to.
        live: Whether the drawing will be replaced; a frozen one links and embeds files.
        emulated: Whether an emulator answers.
        next_look: Seconds until the next look at the task, for a single one.
        previews: Whether thumbnails are being made at all.
        notes: Trouble of our own, such as a full disk.
        stopping: Whether a person has asked to stop, and the engine has not yet.
    """

    now: datetime
    thumbnails: Mapping[Path, Thumbnail | str] = field(default_factory=dict)
    money: Money = field(default_factory=Money)
    folder: str = ""
    base: Path = field(default_factory=Path)
    live: bool = True
    emulated: bool = False
    next_look: float | None = None
    previews: bool = True
    notes: Sequence[str] = ()
    stopping: bool = False


def _t(text: object, limit: int = 200) -> str:
    """Text for HTML: cleaned, cut, escaped. Nothing from a server enters the page in any other way."""
    return html.escape(clean(text, limit), quote=True)


def _cut(text: object, limit: int, tag: str = "span", klass: str = "", *, title: object = None) -> str:
    """A long text cut, whole in its title; where the style may cut it further, the title is there in any case."""
    whole = clean(text, 1000)
    shown = whole if len(whole) <= limit else whole[: limit - 1] + "…"
    told = clean(whole if title is None else title, 2200)
    hint = f' title="{html.escape(told, quote=True)}"' if told != shown or klass else ""
    return f"<{tag}{f' class={chr(34)}{klass}{chr(34)}' if klass else ''}{hint}>{html.escape(shown)}</{tag}>"


STYLE = """<style>
.nbh{--fg:var(--jp-ui-font-color1,var(--vscode-editor-foreground,CanvasText));
--bg:var(--jp-layout-color0,var(--vscode-editor-background,Canvas));
--dim:color-mix(in srgb,var(--fg) 74%,transparent);
--line:color-mix(in srgb,var(--fg) 20%,transparent);
--track:color-mix(in srgb,var(--fg) 13%,transparent);
--run:color-mix(in srgb,var(--jp-brand-color1,var(--vscode-charts-blue,#1976d2)) 80%,var(--fg));
--good:color-mix(in srgb,var(--jp-success-color1,var(--vscode-charts-green,#388e3c)) 76%,var(--fg));
--bad:color-mix(in srgb,var(--jp-error-color1,var(--vscode-charts-red,#d32f2f)) 80%,var(--fg));
--warn:color-mix(in srgb,var(--jp-warn-color1,var(--vscode-charts-orange,#f57c00)) 64%,var(--fg));
container-type:inline-size;position:relative;box-sizing:border-box;width:100%;max-width:760px;
padding:10px 14px;margin:2px 0;border:1px solid var(--line);border-radius:8px;background:var(--bg);color:var(--fg)}
.nbh.jupyter-widgets{display:block;margin:2px 0;width:calc(100% - 20px)}
.nbh>.jupyter-widgets{margin:0;width:auto;height:auto}
.nbh>.widget-html,.nbh .widget-html-content{display:block;width:auto;min-width:0;line-height:inherit;font-size:inherit;
overflow:visible}
.nbh-part{font:13px/20px var(--jp-ui-font-family,system-ui,sans-serif);font-variant-numeric:tabular-nums;
color:var(--fg)}
.nbh-part *{box-sizing:border-box}
.nbh .top{display:flex;gap:2px 10px;align-items:baseline;flex-wrap:wrap}
.nbh.jupyter-widgets .top{padding-right:70px;min-height:26px}
.nbh .state{font-weight:600;white-space:nowrap}
.nbh .name{flex:1 1 0;min-width:6em;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.nbh .counts{flex:1 1 12em;display:flex;flex-wrap:wrap;column-gap:12px}
.nbh .tags{display:flex;gap:6px;max-width:100%}
.nbh .tag{font-size:11px;line-height:16px;color:var(--dim);border:1px solid var(--line);border-radius:9px;
padding:0 7px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.nbh .dim,.nbh .foot{color:var(--dim)}
.nbh .run{color:var(--run)}.nbh .good{color:var(--good)}.nbh .bad{color:var(--bad)}.nbh .warn{color:var(--warn)}
.nbh .wait{color:var(--dim)}
.nbh .bar{height:6px;border-radius:3px;background:var(--track);overflow:hidden;margin:7px 0 6px;display:flex}
.nbh .bar>i{display:block;height:100%;background:var(--run);transition:width .4s linear}
.nbh .bar>i.good{background:var(--good)}.nbh .bar>i.bad{background:var(--bad)}.nbh .bar>i.warn{background:var(--warn)}
.nbh .bar.open>i{width:28%;animation:nbh 1.8s ease-in-out infinite alternate}
@keyframes nbh{from{margin-left:0}to{margin-left:72%}}
@media (prefers-reduced-motion:reduce){.nbh .bar>i{transition:none}
.nbh .bar.open>i{animation:none;width:100%;opacity:.35}}
.nbh .line{min-height:20px;overflow-wrap:anywhere}
.nbh .why{margin-top:2px;overflow-wrap:anywhere}
.nbh .now{display:flex;white-space:pre}
.nbh .now>:first-child{min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.nbh .foot{font-size:11.5px;line-height:17px;margin-top:6px;display:flex;flex-wrap:wrap;column-gap:12px}
.nbh .foot>span{min-width:0;max-width:100%;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.nbh .mono{font-family:var(--jp-code-font-family,ui-monospace,monospace);font-size:11px}
.nbh table.rows{border-collapse:collapse;width:100%;margin:6px 0 2px;table-layout:fixed;font-size:12.5px;color:inherit;
border:0}
.nbh table.rows td{padding:0 10px 0 0;line-height:21px;border:0;text-align:left;vertical-align:baseline;
overflow:hidden;text-overflow:ellipsis;white-space:nowrap;background:none;max-width:none}
.nbh table.rows tr{background:none!important;border:0}
.nbh table.rows td.c1{width:32%}.nbh table.rows td.c2{width:17%}.nbh table.rows td.c3{width:10%;text-align:right}
.nbh table.rows td.c4{width:41%;padding-right:0}
.nbh .pics{display:flex;flex-wrap:wrap;gap:10px;margin:8px 0 2px;align-items:flex-start}
.nbh figure.pic{margin:0;max-width:100%;display:block}
.nbh details>summary{list-style:none;cursor:zoom-in;display:block}
.nbh details>summary::-webkit-details-marker{display:none}
.nbh details[open]>summary{cursor:zoom-out}
.nbh .pic img{display:block;height:auto;width:auto;max-height:112px;max-width:min(100%,224px);min-width:24px;
border-radius:5px;margin:0;background:repeating-conic-gradient(var(--track) 0 25%,transparent 0 50%) 0 0/14px 14px}
.nbh .few .pic img{max-height:176px;max-width:min(100%,352px)}
.nbh .pic details[open] img{max-height:384px;max-width:100%}
.nbh .pic video{display:block;height:168px;width:auto;max-width:100%;border-radius:5px;margin:0}
.nbh .cap{font-size:11.5px;line-height:17px;color:var(--dim);width:0;min-width:100%;margin-top:2px}
.nbh .cap>*{display:block;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.nbh .path{font-size:11px;line-height:15px;color:var(--dim);width:0;min-width:100%;overflow-wrap:anywhere;
margin-top:2px}
.nbh .file{border:1px solid var(--line);border-radius:5px;padding:5px 10px;font-size:12px;line-height:18px;
max-width:100%;overflow-wrap:anywhere}
.nbh a{color:inherit;text-decoration:underline}
.nbh :focus-visible{outline:2px solid var(--run);outline-offset:2px}
.nbh .nbh-stop{position:absolute;top:8px;right:12px;width:auto;height:26px;line-height:24px;padding:0 12px;margin:0;
border-radius:4px}
.nbh .nbh-says{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@container (max-width:460px){.nbh table.rows td.c1{width:38%}.nbh table.rows td.c2{width:104px}
.nbh table.rows td.c3{display:none}.nbh table.rows td.c4{width:auto}}
</style>"""


def card(histories: Sequence[History], scene: Scene) -> str:
    """The whole card as one piece of HTML: what a saved notebook keeps.

    Args:
        histories: Unique ones, in the order they were given.
        scene: The rest.
    """
    name = _t(_name(histories[0]), 80) if len(histories) == 1 else f"{len(histories)} tasks"
    return (
        f'{STYLE}<div class="nbh"><div class="{_PART}" role="group" aria-label="{name}">'
        f"{_body(histories, scene)}{gallery(histories, scene)}{_foot(histories, scene)}</div></div>"
    )


def live_body(histories: Sequence[History], scene: Scene) -> str:
    """What changes all the time: state, bar, facts, rows. The live box brings border and style."""
    return f'<div class="{_PART}">{_body(histories, scene)}</div>'


def live_below(histories: Sequence[History], scene: Scene) -> str:
    """What changes rarely: the style, the thumbnails, the last line."""
    return f'{STYLE}<div class="{_PART}">{gallery(histories, scene)}{_foot(histories, scene)}</div>'


def final_words(histories: Sequence[History]) -> str:
    """What a screen reader is told: ends only, one sentence."""
    over = [h for h in histories if h.outcome is not None]
    words = ""
    if len(histories) == 1 and over:
        words = f"{_t(_name(over[0]), 120)}: {_t(_word(over[0]))}"
    elif over and len(over) == len(histories):
        words = f"All {len(histories)} tasks are over: {', '.join(f'{n} {w}' for w, n in _counts(histories).items())}"
    return f'<div role="status" aria-live="polite">{words}</div>'


def _body(histories: Sequence[History], scene: Scene) -> str:
    drawn = _single(histories[0], scene) if len(histories) == 1 else _batch(histories, scene)
    notes = "".join(f'<div class="why warn">▲ {_cut(note, 220)}</div>' for note in scene.notes)
    return drawn + notes


# One task


def _single(history: History, scene: Scene) -> str:
    state = state_of(history)
    klass = _CLASSES.get(state, "wait") if state is not None else "wait"
    model = history.snapshot.model if history.snapshot else None
    tags = _tags(f"{history.task.provider}{f' · {model}' if model else ''}", scene)
    word = "stopping" if scene.stopping and history.outcome is None else _word(history)
    top = (
        f'<div class="top"><span class="state {klass}"><span aria-hidden="true">{GLYPHS.get(state, "◌")}</span> '
        f"{_t(word)}</span> {_cut(_name(history), 160, klass='name')} {tags}</div>"
    )
    return top + _bar(history, klass) + f'<div class="line">{_facts(history, scene)}</div>' + _trouble(history, scene)


def _tags(first: str, scene: Scene) -> str:
    tags = [_cut(first, 60, klass="tag")] if first else []
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


def _name(history: History) -> str:
    if history.task.label:
        return history.task.label
    for params in (history.task.params, history.snapshot.params if history.snapshot else {}):
        inner = params.get("input")
        for holder in (params, inner if isinstance(inner, Mapping) else {}):
            prompt = holder.get("prompt")
            if isinstance(prompt, str) and prompt.strip():
                return prompt
    return history.task.id if history.created else history.task.provider


def _bar(history: History, klass: str) -> str:
    label = f'aria-label="{_t(_name(history), 80)}"'
    if history.outcome is not None:
        done = 100 if history.succeeded else round((history.facts.progress or 0) * 100)
        value = f'aria-valuenow="{done}" aria-valuetext="{_t(_word(history))}"'
        inner = f'<i class="{klass}" style="width:{max(done, 4)}%"></i>'
        return (
            f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" {value} {label}>{inner}</div>'
        )
    progress = history.facts.progress
    if progress is None:
        # No value: the server gives none, and a made-up one would be believed.
        return f'<div class="bar open" role="progressbar" aria-valuetext="{_t(_word(history))}" {label}><i></i></div>'
    per_cent = min(99, round(progress * 100))  # never whole before the server says so
    value = f'aria-valuenow="{per_cent}" aria-valuetext="{_t(_word(history))}, {per_cent} %"'
    inner = f'<i style="width:{per_cent}%"></i>'
    return f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" {value} {label}>{inner}</div>'


def _facts(history: History, scene: Scene) -> str:
    parts: list[str] = []
    latest = history.snapshot
    spent = elapsed(history, scene.now)
    if spent is not None:
        parts.append(f"{seconds(spent)}{' elapsed' if history.outcome is None else ''}")
    if history.outcome is None and latest is not None:
        if latest.queue_position is not None:
            ahead = latest.queue_position
            parts.append("next in the queue" if ahead == 0 else f"{ahead} ahead in the queue")
        if history.facts.progress is not None and latest.state is State.RUNNING:
            parts.append(f"{min(99, round(history.facts.progress * 100))} %")
        if left := time_left(history, scene.now):
            parts.append(left)
    parts += _money(scene.money)
    parts += [_t(w, 90) for w in _files(history)]
    if history.outcome is None and history.facts.trouble is None and scene.live and scene.next_look is not None:
        parts.append(f'<span class="dim">next look in {_whole(scene.next_look)}</span>')
    return _DOT.join(parts)


def _whole(value: float) -> str:
    """Seconds to come, rounded up: a countdown of whole numbers."""
    return seconds(max(1, math.ceil(value))).replace(".0 s", " s")


def _money(money: Money) -> list[str]:
    parts = []
    if money.credits is not None:
        parts.append(f"{money.credits:,.6g} credit{'s' * (money.credits != 1)}")
    parts += [f"{_t(currency, 8)} {amount:,.{3 if 0 < amount < 1 else 2}f}" for currency, amount in money.cost.items()]
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
        rest = "".join(f", {part}" for part in (again or "trying again", count) if part)
        told = f"{miss}. The task itself may still finish; nothing is submitted again."
        words = clean(miss, 300)
        title = html.escape(clean(told if miss.kind is MissKind.NO_CREDIT else miss, 600), quote=True)
        lines.append(
            f'<div class="why now"><span class="warn" title="{title}">▲ {html.escape(words)}</span>'
            f"<span>{rest}</span></div>"
        )
    if history.error:
        klass = "bad" if history.outcome is Outcome.FAILED else "warn"
        lines.append(f'<div class="why {klass}">{_cut(history.error, 220)}</div>')
    if history.outcome in {Outcome.LOST, Outcome.STOPPED}:
        lines.append(
            '<div class="why">The task goes on and may be billed; <span class="mono">nbhelper.watch()</span> '
            "looks at it again.</div>"
            if history.outcome is Outcome.STOPPED
            else '<div class="why">The task may still finish and be billed; <span class="mono">nbhelper.watch()</span> '
            "looks at it again.</div>"
        )
    lines += [
        f'<div class="why warn">▲ {_t(s.name, 60)} was not saved: {_cut(s.message, 160)}</div>'
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
    over = sum(h.outcome is not None for h in histories)
    good = sum(h.succeeded for h in histories)
    bad = sum(h.outcome is Outcome.FAILED for h in histories)
    state = "run" if over < n else ("good" if good == n else "warn")
    word = f"{over:,} of {n:,} over" if over < n else f"all {n:,} over"
    if scene.stopping and over < n:
        word += ", stopping"
    glyph = "◐" if over < n else ("✓" if good == n else "▲")
    counts = " ".join(
        f'<span class="{_class_of(kind)}"><span aria-hidden="true">{_glyph_of(kind)}</span> {number:,} {kind}</span>'
        for kind, number in _counts(histories).items()
    )
    names = {h.task.provider for h in histories}
    top = (
        f'<div class="top"><span class="state {state}"><span aria-hidden="true">{glyph}</span> {word}</span> '
        f'<span class="counts">{counts}</span> {_tags(names.pop() if len(names) == 1 else "", scene)}</div>'
    )
    share = [("good", good), ("bad", bad), ("warn", over - good - bad)]
    bars = "".join(f'<i class="{k}" style="width:{100 * v / n:.2f}%"></i>' for k, v in share if v)
    bar = (
        f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="{n}" aria-valuenow="{over}" '
        f'aria-valuetext="{word}" aria-label="all tasks">{bars}</div>'
    )
    begins = [h.facts.created or h.facts.submitting_at or h.facts.first_look_at for h in histories]
    known = [b for b in begins if b is not None]
    ends = [h.facts.final_at or h.facts.last_look_at or scene.now for h in histories]
    parts = []
    if known:
        until = scene.now if over < n else max(ends)
        parts.append(f"{seconds(max(0.0, (until - min(known)).total_seconds()))}{' elapsed' if over < n else ''}")
    parts += _money(scene.money)
    files = [s for h in histories for s in h.saves.values() if s.state is SaveState.SAVED]
    if files:
        parts.append(f"{len(files):,} file{'s' * (len(files) != 1)}, {size(sum(s.n_bytes or 0 for s in files))}")
    return top + bar + f'<div class="line">{_DOT.join(parts)}</div>' + _rows(histories, scene)


def _class_of(word: str) -> str:
    return next((k for s, k in _CLASSES.items() if str(s) == word), "wait")


def _glyph_of(word: str) -> str:
    return next((g for s, g in GLYPHS.items() if str(s) == word), "◌")


def _rank(history: History) -> int:
    state = state_of(history)
    if state is State.RUNNING:
        return 0
    if history.outcome is not None and not history.succeeded:
        return 1
    if not history.created and history.outcome is None:
        return 5
    return {State.UNKNOWN: 2, State.QUEUED: 3, None: 4}.get(state, 6)  # type: ignore[arg-type]  # outcomes fall to 6


def _rows(histories: Sequence[History], scene: Scene) -> str:
    ordered = sorted(histories, key=_rank)
    shown = ordered[:ROWS]
    failed = [h for h in ordered[ROWS:] if _rank(h) == 1]
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
    klass = _CLASSES.get(state, "wait") if state is not None else "wait"
    spent = elapsed(history, scene.now)
    progress = history.facts.progress
    word = word_of(history)
    if state is State.RUNNING and progress is not None:
        word += f" {min(99, round(progress * 100))} %"
    name = _name(history)
    title = f"{name} ({history.task})" if name != history.task.id and history.created else name
    shown = f"{history.task.provider} · {name}" if prefix else name
    return (
        f"<tr>{_cut(shown, 90, 'td', 'c1', title=title)}"
        f'<td class="c2 {klass}"><span aria-hidden="true">{GLYPHS.get(state, "◌")}</span> {_t(word)}</td>'
        f'<td class="c3 dim">{"" if spent is None else seconds(spent)}</td>'
        f"{_cut(detail(history, scene.now), 160, 'td', 'c4 dim')}</tr>"
    )


# Pictures


def gallery(histories: Sequence[History], scene: Scene) -> str:
    """Thumbnails as they came, then the files that have none; a click enlarges, by `<details>` alone."""
    tiles: list[str] = []
    left = 0
    budget = [EMBED_ALL]
    for history in histories:
        if len(tiles) >= PICTURES:
            left += len({s.file for s in history.saves.values() if s.state is SaveState.SAVED and s.file})
            continue
        for tile, n_files in _tiles(history, scene, budget, many=len(histories) > 1):
            if len(tiles) >= PICTURES:
                left += n_files
            elif tile:
                tiles.append(tile)
    if not tiles:
        return ""
    more = f'<div class="dim">and {left:,} more file{"s" * (left != 1)} on disk</div>' if left else ""
    klass = "pics few" if len(histories) == 1 and len(tiles) <= 4 else "pics"
    return f'<div class="{klass}">{"".join(tiles)}</div>{more}'


def _tiles(history: History, scene: Scene, budget: list[int], *, many: bool) -> Iterator[tuple[str, int]]:
    """What is to be seen of one task's files, and how many files each tile stands for.

    A model, or a video that is too long to embed, stands below the picture that came with it.
    """
    saves = {s.file: s for s in history.saves.values() if s.state is SaveState.SAVED and s.file}
    pictured: list[tuple[Saved, Thumbnail]] = []
    videos, others = [], []
    making = 0
    for saved in saves.values():
        path = Path(str(saved.file))
        thumb = scene.thumbnails.get(path)
        if isinstance(thumb, Thumbnail):
            pictured.append((saved, thumb))
        elif scene.live and scene.previews and thumb is None and can_preview(path):
            making += 1
        elif _embedded(saved, scene, budget):
            videos.append(saved)
        else:
            others.append(saved)
    name = _name(history)
    if making:
        yield "", making + (0 if pictured else len(others))  # counted, should there be no room for it
        if not pictured:
            return  # what belongs below a picture waits for it
    below = others if pictured else []
    for at, (saved, thumb) in enumerate(pictured):
        also = below if at == 0 else []
        yield _picture(saved, thumb, name, scene, also, many=many), 1 + len(also)
    for saved in videos:
        yield _video(saved, name, scene), 1
    for saved in others if not pictured else []:
        yield _file(saved, scene), 1


def _embedded(saved: Saved, scene: Scene, budget: list[int]) -> bool:
    """Whether a frozen card carries this video."""
    n_bytes = saved.n_bytes or 0
    suffix = Path(str(saved.file)).suffix
    if scene.live or saved.kind != "video" or suffix not in {".mp4", ".webm"} or n_bytes > min(EMBED, budget[0]):
        return False
    budget[0] -= n_bytes
    return True


def _picture(saved: Saved, thumb: Thumbnail, name: str, scene: Scene, also: Sequence[Saved], *, many: bool) -> str:
    alt = _t(f"{name}, {saved.name}", 200)
    # The attributes count where styles are stripped, as on GitHub: a grid stays a grid there.
    share = min(1.0, 192 / max(thumb.width, thumb.height)) if many else 1.0
    box = f'width="{max(1, round(thumb.width * share))}" height="{max(1, round(thumb.height * share))}"'
    image = f'<img src="{thumb.uri}" {box} alt="{alt}" title="{alt}" loading="lazy" decoding="async">'
    path = Path(str(saved.file))
    words = f"{thumb.full[0]} by {thumb.full[1]} pixels, {_relative(path, scene)}"
    caption = _link(saved, scene, name if many else "")
    more = "".join(" " + _link(other, scene, _WHAT.get(other.kind, "file")) for other in also)
    return (
        f'<figure class="pic"><details><summary>{image}</summary><div class="path">{_t(words, 400)}</div></details>'
        f'<figcaption class="cap">{caption}{more}</figcaption></figure>'
    )


_WHAT = {"video": "▶ video", "model": "⬡ 3D model", "audio": "♪ audio", "image": "picture"}


def _file(saved: Saved, scene: Scene) -> str:
    """A file without a picture, and why there is none."""
    why = scene.thumbnails.get(Path(str(saved.file)))
    note = f" ({_t(why, 120)})" if isinstance(why, str) and why else ""
    what = _WHAT.get(saved.kind, "file")
    return f'<div class="file">{what}, {size(saved.n_bytes or 0)}{note}<br>{_link(saved, scene)}</div>'


def _video(saved: Saved, name: str, scene: Scene) -> str:
    import base64

    path = Path(str(saved.file))
    try:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:
        return _file(saved, scene)
    mime = "video/webm" if path.suffix == ".webm" else "video/mp4"
    label = _t(f"{name}, {saved.name}", 200)
    video = f'<video controls preload="metadata" aria-label="{label}" src="data:{mime};base64,{data}"></video>'
    return f'<figure class="pic">{video}<figcaption class="cap">{_link(saved, scene)}</figcaption></figure>'


def _relative(path: Path, scene: Scene) -> str:
    try:
        return os.path.relpath(path, scene.base)
    except ValueError:  # another drive
        return str(path)


def _link(saved: Saved, scene: Scene, words: str = "") -> str:
    """A relative link in a frozen card, which Jupyter serves; in a live one the path, as text."""
    path = Path(str(saved.file))
    relative = _relative(path, scene)
    weight = size(saved.n_bytes or 0)
    title = _t(f"{relative}, {weight}", 500)
    shown = _t(words or f"{path.name}, {weight}", 90)
    if scene.live or relative.startswith("..") or Path(relative).is_absolute():
        return f'<span title="{title}">{shown}</span>'
    return f'<a href="{_t(quote(relative.replace(os.sep, "/")), 2000)}" title="{title}">{shown}</a>'


def _foot(histories: Sequence[History], scene: Scene) -> str:
    parts = []
    if len(histories) == 1 and histories[0].created:
        parts.append(_cut(histories[0].task, 90, klass="mono"))
    if scene.folder:
        parts.append(_cut(f"kept in {scene.folder}", 160, klass="kept"))
    return f'<div class="foot">{" ".join(parts)}</div>' if parts else ""
