"""Save results to disk before their links expire: stream to a `.part` file, check it, rename it when it is whole.

File names are ours, the type of a file comes from its bytes, and no key is ever sent. How many downloads run at a time,
and which is next, is `download_queue.py`'s; what is kept of a download that was interrupted is `partial_file.py`'s.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .._model.events import Output, Saved
from .._model.states import SaveState
from .._model.text import clean, slug, without_query
from .._providers.requests import HttpReply
from .._providers.scalars import retry_after
from .._session.addresses import origin_of
from .._session.session import Connection
from .download_queue import DownloadError, DownloadQueue
from .faults import Forbidden, Unreached
from .file_types import pixels, sniff
from .http import Http
from .partial_file import PartialFile, is_strong

LARGEST = 2 * 1024**3
"""Bytes of one file."""
_THREAD_FROM = 1 << 16
"""Bytes of a piece from which on it is written in another thread: smaller ones are written before a thread wakes."""
_SPARE = 64 * 1024**2
"""Bytes that are left free on the disk."""
_PATIENCE = 3600.0
"""Seconds for which a download is retried where the API does not tell the link's lifetime, and at most."""
_PAUSE = 0.5
"""Seconds between the first two attempts; each further pause is twice as long."""
_LAG = 30.0
"""Seconds for which 404 may mean that the file has not reached every server of its host yet."""
_ABSENCES = 4
"""Replies in a row without the file (404, or no byte) that it also takes: a download far back in the queue makes few
attempts in that time."""
_SLOWEST = 1024
"""Bytes per second, averaged over a minute, below which the connection is closed and a new one is made."""


@dataclass(frozen=True, slots=True)
class TaskFolder:
    """The folder of one task's files."""

    path: Path

    @classmethod
    def of(cls, root: Path, provider: str, label: str, identity: str) -> TaskFolder:
        """`root/<provider>/<label or id>-<digest of the identity>`: readable, safe, and never shared by two tasks."""
        short = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return cls(root / slug(provider) / f"{slug(label)}-{short}")

    def make(self) -> None:
        """Create the folder with mode 0700.

        Raises:
            OSError: It, or the provider's folder, is a symbolic link.
        """
        root, provider = self.path.parent.parent, self.path.parent
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (provider, self.path):
            folder.mkdir(exist_ok=True, mode=0o700)  # each by itself: `parents=True` gives parents the default mode
            if folder.is_symlink():
                raise OSError(errno.ELOOP, f'"{folder.name}" is a link; results are written to real folders only')

    def rename(self, part: Path, stem: str, suffix: str, sha256: str) -> Path:
        """Rename a whole `.part` file to `stem.suffix`, or `stem-2.suffix` and so on if that has other bytes."""
        for n in itertools.count(1):
            target = self.path / (f"{stem}{suffix}" if n == 1 else f"{stem}-{n}{suffix}")
            try:
                os.link(part, target, follow_symlinks=False)
            except FileExistsError:
                if _has_digest(target, sha256):
                    part.unlink()
                    return target
                continue
            except (OSError, AttributeError):  # a file system or an operating system without hard links
                if target.exists():
                    continue
                part.rename(target)
                return target
            part.unlink()
            return target
        raise AssertionError("unreachable")


def _has_digest(path: Path, sha256: str) -> bool:
    """Whether this is an ordinary file with these bytes."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _sync(path: Path) -> None:
    """Flush a folder to the disk, which makes a rename in it durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_bytes(folder: TaskFolder, output: Output) -> Saved:
    """Write an output whose bytes came inside the reply: no API delivers them twice, so no other file is resumed."""
    assert output.data is not None
    try:
        folder.make()
        with closing(PartialFile(folder.path, output.name)) as part:
            part.restart()
            part.write(output.data)
            return _finish(part, folder, output, "")
    except OSError as error:
        return _failed(output, f"cannot write the file: {error.strerror or error}")


