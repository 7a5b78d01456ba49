"""The folder of a store: which one it is, and how it is made, with access for its owner alone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .._model.errors import StoreError
from .._model.text import clean

FOLDER = "nbhelper-data"
FILE = "history.db"


def locate() -> Path:
    """The store's folder when `set_store` was not called; nothing is made.

    `NBHELPER_DATA`, else the nearest `nbhelper-data` in the working directory or its parents, else one that would be in
    the working directory. A parent's folder counts only when it is this user's: others may write to `/tmp`.

    Raises:
        StoreError: The working directory is gone.
    """
    named = os.environ.get("NBHELPER_DATA", "").strip()
    try:
        if named:
            return Path(os.path.abspath(Path(named).expanduser()))  # noqa: PTH100 - keeps the user's own links
        here = Path.cwd()
    except (OSError, RuntimeError) as error:
        raise StoreError(f"No folder for the store ({clean(error, 120)}). Set NBHELPER_DATA to one.") from None
    for place in (here, *here.parents):
        folder = place / FOLDER
        with contextlib.suppress(OSError):
            if folder.is_dir() and (place == here or _is_own(folder)):
                return folder
    return here / FOLDER


def _is_own(folder: Path) -> bool:
    """Whether a folder belongs to this user. On Windows, where that is not known, every folder does."""
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def make_folder(path: Path) -> None:
    """Make the folder of this file with mode 0700 and a `.gitignore`; an own one that exists gets them too.

    Raises:
        StoreError: The folder is a file, or its parent is missing.
    """
    folder = path.parent
    try:
        folder.mkdir(mode=0o700)
        is_ours = True
    except FileExistsError:
        if not folder.is_dir():
            raise StoreError(f"{folder} is a file, not a folder. Name another one with nbhelper.set_store().") from None
        # A folder that holds other things was named by the user, and stays as it is.
        is_ours = folder.name == FOLDER or path.exists() or not any(folder.iterdir())
    except FileNotFoundError:
        raise StoreError(f"{folder.parent} does not exist. Make it first, or name another folder.") from None
    if not is_ours:
        return
    with contextlib.suppress(PermissionError):  # another user's folder: usable, perhaps, but not ours to change
        if folder.stat().st_mode & 0o777 != 0o700:
            folder.chmod(0o700)
        _write_gitignore(folder / ".gitignore")


def make_file(path: Path) -> None:
    """Make an empty file with mode 0600, whatever the umask; one that exists stays as it is."""
    with contextlib.suppress(FileExistsError):
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if hasattr(os, "fchmod"):  # not on Windows, which has no such modes
                os.fchmod(made, 0o600)
        finally:
            os.close(made)


def _write_gitignore(path: Path) -> None:
    """Write a `.gitignore` that ignores the whole folder, atomically; one that exists stays as it is."""
    if path.exists():
        return
    new = path.with_name(f"{path.name}.new")
    make_file(new)
    with contextlib.suppress(FileNotFoundError):  # another process has written the same
        with new.open("r+b") as file:
            file.write(b"*\n")
        new.replace(path)
