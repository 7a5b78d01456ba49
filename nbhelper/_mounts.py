"""Where a folder really lies: on this machine, or where another one may write to it unseen."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath

MOUNTS = Path("/proc/self/mounts")
"""What Linux says is mounted; there is nothing like it elsewhere."""

_NETWORK = re.compile(
    r"nfs\d*|cifs|smb\w*|ncpfs|afs|ceph|glusterfs|lustre|gpfs|beegfs\w*|pvfs2|orangefs|davfs"
    r"|fuse\.(sshfs|rclone|s3fs|gcsfuse|goofys|davfs2?|curlftpfs|glusterfs|ceph|cephfs|drive|onedriver|juicefs|smb\w*)"
)
_SYNCED = re.compile(
    r"dropbox( \(.+\))?|onedrive( - .+|-.+)?|google ?drive(-.+)?|my drive|nextcloud|icloud ?drive|mobile documents"
    r"|cloudstorage",
    re.IGNORECASE,
)
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def elsewhere(folder: Path) -> str | None:
    """Where a folder lies, in words, when that is not on this machine's own disk alone; None as far as one can tell."""
    real = Path(os.path.realpath(folder))
    try:
        kind = kind_of_mount(real, MOUNTS.read_bytes())
    except OSError:
        kind = None
    if kind is not None and _NETWORK.fullmatch(kind):
        return f"on a network file system ({kind})"
    synced = next((part for part in real.parts if _SYNCED.fullmatch(part)), None)
    return f'in a folder that is synchronised ("{synced}")' if synced else None


def kind_of_mount(path: PurePath, mounts: bytes) -> str | None:
    """The type of the file system that a path is on, by the text of `/proc/mounts`: that of the deepest mount point.

    Of two mounts at one point the later one covers the earlier.
    """
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields = line.split(b" ")  # a space in a name is written as \040
        if len(fields) < 3:
            continue
        point = PurePath(os.fsdecode(_ESCAPE.sub(lambda m: bytes([int(m[1], 8) & 255]), fields[1])))
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), os.fsdecode(fields[2])
    return found[1] if found else None