def _open_part(folder: TaskFolder, name: str, link: str) -> PartialFile:
    """The partial file of an output, with the bytes that an earlier process downloaded from the same address."""
    folder.make()
    part = PartialFile(folder.path, name)
    try:
        part.resume(without_query(link))
    except BaseException:
        part.close()
        raise
    return part


def _finish(part: PartialFile, folder: TaskFolder, output: Output, suffix: str) -> Saved:
    """Rename a partial file that is whole, and describe it."""
    sha256 = part.sync()
    file_type = sniff(part.head, suffix)
    width, height = pixels(part.head) or (output.width, output.height)
    path = folder.rename(part.path, slug(output.name), file_type.suffix, sha256)
    _sync(folder.path)
    return Saved(
        name=output.name,
        file=str(path),
        kind=file_type.kind,
        n_bytes=part.size,
        sha256=sha256,
        width=width,
        height=height,
    )


async def save_link(
    http: Http,
    queue: DownloadQueue,
    folder: TaskFolder,
    output: Output,
    *,
    connection: Connection,
    refresh: Callable[[], Awaitable[str | None]],
) -> Saved:
    """Download one output.

    Args:
        http: Of the running loop.
        queue: Shared by all downloads.
        folder: Where the file goes.
        output: With a link.
        connection: The API that named it, whose own host may be local.
        refresh: Looks the task up once more and returns its newest link.

    Returns:
        The saved file, or why there is none: a failed download is the output's fault and never the task's.
    """
    link = output.url
    assert link is not None
    begun = time.monotonic()
    patience = min(output.lifetime or _PATIENCE, _PATIENCE)
    absent: list[float] = []  # when the host replied 404 or without a byte, since it last replied otherwise
    is_refreshed = False
    faults = 0
    pause = _PAUSE
    try:
        part = await asyncio.to_thread(_open_part, folder, output.name, link)
    except OSError as error:
        return _failed(output, f"cannot write to {folder.path.name}: {error.strerror or error}")
    keep = False
    try:
        while True:
            try:
                origin, expires = _origin(link), begun + (output.lifetime or 1e9)
                async with queue.turn(expires, origin, faults=faults, until=begun + _PATIENCE):
                    await _attempt(http, link, part, connection)
            except DownloadError as error:
                part.save_progress()
                faults += error.is_fault
                now = time.monotonic()
                absent = [*absent, now] if error.is_missing or error.is_empty else []
                is_absent = len(absent) >= _ABSENCES and now - absent[0] > min(_LAG, patience)
                # While its host is down nobody knows whether a link has expired: the host says so when it is back.
                is_late = now - begun > (_PATIENCE if queue.is_down(origin) else patience)
                if error.is_hopeless:
                    return _failed(output, error.message)
                if error.is_expired or is_absent or is_late:
                    newest = None if is_refreshed else await refresh()
                    if newest is None or newest == link:
                        has_expired = error.is_expired or error.is_missing
                        state = SaveState.EXPIRED if has_expired else SaveState.FAILED
                        return Saved(name=output.name, state=state, kind=output.kind, message=clean(error.message))
                    is_refreshed = True
                    link, begun, absent, pause = newest, time.monotonic(), [], _PAUSE
                    await asyncio.to_thread(part.resume, without_query(link))
                    continue
            else:
                suffix = Path(urlsplit(link).path).suffix.casefold()
                return await asyncio.to_thread(_finish, part, folder, output, suffix)
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # jitter
            pause = min(pause * 2, 30.0)
    except OSError as error:
        return _failed(output, f"cannot write the file: {error.strerror or error}")
    except asyncio.CancelledError:  # the process ends: the next one resumes the partial file
        keep = True
        raise
    finally:
        part.close(keep=keep)


