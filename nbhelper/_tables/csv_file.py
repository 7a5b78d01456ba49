r"""Tables as CSV files that a spreadsheet opens and computes nothing in, and that `read_csv` gives back as they were.

A plain CSV: UTF-8, one header row, every text quoted, ISO times. What makes it reversible:

* An empty cell is a missing value. A lone apostrophe is the empty text.
* An apostrophe in front of a text is not part of it. It stands before a text that a spreadsheet could take for a
  formula, and before one that itself begins with an apostrophe.
* `'\` begins a text written as JSON, for characters that no UTF-8 file can hold (NUL, lone surrogates).
* The columns of nbhelper's tables have known dtypes (`columns.py`, `SUMMARY`); the dtype of any other column is
  inferred from its cells: whole numbers, numbers, true and false, else text. Where that would give another dtype (for
  texts such as "1", or a column without any value), one more column without values is appended, whose header names the
  dtypes.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, get_args

from .._model.errors import BadInput, StoreError
from .._model.text import clean
from .._model.times import iso, moment
from .columns import CATEGORIES, EVENTS, OUTPUTS, PRICE_COLUMNS, TASKS, Kind, column, dtype_of
from .summary import SUMMARY

if TYPE_CHECKING:
    import pandas as pd

_KNOWN: dict[str, Kind] = {**SUMMARY, **PRICE_COLUMNS, **OUTPUTS, **EVENTS, **TASKS}
"""The kinds of the columns of all tables; where two have one name, that of `tasks()` counts."""
_DTYPES = "dtypes: "
"""What the header of the column that names dtypes begins with."""
_KINDS: tuple[Kind, ...] = get_args(Kind)
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""The first characters of a formula; the last four are full-width forms, which some spreadsheets take for the same."""
_ESCAPED = frozenset("'\t\r\n")
"""Other first characters that get an apostrophe in front."""
_NOT_UTF8 = re.compile("[\x00\ud800-\udfff]")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")  # "00123" is an id, not a number
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?", re.IGNORECASE)


