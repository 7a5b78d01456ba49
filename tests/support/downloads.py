"""A result's link downloaded by the library's own HTTP client, without a watch."""

import asyncio

from nbhelper._network.faults import Forbidden, Unreached
from nbhelper._network.http import Http


def fetch(where, link, headers=None):
    """Status and bytes of one download, or the `Unreached` or `Forbidden` that it raised."""

    async def main():
        http = Http()
        try:
            async with http.download(link, where, headers or {}) as (head, pieces):
                return head.status, b"".join([p async for p in pieces])
        except (Unreached, Forbidden) as error:
            return error
        finally:
            await http.close()

    return asyncio.run(main())
