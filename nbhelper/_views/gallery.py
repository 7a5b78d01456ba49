"""Pictures side by side, by up to two parameters: static HTML that a notebook shows and a file keeps."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from .._model.errors import BadInput
from .._model.text import clean, nearest, seconds
from .markup import NOTHING, style, titled
from .preview import Thumbnail, can_preview, previewer
from .scene import colour_of
from .tiles import image
from .words import glyph_of

if TYPE_CHECKING:
    import pandas as pd

MOST = 400
"""Pictures of one gallery; a notebook's file grows by about 10 kB with each."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures in a grid, as static HTML.

    Attributes:
        body: The markup, thumbnails included; no script and no address outside.
        pictures: How many there are.
        title: What the saved page is called: the experiment, or the model, and what the pictures are arranged by.
    """

    body: str
    pictures: int
    title: str = "Gallery"

    def _repr_html_(self) -> str:
        return self.body

    def __repr__(self) -> str:
        return f"<Gallery {self.pictures} picture{'s' * (self.pictures != 1)}>"

    def save(self, path: str | Path) -> Path:
        """Write it as one HTML file that needs nothing else; returns the file, absolute.

        Raises:
            BadInput: The path names no file that can be written.
        """
        if not isinstance(path, str | Path) or not str(path).strip():
            raise BadInput('save() takes a file, such as "gallery.html".')
        target = Path(path).expanduser().absolute()
        page = _PAGE.format(title=self.title, body=Markup(self.body))  # noqa: S704  # escaped when it was drawn
        try:
            _replace(target, f"{page}\n")
        except OSError as error:
            raise BadInput(f"The gallery cannot be written to {clean(path, 120)}: {error.strerror or error}.") from None
        return target


_PAGE = Markup(
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    '<meta name="viewport" content="width=device-width"><style>:root{{color-scheme:light dark}}body{{margin:16px}}'
    "</style></head><body>{body}</body></html>"
)
_DIM = Markup('<span class="nbh-dim">{}</span>')


def _replace(target: Path, text: str) -> None:
    """Write a file whole or not at all, and leave nothing else in its folder."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, delete=False) as file:
        made = Path(file.name)
        try:
            file.write(text)
            file.close()
            made.chmod(0o644)  # meant to be shown around
            made.replace(target)
        except BaseException:
            with suppress(OSError):
                made.unlink()
            raise


def gallery(frame: pd.DataFrame, folder: Path | None, *, row: str | None, col: str | None, size: int) -> Gallery:
    """The pictures of a tasks() frame.

    Args:
        frame: With `files` and what the pictures are arranged by.
        folder: What relative paths in `files` start from.
        row: A column, or a parameter's name without `param_`.
        col: The same.
        size: Longest side of a thumbnail in pixels.

    Raises:
        BadInput: An unknown column; the text offers the nearest.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 32 <= size <= 1024:
        raise BadInput("size is the longest side of a thumbnail in pixels, 32 to 1024.")
    if "files" not in frame.columns:
        raise BadInput('The frame has no column "files"; pass one of nbhelper.tasks(), or a watch.')
    rows = frame.to_dict("records")
    by_row, by_col = find_column(frame, row, "row"), find_column(frame, col, "col")
    edges = [column for column in (by_row, by_col) if column]
    budget = [MOST]
    cells = [_cell(record, _name(record, edges), folder, size, budget) for record in rows]
    pictures = MOST - budget[0]
    if by_row is None and by_col is None:
        inside = Markup('<div class="nbh-cell">{}</div>').format(NOTHING.join(cells))
    else:
        inside = _grid(rows, cells, by_row, by_col)
    note = Markup('<p class="nbh-dim">The first {} pictures; the rest is on disk.</p>').format(MOST)
    body = Markup('{}<div class="nbh-gallery mathjax_ignore tex2jax_ignore" style="--size:{}px">{}{}</div>').format(
        style("gallery"), size, inside, "" if budget[0] > 0 else note
    )
    return Gallery(str(body), pictures, _title(rows, edges))


def _title(rows: Sequence[dict[Any, Any]], edges: Sequence[str]) -> str:
    """What all the pictures share, the experiment before the model, and the parameters they are arranged by."""
    shared = "Gallery"
    for column in ("experiment", "model", "provider"):
        values = {_value(record, column) for record in rows if column in record}
        if len(values) == 1 and "(none)" not in values and column not in edges:
            shared = values.pop()
            break
    axes = " / ".join(name.removeprefix("param_") for name in edges)
    return clean(f"{shared}: {axes}" if axes else shared, 120)


def find_column(frame: pd.DataFrame, name: str | None, what: str) -> str | None:
    """The column that a person means by a name, with or without `param_`; None for None.

    Raises:
        BadInput: There is none; the text offers the nearest.
    """
    if name is None:
        return None
    columns: list[str] = [str(c) for c in frame.columns]
    if not isinstance(name, str) or not name.strip():
        raise BadInput(f"{what} is a column's name, or None.")
    # "prompt" is what people say for param_prompt, or for param_input.prompt where only that one is there.
    inner = [c for c in columns if c.startswith("param_") and c.rpartition(".")[2] == name]
    candidates: list[str] = [name, f"param_{name}", *(inner if len(inner) == 1 else ())]
    for candidate in candidates:
        if candidate in columns:
            return candidate
    short = [c.removeprefix("param_") for c in columns]
    raise BadInput(f'{what}="{clean(name, 40)}" is no column.{nearest(name, short)}')


def _grid(rows: Sequence[dict[Any, Any]], cells: Sequence[Markup], row: str | None, col: str | None) -> Markup:
    heads = list(dict.fromkeys(_value(r, col) for r in rows)) if col else [""]
    sides = list(dict.fromkeys(_value(r, row) for r in rows)) if row else [""]
    placed: dict[tuple[str, str], list[Markup]] = {}
    for record, cell in zip(rows, cells, strict=True):
        key = (_value(record, row) if row else "", _value(record, col) if col else "")
        placed.setdefault(key, []).append(cell)
    axes = " / ".join(name.removeprefix("param_") for name in (row, col) if name)
    corner = Markup('<td class="nbh-axes">{}</td>').format(clean(axes, 60)) if row else NOTHING
    top = NOTHING.join(Markup('<th scope="col">{}</th>').format(_head(head)) for head in heads)
    header = Markup("<thead><tr>{}{}</tr></thead>").format(corner, top) if col else NOTHING
    lines = []
    for side in sides:
        label = Markup('<th scope="row">{}</th>').format(_head(side)) if row else NOTHING
        fields = (
            Markup('<td><div class="nbh-cell">{}</div></td>').format(NOTHING.join(placed.get((side, head), [])))
            for head in heads
        )
        lines.append(Markup("<tr>{}{}</tr>").format(label, NOTHING.join(fields)))
    return Markup("<table>{}<tbody>{}</tbody></table>").format(header, NOTHING.join(lines))


def _value(record: dict[Any, Any], column: str | None) -> str:
    value = record[column]
    return "(none)" if _is_missing(value) else clean(value, 300)


def _is_missing(value: object) -> bool:
    return value is None or str(value) in {"<NA>", "nan", "NaT"}


def _head(text: str) -> Markup:
    return titled(text if len(text) <= 60 else text[:59] + "…", text)


def _name(record: dict[Any, Any], edges: Sequence[str]) -> str:
    """What to call a task below its pictures: nothing that stands at the grid's edges already."""
    at_edges = sorted((_value(record, column) for column in edges), key=len, reverse=True)
    names = (record.get(column) for column in ("label", "param_prompt", "param_input.prompt"))
    return next((name for n in names if not _is_missing(n) and (name := _without(clean(n, 300), at_edges))), "")


