"""For tests of your own: read a stored reply without a network, and inject faults into an emulator's replies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._model.errors import BadInput
from ._model.events import Snapshot
from ._model.misses import Miss
from ._providers import get
from ._providers.provider import Provider
from ._providers.reader import read as _read
from ._providers.requests import HttpReply

if TYPE_CHECKING:
    from ._emulator.faults import Fault

__all__ = ["Fault", "read"]


def __getattr__(name: str) -> Any:
    if name != "Fault":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._emulator.faults import Fault

    return Fault


def read(
    provider: Provider | str,
    body: bytes | str | Mapping[str, Any] | list[Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Snapshot | Miss:
    """The observation in a reply to one look: a `Snapshot` when the reply describes the task, else a `Miss`.

    Args:
        provider: A name, or a `Provider` that need not be registered.
        body: The reply as it came: bytes, text, or parsed JSON.
        status: Its HTTP status.
        headers: Its headers, names in any case.

    Raises:
        BadInput: An unknown provider, or a body or status of another type.

    Example:
        from nbhelper.testing import read

        read("tripo", {"code": 0, "data": {"task_id": "1", "status": "running", "progress": 40}}).progress   # 0.4
        read("tripo", "<html>bad gateway</html>", status=502).kind                                        # "server"
    """
    spec = provider if isinstance(provider, Provider) else get(provider)
    if isinstance(status, bool) or not isinstance(status, int):
        raise BadInput(f"status is an HTTP status such as 200, not {type(status).__name__}.")
    if headers is not None and not (
        isinstance(headers, Mapping) and all(isinstance(h, str) for h in (*headers, *headers.values()))
    ):
        raise BadInput('headers is a mapping of text to text, such as {"retry-after": "7"}.')
    if isinstance(body, Mapping | list):
        try:
            raw = json.dumps(body).encode()
        except (TypeError, ValueError, RecursionError):
            raise BadInput("body holds values that JSON has not.") from None
    elif isinstance(body, str):
        raw = body.encode("utf-8", "surrogatepass")
    elif isinstance(body, bytes | bytearray):
        raw = bytes(body)
    else:
        raise BadInput(f"body is the reply's bytes, text or parsed JSON, not {type(body).__name__}.")
    return _read(spec, HttpReply(status, {k.lower(): v for k, v in (headers or {}).items()}, raw))
