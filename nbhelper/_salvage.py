"""What can be read of a damaged file, page by page, without SQLite.

SQLite finds a row by way of its schema and the inner pages of a tree: one bad byte there hides thousands of whole rows.
A row's own bytes say enough: each page is taken for a leaf of a table, each cell in it for a row, and a row counts when
its digest holds. So nothing is guessed, whatever the damage.

The format is https://www.sqlite.org/fileformat2.html, sections 1.6 (pages and cells) and 2.1 (records).
"""

from __future__ import annotations

import re
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from mmap import mmap
from typing import Any

from ._codec import row_digest
from ._schema import SUMMARY, put_all, task_of

Bytes = bytes | mmap
Cells = Sequence[Any]
Found = dict[str, dict[tuple[Any, ...], Cells]]
"""Rows by table and primary key, each with its digest, in the order of the table's columns."""

_UID = re.compile(r"[0-9a-f]{14}-[0-9a-f]{10}")
_SIZES = (4096, 1024, 512, 2048, 8192, 16384, 32768, 65536)


def salvage(data: Bytes, db: sqlite3.Connection) -> tuple[int, int]:
    """Put every row of a damaged file that can be trusted into a new one, as part of the caller's transaction.

    Args:
        data: The damaged file, or a map of it.
        db: A connection to an empty history.

    Returns:
        How many tasks and how many observations.
    """
    found = rows_of(data)
    for (uid,), row in found["summaries"].items():
        if (uid,) not in found["tasks"]:
            task = task_of(row)
            found["tasks"][uid,] = (*task, row_digest(*task))
    if found["meta"]:
        db.execute("DELETE FROM meta")
    for table, rows in found.items():
        put_all(db, table, (rows[key] for key in sorted(rows)))
    return len(found["tasks"]), len(found["events"])


def rows_of(data: Bytes) -> Found:
    """Every row whose digest holds."""
    said = int.from_bytes(data[16:18], "big")
    first = 65536 if said == 1 else said
    if first in _SIZES and (found := _rows_by(data, first)):
        return found
    # Some pages of a smaller size begin where one of a larger size would: a few rows are found by a wrong size, too.
    return max((_rows_by(data, size) for size in _SIZES), key=lambda found: sum(map(len, found.values())))


def _rows_by(data: Bytes, size: int) -> Found:
    """The same, for pages of this size."""
    found: Found = defaultdict(dict)
    for page in range((len(data) + size - 1) // size):
        for cells in _cells(data, size, page):
            if (kind := _table(cells)) is not None:
                table, key = kind
                found[table].setdefault(tuple(cells[n] for n in range(key)), cells)
    return found


def _table(cells: Cells) -> tuple[str, int] | None:
    """Whose row it is, and how many columns are its key; None for one that cannot be trusted."""
    of_task = isinstance(cells[0], str) and _UID.fullmatch(cells[0]) is not None
    kind = _TABLES.get((len(cells), of_task))
    if kind is None:
        return None
    values, digest = (cells[:-1], cells[-1]) if kind[0] != "replies" else ((cells[0], cells[2]), cells[1])
    return kind if row_digest(*values) == digest else None


_TABLES: dict[tuple[int, bool], tuple[str, int]] = {
    (3, False): ("meta", 1),
    (14, True): ("tasks", 1),
    (len(SUMMARY) + 1, True): ("summaries", 1),
    (7, True): ("events", 2),
    (3, True): ("replies", 2),
    (4, True): ("links", 2),
    (9, True): ("intents", 1),
    (4, False): ("prices", 1),
}
"""By the number of columns, and whether the first one names a task."""


# Pages


def _cells(data: Bytes, size: int, page: int) -> Iterator[Cells]:
    """Whatever in a page has the shape of a row."""
    start, head = page * size, page * size + (100 if page == 0 else 0)
    count = int.from_bytes(data[head + 3 : head + 5], "big")
    for place in range(head + 8, min(head + 8 + 2 * count, start + size - 1), 2):
        at = start + int.from_bytes(data[place : place + 2], "big") % size  # SQLite forgives the bits above as well
        try:
            length, at = _varint(data, at)
            _, at = _varint(data, at)
            yield _record(_payload(data, size, at, length))
        except (IndexError, ValueError, struct.error):  # no cell, or one that the damage has hit
            continue


def _varint(data: Bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and the place behind it."""
    value = 0
    for n in range(8):
        byte = data[at + n]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    return value << 8 | data[at + 8], at + 9


def _payload(data: Bytes, size: int, at: int, length: int) -> bytes:
    """A row's bytes: what is too long for its page goes on in a chain of others."""
    if not 2 <= length <= len(data):
        raise ValueError
    local = length
    if length > size - 35:
        least = (size - 12) * 32 // 255 - 23
        local = least + (length - least) % (size - 4)
        local = local if local <= size - 35 else least
    parts, left = [data[at : at + local]], length - local
    following = int.from_bytes(data[at + local : at + local + 4], "big") if left else 0
    while left > 0:
        if following == 0:
            raise ValueError
        at = (following - 1) * size
        parts.append(data[at + 4 : at + 4 + min(left, size - 4)])
        following = int.from_bytes(data[at : at + 4], "big")
        if not parts[-1]:
            raise ValueError
        left -= len(parts[-1])
    return b"".join(parts)


_DIGEST = 45
"""SQLite's word for a text of sixteen bytes: what every row of ours has in its last column, or, a reply, its second."""


def _record(payload: bytes) -> Cells:
    end, at = _varint(payload, 0)
    if _DIGEST not in {payload[end - 1], payload[2]}:  # nearly all that is no row, told by one byte
        raise ValueError
    kinds: list[int] = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if at != end or not 3 <= len(kinds) <= 64:
        raise ValueError
    values: list[Any] = []
    for kind in kinds:
        width = _WIDTH[kind] if kind < 12 else (kind - 12) // 2
        part = payload[at : at + width]
        if len(part) < width:
            raise ValueError
        values.append(_READ[kind](part) if kind < 12 else part.decode() if kind % 2 else part)
        at += width
    if at != len(payload):
        raise ValueError
    return tuple(values)


def _whole(part: bytes) -> int:
    return int.from_bytes(part, "big", signed=True)


_WIDTH = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)
_READ: tuple[Callable[[bytes], Any], ...] = (
    lambda _: None,
    *[_whole] * 6,
    lambda part: struct.unpack(">d", part)[0],
    lambda _: 0,
    lambda _: 1,
    lambda part: part,
    lambda part: part,
)
