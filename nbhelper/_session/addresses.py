"""Addresses of APIs: checked base URLs, origins, and which hosts are this machine or a private network."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from .._model.errors import BadInput
from .._model.text import clean


def checked_url(url: object, *, private: bool = False) -> str:
    """A base URL that a key may be sent to.

    Raises:
        BadInput: Not https (http on loopback, or on your own network with `private=True`), or anything besides
            scheme, host, port and path in it.
    """
    if not isinstance(url, str) or not url.strip():
        raise BadInput('base_url is text such as "https://api.tripo3d.ai/v2/openapi".')
    text = url.strip().rstrip("/")
    shown = clean(text.split("?")[0].rpartition("@")[2], 80)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadInput(f'base_url "{shown}" is no address.') from None
    if parts.scheme not in {"https", "http"} or not host:
        raise BadInput(f'base_url "{shown}" must begin with https:// and a host.')
    if not url.strip().isprintable() or " " in text or port == 0:
        raise BadInput(f'base_url "{shown}" is no address.')
    if parts.username is not None or parts.password is not None:
        raise BadInput("base_url must not hold a user name or password; the key goes to api_key=.")
    if not _is_host(host) or not re.fullmatch(r"(\[[^\[\]]+\]|[^\[\]:]+)(:[0-9]+)?", parts.netloc):
        raise BadInput(f'base_url "{shown}" is no address.')
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise BadInput(f'base_url "{shown}" must not have a query or fragment.')
    if parts.scheme == "http" and not is_loopback(host) and not (private and is_private(host)):
        hint = "" if private else "; private=True allows http inside your own network"
        raise BadInput(f'base_url "{shown}" must be https: over http the key could be read on the way{hint}.')
    return text


def origin_of(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    host = (parts.hostname or "").casefold()
    host = f"[{host}]" if ":" in host else host
    default = {"https": 443, "http": 80}.get(parts.scheme)
    port = f":{parts.port}" if parts.port and parts.port != default else ""
    return f"{parts.scheme}://{host}{port}"


def _is_host(host: str) -> bool:
    """Whether a name can be looked up, or is an address: what cannot would only fail at each look."""
    return ":" in host or all(re.fullmatch(r"[\w-]{1,63}", label) for label in host.removesuffix(".").split("."))


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host.casefold().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str) -> bool:
    """Whether a host is inside one's own network: a private address, a bare name, or a name no one else can own."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or bool(re.search(r"\.(local|lan|internal|home\.arpa|test)\.?$", host, re.IGNORECASE))
