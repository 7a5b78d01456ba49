"""The pictures on a card: thumbnails as they came, then the files that have none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from ._card_scene import Scene, escaped, middled, name_of
from ._history import History
from ._preview import Thumbnail, can_preview
from ._terminal import size
from ._values import Saved, SaveState

PICTURES = 24
"""Thumbnails on one card."""
EMBED = 1_500_000
"""Bytes of a video that a frozen card carries; a longer one is a poster and a path."""
EMBED_ALL = 4_500_000
"""Bytes of all videos on one card."""


def tiles(histories: Sequence[History], scene: Scene) -> str:
    """Thumbnails as they came, then the files that have none; a click enlarges, by `<details>` alone."""
    found: list[str] = []
    left = 0
    budget = [EMBED_ALL]
    for history in histories:
        if len(found) >= PICTURES:
            left += len({s.file for s in history.saves.values() if s.state is SaveState.SAVED and s.file})
            continue
        for tile, n_files in _tiles(history, scene, budget, many=len(histories) > 1):
            if len(found) >= PICTURES:
                left += n_files
            elif tile:
                found.append(tile)
    if not found:
        return ""
    more = f'<div class="dim">and {left:,} more file{"s" * (left != 1)} on disk</div>' if left else ""
    # By the number of tasks, not of pictures: the sizes stay while pictures arrive.
    few = len(histories) == 1 and len(found) <= 3
    klass = "pics few" if few else "pics roomy" if len(histories) <= 8 else "pics"
    return f'<div class="{klass}">{"".join(found)}</div>{more}'


def _tiles(history: History, scene: Scene, budget: list[int], *, many: bool) -> Iterator[tuple[str, int]]:
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
        elif _embedded(saved, scene, budget):
            videos.append(saved)
        else:
            others.append(saved)
    name = name_of(history)
    if making:
        yield "", making + (0 if pictured else len(others))  # counted, should there be no room for it
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
    saved = [s for s in history.saves.values() if s.state is SaveState.SAVED and s.file]
    return sorted(saved, key=lambda s: place.get(s.name, len(place)))


def _embedded(saved: Saved, scene: Scene, budget: list[int]) -> bool:
    """Whether a frozen card carries this video."""
    n_bytes = saved.n_bytes or 0
    suffix = Path(str(saved.file)).suffix
    if scene.live or saved.kind != "video" or suffix not in {".mp4", ".webm"} or n_bytes > min(EMBED, budget[0]):
        return False
    budget[0] -= n_bytes
    return True


def _picture(saved: Saved, thumb: Thumbnail, name: str, scene: Scene, also: Sequence[Saved], *, many: bool) -> str:
    alt = escaped(f"{name}, {saved.name}", 200)
    # The attributes count where styles are stripped, as on GitHub: a grid stays a grid there.
    share = min(1.0, 192 / max(thumb.width, thumb.height)) if many else 1.0
    box = f'width="{max(1, round(thumb.width * share))}" height="{max(1, round(thumb.height * share))}"'
    clear = ' class="clear"' if thumb.mime == "image/webp" else ""  # the worker's format for what shines through
    image = f'<img{clear} src="{thumb.uri}" {box} alt="{alt}" title="{alt}" loading="lazy" decoding="async">'
    path = Path(str(saved.file))
    words = f"{thumb.full[0]} by {thumb.full[1]} pixels, {_relative(path, scene)}"
    caption = _link(saved, scene, name if many else "")
    more = "".join(" " + _link(other, scene, _WHAT.get(other.kind, "file")) for other in also)
    path_words = f'<div class="path">{escaped(words, 400)}</div>'
    return (
        f'<figure class="pic"><details><summary>{image}</summary>{path_words}</details>'
        f'<figcaption class="cap">{caption}{more}</figcaption></figure>'
    )


_WHAT = {"video": "▶ video", "model": "⬡ 3D model", "audio": "♪ audio", "image": "picture"}


def _file(saved: Saved, scene: Scene) -> str:
    """A file without a picture, and why there is none."""
    why = scene.thumbnails.get(Path(str(saved.file)))
    note = f" ({escaped(why, 120)})" if isinstance(why, str) and why else ""
    what = _WHAT.get(saved.kind, "file")
    return f'<div class="file wide">{what}, {size(saved.n_bytes or 0)}{note}<br>{_link(saved, scene)}</div>'


def _video(saved: Saved, name: str, scene: Scene, *, many: bool) -> str:
    import base64

    path = Path(str(saved.file))
    try:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:
        return _file(saved, scene)
    mime = "video/webm" if path.suffix == ".webm" else "video/mp4"
    label = escaped(f"{name}, {saved.name}", 200)
    video = f'<video controls preload="metadata" aria-label="{label}" src="data:{mime};base64,{data}"></video>'
    caption = _link(saved, scene, name if many else "")
    return f'<figure class="pic wide">{video}<figcaption class="cap">{caption}</figcaption></figure>'


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
    title = escaped(f"{relative}, {weight}", 500)
    shown = middled(words, 90) if words else escaped(f"{path.name}, {weight}", 90)
    if scene.live or relative.startswith("..") or Path(relative).is_absolute():
        return f'<span title="{title}">{shown}</span>'
    return f'<a href="{escaped(quote(os.fsencode(relative.replace(os.sep, "/"))), 2000)}" title="{title}">{shown}</a>'
