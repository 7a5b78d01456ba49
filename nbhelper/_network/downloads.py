"""Results to disk, before their links expire: streamed to a `.part`, checked, renamed when whole (`_parts.py`).

Names are ours, types come from the bytes, and no key is ever sent. Many downloads share a few turns, and the link that
dies first goes first.
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

from .._model.seen import Output, Saved, SaveState
from .._model.text import clean, slug, without_query
from .._providers.requests import HttpReply
from .._providers.scalars import retry_after
from .._session.addresses import origin_of
from .._session.session import Connection
from .download_queue import Trouble, Turns
from .faults import Forbidden, Unreached
from .file_types import pixels, sniff
from .http import Http
from .partial_file import Part, is_strong

LARGEST = 2 * 1024**3
"""Bytes of one file."""
_HOP = 1 << 16
"""Bytes from which on another thread writes and hashes: fewer are done sooner than a thread is woken."""
_SPARE = 64 * 1024**2
"""Bytes that are left free on the disk."""
_PATIENCE = 3600.0
"""Seconds that a download is tried for, when nobody says how long the link lives."""
_PAUSE = 0.5
"""Seconds between the first two attempts; each further pause is twice as long."""
_LAG = 30.0
"""Seconds that "not found" may mean that the file is not everywhere yet."""
_ABSENCES = 4
"""Times in a row that the host must say so, too: whoever waits long for a turn asks seldom."""
_SLOWEST = 1024
"""Bytes per second over a minute, below which a connection is given up and taken up anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one task's files go."""

    folder: Path

    @classmethod
    def of(cls, root: Path, provider: str, label: str, identity: str) -> Place:
        """`root/<provider>/<label or id>-<digest of the identity>`: readable, safe, and never shared by two tasks."""
        short = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return cls(root / slug(provider) / f"{slug(label)}-{short}")

    def make(self) -> None:
        """Create the folder, for its owner only, and refuse one that a link leads out of."""
        root, provider = self.folder.parent.parent, self.folder.parent
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (provider, self.folder):
            folder.mkdir(exist_ok=True, mode=0o700)  # each by itself: a mode is not for the parents made on the way
            if folder.is_symlink():
                raise OSError(errno.ELOOP, f'"{folder.name}" is a link; results are written to real folders only')

    def finish(self, part: Path, stem: str, suffix: str, sha256: str) -> Path:
        """Give a whole file its name, without ever replacing other bytes."""
        for n in itertools.count(1):
            target = self.folder / (f"{stem}{suffix}" if n == 1 else f"{stem}-{n}{suffix}")
            try:
                os.link(part, target, follow_symlinks=False)
            except FileExistsError:
                if _same(target, sha256):
                    part.unlink()
                    return target
                continue
            except (OSError, AttributeError):  # a file system, or a whole system, without hard links
                if target.exists():
                    continue
                part.rename(target)
                return target
            part.unlink()
            return target
        raise AssertionError("unreachable")


def _same(path: Path, sha256: str) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _sync(path: Path) -> None:
    """Make a rename durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_bytes(place: Place, output: Output) -> Saved:
    """Write an output that came inside the reply: it is delivered once, so nothing else happens before."""
    assert output.data is not None
    try:
        place.make()
        with closing(Part(place.folder, output.name)) as part:
            part.restart()
            part.write(output.data)
            return _finish(part, place, output, "")
    except OSError as error:
        return _failed(output, f"cannot write the file: {error.strerror or error}")


def _begin(place: Place, name: str, link: str) -> Part:
    """The part that an output's bytes go to, with what an earlier process left in it."""
    place.make()
    part = Part(place.folder, name)
    try:
        part.go_on(without_query(link))
    except BaseException:
        part.close()
        raise
    return part


def _finish(part: Part, place: Place, output: Output, suffix: str) -> Saved:
    """Make a whole part the output's file."""
    sha256 = part.sync()
    found = sniff(part.head, suffix)
    size = pixels(part.head) or (output.width, output.height)
    path = place.finish(part.path, slug(output.name), found.suffix, sha256)
    _sync(place.folder)
    return Saved(
        name=output.name,
        file=str(path),
        kind=found.kind,
        n_bytes=part.size,
        sha256=sha256,
        width=size[0],
        height=size[1],
    )


Fresh = Callable[[], Awaitable[str | None]]