def _without(name: str, values: Sequence[str]) -> str:
    """What is left of an experiment's label, `an owl, 2K, kie #1`, without the values at the grid's edges."""
    for value in values:
        name = re.sub(rf"(?:^|(?<=, )){re.escape(value)}(?:, |(?= #)|$)", "", name, count=1)
    return name.strip(" ,")


def _cell(record: dict[Any, Any], name: str, folder: Path | None, size: int, budget: list[int]) -> Markup:
    """A task's pictures with its name and facts, or in their place why there are none."""
    alt = name or clean(record.get("task_id"), 80)
    shown: list[Markup] = []
    notes: list[str] = []
    for path in _files(record.get("files"), folder):
        if budget[0] <= 0:
            break
        if not can_preview(path):
            notes.append(path.name)
            continue
        thumb = previewer().thumbnail(path, size * 2 if size <= 512 else size)
        if isinstance(thumb, Thumbnail):
            budget[0] -= 1
            shown.append(_figure(thumb, size, clean(f"{alt}, {path.name}", 200), _caption(name, _facts(record))))
        else:
            notes.append(f"{path.name}: {thumb}")
    return NOTHING.join(shown) or _nothing(record, name, notes)


def _nothing(record: dict[Any, Any], name: str, notes: Iterable[str]) -> Markup:
    """Why a task has no picture: how it ended, in the server's words, and what files it has."""
    outcome = "pending" if _is_missing(record.get("outcome")) else clean(record["outcome"], 20)
    why = record.get("error_message")
    words = ["" if _is_missing(why) else clean(why, 160), clean(", ".join(notes), 160)]
    return Markup('<div class="nbh-none" title="{}"><b class="{}">{} {}</b>{}{}</div>').format(
        clean(record.get("task_id"), 200),
        colour_of(outcome),
        glyph_of(outcome),
        outcome,
        Markup("<span>{}</span>").format(clean(name, 80)) if name else "",
        NOTHING.join(_DIM.format(w) for w in words if w),
    )


def _facts(record: dict[Any, Any]) -> str:
    """How long it took, what it cost; whatever is unknown is left out."""
    parts = []
    if not _is_missing(record.get("total_s")):
        parts.append(seconds(float(record["total_s"])))
    if not _is_missing(record.get("cost")):
        parts.append(f"{clean(record.get('currency'), 8)} {float(record['cost']):.3f}")
    return " · ".join(parts)


def _caption(name: str, facts: str) -> Markup:
    return (titled(name, name) if name else NOTHING) + (_DIM.format(facts) if facts else NOTHING)


def _files(value: object, folder: Path | None) -> list[Path]:
    if not isinstance(value, str):
        return []
    try:
        names = json.loads(value)
    except ValueError:
        return []
    root = folder or Path()
    paths = [root / name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return [path for path in paths if path.is_file()]


def _figure(thumb: Thumbnail, size: int, alt: str, caption: Markup) -> Markup:
    share = min(1.0, size / max(thumb.width, thumb.height))
    return Markup("<figure><details><summary>{}</summary></details><figcaption>{}</figcaption></figure>").format(
        image(thumb, share, alt), caption
    )
