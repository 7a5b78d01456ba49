"""`%load_ext nbhelper` gives `%watch`."""

from __future__ import annotations

import shlex
from typing import Any

from ._model.errors import BadInput


def load(ipython: Any) -> None:
    """Add the line magic `%watch` to an IPython shell."""
    ipython.register_magic_function(watch_line, magic_kind="line", magic_name="watch")


def watch_line(line: str) -> Any:
    """`%watch tripo:1ec04ced-… [kie:…]` watches tasks, as `nbhelper.watch` does.

    Raises:
        BadInput: The line holds no reference, or a wrong one.
    """
    from . import _api

    try:
        words = shlex.split(line)
    except ValueError:
        raise BadInput("%watch takes task references, such as: %watch tripo:1ec04ced-…") from None
    if not words:
        raise BadInput("%watch takes task references, such as: %watch tripo:1ec04ced-…")
    return _api.watch(words[0] if len(words) == 1 else words)
