"""Locks between processes: `LockFile` locks names, `folder_lock` a folder while files in it are renamed.

A name is locked by a byte lock of the kernel on one empty file in the store's folder. The kernel frees them when their
process ends, however that happens; a process that is only stopped keeps them. The byte's offset is 62 bits of the
name's SHA-256: a lock may lie beyond the end of the file, so nothing is written.

A process has the file open once, and closes it when it holds none of its locks. Linux has open file description locks,
which end with that descriptor alone. POSIX record locks, which other systems have, are all freed when the process
closes any other descriptor of the file: no other module opens the file. Windows has neither: there every name is free,
and two processes must not use one store at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from .._model.errors import StoreError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = "nbhelper.lock"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class LockFile:
    """The lock file of one folder; get it from `lock_file`, since a process may have only one for a file.

    Attributes:
        path: The file, made at the first `take`; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self._held: set[int] = set()

    def take(self, name: str) -> bool:
        """Lock a name for this process, without waiting; False while another process has it locked.

        Raises:
            OSError: The file cannot be opened, or its file system has no locks.
        """
        byte = _offset(name)
        with _one_at_a_time:
            if fcntl is None:
                self._held.add(byte)
                return True
            handle = self._open()
            try:
                if byte in self._held or _lock(handle, fcntl.F_WRLCK, byte):
                    self._held.add(byte)
                return byte in self._held
            finally:
                self._close_if_idle()

    def holds(self, name: str) -> bool:
        """Whether this process has locked a name."""
        return _offset(name) in self._held

    def release(self, name: str) -> None:
        """Unlock a name; one that this process has not locked stays as it is."""
        byte = _offset(name)
        with _one_at_a_time:
            if byte in self._held:
                self._held.discard(byte)
                if self._handle is not None:
                    _lock(self._handle, fcntl.F_UNLCK, byte)  # closing is not enough while a forked child has a copy
                self._close_if_idle()

    def forget(self) -> None:
        """In a forked child, drop all locks: they last until the last copy of the descriptor is closed."""
        self._held.clear()
        self._close_if_idle()

    def _open(self) -> int:
        """The descriptor; where the file was replaced, one of the new file, with the same bytes locked."""
        if self._handle is not None and _is_at(self._handle, self.path):
            return self._handle
        handle = os.open(self.path, _FLAGS, 0o600)
        if self._handle is not None:
            os.close(self._handle)
        self._handle = handle
        for byte in self._held:
            _lock(handle, fcntl.F_WRLCK, byte)
        return handle

    def _close_if_idle(self) -> None:
        if not self._held and self._handle is not None:
            os.close(self._handle)
            self._handle = None


_files: dict[Path, LockFile] = {}
_one_at_a_time = threading.Lock()


def lock_file(folder: Path) -> LockFile:
    """The lock file of a folder: the same object for every path that leads to the folder."""
    path = Path(os.path.realpath(folder), LOCK_FILE)
    with _one_at_a_time:
        return _files.setdefault(path, LockFile(path))


@contextlib.contextmanager
def folder_lock(path: Path, wait: float) -> Iterator[None]:
    """Lock the folder of the file `path` while files in it are renamed; on Windows nothing is locked.

    Raises:
        StoreError: Another process has had the folder locked for `wait` seconds.
    """
    handle = os.open(path.parent / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        give_up = time.monotonic() + wait
        while fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise StoreError(f"Another process is repairing {path}. Try again later.") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _offset(name: str) -> int:
    """The offset of the byte that is locked for a name: 62 bits of its SHA-256."""
    return int.from_bytes(sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 2


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open descriptor is of the file that now has this path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _lock(handle: int, kind: int, byte: int) -> bool:
    """Lock or unlock one byte without waiting; False when another process has it locked."""
    try:
        if not _lock_description(handle, kind, byte):
            command = fcntl.LOCK_UN if kind == fcntl.F_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB
            fcntl.lockf(handle, command, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _lock_description(handle: int, kind: int, byte: int) -> bool:
    """Lock or unlock one byte by an open file description lock; False where the system has none."""
    if sys.platform != "linux":
        return False
    # struct flock: type, whence, start, length, and a process id, which has to be 0
    flock = struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, flock)
    except OSError as error:
        if error.errno == errno.EINVAL:  # such as in gVisor and WSL 1
            return False
        raise
    return True


def _forget_locks() -> None:
    for file in _files.values():
        file.forget()
    _one_at_a_time.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_one_at_a_time.acquire, after_in_parent=_one_at_a_time.release, after_in_child=_forget_locks
    )