async def save_link(
    http: Http, turns: Turns, place: Place, output: Output, *, connection: Connection, fresh: Fresh
) -> Saved:
    """Download one output.

    Args:
        http: Of the running loop.
        turns: Shared by all downloads.
        place: Where the file goes.
        output: With a link.
        connection: The API that named it, whose own host may be local.
        fresh: Looks the task up once more for a new link.

    Returns:
        What became of it; a fault here is the output's own and never the task's.
    """
    link = output.url
    assert link is not None
    begun = time.monotonic()
    patience = min(output.lifetime or _PATIENCE, _PATIENCE)
    absent: list[float] = []  # when the host said, time after time, that there is no such file
    renewed = False
    faults = 0
    pause = _PAUSE
    try:
        part = await asyncio.to_thread(_begin, place, output.name, link)
    except OSError as error:
        return _failed(output, f"cannot write to {place.folder.name}: {error.strerror or error}")
    keep = False
    try:
        while True:
            try:
                origin, dies = _origin(link), begun + (output.lifetime or 1e9)
                async with turns.turn(dies, origin, faults=faults, until=begun + _PATIENCE):
                    await _attempt(http, link, part, connection)
            except Trouble as trouble:
                part.note()
                faults += trouble.fault
                now = time.monotonic()
                spent = now - begun
                absent = [*absent, now] if trouble.missing or trouble.empty else []
                late = len(absent) >= _ABSENCES and now - absent[0] > min(_LAG, patience)
                # While its host is down nobody knows whether a link is dead: the host says so when it is back.
                tried = spent > (_PATIENCE if turns.down(origin) else patience)
                over = trouble.dead or late or tried
                if trouble.hopeless:
                    return _failed(output, trouble.message)
                if over and not renewed:
                    renewed = True
                    newer = await fresh()
                    if newer is not None and newer != link:
                        link, begun, absent, pause = newer, time.monotonic(), [], _PAUSE
                        await asyncio.to_thread(part.go_on, without_query(link))
                        continue
                if over:
                    state = SaveState.EXPIRED if trouble.dead or trouble.missing else SaveState.FAILED
                    return Saved(name=output.name, state=state, kind=output.kind, message=clean(trouble.message))
            else:
                suffix = Path(urlsplit(link).path).suffix.casefold()
                return await asyncio.to_thread(_finish, part, place, output, suffix)
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # jitter
            pause = min(pause * 2, 30.0)
    except OSError as error:
        return _failed(output, f"cannot write the file: {error.strerror or error}")
    except asyncio.CancelledError:  # the process ends: the next one goes on with the part
        keep = True
        raise
    finally:
        part.close(keep=keep)


async def _attempt(http: Http, link: str, part: Part, connection: Connection) -> None:
    """Bring the part to its whole length, or say why not."""
    headers = {}
    if part.size and part.etag:
        headers = {"range": f"bytes={part.size}-", "if-range": part.etag}
    try:
        async with http.download(link, connection, headers) as (reply, pieces):
            tag = reply.headers.get("etag", "")
            if reply.status == 206 and tag and tag != part.etag:
                part.restart()
                raise Trouble("the file changed while it was fetched")
            length = _accept(reply, part)
            if length is not None:
                _room(part.path.parent, length)
            if reply.status == 200:
                part.etag = tag if is_strong(tag) else ""
            whole = None if length is None else part.size + length
            await _receive(pieces, part)
    except Unreached as error:
        raise Trouble(str(error), fault=True) from None
    except Forbidden as error:
        raise Trouble(str(error), hopeless=True) from None
    if whole is not None and part.size != whole:
        raise Trouble(f"the file broke off at {part.size:,} of {whole:,} bytes", fault=True)
    if part.size == 0:
        raise Trouble("the file is empty", empty=True)


def _accept(reply: HttpReply, part: Part) -> int | None:
    """How many bytes this reply brings, None when it does not say; makes the part fit for them."""
    status, headers = reply.status, reply.headers
    if status == 206 and part.size:
        begins = headers.get("content-range", "").removeprefix("bytes").strip().partition("-")[0]
        if begins != str(part.size):
            part.restart()
            raise Trouble("the server continued at the wrong place")
    elif status == 200:
        if part.size:
            part.restart()
    elif status in {401, 403, 410}:
        raise Trouble(f"the link has expired (HTTP {status})", dead=True)
    elif status == 404:
        raise Trouble("the file is not there (HTTP 404)", missing=True)
    elif status in {400, 405, 451}:
        raise Trouble(f"the link was refused (HTTP {status})", dead=True)
    else:
        if status == 416:  # what we have is not a part of what is there
            part.restart()
        broken = status >= 500 or status in {408, 429}
        raise Trouble(f"the file's server answered HTTP {status}", fault=broken, wait=retry_after(reply))
    length = headers.get("content-length", "")
    return int(length) if length.isdigit() and len(length) < 19 else None


def _origin(link: str) -> str:
    try:
        return origin_of(link.strip())
    except ValueError:  # unreadable, and refused before anybody is asked
        return ""


def _room(folder: Path, n_bytes: int) -> None:
    if n_bytes > LARGEST:
        raise Trouble(f"the file has {n_bytes:,} bytes; up to 2 GB are saved", hopeless=True)
    if shutil.disk_usage(folder).free < n_bytes + _SPARE:
        raise Trouble(f"no room on the disk for {n_bytes:,} bytes")


async def _receive(pieces: AsyncIterator[bytes], part: Part) -> None:
    """Write what comes; a connection that drips is given up, so that the next may be better."""
    since, at_least = time.monotonic(), part.size + _SLOWEST * 60
    while True:
        try:
            async with asyncio.timeout(60):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise Unreached("the file's server fell silent for a minute", sent=True) from None
        if piece is None:
            return
        if len(piece) < _HOP:
            part.write(piece)
        else:
            await asyncio.to_thread(part.write, piece)  # what comes meanwhile is the next piece
        if part.size > LARGEST:
            raise Trouble("the file does not end within 2 GB", hopeless=True)
        if time.monotonic() - since > 60:
            if part.size < at_least:
                raise Unreached("the file comes at less than 1 kB a second", sent=True)
            since, at_least = time.monotonic(), part.size + _SLOWEST * 60


def _failed(output: Output, message: str) -> Saved:
    return Saved(name=output.name, state=SaveState.FAILED, kind=output.kind, message=clean(message))
