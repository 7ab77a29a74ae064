"""Why a host was not reached, in words: refused, not found, no route, TLS, or too slow.

The HTTP client says only that it could not connect. What happened stands
below it, in the chain of its causes, as the error of the operating system;
each async library hangs it up in its own way.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

__all__ = ("reason_of", "where")

_CLIENT: Final = "httpcore"  # the part of the HTTP client that connects
_MOST: Final = 20
_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})
_PORTS: Final = {"https": 443, "http": 80}


def reason_of(error: BaseException) -> str:
    """Return what happened, or the name of the error's class where nothing below it tells.

    >>> reason_of(ConnectionRefusedError())
    'connection refused'
    """
    for cause in _causes(error):
        found = _told(cause)
        if found is not None:
            return found
    return type(error).__name__


def where(url: httpx.URL) -> str:
    """Return host and port of an address."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{host}:{url.port or _PORTS[url.scheme]}"


def _told(error: BaseException) -> str | None:
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case socket.gaierror():
            return "name not found (DNS)"
        case ssl.SSLCertVerificationError():
            return "certificate not trusted"
        case ssl.SSLError():
            return "TLS failed"
        case TimeoutError():
            return "timed out"
        case OSError() if error.errno in _NO_ROUTE:
            return "no route"
        case _:
            return "timed out" if type(error).__name__ == "ConnectTimeout" else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what is below it; the chain may be a tree, and is bounded.

    Below the client's own errors stands what they are about; the context of
    all others may be whatever the caller was handling.
    """
    rest = [error]
    for _ in range(_MOST):
        if not rest:
            return
        cause = rest.pop(0)
        yield cause
        rest.extend(_members(cause))
        is_client = type(cause).__module__.startswith(_CLIENT)
        below = cause.__context__ if cause.__cause__ is None and is_client else cause.__cause__
        if below is not None:
            rest.append(below)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    if not isinstance(error, BaseExceptionGroup):
        return ()
    return cast("BaseExceptionGroup[BaseException]", error).exceptions
