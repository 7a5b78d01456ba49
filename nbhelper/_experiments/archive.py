"""An experiment as one ZIP file: its table, its results under the table's own paths, and its gallery."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from .._model.errors import BadInput
from .._model.text import clean
from .._tables.csv_file import to_csv

if TYPE_CHECKING:
    import pandas as pd

    from .._views.gallery import Gallery


def export(frame: pd.DataFrame, gallery: Gallery, folder: Path, path: object) -> Path:
    """Write table, gallery and results into one ZIP file, as a whole or not at all.

    Args:
        frame: The columns of `tasks()`.
        gallery: The gallery that `gallery.html` shows.
        folder: The store's; relative paths in `files` start there, and are the paths inside the archive too.
        path: The file to write.

    Raises:
        BadInput: The path names no file that can be written.
    """
    if not isinstance(path, str | Path) or not str(path).strip() or not str(path).isprintable():
        raise BadInput('export() takes a file, such as "owls.zip".')
    target = Path(path).expanduser().absolute()
    if target.is_dir():
        raise BadInput(f'"{clean(target, 120)}" is a folder; name a file, such as "owls.zip".')
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".nbhelper-") as temporary:
            work = Path(temporary)
            to_csv(frame, work / "tasks.csv")
            gallery.save(work / "gallery.html")
            with zipfile.ZipFile(work / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(work / "tasks.csv", "tasks.csv")
                archive.write(work / "gallery.html", "gallery.html")
                for name in dict.fromkeys(name for text in frame["files"].dropna() for name in json.loads(text)):
                    source = folder / name
                    if source.is_file():
                        # Pictures, videos and models are compressed already.
                        archive.write(source, _inside(name), compress_type=zipfile.ZIP_STORED)
            (work / "all.zip").chmod(0o644)  # meant to be shown around
            os.replace(work / "all.zip", target)  # noqa: PTH105
    except OSError as error:
        raise BadInput(f"The archive cannot be written to {clean(target, 120)}: {error.strerror or error}.") from None
    return target


def _inside(name: str) -> str:
    """The path inside the archive; a result that was saved outside the store's folder lies in `results/`."""
    return f"results/{Path(name).name}" if Path(name).is_absolute() else name
