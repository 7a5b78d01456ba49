"""Which hosts a result's link may lead to, the IP addresses of a host, and where a proxy is used."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies

from .._model.text import clean, without_query
from .._session.addresses import is_loopback, is_private
from .._session.session import Connection
from .faults import Forbidden, Unreached

LOOKUP_DEADLINE = 10.0
"""Seconds for one name lookup."""
_MAX_ADDRESSES = 4
"""Addresses of one host that are tried."""


def uses_proxy(url: str) -> bool:
    """Whether the environment's proxy is used for a URL: for https only, since over http it would read the key."""
    if url.startswith("http:") or is_loopback(urlsplit(url).hostname or ""):
        return False
    return bool(getproxies())


async def resolve_link(url: str, connection: Connection | None) -> tuple[str, list[str]]:
    """A result's link, with https where the API itself is not plain http, and the IP addresses to connect to.

    Raises:
        Forbidden: Another scheme, user information, an odd port, or an address that is not public. The API's own
            host is excepted (a local server's results are local), and so is your own network with `private=True`.
        Unreached: The name cannot be resolved.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise Forbidden(f"the link is unreadable: {clean(url, 60)}") from None
    if parts.scheme not in {"https", "http"} or not host or not url.isprintable():
        raise Forbidden(f"links of this kind are not fetched: {clean(without_query(url), 80)}")
    if parts.username is not None or parts.password is not None:
        raise Forbidden(f"the link holds a user name: {clean(host, 80)}")
    is_own = connection is not None and host == urlsplit(connection.base_url).hostname
    allows_private = is_own or (connection is not None and connection.private)
    allows_http = connection is not None and (connection.base_url.startswith("http:") if is_own else connection.private)
    if parts.scheme == "http" and not allows_http:
        # Some stores still hand out http links; the same file is there over https, and nobody on the way can change it.
        if port is not None:
            raise Forbidden(f"the link is not https: {clean(host, 80)}")
        url = "https" + url.strip()[4:]
    if not allows_private and port not in {None, 443, 8443}:
        raise Forbidden(f"the link has the unusual port {port}")
    addresses = await _look_up(host, port or 443)
    if not allows_private and not all(_is_public(address) for address in addresses):
        raise Forbidden(f"the link leads to {clean(host, 80)}, which is no public address")
    return url.strip(), addresses[:_MAX_ADDRESSES]


async def _look_up(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the resolver's order, each once."""
    with suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    try:
        async with asyncio.timeout(LOOKUP_DEADLINE):
            infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise Forbidden(f"the link's host can be no name: {clean(host, 80)}") from None
    except OSError:  # a TimeoutError is one
        raise Unreached(f"the name {clean(host, 80)} cannot be resolved", is_sent=False) from None
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


def _is_public(address: str) -> bool:
    """Whether an IP address, or the IPv4 address inside it, is a public one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return not is_private(address)
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    if mapped is not None:
        ip = mapped
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
