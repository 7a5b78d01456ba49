"""Requests sent to an API by the library's own HTTP client, without a watch."""

from __future__ import annotations

import asyncio
from typing import Any

from support.mill import provider
from support.raw_server import RawServer

import nbhelper as nbh
from nbhelper._network.faults import Forbidden, Unreached
from nbhelper._network.http import Http
from nbhelper._providers.requests import HttpReply, HttpRequest
from nbhelper._session import session
from nbhelper._session.session import Connection

LOOK = HttpRequest("GET", "/jobs/1", query={"a b": "ü&="})
CREATE = HttpRequest("POST", "/jobs", json={"a": 1})

Result = HttpReply | Unreached | Forbidden


def connection(server: RawServer, **more: Any) -> Connection:
    """Register the mill's provider at this server; its `Connection`."""
    nbh.register(provider(server.root, **more))
    return session.connection("mill")


def send_all(where: Connection, *requests: HttpRequest, **options: Any) -> list[Result]:
    """The reply to each request, sent one after the other with the same clients, or the exception."""

    async def main() -> list[Result]:
        http = Http()
        results: list[Result] = []
        try:
            for request in requests:
                try:
                    results.append(await http.api(where, request, **options))
                except (Unreached, Forbidden) as error:
                    results.append(error)
        finally:
            await http.close()
        return results

    return asyncio.run(main())


def send(where: Connection, request: HttpRequest = LOOK, **options: Any) -> Any:
    """The reply to one request, or the exception."""
    return send_all(where, request, **options)[0]
