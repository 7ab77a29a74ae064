"""Where a server is, and whether a key may travel there."""

from __future__ import annotations

import re
from typing import Final, cast
from urllib.parse import urlsplit

__all__ = ("checked_url", "is_loopback", "server_of", "where_of")

_LOOPBACK: Final = re.compile(r"127(?:\.\d{1,3}){3}")
_PORTS: Final = {"https": 443, "http": 80}


def checked_url(base_url: str, *, has_key: bool = True) -> str:
    """Return a base URL without its last slash; a mistake is a `ValueError`.

    A key does not travel in the open to another machine.
    """
    try:
        parts = urlsplit(base_url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"base_url must be an address with a port that exists: {error}") from None
    # First of all, so that no message shows a password.
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("base_url must be a plain address: no user, query or fragment")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(
            f"base_url must be an https address, or http to this machine, not {base_url!r}"
        )
    if has_key and parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(
            f"base_url must be https, or http to this machine alone, not {base_url!r}:"
            " the key would travel in the open"
        )
    return base_url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("openrouter.ai")
    (True, False)
    """
    return host in {"localhost", "::1"} or _LOOPBACK.fullmatch(host) is not None


def server_of(base_url: str) -> tuple[str, int]:
    """Return host and port of an address."""
    parts = urlsplit(base_url)
    return cast("str", parts.hostname), parts.port or _PORTS[parts.scheme]


def where_of(server: tuple[str, int]) -> str:
    """Return the name of a server: its host, with the port where it is not the usual one.

    >>> where_of(("openrouter.ai", 443)), where_of(("localhost", 11434))
    ('openrouter.ai', 'localhost:11434')
    """
    host, port = server
    return host if port == _PORTS["https"] else f"{host}:{port}"
