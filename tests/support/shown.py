"""The text that a traceback with local variables shows of the library's own frames."""

from __future__ import annotations

import traceback
from pathlib import Path

import nbhelper as nbh

LIBRARY = str(Path(nbh.__file__).parent)


def frames(error: BaseException) -> str:
    """Code and local variables of the library's frames, not the caller's, and messages of the error and its causes."""
    trace: traceback.TracebackException | None = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown: list[str] = []
    while trace is not None:
        shown += [f"{f.name} {f.line} {f.locals}" for f in trace.stack if f.filename.startswith(LIBRARY)]
        shown += trace.format_exception_only()
        trace = trace.__cause__ or trace.__context__
    assert shown
    return "\n".join(shown)
