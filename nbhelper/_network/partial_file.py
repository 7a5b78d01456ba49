"""The partial file of a download, which another process can resume after this one was killed.

Beside `x.part` there is `x.part.json` with the server's strong ETag, a digest of the address, and how many bytes there
were with which SHA-256. Only bytes with this digest are kept, whatever a killed process or a lost disk page left behind
them. `flock`, which the kernel frees when a process dies, keeps two processes from writing to one partial file.
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
except ImportError:  # Windows, where no partial file is resumed
    fcntl = None  # type: ignore[assignment]

PROGRESS_EVERY = 0.25
"""Seconds between two writes of `x.part.json`."""
_OLD = 7 * 86400.0
"""Seconds after which a partial file that nobody resumed is removed."""
_PIECE = 1 << 20
"""Bytes that are read at a time."""
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class PartialFile:
    """The bytes of one output until they are whole.

    Attributes:
        path: The file.
        size: How many bytes it has.
        head: The first of them.
        etag: The ETag of the reply that they come from, if it is strong; without one they cannot be resumed.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Open the partial file of an output, or a new one where another process writes to that.

        Args:
            folder: The task's.
            name: The output's; no two outputs share a partial file, however alike their names.
        """
        stem = f"{slug(name)}-{_short(name)}"
        _remove_old(folder)
        self.etag = ""
        self._source = ""
        self._saved_at = 0.0
        self._writing = threading.Lock()  # another thread may still write when its download is cancelled
        self._is_closed = False
        self._handle, self.path = _open(folder, stem)
        self._reset()

    def _reset(self) -> None:
        self.size, self.head, self._digest = 0, b"", hashlib.sha256()

    @property
    def _progress_path(self) -> Path:
        return self.path.with_suffix(".part.json")

    # Resuming

    def resume(self, address: str) -> None:
        """Keep the bytes that an earlier process downloaded from this address; without any, empty the file.

        Args:
            address: The link without its query: signatures change, the file stays.
        """
        self._source = _short(address)
        progress = self._read_progress()
        if progress is None or not self._keep_bytes(progress["n"], progress["sha256"]):
            self.restart()
        else:
            self.etag = progress["etag"]

    def _read_progress(self) -> dict[str, Any] | None:
        """The content of `x.part.json`, if it is about this address and has a strong ETag."""
        try:
            progress = json.loads(self._progress_path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        kinds = {"etag": str, "source": str, "n": int, "sha256": str}
        fits = isinstance(progress, dict) and all(type(progress.get(key)) is kind for key, kind in kinds.items())
        return progress if fits and progress["source"] == self._source and is_strong(progress["etag"]) else None

    def _keep_bytes(self, n_bytes: int, sha256: str) -> bool:
        """Truncate the file to its first `n_bytes` bytes, if they have this digest; whether they have."""
        self._reset()
        os.lseek(self._handle, 0, os.SEEK_SET)
        while self.size < n_bytes and (data := os.read(self._handle, min(_PIECE, n_bytes - self.size))):
            self._count(data)
        if self.size != n_bytes or n_bytes == 0 or self._digest.hexdigest() != sha256:
            return False
        os.ftruncate(self._handle, n_bytes)
        os.lseek(self._handle, n_bytes, os.SEEK_SET)
        return True

    def save_progress(self) -> None:
        """Write `x.part.json`, unless there is no strong ETag: then the file cannot be resumed."""
        self._saved_at = time.monotonic()
        if not self.etag or not self.size:
            return
        text = json.dumps({
            "etag": self.etag, "source": self._source, "n": self.size, "sha256": self._digest.hexdigest(),
        })  # fmt: skip
        new = self.path.with_suffix(f".part.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):  # without it, the next process downloads the whole file
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o600), "w") as file:
                file.write(text)
            new.replace(self._progress_path)

    # Writing

    def write(self, data: bytes) -> None:
        """Append bytes; nothing happens once the file is closed."""
        with self._writing:
            if self._is_closed:  # the download was cancelled before this thread began
                return
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]
            self._count(data)
            if time.monotonic() - self._saved_at >= PROGRESS_EVERY:
                self.save_progress()

    def _count(self, data: bytes) -> None:
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        self._digest.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Empty the file, to download it from its first byte."""
        with contextlib.suppress(OSError):
            self._progress_path.unlink(missing_ok=True)
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self.etag = ""
        self._reset()

    def sync(self) -> str:
        """Flush the file to the disk; its SHA-256."""
        os.fsync(self._handle)
        return self._digest.hexdigest()

    def close(self, *, keep: bool = False) -> None:
        """Close the file, and remove it unless it was renamed; `keep` leaves one that can be resumed."""
        with self._writing:
            self._is_closed = True
            with contextlib.suppress(OSError):
                if keep and self.etag and self.size:
                    self.save_progress()
                else:
                    self._progress_path.unlink(missing_ok=True)
                    self.path.unlink(missing_ok=True)
            os.close(self._handle)


def is_strong(etag: str) -> bool:
    """Whether an ETag is strong: equal ones promise equal bytes (RFC 9110)."""
    return etag.startswith('"')


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _open(folder: Path, stem: str) -> tuple[int, Path]:
    """Open and lock `stem.part`, or create another file where another process holds its lock."""
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
    """Lock an open file without waiting; whether that worked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still at its path, and only there: another process may just have renamed it."""
    mine, there = os.fstat(handle), path.stat(follow_symlinks=False)
    if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
        return False
    if mine.st_nlink > 1:  # a process was killed between linking the whole file and removing its partial name
        path.unlink()
        return False
    return True


def _remove_old(folder: Path) -> None:
    """Remove the partial files that have not changed for `_OLD` seconds."""
    for path in (*folder.glob("*.part"), *folder.glob("*.part.*")):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _OLD:
                path.unlink()
