"""The pictures on a card: thumbnails as they came, then the files that have none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from .._model.events import Saved
from .._model.history import History
from .._model.text import clean, size
from .markup import NOTHING, elide_middle, titled
from .preview import Thumbnail, can_preview
from .scene import Scene
from .words import name_of, saved_files

PICTURES = 24
"""Thumbnails on one card."""
EMBED = 1_500_000
"""Bytes of a video that a frozen card carries; a longer one is a poster and a path."""
EMBED_ALL = 4_500_000
"""Bytes of all videos on one card."""


def tiles(histories: Sequence[History], scene: Scene) -> Markup:
    """Thumbnails as they came, then the files that have none; a click enlarges, by `<details>` alone."""
    shown: list[Markup] = []
    left = 0
    budget = [EMBED_ALL]
    for history in histories:
        if len(shown) >= PICTURES:
            left += len({s.file for s in saved_files(history) if s.file})
            continue
        for tile, n_files in _tiles(history, scene, budget, many=len(histories) > 1):
            if len(shown) >= PICTURES:
                left += n_files
            elif tile:
                shown.append(tile)
    if not shown:
        return NOTHING
    rest = f"and {left:,} more file{'s' * (left != 1)} on disk"
    more = Markup('<div class="nbh-dim">{}</div>').format(rest) if left else ""
    # By the number of tasks, not of pictures: the sizes stay while pictures arrive.
    few = len(histories) == 1 and len(shown) <= 3
    wide = " nbh-few" if few else " nbh-roomy" if len(histories) <= 8 else ""
    return Markup('<div class="nbh-pics{}">{}</div>{}').format(wide, NOTHING.join(shown), more)


def _tiles(history: History, scene: Scene, budget: list[int], *, many: bool) -> Iterator[tuple[Markup, int]]:
    """What is to be seen of one task's files, and how many files each tile stands for.

    A model, or a video that is too long to embed, stands below the picture that came with it.
    """
    saves = {s.file: s for s in _in_order(history)}
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
        elif _can_embed(saved, scene, budget[0]):
            budget[0] -= saved.n_bytes or 0
            videos.append(saved)
        else:
            others.append(saved)
    name = name_of(history)
    if making:
        yield NOTHING, making + (0 if pictured else len(others))  # counted, should there be no room for it
        if not pictured:
            return  # what belongs below a picture waits for it
    below = others if pictured else []
    for at, (saved, thumb) in enumerate(pictured):
        also = below if at == 0 else []
        yield _picture(saved, thumb, name, scene, also, many=many), 1 + len(also)
    for saved in videos:
        yield _video(saved, name, scene, many=many), 1
    for saved in others if not pictured else []:
        yield _file(saved, scene), 1


def _in_order(history: History) -> list[Saved]:
    """The saved files in the order of the reply, not of the downloads' ends."""
    place = {output.name: at for at, output in enumerate(history.outputs)}
    return sorted((s for s in saved_files(history) if s.file), key=lambda s: place.get(s.name, len(place)))


def _can_embed(saved: Saved, scene: Scene, left: int) -> bool:
    """Whether a frozen card carries this video, with so many bytes left for videos."""
    suffix = Path(str(saved.file)).suffix
    return (
        not scene.live
        and saved.kind == "video"
        and suffix in {".mp4", ".webm"}
        and (saved.n_bytes or 0) <= min(EMBED, left)
    )


def image(thumb: Thumbnail, share: float, words: str) -> Markup:
    """A thumbnail as an element, shown at a share of its size; `words` are its alternative text and its title."""
    # The worker's format where something is transparent.
    return Markup('<img{} src="{}" width="{}" height="{}" alt="{}" title="{}" loading="lazy" decoding="async">').format(
        Markup(' class="nbh-clear"') if thumb.mime == "image/webp" else "",
        Markup(thumb.uri),  # noqa: S704  # base64 of our own
        max(1, round(thumb.width * share)),
        max(1, round(thumb.height * share)),
        words,
        words,
    )


def _picture(saved: Saved, thumb: Thumbnail, name: str, scene: Scene, also: Sequence[Saved], *, many: bool) -> Markup:
    # The attributes count where styles are stripped, as on GitHub: a grid stays a grid there.
    share = min(1.0, 192 / max(thumb.width, thumb.height)) if many else 1.0
    path = Path(str(saved.file))
    return Markup(
        '<figure class="nbh-pic"><details><summary>{}</summary><div class="nbh-path">{}</div></details>'
        '<figcaption class="nbh-cap">{}{}</figcaption></figure>'
    ).format(
        image(thumb, share, clean(f"{name}, {saved.name}", 200)),
        clean(f"{thumb.full[0]} by {thumb.full[1]} pixels, {_relative(path, scene)}", 400),
        _link(saved, scene, name if many else ""),
        NOTHING.join(Markup(" {}").format(_link(other, scene, _KINDS.get(other.kind, "file"))) for other in also),
    )


_KINDS = {"video": "▶ video", "model": "⬡ 3D model", "audio": "♪ audio", "image": "picture"}


def _file(saved: Saved, scene: Scene) -> Markup:
    """A file without a picture, and why there is none."""
    why = scene.thumbnails.get(Path(str(saved.file)))
    note = f" ({clean(why, 120)})" if isinstance(why, str) and why else ""
    words = f"{_KINDS.get(saved.kind, 'file')}, {size(saved.n_bytes or 0)}{note}"
    return Markup('<div class="nbh-file nbh-wide">{}<br>{}</div>').format(words, _link(saved, scene))


def _video(saved: Saved, name: str, scene: Scene, *, many: bool) -> Markup:
    import base64

    path = Path(str(saved.file))
    try:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:
        return _file(saved, scene)
    return Markup(
        '<figure class="nbh-pic nbh-wide">'
        '<video controls preload="metadata" aria-label="{}" src="data:{};base64,{}"></video>'
        '<figcaption class="nbh-cap">{}</figcaption></figure>'
    ).format(
        clean(f"{name}, {saved.name}", 200),
        "video/webm" if path.suffix == ".webm" else "video/mp4",
        Markup(data),  # noqa: S704  # base64 of our own
        _link(saved, scene, name if many else ""),
    )


def _relative(path: Path, scene: Scene) -> str:
    try:
        return os.path.relpath(path, scene.base)
    except ValueError:  # another drive
        return str(path)


def _link(saved: Saved, scene: Scene, words: str = "") -> Markup:
    """A relative link in a frozen card, which Jupyter serves; in a live one the path, as text."""
    path = Path(str(saved.file))
    relative = _relative(path, scene)
    weight = size(saved.n_bytes or 0)
    title = clean(f"{relative}, {weight}", 500)
    shown = elide_middle(words, 90) if words else clean(f"{path.name}, {weight}", 90)
    if scene.live or relative.startswith("..") or Path(relative).is_absolute():
        return titled(shown, title)
    address = clean(quote(os.fsencode(relative.replace(os.sep, "/"))), 2000)
    return Markup('<a href="{}" title="{}">{}</a>').format(address, title, shown)
