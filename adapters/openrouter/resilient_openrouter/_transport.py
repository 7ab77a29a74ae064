"""The HTTP client behind a backend: one for each event loop, with limits of its own.

The HTTP client belongs to an event loop, so each loop that uses the same
backend has its own, opened by the first request. A client that the
caller injected is used as it is and never closed.

The client's read timeout is off. Keep-alives would reset it for ever, so it
could only ever cut a healthy call: the policies of the caller bound the time.
The limits that are set only tell apart who is to blame, and stay below what
is left of the caller's time.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import RunVar

from resilient import remaining
from resilient_openrouter._exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from resilient_openrouter._key import Key
    from resilient_openrouter._ledger import Record

__all__ = ("Transport",)

_LIBRARIES: Final = ("httpx", "httpx2")
_POOL_SECONDS: Final = 10.0
# Of the time that is left: enough to make another attempt elsewhere.
_CONNECT_SHARE: Final = 0.9
_POOL_SHARE: Final = 0.5
_LEAST: Final = 0.001


class Transport:
    """The HTTP side of a backend."""

    def __init__(
        self,
        url: str,
        key: Key,
        *,
        client: httpx.AsyncClient | None,
        connect: float,
    ) -> None:
        self._url = url
        self._key = key
        self._injected = client
        self._connect = connect

    def exchange(
        self,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        record: Record,
        *,
        connect: float | None = None,
    ) -> Exchange:
        """Return the exchange of a request that is not sent yet; `connect` replaces the default.

        Without a body it is a `GET`.
        """
        client = self._client()
        limits = self._limits(self._connect if connect is None else connect)
        request = client.build_request(
            "GET" if body is None else "POST",
            self._url + path,
            content=body,
            headers=dict(headers),
            timeout=limits,
        )
        return Exchange(client, request, self._key, record)

    async def aenter(self) -> None:
        """Open the client of this loop, and keep it open for one more user."""
        self._client()
        if self._injected is None:
            self._opened()[self].users += 1

    async def aexit(self) -> None:
        """Let go of the client of this loop; its last user closes it."""
        opened = self._opened().get(self)
        if opened is not None:
            opened.users -= 1
            if opened.users <= 0:
                await self.aclose()

    async def aclose(self) -> None:
        """Close the client of this loop; an injected one stays open."""
        opened = self._opened().pop(self, None)
        if opened is not None:
            with anyio.CancelScope(shield=True):
                await opened.client.aclose()

    def _client(self) -> httpx.AsyncClient:
        if self._injected is not None:
            return self._injected
        opened = self._opened()
        if self not in opened:
            opened[self] = _Opened(self._new_client())
        return opened[self].client

    def _opened(self) -> WeakKeyDictionary[Transport, _Opened]:
        try:
            return _clients.get()
        except LookupError:
            found: WeakKeyDictionary[Transport, _Opened] = WeakKeyDictionary()
            _clients.set(found)
            return found

    def _new_client(self) -> httpx.AsyncClient:
        client: type[httpx.AsyncClient] = _http_library().AsyncClient
        if self._url.startswith("https:"):
            return client(follow_redirects=False)
        # Loopback: no proxy leads there, and no certificate is trusted, which is quicker to set up.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return client(follow_redirects=False, trust_env=False, verify=nobody)

    def _limits(self, connect: float) -> tuple[float, None, float | None, float]:
        """Return the limits for connecting, reading, writing and waiting for a connection."""
        left = remaining()
        connect = max(_LEAST, min(connect, left * _CONNECT_SHARE))
        pool = max(_LEAST, min(_POOL_SECONDS, left * _POOL_SHARE))
        return connect, None, None if left == inf else max(_LEAST, left), pool


def _http_library() -> Any:  # noqa: ANN401 - one of two modules of the same shape
    """Import httpx, or httpx2 where that is what there is; importing the adapter needs neither."""
    for name in _LIBRARIES:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:  # it is there, and something of its own is not
                raise
    raise ModuleNotFoundError(
        'resilient_openrouter needs httpx, or httpx2: pip install "resilient-policies[openrouter]"',
        name=_LIBRARIES[0],
    )


@dataclass(slots=True)
class _Opened:
    client: httpx.AsyncClient
    users: int = 0


_clients: RunVar[WeakKeyDictionary[Transport, _Opened]] = RunVar("openrouter_clients")
"""The open clients of each event loop; they go with the loop or with their backend."""
