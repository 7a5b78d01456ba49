"""A file on its way: what came of it, and enough beside it that another process goes on where this one was killed.

Beside `x.part` stands `x.part.json`: the server's strong ETag, whose file it is, and the digest of its first bytes.
Only bytes that have this digest are gone on from, whatever a killed process or a lost page left behind them. A lock
that ends with its process keeps two writers from sharing a part.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from .._model.text import slug
from .file_types import HEAD

try:
    import fcntl
except ImportError:  # Windows, where parts are begun anew
    fcntl = None  # type: ignore[assignment]

NOTE_EVERY = 0.25
"""Seconds between two notes of how far it is."""
_OLD = 7 * 86400.0
"""Seconds after which what a killed process left behind is swept."""
_PIECE = 1 << 20
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class Part:
    """One output's bytes until they are whole.

    Attributes:
        path: The file.
        size: Bytes so far.
        head: The first of them.
        etag: Of the server that they come from, when it is strong; without one nothing can be gone on with.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Take up the part of one output that nobody else writes, or begin one.

        Args:
            folder: Where.
            name: The output's; no two outputs share a part, however alike their names.
        """
        stem = f"{slug(name)}-{_short(name)}"
        _sweep(folder)
        self.etag = ""
        self._source = ""
        self._noted = 0.0
        self._busy = threading.Lock()  # another thread may still write when its download is cancelled
        self._closed = False
        self._handle, self.path = _open(folder, stem)
        self._begin()

    def _begin(self) -> None:
        self.size, self.head, self._digest = 0, b"", hashlib.sha256()

    @property
    def _beside(self) -> Path:
        return self.path.with_suffix(".part.json")

    # Going on

    def go_on(self, address: str) -> None:
        """Make the most of what an earlier process left, if it came from this address; else begin anew.

        Args:
            address: The link without its query: signatures change, the file stays.
        """
        self._source = _short(address)
        note = self._note()
        if note is None or not self._take(note["n"], note["sha256"]):
            self.restart()
        else:
            self.etag = note["etag"]

    def _note(self) -> dict[str, Any] | None:
        """What stands beside the part, when it is about this address."""
        try:
            note = json.loads(self._beside.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        kinds = {"etag": str, "source": str, "n": int, "sha256": str}
        fits = isinstance(note, dict) and all(type(note.get(key)) is kind for key, kind in kinds.items())
        return note if fits and note["source"] == self._source and is_strong(note["etag"]) else None

    def _take(self, n_bytes: int, sha256: str) -> bool:
        """Go on after the first bytes, if they are what the note says."""
        self._begin()
        os.lseek(self._handle, 0, os.SEEK_SET)
        while self.size < n_bytes and (data := os.read(self._handle, min(_PIECE, n_bytes - self.size))):
            self._count(data)
        if self.size != n_bytes or n_bytes == 0 or self._digest.hexdigest() != sha256:
            return False
        os.ftruncate(self._handle, n_bytes)
        os.lseek(self._handle, n_bytes, os.SEEK_SET)
        return True

    def note(self) -> None:
        """Say beside the part how far it is; without a strong ETag there is nothing to say."""
        self._noted = time.monotonic()
        if not self.etag or not self.size:
            return
        text = json.dumps({
            "etag": self.etag, "source": self._source, "n": self.size, "sha256": self._digest.hexdigest(),
        })  # fmt: skip
        new = self.path.with_suffix(f".part.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):  # then it begins anew after a crash
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o600), "w") as file:
                file.write(text)
            new.replace(self._beside)

    # Writing

    def write(self, data: bytes) -> None:
        """Add bytes."""
        with self._busy:
            if self._closed:  # whoever asked for it was cancelled before it began
                return
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]
            self._count(data)
            if time.monotonic() - self._noted >= NOTE_EVERY:
                self.note()

    def _count(self, data: bytes) -> None:
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        self._digest.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Throw away what came: the server does not go on where it stopped."""
        with contextlib.suppress(OSError):
            self._beside.unlink(missing_ok=True)
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self.etag = ""
        self._begin()

    def sync(self) -> str:
        """Bring it to the disk; its digest."""
        os.fsync(self._handle)
        return self._digest.hexdigest()

    def close(self, *, keep: bool = False) -> None:
        """Let go of it; what did not become a whole file is removed, unless another process is to go on with it."""
        with self._busy:
            self._closed = True
            with contextlib.suppress(OSError):
                if keep and self.etag and self.size:
                    self.note()
                else:
                    self._beside.unlink(missing_ok=True)
                    self.path.unlink(missing_ok=True)
            os.close(self._handle)


def is_strong(etag: str) -> bool:
    """Whether an ETag promises the same bytes."""
    return etag.startswith('"')


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _open(folder: Path, stem: str) -> tuple[int, Path]:
    """A part that nobody else writes: the output's own, or a new one where another process holds that."""
    own = folder / f"{stem}.part"
    if fcntl is not None:
        for _ in range(3):
            with contextlib.suppress(OSError):
                handle = os.open(own, os.O_RDWR | os.O_CREAT | _NO_LINK | _BINARY, 0o600)
                if _lock(handle) and _is_at(handle, own):
                    return handle, own
                os.close(handle)
    other = folder / f"{stem}-{secrets.token_hex(4)}.part"
    return os.open(other, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o600), other


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file still has its name, and no other: it may just have become a whole file, or be one's twin."""
    mine, there = os.fstat(handle), path.stat(follow_symlinks=False)
    if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
        return False
    if mine.st_nlink > 1:  # killed between naming the whole file and dropping the part
        path.unlink()
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed have left, long after anybody would go on with it."""
    for left in (*folder.glob("*.part"), *folder.glob("*.part.*")):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _OLD:
                left.unlink()