def to_csv(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write a table; the file is replaced as a whole or not at all. The index is not written.

    Returns:
        The file, absolute.

    Raises:
        BadInput: The path cannot be a file, or the table has a column twice or without a name.
        StoreError: The file cannot be written.
    """
    target = _target(path)
    names = list(frame.columns)
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise BadInput("Each column needs a name of its own, as text, to be written to CSV.")
    kinds = {name: _kind_of(frame[name]) for name in names}
    cells = {name: _cells(frame[name], kinds[name]) for name in names}
    named = {name: kinds[name] for name in names if _inferred(name, cells[name]) != kinds[name]}
    header, columns = [_as_cell(name) for name in names], list(cells.values())
    if named:
        header.append(_as_cell(_DTYPES + json.dumps(named, ensure_ascii=False)))
        columns.append([None] * len(frame))

    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(header)
    for row in zip(*columns, strict=True):
        writer.writerow(row)
    _replace(target, text.getvalue().encode())
    return target


def read_csv(path: str | Path) -> pd.DataFrame:
    """The table that `to_csv` wrote.

    Raises:
        BadInput: There is no such file, or it is no such table; the text says in which row and column.
        StoreError: The file cannot be read.
    """
    import pandas as pd

    source = _target(path, exists=True)
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{source} is not UTF-8 text. Was it saved by another program? Export it again.") from None
    except OSError as error:
        raise StoreError(f"{source} cannot be read: {error.strerror}.") from None
    with _large_cells():
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        except csv.Error as error:
            raise BadInput(f"{source} is not a CSV file: {clean(error, 100)}.") from None
    if not rows or not rows[0]:
        raise BadInput(f"{source} is empty; a table has at least its header.")
    names, width = [_as_text(cell) or "" for cell in rows[0]], len(rows[0])
    named = _named_dtypes(names[-1])
    if named is not None:
        names.pop()
    if len(set(names)) < len(names):
        raise BadInput(f"{source} has two columns of the same name.")
    body = [row for row in rows[1:] if row]
    for number, row in enumerate(body, 2):
        if len(row) != width:
            raise BadInput(f"Row {number} of {source} has {len(row)} cells where the header has {width}.")
    columns: dict[str, pd.Series[Any]] = {}
    for index, name in enumerate(names):
        cells = [row[index] for row in body]
        kind = (named or {}).get(name) or _inferred(name, [cell or None for cell in cells])
        columns[name] = _column(cells, kind, f'column "{clean(name, 40)}" of {source}')
    return pd.DataFrame(columns)


# Cells


def _as_cell(text: str) -> str:
    """A text as a cell that no spreadsheet computes; `_as_text` gives the text again."""
    if not text:
        return "'"
    if _NOT_UTF8.search(text):
        return "'\\" + json.dumps(text)
    return f"'{text}" if text[0] in _ESCAPED or text.lstrip()[:1] in _FORMULA else text


def _as_text(cell: str) -> str | None:
    """The text of a cell; None for a missing value."""
    if not cell:
        return None
    if cell.startswith("'\\"):
        with contextlib.suppress(ValueError):
            text = json.loads(cell[2:])
            if isinstance(text, str):
                return text
    return cell.removeprefix("'")


def _kind_of(values: pd.Series[Any]) -> Kind:
    """The kind that a column is written as: that of its dtype, or for a dtype that no kind has the nearest one."""
    import pandas as pd

    dtype = values.dtype
    for kind in _KINDS:
        if dtype == dtype_of(kind):
            return kind
    # A column of times of several zones has the dtype object.
    if str(dtype).startswith("datetime64") or pd.api.types.infer_dtype(values, skipna=True) == "datetime":
        return "time"
    if getattr(dtype, "kind", "") == "b":
        return "boolean"
    if getattr(dtype, "kind", "") in "iu":
        return "Int64"
    return "Float64" if getattr(dtype, "kind", "") == "f" else "string"


def _cells(values: pd.Series[Any], kind: Kind) -> list[Any]:
    """A column as it is written: numbers as such, anything else as text, None for a missing value."""
    import pandas as pd

    cells: list[Any] = []
    for value, is_missing in zip(values.astype(object), values.isna(), strict=True):
        if is_missing:
            cells.append(None)
        elif kind == "time":
            stamp = pd.Timestamp(value)
            cells.append(iso((stamp if stamp.tzinfo else stamp.tz_localize("UTC")).to_pydatetime(warn=False)))
        elif kind == "boolean":
            cells.append("true" if value else "false")
        elif kind == "Int64":
            cells.append(int(value))
        elif kind == "Float64":
            cells.append(float(value) if math.isfinite(value) else str(float(value)))
        else:
            cells.append(_as_cell(str(value)))
    return cells


def _inferred(name: str, cells: Sequence[Any]) -> Kind:
    """The kind that `read_csv` infers for a column whose dtype no header names."""
    if name in _KNOWN:
        return _KNOWN[name]
    present = [cell if isinstance(cell, str) else repr(cell) for cell in cells if cell is not None]
    if not present:
        return "string"
    if all(cell.lower() in {"true", "false"} for cell in present):
        return "boolean"
    if all(_WHOLE.fullmatch(cell) and -(2**63) <= int(cell[:400]) < 2**63 for cell in present):
        return "Int64"
    return "Float64" if all(_NUMBER.fullmatch(cell) for cell in present) else "string"


def _named_dtypes(header: str) -> dict[str, Kind] | None:
    """The dtypes that the last cell of the header names; None where it is an ordinary column."""
    if not header.startswith(_DTYPES):
        return None
    with contextlib.suppress(ValueError):
        named = json.loads(header[len(_DTYPES) :])
        if isinstance(named, dict):
            return {str(name): kind for name, kind in named.items() if kind in _KINDS}
    return None


def _column(cells: Sequence[str], kind: Kind, where: str) -> pd.Series[Any]:
    """The column that some cells were written from.

    Raises:
        BadInput: A cell that is none of this kind, with its row and `where`.
    """
    parse = _PARSE.get(kind, _as_text)
    values: list[Any] = []
    for number, cell in enumerate(cells, 2):
        value = parse(cell) if cell else None
        if cell and (value is None or value not in CATEGORIES.get(kind, (value,))):
            raise BadInput(f'Row {number}, {where}: "{clean(cell, 40)}" is no {_NOUNS.get(kind, kind)}.')
        values.append(value)
    return column(values, kind)


def _bool(cell: str) -> bool | None:
    return {"true": True, "false": False}.get(cell.lower())  # LibreOffice writes TRUE


def _int(cell: str) -> int | None:
    return int(cell) if _WHOLE.fullmatch(cell) and len(cell) <= 20 and -(2**63) <= int(cell) < 2**63 else None


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


_PARSE: dict[Kind, Callable[[str], Any]] = {"boolean": _bool, "Int64": _int, "Float64": _float, "time": moment}
_NOUNS = {"boolean": "true or false", "Int64": "whole number", "Float64": "number", "time": "time with its zone"}


# Files


def _target(path: str | Path, *, exists: bool = False) -> Path:
    """The file that a path names, absolute, links followed.

    Raises:
        BadInput: The path cannot be a file, its folder is missing, or with `exists` the file is.
    """
    if not isinstance(path, str | Path) or not str(path).strip() or "\x00" in str(path):
        raise BadInput('A CSV file is named by a path, such as "timings.csv".')
    try:
        target = Path(path).expanduser().resolve()
        if target.is_dir():
            raise BadInput(f"{target} is a folder. Name a file in it, such as {target / 'timings.csv'}.")
        if exists and not target.exists():
            raise BadInput(f"There is no file {target}.")
        if not target.parent.is_dir():
            raise BadInput(f"There is no folder {target.parent}. Make it first.")
    except (OSError, RuntimeError) as error:  # a loop of links, or a name that is too long
        why = clean(getattr(error, "strerror", None) or error, 100).rstrip(".")
        raise BadInput(f"{clean(path, 120)} cannot be a file: {why}.") from None
    return target


def _replace(target: Path, content: bytes) -> None:
    """Write another file in the same folder and rename it: a reader sees the old file or the new one, whole."""
    part = target.with_name(f".{target.name[:80]}.{token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise StoreError(
            f"{target} was not written: {error.strerror}. Is there room, and may you write there?"
        ) from None


_LIMIT = threading.Lock()
"""Held while the limit of the csv module is changed, which is one for the process."""


@contextlib.contextmanager
def _large_cells() -> Iterator[None]:
    """Let the csv module read cells of more than 128 kB, its usual limit."""
    with _LIMIT:
        before = csv.field_size_limit(sys.maxsize)
        try:
            yield
        finally:
            csv.field_size_limit(before)
