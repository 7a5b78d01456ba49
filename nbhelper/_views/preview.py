"""Thumbnails: small enough for a notebook's file, made by a worker process that a picture may crash.

A picture that cannot be shown never hides that the task succeeded: there is a file, and a word why there is no preview.
"""

from __future__ import annotations

import atexit
import base64
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._model.text import clean

SIDE = 384
WEIGHT = 20_000
"""Bytes of one thumbnail."""
PATIENCE = 10.0
"""Seconds that one picture may take."""
_VARIABLES = frozenset({
    "PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT",
    "TEMP", "TMP", "TMPDIR",
})  # fmt: skip
"""The environment variables that the worker gets; no key is among them."""
_PICTURES = frozenset({".png", ".jpg", ".webp", ".gif", ".avif"})


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of a file.

    Attributes:
        mime: Of `data`.
        data: The bytes.
        width: Of the thumbnail, in pixels.
        height: The same.
        full: Width and height of the file's picture.
        animated: Whether this is only the first of several frames.
    """

    mime: str
    data: bytes = field(repr=False)
    width: int
    height: int
    full: tuple[int, int]
    animated: bool = False

    @property
    def uri(self) -> str:
        """The thumbnail as a `data:` link."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


def can_preview(path: Path) -> bool:
    """Whether a file of this type is decoded at all; the suffix is ours, given by the file's own bytes."""
    return path.suffix in _PICTURES


class Previewer:
    """One worker process, started at the first picture and again when it dies, hangs or has served 500 pictures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._served = 0

    def thumbnail(self, path: Path, side: int = SIDE) -> Thumbnail | str:
        """The thumbnail of a picture, or why there is none. Waits for the worker; call it from a thread.

        Args:
            path: A file that `can_preview`.
            side: Longest side in pixels.
        """
        with self._lock:
            try:
                return self._ask(path, side)
            except (OSError, ValueError, KeyError):
                self._end()
                return "the preview worker stopped"
            except BaseException:  # an interrupt: the answer to this picture must not be taken for the next one's
                self._end()
                raise

    def _ask(self, path: Path, side: int) -> Thumbnail | str:
        process = self._worker()
        assert process.stdin is not None
        assert process.stdout is not None
        # Killed, or dead of the picture, the worker leaves an empty pipe, which is told below.
        clock = threading.Timer(PATIENCE, process.kill)
        clock.daemon = True
        clock.start()
        try:
            weight = WEIGHT * max(1, side * side // (SIDE * SIDE))
            request = {"path": str(path), "side": side, "n_bytes": weight}
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            about: dict[str, Any] = json.loads(line) if line else {}
            data = process.stdout.read(about.get("n_bytes", 0))
        finally:
            clock.cancel()
        if not about or len(data) != about["n_bytes"]:
            self._end()
            return f"the picture took more than {PATIENCE:g} s or too much memory to preview"
        self._served += 1
        if self._served >= 500:  # decoders leak a little; a fresh worker costs a tenth of a second
            self._end()
        if "error" in about:
            return clean(about["error"], 120)
        width, height = about["size"]
        full = (int(about["full"][0]), int(about["full"][1]))
        return Thumbnail(about["mime"], data, int(width), int(height), full, bool(about["animated"]))

    def _worker(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._served = 0
            # -P keeps this folder off the path, where a module called `types` would hide Python's own.
            command = [sys.executable, "-P", str(Path(__file__).with_name("thumbnail_worker.py"))]
            self._process = subprocess.Popen(  # noqa: S603  # our own file
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={k: v for k, v in os.environ.items() if k.upper() in _VARIABLES},  # no key among them
                start_new_session=True,  # an interrupt in the terminal is for us, not for the worker
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was still to be flushed has no reader
        process.wait(5)

    def close(self) -> None:
        """End the worker, also one that hangs."""
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._end()


_previewer = Previewer()
atexit.register(_previewer.close)


def previewer() -> Previewer:
    """The one worker of this process; it ends with it."""
    return _previewer
