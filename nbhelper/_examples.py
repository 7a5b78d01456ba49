"""The example notebooks: inside an installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

from ._model.errors import BadInput
from ._model.text import clean


def notebooks() -> list[Path]:
    """The notebooks that came with this package, in their order.

    Raises:
        BadInput: This installation has none.
    """
    here = Path(__file__).parent
    for folder in (here / "_notebooks", here.parent / "notebooks"):
        paths = sorted(folder.glob("[0-9]*.ipynb"))
        if paths:
            return paths
    raise BadInput("The example notebooks are not in this installation; install nbhelper from its wheel.")


def copy(folder: Path, *, overwrite: bool = False) -> dict[Path, str]:
    """Copy the notebooks; returns for each path `copied`, `replaced`, `same` or `kept`.

    Args:
        folder: The folder to copy to; it is made where it is missing.
        overwrite: Replace files of the same names that differ; otherwise they are kept.

    Raises:
        BadInput: The folder cannot be used.
    """
    target = folder.expanduser().absolute()
    done: dict[Path, str] = {}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for source in notebooks():
            path, content = target / source.name, source.read_bytes()
            there = path.read_bytes() if path.exists() else None
            if there is None or (there != content and overwrite):
                path.write_bytes(content)
            done[path] = (
                "copied" if there is None else "same" if there == content else "replaced" if overwrite else "kept"
            )
    except OSError as error:
        raise BadInput(f"The notebooks cannot be written to {clean(target, 120)}: {error.strerror or error}.") from None
    return done