async def _attempt(http: Http, link: str, part: PartialFile, connection: Connection) -> None:
    """Request the bytes that a partial file does not have yet, and append them.

    Raises:
        DownloadError: The file is not whole afterwards.
    """
    headers = {}
    if part.size and part.etag:
        headers = {"range": f"bytes={part.size}-", "if-range": part.etag}
    try:
        async with http.download(link, connection, headers) as (reply, pieces):
            etag = reply.headers.get("etag", "")
            if reply.status == 206 and etag and etag != part.etag:
                part.restart()
                raise DownloadError("the file changed while it was fetched")
            length = _read_head(reply, part)
            if length is not None:
                _check_space(part.path.parent, length)
            if reply.status == 200:
                part.etag = etag if is_strong(etag) else ""
            whole = None if length is None else part.size + length
            await _receive(pieces, part)
    except Unreached as error:
        raise DownloadError(str(error), is_fault=True) from None
    except Forbidden as error:
        raise DownloadError(str(error), is_hopeless=True) from None
    if whole is not None and part.size != whole:
        raise DownloadError(f"the file broke off at {part.size:,} of {whole:,} bytes", is_fault=True)
    if part.size == 0:
        raise DownloadError("the file is empty", is_empty=True)


def _read_head(reply: HttpReply, part: PartialFile) -> int | None:
    """The number of bytes that a reply announces, None without one; empties the partial file if they do not follow it.

    Raises:
        DownloadError: The reply brings no bytes of the file.
    """
    status, headers = reply.status, reply.headers
    if status == 206 and part.size:
        begins = headers.get("content-range", "").removeprefix("bytes").strip().partition("-")[0]
        if begins != str(part.size):
            part.restart()
            raise DownloadError("the server continued at the wrong place")
    elif status == 200:
        if part.size:
            part.restart()
    elif status in {401, 403, 410}:
        raise DownloadError(f"the link has expired (HTTP {status})", is_expired=True)
    elif status == 404:
        raise DownloadError("the file is not there (HTTP 404)", is_missing=True)
    elif status in {400, 405, 451}:
        raise DownloadError(f"the link was refused (HTTP {status})", is_expired=True)
    else:
        if status == 416:  # the partial file is longer than the file, or another one
            part.restart()
        is_fault = status >= 500 or status in {408, 429}
        raise DownloadError(
            f"the file's server answered HTTP {status}", is_fault=is_fault, retry_after=retry_after(reply)
        )
    length = headers.get("content-length", "")
    return int(length) if length.isdigit() and len(length) < 19 else None


def _origin(link: str) -> str:
    try:
        return origin_of(link.strip())
    except ValueError:  # unreadable, and refused before anything is requested
        return ""


def _check_space(folder: Path, n_bytes: int) -> None:
    if n_bytes > LARGEST:
        raise DownloadError(f"the file has {n_bytes:,} bytes; up to 2 GB are saved", is_hopeless=True)
    if shutil.disk_usage(folder).free < n_bytes + _SPARE:
        raise DownloadError(f"no room on the disk for {n_bytes:,} bytes")


async def _receive(pieces: AsyncIterator[bytes], part: PartialFile) -> None:
    """Append the pieces of a reply's body.

    Raises:
        DownloadError: The file is too large.
        Unreached: The body breaks off, stalls for a minute or comes too slowly.
    """
    since, at_least = time.monotonic(), part.size + _SLOWEST * 60
    while True:
        try:
            async with asyncio.timeout(60):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise Unreached("the file's server fell silent for a minute", is_sent=True) from None
        if piece is None:
            return
        if len(piece) < _THREAD_FROM:
            part.write(piece)
        else:
            await asyncio.to_thread(part.write, piece)  # what is received meanwhile is the next piece
        if part.size > LARGEST:
            raise DownloadError("the file does not end within 2 GB", is_hopeless=True)
        if time.monotonic() - since > 60:
            if part.size < at_least:
                raise Unreached("the file comes at less than 1 kB a second", is_sent=True)
            since, at_least = time.monotonic(), part.size + _SLOWEST * 60


def _failed(output: Output, message: str) -> Saved:
    return Saved(name=output.name, state=SaveState.FAILED, kind=output.kind, message=clean(message))
